//! What the documentation says about limits, times and the end of a server.

mod support;

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use support::client::Client;
use support::{bind, ms, read_answer, start, start_with, watched, without_date};
use sward::net::TcpStream;
use sward::web::{Body, Reply, Request, Response};

/// Answers with the body's length, or an error.
fn length(mut request: Request<Body>) -> io::Result<Response<String>> {
    let mut body = Vec::new();
    request.body_mut().read_to_end(&mut body)?;
    Ok(Response::new(body.len().to_string()))
}

/// All that still comes, until the server closes; a reset counts as that.
fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    _ = stream.read_to_end(&mut answer);
    without_date(&String::from_utf8_lossy(&answer))
}

#[test]
fn a_head_that_is_too_large_is_answered_with_431() {
    watched(|| {
        let server = start_with(bind()?.max_head(10_000), |_| Response::new("x"))?;
        let answer = server.send(&format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(11_000)))?;
        assert!(answer.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{answer}");
        let answer = server.send(&format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(100)))?;
        assert!(answer.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{answer}");
        server.stop()?;

        let server = start_with(bind()?.max_head(100), |_| Response::new("x"))?;
        assert!(server.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")?.starts_with("HTTP/1.1 200 OK\r\n"));
        let answer = server.send(&format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(200)))?;
        assert!(answer.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{answer}");
        server.stop()?;

        let server = start_with(bind()?.max_headers(3), |_| Response::new("x"))?;
        let answer = server.send(&format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(3)))?;
        assert!(answer.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{answer}");
        let client = Client::connect(server.addr)?;
        assert_eq!(client.begin_with("/", None, 3)?.status(), 200);
        assert_eq!(client.begin_with("/", None, 4)?.status(), 431);
        drop(client);
        server.stop()?;

        let server = start_with(bind()?, |_| Response::new("x"))?;
        let client = Client::connect(server.addr)?;
        assert_eq!(client.begin_with("/", None, 100)?.status(), 200);
        assert_eq!(client.begin_with("/", None, 101)?.status(), 431);
        drop(client);
        server.stop()
    });
}

#[test]
fn a_body_that_is_too_large_is_answered_with_413() {
    watched(|| {
        let called = Rc::new(Cell::new(0));
        let server = start_with(bind()?.max_body(1000), {
            let called = called.clone();
            move |request| {
                called.set(called.get() + 1);
                length(request)
            }
        })?;
        // Announced: at once, without the handler, and a client that sends all of it first can read the answer.
        let request = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n{}", "x".repeat(1_000_000));
        let answer = server.send(&request)?;
        assert!(answer.starts_with("HTTP/1.1 413 Payload Too Large\r\nconnection: close\r\n"), "{answer}");
        assert_eq!(called.get(), 0);
        // Not announced: when the handler has read so much.
        let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1000));
        let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        let answer = server.send(&format!("{head}{chunk}1\r\nx\r\n0\r\n\r\n"))?;
        assert!(answer.starts_with("HTTP/1.1 413 Payload Too Large\r\nconnection: close\r\n"), "{answer}");
        assert!(server.send(&format!("{head}{chunk}0\r\n\r\n"))?.ends_with("\r\n\r\n1000"));
        let client = Client::connect(server.addr)?;
        assert_eq!(client.send("/", Some(&"x".repeat(1001)))?.0, 413);
        assert_eq!(client.send("/", Some(&"x".repeat(1000)))?, (200, "1000".to_owned()));
        drop(client);
        server.stop()
    });
}

#[test]
fn a_head_that_comes_slowly_is_answered_with_408() {
    watched(|| {
        let server = start_with(bind()?.head_timeout(Some(ms(100))), |_| Response::new("x"))?;
        let mut silent = server.connect()?;
        let mut slow = server.connect()?;
        slow.write_all(b"GET / HTTP/1.1\r\nx: ")?;
        let begun = Instant::now();
        let mut trickle = slow.try_clone()?;
        sward::spawn(move || {
            while trickle.write_all(b"x").is_ok() {
                sward::sleep(ms(20)); // never silent for long, and that does not help
            }
        });
        let answer = rest(&mut slow);
        assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n"), "{answer}");
        assert!(begun.elapsed() >= ms(95) && begun.elapsed() < ms(1000), "{:?}", begun.elapsed());
        assert_eq!(rest(&mut silent), "", "a connection without a byte is closed without a word");

        // The second request of a connection too.
        let mut stream = server.connect()?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
        read_answer(&mut stream)?;
        stream.write_all(b"GET / HTTP/1.1\r\nho")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, end) = answer.split_once("\r\ndate: ").expect("an answer is dated");
        assert!(head.starts_with("HTTP/1.1 408 Request Timeout\r\n") && end.ends_with(" GMT\r\n\r\n"), "{answer}");
        server.stop()
    });
}

