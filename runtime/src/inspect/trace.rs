//! The calls that parked greenlets are in.
//!
//! ```text
//!   who asks                       the hub, on the root stack          a parked greenlet
//!   ────────                       ──────────────────────────          ─────────────────
//!   Traces::next ───── Survey ───▶ Hub::traces ── resume(Trace) ────▶ trace_here: walks its own stack
//!        parks                              ◀── suspend ──────────   and is suspended again
//!        ◀──────────── wake ─────
//! ```
//!
//! Only the hub resumes greenlets, so it does this too, between two switches; nothing of the greenlet's own code runs.
//! Some at a time, so that it does not keep the others waiting for long.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use std::vec;

use super::GreenletInfo;
use super::survey::{Answer, Question, Survey};
use crate::calls::Stack;
use crate::greenlet::Errand;
use crate::hub;
use crate::remote::Remote;
use crate::scheduler::{GreenletKey, Hub};
use crate::slot::{Slot, State};

/// Calls looked at on each stack.
const MOST: usize = 64;
/// A stack with less than this left is not walked: the walk itself needs some of it.
const ROOM: usize = 24 << 10;

/// Greenlets looked at between two switches: a millisecond's worth, lest the others wait for long.
const AT_ONCE: usize = 32;

/// A greenlet and the calls that it is in; from [`HubInfo::traces`](super::HubInfo::traces).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Trace {
    /// The greenlet as it was when its calls were looked at.
    pub greenlet: GreenletInfo,
    /// The calls; none if it was not parked just then, or has less than 24 KiB of its stack left.
    pub stack: Stack,
}

/// The calls of greenlets, looked at as they are asked for; from [`HubInfo::traces`](super::HubInfo::traces).
///
/// `next` blocks the greenlet.
pub struct Traces {
    /// The hub that is asked.
    remote: Arc<Remote>,
    /// Those that were not asked for yet.
    left: vec::IntoIter<GreenletKey>,
    /// How long it may take for some of them.
    patience: Option<Duration>,
    /// What it has said last.
    made: vec::IntoIter<Trace>,
}

impl Traces {
    /// Those of some greenlets of a hub, which may take so long to look at some of them.
    pub(super) fn new(remote: Arc<Remote>, whose: Vec<GreenletKey>, patience: Option<Duration>) -> Traces {
        Traces { remote, left: whose.into_iter(), patience, made: Vec::new().into_iter() }
    }
}

impl Iterator for Traces {
    type Item = Trace;

    fn next(&mut self) -> Option<Trace> {
        loop {
            if let Some(trace) = self.made.next() {
                return Some(trace);
            }
            let whose: Vec<_> = self.left.by_ref().take(AT_ONCE).collect();
            if whose.is_empty() {
                return None;
            }
            let question = vec![(&self.remote, Question::Calls(whose))];
            match Survey::of(question, "inspect::dump", self.patience).pop().flatten() {
                Some(Answer::Calls(made)) => self.made = made.into_iter(),
                // It will not be faster next time.
                _ => self.left = Vec::new().into_iter(),
            }
        }
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces").field("left", &self.left.len()).finish_non_exhaustive()
    }
}

/// What is known of the stack that is walked, for the walk.
#[derive(Default)]
pub(crate) struct Walk {
    /// First address above the stack.
    end: usize,
    /// The calls found so far.
    calls: Vec<usize>,
}

impl Hub {
    /// What greenlets are at, those that are still there. In the hub's loop only.
    pub(super) fn traces(&'static self, whose: &[GreenletKey]) -> Vec<Trace> {
        let calls = |slot: &'static Slot| match slot.state.get() {
            State::Parked => self.trace(slot),
            _ => Vec::new(),
        };
        let found = whose.iter().filter_map(|key| self.find(*key));
        found.map(|slot| Trace { greenlet: GreenletInfo::of(slot), stack: Stack::parked(calls(slot)) }).collect()
    }

    /// The calls that a parked greenlet is in. In the hub's loop only.
    fn trace(&'static self, slot: &'static Slot) -> Vec<usize> {
        let stack = slot.greenlet.addresses();
        if slot.frame.get().addr().saturating_sub(stack.start) < ROOM {
            return Vec::new();
        }
        self.accounts.walk.replace(Walk { end: stack.end, calls: Vec::with_capacity(MOST) });
        // Nothing that the walk calls may park: this is not the greenlet's turn.
        let busy = self.busy();
        let finished = match slot.identity.get() {
            None => slot.greenlet.resume(Errand::Trace),
            Some(identity) => slot.greenlet.resume_as(identity, Errand::Trace),
        };
        debug_assert!(finished.is_none(), "a greenlet on this errand suspends itself again");
        drop(busy);
        self.accounts.walk.take().calls
    }
}

/// Walks the stack that it runs on, for the hub: the calls whose frames begin above `from`. On a greenlet's stack,
/// resumed for `Errand::Trace`.
pub(crate) fn trace_here(from: *const u8) {
    let Some(hub) = hub::existing() else { return };
    let mut walk = hub.accounts.walk.borrow_mut();
    let Walk { end, calls } = &mut *walk;
    // SAFETY: the lock that this goes without is for Windows; everywhere else the walk only reads the stack and the
    // tables for unwinding. A greenlet that is parked may hold that lock.
    unsafe {
        backtrace::trace_unsynchronized(|frame| {
            let at = frame.sp().addr();
            let is_callers = at > from.addr() && at < *end;
            if is_callers {
                calls.push(frame.ip().addr());
            }
            // First come this function's own. The hub's, after the stack's last one, may be anywhere.
            (is_callers || calls.is_empty()) && calls.len() < MOST
        });
    }
}
