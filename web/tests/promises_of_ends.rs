//! However a server ends, whoever ends it and whatever its connections are at: they are closed, and nobody waits forever.

mod support;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::Frame;
use support::bodies::Calls;
use support::client::Client;
use support::{bind, ms, read_answer, start, start_with, watched};
use sward::web::{Body, Reply, Request, Response, Server};

/// A body that never comes, and calls a closure when it is dropped.
struct Never<D: FnMut()>(D);

impl<D: FnMut() + Unpin> http_body::Body for Never<D> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

impl<D: FnMut()> Drop for Never<D> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// One path for each thing that a connection can be at.
fn everything(request: &Request<Body>) -> Response<Reply> {
    const LONG: Duration = Duration::from_secs(50);
    match request.uri().path() {
        "/sleeps" => sward::sleep(LONG),
        "/writes" => {
            return Response::new(Reply::from_writer(|writer| {
                writer.write_all(b"x")?;
                sward::sleep(LONG);
                Ok(())
            }));
        }
        "/blocks" => return Response::new(Reply::from_body(Calls::when_polled(|| sward::sleep(LONG)))),
        "/never" => return Response::new(Reply::from_body(Never(|| ()))),
        "/upgrade" => {
            sward::web::upgrade(|mut stream| _ = stream.read(&mut [0])).unwrap();
            let head = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "x");
            return head.body(Reply::default()).unwrap();
        }
        _ => {}
    }
    Response::new("done".into())
}

/// An HTTP/2 connection with a stream for each of these paths, of which `/` has been answered.
fn http2(addr: SocketAddr, paths: &[&str]) -> io::Result<std::net::TcpStream> {
    let mut client = std::net::TcpStream::connect(addr)?;
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")?;
    for (stream, path) in (1..).step_by(2).zip(paths) {
        let mut fields = vec![0x82, 0x86, 0x01, 1, b'a', 0x04, path.len() as u8]; // GET, http, an authority and a path
        fields.extend(path.as_bytes());
        client.write_all(&[0, 0, fields.len() as u8, 1, 5, 0, 0, 0, stream])?;
        client.write_all(&fields)?;
    }
    let mut said = Vec::new();
    while paths.contains(&"/") && !said.ends_with(b"done") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        said.push(byte[0]);
    }
    Ok(client)
}