#[test]
fn a_body_that_stops_coming_is_answered_with_408() {
    watched(|| {
        let server = start_with(bind()?.body_timeout(Some(ms(50))), length)?;
        let mut stream = server.connect()?;
        stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhel")?;
        let answer = rest(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n"), "{answer}");
        server.stop()
    });
}

/// As frameworks read it. Each piece that comes begins the limit anew.
#[test]
fn a_body_that_is_polled_and_stops_coming_is_answered_with_408() {
    watched(|| {
        let server = start_with(bind()?.body_timeout(Some(ms(500))), |mut request| {
            let (mut len, body) = (0, request.body_mut());
            while let Some(frame) =
                sward::block_on(std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut *body), cx)))
            {
                len += frame?.into_data().map_or(0, |data| data.len());
            }
            io::Result::Ok(Response::new(len.to_string()))
        })?;
        let mut stream = server.connect()?;
        stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\n")?;
        for _ in 0..5 {
            stream.write_all(b"x")?;
            sward::sleep(ms(120)); // 600 ms in all
        }
        stream.write_all(b"x")?;
        assert!(read_answer(&mut stream)?.ends_with("\r\n\r\n6"));
        let begun = Instant::now();
        stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhel")?;
        let answer = rest(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n"), "{answer}");
        assert!(begun.elapsed() >= ms(495), "{:?}", begun.elapsed());
        server.stop()
    });
}

#[test]
fn an_idle_connection_is_closed() {
    watched(|| {
        let server = start_with(bind()?.keep_alive(Some(ms(50))), |_| Response::new("x"))?;
        let mut stream = server.connect()?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
        read_answer(&mut stream)?;
        let idle = Instant::now();
        assert_eq!(rest(&mut stream), "");
        assert!(idle.elapsed() >= ms(45) && idle.elapsed() < ms(1000), "{:?}", idle.elapsed());
        server.stop()
    });
}

/// After the second request, too, and not late with the head of the next one.
#[test]
fn a_connection_is_idle_after_each_request() {
    watched(|| {
        let server = start_with(bind()?.head_timeout(Some(ms(200))), |_| Response::new("x"))?;
        let mut stream = server.connect()?;
        for _ in 0..3 {
            stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
            assert!(read_answer(&mut stream)?.ends_with("\r\n\r\nx"));
            sward::sleep(ms(400));
        }
        server.stop()
    });
}

#[test]
fn a_handler_that_takes_too_long_is_interrupted() {
    watched(|| {
        let server = start_with(bind()?.request_timeout(Some(ms(50))), |_| {
            sward::sleep(Duration::from_secs(50));
            Response::new("x")
        })?;
        let answer = server.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
        assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
        server.stop()
    });
}

