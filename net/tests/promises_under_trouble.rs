//! What sockets promise when the network misbehaves: every byte is accounted for, every wait ends, and nothing is
//! left behind.

#[path = "support/echo.rs"]
mod echo;
#[path = "support/proxy.rs"]
mod proxy;
mod support;

use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;
use std::time::Instant;

use echo::{Echo, LONG, talk, text};
use proxy::{Proxy, Trouble};
use support::{ms, watched};
use sward::net::TcpStream;
use sward::{join_all, scope, sleep, spawn, timeout};

/// Many clients through a proxy that is slow and loses nothing.
fn everything_arrives(trouble: Trouble, clients: usize, len: usize) -> io::Result<()> {
    let alive = Rc::new(());
    let server = Echo::new(LONG, &alive)?;
    let proxy = Proxy::new(server.addr, trouble, &alive)?;
    let addr = proxy.addr;
    let clients_run = (0..clients).map(|seed| {
        spawn(move || {
            let sent = text(seed, len);
            assert!(talk(addr, &sent).unwrap() == sent);
        })
    });
    for client in join_all(clients_run) {
        client.unwrap();
    }
    for count in server.counts.iter().chain(&proxy.passed) {
        assert_eq!(count.get(), clients * len);
    }
    all_end(&alive, [proxy], server);
    Ok(())
}

/// The greenlets of servers and proxies end by themselves after their clients.
#[track_caller]
fn all_end(alive: &Rc<()>, proxies: impl IntoIterator<Item = Proxy>, server: Echo) {
    let proxies: Vec<_> = proxies.into_iter().collect();
    // Ours, the server's, each proxy's.
    let idle = 1 + 1 + proxies.len();
    let ended = timeout(LONG, || {
        while Rc::strong_count(alive) > idle {
            sleep(ms(5));
        }
    });
    assert!(ended.is_ok(), "{} greenlets are left", Rc::strong_count(alive) - idle);
    drop((proxies, server));
}

#[test]
fn what_is_delayed_arrives() {
    watched(|| {
        let start = Instant::now();
        everything_arrives(Trouble::Delay(ms(20)), 50, 10_000)?;
        assert!(start.elapsed() >= ms(40) && start.elapsed() < LONG);
        Ok(())
    });
}

#[test]
fn what_comes_one_byte_at_a_time_arrives() {
    watched(|| everything_arrives(Trouble::OneByte, 20, 1000));
}

#[test]
fn a_reset_wakes_both_sides_and_they_are_told() {
    watched(|| {
        const CLIENTS: usize = 30;
        const AFTER: usize = 100_000;
        let alive = Rc::new(());
        let server = Echo::new(LONG, &alive)?;
        let proxy = Proxy::new(server.addr, Trouble::Reset(AFTER), &alive)?;
        let addr = proxy.addr;
        let clients = (0..CLIENTS).map(|seed| {
            spawn(move || {
                let (sent, mut received) = (text(seed, 2 * AFTER), Vec::new());
                let stream = TcpStream::connect(addr).unwrap();
                let told = scope(|s| {
                    let writing = s.spawn(|| (&stream).write_all(&sent));
                    let mut read = (&stream).read_to_end(&mut received).map(drop);
                    let written = writing.join().unwrap();
                    // The socket tells its error once: who hears of it is a matter of chance.
                    if written.is_err() {
                        read = written;
                    }
                    read.unwrap_err().kind()
                });
                assert!(matches!(told, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{told:?}");
                assert!(sent.starts_with(&received) && received.len() <= AFTER, "{} received", received.len());
                received.len()
            })
        });
        let received: usize = join_all(clients).into_iter().map(Result::unwrap).sum();
        let idle = 3;
        timeout(LONG, || {
            while Rc::strong_count(&alive) > idle {
                sleep(ms(5));
            }
        })
        .expect("handlers end when their connection is reset");
        let [up, back] = proxy.passed.each_ref().map(|count| count.get());
        let [taken, answered] = server.counts.each_ref().map(|count| count.get());
        assert_eq!(up, CLIENTS * AFTER);
        assert!(received <= back && back <= answered && answered <= taken && taken <= up);
        assert_eq!((server.ends.reset.get(), server.ends.whole.get()), (CLIENTS, 0));
        all_end(&alive, [proxy], server);
        Ok(())
    });
}

#[test]
fn a_half_open_connection_ends_by_timeouts_on_both_sides() {
    watched(|| {
        let alive = Rc::new(());
        let server = Echo::new(ms(150), &alive)?;
        let proxy = Proxy::new(server.addr, Trouble::HalfOpen(1000), &alive)?;
        let addr = proxy.addr;
        let start = Instant::now();
        let clients = (0..30_usize).map(|seed| {
            spawn(move || {
                let mut stream = TcpStream::connect(addr).unwrap();
                stream.set_read_timeout(Some(ms(100))).unwrap();
                let sent = text(seed, 2000);
                stream.write_all(&sent).unwrap();
                let mut received = Vec::new();
                let error = stream.read_to_end(&mut received).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::TimedOut);
                assert!(sent.starts_with(&received) && received.len() <= 1000);
            })
        });
        for client in join_all(clients) {
            client.unwrap();
        }
        assert!(start.elapsed() >= ms(100));
        let ends = server.ends.clone();
        all_end(&alive, [proxy], server);
        assert_eq!((ends.timed_out.get(), ends.whole.get(), ends.reset.get()), (30, 0, 0));
        Ok(())
    });
}
