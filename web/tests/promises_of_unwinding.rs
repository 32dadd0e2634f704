//! Destructors that run when a handler or a body panics: what they do harms nobody but their own request. That they
//! abort the process would be the harm.

mod support;

use std::io::{self, BufWriter, Read, Write};

use support::{ms, read_answer, start, watched};
use sward::web::{self, Body, Reply, Request, Response};

/// Reads what is left of a body when dropped.
struct Drain(Body);

impl Drop for Drain {
    fn drop(&mut self) {
        _ = io::copy(&mut self.0, &mut io::sink());
    }
}

#[test]
fn what_a_body_writes_in_an_unwinding_does_not_wait_for_the_client() {
    watched(|| {
        let server = start(|request| match request.uri().path() {
            "/" => Response::new(Reply::from("fine")),
            _ => Response::new(Reply::from_writer(|writer| {
                let mut writer = BufWriter::new(writer);
                writer.write_all(&[b'x'; 64 * 1024])?; // all that waits for the client
                writer.write_all(b"written when it is dropped")?;
                panic!("this panic is part of the test");
            })),
        })?;
        let answer = server.send("GET /body HTTP/1.1\r\nhost: a\r\n\r\n")?;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && !answer.ends_with("0\r\n\r\n"), "cut off: {answer}");
        assert!(server.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")?.ends_with("fine"));
        server.stop()
    });
}

#[test]
fn what_a_handler_reads_in_an_unwinding_does_not_wait_for_the_client() {
    watched(|| {
        let server = start(|request: Request<Body>| -> Response<()> {
            let _drain = Drain(request.into_body());
            panic!("this panic is part of the test");
        })?;
        let mut stream = server.connect()?;
        stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n12345")?;
        assert!(read_answer(&mut stream)?.starts_with("HTTP/1.1 500 "));
        server.stop()
    });
}

#[test]
fn what_an_upgraded_connection_writes_in_an_unwinding_does_not_wait_for_the_client() {
    watched(|| {
        let server = start(|_| {
            web::upgrade(|stream| {
                let mut stream = BufWriter::with_capacity((32 << 20) + 1, stream); // more than the sockets take
                _ = stream.write_all(&vec![b'x'; 32 << 20]);
                panic!("this panic is part of the test");
            })?;
            let response = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "x");
            io::Result::Ok(response.body(()).unwrap())
        })?;
        let mut stream = server.connect()?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n")?;
        assert!(read_answer(&mut stream)?.starts_with("HTTP/1.1 101 "));
        sward::sleep(ms(20));
        let mut rest = Vec::new();
        _ = stream.read_to_end(&mut rest); // perhaps reset
        assert!(rest.len() < 32 << 20, "it did not wait");
        server.stop()
    });
}

/// Panics when dropped.
struct Evil;

impl Drop for Evil {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "this panic is part of the test");
    }
}

#[test]
fn a_panic_whose_payload_panics_is_a_500() {
    watched(|| {
        let server = start(|request| {
            if request.uri().path() == "/evil" {
                std::panic::panic_any(Evil);
            }
            Response::new("fine")
        })?;
        let mut stream = server.connect()?;
        stream.write_all(b"GET /evil HTTP/1.1\r\nhost: a\r\n\r\n")?;
        assert!(read_answer(&mut stream)?.starts_with("HTTP/1.1 500 "));
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
        assert!(read_answer(&mut stream)?.ends_with("fine"));
        drop(stream);
        server.stop()
    });
}

/// Asks for another upgrade when dropped.
struct Again;

impl Drop for Again {
    fn drop(&mut self) {
        web::upgrade(|mut stream| _ = stream.write_all(b"again")).unwrap();
    }
}

#[test]
fn what_was_to_take_a_connection_over_may_do_anything_when_it_is_dropped() {
    watched(|| {
        let server = start(|_| {
            let first = Again;
            web::upgrade(move |_| drop(first))?;
            web::upgrade(|mut stream| _ = stream.write_all(b"second"))?;
            let response = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "x");
            io::Result::Ok(response.body(()).unwrap())
        })?;
        let answer = server.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n")?;
        assert!(answer.starts_with("HTTP/1.1 101 ") && answer.ends_with("again"), "{answer}");
        server.stop()
    });
}
