//! The wait for what is taken by trying: a mutex, a read-write lock, a semaphore.

use std::time::Duration;

use libc::{ECANCELED, ETIMEDOUT, c_int};
use sward_runtime::lowlevel::hooks::Ended;

use super::limit::{Limit, Passed};
use super::table::{self, Place};
use crate::gate;
use crate::green::wait::TICK;

/// How a greenlet waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    /// Until when.
    pub(super) limit: Limit,
    /// Whether it may become free unseen: then the greenlet tries again each 10 ms, and less often the longer that takes.
    pub(super) unseen: bool,
    /// Whether a kill or a timeout ends the wait.
    pub(super) interruptible: bool,
}

/// Waits there until `attempt` finds something; `Err` with an error's number if the time is up, or at an interrupt.
pub(super) fn acquire<T>(
    inside: &gate::Inside,
    place: Place,
    how: How,
    attempt: impl Fn() -> Option<T>,
) -> Result<T, c_int> {
    let mut round = 0_u32;
    loop {
        let deadline = match how.limit.next(how.unseen.then(|| tick(round))) {
            Ok(deadline) => deadline,
            Err(Passed) if round == 0 => {
                // Who asks again and again without waiting would otherwise never let the owner run.
                inside.yield_now();
                return attempt().ok_or(ETIMEDOUT);
            }
            Err(Passed) => return Err(ETIMEDOUT),
        };
        let waited = table::wait(inside, place, how.interruptible, deadline, &attempt);
        // Who was woken, or whose time is up, tries again. Where that fails somebody else was faster, who will wake the
        // next.
        if let Some(found) = waited.found.or_else(&attempt) {
            return Ok(found);
        }
        if waited.ended == Ended::Interrupted {
            return Err(ECANCELED);
        }
        round = round.saturating_add(1);
    }
}

/// The time between two looks. It grows after each second, so that many who wait for long do not keep the processor busy.
fn tick(round: u32) -> Duration {
    TICK * (1 << (round / 8).min(4))
}
