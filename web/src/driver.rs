//! Polls what comes before HTTP and after it, in the connection's own greenlet, with deadlines.

use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use sward_runtime::lowlevel::{RemoteUnparker, park, spawn_now};

use crate::polling::Bell;
use crate::shared::Shared;

/// Instead of a connection's place: its greenlet polls.
const ITSELF: usize = usize::MAX;

/// The waker of a connection.
pub(crate) struct Signal {
    /// Whether there is a reason to poll, which who polls knows of.
    woken: AtomicBool,
    /// The connection's place, where it is polled by others.
    place: AtomicUsize,
    /// The connection's greenlet.
    unparker: RemoteUnparker,
    /// Calls those others.
    bell: Arc<Bell>,
}

impl Signal {
    /// Whether there is a reason to poll.
    pub(crate) fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }

    /// What there was a reason for begins.
    pub(crate) fn clear(&self) {
        self.woken.store(false, Ordering::Relaxed);
    }

    /// Wakes, again if need be.
    pub(crate) fn wake(&self) {
        self.woken.store(true, Ordering::Release);
        match self.place.load(Ordering::Acquire) {
            ITSELF => self.unparker.unpark(),
            place => self.bell.ring(place),
        }
    }

    /// Has the connection at `place` polled from now on; none: the greenlet itself polls.
    pub(crate) fn point_at(&self, place: Option<usize>) {
        self.place.store(place.unwrap_or(ITSELF), Ordering::Release);
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            Signal::wake(self);
        }
    }
}

/// Polls futures in the running greenlet, with deadlines.
pub(crate) struct Driver {
    /// Behind the waker.
    pub(crate) signal: Arc<Signal>,
    /// The waker.
    pub(crate) waker: Waker,
    /// The connection.
    shared: Rc<Shared>,
}

impl Driver {
    /// For the running greenlet.
    pub(crate) fn new(shared: Rc<Shared>) -> Driver {
        let signal = Arc::new(Signal {
            woken: AtomicBool::new(false),
            place: AtomicUsize::new(ITSELF),
            unparker: RemoteUnparker::current(),
            bell: shared.site.polling.bell().clone(),
        });
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
            self.signal.clear();
            if let Poll::Ready(result) = poll(&mut Context::from_waker(&self.waker)) {
                return Some(result);
            }
            while !self.signal.is_woken() {
                let late = deadline.is_some_and(|deadline| deadline <= Instant::now());
                if late || self.shared.is_stopping() != ends {
                    return None;
                }
                park(deadline);
            }
        }
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
}
