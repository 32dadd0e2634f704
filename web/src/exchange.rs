//! One request and its answer: the greenlet that the application runs in, and what the connection sees
//! of it.
//!
//! ```text
//!   the connection's greenlet                       the request's greenlet
//!   hyper ── Exchanges::call ── spawn ────────────▶ app.answer(request)   blocks as it likes
//!     │                                               │
//!     └── polls Answer ◀── waker ── slot ◀────────────┘ (also if it panics or is killed)
//!          └─▶ hyper polls Outgoing, the body; its end, or its drop, ends the exchange
//! ```

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use sward_runtime::{Greenlet, yield_now};

use crate::access_log;
use crate::body::{Body, Fate};
use crate::reply::{BoxError, Reply};
use crate::shared::Shared;
use crate::upgrade;

/// hyper's view of the application.
pub(crate) struct Exchanges(pub(crate) Rc<Shared>);

impl hyper::service::Service<Request<Incoming>> for Exchanges {
    type Response = Response<Outgoing>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        let shared = &self.0;
        let settings = &shared.settings;
        let (head, incoming) = request.into_parts();
        let refused = if !has_its_host(&head) {
            Some(StatusCode::BAD_REQUEST)
        } else if incoming.size_hint().lower() > settings.max_body {
            Some(StatusCode::PAYLOAD_TOO_LARGE)
        } else {
            None
        };
        let body = Body::new(incoming, settings.max_body, settings.body_timeout, shared.peer);
        // In a box: what it is part of is moved many times.
        let exchange = Box::new(Exchange {
            shared: shared.clone(),
            method: head.method.clone(),
            uri: head.uri.clone(),
            version: head.version,
            fate: body.fate(),
        });
        shared.exchange_begins();
        let is_new = exchange.version < Version::HTTP_2;
        if let Some(status) = refused {
            return Answer { exchange: Some(exchange), state: State::Refused(status), is_new };
        }
        let slot = Rc::new(Slot::default());
        let filler = Filler { slot: slot.clone(), shared: shared.clone() };
        let spawned = shared.spawn(move || filler.run(Request::from_parts(head, body)));
        let state = match spawned {
            Ok(greenlet) => State::Running(slot, greenlet),
            Err(error) => {
                exchange.log_failure(&format_args!("no greenlet for the request: {error}"));
                State::Refused(StatusCode::SERVICE_UNAVAILABLE)
            }
        };
        Answer { exchange: Some(exchange), state, is_new }
    }
}

/// Whether a request says once where it is meant to go (RFC 9112, 3.2): two servers must not read it
/// differently. HTTP/1.0 need not say it, and HTTP/2 has another place for it.
fn has_its_host(head: &http::request::Parts) -> bool {
    let mut hosts = head.headers.get_all(http::header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), None) => true,
        (None, _) => head.version != Version::HTTP_11,
        (Some(_), Some(_)) => false,
    }
}

