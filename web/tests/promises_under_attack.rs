//! Clients that leave, send nonsense, reset and repeat; handlers and bodies that panic; ends in every stage. Whatever
//! one of them does, the server goes on and nothing is left of it.

mod support;

use std::cell::Cell;
use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::Frame;
use support::client::Client;
use support::stages::{Guard, STAGES, every_stage, leave_after_any_byte, wait_for_none};
use support::{bind, ms, read_answer, start, start_with, watched};
use sward::net::{TcpStream, UnixStream};
use sward::sync::Event;
use sward::web::{self, Body, Reply, Request, Response};

#[test]
fn clients_may_leave_after_any_byte() {
    watched(|| {
        let (server, alive) = every_stage(bind()?)?;
        leave_after_any_byte(&server)?;
        wait_for_none(&alive);
        assert!(server.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")?.ends_with("answer"));
        let begun = Instant::now();
        server.stop()?;
        assert!(begun.elapsed() < Duration::from_secs(10), "no connection is left: {:?}", begun.elapsed());
        Ok(())
    });
}

#[test]
fn the_end_of_the_grace_time_ends_every_stage() {
    watched(|| {
        let (server, alive) = every_stage(bind()?)?;
        let mut clients = Vec::new();
        for request in STAGES.into_iter().chain(["GET /sleep HTTP/1.1\r\nhost: a\r\n\r\n"]) {
            for at in [0, 1, request.len() / 2, request.len() - 5, request.len()] {
                let mut stream = server.connect()?;
                stream.write_all(&request.as_bytes()[..at])?;
                clients.push(stream);
            }
        }
        let client = Client::connect(server.addr)?;
        for path in ["/sleep", "/write", "/body"] {
            let client = client.clone();
            sward::spawn(move || {
                let response = client.begin(path, None);
                sward::sleep(Duration::from_secs(1)); // it is not read
                drop(response);
            });
        }
        // Two bodies that stop coming, two writers that are not read, an upgraded connection, two that sleep.
        while alive.get() < 7 {
            sward::sleep(ms(1));
        }
        let begun = Instant::now();
        assert!(!server.handle.stop_timeout(ms(50)));
        server.serving.join().unwrap()?;
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        sward::sleep(ms(1));
        assert_eq!(alive.get(), 0, "handlers, writers and upgraded connections were unwound");
        Ok(())
    });
}

/// A body that gives a piece, and then panics, in the greenlet that polls the connection.
struct Bomb(bool);

impl http_body::Body for Bomb {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        assert!(!self.0, "this panic is part of the test");
        self.0 = true;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"piece")))))
    }
}

#[test]
fn a_body_that_panics_harms_no_other_request() {
    watched(|| {
        let server = start(|request| match request.uri().path() {
            "/bomb" => Response::new(Reply::from_body(Bomb(false))),
            "/slow" => {
                sward::sleep(ms(100));
                Response::new("fine".into())
            }
            _ => Response::new("fine".into()),
        })?;
        let answer = server.send("GET /bomb HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
        assert!(!answer.contains("0\r\n\r\n") && !answer.contains("fine"), "cut off: {answer}");
        // Another stream of the same connection is not affected.
        let client = Client::connect(server.addr)?;
        let slow = sward::spawn({
            let client = client.clone();
            move || client.send("/slow", None)
        });
        sward::sleep(ms(20));
        assert!(client.send("/bomb", None).is_err());
        assert_eq!(client.send("/", None)?, (200, "fine".to_owned()));
        assert_eq!(slow.join().unwrap()?, (200, "fine".to_owned()));
        drop(client);
        server.stop()
    });
}

#[test]
fn an_upgrade_may_go_wrong() {
    watched(|| {
        let server = start(|request: Request<Body>| {
            let path = request.uri().path();
            if path != "/silent" {
                let panics = path == "/panic-after";
                web::upgrade(move |mut stream| {
                    assert!(!panics, "this panic is part of the test");
                    _ = stream.write_all(b"upgraded");
                })?;
            }
            assert_ne!(path, "/panic-before", "this panic is part of the test too");
            let status = if path == "/changed-its-mind" { 200 } else { 101 };
            let response = Response::builder().status(status).header("connection", "upgrade").header("upgrade", "x");
            io::Result::Ok(response.body(()).unwrap())
        })?;
        let ask = |path| format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n");
        for (path, status, end) in [
            ("/", "101", "\r\n\r\nupgraded"),
            ("/panic-before", "500", "content-length: 0\r\n\r\n"),
            ("/panic-after", "101", "upgrade: x\r\n\r\n"),
            ("/silent", "101", "upgrade: x\r\n\r\n"), // without anybody to take the connection over: closed
            ("/changed-its-mind", "200", "content-length: 0\r\n\r\n"),
        ] {
            let answer = server.send(&ask(path))?;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.ends_with(end), "{path}: {answer}");
        }
        // After a panic before the upgrade the connection goes on.
        let mut stream = server.connect()?;
        stream.write_all(ask("/panic-before").as_bytes())?;
        assert!(read_answer(&mut stream)?.starts_with("HTTP/1.1 500 "));
        stream.write_all(ask("/").as_bytes())?;
        assert!(read_answer(&mut stream)?.starts_with("HTTP/1.1 101 "));
        let mut rest = String::new();
        stream.read_to_string(&mut rest)?;
        assert_eq!(rest, "upgraded");
        server.stop()
    });
}

