//! One request and its answer: the greenlet that the application runs in, and what the connection sees
//! of it.
//!
//! ```text
//!   a poller's greenlet                             the request's greenlet
//!   hyper ── Exchanges::call ── spawn ────────────▶ app.answer(request)   blocks as it likes
//!     │                                               │
//!     └── polls Answer ◀── waker ── exchange ◀────────┘ (also if it panics or is killed)
//!          └─▶ hyper polls Outgoing, the body; its end, or its drop, ends the exchange
//! ```
//!
//! Most handlers do not block. Under HTTP/1 the request's greenlet runs at once (`spawn_now`), so that the answer
//! is there when hyper asks for it, the answers of a pipeline become one write, and all of this happens on the stack
//! and in the memory that the request before has warmed.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use bytes::Bytes;
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use sward_runtime::Greenlet;
use sward_runtime::lowlevel::{recent_time, spawn_now};

use crate::access_log;
use crate::body::{Body, Fate};
use crate::reply::{BoxError, Reply};
use crate::shared::{Place, Shared};
use crate::upgrade;

/// Exchanges that are kept for the next requests of a hub, at most.
const SPARES: usize = 64;

/// hyper's view of the application.
pub(crate) struct Exchanges(pub(crate) Rc<Shared>);

impl hyper::service::Service<Request<Incoming>> for Exchanges {
    type Response = Response<Outgoing>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        let shared = &self.0;
        let refused = if !has_its_host(&request) {
            Some(StatusCode::BAD_REQUEST)
        } else if request.body().size_hint().lower() > shared.settings.max_body {
            Some(StatusCode::PAYLOAD_TOO_LARGE)
        } else if shared.is_full() {
            Some(StatusCode::SERVICE_UNAVAILABLE)
        } else {
            None
        };
        let exchange = Exchange::begin(shared, request);
        let state = match refused {
            Some(status) => State::Refused(status),
            None => match exchange.spawn() {
                Ok(greenlet) => State::Running(greenlet),
                Err(error) => {
                    exchange.log_failure(&format_args!("no greenlet for the request: {error}"));
                    State::Refused(StatusCode::SERVICE_UNAVAILABLE)
                }
            },
        };
        Answer { exchange: Some(exchange), state }
    }
}

/// Whether a request says once where it is meant to go (RFC 9112, 3.2): two servers must not read it
/// differently. HTTP/1.0 need not say it, and HTTP/2 has another place for it (RFC 9113, 8.3.1).
fn has_its_host(request: &Request<Incoming>) -> bool {
    let mut host = None;
    // Few fields are looked through faster than one is looked up.
    for (name, value) in request.headers() {
        if *name == http::header::HOST && host.replace(value.as_bytes()).is_some() {
            return false;
        }
    }
    let Some(host) = host else { return request.version() != Version::HTTP_11 };
    let is_other = |said: &Authority| !said.as_str().as_bytes().eq_ignore_ascii_case(host);
    is_host(host) && !(request.version() == Version::HTTP_2 && request.uri().authority().is_some_and(is_other))
}

/// Whether it is a name, an address or nothing, and perhaps a port (RFC 3986, 3.2.2): what has a space, a slash or a
/// user in it is taken apart differently by whoever comes next.
#[inline]
fn is_host(text: &[u8]) -> bool {
    let is_name = |byte: &&u8| IN_NAMES[usize::from(**byte)];
    let name = text.iter().take_while(is_name).count();
    let port = match &text[name..] {
        [] => return true,
        [b':', port @ ..] => port,
        [b'[', address @ ..] if name == 0 => {
            let len = address.iter().take_while(|byte| **byte == b':' || is_name(byte)).count();
            match &address[len..] {
                [b']'] => return true,
                [b']', b':', port @ ..] => port,
                _ => return false,
            }
        }
        _ => return false,
    };
    port.iter().all(u8::is_ascii_digit)
}

/// The bytes that a name may have.
static IN_NAMES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"-._~%!$&'()*+,;=";
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

/// A request while it is being answered. Used again when it has been: see `Spares`.
#[derive(Default)]
pub(crate) struct Exchange {
    /// What the request is; none between two of them.
    about: Option<About>,
    /// Whether the handler took too long.
    timed_out: Cell<bool>,
    /// Whether the greenlet is done.
    done: Cell<bool>,
    /// The connection's, while it waits for the answer.
    waker: Cell<Option<Waker>>,
    /// The greenlet's place in the connection's list.
    place: Cell<Option<Place>>,
    /// The answer, until the connection takes it.
    answer: RefCell<Option<Answered>>,
    /// The request, until its greenlet takes it.
    request: RefCell<Option<Request<Body>>>,
}

/// What is known of a request when it comes.
pub(crate) struct About {
    /// The connection.
    shared: Rc<Shared>,
    /// The request's method.
    pub(crate) method: Method,
    /// The request's target.
    pub(crate) uri: Uri,
    /// The request's version.
    pub(crate) version: Version,
    /// Whether the client wants to leave HTTP.
    upgrades: bool,
    /// What went wrong with the request's body.
    fate: Option<Arc<Fate>>,
}

