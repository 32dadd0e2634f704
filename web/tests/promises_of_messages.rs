//! Requests and answers byte by byte, as far as `promises_on_the_wire.rs` does not have them: bodies in pieces, what a
//! handler can get wrong, what a client can. gevent's `test__pywsgi` asks the same questions.

mod support;

use std::future::poll_fn;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::pin::Pin;
use std::sync::LazyLock;

use support::{Running, read_answer, start, watched, without_date};
use sward::web::{Body, HeaderMap, Reply, Request, Response, http};

/// What a server must answer to what it refuses.
const BAD_REQUEST: &str = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// The bytes of a 200 with this text.
fn ok(text: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len())
}

/// Answers with the body, read as the path says.
fn read_as_asked(mut request: Request<Body>) -> io::Result<Response<String>> {
    let path = request.uri().path().to_owned();
    let body = request.body_mut();
    let mut text = String::new();
    match &*path {
        "/lines" => {
            let lines: Result<Vec<_>, _> = BufReader::new(body).lines().collect();
            text = lines?.join("|");
        }
        "/first" => _ = body.take(10).read_to_string(&mut text)?,
        "/none" => {}
        steps => {
            let mut buffer = vec![0; steps[1..].parse().unwrap()];
            while let n @ 1.. = body.read(&mut buffer)? {
                text.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
            }
        }
    }
    Ok(Response::new(text))
}

/// Runs a test against a server that does that.
fn reading(test: impl FnOnce(&Running) -> io::Result<()>) {
    watched(|| {
        let server = start(read_as_asked)?;
        test(&server)?;
        server.stop()
    });
}

/// A POST with chunks, then another request, to see where the first one ended.
fn chunked(path: &str, chunks: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: Chunked\r\n\r\n{chunks}\
         GET /none HTTP/1.1\r\nhost: a\r\n\r\n"
    )
}

#[test]
fn a_body_is_read_in_pieces_of_any_size() {
    reading(|server| {
        let chunks =
            "4\r\nthis\r\n4\r\n is \r\n7\r\nchunked\r\n5\r\n\nline\r\n2\r\n 2\r\n1\r\n\n\r\n5\r\nline3\r\n0\r\n\r\n";
        let all = "this is chunked\nline 2\nline3";
        for (path, text) in [("/1", all), ("/6", all), ("/1000", all), ("/lines", "this is chunked|line 2|line3")] {
            assert_eq!(server.send(&chunked(path, chunks))?, ok(text) + &ok(""), "{path}");
            let plain = format!(
                "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 28\r\n\r\n{all}GET /none HTTP/1.1\r\nhost: a\r\n\r\n"
            );
            assert_eq!(server.send(&plain)?, ok(text) + &ok(""), "{path}");
        }
        // What is left unread is skipped, or the connection is closed: it never becomes a request.
        for (path, text) in [("/first", "this is ch"), ("/none", "")] {
            let answer = server.send(&chunked(path, chunks))?;
            let closed = ok(text).replacen("\r\n", "\r\nconnection: close\r\n", 1);
            assert!([ok(text) + &ok(""), ok(text), closed].contains(&answer), "{path}: {answer}");
        }
        Ok(())
    });
}

#[test]
fn chunks_may_have_extensions() {
    reading(|server| {
        for extension in [";token=\"oh hi\"", ";token=oh_hi", "; token", " ;a=b;c=d", ";a=\"\\\"\""] {
            let chunks = format!("2{extension}\r\noh\r\n4{extension}\r\n hai\r\n0{extension}\r\n\r\n");
            assert_eq!(server.send(&chunked("/10", &chunks))?, ok("oh hai") + &ok(""), "{extension}");
        }
        // No client needs that many bytes for them.
        let chunks = format!("2;token={}\r\noh\r\n0\r\n\r\n", "_oh_hi".repeat(4000));
        assert_eq!(server.send(&chunked("/10", &chunks))?, BAD_REQUEST);
        Ok(())
    });
}

