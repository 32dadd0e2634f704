//! Parking: the one way in which anything here blocks.
//!
//! ```text
//!   park ──▶ interrupt due? ──yes──▶ unwind
//!              │ no
//!              ▼
//!            state = Parked, deadline into the timers ──▶ switch to the hub
//!                                                           …
//!            deadline out of the timers  ◀── resumed: the first reason that came
//!              │
//!              ├── Unparked ──▶ return          (also if a kill came after it)
//!              ├── TimedOut ──▶ return
//!              └── Interrupted ──▶ unwind
//! ```

use std::marker::PhantomData;
use std::time::{Duration, Instant};

use crate::hub::{self, hub};
use crate::identity;
use crate::report;
use crate::scheduler::{Due, GreenletKey, Hub};
use crate::slot::{Mode, Reason, Slot, State};
use crate::timers::TimerKey;

/// Why [`park`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wake {
    /// An unpark came (perhaps before the call).
    Unparked,
    /// The deadline passed.
    TimedOut,
}

/// Whether the caller may park: false while a destructor runs in an unwinding, when a switch would
/// leak `thread::panicking()` to other greenlets. A greenlet with thread-locals of its own (see
/// `sward::patch`) may park there too; kill and timeout do not end such a wait.
///
/// ```
/// assert!(sward::lowlevel::can_park());
/// ```
#[inline]
pub fn can_park() -> bool {
    !std::thread::panicking() || identity::has_identity()
}

/// Whether the running greenlet's next blocking call will unwind: it was killed, or a `timeout` around it has
/// expired. For those who run what is not theirs, and are not to be interrupted in the next such thing.
///
/// ```
/// let greenlet = sward::spawn(|| {
///     sward::current().kill();
///     sward::lowlevel::is_interrupted()
/// });
/// assert!(greenlet.join().unwrap());
/// ```
#[inline]
pub fn is_interrupted() -> bool {
    hub().current().interrupts.due()
}

/// Ends the process: a destructor waits, during an unwinding, for something that only another
/// greenlet could do.
#[cold]
pub(crate) fn abort_in_destructor(call: &str) -> ! {
    let hub = hub();
    report::line(format_args!(
        "{call} in a destructor would have to wait for another greenlet while greenlet {} unwinds, which would never \
         end; aborting",
        hub.describe(hub.current()),
    ));
    std::process::abort();
}

/// Blocks the greenlet until its [`Unparker`] or `RemoteUnparker` is used, or until `deadline`.
///
/// As with [`std::thread::park`], an unpark that comes first makes the next `park` return at once,
/// several count as one, and a return means "look again": park in a loop over your own condition.
///
/// # Panics
///
/// On the root stack, if nothing can ever unpark it (the message says "deadlock").
///
/// ```
/// use std::{cell::Cell, rc::Rc};
/// use sward::lowlevel::{Unparker, park};
///
/// let (me, done) = (Unparker::current(), Rc::new(Cell::new(false)));
/// let done2 = done.clone();
/// sward::spawn(move || { done2.set(true); me.unpark() });
/// while !done.get() {
///     park(None);
/// }
/// ```
pub fn park(deadline: Option<Instant>) -> Wake {
    park_in("park", deadline)
}

/// [`park`] as a part of `call`, which reports name.
pub(crate) fn park_in(call: &'static str, deadline: Option<Instant>) -> Wake {
    let hub = hub();
    let slot = hub.current();
    if slot.token.replace(false) {
        return Wake::Unparked;
    }
    if !can_park() {
        match deadline {
            Some(_) => return Wake::TimedOut,
            None => abort_in_destructor(call),
        }
    }
    match hub.park(Mode::Token, call, deadline.map(|instant| hub.clock.at(instant))) {
        Reason::TimedOut => Wake::TimedOut,
        _ => Wake::Unparked,
    }
}

/// Unparks one greenlet, from its own thread. Outliving the greenlet is harmless.
///
/// See [`park`] for an example.
#[derive(Clone, Debug)]
pub struct Unparker {
    /// Whom.
    key: GreenletKey,
    /// Unparking pushes to the hub of this thread.
    not_send: PhantomData<*const ()>,
}

impl Unparker {
    /// The unparker of the running greenlet (or of the root).
    pub fn current() -> Unparker {
        Unparker { key: hub().current_key(), not_send: PhantomData }
    }

    /// Makes the greenlet's `park` return: the one it is in, or else its next.
    pub fn unpark(&self) {
        if let Some(hub) = hub::existing() {
            hub.unpark(self.key);
        }
    }
}

/// Lets every other ready greenlet run once. Always switches.
///
/// # Panics
///
/// Never on its own account; raises an interrupt that came before or meanwhile.
///
/// ```
/// let g = sward::spawn(|| 1);
/// assert!(!g.is_finished());
/// sward::yield_now();
/// assert!(g.is_finished());
/// ```
// Inlined down to the switch: a `call` between the caller and the switch would make the processor
// mispredict two returns at every yield, which costs more than the switch itself.
#[inline(always)]
pub fn yield_now() {
    hub().yield_now();
}

