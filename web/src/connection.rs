//! A connection from its first byte to its last, in one greenlet.

use std::cell::RefCell;
use std::future::Future;
use std::io::IoSlice;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, Stream as _};
use hyper::server::conn::{http1, http2};

use crate::driver::Driver;
use crate::exchange::Exchanges;
use crate::line::{End, Engine, Line};
use crate::shared::{Phase, Shared};
use crate::site::Site;
use crate::stream::{Peer, Stream};
use crate::upgrade::{UpgradeTo, Upgraded};
use crate::wire::{Dialect, HyperIo, Wire};

/// How long a closed connection takes what the client is still sending, so that the client reads the
/// answer instead of a reset.
const LINGER: Duration = Duration::from_secs(2);

/// What a client gets that does not send its request.
const TIMED_OUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Handles a connection. Blocks the greenlet until it is closed and its requests have ended.
pub(crate) fn handle(stream: Stream, peer: Peer, site: &Rc<Site>) {
    let entry = site.enter();
    let shared = Shared::new(site, peer, entry.place());
    let _requests = KillRequests(&shared);
    serve(stream, &shared);
    shared.wait_for_greenlets();
}

/// Kills a connection's requests when the connection is killed, or panics.
struct KillRequests<'a>(&'a Shared);

impl Drop for KillRequests<'_> {
    fn drop(&mut self) {
        // After an orderly end there are none.
        self.0.kill_greenlets();
    }
}

// What comes one after the other is in functions that are not inlined: the frames of all of them would be there for as
// long as the connection is, and its stack would not stay within a page.

/// Speaks HTTP over the stream until one side has had enough.
fn serve(stream: Stream, shared: &Rc<Shared>) {
    let driver = Driver::new(shared.clone());
    #[cfg(feature = "tls")]
    let Some(stream) = (match &shared.settings.tls {
        None => Some(stream),
        Some(config) => encrypt(stream, config, &driver, shared),
    }) else {
        return;
    };
    let wire = Wire::new(stream);
    match detect(&driver, &wire, shared) {
        None => {}
        Some(Dialect::Http1) => speak_http1(wire, &driver, shared),
        Some(Dialect::Http2) => {
            // A connection without requests is idle: it has no head that could be late.
            shared.phase.set(Phase::Idle(Instant::now()));
            let end = Line::new(Http2::new, &wire, shared, &driver).run();
            close(&driver, &wire, shared, end);
        }
    }
}

/// Waits for the first bytes. None: there will be no request.
#[inline(never)]
fn detect(driver: &Driver, wire: &Rc<Wire>, shared: &Shared) -> Option<Dialect> {
    let theirs = wire.clone();
    match driver.until_elsewhere(shared.settings.head_timeout, move |context| theirs.poll_dialect(context)) {
        // A connection on which nothing has come is closed without a word.
        Ok(Some(Ok(dialect))) => dialect,
        Ok(Some(Err(error))) | Err(error) => {
            log::debug!(target: "sward_web", "{}: {error}", shared.peer);
            None
        }
        Ok(None) => {
            time_out(driver, wire);
            None
        }
    }
}

/// Speaks HTTP/1, and then perhaps something else.
#[inline(never)]
fn speak_http1(wire: Rc<Wire>, driver: &Driver, shared: &Rc<Shared>) {
    let line = Line::new(Http1::new, &wire, shared, driver);
    let end = line.run();
    match (&end, shared.upgrade.take()) {
        (End::Done(Ok(())), Some(upgrade)) => leave_http(line, wire, driver, shared, upgrade),
        _ => close(driver, &wire, shared, end),
    }
}

/// Makes the TLS handshake; none if that fails.
#[cfg(feature = "tls")]
#[inline(never)]
fn encrypt(
    stream: Stream,
    config: &std::sync::Arc<sward_net::tls::rustls::ServerConfig>,
    driver: &Driver,
    shared: &Shared,
) -> Option<Stream> {
    let tls = crate::tls::Tls::new(stream, config.clone());
    let done = tls.map(|tls| {
        let result = driver.until(shared.settings.head_timeout, |context| tls.poll_handshake(context));
        (tls, result.unwrap_or_else(|| Err(std::io::ErrorKind::TimedOut.into())))
    });
    match done {
        Ok((tls, Ok(()))) => Some(Stream::Tls(Box::new(tls))),
        Ok((_, Err(error))) | Err(error) => {
            log::debug!(target: "sward_web", "{}: TLS handshake: {error}", shared.peer);
            None
        }
    }
}

/// Hands the stream over.
#[inline(never)]
fn leave_http(line: Rc<Line<Http1>>, wire: Rc<Wire>, driver: &Driver, shared: &Shared, upgrade: UpgradeTo) {
    let engine = Rc::into_inner(line).expect("nobody polls it any more").into_engine();
    let rest = engine.map_or_else(Bytes::new, |engine| engine.into_rest());
    _ = driver.finish(shared.settings.write_timeout, |context| wire.poll_flush(context));
    upgrade(Upgraded::new(wire, rest));
}

