//! One wait for one or several channels, and who may end it.
//!
//! ```text
//!              claim(op), by whoever hands something over          (first one wins)
//!   Waiting ───────────────────────────────────────────────▶ Chosen(op)
//! ```
//!
//! The claim is made while the channel of the operation is locked, the waiter is unparked after it was
//! unlocked. Since an unpark that comes before the park is not forgotten, no wake-up is lost. A
//! waiter that gives up takes its entries out of the channels, each under its lock: what was not
//! claimed by then never will be.
//!
//! That this holds in every interleaving is shown by `models.rs`, which `ci/loom` runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use sward_runtime::lowlevel::Wake;

use super::ground::{AtomicUsize, RemoteUnparker, park};

/// No operation was chosen yet.
const WAITING: usize = usize::MAX;
/// How often a thread without greenlets looks before it parks: about a microsecond.
pub(super) const SPINS: u32 = 64;

/// A wait.
pub(super) struct Turn {
    /// The operation that was chosen, or [`WAITING`].
    chosen: AtomicUsize,
    /// Wakes the waiter.
    unparker: RemoteUnparker,
}

/// Names an operation of a wait. Unique while the wait's `Turn` is alive.
pub(super) type Key = (usize, usize);

impl Turn {
    /// A wait of the running greenlet.
    pub(super) fn new() -> Arc<Turn> {
        Arc::new(Turn { chosen: AtomicUsize::new(WAITING), unparker: RemoteUnparker::current() })
    }

    /// The name of its operation `op`.
    pub(super) fn key(self: &Arc<Self>, op: usize) -> Key {
        (Arc::as_ptr(self) as usize, op)
    }

    /// Chooses an operation; false if one was chosen already.
    pub(super) fn claim(&self, op: usize) -> bool {
        self.chosen.compare_exchange(WAITING, op, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The operation that was chosen.
    pub(super) fn chosen(&self) -> Option<usize> {
        Some(self.chosen.load(Ordering::Acquire)).filter(|op| *op != WAITING)
    }

    /// Waits until an operation is chosen or the deadline passes.
    pub(super) fn wait(&self, deadline: Option<Instant>) -> Option<usize> {
        loop {
            if let Some(op) = self.chosen() {
                return Some(op);
            }
            if park(deadline) == Wake::TimedOut {
                return self.chosen();
            }
        }
    }
}

/// Waits that were ended, to be woken once no channel is locked.
#[derive(Default)]
pub(super) struct Wakes {
    /// The first; usually the only one.
    first: Option<Arc<Turn>>,
    /// The others.
    more: Vec<Arc<Turn>>,
}

impl Wakes {
    /// Adds one.
    pub(super) fn push(&mut self, turn: Arc<Turn>) {
        match self.first {
            None => self.first = Some(turn),
            Some(_) => self.more.push(turn),
        }
    }
}

impl Drop for Wakes {
    fn drop(&mut self) {
        for turn in self.first.iter().chain(&self.more) {
            turn.unparker.unpark();
        }
    }
}
