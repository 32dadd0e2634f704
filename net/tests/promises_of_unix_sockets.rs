//! What `UnixStream`, `UnixListener` and `UnixDatagram` promise.

mod support;

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use support::{ms, watched};
use sward::net::{UnixDatagram, UnixListener, UnixStream};
use sward::{spawn, yield_now};

/// A path that no other test uses; removed when dropped.
struct TempPath(PathBuf);

impl TempPath {
    fn new(name: &str) -> TempPath {
        TempPath(std::env::temp_dir().join(format!("sward-{name}-{}", std::process::id())))
    }
}

impl Drop for TempPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn streams_carry_bytes_both_ways() {
    watched(|| {
        let path = TempPath::new("stream");
        let listener = UnixListener::bind(&path.0)?;
        let echo = spawn(move || -> io::Result<u64> {
            let (stream, peer) = listener.accept()?;
            assert!(peer.is_unnamed());
            assert_eq!(stream.local_addr()?.as_pathname(), listener.local_addr()?.as_pathname());
            io::copy(&mut &stream, &mut &stream)
        });
        let mut stream = UnixStream::connect(&path.0)?;
        assert_eq!(stream.peer_addr()?.as_pathname(), Some(&*path.0));
        let mut buf = [0; 4];
        for i in 0..100_u32 {
            stream.write_all(&i.to_le_bytes())?;
            stream.read_exact(&mut buf)?;
            assert_eq!(u32::from_le_bytes(buf), i);
        }
        stream.shutdown(std::net::Shutdown::Write)?;
        assert_eq!(echo.join().unwrap()?, 400);
        Ok(())
    });
}

#[test]
fn peers_addresses_are_told() {
    watched(|| {
        let name = |what: &str| SocketAddr::from_abstract_name(format!("sward-{what}-{}", std::process::id()));
        let listener = UnixListener::bind_addr(&name("listener")?)?;
        let client = UnixStream::connect_addr(&name("listener")?)?;
        let (_stream, peer) = listener.accept()?;
        assert!(peer.is_unnamed());
        assert_eq!(client.peer_addr()?.as_abstract_name(), listener.local_addr()?.as_abstract_name());
        let path = TempPath::new("named");
        let listener = UnixListener::bind(&path.0)?;
        let from = TempPath::new("named-client");
        let client = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
        client.bind(&socket2::SockAddr::unix(&from.0)?)?;
        client.connect(&socket2::SockAddr::unix(&path.0)?)?;
        assert_eq!(listener.accept()?.1.as_pathname(), Some(&*from.0));
        Ok(())
    });
}

/// The kernel ends a read where a descriptor was passed: a short read does not mean that there is
/// no more.
#[test]
fn a_read_cut_short_by_a_passed_descriptor_does_not_hide_the_rest() {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    watched(|| {
        let (a, mut b) = UnixStream::pair()?;
        b.set_read_timeout(Some(ms(1)))?;
        assert!(b.read(&mut [0; 64]).is_err()); // registered
        b.set_read_timeout(Some(ms(5000)))?;
        let fds = [a.as_fd()];
        let mut space = [std::mem::MaybeUninit::uninit(); 64];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        sendmsg(&a, &[IoSlice::new(b"one")], &mut control, SendFlags::empty())?;
        (&a).write_all(b"two")?;
        let mut text = [0; 6];
        b.read_exact(&mut text)?;
        assert_eq!(&text, b"onetwo");
        Ok(())
    });
}

#[test]
fn a_connect_waits_for_room_in_the_backlog() {
    watched(|| {
        let path = TempPath::new("backlog");
        let listener = std::os::unix::net::UnixListener::bind(&path.0)?;
        rustix::net::listen(&listener, 0)?;
        let clients: Vec<_> = (0..5)
            .map(|_| {
                let path = path.0.clone();
                spawn(move || UnixStream::connect(path))
            })
            .collect();
        sward::sleep(ms(20));
        assert!(!clients[4].is_finished());
        let listener = UnixListener::from(listener);
        for stream in listener.into_iter().take(5) {
            stream?;
        }
        for client in clients {
            client.join().unwrap()?;
        }
        Ok(())
    });
}