/// The client is told that it is to blame, and what follows is not taken for a request.
#[test]
fn a_body_that_is_malformed_is_a_bad_request() {
    reading(|server| {
        for chunks in [
            "{\"hi\": \"ho\"}",
            "{\"hi\": \"ho\"}\r\n",
            "2\r\nohh\r\n0\r\n\r\n",
            "2\noh\n0\n\n",
            "\r\n2\r\noh\r\n0\r\n\r\n",
            "2;a\nb\r\noh\r\n0\r\n\r\n",
            "10000000000000000\r\noh\r\n0\r\n\r\n",
        ] {
            assert_eq!(server.send(&chunked("/10", chunks))?, BAD_REQUEST, "{chunks:?}");
        }
        // Cut off: the client has closed its side and can still read.
        let head = "POST /10 HTTP/1.1\r\nhost: a\r\n";
        for rest in [
            "content-length: 5\r\n\r\noh",
            "transfer-encoding: chunked\r\n\r\n4\r\nthi",
            "transfer-encoding: chunked\r\n\r\n1\r\n1\r\n1\r\n2\r\n",
            "transfer-encoding: chunked\r\n\r\n2\r\noh\r\n0\r\n",
            "transfer-encoding: chunked\r\n\r\n",
        ] {
            assert_eq!(server.send(&format!("{head}{rest}"))?, BAD_REQUEST, "{rest:?}");
        }
        Ok(())
    });
}

/// RFC 9112, 3.2.
#[test]
fn a_request_has_one_host() {
    reading(|server| {
        assert_eq!(server.send("GET /none HTTP/1.1\r\n\r\n")?, BAD_REQUEST);
        assert_eq!(server.send("GET /none HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n")?, BAD_REQUEST);
        assert_eq!(server.send("GET /none HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n")?, BAD_REQUEST.replace("1.1", "1.0"));
        assert_eq!(server.send("GET /none HTTP/1.1\r\nhost:\r\n\r\n")?, ok(""), "empty, but there");
        assert_eq!(server.send("GET /none HTTP/1.0\r\n\r\n")?, ok("").replace("1.1", "1.0"));
        let with = |host| server.send(&format!("GET /none HTTP/1.1\r\nhost: {host}\r\n\r\n"));
        for host in ["a", "A.example:8080", "a:", "127.0.0.1:80", "[::1]:80", "[fe80::1%25eth0]", "a_b", "x%41,y"] {
            assert_eq!(with(host)?, ok(""), "{host}");
        }
        for host in
            ["a b", "a/b", "u@a", "a, b", "a:b", "a:80:80", "[::1", "[::1]x", "a\\b", "a?b", "a#b", "ä", "\"a\""]
        {
            assert_eq!(with(host)?, BAD_REQUEST, "{host}");
        }
        Ok(())
    });
}

/// RFC 9113, 8.3.1: over HTTP/2 a host is not needed, and says nothing else than the authority.
#[test]
fn over_http2_a_host_is_the_authority() {
    reading(|server| {
        // GET http://a/none, and a host, in the frames and with the numbers of HPACK; the status of the answer.
        let status = |host: &[u8]| {
            let fields = [b"\x82\x86\x04\x05/none\x01\x01a", host].concat();
            let head = [&[0, 0, fields.len() as u8, 1, 5, 0, 0, 0, 1], &fields[..]].concat();
            let mut stream = server.connect()?;
            stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")?;
            stream.write_all(&head)?;
            loop {
                let mut frame = [0; 9];
                stream.read_exact(&mut frame)?;
                let mut rest = vec![0; usize::from(frame[2])];
                stream.read_exact(&mut rest)?;
                if frame[3] == 1 {
                    return io::Result::Ok(if rest[0] == 0x88 { 200 } else { 100 * (u32::from(rest[0]) - 0x88) });
                }
            }
        };
        for (host, expected) in [(&b""[..], 200), (b"\x0f\x17\x01A", 200), (b"\x0f\x17\x01b", 400)] {
            assert_eq!(status(host)?, expected, "{host:?}");
        }
        assert_eq!(status(b"\x0f\x17\x01a\x0f\x17\x01a")?, 400, "twice");
        Ok(())
    });
}

#[test]
fn a_header_may_not_be_folded() {
    reading(|server| {
        let folded = "GET /none HTTP/1.1\r\nhost: a\r\ncontent-type: multipart/related;\r\n type=x\r\n\r\n";
        assert_eq!(server.send(folded)?, BAD_REQUEST);
        Ok(())
    });
}

