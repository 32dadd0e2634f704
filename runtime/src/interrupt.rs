//! Kill, timeouts and shields: what may end a greenlet's wait from outside.
//!
//! An interrupt is a flag on the greenlet; it *takes effect* only where the greenlet blocks. There
//! the call unwinds with the private payload [`Interrupt`], which no panic hook sees, up to the
//! greenlet's root (kill) or to the `timeout` call that owns it. The flag stays until then, so an
//! interrupt that user code catches is raised again at the next blocking call.
//!
//! ```text
//!   timeout A { shield { timeout B { sleep } } }        expiries: [A, B]   base: 1
//!           depth 0            depth 1                  A is held back by the shield, B is not
//! ```

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::thread::panicking;
use std::time::Duration;

use crate::hub::hub;
use crate::scheduler::{Due, Hub};
use crate::slot::Slot;
use crate::timers::TimerKey;

/// The error of a wait that was limited in time: the limit passed first.
///
/// ```
/// use std::time::Duration;
/// let slow = sward::timeout(Duration::from_millis(1), || sward::sleep(Duration::from_secs(9)));
/// assert_eq!(slow, Err(sward::Elapsed));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time limit passed")
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for std::io::Error {
    fn from(elapsed: Elapsed) -> Self {
        std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed)
    }
}

/// The payload that an interrupted call unwinds with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interrupt {
    /// The greenlet was killed; stops at its root.
    Kill,
    /// The `timeout` call with this serial number expired; stops there.
    Timeout(u64),
}

/// A `timeout` call that is under way.
struct Expiry {
    /// Tells this call from every other one on the hub.
    serial: u64,
    /// Its entry in the hub's timers.
    timer: TimerKey,
    /// Whether its limit has passed.
    expired: bool,
}

/// The interrupts of one greenlet. In this order: see `Slot`.
#[repr(C)]
pub(crate) struct Interrupts {
    /// Whether an interrupt is there that the next blocking call raises. Derived from the others;
    /// the one thing that the hot path looks at.
    due: Cell<bool>,
    /// Whether the greenlet was killed.
    killed: Cell<bool>,
    /// One more than the number of `expiries` that began outside the innermost `shield`; 0 if none is under way.
    shield: Cell<u32>,
    /// The `timeout` calls under way, outermost first.
    expiries: RefCell<Vec<Expiry>>,
}

impl Interrupts {
    /// None.
    pub(crate) fn new() -> Interrupts {
        Interrupts {
            due: Cell::new(false),
            killed: Cell::new(false),
            shield: Cell::new(0),
            expiries: RefCell::new(Vec::new()),
        }
    }

    /// Forgets all, for the slot's next greenlet.
    pub(crate) fn reset(&self) {
        self.due.set(false);
        self.killed.set(false);
    }

    /// Whether the greenlet was killed, shielded or not.
    pub(crate) fn killed(&self) -> bool {
        self.killed.get()
    }

    /// Whether the next blocking call has something to raise.
    #[inline]
    pub(crate) fn due(&self) -> bool {
        self.due.get()
    }

    /// Records a kill; true if it takes effect now, false if a shield holds it back.
    pub(crate) fn kill(&self) -> bool {
        self.killed.set(true);
        let effective = self.shield.get() == 0;
        self.due.set(self.due.get() || effective);
        effective
    }

    /// Records that the `timeout` call at `depth` expired; as `kill`.
    pub(crate) fn expire(&self, depth: usize) -> bool {
        if let Some(expiry) = self.expiries.borrow_mut().get_mut(depth) {
            expiry.expired = true;
        }
        let effective = depth >= self.base();
        self.due.set(self.due.get() || effective);
        effective
    }

    /// The first of `expiries` that no shield holds back.
    fn base(&self) -> usize {
        self.shield.get().saturating_sub(1) as usize
    }

    /// What to raise: a kill before a timeout, an outer timeout before an inner one.
    fn next(&self) -> Option<Interrupt> {
        if self.killed.get() && self.shield.get() == 0 {
            return Some(Interrupt::Kill);
        }
        let expiries = self.expiries.borrow();
        expiries.iter().skip(self.base()).find(|e| e.expired).map(|e| Interrupt::Timeout(e.serial))
    }

    /// Unwinds with the interrupt that is due; not while a destructor runs in an unwinding, which must not unwind.
    #[cold]
    pub(crate) fn raise(&self) {
        if panicking() {
            return;
        }
        let Some(interrupt) = self.next() else {
            self.due.set(false);
            return;
        };
        if cfg!(panic = "abort") {
            panic!(
                "sward: a greenlet was interrupted ({interrupt:?}), which unwinds its stack, but this program is built \
                 with panic = \"abort\": kill and an expiring timeout need panic = \"unwind\""
            );
        }
        panic::resume_unwind(Box::new(interrupt));
    }
}

