//! A hub with a definite end, and the end of a hub with its thread.

use std::panic::{self, AssertUnwindSafe};

use crate::hub::{self, hub};
use crate::interrupt::shield;
use crate::scheduler::Hub;
use crate::slot::State;

/// Looks at a hub that ends with its thread, before what is left there is leaked.
const LAST_ROUNDS: usize = 1000;

/// Runs `f`; when it returns or unwinds, every greenlet left on this thread (also one spawned
/// before) is killed and joined: blocks until then. The result is `f`'s.
///
/// Greenlets spawned while they end (by destructors, by links) get one turn, then they are killed
/// too.
///
/// # Panics
///
/// Inside a greenlet. Passes on a panic of `f`.
///
/// ```
/// use std::time::Duration;
/// let answer = sward::run(|| {
///     sward::spawn(|| sward::sleep(Duration::from_secs(3600))); // a background greenlet
///     42
/// });
/// assert_eq!(answer, 42); // at once
/// ```
#[track_caller]
pub fn run<F, T>(f: F) -> T
where
    F: FnOnce() -> T,
{
    let hub = hub();
    assert!(hub.current().is_root(), "sward::run is for the thread's own stack, it was called in a greenlet");
    let result = panic::catch_unwind(AssertUnwindSafe(f));
    // Not `hub` in the child of a fork that `f` made: that one is the parent's.
    if let Some(hub) = hub::existing() {
        hub.kill_and_join_all();
    }
    match result {
        Ok(value) => value,
        Err(payload) => panic::resume_unwind(payload),
    }
}

impl Hub {
    /// Kills every greenlet until none is left.
    fn kill_and_join_all(&'static self) {
        self.kill_all();
        while self.live.get() > 0 {
            // Woken whenever a greenlet ends or is spawned.
            self.closing.set(true);
            self.closers.wait_uninterruptible("run", ());
            // The turn of those that were spawned meanwhile.
            shield(|| self.yield_now());
            self.kill_all();
        }
        self.closing.set(false);
    }

    /// Kills every greenlet and lets them run as long as any is ready; never waits for anything
    /// from outside. What still is not gone (parked in a shield) stays.
    pub(crate) fn kill_without_waiting(&'static self) {
        for _ in 0..LAST_ROUNDS {
            self.kill_all();
            if self.live.get() == 0 || !self.has_ready() {
                return;
            }
            self.yield_now();
        }
    }

    /// Kills every greenlet that there is now.
    fn kill_all(&'static self) {
        let greenlets = self.table.iter().filter(|slot| !slot.is_root() && slot.state.get() != State::Vacant);
        greenlets.filter(|slot| !slot.interrupts.killed()).for_each(|slot| self.kill(slot));
    }
}
