//! The waker of a connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use crate::polling::Bell;

/// Has a connection polled.
pub(crate) struct Signal {
    /// Whether there is a reason to poll, which who polls knows of.
    woken: AtomicBool,
    /// The connection's place.
    place: usize,
    /// Calls who polls.
    bell: Arc<Bell>,
}

impl Signal {
    /// Of the connection at `place`.
    pub(crate) fn new(place: usize, bell: Arc<Bell>) -> Arc<Signal> {
        Arc::new(Signal { woken: AtomicBool::new(false), place, bell })
    }

    /// The connection's place.
    pub(crate) fn place(&self) -> usize {
        self.place
    }

    /// Whether there is a reason to poll.
    #[inline]
    pub(crate) fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }

    /// What there was a reason for begins.
    #[inline]
    pub(crate) fn clear(&self) {
        // Not a store: who wakes before this does not ring, so what it has written before it woke must be seen now.
        self.woken.swap(false, Ordering::AcqRel);
    }

    /// Wakes, again if need be.
    pub(crate) fn ring(&self) {
        self.woken.store(true, Ordering::Release);
        self.bell.ring(self.place);
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
