//! The echo servers. Each has one thread and a buffer of the same size for each read.

use std::io::{self, Read, Write};
use std::net::TcpListener;

/// Large enough that a request is always a short read: nobody has to try again to learn that there is no more.
const BUFFER: usize = 16 << 10;

/// A buffer of ordinary size, for the memory of idle connections: it is part of what a connection costs.
const SMALL: usize = 1 << 10;

/// A server: what it is called, what runs it, and what runs it with a small buffer.
type Server = (&'static str, fn(TcpListener) -> io::Result<()>, fn(TcpListener) -> io::Result<()>);

/// What is measured.
pub const SERVERS: [Server; 3] = [
    ("epoll loop", epoll, epoll),
    ("sward", sward::<BUFFER>, sward::<SMALL>),
    ("tokio", tokio::<BUFFER>, tokio::<SMALL>),
];

/// Ordinary code on sward.
fn sward<const N: usize>(listener: TcpListener) -> io::Result<()> {
    sward::net::Server::from(sward::net::TcpListener::from(listener)).serve(|mut stream, _peer| -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut buffer = [0; N];
        loop {
            let n = stream.read(&mut buffer)?;
            if n == 0 {
                return Ok(());
            }
            stream.write_all(&buffer[..n])?;
        }
    })
}

/// The same on tokio.
fn tokio<const N: usize>(listener: TcpListener) -> io::Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    listener.set_nonblocking(true)?;
    tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (mut stream, _peer) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                let mut buffer = [0; N];
                loop {
                    let n = stream.read(&mut buffer).await?;
                    if n == 0 {
                        return io::Result::Ok(());
                    }
                    stream.write_all(&buffer[..n]).await?;
                }
            });
        }
    })
}

/// What one would write by hand: edge-triggered, registered once, one buffer for all.
fn epoll(listener: TcpListener) -> io::Result<()> {
    use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
    listener.set_nonblocking(true)?;
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, EventData::new_u64(u64::MAX), EventFlags::IN)?;
    let mut streams: Vec<Option<std::net::TcpStream>> = Vec::new();
    let mut free = Vec::new();
    let mut events = Vec::<Event>::with_capacity(1024);
    let mut buffer = [0; BUFFER];
    loop {
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let key = event.data.u64() as usize;
            if key == u64::MAX as usize {
                let (stream, _peer) = listener.accept()?;
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                let key = free.pop().unwrap_or(streams.len());
                let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
                epoll::add(&poll, &stream, EventData::new_u64(key as u64), flags)?;
                match streams.get_mut(key) {
                    Some(place) => *place = Some(stream),
                    None => streams.push(Some(stream)),
                }
                continue;
            }
            let Some(mut stream) = streams[key].as_ref() else { continue };
            if !{ event.flags }.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
                continue;
            }
            let end = loop {
                match stream.read(&mut buffer) {
                    Ok(0) => break true,
                    // The load never has more in flight than the kernel's buffers hold.
                    Ok(n) if stream.write_all(&buffer[..n]).is_err() => break true,
                    Ok(n) if n < buffer.len() => break { event.flags }.contains(EventFlags::RDHUP),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break false,
                    Err(_) => break true,
                }
            };
            if end {
                streams[key] = None;
                free.push(key);
            }
        }
    }
}
