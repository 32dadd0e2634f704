//! The body of a response.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use sward_runtime::Builder;
use sward_runtime::lowlevel::is_interrupted;

use crate::body::Body;
use crate::exchange::End;
use crate::pipe::{Pipe, WriteBody, Writer};

/// Any error, as bodies pass it on.
pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// Bytes that a body made of a reader reads at once.
const READ_SIZE: usize = 16 * 1024;
/// Bytes of a body that is asked for its first piece before the connection wants it.
const LARGEST_PIECE: u64 = 64 * 1024;

/// The body of a response: bytes, another body, a reader, or what a closure writes. `!Send`, so that it
/// may hold `Rc`s.
///
/// Handlers return a `Response` of anything that converts into a `Reply`: `&'static str`, `String`,
/// `Vec<u8>`, `Bytes`, `()`, or a `Reply` itself.
///
/// ```
/// use std::io::Write;
/// use sward::web::{Body, Reply, Request, Response};
///
/// /// Server-sent events: one a second, for as long as the client listens.
/// fn ticks(_: Request<Body>) -> Response<Reply> {
///     let body = Reply::from_writer(|stream| {
///         for n in 0.. {
///             write!(stream, "data: {n}\n\n")?; // an error once the client has left
///             sward::sleep(std::time::Duration::from_secs(1));
///         }
///         Ok(())
///     });
///     Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
/// }
/// ```
pub struct Reply {
    /// What kind of body it is.
    kind: Kind,
    /// The exchange that ends with it, once the connection has it.
    end: Option<End>,
}

/// The kinds of bodies.
enum Kind {
    /// These bytes, until they were taken.
    Full(Bytes),
    /// What another body has, after what it has given already. Boxed, because a frame is large and replies are moved.
    Other(Option<Box<Frame<Bytes>>>, Pin<Box<dyn Erased>>),
    /// A closure that was not started yet.
    Closure(WriteBody),
    /// What a closure writes.
    Pipe(Pipe),
}

impl Reply {
    /// A body that a closure writes, in a greenlet of its own, while it is being sent.
    ///
    /// What was written is sent as soon as that greenlet blocks or has written 64 KiB. Writing blocks the
    /// greenlet while the client does not read, and fails with `ErrorKind::BrokenPipe` once it has left.
    /// If the closure returns an error or panics, the connection is cut off, so that the client does not take
    /// the body for complete. The closure is not called for a HEAD request.
    ///
    /// ```
    /// use std::io::Write;
    /// let body = sward::web::Reply::from_writer(|w| w.write_all(b"hello"));
    /// ```
    pub fn from_writer<F>(write: F) -> Reply
    where
        F: FnOnce(&mut Writer) -> io::Result<()> + 'static,
    {
        Kind::Closure(Box::new(write)).into()
    }

