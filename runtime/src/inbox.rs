//! A hub's letter box: what other threads want of it.
//!
//! ```text
//! other threads                            the hub's thread
//!   push(message, wake) ─▶ queue ─▶ pop      each turn: while let Some(m) = inbox.pop() { .. }
//!          │
//!          └─ wake() only if the hub sleeps  if inbox.prepare_sleep() {
//!                                                if inbox.is_cut_off() { nobody can wake us }
//!                                                poll, blocking;
//!                                                inbox.awake();
//!                                            }
//! ```
//!
//! The queue only holds; who wakes whom, and what happens when the hub ends, is `Gate`'s. Beside the
//! queue lies a *pile*, for those who may not allocate: the head of a list that they link themselves.

use std::ptr;
#[cfg(not(all(loom, test)))]
use std::sync::atomic::{AtomicPtr, Ordering};

#[cfg(not(all(loom, test)))]
use crossbeam_queue::SegQueue as Queue;
#[cfg(all(loom, test))]
use loom::sync::atomic::{AtomicPtr, Ordering};

#[cfg(all(loom, test))]
use self::models::Queue;
use crate::gate::Gate;

/// The head of a list of what only they know who put it there and who looks at it; null: nothing.
pub(crate) type Pile = AtomicPtr<()>;

/// Messages from any thread to one hub. Shared by the hub and its handles, which may outlive it.
pub(crate) struct Inbox<M> {
    /// Who is pushing, whether the hub sleeps, whether it is gone, and how many handles there are.
    gate: Gate,
    /// Messages that the hub has not seen yet, oldest first.
    queue: Queue<M>,
    /// What was put on the pile, the last one first.
    pile: Pile,
}

impl<M> Inbox<M> {
    /// Empty, open, without handles.
    pub(crate) fn new() -> Inbox<M> {
        let (gate, queue, pile) = (Gate::new(), Queue::new(), Pile::new(ptr::null_mut()));
        Inbox { gate, queue, pile }
    }

    /// Sends a message to the hub, and calls `wake` if the hub sleeps and nobody has woken it yet.
    /// `wake` ends the hub's poll; what it writes to stays valid while it runs, as `close` waits.
    ///
    /// # Errors
    ///
    /// The hub is gone: gives the message back.
    pub(crate) fn push(&self, message: M, wake: impl FnOnce()) -> Result<(), M> {
        let Some(inside) = self.gate.enter() else {
            return Err(message);
        };
        self.queue.push(message);
        if inside.leave() {
            self.gate.ring(wake);
        }
        Ok(())
    }

    /// As `push`, of what `put` links to the pile: a compare-and-swap that releases. Allocates nothing,
    /// and may be called in a signal handler. False if the hub is gone: then `put` was not called.
    pub(crate) fn put(&self, put: impl FnOnce(&Pile), wake: impl FnOnce()) -> bool {
        let Some(inside) = self.gate.enter() else {
            return false;
        };
        put(&self.pile);
        if inside.leave() {
            self.gate.ring(wake);
        }
        true
    }

    /// Hub only: the whole pile, the last one put first; null if there is none.
    pub(crate) fn take_pile(&self) -> *mut () {
        if self.has_no_pile() { ptr::null_mut() } else { self.pile.swap(ptr::null_mut(), Ordering::Acquire) }
    }

    /// Whether nothing is on the pile.
    fn has_no_pile(&self) -> bool {
        self.pile.load(Ordering::Acquire).is_null()
    }

    /// Hub only: the oldest message.
    pub(crate) fn pop(&self) -> Option<M> {
        self.queue.pop()
    }

    /// Whether no message is there: three loads, for each turn of the hub.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.has_no_pile()
    }

    /// Hub only, before a poll that blocks: from here on pushers wake the hub. False if there are
    /// messages: then the hub does not sleep, and must not block (a wake may come all the same, if
    /// a message came between the two looks). After true comes `awake`.
    pub(crate) fn prepare_sleep(&self) -> bool {
        if !self.is_empty() {
            return false;
        }
        self.gate.sleep();
        // The second look is the one that counts: see "No wake-up is lost" in `gate.rs`.
        if self.is_empty() {
            return true;
        }
        self.gate.awake();
        false
    }

    /// Hub only, after `prepare_sleep` said true and the poll is over (or was not even begun).
    pub(crate) fn awake(&self) {
        self.gate.awake();
    }

    /// Hub only: whether no message is there and none can ever come, so that a hub that waits for
    /// nothing else waits in vain. To be asked between `prepare_sleep` and the poll: a last handle
    /// that is dropped before this is seen here, one that is dropped after this wakes the hub.
    pub(crate) fn is_cut_off(&self) -> bool {
        // In this order: once there are no handles, an empty queue stays empty.
        self.gate.handles() == 0 && self.is_empty()
    }

    /// Hub only, at its end: refuses later pushes, and hands out all earlier ones. Once this has
    /// returned, no `wake` runs or will run.
    pub(crate) fn close(&self, mut drain: impl FnMut(M)) {
        self.gate.close();
        while let Some(message) = self.queue.pop() {
            drain(message);
        }
    }

    /// Counts one more handle: something on any thread that may push later. Only the hub and those
    /// who hold a handle may add one.
    pub(crate) fn add_handle(&self) {
        self.gate.add_handle();
    }

    /// Counts one handle less. The last one wakes a hub that sleeps, so that it looks again
    /// whether anything can still wake it.
    pub(crate) fn drop_handle(&self, wake: impl FnOnce()) {
        if self.gate.drop_handle() {
            self.gate.ring(wake);
        }
    }

    /// How many handles there are.
    #[cfg(test)]
    pub(crate) fn handles(&self) -> usize {
        self.gate.handles()
    }
}

#[cfg(all(loom, test))]
mod models;
#[cfg(all(not(loom), test))]
mod tests;