#[test]
fn a_request_line_has_a_length() {
    reading(|server| {
        let line = |len| format!("GET /none?{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(len));
        assert_eq!(server.send(&line(20_000))?, ok(""));
        let answer = server.send(&line(70_000))?;
        assert!(answer.starts_with("HTTP/1.1 4") && answer.contains("\r\nconnection: close\r\n"), "{answer}");
        assert!(answer.starts_with("HTTP/1.1 414 URI Too Long") || answer.starts_with("HTTP/1.1 431 "), "{answer}");
        Ok(())
    });
}

/// What comes after the request of an HTTP/1.0 client is not part of it.
#[test]
fn junk_after_a_last_request_is_ignored() {
    reading(|server| {
        let answer = server.send("POST /10 HTTP/1.0\r\nhost: a\r\ncontent-length: 3\r\n\r\na=a01234567890123456789")?;
        assert_eq!(answer, ok("a=a").replace("1.1", "1.0"));
        Ok(())
    });
}

#[test]
fn continue_is_for_those_who_wait_for_it() {
    reading(|server| {
        // An HTTP/1.0 client does not know it.
        let old = "POST /10 HTTP/1.0\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\nhi";
        assert_eq!(server.send(old)?, ok("hi").replace("1.1", "1.0"));
        // Several reads, one 100.
        let mut stream = server.connect()?;
        stream.write_all(b"PUT /1 HTTP/1.1\r\nhost: a\r\ncontent-length: 7\r\nexpect: 100-continue\r\n\r\n")?;
        assert_eq!(read_answer(&mut stream)?, "HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"testing")?;
        assert_eq!(read_answer(&mut stream)?, ok("testing"));
        // Never read: nobody can tell whether the body will come, so the connection ends, and the answer says so.
        stream.write_all(b"PUT /none HTTP/1.1\r\nhost: a\r\ncontent-length: 1025\r\nexpect: 100-continue\r\n\r\n")?;
        let mut rest = String::new();
        stream.read_to_string(&mut rest)?;
        assert_eq!(without_date(&rest), ok("").replace("OK\r\n", "OK\r\nconnection: close\r\n"));
        Ok(())
    });
}

#[test]
fn trailers_are_there_for_those_who_poll() {
    watched(|| {
        let server = start(|request| {
            let mut body = request.into_body();
            let mut seen = String::new();
            while let Some(frame) =
                sward::block_on(poll_fn(|context| http_body::Body::poll_frame(Pin::new(&mut body), context)))
            {
                let frame = frame?;
                match frame.into_data() {
                    Ok(data) => seen.push_str(&String::from_utf8_lossy(&data)),
                    Err(frame) => {
                        let trailers: HeaderMap = frame.into_trailers().unwrap_or_default();
                        seen.push_str(&format!(" [{}]", trailers["checksum"].to_str().unwrap()));
                    }
                }
            }
            io::Result::Ok(Response::new(seen))
        })?;
        let answer = server.send(
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: checksum\r\n\r\n\
             2\r\nhi\r\n0\r\nchecksum: 42\r\n\r\n",
        )?;
        assert_eq!(answer, ok("hi [42]"));
        server.stop()
    });
}

#[test]
fn repeated_headers_are_all_there() {
    watched(|| {
        let server = start(|request| {
            let cookies = request.headers().get_all("cookie").iter().map(|value| value.to_str().unwrap());
            let response = Response::builder().header("set-cookie", "a=1").header("set-cookie", "b=2");
            response.body(cookies.collect::<Vec<_>>().join("; ")).unwrap()
        })?;
        let answer = server.send("GET / HTTP/1.1\r\nhost: a\r\ncookie: x=1\r\nother: y\r\nCookie: z=2\r\n\r\n")?;
        let expected = "HTTP/1.1 200 OK\r\nset-cookie: a=1\r\nset-cookie: b=2\r\ncontent-length: 8\r\n\r\nx=1; z=2";
        assert_eq!(answer, expected);
        server.stop()
    });
}

/// A handler cannot split its answer: the types refuse it, and the client gets a 500.
#[test]
fn no_header_has_a_line_break() {
    watched(|| {
        let server = start(|request| {
            let split = "Hi\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK";
            match request.uri().path() {
                "/value" => Response::builder().header("test", split).body(()),
                "/name" => Response::builder().header("test\r\n", "Hi").body(()),
                _ => Response::builder().status("200 OK\r\n").body(()),
            }
        })?;
        for path in ["/value", "/name", "/status"] {
            let answer = server.send(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"))?;
            assert_eq!(answer, "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n", "{path}");
        }
        // Nor has one that came in: it was refused, or it is another header.
        assert_eq!(server.send("GET / HTTP/1.1\r\nhost: a\r\ntest: Hi\rthere\r\n\r\n")?, BAD_REQUEST);
        server.stop()
    });
}

#[test]
fn written_bodies_are_framed_by_what_is_known() {
    watched(|| {
        let server = start(|request| {
            let body = |pieces: &'static [&str]| {
                Reply::from_writer(move |writer| pieces.iter().try_for_each(|piece| writer.write_all(piece.as_bytes())))
            };
            let response = Response::builder();
            let (response, body) = match request.uri().path() {
                "/unknown" => (response, body(&["abcde", "end"])),
                "/empty" => (response, body(&["", ""])),
                "/empty-first" => (response, body(&["", "hello"])),
                "/known" => (response.header("content-length", 8), body(&["abcde", "end"])),
                "/more" => (response.header("content-length", 3), body(&["abcde"])),
                "/less" => (response.header("content-length", 9), body(&["abcde"])),
                _ => (response.status(404), body(&["not found"])),
            };
            response.body(body).unwrap()
        })?;
        let get = |path, version| server.send(&format!("GET {path} HTTP/{version}\r\nhost: a\r\n\r\n"));
        let chunked = |text: &str| format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{text}0\r\n\r\n");
        assert_eq!(get("/unknown", "1.1")?, chunked("8\r\nabcdeend\r\n"));
        assert_eq!(get("/empty", "1.1")?, chunked(""));
        assert_eq!(get("/empty-first", "1.1")?, chunked("5\r\nhello\r\n"));
        assert_eq!(get("/known", "1.1")?, ok("abcdeend"));
        // An HTTP/1.0 client knows no chunks: the end of the connection ends the body.
        assert_eq!(get("/unknown", "1.0")?, "HTTP/1.0 200 OK\r\n\r\nabcdeend");
        let kept = server.send("GET /unknown HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n")?;
        assert!(kept.ends_with("\r\n\r\nabcdeend"), "{kept}");
        // Never more than was announced, so that nobody takes it for the next answer; less ends the connection.
        let answer = get("/more", "1.1")?;
        assert!(!answer.contains("abcd"), "{answer}");
        let answer = server.send("GET /less HTTP/1.1\r\nhost: a\r\n\r\nGET /known HTTP/1.1\r\nhost: a\r\n\r\n")?;
        assert!(!answer.contains("end"), "the second answer would be taken for the rest of the first: {answer}");
        server.stop()
    });
}

/// A text of this length in which nothing can stand in the place of something else unnoticed.
fn text_of(len: usize) -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| (0..125_000).map(|n| format!("{n:7} ")).collect());
    &TEXT[..len]
}

