//! Polls what comes before HTTP and after it, with deadlines.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use sward_runtime::lowlevel::{RemoteUnparker, park};

use crate::polling::{Bell, Polled};
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
        // Not a store: who wakes before this does not ring, so what it has written before it woke must be seen now.
        self.woken.swap(false, Ordering::AcqRel);
    }

    /// Wakes, again if need be.
    pub(crate) fn ring(&self) {
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
            self.ring();
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
    pub(crate) fn until<R>(&self, limit: Option<Duration>, poll: impl FnMut(&mut Context<'_>) -> Poll<R>) -> Option<R> {
        let before = self.shared.is_stopping();
        self.poll_until(limit, || self.shared.is_stopping() != before, poll)
    }

    /// As `until`, for what is to be brought to its end also when the server stops.
    pub(crate) fn finish<R>(
        &self,
        limit: Option<Duration>,
        poll: impl FnMut(&mut Context<'_>) -> Poll<R>,
    ) -> Option<R> {
        self.poll_until(limit, || false, poll)
    }

    /// The body of both.
    #[inline]
    fn poll_until<R>(
        &self,
        limit: Option<Duration>,
        ends: impl Fn() -> bool,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<R>,
    ) -> Option<R> {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        loop {
            self.signal.clear();
            if let Poll::Ready(result) = poll(&mut Context::from_waker(&self.waker)) {
                return Some(result);
            }
            while !self.signal.is_woken() {
                if ends() || deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                    return None;
                }
                park(deadline);
            }
        }
    }

    /// As `until`, but somebody else polls, whose stack has been touched already: what this connection's has touched is
    /// its own for as long as it is open.
    pub(crate) fn until_elsewhere<R: 'static>(
        &self,
        limit: Option<Duration>,
        poll: impl Fn(&mut Context<'_>) -> Poll<R> + 'static,
    ) -> io::Result<Option<R>> {
        let (waker, shared) = (self.waker.clone(), self.shared.clone());
        let errand = Rc::new(Errand { poll, result: Cell::new(None), waker, signal: self.signal.clone(), shared });
        let seat = self.shared.site.polling.add(errand.clone())?;
        self.signal.point_at(Some(seat.place));
        self.signal.ring();
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let ends = self.shared.is_stopping();
        let result = loop {
            if let Some(result) = errand.result.take() {
                break Some(result);
            }
            // What has come in time counts.
            let late = !self.signal.is_woken() && deadline.is_some_and(|deadline| deadline <= Instant::now());
            if late || self.shared.is_stopping() != ends {
                break None;
            }
            park(deadline);
        };
        self.signal.point_at(None);
        Ok(result)
    }
}

/// What a connection has somebody else poll.
struct Errand<F, R> {
    /// What is polled; never blocks.
    poll: F,
    /// What came of it.
    result: Cell<Option<R>>,
    /// The connection's waker.
    waker: Waker,
    /// Behind it.
    signal: Arc<Signal>,
    /// The connection.
    shared: Rc<Shared>,
}

impl<R, F: Fn(&mut Context<'_>) -> Poll<R>> Polled for Errand<F, R> {
    fn turn(&self, _: usize) -> bool {
        self.signal.clear();
        if let Poll::Ready(result) = (self.poll)(&mut Context::from_waker(&self.waker)) {
            self.result.set(Some(result));
            self.shared.unpark();
        }
        false
    }

    fn fetch_ahead(&self) {}

    fn flush(&self) {}

    fn poller(&self) -> Option<usize> {
        None
    }
}
