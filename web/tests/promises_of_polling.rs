//! All connections are polled in the same greenlet, and none of them knows: whatever blocks there stops nobody else.

mod support;

use std::cell::Cell;
use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::Frame;
use support::bodies::Calls;
use support::client::Client;
use support::{Running, ms, start, watched};
use sward::net::TcpStream;
use sward::sync::Event;
use sward::web::{Body, Reply, Request, Response};

/// Answers `/blocks` with a body that waits for `gate` when it is polled.
fn blocking(gate: &Rc<Event>) -> impl Fn(Request<Body>) -> Response<Reply> + use<> {
    let gate = gate.clone();
    move |request| match request.uri().path() {
        "/blocks" => {
            let gate = gate.clone();
            Response::new(Reply::from_body(Calls::when_polled(move || gate.wait())))
        }
        _ => Response::new("at once".into()),
    }
}

/// Opens connections and, once all are there, sends a request for each of `paths` on one of its own.
fn ask(server: &Running, paths: &[&str]) -> io::Result<Vec<TcpStream>> {
    let mut streams: Vec<TcpStream> = paths.iter().map(|_| server.connect()).collect::<io::Result<_>>()?;
    sward::sleep(ms(20)); // accepted
    for (stream, path) in streams.iter_mut().zip(paths) {
        write!(stream, "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")?;
    }
    Ok(streams)
}

/// The end of the answer.
fn answer(stream: &mut TcpStream) -> io::Result<String> {
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn bodies_that_block_when_they_are_polled_stop_no_other_connection() {
    watched(|| {
        let gate = Rc::new(Event::new());
        let server = start(blocking(&gate))?;
        // Those that block are among those that come together with them, before and after.
        let paths = ["/", "/blocks", "/", "/blocks", "/blocks", "/", "/"];
        let mut streams = ask(&server, &paths)?;
        for (stream, path) in streams.iter_mut().zip(paths) {
            if path == "/" {
                assert!(answer(stream)?.ends_with("\r\n\r\nat once"));
            }
        }
        for mut stream in ask(&server, &["/"; 3])? {
            assert!(answer(&mut stream)?.ends_with("\r\n\r\nat once"), "also those that come later");
        }
        gate.set();
        for (stream, path) in streams.iter_mut().zip(paths) {
            if path == "/blocks" {
                assert!(answer(stream)?.ends_with("4\r\ndone\r\n0\r\n\r\n"));
            }
        }
        server.stop()
    });
}

/// Counts its drops.
struct Count(Rc<Cell<usize>>);

impl Drop for Count {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

/// The first write of a connection waits for the greenlets that it has spawned, not for other connections.
#[test]
fn what_a_blocked_poller_was_to_write_is_written() {
    watched(|| {
        let gate = Rc::new(Event::new());
        let opened = gate.clone();
        let server = start(move |request| {
            let gate = opened.clone();
            if request.uri().path() == "/blocks" {
                return Response::new(Reply::from_body(Calls::when_polled(move || gate.wait())));
            }
            Response::new(Reply::from_writer(move |writer| {
                gate.wait();
                writer.write_all(b"written")
            }))
        })?;
        let mut streams = ask(&server, &["/writes", "/blocks"])?;
        let mut head = [0; 15];
        streams[0].read_exact(&mut head)?;
        assert_eq!(head, *b"HTTP/1.1 200 OK");
        gate.set();
        assert!(answer(&mut streams[0])?.ends_with("written\r\n0\r\n\r\n"));
        server.stop()
    });
}

thread_local! {
    /// How often this thread, a test's, has panicked.
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// Counts panics.
fn count_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.with(|panics| panics.set(panics.get() + 1));
            before(panic);
        }));
    });
}

/// Their connections are gone before they are.
#[test]
fn bodies_may_survive_their_connection_for_a_while() {
    watched(|| {
        count_panics();
        let (begun, ended) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (begins, count) = (begun.clone(), ended.clone());
        let server = start(move |request| {
            let (begins, count) = (begins.clone(), Count(count.clone()));
            let shields = request.uri().path() == "/shields";
            let call = move || {
                let _count = count;
                begins.set(begins.get() + 1);
                if shields {
                    sward::shield(|| sward::sleep(ms(100)));
                } else {
                    _ = catch_unwind(|| sward::sleep(Duration::from_secs(50)));
                }
            };
            Response::new(Reply::from_body(Calls::when_polled(call)))
        })?;
        let mut streams = Vec::new();
        for path in ["/shields", "/swallows"] {
            let mut stream = server.connect()?;
            write!(stream, "GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")?;
            streams.push(stream);
            let client = Client::connect(server.addr)?;
            sward::spawn(move || client.send(path, None));
        }
        while begun.get() < 4 {
            sward::sleep(ms(1));
        }
        assert!(!server.handle.stop_timeout(ms(20)));
        server.serving.join().unwrap()?;
        while ended.get() < 4 {
            sward::sleep(ms(1));
        }
        sward::sleep(ms(1)); // the connections have been polled to the end
        assert_eq!(PANICS.get(), 0);
        Ok(())
    });
}