/// What is known of a request while it is being answered.
pub(crate) struct Exchange {
    /// The connection.
    shared: Rc<Shared>,
    /// The request's method.
    pub(crate) method: Method,
    /// The request's target.
    pub(crate) uri: Uri,
    /// The request's version.
    pub(crate) version: Version,
    /// What went wrong with the request's body.
    fate: Option<Arc<Fate>>,
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

/// Where the request's greenlet leaves the answer.
#[derive(Default)]
struct Slot {
    /// The answer, until the connection takes it.
    answer: RefCell<Option<Result<Response<Reply>, Failure>>>,
    /// Whether the greenlet is done.
    done: Cell<bool>,
    /// The connection.
    waker: Cell<Option<Waker>>,
}

/// Why there is no answer.
enum Failure {
    /// The handler said so.
    Error(String),
    /// The handler took too long.
    TimedOut,
}

/// The request's greenlet's end of a slot.
struct Filler {
    /// The slot.
    slot: Rc<Slot>,
    /// The connection.
    shared: Rc<Shared>,
}

impl Filler {
    /// Runs the application.
    fn run(self, request: Request<Body>) {
        let wants_upgrade = request.headers().contains_key(http::header::UPGRADE);
        if wants_upgrade {
            upgrade::allow(&self.shared);
        }
        let app = &self.shared.app;
        let answer = match self.shared.settings.request_timeout {
            None => app.answer(request).map_err(Failure::Error),
            Some(limit) => match sward_runtime::timeout(limit, || app.answer(request)) {
                Ok(answer) => answer.map_err(Failure::Error),
                Err(_) => Err(Failure::TimedOut),
            },
        };
        *self.slot.answer.borrow_mut() = Some(answer);
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        self.slot.done.set(true);
        if let Some(waker) = self.slot.waker.take() {
            waker.wake();
        }
    }
}

/// The answer that hyper waits for.
pub(crate) struct Answer {
    /// The request, until there is an answer.
    exchange: Option<Box<Exchange>>,
    /// How far it is.
    state: State,
    /// Whether its greenlet was not given a chance to run.
    is_new: bool,
}

/// How far an answer is.
enum State {
    /// The application runs.
    Running(Rc<Slot>, Greenlet<()>),
    /// It does not come to that.
    Refused(StatusCode),
    /// hyper has it.
    Done,
}

impl Future for Answer {
    type Output = Result<Response<Outgoing>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let State::Running(slot, _) = &this.state {
            if this.is_new && !slot.done.get() {
                this.is_new = false;
                // Most handlers do not block. Letting this one run now saves hyper another round, and the
                // answers of a pipeline become one write. Under HTTP/2 others may hold locks: not there.
                yield_now();
            }
            if !slot.done.get() {
                slot.waker.set(Some(context.waker().clone()));
                return Poll::Pending;
            }
        }
        let exchange = this.exchange.take().expect("an answer is polled once it is there, and then not again");
        let mut response = match std::mem::replace(&mut this.state, State::Done) {
            State::Running(slot, greenlet) => finish(&exchange, slot.answer.take(), greenlet),
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
        let wrap = |reply| Outgoing { reply, end: End { exchange, status, sent: 0 } };
        Poll::Ready(Ok(response.map(wrap)))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(exchange) = &self.exchange {
            exchange.shared.exchange_ends(); // the client left before there was an answer
        }
    }
}

/// What the greenlet has left.
fn finish(
    exchange: &Exchange,
    answer: Option<Result<Response<Reply>, Failure>>,
    greenlet: Greenlet<()>,
) -> Response<Reply> {
    let id = greenlet.id();
    match answer {
        Some(Ok(response)) => response,
        Some(Err(Failure::Error(error))) => exchange.failed(&format_args!("greenlet {id}: {error}")),
        Some(Err(Failure::TimedOut)) => {
            exchange.log_failure(&format_args!("greenlet {id} took longer than the request timeout"));
            exchange.refuse(StatusCode::SERVICE_UNAVAILABLE)
        }
        None if greenlet.is_finished() => match greenlet.join() {
            Err(error) if error.is_killed() => exchange.refuse(StatusCode::SERVICE_UNAVAILABLE),
            Err(error) => exchange.failed(&format_args!("greenlet {id}: {error}")),
            Ok(()) => exchange.failed(&format_args!("greenlet {id} left no answer")),
        },
        None => exchange.failed(&format_args!("greenlet {id} left no answer")),
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
    /// The request.
    exchange: Box<Exchange>,
    /// The answer's status.
    status: StatusCode,
    /// Bytes of the answer's body that hyper has taken.
    sent: u64,
}

impl Drop for End {
    fn drop(&mut self) {
        access_log::write(&self.exchange, self.status, self.sent);
        if self.exchange.fate.as_ref().is_some_and(|fate| fate.is_unread()) {
            self.exchange.shared.unread.set(true);
        }
        self.exchange.shared.exchange_ends();
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Outgoing { reply, end } = &mut *self;
        reply.start(&|f| end.exchange.shared.spawn(f))?;
        let frame = ready!(Pin::new(reply).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            end.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        if let Some(Err(error)) = &frame {
            end.exchange.log_failure(&format_args!("the response's body failed: {error}"));
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
