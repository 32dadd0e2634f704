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
use crate::settings::Settings;
use crate::stream::Peer;
use crate::wait::wait_for;

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
    /// What comes; none if there is no body. Boxed: requests without one are moved more cheaply.
    receiving: Option<Box<Receiving>>,
    /// Who sends it.
    peer: Peer,
}

/// A body while it is received.
struct Receiving {
    /// What hyper receives.
    incoming: Incoming,
    /// Received and not read yet.
    chunk: Bytes,
    /// How many bytes may still come.
    left: u64,
    /// How long a read may take.
    timeout: Option<Duration>,
    /// What went wrong.
    fate: Arc<Fate>,
    /// How long it waits when it is polled.
    patience: Patience,
}

/// What went wrong with a body, for the engine to choose the status.
#[derive(Debug, Default)]
pub(crate) struct Fate(AtomicU8);

impl Fate {
    /// Of what hyper receives; none if there is no body.
    #[inline]
    pub(crate) fn of(incoming: &Incoming) -> Option<Arc<Fate>> {
        if incoming.is_end_stream() { None } else { Some(Arc::default()) }
    }

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
    #[inline]
    pub(crate) fn new(incoming: Incoming, fate: Option<&Arc<Fate>>, settings: &Settings, peer: Peer) -> Body {
        Body { receiving: fate.map(|fate| Receiving::new(incoming, fate, settings)), peer }
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
}

impl Receiving {
    /// Nothing has come yet.
    fn new(incoming: Incoming, fate: &Arc<Fate>, settings: &Settings) -> Box<Receiving> {
        Box::new(Receiving {
            incoming,
            chunk: Bytes::new(),
            left: settings.max_body,
            timeout: settings.body_timeout,
            fate: fate.clone(),
            patience: Patience::default(),
        })
    }

    /// Notes what went wrong.
    fn note(&self, fate: u8) {
        self.fate.0.store(fate, Ordering::Relaxed);
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
            let mut next = || wait_for(|context| self.poll(context).map(Option::transpose));
            let frame = match limit {
                Some(limit) => match sward_runtime::timeout(limit, next) {
                    Ok(frame) => frame,
                    Err(_) => return Err(self.fail(TOO_SLOW)),
                },
                None => next(),
            };
            match frame? {
                None => return Ok(None),
                // Trailers are not for readers of bytes.
                Some(frame) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(Some(data)),
                    _ => {}
                },
            }
        }
    }

    /// The next frame, within the limit.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let polled = http_body::Body::poll_frame(Pin::new(&mut self.incoming), context);
        match &polled {
            Poll::Pending => self.fate.change(FINE, WAITING),
            Poll::Ready(_) => self.fate.change(WAITING, FINE),
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
        let Some(receiving) = &mut self.receiving else { return Ok(0) };
        if receiving.chunk.is_empty() && !buffer.is_empty() {
            match receiving.next_chunk()? {
                Some(chunk) => receiving.chunk = chunk,
                None => return Ok(0),
            }
        }
        let n = receiving.chunk.len().min(buffer.len());
        receiving.chunk.copy_to_slice(&mut buffer[..n]);
        Ok(n)
    }
}

/// Has the same limits, on size and on time.
impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(receiving) = &mut self.receiving else { return Poll::Ready(None) };
        if !receiving.chunk.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut receiving.chunk)))));
        }
        let (polled, limit) = (receiving.poll(context), receiving.timeout);
        match limit {
            Some(limit) if polled.is_pending() && receiving.patience.is_lost(limit, context) => {
                Poll::Ready(Some(Err(receiving.fail(TOO_SLOW))))
            }
            Some(_) if polled.is_ready() => {
                receiving.patience.restore();
                polled
            }
            _ => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        let receiving = self.receiving.as_ref();
        receiving.is_none_or(|receiving| receiving.chunk.is_empty() && receiving.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let Some(receiving) = &self.receiving else { return SizeHint::with_exact(0) };
        let mut hint = receiving.incoming.size_hint();
        let here = receiving.chunk.len() as u64;
        match hint.exact() {
            Some(exact) => hint.set_exact(exact + here),
            None => hint.set_lower(hint.lower() + here),
        }
        hint
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        if !self.incoming.is_end_stream() {
            self.fate.change(FINE, UNREAD);
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timeout = self.receiving.as_ref().map(|receiving| receiving.timeout);
        f.debug_struct("Body").field("peer", &self.peer).field("timeout", &timeout).finish_non_exhaustive()
    }
}
