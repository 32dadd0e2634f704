//! Closing: who waits for the descriptor hears of it, since its number may be another file's by the
//! time they run. On any thread with a hub, also outside greenlets.
//!
//! The kernel is asked first: only what really was closed is reported. Nothing on this thread runs
//! in between.

use libc::{c_int, c_uint};
use sward_runtime::lowlevel::hooks;

use crate::table::real;

/// As `close(2)`.
pub(crate) unsafe fn close(fd: c_int) -> c_int {
    // SAFETY: the caller owns the descriptor.
    let result = unsafe { real::close(fd) };
    // On Linux the number is free again also after an error (`EINTR`, `EIO`) of an open one.
    closed(fd, fd);
    result
}

/// As `dup2(2)`.
pub(crate) unsafe fn dup2(from: c_int, to: c_int) -> c_int {
    // SAFETY: the caller owns `to`.
    let result = unsafe { real::dup2(from, to) };
    if result >= 0 && from != to {
        closed(to, to);
    }
    result
}

/// As `dup3(2)`.
pub(crate) unsafe fn dup3(from: c_int, to: c_int, flags: c_int) -> c_int {
    // SAFETY: the caller owns `to`.
    let result = unsafe { real::dup3(from, to, flags) };
    if result >= 0 {
        closed(to, to);
    }
    result
}

/// As `close_range(2)`.
pub(crate) unsafe fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    // SAFETY: the caller owns the descriptors.
    let result = unsafe { real::close_range(first, last, flags) };
    if result == 0
        && flags & libc::CLOSE_RANGE_CLOEXEC as c_int == 0
        && let Ok(first) = c_int::try_from(first)
    {
        closed(first, c_int::try_from(last).unwrap_or(c_int::MAX));
    }
    result
}

/// Tells who waits. A negative number is nobody's.
fn closed(first: c_int, last: c_int) {
    if first >= 0 && last >= first {
        hooks::closed(first, last);
    }
}