#[test]
fn a_body_that_kills_its_greenlet_harms_no_other_connection() {
    watched(|| {
        let server = start(|request| {
            let kills = request.uri().path() == "/kills";
            let call = move || if kills { sward::current().kill() } else { sward::sleep(ms(5)) };
            Response::new(Reply::from_body(Calls::when_polled(call)))
        })?;
        let paths = ["/kills", "/", "/kills", "/"];
        for (stream, path) in ask(&server, &paths)?.iter_mut().zip(paths) {
            assert!(answer(stream)?.ends_with("4\r\ndone\r\n0\r\n\r\n"), "{path}");
        }
        server.stop()
    });
}

/// A body that panics where its name says.
struct Panics(String);

impl Panics {
    fn at(&self, place: &str) {
        assert!(!self.0.contains(place), "this panic is part of the test");
    }
}

impl http_body::Body for Panics {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.at("poll");
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.at("end");
        false
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.at("hint");
        http_body::SizeHint::default()
    }
}

impl Drop for Panics {
    fn drop(&mut self) {
        self.at("drop");
    }
}

#[test]
fn a_body_that_panics_anywhere_harms_no_other_request() {
    watched(|| {
        let server = start(|request| match request.uri().path() {
            "/slow" => {
                sward::sleep(ms(50));
                Response::new("fine".into())
            }
            "/upgrade" => {
                sward::web::upgrade(|_| ()).unwrap();
                let response = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "x");
                response.body(Reply::from_body(Panics("hint, drop".into()))).unwrap()
            }
            place => Response::new(Reply::from_body(Panics(place.into()))),
        })?;
        for place in ["/poll", "/end", "/hint", "/drop", "/poll, drop"] {
            let answer = server.send(&format!("GET {} HTTP/1.1\r\nhost: a\r\n\r\n", place.replace(' ', "")))?;
            assert_eq!(answer.ends_with("\r\n\r\n0\r\n\r\n"), !place.contains("poll"), "{place}: {answer}");
            // Nor do other streams of the same connection notice.
            let client = Client::connect(server.addr)?;
            let slow = sward::spawn({
                let client = client.clone();
                move || client.send("/slow", None)
            });
            sward::sleep(ms(5));
            assert_eq!(client.send(&place.replace(' ', ""), None).is_ok(), !place.contains("poll"), "{place}");
            assert_eq!(slow.join().unwrap()?, (200, "fine".to_owned()), "{place}");
        }
        let request = "GET /upgrade HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
        let answer = server.send(request)?;
        assert!(answer.starts_with("HTTP/1.1 101 ") && answer.ends_with("\r\n\r\n"), "{answer}");
        server.stop()
    });
}

/// A body that never ends, and how much of it was asked for since somebody else had a turn.
struct Endless {
    unshared: Rc<Cell<usize>>,
    most: Rc<Cell<usize>>,
}

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        const PIECE: &[u8] = &[0; 64 * 1024];
        self.unshared.set(self.unshared.get() + PIECE.len());
        self.most.set(self.most.get().max(self.unshared.get()));
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(PIECE)))))
    }
}

