//! hyper's side of a connection.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, Stream as _};
use hyper::server::conn::{http1, http2};

use crate::exchange::{Exchanges, Fetched};
use crate::shared::Shared;
use crate::wire::{HyperIo, Wire};

/// HTTP/1.
///
/// hyper sends bodies in one of two ways, which it is told at the beginning: it copies them behind the head, or gathers
/// what is to be sent without copying, which costs more for each answer than it saves for small ones. So it copies,
/// until the server sends its first large body; from then on it gathers on new connections, and on those that it copies on
/// as soon as it can be exchanged: between two requests.
pub(crate) struct Http1(http1::Connection<HyperIo, Exchanges>);

/// What hyper gathers at most before it writes, where it copies.
const COPIED: usize = 64 * 1024;

impl Http1 {
    /// On a connection whose first bytes did not say HTTP/2.
    pub(crate) fn new(wire: &Rc<Wire>, shared: &Rc<Shared>) -> Http1 {
        let mut builder = http1::Builder::new();
        let settings = &shared.settings;
        // A client may send its request and close its side, as `nc -N` does.
        builder.half_close(true).max_header_size(settings.max_head);
        if let Some(max) = settings.max_headers {
            builder.max_headers(max);
        }
        let copies = !shared.site.sends_large.get();
        shared.copies.set(copies);
        builder.writev(!copies);
        if copies {
            // Of what it reads too, but a head may be as long as was said, and of a body so much is read at once anyway.
            builder.max_buf_size(settings.max_head.max(COPIED));
        }
        Http1(builder.serve_connection(HyperIo(wire.clone()), Exchanges(shared.clone())))
    }

    /// Goes on as far as it can.
    #[inline(always)]
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_without_shutdown(context)
    }

    /// No more requests after the one that is being answered.
    pub(crate) fn close(&mut self) {
        Pin::new(&mut self.0).graceful_shutdown();
    }

    /// What it has read and not used.
    pub(crate) fn into_rest(self) -> Bytes {
        self.0.into_parts().read_buf
    }
}

/// A stream of an HTTP/2 connection. When it is dropped before its end it is reset.
pub(crate) struct Stream {
    /// The stream, as hyper hands it over.
    future: Pin<Box<dyn Future<Output = ()>>>,
    /// Its answer.
    fetched: Option<Fetched>,
}

impl Stream {
    /// Whether its client has let it lie since then, or for longer.
    fn is_left_since(&self, then: Instant) -> bool {
        self.fetched.as_ref().and_then(|fetched| fetched.get()).is_some_and(|fetched| fetched <= then)
    }
}

impl Future for Stream {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.future.as_mut().poll(context)
    }
}

/// Takes the streams of an HTTP/2 connection.
#[derive(Clone)]
struct Executor {
    /// New ones.
    streams: Rc<RefCell<Vec<Stream>>>,
    /// The connection.
    shared: Rc<Shared>,
}

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Executor {
    fn execute(&self, future: F) {
        // hyper calls the service right before it hands over the stream.
        let fetched = self.shared.newest_stream();
        self.streams.borrow_mut().push(Stream { future: Box::pin(future), fetched });
    }
}

/// HTTP/2: the connection and its streams, all polled in the same turns. None of these
/// futures blocks; what blocks, the application, has greenlets of its own.
pub(crate) struct Http2 {
    /// hyper's connection.
    connection: Pin<Box<http2::Connection<HyperIo, Exchanges, Executor>>>,
    /// New streams.
    executor: Executor,
    /// Streams.
    streams: FuturesUnordered<Stream>,
}

impl Http2 {
    /// On a connection whose first bytes said so.
    pub(crate) fn new(wire: &Rc<Wire>, shared: &Rc<Shared>) -> Http2 {
        let executor = Executor { streams: Rc::default(), shared: shared.clone() };
        let mut builder = http2::Builder::new(executor.clone());
        builder.max_header_list_size(u32::try_from(shared.settings.max_head).unwrap_or(u32::MAX));
        let connection = builder.serve_connection(HyperIo(wire.clone()), Exchanges(shared.clone()));
        Http2 { connection: Box::pin(connection), executor, streams: FuturesUnordered::new() }
    }

    /// Goes on as far as it can.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        loop {
            let result = self.connection.as_mut().poll(context);
            if result.is_ready() {
                return result;
            }
            self.streams.extend(self.executor.streams.borrow_mut().drain(..));
            match Pin::new(&mut self.streams).poll_next(context) {
                // A stream has ended; the connection may have something to say about it.
                Poll::Ready(Some(())) => {}
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Takes out the streams that their client has let lie since then, or for longer: to be dropped.
    pub(crate) fn take_left_since(&mut self, then: Instant) -> Vec<Stream> {
        if !self.streams.iter().any(|stream| stream.is_left_since(then)) {
            return Vec::new();
        }
        let (left, others) =
            std::mem::take(&mut self.streams).into_iter().partition(|stream| stream.is_left_since(then));
        self.streams = Vec::into_iter(others).collect();
        left
    }

    /// No more requests after those that are being answered.
    pub(crate) fn close(&mut self) {
        self.connection.as_mut().graceful_shutdown();
    }
}
