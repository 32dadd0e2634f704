//! What the tests share.

#![allow(dead_code, unreachable_pub)] // no test file uses all of it

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use sward::net::TcpStream;
use sward::web::{Body, IntoAnswer, Request, Server, ServerHandle};

pub mod bodies;
pub mod client;
pub mod questions;
pub mod stages;

/// How long a test may take; ten times as long where the machine is slowed down by a checker.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs a test; if it hangs, aborts the process with the test's name.
pub fn watched(test: impl FnOnce() -> io::Result<()>) {
    watched_for(LIMIT, test);
}

/// As [`watched`], with a limit of its own.
pub fn watched_for(limit: Duration, test: impl FnOnce() -> io::Result<()>) {
    let name = thread::current().name().unwrap_or("main").to_owned();
    let _watchdog = Watchdog::new(name, limit);
    test().unwrap();
}

/// Aborts the process unless it is dropped in time.
pub struct Watchdog(#[allow(dead_code)] Sender<()>);

impl Watchdog {
    pub fn new(name: String, limit: Duration) -> Watchdog {
        let (alive, dropped): (Sender<()>, Receiver<()>) = channel();
        let limit = if std::env::var_os("SWARD_SLOW").is_some() { 10 * limit } else { limit };
        thread::spawn(move || {
            if dropped.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                eprintln!("test {name} hangs, aborting");
                std::process::abort();
            }
        });
        Watchdog(alive)
    }
}

/// Milliseconds.
pub fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A server that runs in a greenlet.
pub struct Running {
    pub addr: SocketAddr,
    pub handle: ServerHandle,
    pub serving: sward::Greenlet<io::Result<()>>,
}

impl Running {
    /// Stops the server and passes its error on.
    pub fn stop(self) -> io::Result<()> {
        self.handle.stop();
        self.serving.join().unwrap()
    }

    /// Sends `request` on a connection of its own, closes that side, and gives all that comes back.
    pub fn send(&self, request: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.addr)?;
        stream.write_all(request.as_bytes())?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(without_date(&answer))
    }

    /// A connection.
    pub fn connect(&self) -> io::Result<TcpStream> {
        TcpStream::connect(self.addr)
    }
}

/// A server on a free port.
pub fn bind() -> io::Result<Server> {
    Server::bind("127.0.0.1:0")
}

/// Serves with the default limits.
pub fn start<F, A>(handler: F) -> io::Result<Running>
where
    F: Fn(Request<Body>) -> A + 'static,
    A: IntoAnswer + 'static,
{
    start_with(bind()?, handler)
}

/// Serves.
pub fn start_with<F, A>(server: Server, handler: F) -> io::Result<Running>
where
    F: Fn(Request<Body>) -> A + 'static,
    A: IntoAnswer + 'static,
{
    let (addr, handle) = (server.local_addr()?, server.handle());
    Ok(Running { addr, handle, serving: sward::spawn(move || server.serve(handler)) })
}

/// The answers without their `date` lines, which no test can know.
pub fn without_date(answer: &str) -> String {
    let lines = answer.split_inclusive("\r\n").filter(|line| !line.starts_with("date: "));
    lines.collect()
}

/// Reads one answer with a `content-length`, or without a body.
pub fn read_answer(stream: &mut impl Read) -> io::Result<String> {
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        answer.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&answer).into_owned();
    let lower = head.to_lowercase();
    let len = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
    let len = len.map_or(0, |len| len.parse().unwrap());
    let mut body = vec![0; len];
    stream.read_exact(&mut body)?;
    Ok(without_date(&head) + &String::from_utf8_lossy(&body))
}

/// A certificate for "localhost" that signs itself.
#[cfg(feature = "tls")]
fn self_signed() -> rcgen::CertifiedKey {
    rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap()
}

/// A certificate for "localhost" and its key, in PEM, and who trusts it.
#[cfg(feature = "tls")]
pub fn certificate() -> (String, String, sward::tls::Connector) {
    use sward::tls::rustls::{ClientConfig, RootCertStore};
    let made = self_signed();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    (made.cert.pem(), made.key_pair.serialize_pem(), sward::tls::Connector::new(std::sync::Arc::new(client)))
}

/// A certificate for "localhost" that signs itself, and who trusts it.
#[cfg(feature = "tls")]
pub fn tls_configs() -> (sward::tls::rustls::ServerConfig, sward::tls::rustls::ClientConfig) {
    use sward::tls::rustls::pki_types::PrivateKeyDer;
    use sward::tls::rustls::{ClientConfig, RootCertStore, ServerConfig};
    let made = self_signed();
    let key = PrivateKeyDer::try_from(made.key_pair.serialize_der()).unwrap();
    let chain = vec![made.cert.der().clone()];
    let mut roots = RootCertStore::empty();
    roots.add(chain[0].clone()).unwrap();
    let server = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    (server, ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}
