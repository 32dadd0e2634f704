//! C's own names for the locks of `pthread`: the same objects, with results of their own.

use libc::{EBUSY, ENOMEM, ETIMEDOUT, c_int, pthread_cond_t, pthread_mutex_t, timespec};

use super::{condition, mutex};
use crate::function::Function;

/// As `mtx_lock(3)`.
pub(crate) unsafe fn mtx_lock(function: &'static Function, mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's mutex.
    result(unsafe { mutex::lock(function, mutex) })
}

/// As `mtx_trylock(3)`.
pub(crate) unsafe fn mtx_trylock(function: &'static Function, mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's mutex.
    result(unsafe { mutex::trylock(function, mutex) })
}

/// As `mtx_timedlock(3)`.
pub(crate) unsafe fn mtx_timedlock(
    function: &'static Function,
    mutex: *mut pthread_mutex_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller's mutex and time.
    result(unsafe { mutex::timedlock(function, mutex, until) })
}

/// As `mtx_unlock(3)`.
pub(crate) unsafe fn mtx_unlock(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's mutex, which it holds.
    result(unsafe { mutex::unlock(mutex) })
}

/// As `cnd_wait(3)`.
pub(crate) unsafe fn cnd_wait(
    function: &'static Function,
    condition: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
) -> c_int {
    // SAFETY: the caller's condition and mutex.
    result(unsafe { condition::wait(function, condition, mutex) })
}

/// As `cnd_timedwait(3)`.
pub(crate) unsafe fn cnd_timedwait(
    function: &'static Function,
    condition: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller's condition, mutex and time.
    result(unsafe { condition::timedwait(function, condition, mutex, until) })
}

/// As `cnd_signal(3)`.
pub(crate) unsafe fn cnd_signal(condition: *mut pthread_cond_t) -> c_int {
    // SAFETY: the caller's condition.
    result(unsafe { condition::signal(condition) })
}

/// As `cnd_broadcast(3)`.
pub(crate) unsafe fn cnd_broadcast(condition: *mut pthread_cond_t) -> c_int {
    // SAFETY: the caller's condition.
    result(unsafe { condition::broadcast(condition) })
}

/// `thrd_success` and its like, for an error number.
fn result(error: c_int) -> c_int {
    match error {
        0 => 0,
        EBUSY => 1,
        ENOMEM => 3,
        ETIMEDOUT => 4,
        _ => 2,
    }
}