    /// A body that is read from `reader`, in a greenlet of its own, while it is being sent: reading may
    /// block the greenlet.
    ///
    /// ```
    /// let body = sward::web::Reply::from_reader(&b"hello"[..]);
    /// ```
    pub fn from_reader<R: Read + 'static>(mut reader: R) -> Reply {
        Reply::from_writer(move |writer| {
            let mut buffer = vec![0; READ_SIZE];
            loop {
                match reader.read(&mut buffer) {
                    Ok(0) => return Ok(()),
                    Ok(n) => writer.write_all(&buffer[..n])?,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        })
    }

    /// Any other body, such as one of the crate `http-body-util` or of a framework.
    ///
    /// ```
    /// use sward::web::{Body, Reply, Request, Response};
    ///
    /// fn echo(request: Request<Body>) -> Response<Reply> {
    ///     Response::new(Reply::from_body(request.into_body()))
    /// }
    /// ```
    pub fn from_body<B>(body: B) -> Reply
    where
        B: HttpBody + 'static,
        B::Data: Buf,
        B::Error: Into<BoxError>,
    {
        Kind::Other(None, Box::pin(body)).into()
    }

    /// As `from_body`; what such a body has at hand is taken out of it at once, in the request's greenlet, which it may
    /// block as it likes. Nearly all bodies of frameworks are one piece.
    ///
    /// # Errors
    ///
    /// The body's.
    pub(crate) fn begin_body<B>(body: B) -> Result<Reply, BoxError>
    where
        B: HttpBody + 'static,
        B::Data: Buf,
        B::Error: Into<BoxError>,
    {
        if body.size_hint().exact().is_none_or(|len| len > LARGEST_PIECE) {
            return Ok(Reply::from_body(body));
        }
        let mut body: Pin<Box<dyn Erased>> = Box::pin(body);
        // The connection polls again what is not there yet, with a waker of its own.
        let first = match body.as_mut().poll_erased(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => return Ok(Kind::Other(None, body).into()),
            Poll::Ready(None) => return Ok(Reply::default()),
            Poll::Ready(Some(frame)) => frame?,
        };
        Ok(match first.into_data() {
            Ok(data) if body.has_ended() => data.into(),
            Ok(data) => Kind::Other(Some(Frame::data(data).into()), body).into(),
            Err(trailers) => Kind::Other(Some(trailers.into()), body).into(),
        })
    }

    /// The connection has it: its end is that of an exchange.
    #[inline]
    pub(crate) fn ends(&mut self, end: End) {
        self.end = Some(end);
    }

    /// Starts the closure that writes the body.
    #[cold]
    fn start(&mut self) -> Result<(), BoxError> {
        if let Kind::Closure(write) = std::mem::replace(&mut self.kind, Kind::Full(Bytes::new())) {
            self.kind = Kind::Pipe(Pipe::start(write, |f| match &self.end {
                Some(end) => end.spawn(f),
                None => Builder::new().name("response body").spawn(f),
            })?);
        }
        Ok(())
    }

    /// The next frame of what is not all there, or what hyper takes of it.
    fn poll_other(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = self.poll_whole(context);
        let Some(end) = &self.end else { return frame };
        let Poll::Ready(frame) = frame else {
            end.wait_for_body();
            return Poll::Pending;
        };
        Poll::Ready(match frame {
            Some(Ok(frame)) => Some(Ok(match (frame.into_data(), &mut self.kind) {
                (Ok(mut data), Kind::Other(first, _)) => {
                    let taken = end.take(&mut data);
                    *first = (!data.is_empty()).then(|| Frame::data(data).into());
                    Frame::data(taken)
                }
                // What a closure writes comes in pieces that are small enough.
                (Ok(data), _) => {
                    end.count(data.len());
                    Frame::data(data)
                }
                (Err(trailers), _) => trailers,
            })),
            Some(Err(error)) => {
                end.log_failure(&error);
                Some(Err(error))
            }
            None => None,
        })
    }

    /// The next frame of what is not all there.
    fn poll_whole(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Kind::Closure(_) = self.kind {
            self.start()?;
        }
        match &mut self.kind {
            Kind::Full(_) => Poll::Ready(None),
            Kind::Other(first @ Some(_), _) => Poll::Ready(first.take().map(|first| Ok(*first))),
            Kind::Other(None, body) => {
                // It is polled in a greenlet on which other requests depend.
                let poll = catch_unwind(AssertUnwindSafe(|| body.as_mut().poll_erased(context)));
                poll.unwrap_or_else(|panic| {
                    if is_interrupted() {
                        resume_unwind(panic); // killed with its connection
                    }
                    self.drop_kind();
                    Poll::Ready(Some(Err(format!("its body panicked: {}", message(&*panic)).into())))
                })
            }
            Kind::Pipe(pipe) => pipe.poll_chunk(context).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data))),
            Kind::Closure(_) => unreachable!("a closure was started above"),
        }
    }

    /// Drops the body: what panics there harms no other request of the connection.
    fn drop_kind(&mut self) {
        let kind = std::mem::replace(&mut self.kind, Kind::Full(Bytes::new()));
        guard(|| drop(kind));
    }
}

