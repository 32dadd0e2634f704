//! What a kill and a timeout promise at each place of this crate where a greenlet may block: the call ends at once,
//! nothing that it held is left behind, and what it worked on still works. In a process of its own, since it counts
//! descriptors.

mod support;

use std::io::{self, Read, Write};
use std::os::unix::net::SocketAddr as UnixAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use support::{ms, tcp_pair, watched};
use sward::net::{
    Server, TcpListener, TcpStream, ToSocketAddrs, UdpSocket, UnixDatagram, UnixListener, UnixStream, wait_readable,
    wait_writable,
};
use sward::process::{Command, Stdio};
use sward::{sleep, spawn, timeout, yield_now};

/// How long a call may go on after its interrupt, on a machine under load.
const SOON: Duration = Duration::from_secs(10);

/// A place: its name, and what makes the call that blocks there.
type Place = (&'static str, Box<dyn Fn() -> Box<dyn FnOnce()>>);

/// A place whose call is made with what `make` has made.
fn place<T: 'static>(name: &'static str, make: impl Fn() -> T + 'static, call: impl Fn(T) + Copy + 'static) -> Place {
    (
        name,
        Box::new(move || {
            let it = make();
            Box::new(move || call(it))
        }),
    )
}

/// A stream whose buffers are full in both directions' kernels, and its peer.
fn full() -> (TcpStream, TcpStream) {
    let (stream, peer) = tcp_pair().unwrap();
    stream.set_nonblocking(true).unwrap();
    while (&stream).write(&[0; 64 << 10]).is_ok() {}
    stream.set_nonblocking(false).unwrap();
    (stream, peer)
}

/// A listener whose backlog is full, and those who fill it.
fn crowded() -> (std::net::TcpListener, Vec<TcpStream>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut crowd = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&addr, ms(50)) {
        crowd.push(stream);
    }
    (listener, crowd)
}

/// A name that no listener of another test has.
fn unique(name: &str) -> UnixAddr {
    use std::os::linux::net::SocketAddrExt;
    use std::sync::atomic::{AtomicU32, Ordering};
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    UnixAddr::from_abstract_name(format!("sward-{name}-{}-{number}", std::process::id())).unwrap()
}

/// A socket for datagrams that is connected to a receiver which is full.
fn full_datagrams() -> (UnixDatagram, UnixDatagram) {
    let (sender, receiver) = UnixDatagram::pair().unwrap();
    sender.set_nonblocking(true).unwrap();
    while sender.send(&[0; 1000]).is_ok() {}
    sender.set_nonblocking(false).unwrap();
    (sender, receiver)
}

/// A child that runs until it is killed; it is when this is dropped.
struct Sleeper(sward::process::Child);

