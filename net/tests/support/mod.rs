//! What the tests share.

#![allow(dead_code, unreachable_pub)] // no test file uses all of it

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use sward::net::{TcpListener, TcpStream};

/// How long a test may take; ten times as long where the machine is slowed down by a checker.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs a test; if it hangs, aborts the process with the test's name.
pub fn watched(test: impl FnOnce() -> io::Result<()>) {
    let name = thread::current().name().unwrap_or("main").to_owned();
    let _watchdog = Watchdog::new(name, LIMIT);
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
                // Not `eprintln!`: what it prints is captured by the test harness.
                let _ = writeln!(io::stderr(), "test {name} hangs, aborting");
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

/// The two ends of a TCP connection.
pub fn tcp_pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let a = TcpStream::connect(listener.local_addr()?)?;
    let (b, peer) = listener.accept()?;
    assert_eq!(peer, a.local_addr()?);
    Ok((a, b))
}