#[test]
fn a_handler_that_waits_too_long_for_its_client_is_answered_with_408() {
    watched(|| {
        let server = start_with(bind()?.request_timeout(Some(ms(50))), length)?;
        let mut stream = server.connect()?;
        stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhel")?;
        let answer = rest(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n"), "{answer}");

        // The client has sent everything: whatever takes so long, it is not the client.
        let slow = |request| {
            let answer = length(request);
            sward::sleep(Duration::from_secs(50));
            answer
        };
        let slow = start_with(bind()?.request_timeout(Some(ms(50))), slow)?;
        let answer = slow.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello")?;
        assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
        slow.stop()?;
        server.stop()
    });
}

#[test]
fn a_client_that_does_not_read_loses_its_connection() {
    watched(|| {
        let error = Rc::new(Cell::new(None));
        let server = start_with(bind()?.write_timeout(Some(ms(50))), {
            let error = error.clone();
            move |_| {
                let error = error.clone();
                Response::new(Reply::from_writer(move |writer| {
                    loop {
                        if let Err(e) = writer.write_all(&[0; 100_000]) {
                            error.set(Some(e.kind()));
                            return Err(e);
                        }
                    }
                }))
            }
        })?;
        let mut stream = server.connect()?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
        while error.take().is_none_or(|kind| kind != io::ErrorKind::BrokenPipe) {
            sward::sleep(ms(5));
        }
        server.stop()
    });
}

#[test]
fn a_writer_is_woken_when_its_client_leaves() {
    watched(|| {
        let woken = Rc::new(Cell::new(0));
        let server = start({
            let woken = woken.clone();
            move |_| {
                let woken = woken.clone();
                Response::new(Reply::from_writer(move |writer| {
                    let result = (0..).try_for_each(|_| writer.write_all(&[0; 100_000]));
                    woken.set(woken.get() + 1);
                    result
                }))
            }
        })?;
        let mut stream = server.connect()?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
        stream.read_exact(&mut [0; 1000])?;
        sward::sleep(ms(20)); // the writer blocks
        assert_eq!(woken.get(), 0);
        drop(stream);
        while woken.get() < 1 {
            sward::sleep(ms(1));
        }
        let client = Client::connect(server.addr)?;
        let response = client.begin("/", None)?;
        sward::sleep(ms(20));
        assert_eq!(woken.get(), 1);
        drop(response); // resets the stream; the connection stays
        while woken.get() < 2 {
            sward::sleep(ms(1));
        }
        drop(client);
        server.stop()
    });
}

#[test]
fn stop_finishes_requests_and_closes_idle_connections() {
    watched(|| {
        let server = start(|_| {
            sward::sleep(ms(100));
            Response::new("finished")
        })?;
        let mut busy = server.connect()?;
        busy.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
        let mut idle = server.connect()?;
        idle.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
        read_answer(&mut idle)?;
        busy.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?; // the second one, in flight when the server stops
        let client = Client::connect(server.addr)?;
        let stream = sward::spawn({
            let client = client.clone();
            move || client.send("/", None)
        });
        sward::sleep(ms(20));
        let (addr, begun) = (server.addr, Instant::now());
        server.stop()?;
        assert!(begun.elapsed() < ms(1000), "{:?}", begun.elapsed());
        let answer = rest(&mut busy);
        assert_eq!(answer.matches("finished").count(), 2, "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
        assert_eq!(rest(&mut idle), "");
        assert_eq!(stream.join().unwrap()?, (200, "finished".to_owned()));
        assert!(TcpStream::connect(addr).is_err());
        Ok(())
    });
}

#[test]
fn stop_timeout_kills_what_does_not_finish() {
    watched(|| {
        let (handled, dropped) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        /// Counts when dropped.
        struct Count(Rc<Cell<u32>>);
        impl Drop for Count {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        let server = start({
            let (handled, dropped) = (handled.clone(), dropped.clone());
            move |_| {
                handled.set(handled.get() + 1);
                let _count = Count(dropped.clone());
                sward::sleep(Duration::from_secs(50));
                Response::new("x")
            }
        })?;
        let mut stream = server.connect()?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
        let client = Client::connect(server.addr)?;
        sward::spawn(move || client.send("/", None));
        while handled.get() < 2 {
            sward::sleep(ms(1));
        }
        let begun = Instant::now();
        assert!(!server.handle.stop_timeout(ms(50)));
        assert!(begun.elapsed() < ms(1000), "{:?}", begun.elapsed());
        server.serving.join().unwrap()?;
        sward::yield_now();
        assert_eq!(dropped.get(), 2, "both handlers were unwound");
        Ok(())
    });
}

#[test]
fn the_pool_is_a_limit() {
    watched(|| {
        let now = Rc::new(Cell::new((0, 0)));
        let server = start_with(bind()?.pool(3), {
            let now = now.clone();
            move |_| {
                let (running, most) = now.get();
                now.set((running + 1, most.max(running + 1)));
                sward::sleep(ms(10));
                now.set((now.get().0 - 1, now.get().1));
                Response::new("x")
            }
        })?;
        sward::scope(|s| {
            for _ in 0..12 {
                s.spawn(|| server.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap());
            }
        });
        assert_eq!(now.get(), (0, 3));
        server.stop()
    });
}

#[test]
fn slow_clients_do_not_slow_another() {
    watched(|| {
        let server = start(|_| Response::new("quick"))?;
        let mut slow = Vec::new();
        for _ in 0..50 {
            let mut stream = server.connect()?;
            stream.write_all(b"GET / HTTP/1.1\r\nhost: ")?;
            slow.push(stream);
        }
        let begun = Instant::now();
        assert!(server.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")?.ends_with("quick"));
        assert!(begun.elapsed() < ms(500), "{:?}", begun.elapsed());
        slow.clear();
        server.stop()
    });
}
