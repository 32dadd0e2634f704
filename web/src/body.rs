//! The body of a request.

use std::fmt;
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::Body as _;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use crate::patience::Patience;
use crate::stream::Peer;

/// Nothing went wrong.
const FINE: u8 = 0;
/// The client sends too much.
const TOO_LARGE: u8 = 1;
/// The client took too long.
const TOO_SLOW: u8 = 2;
/// The handler did not read all of it.
const UNREAD: u8 = 3;
/// What came is no body, or not all of one.
const MALFORMED: u8 = 4;
/// The handler waits for the client.
const WAITING: u8 = 5;

/// The body of a request: read it with [`io::Read`], or poll it as an [`http_body::Body`].
///
/// The client is asked to send it (`100-continue`) when it is first read. What a handler leaves unread is
/// skipped if it is short and has come, and otherwise the connection is closed.
///
/// Reading fails with `ErrorKind::FileTooLarge` beyond [`Server::max_body`](crate::Server::max_body), with
/// `ErrorKind::TimedOut` when the client sends nothing for
/// [`Server::body_timeout`](crate::Server::body_timeout), with `ErrorKind::InvalidData` when it sends something
/// else than a body, and with `ErrorKind::UnexpectedEof` when it leaves. If the handler then returns an error,
/// the client gets 413, 408 or 400, and nothing is logged as an error.
///
/// ```
/// use std::io::Read;
/// use sward::web::{Body, Request, Response};
///
/// fn shout(mut request: Request<Body>) -> std::io::Result<Response<String>> {
///     let mut text = String::new();
///     request.body_mut().read_to_string(&mut text)?; // blocks this greenlet only
///     Ok(Response::new(text.to_uppercase()))
/// }
/// ```
pub struct Body {
    /// What hyper receives.
    incoming: Incoming,
    /// Received and not read yet.
    chunk: Bytes,
    /// How many bytes may still come.
    left: u64,
    /// How long a read may take.
    timeout: Option<Duration>,
    /// Who sends it.
    peer: Peer,
    /// What went wrong; none if there is no body.
    fate: Option<Arc<Fate>>,
    /// How long it waits when it is polled.
    patience: Patience,
}

/// What went wrong with a body, for the engine to choose the status.
#[derive(Debug, Default)]
pub(crate) struct Fate(AtomicU8);

impl Fate {
    /// The status of an answer to a request whose body could not be read.
    pub(crate) fn status(&self) -> Option<http::StatusCode> {
        match self.0.load(Ordering::Relaxed) {
            TOO_LARGE => Some(http::StatusCode::PAYLOAD_TOO_LARGE),
            TOO_SLOW => Some(http::StatusCode::REQUEST_TIMEOUT),
            MALFORMED => Some(http::StatusCode::BAD_REQUEST),
            _ => None,
        }
    }

    /// Whether the handler, when it was interrupted, waited for the client.
    pub(crate) fn is_waiting(&self) -> bool {
        self.0.load(Ordering::Relaxed) == WAITING
    }

    /// Replaces one state by another, unless it is in a third one.
    fn change(&self, from: u8, to: u8) {
        _ = self.0.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether the client may be sending what nobody reads.
    pub(crate) fn is_unread(&self) -> bool {
        self.0.load(Ordering::Relaxed) != FINE
    }
}

impl Body {
    /// Around what hyper receives.
    pub(crate) fn new(incoming: Incoming, limit: u64, timeout: Option<Duration>, peer: Peer) -> Body {
        let fate = if http_body::Body::is_end_stream(&incoming) { None } else { Some(Arc::default()) };
        Body { incoming, chunk: Bytes::new(), left: limit, timeout, peer, fate, patience: Patience::default() }
    }

    /// Where to look at the end for what went wrong.
    pub(crate) fn fate(&self) -> Option<Arc<Fate>> {
        self.fate.clone()
    }

