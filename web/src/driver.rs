//! Polls one connection in its greenlet, and keeps its times.
//!
//! ```text
//!   loop:  poll hyper ──▶ answers written? a greenlet just spawned? let it run first: one write for both
//!          flush      ──▶ one write for all that hyper has said
//!          park       ──▶ until woken, until the server stops, or until a time limit has passed
//! ```

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use sward_runtime::lowlevel::{RemoteUnparker, park, spawn_now};
use sward_runtime::yield_now;

use crate::shared::{Phase, Shared};
use crate::wire::Wire;

/// How long a connection that was told to close may take for that.
const CLOSING: Duration = Duration::from_secs(5);

/// hyper's side of a connection, HTTP/1.1 or HTTP/2.
pub(crate) trait Engine {
    /// Goes on as far as it can.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>>;
    /// No more requests after those that are being answered.
    fn close(&mut self);
    /// Whether each request begins with a head that has a time limit of its own.
    fn has_heads(&self) -> bool;
}

/// Why a connection is over.
#[derive(Debug)]
pub(crate) enum End {
    /// hyper is done with it.
    Done(Result<(), hyper::Error>),
    /// The socket failed.
    Broken(io::Error),
    /// The client did not send a whole request in time.
    HeadTimedOut,
    /// The client did not do something else in time.
    TimedOut(&'static str),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Done(Ok(())) => f.write_str("the connection has ended"),
            End::Done(Err(error)) => error.fmt(f),
            End::Broken(error) => error.fmt(f),
            End::HeadTimedOut => f.write_str("the client does not send its request"),
            End::TimedOut(what) => write!(f, "the client {what}"),
        }
    }
}

/// The waker of a connection.
struct Signal {
    /// Whether hyper is to be polled again.
    woken: AtomicBool,
    /// The connection's greenlet.
    unparker: RemoteUnparker,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.unparker.unpark();
        }
    }
}

/// Polls futures in the running greenlet, with deadlines.
pub(crate) struct Driver {
    /// Behind the waker.
    signal: Arc<Signal>,
    /// The waker.
    waker: Waker,
    /// The connection.
    shared: Rc<Shared>,
}

impl Driver {
    /// For the running greenlet.
    pub(crate) fn new(shared: Rc<Shared>) -> Driver {
        let signal = Arc::new(Signal { woken: AtomicBool::new(false), unparker: RemoteUnparker::current() });
        Driver { waker: Waker::from(signal.clone()), signal, shared }
    }

    /// Polls until there is a result; none if the deadline passes or the server stops. Blocks the greenlet.
    pub(crate) fn until<R>(
        &self,
        limit: Option<Duration>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<R>,
    ) -> Option<R> {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let ends = self.shared.is_stopping();
        loop {
            self.signal.woken.store(false, Ordering::Relaxed);
            if let Poll::Ready(result) = poll(&mut Context::from_waker(&self.waker)) {
                return Some(result);
            }
            while !self.is_woken() {
                let late = deadline.is_some_and(|deadline| deadline <= Instant::now());
                if late || self.shared.is_stopping() != ends {
                    return None;
                }
                park(deadline);
            }
        }
    }

