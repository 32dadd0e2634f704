//! A connection has no greenlet of its own; who works for it belongs to it nevertheless.

mod support;

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use support::client::Client;
use support::{Running, bind, ms, read_answer, start_with, watched};
use sward::inspect::snapshot;
use sward::net::TcpStream;
use sward::sync::Event;
use sward::web::{Body, Reply, Request, Response, ServerHandle, upgrade};

/// How many greenlets there are, but for those that poll connections: one or two for all.
fn greenlets() -> usize {
    snapshot().iter().filter(|greenlet| greenlet.name.as_deref() != Some("web poller")).count()
}

#[test]
fn open_connections_have_no_greenlets() {
    watched(|| {
        const COUNT: usize = 50;
        let (gate, arrived) = (Rc::new(Event::new()), Rc::new(Cell::new(0)));
        let (theirs, arrives) = (gate.clone(), arrived.clone());
        let server = start_with(bind()?, move |request| {
            if request.uri().path() == "/blocks" {
                arrives.set(arrives.get() + 1);
                theirs.wait();
            }
            Response::new("done")
        })?;
        let mut first = server.connect()?;
        first.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
        read_answer(&mut first)?;
        let before = greenlets();
        let mut connections: Vec<TcpStream> = (0..COUNT).map(|_| server.connect()).collect::<io::Result<_>>()?;
        sward::sleep(ms(20)); // they are accepted
        assert_eq!(greenlets(), before, "connections that have not been used yet");
        for stream in &mut connections {
            stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
            read_answer(stream)?;
        }
        assert_eq!(greenlets(), before, "idle connections");
        for stream in &mut connections {
            stream.write_all(b"GET /blocks HTTP/1.1\r\nhost: a\r\n\r\n")?;
        }
        while arrived.get() < COUNT {
            sward::sleep(ms(1));
        }
        assert_eq!(greenlets(), before + COUNT, "one for each request that blocks");
        gate.set();
        for stream in &mut connections {
            read_answer(stream)?;
        }
        assert_eq!(greenlets(), before, "idle connections again");
        server.stop()
    });
}

/// Stops the server in the handler: before it has blocked, after that, in the body and in what takes the connection over.
fn stopping(request: &Request<Body>, handle: ServerHandle, stopped: Rc<Cell<bool>>) -> io::Result<Response<Reply>> {
    let stop = move || {
        handle.stop();
        assert!(!handle.is_stopped(), "its own request is in flight");
        stopped.set(true);
    };
    match request.uri().path() {
        "/at-once" => stop(),
        "/later" => {
            sward::sleep(ms(2));
            stop();
        }
        "/body" => {
            let write = move |writer: &mut sward::web::Writer| {
                stop();
                writer.write_all(b"done")
            };
            return Ok(Response::new(Reply::from_writer(write)));
        }
        _ => {
            upgrade(move |mut stream| {
                stop();
                _ = stream.write_all(b"done");
            })?;
            let head = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "x");
            return Ok(head.body(Reply::default()).unwrap());
        }
    }
    Ok(Response::new("done".into()))
}

/// A server that its handlers stop, and whether one has.
fn server_that_stops() -> io::Result<(Running, Rc<Cell<bool>>)> {
    let server = bind()?;
    let (handle, stopped) = (server.handle(), Rc::new(Cell::new(false)));
    let theirs = stopped.clone();
    let running = start_with(server, move |request| stopping(&request, handle.clone(), theirs.clone()))?;
    Ok((running, stopped))
}

