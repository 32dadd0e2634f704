//! A server with a path for each stage that a request can be in, and clients that leave in each.

use std::cell::Cell;
use std::io::{self, Write};
use std::rc::Rc;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use sward::web::{self, Reply, Response};

use super::{Running, ms, start_with};

/// Counts those that live.
pub struct Guard(Rc<Cell<i32>>);

impl Guard {
    pub fn new(count: &Rc<Cell<i32>>) -> Guard {
        count.set(count.get() + 1);
        Guard(count.clone())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Waits until all of them are gone.
pub fn wait_for_none(count: &Cell<i32>) {
    while count.get() != 0 {
        sward::sleep(ms(1));
    }
}

/// A server with a path for each stage that a request can be in, and how many handlers, writers and upgraded
/// connections live.
pub fn every_stage(server: web::Server) -> io::Result<(Running, Rc<Cell<i32>>)> {
    let alive = Rc::new(Cell::new(0));
    let count = alive.clone();
    let running = start_with(server, move |mut request| {
        let guard = Guard::new(&count);
        match request.uri().path() {
            "/sleep" => sward::sleep(Duration::from_secs(50)),
            "/body" => _ = io::copy(request.body_mut(), &mut io::sink())?,
            "/write" => {
                return Ok(Response::new(Reply::from_writer(move |writer| {
                    let _guard = guard;
                    loop {
                        writer.write_all(&[0; 10_000])?;
                    }
                })));
            }
            "/upgrade" => {
                web::upgrade(move |mut stream| {
                    let _guard = guard;
                    _ = io::copy(&mut stream, &mut io::sink());
                })?;
                let response = Response::builder().status(101).header("connection", "upgrade");
                return Ok(response.header("upgrade", "x").body(Reply::default()).unwrap());
            }
            _ => {}
        }
        io::Result::Ok(Response::new(Reply::from("answer")))
    })?;
    Ok((running, alive))
}

/// Requests that reach every stage.
pub const STAGES: [&str; 5] = [
    "GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
    "POST /body HTTP/1.1\r\nhost: a\r\ncontent-length: 20\r\n\r\n01234567890123456789",
    "POST /body HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nx: y\r\n\r\n",
    "GET /write HTTP/1.1\r\nhost: a\r\n\r\n",
    "GET /upgrade HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nmore",
];

/// Clients that leave after each byte of these requests, some of them with a reset; tells how many they were.
pub fn leave_after_any_byte(server: &Running) -> io::Result<usize> {
    let mut clients = 0;
    for request in STAGES {
        for at in 0..=request.len() {
            let mut polite = server.connect()?;
            let mut rude = server.connect()?;
            set_socket_linger(&rude, Some(Duration::ZERO))?; // a reset instead of an end
            for stream in [&mut polite, &mut rude] {
                stream.write_all(&request.as_bytes()[..at])?;
            }
            if at % 3 == 0 {
                sward::sleep(ms(1)); // it has come
            }
            clients += 2;
        }
    }
    Ok(clients)
}
