//! One request and its answer: the greenlet that the application runs in, and what the connection sees
//! of it.
//!
//! ```text
//!   a poller's greenlet                             the request's greenlet
//!   hyper ── Exchanges::call ── spawn ────────────▶ app.answer(request)   blocks as it likes
//!     │                                               │
//!     └── polls Answer ◀── waker ── exchange ◀────────┘ (also if it panics or is killed)
//!          └─▶ hyper polls the body of the answer; its drop ends the exchange
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
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use http::uri::{Authority, PathAndQuery};
use http::{Method, Request, Response, StatusCode, Version, request};
use http_body::Body as _;
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
    type Response = Response<Reply>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        let shared = &self.0;
        let refused = if !has_its_host(&request, &shared.site.known_host) {
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
#[inline]
fn has_its_host(request: &Request<Incoming>, known: &KnownHost) -> bool {
    let mut host = None;
    // Few fields are looked through faster than one is looked up.
    for (name, value) in request.headers() {
        if *name == http::header::HOST && host.replace(value.as_bytes()).is_some() {
            return false;
        }
    }
    let Some(host) = host else { return request.version() != Version::HTTP_11 };
    let is_other = |said: &Authority| !said.as_str().as_bytes().eq_ignore_ascii_case(host);
    known.is(host) && !(request.version() == Version::HTTP_2 && request.uri().authority().is_some_and(is_other))
}

/// The host that was asked for last: nearly all requests say the same.
#[derive(Default)]
pub(crate) struct KnownHost(Cell<Vec<u8>>);

impl KnownHost {
    /// Whether it is a host.
    #[inline]
    fn is(&self, text: &[u8]) -> bool {
        let mut known = self.0.take();
        let is = known == text || is_host(text);
        if is && known != text {
            known.clear();
            known.extend_from_slice(text);
        }
        self.0.set(known);
        is
    }
}

/// Whether it is a name, an address or nothing, and perhaps a port (RFC 3986, 3.2.2): what has a space, a slash or a
/// user in it is taken apart differently by whoever comes next.
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
    /// What passes between connection and greenlet. None while the greenlet is blocked: thousands may be.
    parcel: RefCell<Option<Box<Parcel>>>,
}

/// What a connection and a greenlet hand to each other; large.
#[derive(Default)]
struct Parcel {
    /// The request's head, until its greenlet takes it.
    head: Option<request::Parts>,
    /// The request's body, until its greenlet takes it.
    body: Option<Body>,
    /// The answer, until the connection takes it.
    answer: Option<Response<Reply>>,
    /// Why there is none, if the handler has said so.
    failure: Option<String>,
}

/// What is known of a request when it comes.
pub(crate) struct About {
    /// The connection.
    shared: Rc<Shared>,
    /// The request's method.
    pub(crate) method: Method,
    /// The request's target; none if it has no path.
    pub(crate) target: Option<PathAndQuery>,
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

    /// Keeps one, if it is not in use still. Who gives it forgets it.
    #[inline]
    fn give(exchange: &mut Rc<Exchange>) {
        let Some(ended) = Rc::get_mut(exchange) else { return };
        let site = ended.shared.site.clone();
        ended.about = None;
        if let Some(parcel) = ended.parcel.get_mut() {
            (parcel.head, parcel.body, parcel.answer, parcel.failure) = (None, None, None, None);
        }
        ended.timed_out.set(false);
        ended.done.set(false);
        ended.waker.set(None);
        ended.place.set(None);
        let mut spares = site.spares.0.borrow_mut();
        if spares.len() < SPARES {
            spares.push(exchange.clone());
        }
    }
}

impl Exchange {
    /// A request has come.
    #[inline(always)]
    fn begin(shared: &Rc<Shared>, request: Request<Incoming>) -> Rc<Exchange> {
        shared.exchange_begins();
        let (head, incoming) = request.into_parts();
        let fate = Fate::of(&incoming);
        let mut exchange = shared.site.spares.take();
        let new = Rc::get_mut(&mut exchange).expect("nobody else has a spare one");
        new.about = Some(About {
            shared: shared.clone(),
            method: head.method.clone(),
            target: head.uri.path_and_query().cloned(),
            version: head.version,
            upgrades: head.extensions.get::<hyper::upgrade::OnUpgrade>().is_some(),
            fate: fate.clone(),
        });
        let parcel = new.parcel.get_mut().get_or_insert_default();
        parcel.body = Some(Body::new(incoming, fate.as_ref(), &shared.settings, shared.peer));
        parcel.head = Some(head);
        exchange
    }

