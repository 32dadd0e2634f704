//! An HTTP/2 client: hyper's, over a `net::TcpStream`.

use std::cell::Cell;
use std::future::Future;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Body as _, Bytes, Frame, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::rt::{Executor, ReadBufCursor};
use sward::lowlevel::Direction;
use sward::net::TcpStream;
use sward::web::http::request;
use sward::web::{Request, Response};

/// A socket for hyper.
struct Io(TcpStream);

impl hyper::rt::Read for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [0; 4096];
        let len = buffer.remaining().min(bytes.len());
        let n = ready!(self.0.source().poll_with(Direction::Read, cx, |mut io| io.read(&mut bytes[..len])))?;
        buffer.put_slice(&bytes[..n]);
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.source().poll_with(Direction::Write, cx, |mut io| io.write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.shutdown(std::net::Shutdown::Write))
    }
}

/// Runs hyper's futures in greenlets.
#[derive(Clone)]
struct Spawn;

impl<F: Future + 'static> Executor<F> for Spawn {
    fn execute(&self, future: F) {
        sward::spawn(move || drop(sward::block_on(future)));
    }
}

/// A request's body: bytes, or none.
pub struct Bytes1(Cell<Option<Bytes>>);

impl hyper::body::Body for Bytes1 {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// A connection.
#[derive(Clone)]
pub struct Client(SendRequest<Bytes1>);

impl Client {
    pub fn connect(addr: SocketAddr) -> io::Result<Client> {
        let io = Io(TcpStream::connect(addr)?);
        let handshake = sward::block_on(http2::handshake(Spawn, io)).map_err(io::Error::other)?;
        let (sender, connection) = handshake;
        sward::spawn(move || sward::block_on(connection));
        Ok(Client(sender))
    }

    /// A request with an optional body; the answer's head.
    pub fn begin(&self, path: &str, body: Option<&str>) -> io::Result<Response<Incoming>> {
        self.begin_with(path, body, 0)
    }

    /// The same, with so many header fields.
    pub fn begin_with(&self, path: &str, body: Option<&str>, fields: usize) -> io::Result<Response<Incoming>> {
        let mut request = Request::builder().method(if body.is_some() { "POST" } else { "GET" });
        for _ in 0..fields {
            request = request.header("x", "y");
        }
        self.ask(request, path, body)
    }

    /// Any request; the answer's head.
    pub fn ask(&self, request: request::Builder, path: &str, body: Option<&str>) -> io::Result<Response<Incoming>> {
        let body = Bytes1(Cell::new(body.map(|text| Bytes::from(text.to_owned()))));
        let request = request.uri(format!("http://test{path}")).body(body).unwrap();
        sward::block_on(self.0.clone().send_request(request)).map_err(io::Error::other)
    }

    /// A request with an optional body: status and text.
    pub fn send(&self, path: &str, body: Option<&str>) -> io::Result<(u16, String)> {
        let response = self.begin(path, body)?;
        let status = response.status().as_u16();
        let mut body = response.into_body();
        let mut text = Vec::new();
        while let Some(chunk) = next(&mut body)? {
            text.extend_from_slice(&chunk);
        }
        Ok((status, String::from_utf8_lossy(&text).into_owned()))
    }
}

/// The next piece of a body.
pub fn next(body: &mut Incoming) -> io::Result<Option<Bytes>> {
    loop {
        match sward::block_on(std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx))) {
            None => return Ok(None),
            Some(Err(error)) => return Err(io::Error::other(error)),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => return Ok(Some(data)),
                Err(_) => continue,
            },
        }
    }
}
