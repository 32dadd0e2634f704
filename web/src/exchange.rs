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
//! Most handlers do not block. Under HTTP/1 the request's greenlet runs at once (`spawn_now_then`), so that the answer
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

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Version, request};
use http_body::Body as _;
use hyper::body::Incoming;
use sward_runtime::lowlevel::{Killer, recent_time, spawn_now_then};
use sward_runtime::{Greenlet, GreenletId, JoinError};

use crate::access_log;
use crate::body::{Body, Fate};
use crate::framing;
use crate::host;
use crate::reply::{BoxError, Reply};
use crate::shared::{Place, Shared};
use crate::upgrade;
use crate::wire::LARGE;

/// Exchanges that are kept for the next requests of a hub, at most.
const SPARES: usize = 64;

/// Header fields of a request, at most, unless the server says something else.
const MAX_HEADERS: usize = 100;

/// hyper's view of the application.
pub(crate) struct Exchanges(pub(crate) Rc<Shared>);

impl hyper::service::Service<Request<Incoming>> for Exchanges {
    type Response = Response<Reply>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        let shared = &self.0;
        let (head, incoming) = request.into_parts();
        let refused = if !host::is_there(&head, &shared.site.known_host) || !framing::is_clear(&head, &incoming) {
            Some(StatusCode::BAD_REQUEST)
        } else if incoming.size_hint().lower() > shared.settings.max_body {
            Some(StatusCode::PAYLOAD_TOO_LARGE)
        } else if head.headers.len() > shared.settings.max_headers.unwrap_or(MAX_HEADERS) {
            Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) // only HTTP/2: hyper itself counts those of HTTP/1
        } else if shared.is_full() {
            Some(StatusCode::SERVICE_UNAVAILABLE)
        } else {
            None
        };
        let exchange = Exchange::begin(shared, head, incoming);
        let refused = refused.or_else(|| exchange.start());
        Answer { exchange: Some(exchange), refused }
    }
}

/// A request while it is being answered. Used again when it has been: see `Spares`.
#[derive(Default)]
pub(crate) struct Exchange {
    /// What the request is; none between two of them.
    about: Option<About>,
    /// Whether the handler took too long.
    timed_out: Cell<bool>,
    /// Whether the greenlet is done.
    done: Cell<bool>,
    /// The greenlet, once it was spawned.
    greenlet: Cell<Option<Killer>>,
    /// The connection's, while it waits for the answer.
    waker: Cell<Option<Waker>>,
    /// The greenlet's place in the connection's list.
    place: Cell<Option<Place>>,
    /// The answer's status, for the log.
    status: Cell<StatusCode>,
    /// Bytes of the answer's body that hyper has taken.
    sent: Cell<u64>,
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
    /// Why there is none, if the handler has said so, or has panicked.
    failure: Option<String>,
}

impl Parcel {
    /// Whether there is nothing in it.
    #[inline]
    fn is_empty(&self) -> bool {
        self.head.is_none() && self.body.is_none() && self.answer.is_none() && self.failure.is_none()
    }
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
    /// Under HTTP/2: see there.
    fetched: Option<Fetched>,
}

/// When hyper last took a piece of an answer's body, which it may not have been able to send yet: it takes the next one
/// when it has. None while it waits for the body.
pub(crate) type Fetched = Rc<Cell<Option<Instant>>>;

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
        if ended.parcel.get_mut().as_ref().is_some_and(|parcel| !parcel.is_empty()) {
            *ended.parcel.get_mut() = None;
        }
        ended.timed_out.set(false);
        ended.done.set(false);
        ended.greenlet.set(None);
        ended.waker.set(None);
        ended.place.set(None);
        ended.sent.set(0);
        let mut spares = site.spares.0.borrow_mut();
        if spares.len() < SPARES {
            spares.push(exchange.clone());
        }
    }
}

