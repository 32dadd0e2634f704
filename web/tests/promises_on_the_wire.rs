//! HTTP/1.1 byte by byte, over raw sockets: framing, pipelining, what is refused.

mod support;

use std::io::{self, Read, Write};
use std::time::SystemTime;

use support::{Running, ms, read_answer, start, watched, without_date};
use sward::web::{Body, Reply, Request, Response};

/// Answers with the request as the handler sees it.
fn mirror(mut request: Request<Body>) -> io::Result<Response<String>> {
    let mut body = String::new();
    if request.uri().path() != "/unread" {
        request.body_mut().read_to_string(&mut body)?;
    }
    Ok(Response::new(format!("{} {} [{body}]", request.method(), request.uri())))
}

/// The bytes of a 200 with this text.
fn ok(text: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len())
}

/// What a server must answer to what it refuses.
const BAD_REQUEST: &str = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Runs a test against a server that mirrors.
fn mirrored(test: impl FnOnce(&Running) -> io::Result<()>) {
    watched(|| {
        let server = start(mirror)?;
        test(&server)?;
        server.stop()
    });
}

#[test]
fn a_connection_serves_many_requests() {
    mirrored(|server| {
        let mut stream = server.connect()?;
        for n in 0..3 {
            write!(stream, "GET /{n} HTTP/1.1\r\nhost: a\r\n\r\n")?;
            assert_eq!(read_answer(&mut stream)?, ok(&format!("GET /{n} []")));
        }
        Ok(())
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    mirrored(|server| {
        let many: String = (0..50).map(|n| format!("GET /{n} HTTP/1.1\r\nhost: a\r\n\r\n")).collect();
        let expected: String = (0..50).map(|n| ok(&format!("GET /{n} []"))).collect();
        assert_eq!(server.send(&many)?, expected);
        // Split at every place, the second half some time later.
        let two = "POST /1 HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhiGET /2 HTTP/1.1\r\nhost: a\r\n\r\n";
        for at in 1..two.len() {
            let mut stream = server.connect()?;
            stream.set_nodelay(true)?;
            stream.write_all(&two.as_bytes()[..at])?;
            sward::sleep(ms(1));
            stream.write_all(&two.as_bytes()[at..])?;
            assert_eq!(read_answer(&mut stream)?, ok("POST /1 [hi]"), "split at {at}");
            assert_eq!(read_answer(&mut stream)?, ok("GET /2 []"), "split at {at}");
        }
        Ok(())
    });
}

#[test]
fn an_answer_does_not_wait_for_the_next_request() {
    mirrored(|server| {
        let mut stream = server.connect()?;
        stream.write_all(b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HT")?;
        assert_eq!(read_answer(&mut stream)?, ok("GET /1 []"));
        stream.write_all(b"TP/1.1\r\nhost: a\r\n\r\n")?;
        assert_eq!(read_answer(&mut stream)?, ok("GET /2 []"));
        Ok(())
    });
}

#[test]
fn http_1_0_closes_unless_asked_not_to() {
    mirrored(|server| {
        let closed = "HTTP/1.0 200 OK\r\ncontent-length: 8\r\n\r\nGET / []";
        let answer = server.send("GET / HTTP/1.0\r\n\r\nGET /never HTTP/1.0\r\n\r\n")?;
        assert_eq!(answer, closed);
        let mut stream = server.connect()?;
        stream.write_all(b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")?;
        let answer = read_answer(&mut stream)?;
        assert!(answer.contains("connection: keep-alive\r\n"), "{answer}");
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut rest = String::new();
        stream.read_to_string(&mut rest)?;
        assert_eq!(without_date(&rest), closed);
        Ok(())
    });
}

#[test]
fn connection_close_closes() {
    mirrored(|server| {
        let mut stream = server.connect()?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        assert_eq!(without_date(&answer), "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 8\r\n\r\nGET / []");
        Ok(())
    });
}

#[test]
fn chunks_are_put_together() {
    mirrored(|server| {
        let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        for (chunks, text) in [
            ("5\r\nhello\r\n0\r\n\r\n", "hello"),
            ("2\r\nhe\r\n003\r\nllo\r\n0\r\n\r\n", "hello"),
            ("5;name=value\r\nhello\r\n0;last\r\n\r\n", "hello"),
            ("A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789"),
            ("5\r\nhello\r\n0\r\ntrailer: x\r\n\r\n", "hello"),
            ("0\r\n\r\n", ""),
        ] {
            // A second request shows that the first one ended where it should.
            let answer = server.send(&format!("{head}{chunks}GET /next HTTP/1.1\r\nhost: a\r\n\r\n"))?;
            assert_eq!(answer, ok(&format!("POST / [{text}]")) + &ok("GET /next []"), "{chunks:?}");
        }
        Ok(())
    });
}

#[test]
fn bad_chunks_end_the_connection() {
    mirrored(|server| {
        let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        for chunks in [
            "x\r\nhello\r\n0\r\n\r\n",
            "5\r\nhelloo\r\n0\r\n\r\n",
            "-5\r\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "5\nhello\n0\n\n",
            "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
            "5\r\nhel", // the client leaves
        ] {
            let answer = server.send(&format!("{head}{chunks}GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"))?;
            assert!(!answer.contains("200 OK") && !answer.contains("smuggled"), "{chunks:?}: {answer}");
        }
        Ok(())
    });
}

#[test]
fn what_could_smuggle_a_request_is_refused() {
    mirrored(|server| {
        let smuggled = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
        for head in [
            "content-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
            "content-length: 3, 4\r\n\r\nabcd",
            "content-length: +3\r\n\r\nabc",
            "content-length: -3\r\n\r\nabc",
            "content-length: 3x\r\n\r\nabc",
            "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
            "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
            "transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "content-length : 3\r\n\r\nabc",
            "x y: 3\r\n\r\n",
            "x: a\rb\r\n\r\n",
            "x: a\0b\r\n\r\n",
        ] {
            let answer = server.send(&format!("POST / HTTP/1.1\r\nhost: a\r\n{head}{smuggled}"))?;
            assert_eq!(answer, BAD_REQUEST, "{head:?}");
        }
        // Both framings: the chunked one counts and the connection is closed (RFC 9112, 6.3), or a 400.
        let both = "content-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
        let answer = server.send(&format!("POST / HTTP/1.1\r\nhost: a\r\n{both}{smuggled}"))?;
        assert!(!answer.contains("smuggled"), "{answer}");
        Ok(())
    });
}

#[test]
fn bad_request_lines_are_refused() {
    mirrored(|server| {
        for line in
            ["GET\r\n", "GET / HTTP/9.9\r\n", "G@T / HTTP/1.1\r\n", "GET  / HTTP/1.1\r\n", "\0\r\n", "PRI * X\r\n"]
        {
            let answer = server.send(&format!("{line}host: a\r\n\r\n"))?;
            assert_eq!(answer, BAD_REQUEST, "{line:?}");
        }
        assert_eq!(server.send("")?, "");
        assert_eq!(server.send("\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n")?, ok("GET / []"), "an empty line before");
        Ok(())
    });
}

#[test]
fn an_unread_body_does_not_become_the_next_request() {
    mirrored(|server| {
        let inner = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
        let head = format!("POST /unread HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", inner.len());
        let answer = server.send(&format!("{head}{inner}GET /next HTTP/1.1\r\nhost: a\r\n\r\n"))?;
        assert!(answer.contains("POST /unread []") && !answer.contains("smuggled"), "{answer}");
        // A long one: the connection is closed, and the client reads the answer all the same.
        let long = "x".repeat(3_000_000);
        let answer =
            server.send(&format!("POST /unread HTTP/1.1\r\nhost: a\r\ncontent-length: 3000000\r\n\r\n{long}"))?;
        assert!(answer.contains("POST /unread []"), "{answer}");
        Ok(())
    });
}

#[test]
fn continue_is_sent_when_the_body_is_read() {
    mirrored(|server| {
        let expect = "host: a\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n";
        let mut stream = server.connect()?;
        write!(stream, "POST / HTTP/1.1\r\n{expect}")?;
        assert_eq!(read_answer(&mut stream)?, "HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"hi")?;
        assert_eq!(read_answer(&mut stream)?, ok("POST / [hi]"));
        write!(stream, "POST /unread HTTP/1.1\r\n{expect}")?;
        let answer = read_answer(&mut stream)?;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "never read, never asked for: {answer}");
        Ok(())
    });
}

#[test]
fn head_has_the_length_and_no_body() {
    watched(|| {
        let server = start(|request| {
            let body = match request.uri().path() {
                "/stream" => Reply::from_writer(|_| panic!("not called for HEAD")),
                _ => "hello".into(),
            };
            Response::new(body)
        })?;
        let answer = server.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\nHEAD /stream HTTP/1.1\r\nhost: a\r\n\r\n")?;
        let expected = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n\
                        HTTP/1.1 200 OK\r\n\r\n";
        assert_eq!(answer, expected);
        server.stop()
    });
}

#[test]
fn some_answers_have_no_body() {
    watched(|| {
        let server = start(|request| {
            let status: u16 = request.uri().path()[1..].parse().unwrap();
            Response::builder().status(status).body(()).unwrap()
        })?;
        let answer = server.send("GET /204 HTTP/1.1\r\nhost: a\r\n\r\nGET /304 HTTP/1.1\r\nhost: a\r\n\r\n")?;
        assert_eq!(answer, "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 Not Modified\r\n\r\n");
        server.stop()
    });
}

#[test]
fn a_body_that_fails_is_not_taken_for_complete() {
    watched(|| {
        let server = start(|request| {
            let panics = request.uri().path() == "/panic";
            Response::new(Reply::from_writer(move |writer| {
                writer.write_all(b"half of")?;
                assert!(!panics, "this panic is part of the test");
                Err(io::Error::other("this error is part of the test"))
            }))
        })?;
        for path in ["/error", "/panic"] {
            let answer = server.send(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"))?;
            assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
        }
        server.stop()
    });
}

#[test]
fn an_event_stream_arrives_as_it_is_written() {
    watched(|| {
        let server = start(|_| {
            Response::new(Reply::from_writer(|writer| {
                for n in 0..3 {
                    writeln!(writer, "data: {n}\n")?;
                    sward::sleep(ms(30));
                }
                Ok(())
            }))
        })?;
        let mut stream = server.connect()?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
        read_answer(&mut stream)?;
        for n in 0..3 {
            let expected = format!("9\r\ndata: {n}\n\n\r\n");
            let mut chunk = vec![0; expected.len()];
            stream.read_exact(&mut chunk)?;
            assert_eq!(String::from_utf8_lossy(&chunk), expected);
        }
        let mut end = [0; 5];
        stream.read_exact(&mut end)?;
        assert_eq!(&end, b"0\r\n\r\n");
        drop(stream);
        server.stop()
    });
}

#[test]
fn a_large_body_goes_both_ways() {
    watched(|| {
        let server = start(|request| Response::new(request.into_body()))?; // echoes while it receives
        let body: String = (0..500_000).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
        let request = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let answer = server.send(&request)?;
        assert!(answer.ends_with(&body) && answer.starts_with("HTTP/1.1 200 OK\r\n"));
        let client = support::client::Client::connect(server.addr)?;
        assert_eq!(client.send("/", Some(&body))?, (200, body));
        drop(client);
        server.stop()
    });
}

#[test]
fn an_upgrade_hands_the_stream_over() {
    watched(|| {
        let server = start(|request| {
            let upgrades = sward::web::upgrade(|mut stream| {
                let mut buffer = [0; 100];
                while let Ok(n @ 1..) = stream.read(&mut buffer) {
                    stream.write_all(&buffer[..n].to_ascii_uppercase()).unwrap();
                }
            });
            match upgrades {
                Ok(()) if request.uri().path() == "/no" => Response::new("no"),
                Ok(()) => {
                    let head = Response::builder().status(101).header("connection", "upgrade");
                    head.header("upgrade", "upper").body("").unwrap()
                }
                Err(_) => Response::builder().status(426).body("").unwrap(),
            }
        })?;
        let ask = "HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: upper\r\n\r\n";
        let mut stream = server.connect()?;
        write!(stream, "GET /no {ask}")?; // refused, and the connection goes on
        assert_eq!(read_answer(&mut stream)?, ok("no"));
        write!(stream, "GET / {ask}early ")?;
        let answer = read_answer(&mut stream)?;
        assert_eq!(answer, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: upper\r\n\r\n");
        stream.write_all(b"late")?;
        let mut echo = [0; 10];
        stream.read_exact(&mut echo)?;
        assert_eq!(&echo, b"EARLY LATE");
        stream.shutdown(std::net::Shutdown::Write)?;
        assert_eq!(stream.read(&mut echo)?, 0);
        // More than hyper reads together with the request.
        let mut stream = server.connect()?;
        stream.write_all([format!("GET / {ask}").as_bytes(), &[b'x'; 30_000]].concat().as_slice())?;
        assert!(read_answer(&mut stream)?.starts_with("HTTP/1.1 101 "));
        stream.write_all(b"end")?;
        let mut echo = [0; 30_003];
        stream.read_exact(&mut echo)?;
        assert!(echo.ends_with(b"XEND") && echo[..30_000].iter().all(|byte| *byte == b'X'));
        drop(stream);
        let answer = server.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
        assert!(answer.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{answer}");
        server.stop()
    });
}

#[test]
fn each_answer_has_one_date_which_is_that_of_its_second() {
    watched(|| {
        let server = start(|_| Response::new("text"))?;
        let before = SystemTime::now() - ms(1000); // whole seconds, and hyper keeps them for as long
        let mut stream = server.connect()?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")?;
        let mut answers = String::new();
        stream.read_to_string(&mut answers)?;
        let dates = answers.lines().filter_map(|line| line.strip_prefix("date: "));
        let dates: Vec<_> = dates.map(|date| httpdate::parse_http_date(date).unwrap()).collect();
        assert_eq!(dates.len(), 2, "{answers}");
        assert!(dates.iter().all(|date| (before - ms(1000)..=SystemTime::now()).contains(date)), "{answers}");
        server.stop()
    });
}