impl Deref for Exchange {
    type Target = About;

    #[inline]
    fn deref(&self) -> &About {
        self.about.as_ref().expect("the exchange has begun")
    }
}

/// Exchanges that have ended: they are large, and one is needed for each request.
#[derive(Default)]
pub(crate) struct Spares(RefCell<Vec<Rc<Exchange>>>);

impl Spares {
    /// One that nobody else has.
    #[inline]
    fn take(&self) -> Rc<Exchange> {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    /// Keeps one, if it is not in use still.
    fn give(mut exchange: Rc<Exchange>) {
        let Some(ended) = Rc::get_mut(&mut exchange) else { return };
        let site = ended.shared.site.clone();
        ended.about = None;
        *ended.request.get_mut() = None;
        *ended.answer.get_mut() = None;
        ended.timed_out.set(false);
        ended.done.set(false);
        ended.waker.set(None);
        ended.place.set(None);
        let mut spares = site.spares.0.borrow_mut();
        if spares.len() < SPARES {
            spares.push(exchange);
        }
    }
}

/// What a handler has answered, or why it has not.
pub(crate) type Answered = Result<Response<Reply>, String>;

impl Exchange {
    /// A request has come.
    fn begin(shared: &Rc<Shared>, request: Request<Incoming>) -> Rc<Exchange> {
        shared.exchange_begins();
        let fate = Fate::of(request.body());
        let mut exchange = shared.site.spares.take();
        let new = Rc::get_mut(&mut exchange).expect("nobody else has a spare one");
        new.about = Some(About {
            shared: shared.clone(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            upgrades: request.extensions().get::<hyper::upgrade::OnUpgrade>().is_some(),
            fate: fate.clone(),
        });
        let body = |incoming| Body::new(incoming, fate.as_ref(), &shared.settings, shared.peer);
        *new.request.get_mut() = Some(request.map(body));
        exchange
    }

    /// The request, for the handler.
    #[inline(always)]
    pub(crate) fn take_request(&self) -> Request<Body> {
        self.request.borrow_mut().take().expect("a request is answered once")
    }

    /// The handler has answered.
    #[inline(always)]
    pub(crate) fn answer(&self, answer: Answered) {
        *self.answer.borrow_mut() = Some(answer);
    }

    /// Runs the application.
    fn run(&self) {
        self.shared.app.answer(self);
    }

    /// Runs the application in a greenlet.
    fn spawn(self: &Rc<Self>) -> io::Result<Greenlet<()>> {
        let running = Running(self.clone());
        let answer = move || running.answer();
        // hyper polls the streams of HTTP/2 with a lock held that others want.
        let greenlet =
            if self.version < Version::HTTP_2 { spawn_now(answer)? } else { self.shared.spawn_greenlet(answer)? };
        if !self.done.get() {
            self.place.set(Some(self.shared.enlist(&greenlet)));
        }
        Ok(greenlet)
    }
}

/// The end of an exchange that its greenlet holds.
struct Running(Rc<Exchange>);

impl Running {
    /// Runs the application.
    fn answer(self) {
        let exchange = &*self.0;
        if exchange.upgrades {
            upgrade::allow(&exchange.shared);
        }
        match exchange.shared.settings.request_timeout {
            None => exchange.run(),
            Some(limit) => exchange.timed_out.set(sward_runtime::timeout(limit, || exchange.run()).is_err()),
        }
    }
}

/// Also when the greenlet was killed, even before it began.
impl Drop for Running {
    fn drop(&mut self) {
        self.0.done.set(true);
        if let Some(place) = self.0.place.take() {
            self.0.shared.leave(place);
        }
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }
}

impl Exchange {
    /// Who asked.
    pub(crate) fn peer(&self) -> crate::Peer {
        self.shared.peer
    }

    /// An empty answer instead of the application's.
    fn refuse(&self, status: StatusCode) -> Response<Reply> {
        let mut response = Response::new(Reply::default());
        *response.status_mut() = status;
        // What comes after a body that was not read to its end cannot be told from it.
        if (self.fate.is_some() || status == StatusCode::BAD_REQUEST) && self.version < Version::HTTP_2 {
            response.headers_mut().insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
        }
        response
    }

    /// Makes the handler's answer right, if it is one.
    #[inline]
    fn check(&self, response: &mut Response<Reply>) -> Result<(), StatusCode> {
        let status = response.status();
        let switches = status == StatusCode::SWITCHING_PROTOCOLS && self.version < Version::HTTP_2;
        if status.is_informational() && !switches {
            return Err(status);
        }
        if let Some(said) = response.headers().get(http::header::CONTENT_LENGTH)
            && let Some(len) = response.body().size_hint().exact()
        {
            // With a wrong length the rest of this answer would be taken for the next one. One to HEAD may say how
            // long its body would be.
            let is_right = said.to_str().is_ok_and(|said| said.parse() == Ok(len));
            if !is_right && (self.method != Method::HEAD || len > 0) {
                response.headers_mut().remove(http::header::CONTENT_LENGTH);
            }
        }
        Ok(())
    }