impl Exchange {
    /// A request has come.
    #[inline(always)]
    fn begin(shared: &Rc<Shared>, head: request::Parts, incoming: Incoming) -> Rc<Exchange> {
        shared.exchange_begins();
        let fate = Fate::of(&incoming);
        let fetched = (head.version == Version::HTTP_2).then(|| shared.begin_stream());
        shared.has_body.set(fate.is_some());
        let mut exchange = shared.site.spares.take();
        let new = Rc::get_mut(&mut exchange).expect("nobody else has a spare one");
        let parcel = new.parcel.get_mut().get_or_insert_default();
        parcel.body = Some(Body::new(incoming, fate.as_ref(), &shared.settings, shared.peer));
        new.about = Some(About {
            shared: shared.clone(),
            method: head.method.clone(),
            target: head.uri.path_and_query().cloned(),
            version: head.version,
            upgrades: head.extensions.get::<hyper::upgrade::OnUpgrade>().is_some(),
            fate,
            fetched,
        });
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

    /// Runs the application in a greenlet; if there is none to be had, returns the status to refuse with.
    fn start(self: &Rc<Self>) -> Option<StatusCode> {
        let (mine, theirs) = (self.clone(), self.clone());
        let (run, then) = (move || mine.run(), move |result| theirs.end(result));
        // hyper polls the streams of HTTP/2 with a lock held that others want.
        let spawned = if self.version < Version::HTTP_2 {
            self.shared.starts.set(true);
            let spawned = spawn_now_then(run, then);
            self.shared.starts.set(false);
            spawned
        } else {
            self.shared.spawn_then(run, then)
        };
        match spawned {
            Ok(greenlet) => self.greenlet.set(Some(greenlet)),
            Err(error) => {
                self.log_failure(&format_args!("no greenlet for the request: {error}"));
                return Some(StatusCode::SERVICE_UNAVAILABLE);
            }
        }
        if !self.done.get() {
            self.blocks();
        }
        None
    }

    /// The greenlet has not come to its end yet.
    #[inline(never)]
    fn blocks(&self) {
        self.place.set(self.greenlet.get().map(|greenlet| self.shared.enlist(greenlet)));
        self.parcel.borrow_mut().take_if(|parcel| parcel.head.is_none());
    }

    /// Runs the application. In the greenlet.
    fn run(&self) {
        if self.upgrades {
            upgrade::allow(&self.shared);
        }
        match self.shared.settings.request_timeout {
            None => self.shared.app.answer(self),
            Some(limit) => {
                let outcome = sward_runtime::timeout(limit, || self.shared.app.answer(self));
                self.timed_out.set(outcome.is_err());
            }
        }
    }

    /// The greenlet ends. In the greenlet, also when it was killed, even before it began.
    #[inline(always)]
    fn end(&self, result: Result<(), JoinError>) {
        // Borrowed: the panic's payload is dropped last, since its destructor is the user's, and may panic or block.
        if let Err(error) = &result
            && error.is_panic()
        {
            self.answer(Err(error.to_string()));
        }
        self.done.set(true);
        if let Some(place) = self.place.take() {
            self.shared.leave(place);
        }
        if let Some(waker) = self.waker.take() {
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
        if self.version >= Version::HTTP_2 {
            self.without_body(response);
        }
        Ok(())
    }

    /// Takes the body from an answer that may have none: hyper does so under HTTP/1 only.
    fn without_body(&self, response: &mut Response<Reply>) {
        match response.status() {
            StatusCode::NO_CONTENT => _ = response.headers_mut().remove(http::header::CONTENT_LENGTH),
            StatusCode::NOT_MODIFIED => {}
            _ if self.method != Method::HEAD => return,
            _ => {
                if let Some(length) = response.body().size_hint().exact().filter(|length| *length > 0) {
                    response.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
                }
            }
        }
        *response.body_mut() = Reply::default();
    }

    /// Puts another answer in the place of one that is none.
    #[inline]
    fn settle(&self, parcel: &mut Parcel) {
        let other = match parcel.answer.as_mut().map(|response| self.check(response)) {
            Some(Ok(())) => return,
            Some(Err(status)) => {
                self.failed(&format_args!("greenlet {}: the status {status} is no answer", self.greenlet_id()))
            }
            None => self.make_up(parcel),
        };
        parcel.answer = Some(other);
    }

    /// The answer to a request whose handler has left none.
    #[cold]
    fn make_up(&self, parcel: &mut Parcel) -> Response<Reply> {
        // Killed before it began, it has left the request.
        (parcel.head, parcel.body) = (None, None);
        let id = self.greenlet_id();
        if let Some(reason) = parcel.failure.take() {
            return self.failed(&format_args!("greenlet {id}: {reason}"));
        }
        if self.timed_out.get() && self.fate.as_ref().is_some_and(|fate| fate.is_waiting()) {
            return self.refuse(StatusCode::REQUEST_TIMEOUT);
        }
        if self.timed_out.get() {
            self.log_failure(&format_args!("greenlet {id} took longer than the request timeout"));
        }
        // Or else it was killed.
        self.refuse(StatusCode::SERVICE_UNAVAILABLE)
    }

    /// The greenlet's id, for logs.
    fn greenlet_id(&self) -> GreenletId {
        self.greenlet.get().expect("it was spawned").id()
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
    /// Set if the application is not asked.
    refused: Option<StatusCode>,
}

impl Future for Answer {
    type Output = Result<Response<Reply>, Infallible>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.refused.is_none()
            && let Some(exchange) = &this.exchange
            && !exchange.done.get()
        {
            exchange.waker.set(Some(context.waker().clone()));
            return Poll::Pending;
        }
        let exchange = this.exchange.take().expect("an answer is polled once it is there, and then not again");
        let mut parcel = exchange.parcel.borrow_mut();
        let parcel = parcel.get_or_insert_default();
        match this.refused {
            None => exchange.settle(parcel),
            Some(status) => {
                (parcel.head, parcel.body) = (None, None);
                parcel.answer = Some(exchange.refuse(status));
            }
        }
        let response = parcel.answer.as_mut().expect("whatever happens, there is an answer");
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            exchange.shared.upgrade.take();
        }
        if exchange.shared.is_stopping() && exchange.version < Version::HTTP_2 {
            response.headers_mut().insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
        }
        exchange.status.set(response.status());
        response.body_mut().ends(End(exchange.clone()));
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
pub(crate) struct End(Rc<Exchange>);

impl End {
    /// What hyper takes of these bytes of the body now; the rest stays.
    #[inline]
    pub(crate) fn take(&self, bytes: &mut Bytes) -> Bytes {
        let shared = &self.0.shared;
        let mut taken = std::mem::take(bytes);
        // Under HTTP/2 what hyper has taken is as good as sent to it, and nobody sees for how long the client lets it lie.
        if taken.len() > LARGE && (shared.copies.get() || self.0.fetched.is_some()) {
            shared.site.sends_large.set(true);
            *bytes = taken.split_off(LARGE);
        }
        self.count(taken.len());
        taken
    }

    /// hyper takes so much of the body.
    #[inline]
    pub(crate) fn count(&self, len: usize) {
        if len > LARGE {
            self.0.shared.site.sends_large.set(true);
        }
        self.0.sent.set(self.0.sent.get() + len as u64);
        if let Some(fetched) = &self.0.fetched {
            fetched.set(Some(recent_time()));
        }
    }

    /// The body has nothing at the moment: it is not the client who keeps others waiting.
    pub(crate) fn wait_for_body(&self) {
        if let Some(fetched) = &self.0.fetched {
            fetched.set(None);
        }
    }

    /// The body has failed.
    pub(crate) fn log_failure(&self, error: &BoxError) {
        self.0.log_failure(&format_args!("the response's body failed: {error}"));
    }

    /// Spawns a greenlet for the body.
    pub(crate) fn spawn(&self, f: impl FnOnce() + 'static) -> io::Result<Greenlet<()>> {
        self.0.shared.spawn(f)
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let exchange = &self.0;
        access_log::write(exchange, exchange.status.get(), exchange.sent.get());
        if exchange.fate.as_ref().is_some_and(|fate| fate.is_unread()) {
            exchange.shared.unread.set(true);
        }
        exchange.shared.exchange_ends(recent_time());
        Spares::give(&mut self.0);
    }
}
