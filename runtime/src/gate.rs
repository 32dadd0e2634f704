//! When a thread that pushes to a hub's inbox has to wake the hub, and when the hub is gone.
//!
//! A hub with nothing to do blocks in its poll; another thread that pushes a message must end that
//! with a write to an eventfd. A system call per message would be slow, none at all would lose
//! wake-ups, and a write to the eventfd of a hub that ended could hit someone else's file. All
//! three are decided by one word, because operations on *one* atomic word happen in one order
//! that all threads agree on:
//!
//! ```text
//!  63                32 31                 2    1        0
//! ┌────────────────────┬────────────────────┬────────┬────────┐
//! │ handles            │ inside             │ CLOSED │ ASLEEP │
//! │ who could push     │ who is pushing,    │ hub is │ hub is │
//! │ later              │ or waking, now     │ gone   │ in poll│
//! └────────────────────┴────────────────────┴────────┴────────┘
//!
//!  pusher                               hub
//!    enter    inside + 1, not CLOSED      sleep   ASLEEP on; queue not empty? off again, go on
//!    queue.push(..)                       poll
//!    leave    inside - 1, ASLEEP? ring    awake   ASLEEP off; pop all
//!    ring     enter; ASLEEP off;
//!             it was on: write; leave     close   CLOSED on; wait until inside is 0; pop all
//! ```
//!
//! # Why it is right
//!
//! Every change of the word is a read-modify-write, so of any two changes the later one sees the
//! earlier one, and (the one releasing, the other acquiring) all that its thread did before.
//!
//! * **No wake-up is lost.** Compare the pusher's `leave` with the hub's `sleep`. If `leave` came
//!   first, `sleep` sees the message in the queue, and the hub does not block. If `sleep` came
//!   first, `leave` sees ASLEEP and rings, unless somebody took ASLEEP away meanwhile: another
//!   pusher, who then wakes the hub, or the hub itself, which is awake. Either way the hub's next
//!   `sleep` comes after this `leave`, and looks at the queue.
//! * **One wake per sleep.** Only who takes ASLEEP away wakes; `sleep` puts it there once.
//! * **No message is lost in closing.** A pusher whose `enter` came after CLOSED is refused and
//!   keeps its message. One whose `enter` came before is counted inside when CLOSED is set, so
//!   `close` waits for its `leave`, after which its message can be seen, and drained.
//! * **No wake after closing.** To wake is to be inside, so `close` waits for that too. Whatever
//!   the wake writes to may be freed once `close` has returned.
//! * **The last handle.** Compare its `drop_handle` with `sleep`, as above: either the hub's
//!   `sleep` came later, and `handles` asked *after* it says 0, or ASLEEP is seen and the hub is
//!   woken. Everything pushed through a handle was pushed before it was dropped, so once `handles`
//!   says 0, a queue that is empty stays empty.
//!
//! `ci/loom` runs the models in `inbox/models.rs` through every interleaving.

use std::mem;

#[cfg(all(loom, test))]
use loom::{
    sync::atomic::{AtomicU64, Ordering},
    thread::yield_now,
};
#[cfg(not(all(loom, test)))]
use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread::yield_now,
};

/// The hub blocks in its poll, or is about to.
const ASLEEP: u64 = 1 << 0;

/// The hub is gone.
const CLOSED: u64 = 1 << 1;

/// One thread inside.
const INSIDE: u64 = 1 << 2;

/// All threads inside.
const ALL_INSIDE: u64 = HANDLE - INSIDE;

/// One live handle.
const HANDLE: u64 = 1 << 32;

/// The word between one hub and the threads that push to it.
pub(crate) struct Gate {
    /// Handles, threads inside, CLOSED, ASLEEP: the drawing above.
    word: AtomicU64,
}

impl Gate {
    /// Open, awake, with no handles.
    pub(crate) fn new() -> Gate {
        Gate { word: AtomicU64::new(0) }
    }

    /// Lets a pusher in, where it may push, or wake the hub; `None` if the hub is gone. It must be
    /// out again soon, for `close` waits for it.
    pub(crate) fn enter(&self) -> Option<Inside<'_>> {
        // Looking first keeps those who come after CLOSED from being counted at all: however many
        // they are, `close` has only those to wait for that looked before.
        if self.word.load(Ordering::Relaxed) & CLOSED != 0 {
            return None;
        }
        let before = self.word.fetch_add(INSIDE, Ordering::Relaxed);
        let inside = Inside(self);
        (before & CLOSED == 0).then_some(inside)
    }

    /// Wakes the hub, unless another thread has done so since it fell asleep, or it is gone.
    #[cold]
    pub(crate) fn ring(&self, wake: impl FnOnce()) {
        let Some(inside) = self.enter() else { return };
        // Releases: a hub that finds ASLEEP gone must see what the ringing is about.
        if self.word.fetch_and(!ASLEEP, Ordering::AcqRel) & ASLEEP != 0 {
            wake();
        }
        drop(inside);
    }

    /// The hub announces that it will block. It has to look at its queue once more after this.
    pub(crate) fn sleep(&self) {
        let before = self.word.fetch_or(ASLEEP, Ordering::Acquire);
        debug_assert!(before & CLOSED == 0, "a hub that is gone goes to sleep");
    }

    /// The hub does not block, or no longer.
    pub(crate) fn awake(&self) {
        self.word.fetch_and(!ASLEEP, Ordering::Acquire);
    }

    /// Lets no one in any more, and waits until all are out. False if it was closed already.
    pub(crate) fn close(&self) -> bool {
        let before = self.word.fetch_or(CLOSED, Ordering::Acquire);
        // Who is inside pushes one message or writes one eventfd: it is out in a moment, unless
        // the kernel took its processor away.
        while self.word.load(Ordering::Acquire) & ALL_INSIDE != 0 {
            yield_now();
        }
        before & CLOSED == 0
    }

    /// One more handle.
    pub(crate) fn add_handle(&self) {
        self.word.fetch_add(HANDLE, Ordering::Relaxed);
    }

    /// One handle less; true if it was the last one and the hub is asleep: `ring`.
    pub(crate) fn drop_handle(&self) -> bool {
        let before = self.word.fetch_sub(HANDLE, Ordering::Release);
        before / HANDLE == 1 && before & ASLEEP != 0
    }

    /// How many handles there are.
    pub(crate) fn handles(&self) -> usize {
        // Acquires: what was pushed through handles that are gone can be seen after this.
        (self.word.load(Ordering::Acquire) / HANDLE) as usize
    }
}

/// A thread inside the gate; out when this is dropped, also by a panic.
pub(crate) struct Inside<'a>(
    /// Which gate.
    &'a Gate,
);

impl Inside<'_> {
    /// What was pushed is in the queue; true if the hub was seen asleep: `ring`.
    pub(crate) fn leave(self) -> bool {
        let gate = self.0;
        mem::forget(self);
        gate.word.fetch_sub(INSIDE, Ordering::Release) & ASLEEP != 0
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.word.fetch_sub(INSIDE, Ordering::Release);
    }
}