#[test]
fn three_hundred_connect_before_anybody_accepts() {
    watched(|| {
        let path = TempPath::new("burst");
        let listener = UnixListener::bind(&path.0)?;
        let clients: Vec<_> = (0..300)
            .map(|_| {
                let path = path.0.clone();
                spawn(move || UnixStream::connect(path))
            })
            .collect();
        // With std's backlog of 128 the rest would wait for somebody to accept.
        for client in clients {
            client.join().unwrap()?;
        }
        drop(listener);
        Ok(())
    });
}

#[test]
fn errors_are_std_s() {
    watched(|| {
        assert_eq!(UnixStream::connect("/nowhere/at/all").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(UnixStream::connect("a\0b").unwrap_err().kind(), ErrorKind::InvalidInput);
        let path = TempPath::new("twice");
        let _one = UnixListener::bind(&path.0)?;
        assert_eq!(UnixListener::bind(&path.0).unwrap_err().kind(), ErrorKind::AddrInUse);
        let (mut a, _b) = UnixStream::pair()?;
        a.set_read_timeout(Some(ms(5)))?;
        assert_eq!(a.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
        Ok(())
    });
}

#[test]
fn a_sender_waits_for_a_full_receiver() {
    watched(|| {
        let path = TempPath::new("datagram");
        let receiver = UnixDatagram::bind(&path.0)?;
        const COUNT: u32 = 2000;
        let not_connected = UnixDatagram::unbound()?;
        let connected = UnixDatagram::unbound()?;
        connected.connect(&path.0)?;
        let to = path.0.clone();
        let senders = [
            spawn(move || (0..COUNT).try_for_each(|i| not_connected.send_to(&i.to_le_bytes(), &to).map(drop))),
            spawn(move || (0..COUNT).try_for_each(|i| connected.send(&i.to_le_bytes()).map(drop))),
        ];
        sward::sleep(ms(20));
        assert!(senders.iter().all(|sender| !sender.is_finished()));
        let mut buf = [0; 8];
        for _ in 0..2 * COUNT {
            let (n, from) = receiver.recv_from(&mut buf)?;
            assert!(n == 4 && from.is_unnamed());
        }
        for sender in senders {
            sender.join().unwrap()?;
        }
        Ok(())
    });
}

#[test]
fn a_send_to_a_full_receiver_times_out() {
    watched(|| {
        let path = TempPath::new("full");
        let _receiver = UnixDatagram::bind(&path.0)?;
        let sender = UnixDatagram::unbound()?;
        sender.set_write_timeout(Some(ms(30)))?;
        let start = Instant::now();
        let error = loop {
            if let Err(error) = sender.send_to(b"x", &path.0) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(start.elapsed() >= ms(30) && start.elapsed() < ms(5000));
        Ok(())
    });
}

#[test]
fn shutdown_of_a_datagram_socket_wakes_who_waits() {
    watched(|| {
        let (a, _b) = UnixDatagram::pair()?;
        let clone = a.try_clone()?;
        let reader = spawn(move || clone.recv(&mut [0; 4]));
        yield_now();
        a.shutdown(std::net::Shutdown::Both)?;
        assert_eq!(reader.join().unwrap()?, 0);
        Ok(())
    });
}

#[test]
fn timeouts_survive_a_conversion() {
    watched(|| {
        let (theirs, _peer) = std::os::unix::net::UnixStream::pair()?;
        theirs.set_read_timeout(Some(ms(20)))?;
        theirs.set_write_timeout(Some(ms(40)))?;
        let ours = UnixStream::from(theirs);
        assert_eq!((ours.read_timeout()?, ours.write_timeout()?), (Some(ms(20)), Some(ms(40))));
        assert_eq!((&ours).read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
        ours.set_read_timeout(None)?;
        ours.try_clone()?.set_write_timeout(Some(ms(80)))?;
        let theirs = std::os::unix::net::UnixStream::from(ours);
        assert_eq!((theirs.read_timeout()?, theirs.write_timeout()?), (None, Some(ms(80))));
        let fresh = std::os::unix::net::UnixStream::from(UnixStream::pair()?.0);
        assert_eq!((fresh.read_timeout()?, fresh.write_timeout()?), (None, None));
        Ok(())
    });
}
