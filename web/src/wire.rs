//! The socket as hyper sees it, and the buffer that makes several small writes one system call.
//!
//! ```text
//!   hyper ── poll_write ──▶ out ── flush, once per turn of the connection ──▶ socket
//!   hyper ◀── poll_read ─── prefix, then scratch (one per hub) ◀─────────── socket
//! ```
//!
//! hyper is told at once that it has flushed; the connection does so when hyper has nothing
//! more to do, which for pipelined requests and for the streams of HTTP/2 means many answers at once.
//! Idle connections hold neither buffer.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use hyper::rt::ReadBufCursor;
use sward_runtime::lowlevel::HubLocal;

use crate::stream::Stream;

/// Bytes that wait in `out` at most; beyond that hyper waits until the socket takes them.
const OUT_LIMIT: usize = 64 * 1024;
/// Bytes read at once.
const SCRATCH: usize = 64 * 1024;
/// Buffers of a kind that are kept, at most: those of connections that are polled together.
const SPARES: usize = 16;
/// Bytes read ahead at once: a request or two.
const AHEAD: usize = 4096;
/// Bytes that hyper writes in one turn at most, about: with a client that reads as fast, a long body would never end.
const TURN_LIMIT: usize = 128 * 1024;
/// What a write counts for at least.
const SMALL: usize = 4 * 1024;
/// Bytes to write from which on copying costs more than the system call that it might save.
pub(crate) const LARGE: usize = 16 * 1024;

/// Bytes of an unread request that are read before the connection is closed.
const DISCARD_LIMIT: usize = 16 * 1024 * 1024;
/// How an HTTP/2 connection begins.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Those of this hub.
static BUFFERS: HubLocal<Rc<Buffers>> = HubLocal::new(|| {
    Rc::new(Buffers {
        scratch: RefCell::new(vec![0; SCRATCH].into()),
        spare: RefCell::default(),
        ahead: RefCell::default(),
    })
});

/// Buffers that the connections of a hub share, each for the moment.
struct Buffers {
    /// What is read goes through here to hyper's buffer.
    scratch: RefCell<Box<[u8]>>,
    /// Those `out` that were emptied last.
    spare: RefCell<Vec<Vec<u8>>>,
    /// What is read ahead is there, while it is that. One each for the connections that are polled together.
    ahead: RefCell<Vec<Box<Ahead>>>,
}

/// What was read before hyper asked for it.
struct Ahead {
    /// Holds it.
    buffer: [u8; AHEAD],
    /// Where what hyper has not seen yet is.
    unread: Range<usize>,
    /// What comes behind it.
    error: Option<io::Error>,
}

