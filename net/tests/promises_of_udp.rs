//! What `UdpSocket` promises.

mod support;

use std::io::ErrorKind;
use std::net::Ipv4Addr;

use support::{ms, watched};
use sward::net::UdpSocket;
use sward::{scope, sleep, spawn, yield_now};

#[test]
fn datagrams_arrive_whole_and_in_order() {
    watched(|| {
        let a = UdpSocket::bind("127.0.0.1:0")?;
        let b = UdpSocket::bind("127.0.0.1:0")?;
        let to = b.local_addr()?;
        scope(|s| {
            s.spawn(|| {
                for i in 0..500_u32 {
                    let len = (i as usize % 7) * 10;
                    a.send_to(&vec![i as u8; len], to).unwrap();
                    if i % 50 == 0 {
                        sleep(ms(1));
                    }
                }
            });
            let mut buf = [0; 128];
            for i in 0..500_u32 {
                let (n, _) = b.recv_from(&mut buf)?;
                assert_eq!(n, (i as usize % 7) * 10);
                assert!(buf[..n].iter().all(|byte| *byte == i as u8));
            }
            Ok(())
        })
    });
}

#[test]
fn a_short_datagram_does_not_hide_the_next() {
    watched(|| {
        let a = UdpSocket::bind("127.0.0.1:0")?;
        let b = UdpSocket::bind("127.0.0.1:0")?;
        a.connect(b.local_addr()?)?;
        b.connect(a.local_addr()?)?;
        assert_eq!(b.peer_addr()?, a.local_addr()?);
        let reader = spawn(move || -> std::io::Result<Vec<usize>> {
            let mut buf = [0; 64];
            (0..4).map(|_| b.recv(&mut buf)).collect()
        });
        yield_now();
        for text in ["a", "", "bcd", "ef"] {
            a.send(text.as_bytes())?;
        }
        assert_eq!(reader.join().unwrap()?, [1, 0, 3, 2]);
        Ok(())
    });
}

#[test]
fn peek_leaves_the_datagram() {
    watched(|| {
        let a = UdpSocket::bind("127.0.0.1:0")?;
        let b = UdpSocket::bind("127.0.0.1:0")?;
        a.send_to(b"hello", ("localhost", b.local_addr()?.port()))?;
        let mut buf = [0; 8];
        assert_eq!(b.peek_from(&mut buf)?, (5, a.local_addr()?));
        assert_eq!(b.peek(&mut buf)?, 5);
        assert_eq!(b.recv_from(&mut buf)?, (5, a.local_addr()?));
        b.set_read_timeout(Some(ms(2)))?;
        assert_eq!(b.recv(&mut buf).unwrap_err().kind(), ErrorKind::TimedOut);
        b.set_nonblocking(true)?;
        assert_eq!(b.recv(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(a.send_to(b"x", &[][..]).unwrap_err().kind(), ErrorKind::InvalidInput);
        Ok(())
    });
}

#[test]
fn an_unreachable_port_is_reported() {
    watched(|| {
        let gone = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
        let a = UdpSocket::bind("127.0.0.1:0")?;
        a.connect(gone)?;
        a.send(b"x")?;
        assert_eq!(a.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        Ok(())
    });
}

#[test]
fn multicast_works() {
    watched(|| {
        let group = Ipv4Addr::new(239, 255, 77, 7);
        let receiver = UdpSocket::bind("0.0.0.0:0")?;
        receiver.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST)?;
        let sender = UdpSocket::bind("127.0.0.1:0")?;
        sender.set_multicast_ttl_v4(1)?;
        socket2::SockRef::from(&sender).set_multicast_if_v4(&Ipv4Addr::LOCALHOST)?;
        sender.send_to(b"to all", (group, receiver.local_addr()?.port()))?;
        receiver.set_read_timeout(Some(ms(5000)))?;
        assert_eq!(receiver.recv(&mut [0; 16])?, 6);
        receiver.leave_multicast_v4(&group, &Ipv4Addr::LOCALHOST)?;
        Ok(())
    });
}