/// hyper's end of the wire.
fn io(wire: &Rc<Wire>) -> HyperIo {
    HyperIo(wire.clone())
}

/// Ends a connection so that the client gets all that was written.
#[inline(never)]
fn close(driver: &Driver, wire: &Wire, shared: &Shared, end: End) {
    if !matches!(end, End::Done(Ok(()))) {
        log::debug!(target: "sward_web", "{}: {end}", shared.peer);
    }
    match &end {
        End::HeadTimedOut => return time_out(driver, wire),
        End::Broken(_) | End::TimedOut(_) => return,
        End::Done(_) | End::CutOff => {}
    }
    let lingers = shared.unread.get() || matches!(&end, End::Done(Err(error)) if error.is_parse());
    let flushed = driver.finish(shared.settings.write_timeout, |context| wire.poll_shutdown(context));
    if lingers && matches!(flushed, Some(Ok(()))) {
        _ = driver.until(Some(LINGER), |context| wire.poll_discard(context));
    }
}

/// Tells a client that it took too long for its request, if it has begun one.
#[inline(never)]
fn time_out(driver: &Driver, wire: &Wire) {
    // Behind half an answer it would be taken for the rest of that.
    if wire.received() > 0 && !wire.has_output() {
        // What does not go into the socket's empty buffer at once is not worth waiting for.
        _ = driver.until(Some(Duration::ZERO), |context| {
            ready!(wire.stream().poll_write(context, &[IoSlice::new(TIMED_OUT)]))?;
            wire.poll_shutdown(context)
        });
        _ = driver.until(Some(LINGER), |context| wire.poll_discard(context));
    }
}

/// HTTP/1.
///
/// hyper sends bodies in one of two ways, which it is told at the beginning: it copies them behind the head, or gathers
/// what is to be sent without copying, which costs more for each answer than it saves for small ones. So it copies,
/// until the server sends its first large body; from then on it gathers on new connections, and on those that it copies on
/// as soon as it can be exchanged: between two requests.
struct Http1(http1::Connection<HyperIo, Exchanges>);

/// What hyper gathers at most before it writes, where it copies.
const COPIED: usize = 64 * 1024;

impl Http1 {
    /// On a connection whose first bytes did not say HTTP/2.
    fn new(wire: &Rc<Wire>, shared: &Rc<Shared>) -> Http1 {
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
        Http1(builder.serve_connection(io(wire), Exchanges(shared.clone())))
    }
}

impl Engine for Http1 {
    #[inline(always)]
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_without_shutdown(context)
    }

    fn close(&mut self) {
        Pin::new(&mut self.0).graceful_shutdown();
    }

    fn has_heads(&self) -> bool {
        true
    }

    fn into_rest(self) -> Bytes {
        self.0.into_parts().read_buf
    }
}

/// A stream's future, as hyper hands it over.
type StreamFuture = Pin<Box<dyn Future<Output = ()>>>;

/// Takes the futures of an HTTP/2 connection's streams.
#[derive(Clone, Default)]
struct Executor(Rc<RefCell<Vec<StreamFuture>>>);

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Executor {
    fn execute(&self, future: F) {
        self.0.borrow_mut().push(Box::pin(future));
    }
}

/// HTTP/2: the connection and its streams, all polled in the same turns. None of these
/// futures blocks; what blocks, the application, has greenlets of its own.
struct Http2 {
    /// hyper's connection.
    connection: Pin<Box<http2::Connection<HyperIo, Exchanges, Executor>>>,
    /// New streams.
    executor: Executor,
    /// Streams.
    streams: FuturesUnordered<StreamFuture>,
}

impl Http2 {
    /// On a connection whose first bytes said so.
    fn new(wire: &Rc<Wire>, shared: &Rc<Shared>) -> Http2 {
        let executor = Executor::default();
        let mut builder = http2::Builder::new(executor.clone());
        builder.max_header_list_size(u32::try_from(shared.settings.max_head).unwrap_or(u32::MAX));
        let connection = builder.serve_connection(io(wire), Exchanges(shared.clone()));
        Http2 { connection: Box::pin(connection), executor, streams: FuturesUnordered::new() }
    }
}

impl Engine for Http2 {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        loop {
            let result = self.connection.as_mut().poll(context);
            if result.is_ready() {
                return result;
            }
            self.streams.extend(self.executor.0.borrow_mut().drain(..));
            match Pin::new(&mut self.streams).poll_next(context) {
                // A stream has ended; the connection may have something to say about it.
                Poll::Ready(Some(())) => {}
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn close(&mut self) {
        self.connection.as_mut().graceful_shutdown();
    }

    fn has_heads(&self) -> bool {
        false
    }

    fn into_rest(self) -> Bytes {
        Bytes::new() // nobody asks: there is no leaving HTTP/2
    }
}
