//! The load: a process of its own that keeps one request in flight on each of its connections.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// Follows the orders on standard input: `ADDR SIZE CONNECTIONS MILLISECONDS` connects and says `ready`; an empty line
/// then starts; the number of requests that were answered is the answer.
pub fn follow_orders() -> io::Result<()> {
    let mut orders = io::stdin().lines();
    while let Some(order) = orders.next().transpose()? {
        let words: Vec<&str> = order.split(' ').collect();
        let number = |at: usize| words[at].parse::<usize>().map_err(io::Error::other);
        let mut load = Load::new(words[0], number(1)?, number(2)?)?;
        load.run(Duration::ZERO)?; // one each
        println!("ready");
        orders.next();
        println!("{}", load.run(Duration::from_millis(number(3)? as u64))?);
    }
    Ok(())
}

/// The connections of one order.
struct Load {
    /// Tells which have received something.
    poll: std::os::fd::OwnedFd,
    /// The connections, each with the number of bytes of the answer that are missing.
    streams: Vec<(TcpStream, usize)>,
    /// What is sent.
    request: Vec<u8>,
}

impl Load {
    /// Connects.
    fn new(addr: &str, size: usize, connections: usize) -> io::Result<Load> {
        let poll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut streams = Vec::new();
        for key in 0..connections {
            let stream = TcpStream::connect(addr)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            epoll::add(&poll, &stream, EventData::new_u64(key as u64), EventFlags::IN | EventFlags::ET)?;
            streams.push((stream, 0));
        }
        Ok(Load { poll, streams, request: vec![7; size] })
    }

    /// Sends requests for so long, at least one on each connection; how many were answered.
    fn run(&mut self, length: Duration) -> io::Result<usize> {
        let until = Instant::now() + length;
        let (mut answered, mut in_flight) = (0, 0);
        for (stream, missing) in &mut self.streams {
            stream.write_all(&self.request)?;
            *missing = self.request.len();
            in_flight += 1;
        }
        let mut events = Vec::<Event>::with_capacity(1024);
        let mut buffer = vec![0; 64 << 10];
        while in_flight > 0 {
            events.clear();
            epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut events), None)?;
            let goes_on = Instant::now() < until;
            for event in &events {
                let (stream, missing) = &mut self.streams[event.data.u64() as usize];
                *missing -= match stream.read(&mut buffer) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    result => result?,
                };
                if *missing > 0 {
                    continue;
                }
                answered += 1;
                if goes_on {
                    stream.write_all(&self.request)?;
                    *missing = self.request.len();
                } else {
                    in_flight -= 1;
                }
            }
        }
        Ok(answered)
    }
}