#[test]
fn a_handler_may_stop_its_server() {
    watched(|| {
        for path in ["/at-once", "/later", "/body", "/upgrade"] {
            let (server, stopped) = server_that_stops()?;
            let idle = server.connect()?;
            let head = if path == "/upgrade" { "connection: upgrade\r\nupgrade: x\r\n" } else { "" };
            let answer = server.send(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n{head}\r\n"))?;
            assert!(answer.contains("done"), "{path}: {answer}");
            assert!(stopped.get(), "{path}");
            server.serving.join().unwrap()?;
            assert_eq!((&idle).read(&mut [0])?, 0, "{path}");
        }
        for path in ["/at-once", "/later", "/body"] {
            let (server, stopped) = server_that_stops()?;
            let client = Client::connect(server.addr)?;
            assert_eq!(client.send(path, None)?, (200, "done".to_owned()), "{path}");
            assert!(stopped.get(), "{path}");
            drop(client);
            server.serving.join().unwrap()?;
        }
        Ok(())
    });
}

/// What a connection leaves behind counts until it has ended, and is killed with the server.
#[test]
fn requests_without_their_connection_are_finished_or_killed() {
    watched(|| {
        for limit in [None, Some(ms(20))] {
            let ended = Rc::new(RefCell::new(Vec::new()));
            let theirs = ended.clone();
            let server = start_with(bind()?, move |request| {
                if request.uri().path() == "/at-once" {
                    return Response::new("nobody reads this");
                }
                let killed = Tells(theirs.clone());
                sward::sleep(if limit.is_some() { ms(50_000) } else { ms(50) });
                killed.finished();
                Response::new("nobody reads this")
            })?;
            let mut stream = server.connect()?;
            stream.write_all(b"GET /at-once HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
            sward::sleep(ms(10)); // the handler sleeps
            drop(stream); // a reset, since something is left to be read: the connection ends
            sward::sleep(ms(10));
            match limit {
                None => server.handle.stop(),
                Some(limit) => assert!(!server.handle.stop_timeout(limit)),
            }
            server.serving.join().unwrap()?;
            sward::yield_now();
            assert_eq!(*ended.borrow(), [if limit.is_some() { "killed" } else { "finished" }]);
        }
        Ok(())
    });
}

/// Tells how it ended.
struct Tells(Rc<RefCell<Vec<&'static str>>>);

impl Tells {
    fn finished(self) {
        self.0.borrow_mut().push("finished");
        std::mem::forget(self);
    }
}

impl Drop for Tells {
    fn drop(&mut self) {
        self.0.borrow_mut().push("killed");
    }
}

/// Requests that come together are read, answered and written together; if what answers them computes for long, the first
/// does not wait for the last.
#[test]
fn an_answer_does_not_wait_for_others_that_take_long() {
    watched(|| {
        const COUNT: usize = 8;
        let received = Arc::new(AtomicUsize::new(0));
        let (begun, seen) = (Rc::new(Cell::new(0)), received.clone());
        let begins = begun.clone();
        let server = start_with(bind()?, move |_| {
            let before = begins.replace(begins.get() + 1);
            // The first ones take long, and the server learns that; each of the others sees the answers before its own.
            let enough = |now: Instant| before < COUNT && now.elapsed() > ms(2);
            let since = Instant::now();
            while !enough(since) && seen.load(Ordering::SeqCst) < before && since.elapsed() < ms(10_000) {
                std::hint::spin_loop();
            }
            assert!(before < COUNT || seen.load(Ordering::SeqCst) >= before, "an answer is kept back");
            Response::new("done")
        })?;
        let addr = server.addr;
        let clients = std::thread::spawn(move || {
            let connections: Vec<_> =
                (0..COUNT).map(|_| std::net::TcpStream::connect(addr)).collect::<io::Result<_>>()?;
            for _ in 0..2 {
                for mut stream in &connections {
                    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
                }
                std::thread::scope(|scope| {
                    for mut stream in &connections {
                        let received = &received;
                        scope.spawn(move || {
                            let answer = read_answer(&mut stream).unwrap();
                            assert!(answer.ends_with("done"), "{answer}");
                            received.fetch_add(1, Ordering::SeqCst);
                        });
                    }
                });
            }
            io::Result::Ok(())
        });
        while !clients.is_finished() {
            sward::sleep(ms(1));
        }
        clients.join().unwrap()?;
        assert_eq!(begun.get(), 2 * COUNT);
        server.stop()
    });
}

/// Whichever of the server's hubs it is on.
#[test]
fn a_handler_may_stop_its_server_on_any_hub() {
    watched(|| {
        for n in 0..12 {
            let server = bind()?.threads(3);
            let (addr, handle) = (server.local_addr()?, server.handle());
            let theirs = handle.clone();
            let serving = sward::spawn(move || {
                server.serve(move |_| {
                    if n % 2 == 0 {
                        sward::sleep(ms(1));
                    }
                    theirs.stop();
                    Response::new("done")
                })
            });
            let mut idle: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(addr)).collect::<io::Result<_>>()?;
            let mut stream = TcpStream::connect(addr)?;
            stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
            assert!(read_answer(&mut stream)?.ends_with("done"));
            serving.join().unwrap()?;
            assert!(handle.is_stopped());
            for idle in &mut idle {
                let end = idle.read(&mut [0]);
                assert!(end.is_err() || end.is_ok_and(|n| n == 0));
            }
        }
        Ok(())
    });
}

/// Whatever it was and however it ended: the next connection is accepted when the one before has gone.
#[test]
fn each_connection_gives_its_place_back() {
    watched(|| {
        let server = start_with(bind()?.pool(1), |request: Request<Body>| {
            match request.uri().path() {
                "/panics" => panic!("this panic is part of the test"),
                "/is-killed" => sward::current().kill(),
                "/writes" => return Response::new(Reply::from_writer(|_| panic!("this panic is part of the test"))),
                "/upgrade" => {
                    upgrade(|mut stream| _ = stream.read(&mut [0])).unwrap();
                    let head = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "x");
                    return head.body(Reply::default()).unwrap();
                }
                _ => {}
            }
            sward::yield_now();
            Response::new("done".into())
        })?;
        let requests = [
            "",
            "\r\n",
            "GET",
            "nonsense\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense and more nonsense",
            "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET /panics HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET /is-killed HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET /writes HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET /upgrade HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n12345",
        ];
        for request in requests {
            for resets in [false, true] {
                for waits in [0, 2] {
                    let mut stream = server.connect()?;
                    if resets {
                        rustix::net::sockopt::set_socket_linger(&stream, Some(ms(0)))?;
                    }
                    stream.write_all(request.as_bytes())?;
                    sward::sleep(ms(waits));
                }
            }
            let answer = server.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
            assert!(answer.ends_with("done"), "after {request:?}: {answer}");
        }
        server.stop()
    });
}
