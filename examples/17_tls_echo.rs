//! An echo server that speaks TLS, and its client: `cargo run --release --features tls --example 17_tls_echo`.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lexopt::prelude::*;
use sward::net::{Server, TcpStream};
use sward::tls::rustls::pki_types::pem::PemObject;
use sward::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sward::tls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use sward::tls::{Acceptor, Connector};

const HELP: &str = "\
Sends back what it receives, encrypted, until SIGINT or SIGTERM; then gives connections 5 s to end.

Usage: 17_tls_echo --cert FILE --key FILE [--addr A] [--threads N] [--once NAME]

  --cert FILE  the certificate, and those between it and a root, as PEM
  --key FILE   its private key, as PEM
  --addr A     where to listen, port 0 for any free one  [127.0.0.1:7443]
  --threads N  hubs, one OS thread each  [1]
  --once NAME  connect to itself as NAME, trusting that certificate, talk once, and end
  -h, --help   this text

A certificate for a try:

  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost \\
      -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE -keyout key.pem -out cert.pem
";

fn main() -> Result<(), Box<dyn Error>> {
    let (mut addr, mut threads, mut once) = ("127.0.0.1:7443".to_owned(), 1, None);
    let (mut cert, mut key) = (None, None);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("cert") => cert = Some(PathBuf::from(arguments.value()?)),
            Long("key") => key = Some(PathBuf::from(arguments.value()?)),
            Long("addr") => addr = arguments.value()?.string()?,
            Long("threads") => threads = arguments.value()?.parse()?,
            Long("once") => once = Some(arguments.value()?.string()?),
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(());
            }
            _ => return Err(argument.unexpected().into()),
        }
    }
    let (cert, key) = cert.zip(key).ok_or("--cert and --key are needed; --help tells how to make them")?;
    let chain = CertificateDer::pem_file_iter(&cert)?.collect::<Result<Vec<_>, _>>()?;
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(chain.clone(), PrivateKeyDer::from_pem_file(&key)?)?;
    let tls = Acceptor::new(Arc::new(config)).handshake_timeout(Duration::from_secs(5));

    let server = Server::bind(&addr)?.stop_on_signal(Duration::from_secs(5));
    let (addr, handle) = (server.local_addr()?, server.handle());
    println!("listening on {addr}");
    if let Some(name) = once {
        sward::spawn(move || {
            match talk(addr, &name, chain) {
                Ok(answer) => println!("sent hello, got back {answer:?}"),
                Err(error) => eprintln!("cannot talk to {name}: {error}"),
            }
            handle.stop();
        });
    }
    server.threads(threads).serve(move |stream, peer| {
        if let Err(error) = echo(&tls, stream) {
            eprintln!("{peer}: {error}");
        }
    })?;
    Ok(())
}

/// The server's side of one connection: the handshake blocks this greenlet only.
fn echo(tls: &Acceptor, stream: TcpStream) -> io::Result<()> {
    let stream = tls.accept(stream)?;
    io::copy(&mut &stream, &mut &stream)?;
    stream.shutdown()
}

/// The client: one connection, one word.
fn talk(
    addr: std::net::SocketAddr,
    name: &str,
    trusted: Vec<CertificateDer<'static>>,
) -> Result<String, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted);
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let stream = Connector::new(Arc::new(config)).connect(name, TcpStream::connect(addr)?)?;
    io::Write::write_all(&mut &stream, b"hello")?;
    stream.shutdown()?;
    Ok(io::read_to_string(&stream)?)
}
