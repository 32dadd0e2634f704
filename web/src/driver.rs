//! Polls one connection in its greenlet, and keeps its times.
//!
//! ```text
//!   loop:  poll hyper ──▶ answers written? a request just spawned? let it run first (pipelining)
//!          flush      ──▶ one write for all that hyper has said
//!          park       ──▶ until woken, until the server stops, or until a time limit has passed
//! ```

use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use sward_runtime::lowlevel::{RemoteUnparker, park};
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
    pub(crate) fn run(&self, engine: &mut dyn Engine, wire: &Wire) -> End {
        let mut closing: Option<Instant> = None;
        loop {
            self.signal.woken.store(false, Ordering::Relaxed);
            let context = &mut Context::from_waker(&self.waker);
            let (received, phase) = (wire.received(), self.shared.phase.get());
            if let Poll::Ready(result) = engine.poll(context) {
                return End::Done(result);
            }
            if let (Phase::Idle(_), Phase::Idle(_)) = (phase, self.shared.phase.get())
                && engine.has_heads()
                && wire.received() > received
            {
                self.shared.phase.set(Phase::Head(Instant::now()));
            }
            // The next request of a pipeline may be answered at once: then both answers are one write.
            if self.shared.spawned.take() && wire.has_output() {
                yield_now();
                if self.is_woken() {
                    continue;
                }
            }
            if let Poll::Ready(Err(error)) = wire.poll_flush(context) {
                return End::Broken(error);
            }
            while !self.is_woken() {
                if self.shared.is_stopping() && closing.is_none() {
                    closing = Some(Instant::now());
                    engine.close();
                    break;
                }
                match self.check_times(wire, closing) {
                    Ok(deadline) => _ = park(deadline),
                    Err(Late::End(end)) => return end,
                    Err(Late::Close) => {
                        closing = Some(Instant::now());
                        engine.close();
                        break;
                    }
                }
            }
        }
    }

    /// Whether there is a reason to poll again.
    fn is_woken(&self) -> bool {
        self.signal.woken.load(Ordering::Acquire)
    }

    /// When to look again, unless a limit has passed.
    fn check_times(&self, wire: &Wire, closing: Option<Instant>) -> Result<Option<Instant>, Late> {
        let settings = &self.shared.settings;
        let limits = [
            match self.shared.phase.get() {
                Phase::Head(since) => after(since, settings.head_timeout).map(|at| (at, Late::End(End::HeadTimedOut))),
                Phase::Busy => None,
                Phase::Idle(since) => match closing {
                    None => after(since, settings.keep_alive).map(|at| (at, Late::Close)),
                    Some(begun) => {
                        let at = after(begun.max(since), Some(CLOSING));
                        at.map(|at| (at, Late::End(End::TimedOut("does not close its idle connection"))))
                    }
                },
            },
            wire.stalled_since()
                .and_then(|since| after(since, settings.write_timeout))
                .map(|at| (at, Late::End(End::TimedOut("does not read its answer")))),
        ];
        let Some((deadline, late)) = limits.into_iter().flatten().min_by_key(|(at, _)| *at) else {
            return Ok(None);
        };
        if deadline <= Instant::now() { Err(late) } else { Ok(Some(deadline)) }
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