/// How hyper is told to send answers changes with the first large one, also on connections that are open.
#[test]
fn large_answers_are_whole_whatever_comes_before_and_after_them() {
    const SIZES: [usize; 9] = [5, 16_384, 16_385, 5, 1_000_000, 0, 300_000, 70_000, 3];
    let handler = |request: Request<Body>| {
        let (kind, len) = request.uri().path()[1..].split_once('/').unwrap();
        let text = text_of(len.parse().unwrap());
        let response = Response::builder().header("content-length", len);
        let body = match kind {
            "bytes" => Reply::from(text),
            "body" => Reply::from_body(text.to_owned()), // in one frame
            _ => Reply::from_writer(move |writer| writer.write_all(text.as_bytes())),
        };
        response.body(body).unwrap()
    };
    for kind in ["bytes", "body", "writer"] {
        for (pipelined, posted) in [(false, ""), (true, ""), (false, "12345"), (true, "12345")] {
            watched(|| {
                let server = start(handler)?;
                let posts = posted.len();
                let request =
                    |len| format!("POST /{kind}/{len} HTTP/1.1\r\nhost: a\r\ncontent-length: {posts}\r\n\r\n{posted}");
                let stream = server.connect()?;
                let mut reader = BufReader::new(&stream);
                if pipelined {
                    (&stream).write_all(SIZES.map(request).concat().as_bytes())?;
                }
                for len in SIZES {
                    if !pipelined {
                        (&stream).write_all(request(len).as_bytes())?;
                    }
                    let is_right = read_answer(&mut reader)? == ok(text_of(len));
                    assert!(is_right, "{kind} of {len}, pipelined: {pipelined}, posted: {posted}");
                }
                drop(stream);
                // On a new connection, whose first answer it is.
                assert!(server.send(&request(SIZES[4]))? == ok(text_of(SIZES[4])), "{kind}");
                server.stop()
            });
        }
    }
}

/// What a handler sees of a target: as it was sent.
#[test]
fn targets_arrive_as_they_were_sent() {
    watched(|| {
        let server = start(|request| {
            let http::uri::Parts { scheme, authority, path_and_query, .. } = request.into_parts().0.uri.into_parts();
            Response::new(format!("{scheme:?} {authority:?} {path_and_query:?}"))
        })?;
        for (target, text) in [
            ("/%D0%BF?%D0%B2=%2f&x", "None None Some(/%D0%BF?%D0%B2=%2f&x)"),
            ("//a//../b", "None None Some(//a//../b)"),
            ("http://b:80/c", r#"Some("http") Some(b:80) Some(/c)"#),
        ] {
            let answer = server.send(&format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n"))?;
            assert_eq!(answer, ok(text), "{target}");
        }
        let answer = server.send("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n")?;
        assert_eq!(answer, ok("None None Some(*)"));
        server.stop()
    });
}