/// Clients of such a server, which are where it takes long.
fn clients(addr: SocketAddr) -> io::Result<Vec<std::net::TcpStream>> {
    let mut clients = Vec::new();
    for _ in 0..3 {
        for path in ["", "/", "/sleeps", "/writes", "/blocks", "/never", "/upgrade"] {
            let mut client = std::net::TcpStream::connect(addr)?;
            let more = if path == "/upgrade" { "connection: upgrade\r\nupgrade: x\r\n" } else { "" };
            if !path.is_empty() {
                write!(client, "GET {path} HTTP/1.1\r\nhost: a\r\n{more}\r\n")?;
            }
            if path == "/" {
                assert!(read_answer(&mut client)?.ends_with("done"));
            }
            clients.push(client);
        }
        clients.push(http2(addr, &[])?);
        clients.push(http2(addr, &["/", "/sleeps", "/never", "/writes", "/sleeps", "/sleeps"])?);
        clients.push(http2(addr, &["/sleeps", "/blocks"])?);
        // It is sent an answer, and goes on.
        let mut lingers = std::net::TcpStream::connect(addr)?;
        lingers.write_all(b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 100\r\n\r\n")?;
        assert!(read_answer(&mut lingers)?.ends_with("done"));
        clients.push(lingers);
    }
    thread::sleep(ms(20)); // all of them are where they are to be
    Ok(clients)
}

/// Has a hub of its own serve until `end` is true, in one of several ways; `app` is kept for as long as the application is.
fn serve_until(end: &AtomicBool, way: &str, app: Arc<()>, addr: mpsc::Sender<SocketAddr>) -> io::Result<()> {
    let server = bind()?;
    addr.send(server.local_addr()?).unwrap();
    let until_end = || {
        while !end.load(Ordering::SeqCst) {
            sward::sleep(ms(1));
        }
    };
    let handle = server.handle();
    let serve = move || {
        server.serve(move |request| {
            _ = &app;
            everything(&request)
        })
    };
    match way {
        "its hub is run to the end" => sward::run(|| {
            sward::spawn(serve);
            until_end();
        }),
        "serve is killed, and its hub run to the end" => sward::run(|| {
            let serving = sward::spawn(serve);
            until_end();
            serving.kill();
        }),
        "its thread ends" => {
            sward::spawn(serve);
            until_end();
        }
        "serve is killed" => {
            let serving = sward::spawn(serve);
            until_end();
            serving.kill();
            _ = serving.join();
            sward::sleep(ms(20)); // the hub goes on
        }
        _ => {
            let serving = sward::spawn(serve);
            until_end();
            assert!(!handle.stop_timeout(ms(10)));
            serving.join().unwrap()?;
        }
    }
    Ok(())
}

#[test]
fn connections_end_with_their_hub() {
    let ways = [
        "its hub is run to the end",
        "serve is killed, and its hub run to the end",
        "its thread ends",
        "serve is killed",
        "the grace time ends",
    ];
    for way in ways {
        watched(|| {
            let (end, (tell, told)) = (Arc::new(AtomicBool::new(false)), mpsc::channel());
            let (theirs, app) = (end.clone(), Arc::new(()));
            let their_app = app.clone();
            let hub = thread::spawn(move || serve_until(&theirs, way, their_app, tell));
            let clients = clients(told.recv().unwrap())?;
            end.store(true, Ordering::SeqCst);
            hub.join().unwrap()?;
            assert_eq!(Arc::strong_count(&app), 1, "{way}: something is kept");
            for (place, mut client) in clients.into_iter().enumerate() {
                client.set_read_timeout(Some(ms(5000)))?;
                let mut rest = Vec::new();
                if let Err(error) = client.read_to_end(&mut rest) {
                    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{way}: client {place}: {error}");
                }
            }
            Ok(())
        });
    }
}

/// Says a lot, and a while later kills who polls it.
#[derive(Default)]
struct Cut {
    said: usize,
}

impl http_body::Body for Cut {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        const PIECE: &[u8] = &[b'x'; 14_000];
        self.said += 1;
        if self.said == 1 {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(PIECE)))));
        }
        if self.said > 2 {
            sward::current().kill();
            sward::sleep(Duration::from_secs(50));
        }
        let waker = cx.waker().clone();
        sward::spawn_later(ms(20), || waker.wake());
        Poll::Pending
    }
}

/// A client that takes little at a time.
fn connect_narrowly(addr: SocketAddr) -> io::Result<std::net::TcpStream> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None)?;
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 2000)?;
    rustix::net::connect(&socket, &addr)?;
    Ok(socket.into())
}

#[test]
fn what_was_said_before_a_connection_was_cut_off_is_sent() {
    watched(|| {
        let listener = sward::net::TcpListener::bind("127.0.0.1:0")?;
        rustix::net::sockopt::set_socket_send_buffer_size(&listener, 4000)?; // connections inherit it
        let addr = listener.local_addr()?;
        let server = Server::from(listener).write_timeout(None).head_timeout(None); // nothing else wakes it
        let handle = server.handle();
        let serving = sward::spawn(move || server.serve(|_| Response::new(Reply::from_body(Cut::default()))));
        let mut client = connect_narrowly(addr)?;
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
        sward::sleep(ms(50)); // it is cut off, with much of that unsent
        let reader = thread::spawn(move || {
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).map(|_| answer)
        });
        let answer = sward::offload(|| reader.join().unwrap())?;
        assert_eq!(answer.iter().filter(|byte| **byte == b'x').count(), 14_000);
        assert!(!answer.ends_with(b"0\r\n\r\n"), "nobody takes it for a whole one");
        handle.stop();
        serving.join().unwrap()
    });
}