    /// The answer to a request whose handler has left none.
    #[cold]
    fn make_up(&self, greenlet: Greenlet<()>) -> Response<Reply> {
        // Killed before it began, it has left the request.
        drop(self.request.borrow_mut().take());
        let id = greenlet.id();
        if self.timed_out.get() {
            if self.fate.as_ref().is_some_and(|fate| fate.is_waiting()) {
                return self.refuse(StatusCode::REQUEST_TIMEOUT);
            }
            self.log_failure(&format_args!("greenlet {id} took longer than the request timeout"));
            return self.refuse(StatusCode::SERVICE_UNAVAILABLE);
        }
        match greenlet.is_finished().then(|| greenlet.join()) {
            Some(Err(error)) if error.is_killed() => self.refuse(StatusCode::SERVICE_UNAVAILABLE),
            Some(Err(error)) => self.failed(&format_args!("greenlet {id}: {error}")),
            _ => self.failed(&format_args!("greenlet {id} left no answer")),
        }
    }

    /// The answer to a request whose handler has failed.
    fn failed(&self, reason: &dyn std::fmt::Display) -> Response<Reply> {
        if let Some(status) = self.fate.as_ref().and_then(|fate| fate.status()) {
            return self.refuse(status);
        }
        self.log_failure(reason);
        self.refuse(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Tells what went wrong, and where.
    fn log_failure(&self, reason: &dyn std::fmt::Display) {
        let peer = self.shared.peer.with_port();
        log::error!(target: "sward_web", "{} {} from {peer}: {reason}", self.method, self.uri);
    }
}

/// The answer that hyper waits for.
pub(crate) struct Answer {
    /// The request, until there is an answer.
    exchange: Option<Rc<Exchange>>,
    /// How far it is.
    state: State,
}

/// How far an answer is.
enum State {
    /// The application runs, or has run.
    Running(Greenlet<()>),
    /// It does not come to that.
    Refused(StatusCode),
    /// hyper has it.
    Done,
}

impl Future for Answer {
    type Output = Result<Response<Outgoing>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let (State::Running(_), Some(exchange)) = (&this.state, &this.exchange)
            && !exchange.done.get()
        {
            exchange.waker.set(Some(context.waker().clone()));
            return Poll::Pending;
        }
        let exchange = this.exchange.take().expect("an answer is polled once it is there, and then not again");
        let mut response = match std::mem::replace(&mut this.state, State::Done) {
            State::Running(greenlet) => {
                let answer = exchange.answer.borrow_mut().take();
                match answer {
                    Some(Ok(mut response)) => match exchange.check(&mut response) {
                        Ok(()) => response,
                        Err(status) => {
                            let id = greenlet.id();
                            exchange.failed(&format_args!("greenlet {id}: the status {status} is no answer"))
                        }
                    },
                    Some(Err(error)) => exchange.failed(&format_args!("greenlet {}: {error}", greenlet.id())),
                    None => exchange.make_up(greenlet),
                }
            }
            State::Refused(status) => exchange.refuse(status),
            State::Done => unreachable!("there was an exchange"),
        };
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            exchange.shared.upgrade.take();
        }
        if exchange.shared.is_stopping() && exchange.version < Version::HTTP_2 {
            response.headers_mut().insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
        }
        let status = response.status();
        let wrap = |reply: Reply| Outgoing { reply, end: End { exchange: Some(exchange), status, sent: 0 } };
        Poll::Ready(Ok(response.map(wrap)))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            exchange.shared.exchange_ends(Instant::now()); // the client left before there was an answer
            Spares::give(exchange);
        }
    }
}

/// A response's body on its way out.
pub(crate) struct Outgoing {
    /// The body.
    reply: Reply,
    /// Ends the exchange when dropped.
    end: End,
}

/// The end of an exchange.
struct End {
    /// The request, until this is dropped.
    exchange: Option<Rc<Exchange>>,
    /// The answer's status.
    status: StatusCode,
    /// Bytes of the answer's body that hyper has taken.
    sent: u64,
}

impl Drop for End {
    fn drop(&mut self) {
        let Some(exchange) = self.exchange.take() else { return };
        access_log::write(&exchange, self.status, self.sent);
        if exchange.fate.as_ref().is_some_and(|fate| fate.is_unread()) {
            exchange.shared.unread.set(true);
        }
        exchange.shared.exchange_ends(recent_time());
        Spares::give(exchange);
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Outgoing { reply, end } = &mut *self;
        if let Some(exchange) = &end.exchange {
            reply.start(&|f| exchange.shared.spawn(f))?;
        }
        let frame = ready!(Pin::new(reply).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            end.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        if let (Some(Err(error)), Some(exchange)) = (&frame, &end.exchange) {
            exchange.log_failure(&format_args!("the response's body failed: {error}"));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.reply.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.reply.size_hint()
    }
}