/// Keeps a buffer for the next connection.
#[inline]
fn keep<T>(spares: &RefCell<Vec<T>>, buffer: T) {
    let mut spares = spares.borrow_mut();
    if spares.len() < SPARES {
        spares.push(buffer);
    }
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// A connection's socket with its buffers.
pub(crate) struct Wire {
    /// The socket.
    stream: Stream,
    /// What was read before hyper was there to read it.
    prefix: RefCell<Vec<u8>>,
    /// What was read before hyper asked for it, which comes behind that.
    ahead: RefCell<Option<Box<Ahead>>>,
    /// What hyper has written and the socket does not have yet.
    out: RefCell<Vec<u8>>,
    /// How much of `out` the socket has.
    sent: Cell<usize>,
    /// How much hyper may still write in this turn.
    left: Cell<usize>,
    /// Whether hyper has written more than was taken.
    owes: Cell<bool>,
    /// Since when the socket takes nothing.
    stalled_since: Cell<Option<Instant>>,
    /// How many bytes were ever read.
    received: Cell<u64>,
    /// The hub's.
    buffers: Rc<Buffers>,
}

impl Wire {
    /// Around a socket from which nothing was read.
    pub(crate) fn new(stream: Stream) -> Rc<Wire> {
        Rc::new(Wire {
            stream,
            received: Cell::new(0),
            buffers: BUFFERS.with(Rc::clone),
            prefix: RefCell::new(Vec::new()),
            ahead: RefCell::new(None),
            out: RefCell::new(Vec::new()),
            sent: Cell::new(0),
            left: Cell::new(0),
            owes: Cell::new(false),
            stalled_since: Cell::new(None),
        })
    }

    /// The socket.
    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// How many bytes were ever read.
    pub(crate) fn received(&self) -> u64 {
        self.received.get()
    }

    /// Since when the socket takes nothing of what there is to write.
    pub(crate) fn stalled_since(&self) -> Option<Instant> {
        self.stalled_since.get()
    }

    /// hyper has a turn.
    pub(crate) fn begin_turn(&self) {
        self.left.set(TURN_LIMIT);
    }

    /// Whether something waits to be written.
    pub(crate) fn has_output(&self) -> bool {
        !self.out.borrow().is_empty()
    }

    /// Whether somebody is in the middle of writing.
    pub(crate) fn is_in_use(&self) -> bool {
        self.out.try_borrow_mut().is_err()
    }

    /// Whether hyper keeps something that it has written, which was not taken yet.
    pub(crate) fn hyper_owes(&self) -> bool {
        self.owes.get()
    }

    /// What hyper has read and has no use for: it is read again, first.
    pub(crate) fn give_back(&self, bytes: &[u8]) {
        self.prefix.borrow_mut().splice(..0, bytes.iter().copied());
    }

    /// What was read and is to be read again.
    pub(crate) fn take_back(&self) -> Vec<u8> {
        let mut bytes = self.prefix.take();
        if let Some(ahead) = self.ahead.take() {
            bytes.extend_from_slice(&ahead.buffer[ahead.unread]);
        }
        bytes
    }

    /// Reads, for hyper to find it.
    #[inline(always)]
    pub(crate) fn read_ahead(&self, context: &mut Context<'_>) {
        let mut place = self.ahead.borrow_mut();
        if place.is_some() {
            return;
        }
        let spare = self.buffers.ahead.borrow_mut().pop();
        let mut ahead = spare.unwrap_or_else(|| Box::new(Ahead { buffer: [0; AHEAD], unread: 0..0, error: None }));
        match self.stream.poll_read(context, &mut ahead.buffer) {
            Poll::Ready(Ok(n)) if n > 0 => ahead.unread = 0..n,
            Poll::Ready(Err(error)) => ahead.error = Some(error),
            // The end of a stream is there when hyper looks.
            Poll::Ready(Ok(_)) | Poll::Pending => return keep(&self.buffers.ahead, ahead),
        }
        *place = Some(ahead);
    }

    /// Gives hyper what was read ahead; none if nothing was.
    #[inline(always)]
    fn take_ahead(&self, buffer: &mut ReadBufCursor<'_>) -> Option<io::Result<()>> {
        let mut place = self.ahead.borrow_mut();
        let ahead = place.as_mut()?;
        let len = ahead.unread.len().min(buffer.remaining());
        let (bytes, rest) = ahead.buffer[ahead.unread.clone()].split_at(len);
        buffer.put_slice(bytes);
        self.received.set(self.received.get() + len as u64);
        let result = if len > 0 { Ok(()) } else { ahead.error.take().map_or(Ok(()), Err) };
        ahead.unread.start = AHEAD.min(ahead.unread.end - rest.len());
        if ahead.unread.is_empty() && ahead.error.is_none() {
            place.take().into_iter().for_each(|ahead| keep(&self.buffers.ahead, ahead));
        }
        Some(result)
    }

    /// Sends `bytes` behind what waits.
    pub(crate) fn append(&self, bytes: &[u8]) {
        self.out.borrow_mut().extend_from_slice(bytes);
    }

    /// Reads until it is clear what is spoken here; none if the client leaves before that.
    pub(crate) fn poll_dialect(&self, context: &mut Context<'_>) -> Poll<io::Result<Option<Dialect>>> {
        // Before the buffer of all connections is borrowed: it may park.
        ready!(self.stream.poll_begin(context))?;
        let mut prefix = self.prefix.borrow_mut();
        loop {
            let scratch = &mut *self.buffers.scratch.borrow_mut();
            let n = ready!(self.stream.poll_read(context, scratch))?;
            prefix.extend_from_slice(&scratch[..n]);
            self.received.set(self.received.get() + n as u64);
            let len = prefix.len().min(HTTP2_PREFACE.len());
            return Poll::Ready(Ok(match prefix[..len] == HTTP2_PREFACE[..len] {
                _ if n == 0 && len == 0 => None,
                false => Some(Dialect::Http1),
                true if len == HTTP2_PREFACE.len() => Some(Dialect::Http2),
                true if n == 0 => Some(Dialect::Http1), // which answers 400
                true => continue,
            }));
        }
    }

    /// Writes what waits, then says that nothing more comes.
    pub(crate) fn poll_shutdown(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(context))?;
        self.stream.poll_shutdown(context)
    }

    /// Reads until the other side closes, and forgets what it reads.
    pub(crate) fn poll_discard(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let scratch = &mut *self.buffers.scratch.borrow_mut();
        for _ in 0..DISCARD_LIMIT / SCRATCH {
            if ready!(self.stream.poll_read(context, scratch))? == 0 {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what waits.
    #[inline(always)]
    pub(crate) fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut out = self.out.borrow_mut();
        while self.sent.get() < out.len() {
            let sent = ready!(self.poll_stream(context, &[IoSlice::new(&out[self.sent.get()..])]))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent.set(self.sent.get() + sent);
        }
        if !out.is_empty() {
            self.sent.set(0);
            out.clear();
            keep(&self.buffers.spare, std::mem::take(&mut *out));
        }
        self.stream.poll_flush(context)
    }

    /// Writes to the socket and notes whether it stalls.
    #[inline(always)]
    fn poll_stream(&self, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let result = self.stream.poll_write(context, parts);
        match &result {
            Poll::Ready(_) => self.stalled_since.set(None),
            Poll::Pending if self.stalled_since.get().is_none() => self.stalled_since.set(Some(Instant::now())),
            Poll::Pending => {}
        }
        result
    }

    /// Takes what hyper writes, so much in a turn.
    #[inline]
    fn poll_write(&self, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        self.owes.set(true);
        let left = self.left.get();
        if left == 0 {
            context.waker().wake_by_ref(); // others have their turn first
            return Poll::Pending;
        }
        // What the socket does not take counts for nothing: that is waited for, not polled again.
        let taken = ready!(self.poll_take(context, parts, len))?;
        self.left.set(left.saturating_sub(taken.max(SMALL)));
        self.owes.set(taken < len);
        Poll::Ready(Ok(taken))
    }

    /// Takes what hyper writes.
    #[inline]
    fn poll_take(&self, context: &mut Context<'_>, parts: &[IoSlice<'_>], len: usize) -> Poll<io::Result<usize>> {
        let waiting = self.out.borrow().len();
        if waiting > 0 && waiting + len > OUT_LIMIT {
            ready!(self.poll_flush(context))?;
        }
        let mut out = self.out.borrow_mut();
        if out.is_empty() && len > LARGE {
            return self.poll_stream(context, parts);
        }
        if out.capacity() == 0 {
            *out = self.buffers.spare.borrow_mut().pop().unwrap_or_default();
        }
        parts.iter().for_each(|part| out.extend_from_slice(part));
        Poll::Ready(Ok(len))
    }

    /// Gives hyper what was read before it was there, and tells how much that was.
    #[inline]
    fn take_prefix(&self, buffer: &mut ReadBufCursor<'_>) -> usize {
        let mut prefix = self.prefix.borrow_mut();
        let had = prefix.len().min(buffer.remaining());
        if had > 0 {
            buffer.put_slice(&prefix[..had]);
            prefix.drain(..had);
            if prefix.is_empty() {
                *prefix = Vec::new();
            }
        }
        had
    }

    /// Gives hyper what was read.
    #[inline(always)]
    fn poll_read(&self, context: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let len = buffer.remaining().min(SCRATCH);
        if len == 0 || self.take_prefix(&mut buffer) > 0 {
            return Poll::Ready(Ok(()));
        }
        if let Some(result) = self.take_ahead(&mut buffer) {
            return Poll::Ready(result);
        }
        let scratch = &mut self.buffers.scratch.borrow_mut()[..len];
        match self.stream.poll_read(context, scratch) {
            Poll::Ready(Ok(n)) => {
                self.received.set(self.received.get() + n as u64);
                buffer.put_slice(&scratch[..n]);
                Poll::Ready(Ok(()))
            }
            other => other.map_ok(drop),
        }
    }
}

/// hyper's end of a wire.
pub(crate) struct HyperIo(pub(crate) Rc<Wire>);

impl hyper::rt::Read for HyperIo {
    #[inline(always)]
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read(context, buffer)
    }
}

impl hyper::rt::Write for HyperIo {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, part: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write(context, &[IoSlice::new(part)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write(context, parts)
    }

    /// For HTTP/2. HTTP/1 is told, see `Http1::new`.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection flushes when hyper has nothing more to do.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_shutdown(context)
    }
}
