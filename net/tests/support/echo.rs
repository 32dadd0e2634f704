//! An echo server that counts, and its client.

#![allow(dead_code, unreachable_pub)] // each test file is a crate of its own and uses what it needs

use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;
use std::time::Duration;

use sward::net::{Server, ServerHandle, Shutdown, SocketAddr, TcpStream};
use sward::{scope, spawn};

/// How long a wait may take that nothing of ours should prolong, on a machine under load.
pub const LONG: Duration = Duration::from_secs(20);

/// An echo server that counts; it stops when dropped.
pub struct Echo {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Bytes received and sent back.
    pub counts: [Rc<Cell<usize>>; 2],
    /// How its connections ended.
    pub ends: Rc<Ends>,
    /// Stops it.
    handle: ServerHandle,
}

/// How connections ended.
#[derive(Default)]
pub struct Ends {
    /// The client closed it.
    pub whole: Cell<usize>,
    /// It was reset.
    pub reset: Cell<usize>,
    /// The client was silent for too long.
    pub timed_out: Cell<usize>,
}

impl Echo {
    /// Waits at most `limit` for each read. Each handler has a clone of `alive`.
    pub fn new(limit: Duration, alive: &Rc<()>) -> io::Result<Echo> {
        let server = Server::bind("127.0.0.1:0")?;
        let (addr, handle) = (server.local_addr()?, server.handle());
        let counts: [Rc<Cell<usize>>; 2] = Default::default();
        let ends = Rc::<Ends>::default();
        let (alive, its_counts, its_ends) = (alive.clone(), counts.clone(), ends.clone());
        spawn(move || {
            server.serve(move |stream, _peer| {
                let _alive = alive.clone();
                stream.set_read_timeout(Some(limit)).unwrap();
                stream.set_write_timeout(Some(LONG)).unwrap();
                let end = match echo(&stream, &its_counts).map_err(|error| error.kind()) {
                    Ok(()) => &its_ends.whole,
                    Err(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => &its_ends.reset,
                    Err(ErrorKind::TimedOut | ErrorKind::WouldBlock) => &its_ends.timed_out,
                    Err(other) => panic!("an echo server sees {other:?}"),
                };
                end.set(end.get() + 1);
            })
        });
        Ok(Echo { addr, counts, ends, handle })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.handle.stop_timeout(Duration::ZERO);
    }
}

/// One connection.
fn echo(mut stream: &TcpStream, counts: &[Rc<Cell<usize>>; 2]) -> io::Result<()> {
    let mut buf = vec![0; 4 << 10];
    loop {
        let n = stream.read(&mut buf)?;
        if n == 0 {
            return Ok(());
        }
        counts[0].set(counts[0].get() + n);
        stream.write_all(&buf[..n])?;
        counts[1].set(counts[1].get() + n);
    }
}

/// Bytes of which no two connections send the same.
pub fn text(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| (seed * 31 + i % 251 + i / 251) as u8).collect()
}

/// Sends everything, receives everything: from two greenlets, so that no buffer needs to hold it.
pub fn talk(addr: SocketAddr, sent: &[u8]) -> io::Result<Vec<u8>> {
    let stream = TcpStream::connect(addr)?;
    scope(|s| {
        let writing = s.spawn(|| {
            (&stream).write_all(sent)?;
            stream.shutdown(Shutdown::Write)
        });
        let mut received = Vec::new();
        (&stream).read_to_end(&mut received)?;
        writing.join().unwrap()?;
        Ok(received)
    })
}
