//! The calls that parked greenlets are in.
//!
//! ```text
//!   who asks                       the hub, on the root stack          a parked greenlet
//!   ────────                       ──────────────────────────          ─────────────────
//!   Traces::of_others ─ message ─▶ Traces::make ── resume(Trace) ───▶ trace_here: walks its own stack
//!            parks                              ◀── suspend ────────   and is suspended again
//!                   ◀──── wake ──
//! ```
//!
//! Only the hub resumes greenlets, so it does this too, between two switches; nothing of the greenlet's own code runs.
//! Some at a time, so that it does not keep the others waiting for long.

use std::sync::{Arc, Mutex, PoisonError};

use super::{GreenletInfo, occupied};
use crate::greenlet::Errand;
use crate::hub::{self, hub};
use crate::park::can_park;
use crate::remote::Message;
use crate::scheduler::{GreenletKey, Hub, WaitKey};
use crate::slot::{Mode, Reason, Slot, State};

/// Calls looked at on each stack.
const MOST: usize = 64;
/// A stack with less than this left is not walked: the walk itself needs some of it.
const ROOM: usize = 24 << 10;

/// Greenlets looked at between two switches: a millisecond's worth, lest the others wait for long.
const AT_ONCE: usize = 32;

/// A greenlet, and, if it is parked, the calls that it is in, the innermost first, as addresses.
pub(crate) type Trace = (GreenletInfo, Vec<usize>);

/// A question that the hub is asked, and its answer.
pub(crate) struct Traces {
    /// The wait of who asks.
    key: WaitKey,
    /// Whose calls.
    whose: Vec<GreenletKey>,
    /// The answer.
    made: Mutex<Vec<Trace>>,
}

impl Traces {
    /// The other greenlets of this hub as they are when their turn comes, with the calls that they are in; at most
    /// `limit` of them, those that were spawned first, without those that have ended by then. Blocks the greenlet; none
    /// in a destructor that runs in an unwinding, which cannot wait.
    pub(super) fn of_others(limit: usize) -> Vec<Trace> {
        let hub = hub();
        if !can_park() {
            return Vec::new();
        }
        let is_other = |slot: &&Slot| !slot.is_root() && slot.id != hub.current().id;
        let key = |slot: &Slot| GreenletKey { hub: hub.serial, slot: slot.index, id: slot.id.get() };
        let mut others: Vec<_> = occupied(hub).filter(is_other).map(key).collect();
        others.sort_unstable_by_key(|key| key.id);
        others.truncate(limit);
        others.chunks(AT_ONCE).flat_map(|whose| Traces::of(hub, whose)).collect()
    }

    /// Those of some.
    fn of(hub: &'static Hub, whose: &[GreenletKey]) -> Vec<Trace> {
        hub.raise_due(hub.current(), Mode::Keyed);
        let busy = hub.busy();
        let made = Mutex::default();
        let traces = Arc::new(Traces { key: hub.next_wait(), whose: whose.to_vec(), made });
        let sent = hub.remote.send(Message::Trace(traces.clone()));
        drop(busy);
        if sent {
            hub.park(Mode::Keyed, "inspect::dump", None);
        }
        std::mem::take(&mut traces.made.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Answers, in the hub's loop.
    pub(crate) fn make(&self, hub: &'static Hub) {
        // Who asked may have been interrupted.
        if !hub.waits(self.key) {
            return;
        }
        let calls = |slot: &'static Slot| match slot.state.get() {
            State::Parked => hub.trace(slot),
            _ => Vec::new(),
        };
        let found = self.whose.iter().filter_map(|key| hub.find(*key));
        let made = found.map(|slot| (GreenletInfo::of(slot), calls(slot))).collect();
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = made;
        hub.wake(self.key, Reason::Unparked);
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
