//! What accepting promises when many come at once.

mod support;

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::rc::Rc;

use support::{ms, watched};
use sward::net::{Server, TcpListener, TcpStream};
use sward::{spawn, timeout, yield_now};

#[test]
fn who_waits_first_accepts_first_and_who_has_left_is_skipped() {
    watched(|| {
        let listener = Rc::new(TcpListener::bind("127.0.0.1:0")?);
        let addr = listener.local_addr()?;
        let accepted = Rc::new(RefCell::new(Vec::new()));
        let waiters: Vec<_> = (0..10)
            .map(|i| {
                let (listener, accepted) = (listener.clone(), accepted.clone());
                spawn(move || {
                    let accept = || listener.accept().unwrap().1;
                    let peer = if i == 3 { timeout(ms(5), accept).ok() } else { Some(accept()) };
                    accepted.borrow_mut().extend(peer.map(|peer| (i, peer)));
                })
            })
            .collect();
        yield_now(); // all wait
        waiters[0].kill();
        waiters[6].kill();
        waiters[3].wait(); // for too long
        let clients: Vec<_> = (0..7).map(|_| TcpStream::connect(addr)).collect::<Result<_, _>>()?;
        for waiter in waiters {
            let _ = waiter.join();
        }
        let order = [1, 2, 4, 5, 7, 8, 9].into_iter();
        let wanted: Vec<_> = order.zip(&clients).map(|(i, client)| (i, client.local_addr().unwrap())).collect();
        assert_eq!(*accepted.borrow(), wanted);
        Ok(())
    });
}

#[test]
fn a_server_with_many_to_accept_lets_others_run_meanwhile() {
    watched(|| {
        const CLIENTS: usize = 400;
        let server = Server::bind("127.0.0.1:0")?;
        let (addr, handle) = (server.local_addr()?, server.handle());
        // std's, so that nobody accepts meanwhile: all of them are there when the server begins.
        let clients = (0..CLIENTS).map(|_| std::net::TcpStream::connect(addr)).collect::<io::Result<Vec<_>>>()?;
        let handled = Rc::new(Cell::new(0));
        let serving = spawn({
            let handled = handled.clone();
            move || server.serve(move |_, _| handled.set(handled.get() + 1))
        });
        let (mut before, mut most) = (0, 0);
        while before < CLIENTS {
            yield_now();
            most = most.max(handled.get() - before);
            before = handled.get();
        }
        // After 128 calls in a row that need not wait everybody else has a turn.
        assert!((1..=130).contains(&most), "{most} connections without a turn for others");
        drop(clients);
        handle.stop();
        serving.join().unwrap()
    });
}

#[test]
fn servers_on_several_hubs_follow_each_other_on_a_port() {
    watched(|| {
        let mut addr = "127.0.0.1:0".parse().unwrap();
        for round in 0..4 {
            let server = Server::bind(addr)?.threads(1 + round % 3);
            addr = server.local_addr()?;
            let handle = server.handle();
            let serving = spawn(move || {
                server.serve(move |mut stream, _| {
                    // The server closes first: its side stays in TIME_WAIT, on the port that the next one wants.
                    stream.write_all(&[round as u8])
                })
            });
            for _ in 0..20 {
                let mut answer = Vec::new();
                TcpStream::connect(addr)?.read_to_end(&mut answer)?;
                assert_eq!(answer, [round as u8], "from this server and no other");
            }
            assert!(handle.stop_timeout(ms(20_000)));
            serving.join().unwrap()?;
        }
        Ok(())
    });
}