/// A client that opens streams and resets them does not get more handlers than one that waits for its answers.
#[test]
fn streams_that_are_reset_are_counted_until_their_handlers_end() {
    watched(|| {
        let alive = Rc::new(Cell::new(0));
        let most = Rc::new(Cell::new(0));
        let released = Rc::new(Event::new());
        let server = start({
            let (alive, most, released) = (alive.clone(), most.clone(), released.clone());
            move |request| {
                let _guard = Guard::new(&alive);
                most.set(most.get().max(alive.get()));
                if request.uri().path() == "/sleep" {
                    released.wait();
                }
                Response::new("fine")
            }
        })?;
        let mut stream = server.connect()?;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")?;
        stream.set_nodelay(true)?;
        let mut listener = stream.try_clone()?;
        let closed = sward::spawn(move || io::copy(&mut listener, &mut io::sink()));
        for n in 0..1000_u32 {
            let id = (2 * n + 1).to_be_bytes();
            // GET http://a/sleep, the end of its headers and of the stream.
            let fields = b"\x82\x86\x04\x06/sleep\x01\x01a";
            let head = [&[0, 0, fields.len() as u8, 1, 5], &id[..], fields].concat();
            let reset = [&[0, 0, 4, 3, 0], &id[..], &[0, 0, 0, 8]].concat();
            if stream.write_all(&head).is_err() {
                break;
            }
            sward::sleep(ms(1)); // it is being answered
            _ = stream.write_all(&reset);
        }
        println!("most {}", most.get());
        assert!(most.get() <= 256, "{} handlers for one connection", most.get());
        assert!(most.get() > 20, "{} handlers are no test", most.get());
        released.set();
        wait_for_none(&alive);
        drop((stream, closed));
        // Others are served.
        let answer = Client::connect(server.addr)?.send("/", None)?;
        assert_eq!(answer, (200, "fine".to_owned()));
        server.stop()
    });
}