impl From<Kind> for Reply {
    #[inline]
    fn from(kind: Kind) -> Reply {
        Reply { kind, end: None }
    }
}

/// No bytes.
impl Default for Reply {
    fn default() -> Reply {
        Kind::Full(Bytes::new()).into()
    }
}

impl From<Bytes> for Reply {
    fn from(bytes: Bytes) -> Reply {
        Kind::Full(bytes).into()
    }
}

impl From<String> for Reply {
    fn from(text: String) -> Reply {
        Bytes::from(text).into()
    }
}

impl From<Vec<u8>> for Reply {
    fn from(bytes: Vec<u8>) -> Reply {
        Bytes::from(bytes).into()
    }
}

impl From<&'static str> for Reply {
    fn from(text: &'static str) -> Reply {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<&'static [u8]> for Reply {
    fn from(bytes: &'static [u8]) -> Reply {
        Bytes::from_static(bytes).into()
    }
}

impl From<()> for Reply {
    fn from((): ()) -> Reply {
        Reply::default()
    }
}

/// As [`Reply::from_body`]: sends the request's body back.
impl From<Body> for Reply {
    fn from(body: Body) -> Reply {
        Reply::from_body(body)
    }
}

impl HttpBody for Reply {
    type Data = Bytes;
    type Error = BoxError;

    #[inline]
    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let bytes = match &mut this.kind {
            Kind::Full(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Kind::Full(bytes) => bytes,
            _ => return this.poll_other(context),
        };
        Poll::Ready(Some(Ok(Frame::data(match &this.end {
            Some(end) => end.take(bytes),
            None => std::mem::take(bytes),
        }))))
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Other(first, body) => first.is_none() && guard(|| body.has_ended()).unwrap_or(false),
            Kind::Closure(_) | Kind::Pipe(_) => false,
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Other(first, body) => hint(first.as_deref(), &**body),
            Kind::Closure(_) | Kind::Pipe(_) => SizeHint::default(),
        }
    }
}

impl Drop for Reply {
    #[inline]
    fn drop(&mut self) {
        if !matches!(self.kind, Kind::Full(_)) {
            self.drop_kind();
        }
    }
}

/// How long a body is, with what it has given already.
fn hint(first: Option<&Frame<Bytes>>, body: &dyn Erased) -> SizeHint {
    let mut hint = guard(|| body.hint()).unwrap_or_default();
    let here = first.and_then(|first| first.data_ref()).map_or(0, |data| data.len() as u64);
    match hint.exact() {
        Some(exact) => hint.set_exact(exact + here),
        None => hint.set_lower(hint.lower() + here),
    }
    hint
}

/// Calls what is the user's, in a greenlet on which other requests depend; none if it panics, which the panic hook
/// has told.
#[inline(never)]
fn guard<T>(f: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(f)).ok()
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Full(_) => "bytes",
            Kind::Other(..) => "another body",
            Kind::Closure(_) | Kind::Pipe(_) => "a writer",
        };
        f.debug_tuple("Reply").field(&format_args!("{kind}")).finish()
    }
}

/// What a panic says.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(without a text)")
}

/// Any body with its data as `Bytes` and its error in a box.
trait Erased {
    /// As `poll_frame`.
    fn poll_erased(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>>;
    /// As `is_end_stream`.
    fn has_ended(&self) -> bool;
    /// As `size_hint`.
    fn hint(&self) -> SizeHint;
}

impl<B> Erased for B
where
    B: HttpBody,
    B::Data: Buf,
    B::Error: Into<BoxError>,
{
    fn poll_erased(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        // Costs nothing if the data is `Bytes` already.
        let convert = |frame: Frame<B::Data>| frame.map_data(|mut data| data.copy_to_bytes(data.remaining()));
        self.poll_frame(context).map(|frame| frame.map(|frame| frame.map(convert).map_err(Into::into)))
    }

    fn has_ended(&self) -> bool {
        self.is_end_stream()
    }

    fn hint(&self) -> SizeHint {
        self.size_hint()
    }
}