/// Blocks the greenlet for `duration`, never shorter; zero is [`yield_now`].
///
/// Measured from now, with the precision of the operating system's timers (tens of microseconds).
/// A duration too large for an `Instant` sleeps for ever.
///
/// # Panics
///
/// For ever, on the root stack, if nothing could ever interrupt it (the message says "deadlock"). An interrupt that came
/// before or during the sleep is raised.
///
/// ```
/// use std::time::{Duration, Instant};
/// let start = Instant::now();
/// sward::sleep(Duration::from_millis(3));
/// assert!(start.elapsed() >= Duration::from_millis(3));
/// ```
pub fn sleep(duration: Duration) {
    if duration.is_zero() {
        return yield_now();
    }
    let hub = hub();
    if !can_park() {
        return std::thread::sleep(duration);
    }
    hub.sleep("sleep", hub.clock.after(duration));
}

/// Blocks the greenlet until `deadline`; a deadline in the past is [`yield_now`].
///
/// # Panics
///
/// As [`sleep`].
///
/// ```
/// use std::time::{Duration, Instant};
/// let deadline = Instant::now() + Duration::from_millis(2);
/// sward::sleep_until(deadline);
/// assert!(Instant::now() >= deadline);
/// ```
pub fn sleep_until(deadline: Instant) {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return yield_now();
    }
    if !can_park() {
        return std::thread::sleep(left);
    }
    let hub = hub();
    hub.sleep("sleep", Some(hub.clock.at(deadline)));
}

impl Hub {
    /// Parks the running greenlet until it is woken or until `deadline`; an interrupt unwinds. The
    /// caller has made sure that it may park, and has given its key to whoever will wake it.
    // Inlined for the reason given at `yield_now`: each call between the caller's caller and the switch is a return
    // that the processor predicts wrong.
    #[inline(always)]
    pub(crate) fn park(&'static self, mode: Mode, call: &'static str, deadline: Option<u64>) -> Reason {
        debug_assert!(can_park(), "{call} has not asked whether it may park");
        let slot = self.current();
        let mode = mode.while_panicking();
        self.raise_due(slot, mode);
        let reason = self.wait(slot, mode, call, deadline);
        if reason == Reason::Interrupted {
            slot.interrupts.raise();
        }
        reason
    }

    /// As `park`, but reports an interrupt instead of unwinding, and neither looks for one first
    /// nor whether it may park at all.
    #[inline(always)]
    pub(crate) fn wait(
        &'static self,
        slot: &'static Slot,
        mode: Mode,
        call: &'static str,
        deadline: Option<u64>,
    ) -> Reason {
        let epoch = slot.epoch.get().wrapping_add(1);
        slot.epoch.set(epoch);
        slot.reason.set(None);
        slot.mode.set(mode);
        slot.waits_for.set(call);
        slot.parked_at.set(self.ticked.get());
        slot.state.set(State::Parked);
        let timer = deadline.map(|deadline| self.set_deadline(slot, epoch, deadline));
        let outcome = self.switch(slot);
        if let Some(timer) = timer {
            let _busy = self.busy();
            self.timers.borrow_mut().remove(timer);
        }
        if outcome.is_err() {
            self.panic_with_deadlock(slot);
        }
        slot.reason.take().unwrap_or(Reason::Unparked)
    }

    /// Lets a wait time out.
    #[inline(never)]
    fn set_deadline(&'static self, slot: &Slot, epoch: u32, deadline: u64) -> TimerKey {
        let _busy = self.busy();
        self.timers.borrow_mut().insert(deadline, Due::Wait { slot: slot.index, epoch })
    }

    /// Raises an interrupt that is due.
    #[inline(always)]
    pub(crate) fn raise_due(&self, slot: &Slot, mode: Mode) {
        if slot.interrupts.due() && mode.is_interruptible() {
            slot.interrupts.raise();
        }
    }

    /// The body of `yield_now`.
    #[inline(always)]
    pub(crate) fn yield_now(&'static self) {
        if !can_park() {
            return;
        }
        let slot = self.current();
        self.raise_due(slot, Mode::Keyed);
        self.push_ready(slot);
        // The root is in the ready queue, so this cannot be a deadlock.
        let _ = self.switch(slot);
        self.raise_due(slot, Mode::Keyed);
    }

    /// Sleeps until `deadline`, for ever without one. `call` names it in reports.
    pub(crate) fn sleep(&'static self, call: &'static str, deadline: Option<u64>) {
        // Nobody has the key of this wait: only the timer ends it, and that is never early.
        self.park(Mode::Keyed, call, deadline);
        self.raise_due(self.current(), Mode::Keyed);
    }

    /// Makes a `lowlevel::park` return: the one that the greenlet is in, or else its next.
    pub(crate) fn unpark(&'static self, key: GreenletKey) {
        let Some(slot) = self.find(key) else { return };
        if !slot.mode.get().takes_token() || !self.wake_slot(slot, Reason::Unparked) {
            slot.token.set(true);
        }
    }

    /// The key of whoever runs.
    pub(crate) fn current_key(&'static self) -> GreenletKey {
        let slot = self.current();
        GreenletKey { hub: self.serial, slot: slot.index, id: slot.id.get() }
    }

    /// Kills a greenlet: raised where it blocks, or at its next blocking call.
    pub(crate) fn kill(&'static self, slot: &'static Slot) {
        if slot.interrupts.kill() {
            self.interrupt(slot);
        }
    }

    /// Ends the wait that a greenlet is in, if it is in one that may be ended.
    pub(crate) fn interrupt(&'static self, slot: &'static Slot) {
        if slot.mode.get().is_interruptible() {
            self.wake_slot(slot, Reason::Interrupted);
        }
    }
}