#[test]
fn handlers_may_get_their_answer_wrong() {
    watched(|| {
        let server = start(|request| {
            let response = Response::builder();
            match request.uri().path() {
                "/killed" => {
                    sward::current().kill();
                    sward::sleep(ms(1));
                    response.body("")
                }
                "/too-long" => response.header("content-length", 3).body("hello"),
                "/too-short" => response.header("content-length", 9).body("hello"),
                "/not-a-length" => response.header("content-length", "x").body("hello"),
                "/chunked" => response.header("transfer-encoding", "chunked").body("hello"),
                "/continue" => response.status(100).body(""),
                "/early" => response.status(103).body(""),
                "/closes" => response.header("connection", "close").body("hello"),
                _ => response.body("fine"),
            }
        })?;
        let next = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let ok = |text: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len());
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_owned();
        let closes = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello".to_owned();
        let unavailable = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".to_owned();
        for (path, expected) in [
            ("/killed", unavailable + &ok("fine")),
            ("/too-long", ok("hello") + &ok("fine")),
            ("/too-short", ok("hello") + &ok("fine")),
            ("/not-a-length", ok("hello") + &ok("fine")),
            ("/chunked", chunked + &ok("fine")),
            ("/closes", closes),
        ] {
            let answer = server.send(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n{next}"))?;
            assert_eq!(answer, expected, "{path}");
        }
        for path in ["/continue", "/early"] {
            let answer = server.send(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"))?;
            assert!(answer.starts_with("HTTP/1.1 500 Internal Server Error\r\n"), "{path}: {answer}");
        }
        // Over HTTP/2 too: an answer whose length is not what it says is malformed.
        let client = Client::connect(server.addr)?;
        for path in ["/too-long", "/too-short", "/not-a-length"] {
            assert_eq!(client.send(path, None)?, (200, "hello".to_owned()), "{path}");
        }
        assert_eq!(client.send("/continue", None)?.0, 500);
        assert_eq!(client.send("/killed", None)?.0, 503);
        drop(client);
        server.stop()
    });
}

#[test]
fn a_head_request_may_have_a_body() {
    watched(|| {
        let server = start(|mut request: Request<Body>| {
            let mut text = String::new();
            request.body_mut().read_to_string(&mut text)?;
            io::Result::Ok(Response::new(format!("{} {text}", request.method())))
        })?;
        let answer = server.send(
            "HEAD / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello\
             HEAD / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n\
             GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nyo",
        )?;
        let head = |len| format!("HTTP/1.1 200 OK\r\ncontent-length: {len}\r\n\r\n");
        assert_eq!(answer, head(10) + &head(7) + &head(6) + "GET yo");
        server.stop()
    });
}

/// One byte at a time, in both directions, and others never notice.
#[test]
fn slow_clients_are_served_and_slow_nobody() {
    watched(|| {
        let server = start(|request: Request<Body>| {
            let body = io::read_to_string(request.into_body())?;
            io::Result::Ok(Response::new(body.repeat(1000)))
        })?;
        let slow: Vec<_> = (0..20)
            .map(|_| {
                let addr = server.addr;
                sward::spawn(move || {
                    let mut stream = TcpStream::connect(addr)?;
                    stream.set_nodelay(true)?;
                    for byte in b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc" {
                        stream.write_all(&[*byte])?;
                        sward::sleep(ms(10));
                    }
                    let mut answer = [0; 40];
                    for byte in &mut answer {
                        stream.read_exact(std::slice::from_mut(byte))?;
                        sward::sleep(ms(1));
                    }
                    let mut rest = vec![0; 3000];
                    stream.read_exact(&mut rest)?;
                    io::Result::Ok(answer)
                })
            })
            .collect();
        let mut longest = Duration::ZERO;
        while !slow.iter().all(sward::Greenlet::is_finished) {
            let begun = Instant::now();
            let answer = server.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx")?;
            assert!(answer.ends_with(&"x".repeat(1000)));
            longest = longest.max(begun.elapsed());
            sward::sleep(ms(5));
        }
        assert!(longest < ms(400), "the slow ones take 500 ms each: {longest:?}");
        for client in slow {
            assert!(client.join().unwrap()?.starts_with(b"HTTP/1.1 200 OK\r\n"));
        }
        server.stop()
    });
}

/// An HTTP/2 client that asks for nothing is told in its own language that it has to go.
#[test]
fn an_idle_http2_connection_is_closed_politely() {
    watched(|| {
        let server = start_with(bind()?.head_timeout(Some(ms(50))).keep_alive(Some(ms(100))), |_| Response::new("x"))?;
        let mut stream = server.connect()?;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")?;
        let mut said = Vec::new();
        stream.read_to_end(&mut said)?;
        // Frames: three bytes of length, the type (7 is GOAWAY), five more.
        let mut types = Vec::new();
        let mut rest = &said[..];
        while let [a, b, c, kind, ..] = *rest {
            types.push(kind);
            rest = &rest[9 + u32::from_be_bytes([0, a, b, c]) as usize..];
        }
        assert!(types.starts_with(&[4]) && types.contains(&7), "{types:?}");
        server.stop()
    });
}

/// Some of these answers are half in the socket and half in the server's buffer when hyper is done with them.
#[test]
fn an_answer_that_is_read_late_is_whole_though_the_server_stops() {
    watched(|| {
        let path = std::env::temp_dir().join(format!("sward-web-late-{}", std::process::id()));
        let server = web::Server::bind_unix(&path)?;
        let handle = server.handle();
        let serving = sward::spawn(move || {
            server.serve(|request: Request<Body>| Response::new(vec![b'x'; request.uri().path()[1..].parse().unwrap()]))
        });
        let mut clients = Vec::new();
        let lengths = (100_000..700_000).step_by(20_000);
        for len in lengths.clone().chain(lengths) {
            let mut stream = UnixStream::connect(&path)?;
            write!(stream, "GET /{len} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")?;
            clients.push((len, stream));
        }
        sward::sleep(ms(100)); // all that fits is sent
        let mut stopping = None;
        for (n, (len, mut stream)) in clients.into_iter().enumerate() {
            if n == 30 {
                let handle = handle.clone();
                stopping = Some(sward::spawn(move || handle.stop()));
                sward::sleep(ms(50));
            }
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head");
            assert_eq!(answer.len() - head - 4, len, "of the {n}th");
        }
        stopping.unwrap().join().unwrap();
        std::fs::remove_file(path)?;
        serving.join().unwrap()
    });
}