impl Sleeper {
    fn new() -> Sleeper {
        let mut command = Command::new("sleep");
        command.arg("1000").stdin(Stdio::piped()).stdout(Stdio::piped());
        Sleeper(command.spawn().unwrap())
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // Unwinding or not: neither call needs another greenlet.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A greenlet that does not outlive this.
struct KillOnDrop(sward::Greenlet<()>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.0.kill();
    }
}

/// Sockets.
fn sockets() -> Vec<Place> {
    let pair = || tcp_pair().unwrap();
    let udp = || UdpSocket::bind("127.0.0.1:0").unwrap();
    vec![
        place("TcpStream::read", pair, |(stream, _peer)| drop((&stream).read(&mut [0]))),
        place("TcpStream::peek", pair, |(stream, _peer)| drop(stream.peek(&mut [0]))),
        place("TcpStream::write", full, |(stream, _peer)| drop((&stream).write_all(&[0; 9 << 20]))),
        place("TcpStream::connect", crowded, |(listener, _crowd)| {
            drop(TcpStream::connect(listener.local_addr().unwrap()));
        }),
        place("TcpListener::accept", || TcpListener::bind("127.0.0.1:0").unwrap(), |listener| drop(listener.accept())),
        place("UdpSocket::recv_from", udp, |socket| drop(socket.recv_from(&mut [0]))),
        place("UdpSocket::peek_from", udp, |socket| drop(socket.peek_from(&mut [0]))),
        place("UnixStream::read", || UnixStream::pair().unwrap(), |(stream, _peer)| drop((&stream).read(&mut [0]))),
        place("UnixListener::accept", || UnixListener::bind_addr(&unique("accept")).unwrap(), |it| drop(it.accept())),
        place("UnixDatagram::recv", || UnixDatagram::pair().unwrap(), |(it, _peer)| drop(it.recv(&mut [0]))),
        place("UnixDatagram::send", full_datagrams, |(sender, _receiver)| drop(sender.send(&[0; 1000]))),
        place("wait_readable", || std::io::pipe().unwrap(), |(reader, _writer)| drop(wait_readable(&reader, None))),
        place("wait_writable", full, |(stream, _peer)| drop(wait_writable(&stream, None))),
        // The second in the line for one direction.
        place(
            "TcpStream::read, in line",
            || {
                let (stream, peer) = tcp_pair().unwrap();
                let stream = Rc::new(stream);
                let first = spawn({
                    let stream = stream.clone();
                    move || drop((&*stream).read(&mut [0]))
                });
                yield_now();
                (stream, peer, first)
            },
            |(stream, _peer, first)| {
                let _first = KillOnDrop(first);
                drop((&*stream).read(&mut [0]));
            },
        ),
    ]
}

/// What is not a socket.
fn others() -> Vec<Place> {
    vec![
        place("Child::wait", Sleeper::new, |mut child| drop(child.0.wait())),
        place("Child::wait_timeout", Sleeper::new, |mut child| drop(child.0.wait_timeout(Duration::from_secs(999)))),
        place("ChildStdout::read", Sleeper::new, |mut child| {
            drop(child.0.stdout.as_mut().unwrap().read(&mut [0]));
        }),
        place("ChildStdin::write", Sleeper::new, |mut child| {
            drop(child.0.stdin.as_mut().unwrap().write_all(&[0; 1 << 20]));
        }),
        place("signal::wait", || (), |()| drop(sward::signal::wait(&[sward::signal::SIGUSR2]))),
        place("Server::serve", || Server::bind("127.0.0.1:0").unwrap(), |server| drop(server.serve(|_, _| ()))),
        place(
            "Server::serve, its pool is full",
            || {
                let server = Server::bind("127.0.0.1:0").unwrap().pool(1);
                let addr = server.local_addr().unwrap();
                (server, [TcpStream::connect(addr).unwrap(), TcpStream::connect(addr).unwrap()])
            },
            |(server, _clients)| drop(server.serve(|_, _| sleep(Duration::from_secs(999)))),
        ),
        place("ServerHandle::wait_stop", || Server::bind("127.0.0.1:0").unwrap().handle(), |handle| handle.wait_stop()),
    ]
}

/// Open file descriptors.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Waits until no more descriptors are open than this.
fn wait_for(before: usize, name: &str) {
    let start = Instant::now();
    while descriptors() > before {
        assert!(start.elapsed() < SOON, "{name}: {before} descriptors, now {}", descriptors());
        sleep(ms(1));
    }
}

#[test]
fn kill_and_timeout_end_every_call_and_leave_nothing() {
    watched(|| {
        // What is made once: the poller, the resolver's thread, the catcher of the signal.
        let _ = ("localhost", 0).to_socket_addrs()?.count();
        let _ = sward::signal::wait_timeout(&[sward::signal::SIGUSR2], ms(1));
        for (name, make) in sockets().into_iter().chain(others()) {
            let before = descriptors();
            let call = make();
            let blocked = spawn(call);
            sleep(ms(1));
            assert!(!blocked.is_finished(), "{name} did not block");
            let start = Instant::now();
            blocked.kill();
            assert!(blocked.join().unwrap_err().is_killed(), "{name}");
            assert!(start.elapsed() < SOON, "{name} was killed after {:?}", start.elapsed());
            wait_for(before, name);

            let call = make();
            let start = Instant::now();
            assert!(timeout(ms(5), call).is_err(), "{name} did not block");
            assert!(start.elapsed() < SOON, "{name} timed out after {:?}", start.elapsed());
            wait_for(before, name);
        }
        Ok(())
    });
}

#[test]
fn a_child_killed_by_somebody_else_wakes_who_waits_for_it() -> io::Result<()> {
    let mut child = Command::new("sleep").arg("1000").spawn()?;
    let id = child.id();
    let waiter = spawn(move || child.wait());
    sleep(ms(2));
    let killed = std::process::Command::new("kill").args(["-KILL", &id.to_string()]).status()?;
    assert!(killed.success());
    let status = waiter.join().unwrap()?;
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    Ok(())
}