    /// Runs a connection to its end. Blocks the greenlet.
    pub(crate) fn run<E: Engine + 'static>(&self, engine: &Rc<RefCell<E>>, wire: &Wire) -> End {
        let has_heads = engine.borrow().has_heads();
        let mut closing: Option<Instant> = None;
        loop {
            self.signal.woken.store(false, Ordering::Relaxed);
            let (received, phase) = (wire.received(), self.shared.phase.get());
            if let Poll::Ready(result) = self.turn(engine) {
                return End::Done(result);
            }
            if let (Phase::Idle(_), Phase::Idle(_)) = (phase, self.shared.phase.get())
                && has_heads
                && wire.received() > received
            {
                self.shared.phase.set(Phase::Head(Instant::now()));
            }
            // A stream may be answered, or a body begun, at once: then all of that is one write.
            if self.shared.spawned.take() && wire.has_output() {
                yield_now();
                if self.is_woken() {
                    continue;
                }
            }
            if let Poll::Ready(Err(error)) = wire.poll_flush(&mut Context::from_waker(&self.waker)) {
                return End::Broken(error);
            }
            if self.is_woken() {
                // hyper stops now and then while a client sends without end, so that others have their turn.
                yield_now();
            }
            let mut waited = false;
            while !self.is_woken() {
                if self.shared.is_stopping() && closing.is_none() {
                    closing = Some(Instant::now());
                    engine.borrow_mut().close();
                    break;
                }
                let mut deadline = None;
                if let Some((at, late)) = self.next_limit(wire, closing) {
                    if waited && at <= Instant::now() {
                        match late {
                            Late::End(end) => return end,
                            Late::Close => {
                                closing = Some(Instant::now());
                                engine.borrow_mut().close();
                                break;
                            }
                        }
                    }
                    deadline = self.shared.remind(at);
                }
                park(deadline);
                waited = true;
            }
        }
    }

    /// Polls hyper.
    fn turn<E: Engine + 'static>(&self, engine: &Rc<RefCell<E>>) -> Poll<Result<(), hyper::Error>> {
        let theirs = engine.clone();
        // Killed, it leaves nothing, and so is the connection.
        self.elsewhere(move |context| theirs.borrow_mut().poll(context)).unwrap_or(Poll::Ready(Ok(())))
    }

    /// Runs `f` in a greenlet that has nearly always ended when `spawn_now` returns. What blocks it is a body of
    /// the user's that blocks when it is polled. None if it was killed.
    pub(crate) fn elsewhere<R: 'static>(&self, f: impl FnOnce(&mut Context<'_>) -> R + 'static) -> Option<R> {
        let waker = self.waker.clone();
        let greenlet = spawn_now(move || f(&mut Context::from_waker(&waker))).unwrap_or_else(|error| {
            // As a server without a stack for the connection does.
            panic!("no greenlet for a connection's turn: {error}")
        });
        if !greenlet.is_finished() {
            let place = self.shared.enlist(&greenlet);
            greenlet.wait();
            self.shared.leave(place);
        }
        match greenlet.join() {
            Ok(result) => Some(result),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(_) => None,
            },
        }
    }

    /// Whether there is a reason to poll again.
    fn is_woken(&self) -> bool {
        self.signal.woken.load(Ordering::Acquire)
    }

    /// The limit that passes first, and what is then to be done.
    fn next_limit(&self, wire: &Wire, closing: Option<Instant>) -> Option<(Instant, Late)> {
        let settings = &self.shared.settings;
        let limit = match self.shared.phase.get() {
            Phase::Head(since) => after(since, settings.head_timeout).map(|at| (at, Late::End(End::HeadTimedOut))),
            Phase::Busy => None,
            Phase::Idle(since) => match closing {
                None => after(since, settings.keep_alive).map(|at| (at, Late::Close)),
                Some(begun) => {
                    let at = after(begun.max(since), Some(CLOSING));
                    at.map(|at| (at, Late::End(End::TimedOut("does not close its idle connection"))))
                }
            },
        };
        let Some(stalled) = wire.stalled_since().and_then(|since| after(since, settings.write_timeout)) else {
            return limit;
        };
        match limit {
            Some((at, late)) if at <= stalled => Some((at, late)),
            _ => Some((stalled, Late::End(End::TimedOut("does not read its answer")))),
        }
    }
}

/// What to do when a limit has passed.
enum Late {
    /// End the connection.
    End(End),
    /// Let it end: it is idle.
    Close,
}

/// When `limit` after `since` has passed.
fn after(since: Instant, limit: Option<Duration>) -> Option<Instant> {
    since.checked_add(limit?)
}