    /// The request, for the handler.
    #[inline(always)]
    pub(crate) fn take_request(&self) -> Request<Body> {
        const ONCE: &str = "a request is answered once";
        let mut parcel = self.parcel.borrow_mut();
        let parcel = parcel.as_mut().expect(ONCE);
        let body = parcel.body.take().expect(ONCE);
        Request::from_parts(parcel.head.take().expect(ONCE), body)
    }

    /// The handler has answered, or says why it has not.
    #[inline(always)]
    pub(crate) fn answer(&self, answer: Result<Response<Reply>, String>) {
        let mut parcel = self.parcel.borrow_mut();
        let parcel = parcel.get_or_insert_default();
        match answer {
            Ok(response) => parcel.answer = Some(response),
            Err(reason) => parcel.failure = Some(reason),
        }
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
            self.parcel.borrow_mut().take_if(|parcel| parcel.head.is_none());
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
        // Looked through, as above.
        if let Some((_, said)) = response.headers().iter().find(|(name, _)| **name == http::header::CONTENT_LENGTH)
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

    /// Puts another answer in the place of one that is none.
    #[inline]
    fn settle(&self, parcel: &mut Parcel, greenlet: Greenlet<()>) {
        let other = match parcel.answer.as_mut().map(|response| self.check(response)) {
            Some(Ok(())) => return,
            Some(Err(status)) => {
                self.failed(&format_args!("greenlet {}: the status {status} is no answer", greenlet.id()))
            }
            None => self.make_up(parcel, greenlet),
        };
        parcel.answer = Some(other);
    }

    /// The answer to a request whose handler has left none.
    #[cold]
    fn make_up(&self, parcel: &mut Parcel, greenlet: Greenlet<()>) -> Response<Reply> {
        // Killed before it began, it has left the request.
        (parcel.head, parcel.body) = (None, None);
        let id = greenlet.id();
        if let Some(reason) = parcel.failure.take() {
            return self.failed(&format_args!("greenlet {id}: {reason}"));
        }
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
        log::error!(target: "sward_web", "{} {} from {peer}: {reason}", self.method, self.target());
    }

    /// The request's target, as logs have it.
    pub(crate) fn target(&self) -> &str {
        self.target.as_ref().map_or("*", PathAndQuery::as_str)
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
    type Output = Result<Response<Reply>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let (State::Running(_), Some(exchange)) = (&this.state, &this.exchange)
            && !exchange.done.get()
        {
            exchange.waker.set(Some(context.waker().clone()));
            return Poll::Pending;
        }
        let exchange = this.exchange.take().expect("an answer is polled once it is there, and then not again");
        let mut parcel = exchange.parcel.borrow_mut();
        let parcel = parcel.get_or_insert_default();
        match std::mem::replace(&mut this.state, State::Done) {
            State::Running(greenlet) => exchange.settle(parcel, greenlet),
            State::Refused(status) => parcel.answer = Some(exchange.refuse(status)),
            State::Done => unreachable!("there was an exchange"),
        }
        let response = parcel.answer.as_mut().expect("whatever happens, there is an answer");
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            exchange.shared.upgrade.take();
        }
        if exchange.shared.is_stopping() && exchange.version < Version::HTTP_2 {
            response.headers_mut().insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
        }
        let status = response.status();
        response.body_mut().ends(End { exchange: exchange.clone(), status, sent: 0 });
        // Completed where it is, and moved once: it is large.
        Poll::Ready(Ok(parcel.answer.take().expect("it was there just now")))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(mut exchange) = self.exchange.take() {
            exchange.shared.exchange_ends(Instant::now()); // the client left before there was an answer
            Spares::give(&mut exchange);
        }
    }
}

/// Ends an exchange when dropped, together with the body of its answer.
pub(crate) struct End {
    /// The exchange.
    exchange: Rc<Exchange>,
    /// The answer's status.
    status: StatusCode,
    /// Bytes of the body that hyper has taken.
    sent: u64,
}

impl End {
    /// hyper takes so much of the body.
    #[inline]
    pub(crate) fn count(&mut self, len: usize) {
        self.sent += len as u64;
    }

    /// The body has failed.
    pub(crate) fn log_failure(&self, error: &BoxError) {
        self.exchange.log_failure(&format_args!("the response's body failed: {error}"));
    }

    /// Spawns a greenlet for the body.
    pub(crate) fn spawn(&self, f: impl FnOnce() + 'static) -> io::Result<Greenlet<()>> {
        self.exchange.shared.spawn(f)
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let exchange = &self.exchange;
        access_log::write(exchange, self.status, self.sent);
        if exchange.fate.as_ref().is_some_and(|fate| fate.is_unread()) {
            exchange.shared.unread.set(true);
        }
        exchange.shared.exchange_ends(recent_time());
        Spares::give(&mut self.exchange);
    }
}
