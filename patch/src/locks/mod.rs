//! Locks made for threads, between greenlets: `pthread_mutex_lock`, `pthread_cond_wait`, `sem_wait` and
//! their like, and the futex, on which std's locks, parking_lot's and those of many others are built.
//!
//! ```text
//!   lock     try ──busy──▶ into the table, under the lock's address ──▶ try again ──busy──▶ park
//!                                       │ Waiter, on the greenlet's stack
//!   unlock   the real one ──▶ does anybody wait? ──no──▶ done             (one load)
//!   (by anybody)                  │ yes
//!                                 ▼
//!                           out of the table, and ready: by its hub itself, or through its door
//! ```
//!
//! - `table`: who waits, and for which address; the proof that no wake-up is lost.
//! - `bucket`: the lock of a part of the table, which a signal handler may find taken.
//! - `acquire`: try, wait, try again; `limit`: until when.
//! - `layout`: what is read of libc's objects: kinds, clocks.
//! - `futex`, `mutex`, `condition`, `rwlock`, `semaphore`, `once`: the hooks; `c11` has those of C's own names.
//!
//! # Interrupts
//!
//! A kill or a timeout does not end a wait for a lock, a condition or a futex: there is no result that
//! says so, and code like `std::sync::mpsc` would wait again at once, without end. Only `sem_wait`
//! can fail, with `ECANCELED`.
//!
//! # Deadlock
//!
//! Another thread may end such a wait, and the hub cannot know whether one will. So it does not
//! report a deadlock while a greenlet is in one: each waiter holds a live door to its hub.
//!
//! # Only with thread-locals of one's own
//!
//! What is built on locks keeps its state in thread-locals (`std::thread::park`, parking_lot). For
//! greenlets that share those of their thread, the hooks of waits make the real call.

mod acquire;
mod bucket;
pub(crate) mod c11;
pub(crate) mod condition;
pub(crate) mod futex;
mod layout;
mod limit;
#[cfg(all(loom, test))]
mod models;
pub(crate) mod mutex;
pub(crate) mod once;
pub(crate) mod rwlock;
pub(crate) mod semaphore;
mod table;

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use sward_runtime::lowlevel::hooks;

use crate::function::Function;
use crate::gate;

/// Whether a greenlet's wait for a lock parks.
static OPEN: AtomicBool = AtomicBool::new(false);

/// Lets greenlets park in locks, from now on. To be called once their identity is known to work.
pub(crate) fn open() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        layout::probe();
        once::probe();
        table::prepare();
        OPEN.store(true, Ordering::Release);
    });
}

/// In the child of a fork that called no handlers: of the parent's greenlets that wait, none is there.
pub(crate) fn forget() {
    table::in_child();
}

/// Whether greenlets park in locks.
pub(crate) fn is_open() -> bool {
    OPEN.load(Ordering::Relaxed)
}

/// Whether the caller is nobody who parks in locks: the first question, and for most callers the last.
#[inline(always)]
pub(crate) fn is_shut() -> bool {
    !OPEN.load(Ordering::Relaxed) || !hooks::has_identity()
}

/// Whether the caller is a greenlet that may let others run: one that [`enter`] would let in.
fn may_switch() -> bool {
    !is_shut() && !bucket::Inside::is_there() && gate::may_enter()
}

/// Lets a greenlet into the hook of `function`, to wait for a lock: as [`gate::enter`], and not while
/// its thread works on the table. Not before [`is_shut`] has said no.
fn enter(function: &'static Function) -> Option<gate::Inside> {
    if bucket::Inside::is_there() { None } else { gate::enter(function) }
}
