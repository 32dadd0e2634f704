//! What the documentation says about handlers: that they may block, fail, and never harm each other.

mod support;

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use support::client::{Client, next};
use support::{Running, bind, ms, read_answer, start, watched};
use sward::web::{Body, Reply, Request, Response};

#[test]
fn a_closure_answers() {
    watched(|| {
        let server = start(|_| Response::new("hello"))?;
        let answer = server.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
        assert_eq!(answer, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
        server.stop()
    });
}

#[test]
fn handlers_block_without_stopping_each_other() {
    watched(|| {
        let count = Rc::new(Cell::new(0)); // handlers need not be Send
        let server = start(move |_| {
            count.set(count.get() + 1);
            sward::sleep(ms(100));
            Response::new(count.get().to_string())
        })?;
        let start = Instant::now();
        sward::scope(|s| {
            let clients: Vec<_> =
                (0..20).map(|_| s.spawn(|| server.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n"))).collect();
            for client in clients {
                assert!(client.join().unwrap().unwrap().ends_with("\r\n\r\n20"));
            }
        });
        assert!(start.elapsed() < ms(1000), "{:?}", start.elapsed());
        server.stop()
    });
}

#[test]
fn a_blocked_http2_stream_stops_no_other() {
    watched(|| {
        let server = start(|request| {
            if request.uri().path() == "/slow" {
                sward::sleep(ms(200));
            }
            Response::new(format!("{} {:?}", request.uri().path(), request.version()))
        })?;
        let client = Client::connect(server.addr)?;
        let slow = sward::spawn({
            let client = client.clone();
            move || client.send("/slow", None).map(|answer| (answer, Instant::now()))
        });
        sward::sleep(ms(20)); // it is being answered
        assert_eq!(client.send("/fast", None)?, (200, "/fast HTTP/2.0".to_owned()));
        let fast = Instant::now();
        let (answer, slow) = slow.join().unwrap()?;
        assert_eq!(answer, (200, "/slow HTTP/2.0".to_owned()));
        assert!(slow > fast);
        drop(client);
        server.stop()
    });
}

#[test]
fn an_error_is_a_500() {
    watched(|| {
        let server = start(|_| Err::<Response<()>, _>(io::Error::other("no luck")))?;
        let answer = server.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
        assert_eq!(answer, "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n");
        server.stop()
    });
}

#[test]
fn a_panic_is_a_500_and_the_connection_goes_on() {
    watched(|| {
        let server = start(|request| {
            assert_ne!(request.uri().path(), "/panic", "this panic is part of the test");
            Response::new("fine")
        })?;
        let mut stream = server.connect()?;
        for (path, status) in [("/", "200 OK"), ("/panic", "500 Internal Server Error"), ("/", "200 OK")] {
            write!(stream, "GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")?;
            let answer = read_answer(&mut stream)?;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
        }
        let client = Client::connect(server.addr)?;
        assert_eq!(client.send("/panic", None)?.0, 500);
        assert_eq!(client.send("/", None)?, (200, "fine".to_owned()));
        drop((stream, client));
        server.stop()
    });
}

#[test]
fn a_handler_runs_on_when_its_client_leaves() {
    watched(|| {
        let finished = Rc::new(Cell::new(false));
        let server = start({
            let finished = finished.clone();
            move |_| {
                sward::sleep(ms(50));
                finished.set(true);
                Response::new("nobody reads this")
            }
        })?;
        let mut stream = server.connect()?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
        sward::sleep(ms(10));
        drop(stream);
        sward::sleep(ms(1)); // the server may notice
        server.stop()?;
        assert!(finished.get(), "stop waits for it");
        Ok(())
    });
}

/// A service that counts in its path, as a framework would.
#[derive(Clone)]
struct Service;

impl tower_service::Service<Request<Body>> for Service {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        sward::sleep(ms(1)); // a service may block too
        let mut text = String::new();
        request.body_mut().read_to_string(&mut text).unwrap();
        ready(Ok(Response::new(text.to_uppercase())))
    }
}

#[test]
fn a_tower_service_answers() {
    watched(|| {
        let server = bind()?;
        let (addr, handle) = (server.local_addr()?, server.handle());
        let serving = sward::spawn(move || server.serve_service(Service));
        let server = Running { addr, handle, serving };
        let answer = server.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello")?;
        assert_eq!(answer, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nHELLO");
        assert_eq!(Client::connect(server.addr)?.send("/", Some("streams"))?, (200, "STREAMS".to_owned()));
        server.stop()
    });
}

#[test]
fn middleware_of_others_goes_around_a_router() {
    use axum::http::{HeaderName, HeaderValue};
    use axum::routing::{get, post};
    use tower_http::{limit::RequestBodyLimitLayer, set_header::SetResponseHeaderLayer};
    watched(|| {
        let slow = get(|| async {
            sward::sleep(ms(1));
            "slept"
        });
        let (name, value) = (HeaderName::from_static("x-layer"), HeaderValue::from_static("outer"));
        let router = axum::Router::new()
            .route("/slow", slow)
            .route("/length", post(|body: String| async move { body.len().to_string() }))
            .layer(RequestBodyLimitLayer::new(10))
            .layer(SetResponseHeaderLayer::overriding(name, value));
        let server = bind()?;
        let (addr, handle) = (server.local_addr()?, server.handle());
        let serving = sward::spawn(move || server.serve_service(router));
        let server = Running { addr, handle, serving };
        let post = |body: &str| {
            server.send(&format!("POST /length HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
        };
        let answer = server.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")?;
        assert!(answer.contains("x-layer: outer\r\n") && answer.ends_with("\r\n\r\nslept"), "{answer}");
        assert!(post("ten bytes.")?.ends_with("\r\n\r\n10"));
        assert!(post("more than ten")?.starts_with("HTTP/1.1 413 "));
        server.stop()
    });
}

#[test]
fn threads_share_the_work() {
    watched(|| {
        let server = bind()?.threads(2);
        let (addr, handle) = (server.local_addr()?, server.handle());
        let serving =
            sward::spawn(move || server.serve(|_| Response::new(format!("{:?}", std::thread::current().id()))));
        let server = Running { addr, handle, serving };
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            seen.insert(server.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")?);
            if seen.len() == 2 {
                break;
            }
        }
        assert_eq!(seen.len(), 2, "the kernel spreads connections by a hash of their addresses");
        server.stop()
    });
}

#[test]
fn a_unix_socket_serves() {
    watched(|| {
        let path = std::env::temp_dir().join(format!("sward-web-test-{}", std::process::id()));
        let server = sward::web::Server::bind_unix(&path)?;
        let handle = server.handle();
        let serving = sward::spawn(move || server.serve(|request| Response::new(request.body().peer().to_string())));
        let mut stream = sward::net::UnixStream::connect(&path)?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
        assert!(read_answer(&mut stream)?.ends_with("\r\n\r\n-"));
        std::fs::remove_file(path)?;
        handle.stop();
        serving.join().unwrap()
    });
}

#[test]
fn a_handler_returns_many_kinds_of_bodies() {
    watched(|| {
        let server = start(|request| {
            let body: Reply = match request.uri().path() {
                "/str" => "text".into(),
                "/string" => "text".to_owned().into(),
                "/vec" => b"text".to_vec().into(),
                "/reader" => Reply::from_reader(&b"text"[..]),
                "/writer" => Reply::from_writer(|writer| writer.write_all(b"text")),
                "/body" => Reply::from_body("text".to_owned()),
                _ => ().into(),
            };
            Response::new(body)
        })?;
        for path in ["/str", "/string", "/vec", "/body"] {
            let answer = server.send(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"))?;
            assert_eq!(answer, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ntext", "{path}");
        }
        for path in ["/reader", "/writer"] {
            let answer = server.send(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"))?;
            let expected = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\ntext\r\n0\r\n\r\n";
            assert_eq!(answer, expected, "{path}");
        }
        let client = Client::connect(server.addr)?;
        for path in ["/str", "/string", "/vec", "/body", "/reader", "/writer"] {
            assert_eq!(client.send(path, None)?, (200, "text".to_owned()), "{path}");
        }
        drop(client);
        server.stop()
    });
}

/// Answers with the status of the path and a body, which a writer writes if the query says so, and with a length if it
/// says that.
fn body_always(request: Request<Body>) -> Response<Reply> {
    let status: u16 = request.uri().path()[1..4].parse().unwrap();
    let response = Response::builder().status(status);
    match request.uri().query() {
        Some("writer") => response.body(Reply::from_writer(|writer| writer.write_all(b"body"))),
        Some(len) => response.header("content-length", len).body("body".into()),
        None => response.body("body".into()),
    }
    .unwrap()
}

#[test]
fn an_answer_without_a_body_has_none_whatever_the_handler_says() {
    watched(|| {
        let server = start(body_always)?;
        let next = "GET /200 HTTP/1.1\r\nhost: a\r\n\r\n";
        for (request, head) in [
            ("GET /204", "HTTP/1.1 204 No Content\r\n\r\n"),
            ("GET /204?writer", "HTTP/1.1 204 No Content\r\n\r\n"),
            ("GET /304", "HTTP/1.1 304 Not Modified\r\n\r\n"),
            ("GET /304?writer", "HTTP/1.1 304 Not Modified\r\n\r\n"),
            ("HEAD /200", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"),
            ("HEAD /404?writer", "HTTP/1.1 404 Not Found\r\n\r\n"),
        ] {
            let answer = server.send(&format!("{request} HTTP/1.1\r\nhost: a\r\n\r\n{next}"))?;
            assert_eq!(answer, format!("{head}HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody"), "{request}");
        }
        server.stop()
    });
}

#[test]
fn nor_has_it_one_over_http2() {
    watched(|| {
        let server = start(body_always)?;
        let client = Client::connect(server.addr)?;
        for (method, path, length) in [
            ("GET", "/204", None),
            ("GET", "/204?4", None),
            ("GET", "/204?writer", None),
            ("GET", "/304", None),
            ("GET", "/304?4", Some("4")),
            ("GET", "/304?writer", None),
            ("HEAD", "/200", Some("4")),
            ("HEAD", "/200?5", Some("4")),
            ("HEAD", "/204", None),
            ("HEAD", "/404?writer", None),
        ] {
            let response = client.ask(Request::builder().method(method), path, None)?;
            let said = response.headers().get("content-length").map(|length| length.to_str().unwrap().to_owned());
            assert_eq!(said.as_deref(), length, "{method} {path}");
            assert_eq!(next(&mut response.into_body())?, None, "{method} {path}");
        }
        assert_eq!(client.send("/200", None)?, (200, "body".to_owned()));
        server.stop()
    });
}
