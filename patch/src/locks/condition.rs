//! `pthread_cond_wait` and its like.
//!
//! ```text
//!   wait     into the table ──▶ unlock the mutex ──▶ park ──▶ lock it again
//!   signal   libc's signal, and one greenlet out of the table
//! ```
//!
//! A signal wakes a thread and a greenlet where both wait: to wake too many is allowed, too few is not.

use libc::{ETIMEDOUT, c_int, clockid_t, pthread_cond_t, pthread_mutex_t, timespec};
use sward_runtime::lowlevel::hooks::Ended;

use super::limit::{Limit, Passed};
use super::table::{self, Kind, Place, Waker};
use super::{layout, mutex};
use crate::function::Function;
use crate::table::real;

/// As `pthread_cond_wait(3)`.
#[inline(always)]
pub(crate) unsafe fn wait(
    function: &'static Function,
    condition: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
) -> c_int {
    // SAFETY: the caller's condition and mutex.
    unsafe {
        let result = if super::is_shut() {
            give_way(mutex)
        } else {
            wait_until(function, condition, mutex, || Some(Limit::Never))
        };
        result.unwrap_or_else(|| real::pthread_cond_wait(condition, mutex))
    }
}

/// As `pthread_cond_timedwait(3)`.
#[inline(always)]
pub(crate) unsafe fn timedwait(
    function: &'static Function,
    condition: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller's condition, mutex and time.
    unsafe {
        let result = if super::is_shut() {
            give_way(mutex)
        } else {
            wait_until(function, condition, mutex, || Limit::at(layout::clock(condition)?, until))
        };
        result.unwrap_or_else(|| real::pthread_cond_timedwait(condition, mutex, until))
    }
}

/// As `pthread_cond_clockwait(3)`.
#[inline(always)]
pub(crate) unsafe fn clockwait(
    function: &'static Function,
    condition: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    clock: clockid_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller's condition, mutex and time.
    unsafe {
        let result = if super::is_shut() {
            give_way(mutex)
        } else {
            wait_until(function, condition, mutex, || Limit::at(clock, until))
        };
        result.unwrap_or_else(|| real::pthread_cond_clockwait(condition, mutex, clock, until))
    }
}

/// As `pthread_cond_signal(3)`.
#[inline(always)]
pub(crate) unsafe fn signal(condition: *mut pthread_cond_t) -> c_int {
    // First: the condition may be gone once a waiter has seen what it waited for. No barrier: see `table`.
    // SAFETY: the caller's condition.
    let result = unsafe { real::pthread_cond_signal(condition) };
    if table::anybody() {
        table::wake_after(Kind::Condition, condition, 1, Waker::Ordinary);
    }
    result
}

/// As `pthread_cond_broadcast(3)`.
#[inline(always)]
pub(crate) unsafe fn broadcast(condition: *mut pthread_cond_t) -> c_int {
    // SAFETY: the caller's condition.
    let result = unsafe { real::pthread_cond_broadcast(condition) };
    if table::anybody() {
        table::wake_after(Kind::Condition, condition, usize::MAX, Waker::Ordinary);
    }
    result
}

/// Before a thread waits, inside libc, whose unlock wakes no greenlet: if one waits for the mutex, it gets
/// it now, and the thread's wait ends at once, as if it had been woken for nothing. Its next
/// one finds nobody waiting. (A greenlet that comes in between finds out at its next tick.)
#[inline(always)]
unsafe fn give_way(mutex: *mut pthread_mutex_t) -> Option<c_int> {
    if !table::anybody() {
        return None;
    }
    // SAFETY: the caller's mutex.
    unsafe { give_way_to_greenlets(mutex) }
}

/// The rest of `give_way`.
#[cold]
unsafe fn give_way_to_greenlets(mutex: *mut pthread_mutex_t) -> Option<c_int> {
    if !mutex::is_wanted(mutex) {
        return None;
    }
    // SAFETY: the caller's mutex, which it holds.
    unsafe {
        match crate::table::hook::pthread_mutex_unlock(mutex) {
            0 => Some(real::pthread_mutex_lock(mutex)),
            error => Some(error),
        }
    }
}

/// Waits in a greenlet; `None` if that is to be left to libc.
#[inline(never)]
unsafe fn wait_until(
    function: &'static Function,
    condition: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    limit: impl FnOnce() -> Option<Limit>,
) -> Option<c_int> {
    let inside = super::enter(function)?;
    let limit = limit()?;
    let place = Place::of(Kind::Condition, condition);
    let deadline = match limit.next(None) {
        Ok(deadline) => deadline,
        // Even so the mutex is released for a moment.
        Err(Passed) => Some(std::time::Instant::now()),
    };
    let unlock = || {
        // SAFETY: the caller's mutex.
        Some(unsafe { crate::table::hook::pthread_mutex_unlock(mutex) }).filter(|result| *result != 0)
    };
    let waited = table::wait(&inside, place, false, deadline, unlock);
    if let Some(error) = waited.found {
        return Some(error);
    }
    // SAFETY: the caller's mutex.
    let locked = unsafe { mutex::lock_again(&inside, mutex) };
    let timed_out = !waited.woken && waited.ended == Ended::TimedOut && limit.passed();
    Some(if locked == 0 && timed_out { ETIMEDOUT } else { locked })
}
