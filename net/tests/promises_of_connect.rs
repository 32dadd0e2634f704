//! What connecting promises.

mod support;

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use support::{ms, watched};
use sward::net::{TcpListener, TcpStream};
use sward::{spawn, timeout, yield_now};

#[test]
fn connect_tells_what_went_wrong() {
    watched(|| {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let gone = listener.local_addr()?;
        drop(listener);
        assert_eq!(TcpStream::connect(gone).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let alive = TcpListener::bind("127.0.0.1:0")?;
        let addrs = [gone, alive.local_addr()?];
        assert_eq!(TcpStream::connect(&addrs[..])?.peer_addr()?, addrs[1]);
        assert_eq!(TcpStream::connect(&[][..]).unwrap_err().kind(), ErrorKind::InvalidInput);
        let zero = TcpStream::connect_timeout(&addrs[1], Duration::ZERO);
        assert_eq!(zero.unwrap_err().kind(), ErrorKind::InvalidInput);
        Ok(())
    });
}

/// The backlog of a listener that never accepts is full: the kernel drops the SYNs of the next.
fn full_listener() -> io::Result<(std::net::TcpListener, Vec<TcpStream>)> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into())?;
    socket.listen(0)?;
    let listener = std::net::TcpListener::from(socket);
    let addr = listener.local_addr()?;
    let mut clients = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&addr, ms(200)) {
        clients.push(stream);
    }
    Ok((listener, clients))
}

#[test]
fn a_connect_can_be_limited_and_interrupted_and_then_holds_no_descriptor() {
    watched(|| {
        let (listener, _clients) = full_listener()?;
        let addr = listener.local_addr()?;
        let start = Instant::now();
        let error = TcpStream::connect_timeout(&addr, ms(30)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(start.elapsed() >= ms(30));
        assert!(timeout(ms(30), || TcpStream::connect(addr)).is_err());
        let g = spawn(move || TcpStream::connect(addr));
        yield_now();
        g.kill();
        assert!(g.join().unwrap_err().is_killed());
        let open = std::fs::read_dir("/proc/self/fd")?.flatten();
        let open = open.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to.starts_with("socket:")));
        assert!(open.count() < 200);
        Ok(())
    });
}

#[test]
fn five_hundred_connect_before_anybody_accepts() {
    watched(|| {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let addr = listener.local_addr()?;
        // With room for fewer in the backlog the rest would have to send their SYN again, which they do after a second,
        // and never be connected while nobody accepts.
        let connect = move || TcpStream::connect_timeout(&addr, Duration::from_secs(20));
        let clients: Vec<_> = (0..500).map(|_| spawn(connect)).collect();
        let streams: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect::<Result<_, _>>()?;
        let accepted: Vec<_> = listener.incoming().take(400).collect::<Result<_, _>>()?;
        assert_eq!((streams.len(), accepted.len()), (500, 400));
        Ok(())
    });
}
