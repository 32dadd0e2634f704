//! `pthread_rwlock_rdlock` and its like.
//!
//! Each unlock wakes all greenlets that wait: readers may all go on. A greenlet that waits to write is
//! not seen by libc's rules that hold back readers for it.

use libc::{CLOCK_REALTIME, EBUSY, ETIMEDOUT, c_int, clockid_t, pthread_rwlock_t, timespec};

use super::acquire::{How, acquire};
use super::layout;
use super::limit::Limit;
use super::table::{self, Kind, Place, Waker};
use crate::function::Function;
use crate::table::real;

/// One of libc's functions on a lock.
type Attempt = unsafe extern "C" fn(*mut pthread_rwlock_t) -> c_int;
/// One that waits.
type Timed = unsafe fn(*mut pthread_rwlock_t, *const timespec) -> c_int;

/// As `pthread_rwlock_rdlock(3)`.
pub(crate) unsafe fn rdlock(function: &'static Function, lock: *mut pthread_rwlock_t) -> c_int {
    // SAFETY: the caller's lock.
    unsafe { read(function, lock, || Some(Limit::Never)).unwrap_or_else(|| real::pthread_rwlock_rdlock(lock)) }
}

/// As `pthread_rwlock_timedrdlock(3)`.
pub(crate) unsafe fn timedrdlock(
    function: &'static Function,
    lock: *mut pthread_rwlock_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller's lock and time.
    unsafe {
        read(function, lock, || Limit::at(CLOCK_REALTIME, until))
            .unwrap_or_else(|| real::pthread_rwlock_timedrdlock(lock, until))
    }
}

/// As `pthread_rwlock_clockrdlock(3)`.
pub(crate) unsafe fn clockrdlock(
    function: &'static Function,
    lock: *mut pthread_rwlock_t,
    clock: clockid_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller's lock and time.
    unsafe {
        read(function, lock, || Limit::at(clock, until))
            .unwrap_or_else(|| real::pthread_rwlock_clockrdlock(lock, clock, until))
    }
}

/// As `pthread_rwlock_wrlock(3)`.
pub(crate) unsafe fn wrlock(function: &'static Function, lock: *mut pthread_rwlock_t) -> c_int {
    // SAFETY: the caller's lock.
    unsafe { write(function, lock, || Some(Limit::Never)).unwrap_or_else(|| real::pthread_rwlock_wrlock(lock)) }
}

/// As `pthread_rwlock_timedwrlock(3)`.
pub(crate) unsafe fn timedwrlock(
    function: &'static Function,
    lock: *mut pthread_rwlock_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller's lock and time.
    unsafe {
        write(function, lock, || Limit::at(CLOCK_REALTIME, until))
            .unwrap_or_else(|| real::pthread_rwlock_timedwrlock(lock, until))
    }
}

/// As `pthread_rwlock_clockwrlock(3)`.
pub(crate) unsafe fn clockwrlock(
    function: &'static Function,
    lock: *mut pthread_rwlock_t,
    clock: clockid_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller's lock and time.
    unsafe {
        write(function, lock, || Limit::at(clock, until))
            .unwrap_or_else(|| real::pthread_rwlock_clockwrlock(lock, clock, until))
    }
}

/// As `pthread_rwlock_unlock(3)`.
#[inline(always)]
pub(crate) unsafe fn unlock(lock: *mut pthread_rwlock_t) -> c_int {
    // SAFETY: the caller's lock.
    let result = unsafe { real::pthread_rwlock_unlock(lock) };
    if table::anybody_after_release() {
        table::wake_after(Kind::RwLock, lock, usize::MAX, Waker::Ordinary);
    }
    result
}

/// Locks for reading, in a greenlet.
#[inline(always)]
unsafe fn read(
    function: &'static Function,
    lock: *mut pthread_rwlock_t,
    limit: impl FnOnce() -> Option<Limit>,
) -> Option<c_int> {
    // SAFETY: the caller's lock.
    unsafe { try_then_wait(function, lock, limit, libc::pthread_rwlock_tryrdlock, real::pthread_rwlock_timedrdlock) }
}

/// Locks for writing, in a greenlet.
#[inline(always)]
unsafe fn write(
    function: &'static Function,
    lock: *mut pthread_rwlock_t,
    limit: impl FnOnce() -> Option<Limit>,
) -> Option<c_int> {
    // SAFETY: the caller's lock.
    unsafe { try_then_wait(function, lock, limit, libc::pthread_rwlock_trywrlock, real::pthread_rwlock_timedwrlock) }
}

/// Locks in a greenlet; `None` if that is to be left to libc.
#[inline(always)]
unsafe fn try_then_wait(
    function: &'static Function,
    lock: *mut pthread_rwlock_t,
    limit: impl FnOnce() -> Option<Limit>,
    attempt: Attempt,
    timed: Timed,
) -> Option<c_int> {
    // SAFETY: the caller's lock.
    match unsafe { attempt(lock) } {
        // SAFETY: the caller's lock.
        EBUSY => unsafe { wait(function, lock, limit()?, attempt, timed) },
        result => Some(result),
    }
}

/// Waits for a lock that was not to be had.
#[cold]
unsafe fn wait(
    function: &'static Function,
    lock: *mut pthread_rwlock_t,
    limit: Limit,
    attempt: Attempt,
    timed: Timed,
) -> Option<c_int> {
    let inside = super::enter(function)?;
    // With a time that has passed: knows a writer who locks twice, which the attempt does not tell.
    let passed = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the caller's lock.
    let result = unsafe { timed(lock, &raw const passed) };
    if result != ETIMEDOUT {
        return Some(result);
    }
    // SAFETY: as above.
    let how = How { limit, unseen: unsafe { layout::may_become_free_unseen(lock) }, interruptible: false };
    // SAFETY: as above.
    let attempt = || Some(unsafe { attempt(lock) }).filter(|result| *result != EBUSY);
    Some(acquire(&inside, Place::of(Kind::RwLock, lock), how, attempt).unwrap_or_else(|error| error))
}