/// Nobody waits for itself.
#[test]
fn a_body_may_stop_its_server() {
    watched(|| {
        for path in ["/polled", "/dropped"] {
            for http2 in [false, true] {
                let server = bind()?;
                let (handle, stopped) = (server.handle(), Rc::new(Cell::new(false)));
                let theirs = stopped.clone();
                let server = start_with(server, move |request| {
                    let (handle, stopped) = (handle.clone(), theirs.clone());
                    let stop = move || {
                        handle.stop();
                        stopped.set(true);
                    };
                    Response::new(match request.uri().path() {
                        "/polled" => Reply::from_body(Calls::when_polled(stop)),
                        _ => Reply::from_body(Calls::when_dropped(stop)),
                    })
                })?;
                if http2 {
                    let client = Client::connect(server.addr)?;
                    assert_eq!(client.send(path, None)?, (200, "done".to_owned()), "{path}");
                } else {
                    let answer = server.send(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"))?;
                    assert!(answer.ends_with("4\r\ndone\r\n0\r\n\r\n"), "{path}: {answer}");
                }
                server.serving.join().unwrap()?;
                assert!(stopped.get(), "{path}");
            }
        }
        Ok(())
    });
}

#[test]
fn the_end_of_the_grace_time_waits_for_no_destructor() {
    watched(|| {
        let dropping = Rc::new(Cell::new(0));
        let theirs = dropping.clone();
        let server = start(move |_| {
            let dropping = theirs.clone();
            Response::new(Reply::from_body(Never(move || {
                dropping.set(dropping.get() + 1);
                sward::sleep(Duration::from_secs(50));
            })))
        })?;
        let mut streams = Vec::new();
        for _ in 0..5 {
            let mut stream = server.connect()?;
            stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
            streams.push(stream);
        }
        sward::sleep(ms(20)); // they are answered
        let begun = Instant::now();
        assert!(!server.handle.stop_timeout(ms(20)));
        server.serving.join().unwrap()?;
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        sward::sleep(ms(1));
        assert_eq!(dropping.get(), 5);
        Ok(())
    });
}

/// A body may keep what it runs in, which is not its own.
#[test]
fn who_polls_may_be_killed_at_any_time() {
    watched(|| {
        let pollers = Rc::new(RefCell::new(Vec::new()));
        let theirs = pollers.clone();
        let server = start(move |_| {
            let pollers = theirs.clone();
            Response::new(Reply::from_body(Calls::when_polled(move || {
                pollers.borrow_mut().push(sward::current());
            })))
        })?;
        let mut stream = server.connect()?;
        for _ in 0..5 {
            // All that take turns.
            for _ in 0..5 {
                stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
                let mut answer = Vec::new();
                while !answer.ends_with(b"4\r\ndone\r\n0\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte)?;
                    answer.push(byte[0]);
                }
            }
            pollers.borrow().iter().for_each(sward::Current::kill);
            sward::sleep(ms(1)); // they have ended
        }
        drop(stream);
        server.stop()
    });
}

/// A service that panics when it is cloned.
struct Unclonable;

impl Clone for Unclonable {
    fn clone(&self) -> Unclonable {
        panic!("this panic is part of the test");
    }
}

impl tower_service::Service<Request<Body>> for Unclonable {
    type Response = Response<Reply>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Reply>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        std::future::ready(Ok(Response::new(Reply::default())))
    }
}

#[test]
fn a_service_that_panics_when_a_hub_begins_ends_its_server() {
    watched(|| {
        let server: Server = bind()?;
        let addr = server.local_addr()?;
        let serving = sward::spawn(move || server.threads(2).serve_service(Unclonable));
        while let Ok(mut stream) = sward::net::TcpStream::connect(addr) {
            _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
            _ = stream.read(&mut [0]);
        }
        assert!(serving.join().is_err_and(|error| error.is_panic()));
        Ok(())
    });
}