/// Runs `f`; if `limit` passes before `f` has returned, the blocking call that `f` is in (or comes
/// to next) unwinds and the result is `Err(Elapsed)`.
///
/// Calls nest; each turns only its own expiry into `Err`. A limit too large for an `Instant` is
/// none. `f` is not stopped where it does not block, and if it returns normally after its limit has
/// passed, the result is `Ok`. The shape is gevent's `Timeout`, as a function.
///
/// In a destructor that runs while its greenlet unwinds nothing is stopped, and the result is always `Ok`: an unwinding
/// that would leave another destructor on its way ends the process, and whether there is one cannot be told. Calls with
/// a limit of their own (`wait_timeout`) keep it there too.
///
/// # Panics
///
/// Passes on a panic of `f`. In a program built with `panic = "abort"` an expiry aborts with a
/// message that says so.
///
/// ```
/// use std::time::Duration;
/// use sward::{Elapsed, sleep, timeout};
///
/// assert_eq!(timeout(Duration::from_millis(2), || sleep(Duration::from_secs(60))), Err(Elapsed));
/// assert_eq!(timeout(Duration::from_secs(60), || 7), Ok(7));
/// ```
pub fn timeout<F, T>(limit: Duration, f: F) -> Result<T, Elapsed>
where
    F: FnOnce() -> T,
{
    let hub = hub();
    let Some(deadline) = hub.clock.after(limit) else {
        return Ok(f());
    };
    let guard = ExpiryGuard::new(hub, hub.current(), deadline);
    match panic::catch_unwind(AssertUnwindSafe(f)) {
        Ok(value) => Ok(value),
        Err(payload) => match payload.downcast_ref() {
            Some(Interrupt::Timeout(serial)) if *serial == guard.serial => Err(Elapsed),
            _ => {
                drop(guard);
                panic::resume_unwind(payload)
            }
        },
    }
}

/// Registers a `timeout` call and takes it back when dropped.
struct ExpiryGuard {
    /// The hub it was made on.
    hub: &'static Hub,
    /// The greenlet it limits.
    slot: &'static Slot,
    /// Its serial number.
    serial: u64,
}

impl ExpiryGuard {
    /// Begins: `deadline` is in nanoseconds on the hub's clock.
    #[inline]
    fn new(hub: &'static Hub, slot: &'static Slot, deadline: u64) -> ExpiryGuard {
        let serial = hub.next_serial();
        let _busy = hub.busy();
        let mut expiries = slot.interrupts.expiries.borrow_mut();
        let due = Due::Timeout { slot: slot.index, depth: expiries.len() as u32 };
        let timer = hub.timers.borrow_mut().insert(deadline, due);
        expiries.push(Expiry { serial, timer, expired: false });
        ExpiryGuard { hub, slot, serial }
    }
}

impl Drop for ExpiryGuard {
    #[inline]
    fn drop(&mut self) {
        let interrupts = &self.slot.interrupts;
        let _busy = self.hub.busy();
        let Some(expiry) = interrupts.expiries.borrow_mut().pop() else { return };
        self.hub.timers.borrow_mut().remove(expiry.timer);
        if interrupts.due.get() {
            interrupts.due.set(interrupts.next().is_some());
        }
    }
}

/// Runs `f` and holds back, until it has returned, the interrupts that come from outside: a kill of
/// this greenlet and every `timeout` that began before. A `timeout` begun inside `f` works.
///
/// What was held back takes effect at the first blocking call after `shield` has returned.
///
/// # Panics
///
/// Passes on a panic of `f`.
///
/// ```
/// use std::time::Duration;
///
/// let g = sward::spawn(|| sward::shield(|| sward::sleep(Duration::from_millis(2))));
/// sward::yield_now();
/// g.kill();
/// assert!(g.join().is_ok()); // the sleep ended by itself, and nothing blocked after it
/// ```
pub fn shield<F, T>(f: F) -> T
where
    F: FnOnce() -> T,
{
    let interrupts = &hub().current().interrupts;
    let outside = interrupts.expiries.borrow().len();
    // Their depths are `u32`s: see `Due`.
    let guard = ShieldGuard { interrupts, outer: interrupts.shield.replace(outside as u32 + 1) };
    interrupts.due.set(false);
    let value = f();
    drop(guard);
    value
}

/// Ends a shield when dropped.
struct ShieldGuard {
    /// The interrupts held back.
    interrupts: &'static Interrupts,
    /// `Interrupts::shield` as it was outside.
    outer: u32,
}

impl Drop for ShieldGuard {
    fn drop(&mut self) {
        let interrupts = self.interrupts;
        interrupts.shield.set(self.outer);
        interrupts.due.set(interrupts.next().is_some());
    }
}
