//! A proxy that misbehaves on purpose: what networks do, without a network.

#![allow(unreachable_pub)] // each test file is a crate of its own

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::time::Duration;

use socket2::SockRef;
use sward::net::{Server, ServerHandle, Shutdown, SocketAddr, TcpStream};
use sward::{sleep, spawn, yield_now};

/// What the proxy does to connections.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    /// Holds everything back for so long.
    Delay(Duration),
    /// Passes one byte at a time.
    OneByte,
    /// Resets both sides after so many bytes from the client.
    Reset(usize),
    /// After so many bytes from the client nothing passes any more, and nobody is told.
    HalfOpen(usize),
}

/// A running proxy; it stops when dropped.
pub struct Proxy {
    /// Where clients connect to.
    pub addr: SocketAddr,
    /// Bytes passed from clients to the server, and back.
    pub passed: [Rc<Cell<usize>>; 2],
    /// Stops it.
    handle: ServerHandle,
}

impl Proxy {
    /// Stands before `server`. Each of its greenlets has a clone of `alive`.
    pub fn new(server: SocketAddr, trouble: Trouble, alive: &Rc<()>) -> io::Result<Proxy> {
        let listening = Server::bind("127.0.0.1:0")?;
        let (addr, handle) = (listening.local_addr()?, listening.handle());
        let passed: [Rc<Cell<usize>>; 2] = Default::default();
        let (counts, alive) = (passed.clone(), alive.clone());
        spawn(move || {
            listening.serve(move |client, _peer| -> io::Result<()> {
                let _alive = alive.clone();
                client.set_nodelay(true)?;
                let server = TcpStream::connect(server)?;
                server.set_nodelay(true)?;
                carry(Rc::new(client), Rc::new(server), trouble, &counts, &alive)
            })
        });
        Ok(Proxy { addr, passed, handle })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.handle.stop_timeout(Duration::ZERO);
    }
}

/// One connection.
fn carry(
    client: Rc<TcpStream>,
    server: Rc<TcpStream>,
    trouble: Trouble,
    counts: &[Rc<Cell<usize>>; 2],
    alive: &Rc<()>,
) -> io::Result<()> {
    let limit = match trouble {
        Trouble::Reset(limit) | Trouble::HalfOpen(limit) => limit,
        Trouble::Delay(_) | Trouble::OneByte => usize::MAX,
    };
    let back = spawn({
        let (client, server, count, alive) = (client.clone(), server.clone(), counts[1].clone(), alive.clone());
        move || {
            let _alive = alive;
            if pump(&server, &client, trouble, usize::MAX, &count).is_err() {
                // The other direction ends with this one.
                let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
            }
        }
    });
    let is_whole = pump(&client, &server, trouble, limit, &counts[0]);
    match (is_whole, trouble) {
        (Ok(false), Trouble::Reset(_)) => {
            back.kill();
            let _ = back.join();
            SockRef::from(&*client).set_linger(Some(Duration::ZERO))?;
            SockRef::from(&*server).set_linger(Some(Duration::ZERO))?;
        }
        (Ok(false), _) => {
            back.kill();
            let _ = back.join();
            // Until both have given up, each by itself.
            let _ = io::copy(&mut &*client, &mut io::sink());
            let _ = io::copy(&mut &*server, &mut io::sink());
        }
        (Ok(true), _) => drop(back.join()),
        (Err(_), _) => {
            let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
            let _ = back.join();
        }
    }
    Ok(())
}

/// One direction, at most `limit` bytes; whether it came to the stream's end and has passed that on.
fn pump(
    mut from: &TcpStream,
    mut to: &TcpStream,
    trouble: Trouble,
    limit: usize,
    count: &Cell<usize>,
) -> io::Result<bool> {
    let (mut buf, mut left) = (vec![0; 4 << 10], limit);
    while left > 0 {
        let most = buf.len().min(left);
        let n = from.read(&mut buf[..most])?;
        if n == 0 {
            to.shutdown(Shutdown::Write)?;
            return Ok(true);
        }
        left -= n;
        match trouble {
            Trouble::OneByte => {
                for byte in &buf[..n] {
                    to.write_all(std::slice::from_ref(byte))?;
                    yield_now();
                }
            }
            Trouble::Delay(delay) => {
                sleep(delay);
                to.write_all(&buf[..n])?;
            }
            Trouble::Reset(_) | Trouble::HalfOpen(_) => to.write_all(&buf[..n])?,
        }
        count.set(count.get() + n);
    }
    Ok(false)
}
