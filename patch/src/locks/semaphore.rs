//! `sem_wait` and its like. The one wait for a lock that a kill or a timeout ends: it can say so.

use libc::{CLOCK_REALTIME, EAGAIN, c_int, clockid_t, sem_t, timespec};

use super::acquire::{How, acquire};
use super::layout;
use super::limit::Limit;
use super::table::{self, Kind, Place, Waker};
use crate::function::Function;
use crate::gate::{errno, fail};
use crate::table::real;

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
    // SAFETY: as above.
    let attempt = || Some(unsafe { libc::sem_trywait(semaphore) }).filter(|result| *result == 0);
    Some(acquire(&inside, Place::of(Kind::Semaphore, semaphore), how, attempt).unwrap_or_else(fail))
}