/// The client is never slower than the server.
#[test]
fn an_endless_body_lets_others_run() {
    watched(|| {
        let (unshared, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (theirs, theirs2) = (unshared.clone(), most.clone());
        let server = start(move |_| {
            Response::new(Reply::from_body(Endless { unshared: theirs.clone(), most: theirs2.clone() }))
        })?;
        let addr = server.addr;
        let reader = std::thread::spawn(move || {
            let mut stream = std::net::TcpStream::connect(addr)?;
            stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
            io::copy(&mut stream.take(500 << 20), &mut io::sink())
        });
        while !reader.is_finished() {
            unshared.set(0);
            sward::yield_now();
        }
        reader.join().unwrap()?;
        let most = most.get();
        assert!(most < 8 << 20, "{most} bytes in a row");
        server.stop()
    });
}

#[test]
fn the_end_of_the_grace_time_ends_bodies_that_block_when_they_are_polled() {
    watched(|| {
        let dropped = Rc::new(Cell::new(0));
        let counts = dropped.clone();
        let server = start(move |_| {
            let count = Count(counts.clone());
            let call = move || {
                let _count = count;
                sward::sleep(Duration::from_secs(50));
            };
            Response::new(Reply::from_body(Calls::when_polled(call)))
        })?;
        let streams = ask(&server, &["/"; 5])?;
        sward::sleep(ms(20)); // they are being polled
        let begun = Instant::now();
        assert!(!server.handle.stop_timeout(ms(50)));
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        server.serving.join().unwrap()?;
        sward::sleep(ms(1));
        assert_eq!(dropped.get(), 5);
        drop(streams);
        Ok(())
    });
}

#[test]
fn nothing_is_left_of_a_server_that_has_stopped() {
    watched(|| {
        let gate = Rc::new(Event::new());
        let server = start(blocking(&gate))?;
        let mut streams = ask(&server, &["/blocks", "/", "/blocks", "/"])?;
        assert!(answer(&mut streams[3])?.ends_with("at once"));
        gate.set();
        for stream in &mut streams[..3] {
            answer(stream)?;
        }
        server.stop()?;
        drop(streams);
        // Were anything parked still, the report would name it; could anything wake the hub, there would be none.
        let waiting = catch_unwind(AssertUnwindSafe(|| Event::new().wait()));
        let report = *waiting.unwrap_err().downcast::<String>().unwrap();
        assert!(report.contains("deadlock") && !report.contains("web poller"), "{report}");
        Ok(())
    });
}

/// A body that another thread wakes.
enum FromAnotherThread {
    New,
    Waiting(Arc<AtomicBool>),
    Given,
}

impl http_body::Body for FromAnotherThread {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &*self {
            FromAnotherThread::New => {
                let (done, waker) = (Arc::new(AtomicBool::new(false)), cx.waker().clone());
                *self = FromAnotherThread::Waiting(done.clone());
                std::thread::spawn(move || {
                    std::thread::sleep(ms(20)); // the hub sleeps
                    done.store(true, Ordering::SeqCst);
                    waker.wake();
                });
                Poll::Pending
            }
            FromAnotherThread::Waiting(done) if done.load(Ordering::SeqCst) => {
                *self = FromAnotherThread::Given;
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"done")))))
            }
            FromAnotherThread::Waiting(_) => Poll::Pending,
            FromAnotherThread::Given => Poll::Ready(None),
        }
    }
}

#[test]
fn another_thread_may_wake_a_body() {
    watched(|| {
        let server = start(|_| Response::new(Reply::from_body(FromAnotherThread::New)))?;
        for mut stream in ask(&server, &["/"; 3])? {
            assert!(answer(&mut stream)?.ends_with("4\r\ndone\r\n0\r\n\r\n"));
        }
        server.stop()
    });
}

#[test]
fn however_many_are_ready_others_have_their_turn_in_between() {
    watched(|| {
        const MANY: usize = 300;
        let answered = Rc::new(Cell::new(0));
        let count = answered.clone();
        let server = start(move |_| {
            count.set(count.get() + 1);
            Response::new(Reply::from("ok"))
        })?;
        let mut streams: Vec<TcpStream> = (0..MANY).map(|_| server.connect()).collect::<io::Result<_>>()?;
        let ask = |stream: &TcpStream| rustix::io::write(stream, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        // Two rounds: in the first one the connections are accepted.
        for round in 1..=2 {
            let (seen, running) = (Rc::new(Cell::new(0)), answered.clone());
            let most = seen.clone();
            let other = sward::spawn(move || {
                let mut last = running.get();
                while running.get() < round * MANY {
                    sward::yield_now();
                    most.set(most.get().max(running.get() - last));
                    last = running.get();
                }
            });
            // Not by calls that let others run in between: the server is to find all requests at once.
            for stream in &streams {
                assert_eq!(ask(stream)?, 27);
            }
            for stream in &mut streams {
                assert!(support::read_answer(stream)?.ends_with("ok"));
            }
            other.join().unwrap();
            assert!(seen.get() <= 64, "{} requests in a row in round {round}", seen.get());
        }
        server.stop()
    });
}
