//! `sem_wait` and its like. The one wait for a lock that a kill or a timeout ends: it can say so.
//!
//! A post may be a signal handler's, and lets nobody run at once. So that a greenlet which parks only between its wait and
//! its post does not overtake another for ever, it is the one who waits that gives way, once another's luck is bad enough.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use libc::{CLOCK_REALTIME, EAGAIN, c_int, clockid_t, sem_t, timespec};

use super::acquire::{How, acquire};
use super::layout;
use super::limit::Limit;
use super::table::{self, Kind, Place, Waker};
use crate::function::Function;
use crate::gate::{errno, fail};
use crate::table::real;

/// How often a greenlet that waits for a semaphore finds nothing until others give way: before it parks and after, and
/// once more.
const LOOKS: u32 = 4;

/// Where a greenlet has found nothing so often, until another one has given way there; 0: nowhere. Of several such places
/// one at a time.
static OVERTAKEN_AT: AtomicUsize = AtomicUsize::new(0);

/// As `sem_wait(3)`.
pub(crate) unsafe fn wait(function: &'static Function, semaphore: *mut sem_t) -> c_int {
    // SAFETY: the caller's semaphore.
    unsafe { wait_until(function, semaphore, || Some(Limit::Never)).unwrap_or_else(|| real::sem_wait(semaphore)) }
}

/// As `sem_timedwait(3)`.
pub(crate) unsafe fn timedwait(function: &'static Function, semaphore: *mut sem_t, until: *const timespec) -> c_int {
    // SAFETY: the caller's semaphore and time.
    unsafe {
        wait_until(function, semaphore, || Limit::at(CLOCK_REALTIME, until))
            .unwrap_or_else(|| real::sem_timedwait(semaphore, until))
    }
}

/// As `sem_clockwait(3)`.
pub(crate) unsafe fn clockwait(
    function: &'static Function,
    semaphore: *mut sem_t,
    clock: clockid_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller's semaphore and time.
    unsafe {
        wait_until(function, semaphore, || Limit::at(clock, until))
            .unwrap_or_else(|| real::sem_clockwait(semaphore, clock, until))
    }
}

/// As `sem_post(3)`, which signal handlers may call.
#[inline(always)]
pub(crate) unsafe fn post(semaphore: *mut sem_t) -> c_int {
    // SAFETY: the caller's semaphore.
    let result = unsafe { real::sem_post(semaphore) };
    if table::anybody_after_release() {
        table::wake_after(Kind::Semaphore, semaphore, 1, Waker::Anywhere);
    }
    result
}

/// Takes one in a greenlet; `None` if that is to be left to libc.
#[inline(always)]
unsafe fn wait_until(
    function: &'static Function,
    semaphore: *mut sem_t,
    limit: impl FnOnce() -> Option<Limit>,
) -> Option<c_int> {
    if OVERTAKEN_AT.load(Ordering::Relaxed) == semaphore.addr() {
        give_way(function);
    }
    // SAFETY: the caller's semaphore.
    match unsafe { libc::sem_trywait(semaphore) } {
        // SAFETY: the caller's semaphore.
        -1 if errno() == EAGAIN => unsafe { park(function, semaphore, limit()?) },
        result => Some(result),
    }
}

/// Waits for a semaphore that had nothing to give.
#[cold]
unsafe fn park(function: &'static Function, semaphore: *mut sem_t, limit: Limit) -> Option<c_int> {
    let inside = super::enter(function)?;
    // SAFETY: the caller's semaphore.
    let how = How { limit, unseen: unsafe { layout::is_shared_semaphore(semaphore) }, interruptible: true };
    let looks = Cell::new(0);
    let attempt = || {
        // SAFETY: as above.
        let taken = Some(unsafe { libc::sem_trywait(semaphore) }).filter(|result| *result == 0);
        looks.set(looks.get() + 1);
        if taken.is_none() && looks.get() >= LOOKS {
            OVERTAKEN_AT.store(semaphore.addr(), Ordering::Relaxed);
        }
        taken
    };
    Some(acquire(&inside, Place::of(Kind::Semaphore, semaphore), how, attempt).unwrap_or_else(fail))
}

/// Lets who was overtaken go first, if it is a greenlet of this thread and was woken.
#[cold]
fn give_way(function: &'static Function) {
    if let Some(inside) = super::enter(function) {
        // Who finds nothing then either says so again.
        OVERTAKEN_AT.store(0, Ordering::Relaxed);
        table::make_woken_ready();
        inside.yield_now();
    }
}
