//! A web server in this thread, for http and https.
#![allow(dead_code, reason = "each test file uses a part")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use sward::net::{TcpListener, TcpStream};
use sward::tls::rustls::ServerConfig;
use sward::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sward::tls::{Acceptor, TlsStream};

/// Where the server is.
pub(crate) struct Web {
    /// Its address.
    pub(crate) http: SocketAddr,
    /// The port where it speaks TLS, as "localhost".
    pub(crate) https: u16,
    /// Its certificate, which signs itself.
    pub(crate) certificate: CertificateDer<'static>,
    /// The same as text.
    pub(crate) pem: String,
}

/// Starts greenlets that answer each request with its path, 200 ms later.
pub(crate) fn serve() -> Web {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.key_pair.serialize_der()).unwrap();
    let certificate = made.cert.der().clone();
    let config = ServerConfig::builder().with_no_client_auth();
    let acceptor = Acceptor::new(Arc::new(config.with_single_cert(vec![certificate.clone()], key).unwrap()));
    let acceptor = std::rc::Rc::new(acceptor);
    let http = listen("127.0.0.1:0", |stream| answer(&stream, &stream));
    let https = listen("localhost:0", move |stream| {
        let stream: TlsStream<TcpStream> = acceptor.accept(stream)?;
        answer(&stream, &stream)?;
        stream.shutdown()
    });
    Web { http, https: https.port(), certificate, pem: made.cert.pem() }
}

fn listen(address: &str, serve: impl Fn(TcpStream) -> io::Result<()> + 'static) -> SocketAddr {
    let listener = TcpListener::bind(address).unwrap();
    let address = listener.local_addr().unwrap();
    let serve = std::rc::Rc::new(serve);
    sward::spawn(move || {
        for stream in listener.incoming() {
            let serve = serve.clone();
            // Clients go away in the middle: nobody's business here.
            sward::spawn(move || serve(stream?));
        }
    });
    address
}

fn answer(input: impl Read, mut output: impl Write) -> io::Result<()> {
    let mut lines = BufReader::new(input).lines();
    let request = lines.next().unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))?;
    lines.find(|line| line.as_ref().is_ok_and(String::is_empty));
    let path = request.split(' ').nth(1).unwrap();
    sward::sleep(crate::proof::WAIT);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", path.len());
    output.write_all((head + path).as_bytes())
}
