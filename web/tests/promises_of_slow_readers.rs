//! Clients that take what they are sent slowly get all of it, and those that do not take it do not keep it here.

mod support;

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::rc::Rc;

use support::client::{Client, next};
use support::{Running, bind, ms, read_answer, start_with, watched};
use sward::web::{Reply, Response};

/// Bytes of a large answer: more than the kernel keeps for a connection.
const LEN: usize = 24 << 20;
/// How often the client rests while it reads one.
const RESTS: usize = 13;

/// Half a second, after each part of an answer.
fn rest(part: &mut usize) {
    if *part > LEN / RESTS {
        *part = 0;
        sward::sleep(ms(500));
    }
}

/// Reads the answer to a request over HTTP/1.
fn read_slowly_over_http1(server: &Running) -> io::Result<usize> {
    let mut stream = server.connect()?;
    stream.write_all(b"GET /large HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")?;
    let (mut all, mut part) = (0, 0);
    let mut buffer = vec![0; 100_000];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(all),
            n => (all, part) = (all + n, part + n),
        }
        rest(&mut part);
    }
}

/// The same over HTTP/2.
fn read_slowly_over_http2(server: &Running) -> io::Result<usize> {
    let mut body = Client::connect(server.addr)?.begin("/large", None)?.into_body();
    let (mut all, mut part) = (0, 0);
    while let Some(chunk) = next(&mut body)? {
        (all, part) = (all + chunk.len(), part + chunk.len());
        rest(&mut part);
    }
    Ok(all)
}

/// It takes longer than an idle connection is kept, and than it takes to close one.
#[test]
fn a_client_that_reads_slowly_gets_all_of_a_large_answer() {
    watched(|| {
        let server = bind()?.keep_alive(Some(ms(100))).write_timeout(Some(ms(10_000)));
        let server = start_with(server, |request| {
            let len = if request.uri().path() == "/large" { LEN } else { 1 << 20 };
            Response::new(vec![b'a'; len])
        })?;
        // How answers are sent depends on whether there was a large one before: see the decisions.
        let mut first = server.connect()?;
        first.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
        read_answer(&mut first)?;
        let readers: [fn(&Running) -> io::Result<usize>; 2] = [read_slowly_over_http1, read_slowly_over_http2];
        sward::scope(|scope| -> io::Result<()> {
            let server = &server;
            let read: Vec<_> = readers.map(|read| scope.spawn(move || read(server))).into();
            for read in read {
                let n = read.join().unwrap()?;
                assert!(n >= LEN, "{n} bytes of {LEN}");
            }
            Ok(())
        })?;
        server.stop()
    });
}

#[test]
fn a_stream_whose_client_lets_it_lie_is_reset() {
    watched(|| {
        let errors = Rc::new(RefCell::new(Vec::new()));
        let theirs = errors.clone();
        let server = start_with(bind()?.write_timeout(Some(ms(100))), move |request| {
            let errors = theirs.clone();
            Response::new(match request.uri().path() {
                "/bytes" => vec![0; LEN].into(),
                "/writer" => Reply::from_writer(move |writer| {
                    let result = (0..).try_for_each(|_| writer.write_all(&[0; 100_000]));
                    errors.borrow_mut().extend(result.as_ref().err().map(io::Error::kind));
                    result
                }),
                "/events" => Reply::from_writer(|writer| {
                    writer.write_all(b"one, ")?;
                    writer.flush()?;
                    sward::sleep(ms(500)); // whom the client waits for
                    writer.write_all(b"two")
                }),
                _ => "short".into(),
            })
        })?;
        let client = Client::connect(server.addr)?;
        let left: Vec<_> =
            ["/bytes", "/writer"].iter().map(|path| client.begin(path, None)).collect::<io::Result<_>>()?;
        assert_eq!(client.send("/events", None)?, (200, "one, two".to_owned()));
        while errors.borrow().is_empty() {
            sward::sleep(ms(5));
        }
        assert_eq!(*errors.borrow(), [io::ErrorKind::BrokenPipe]);
        for response in left {
            let mut body = response.into_body();
            let end = std::iter::repeat_with(|| next(&mut body)).find(|chunk| !matches!(chunk, Ok(Some(_))));
            assert!(matches!(end, Some(Err(_))), "it was reset: {end:?}");
        }
        assert_eq!(client.send("/", None)?, (200, "short".to_owned()), "others of the connection go on");
        drop(client);
        server.stop()
    });
}