    /// Who sends it.
    ///
    /// ```
    /// use sward::web::{Body, Peer, Request, Response};
    ///
    /// fn who(request: Request<Body>) -> Response<String> {
    ///     Response::new(match request.body().peer() {
    ///         Peer::Tcp(addr) => format!("you are {addr}"),
    ///         _ => "you are local".to_owned(),
    ///     })
    /// }
    /// ```
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Notes what went wrong.
    fn note(&self, fate: u8) {
        if let Some(shared) = &self.fate {
            shared.0.store(fate, Ordering::Relaxed);
        }
    }

    /// Notes what went wrong and makes it an error.
    fn fail(&self, fate: u8) -> io::Error {
        self.note(fate);
        match fate {
            TOO_LARGE => io::Error::new(io::ErrorKind::FileTooLarge, "the request's body is too large"),
            TOO_SLOW => io::Error::new(io::ErrorKind::TimedOut, "the client stopped sending the request's body"),
            _ => io::Error::other("the request's body failed"),
        }
    }

    /// Waits for the next piece; none at the end. Blocks the greenlet.
    fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let limit = self.timeout;
            let mut next = || sward_runtime::block_on(std::future::poll_fn(|context| self.poll(context)));
            let frame = match limit {
                Some(limit) => match sward_runtime::timeout(limit, next) {
                    Ok(frame) => frame,
                    Err(_) => return Err(self.fail(TOO_SLOW)),
                },
                None => next(),
            };
            match frame {
                None => return Ok(None),
                // Trailers are not for readers of bytes.
                Some(frame) => match frame?.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(Some(data)),
                    _ => {}
                },
            }
        }
    }

    /// The next frame, within the limit.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let polled = http_body::Body::poll_frame(Pin::new(&mut self.incoming), context);
        if let Some(fate) = &self.fate {
            match &polled {
                Poll::Pending => fate.change(FINE, WAITING),
                Poll::Ready(_) => fate.change(WAITING, FINE),
            }
        }
        let frame = match ready!(polled) {
            None => return Poll::Ready(None),
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                self.note(MALFORMED);
                return Poll::Ready(Some(Err(into_io(error))));
            }
        };
        if let Some(data) = frame.data_ref() {
            match self.left.checked_sub(data.len() as u64) {
                Some(left) => self.left = left,
                None => {
                    self.left = 0;
                    return Poll::Ready(Some(Err(self.fail(TOO_LARGE))));
                }
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

/// hyper's error as one of `io`.
fn into_io(error: hyper::Error) -> io::Error {
    let kind = if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        io::ErrorKind::UnexpectedEof
    } else if error.is_parse() {
        io::ErrorKind::InvalidData
    } else {
        io::ErrorKind::ConnectionAborted
    };
    io::Error::new(kind, error)
}

impl Read for Body {
    /// Blocks the greenlet until something of the body is there.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_empty() && !buffer.is_empty() {
            match self.next_chunk()? {
                Some(chunk) => self.chunk = chunk,
                None => return Ok(0),
            }
        }
        let n = self.chunk.len().min(buffer.len());
        self.chunk.copy_to_slice(&mut buffer[..n]);
        Ok(n)
    }
}

/// Has the same limits, on size and on time.
impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if !self.chunk.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.chunk)))));
        }
        let (polled, limit) = (self.poll(context), self.timeout);
        match limit {
            Some(limit) if polled.is_pending() && self.patience.is_lost(limit, context) => {
                Poll::Ready(Some(Err(self.fail(TOO_SLOW))))
            }
            Some(_) if polled.is_ready() => {
                self.patience.restore();
                polled
            }
            _ => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.chunk.is_empty() && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.incoming.size_hint();
        let here = self.chunk.len() as u64;
        match hint.exact() {
            Some(exact) => hint.set_exact(exact + here),
            None => hint.set_lower(hint.lower() + here),
        }
        hint
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Some(fate) = &self.fate
            && !self.incoming.is_end_stream()
        {
            fate.change(FINE, UNREAD);
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("peer", &self.peer).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}
