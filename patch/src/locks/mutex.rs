//! `pthread_mutex_lock` and its like.
//!
//! A greenlet does not mark the mutex as wanted, so an unlock that does not come through the hook leaves
//! it parked: one inside libc (`pthread_cond_wait` of a thread), or one by another
//! process. So a waiting greenlet tries again each 10 ms; after a second each 160 ms.
//!
//! | kind | here |
//! |---|---|
//! | default, recursive, error-checking | as above; the last two know their owner by its thread id |
//! | adaptive | made for sections so short that it pays to spin; an allocator's (jemalloc's are), which must not be left in the middle. The thread waits, for [`PATIENCE`] at most: the owner may be a greenlet of its own; then the greenlet parks after all |
//! | robust, with a priority protocol | the kernel takes part in them, and knows threads only: they are locked and unlocked in the name of the hub's thread, and so cannot tell its greenlets apart where the owner counts (recursive and error-checking ones) |

use std::time::Duration;

use libc::{CLOCK_REALTIME, EBUSY, ETIMEDOUT, c_int, clockid_t, pthread_mutex_t, timespec};

use super::acquire::{How, acquire};
use super::layout::{self, MutexKind};
use super::limit::Limit;
use super::table::{self, Kind, Place, Waker};
use crate::function::Function;
use crate::gate;
use crate::identity::on_hub;
use crate::table::real;

/// How long a thread waits for an adaptive mutex.
const PATIENCE: Duration = Duration::from_millis(100);

/// As `pthread_mutex_lock(3)`.
pub(crate) unsafe fn lock(function: &'static Function, mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's mutex.
    unsafe { try_then_wait(function, mutex, || Some(Limit::Never)).unwrap_or_else(|| real::pthread_mutex_lock(mutex)) }
}

/// As `pthread_mutex_timedlock(3)`.
pub(crate) unsafe fn timedlock(
    function: &'static Function,
    mutex: *mut pthread_mutex_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller's mutex and time.
    unsafe {
        try_then_wait(function, mutex, || Limit::at(CLOCK_REALTIME, until))
            .unwrap_or_else(|| real::pthread_mutex_timedlock(mutex, until))
    }
}

/// As `pthread_mutex_clocklock(3)`.
pub(crate) unsafe fn clocklock(
    function: &'static Function,
    mutex: *mut pthread_mutex_t,
    clock: clockid_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller's mutex and time.
    unsafe {
        try_then_wait(function, mutex, || Limit::at(clock, until))
            .unwrap_or_else(|| real::pthread_mutex_clocklock(mutex, clock, until))
    }
}

/// As `pthread_mutex_trylock(3)`.
#[inline(always)]
pub(crate) unsafe fn trylock(_: &'static Function, mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's mutex.
    unsafe { attempt(mutex) }
}

/// As `pthread_mutex_unlock(3)`. The mutex may be gone as soon as it is unlocked: after that, only its
/// address is used.
#[inline(always)]
pub(crate) unsafe fn unlock(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's mutex, which it holds.
    let result =
        unsafe { if layout::is_special(mutex) { unlock_special(mutex) } else { real::pthread_mutex_unlock(mutex) } };
    if table::anybody_after_release() {
        table::wake_after(Kind::Mutex, mutex, 1, Waker::Ordinary);
    }
    result
}

/// Unlocks one that the kernel knows of.
#[cold]
unsafe fn unlock_special(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's mutex.
    let unlock = || unsafe { real::pthread_mutex_unlock(mutex) };
    if super::is_shut() { unlock() } else { on_hub(unlock) }
}

/// Tries to lock, in a greenlet.
#[inline(always)]
unsafe fn attempt(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's mutex.
    unsafe {
        match layout::is_special(mutex) {
            false => real::pthread_mutex_trylock(mutex),
            true => on_hub(|| real::pthread_mutex_trylock(mutex)),
        }
    }
}

/// Whether a greenlet waits for the mutex.
pub(super) fn is_wanted(mutex: *mut pthread_mutex_t) -> bool {
    table::anybody() && table::waits(Place::of(Kind::Mutex, mutex))
}

/// Locks in a greenlet; `None` if that is to be left to libc: nothing has happened then.
#[inline(always)]
unsafe fn try_then_wait(
    function: &'static Function,
    mutex: *mut pthread_mutex_t,
    limit: impl FnOnce() -> Option<Limit>,
) -> Option<c_int> {
    // SAFETY: the caller's mutex.
    match unsafe { attempt(mutex) } {
        // SAFETY: the caller's mutex.
        EBUSY => Some(unsafe { wait(&super::enter(function)?, mutex, limit()?) }),
        result => Some(result),
    }
}

/// Locks again after a wait for a condition, whatever comes.
pub(super) unsafe fn lock_again(inside: &gate::Inside, mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's mutex.
    unsafe {
        match attempt(mutex) {
            EBUSY => wait(inside, mutex, Limit::Never),
            result => result,
        }
    }
}

/// Waits for a mutex that is locked.
#[cold]
unsafe fn wait(inside: &gate::Inside, mutex: *mut pthread_mutex_t, limit: Limit) -> c_int {
    // SAFETY: the caller's mutex.
    let kind = unsafe { layout::mutex_kind(mutex) };
    if matches!(kind, MutexKind::ErrorChecking | MutexKind::Adaptive) {
        // The first knows an owner who locks twice, which `trylock` does not tell.
        let patience = if kind == MutexKind::Adaptive { PATIENCE.min(limit.left()) } else { Duration::ZERO };
        // SAFETY: as above.
        let result = unsafe { real::pthread_mutex_timedlock(mutex, &layout::from_now(patience)) };
        if result != ETIMEDOUT {
            return result;
        }
    }
    // SAFETY: as above.
    let attempt = || Some(unsafe { attempt(mutex) }).filter(|result| *result != EBUSY);
    let how = How { limit, unseen: true, interruptible: false };
    acquire(inside, Place::of(Kind::Mutex, mutex), how, attempt).unwrap_or_else(|error| error)
}
