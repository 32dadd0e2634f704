//! Questions about what is going on, and somebody to be told of.

use std::hint::black_box;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use sward::net::TcpStream;
use sward::{Builder, Greenlet, sleep};

/// For waits that must not end by themselves.
const FOREVER: Duration = Duration::from_secs(24 * 3600);

/// One request: the answer's head, and its body.
pub fn send(addr: SocketAddr, request: &str) -> io::Result<(String, Vec<u8>)> {
    let mut stream = TcpStream::connect(addr)?;
    write!(stream, "{request} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    let body = answer.split_off(end);
    Ok((String::from_utf8(answer).unwrap(), body))
}

/// The text at that path.
pub fn get(addr: SocketAddr, path: &str) -> io::Result<String> {
    let (head, body) = send(addr, &format!("GET {path}"))?;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("\r\ncache-control: no-store\r\n"), "{head}");
    Ok(String::from_utf8(body).unwrap())
}

/// A greenlet of that name, parked in a function that can be found in its calls.
pub fn parked(name: &str) -> Greenlet<()> {
    let greenlet = Builder::new().name(name).spawn(wait_in_here).unwrap();
    sward::yield_now();
    greenlet
}

#[inline(never)]
pub fn wait_in_here() {
    sleep(FOREVER);
    black_box(());
}

/// A thread with a hub and a parked greenlet.
pub struct OtherHub {
    end: sward::sync::channel::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl OtherHub {
    pub fn with(name: &'static str) -> OtherHub {
        let (tell, told) = channel();
        let (end, ended) = sward::sync::channel::unbounded::<()>();
        let thread = thread::Builder::new().name("the other hub".to_owned()).spawn(move || {
            let g = parked(name);
            tell.send(()).unwrap();
            ended.recv().unwrap_err();
            g.kill();
        });
        told.recv().unwrap();
        OtherHub { end, thread: thread.unwrap() }
    }

    pub fn end(self) {
        drop(self.end);
        self.thread.join().unwrap();
    }
}
