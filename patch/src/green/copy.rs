//! Copying inside the kernel. These calls have no way to say "do not wait", and their callers have a
//! plan for "cannot do that here" (`EINVAL`): they read and write.

use libc::{EINVAL, SPLICE_F_NONBLOCK, c_int, c_uint, loff_t, off_t, size_t, ssize_t};

use super::wait::{is_nonblocking, kind};
use crate::gate::{Inside, fail};
use crate::table::real;

/// As `splice(2)`.
pub(crate) unsafe fn splice(
    _: &Inside,
    from: c_int,
    from_at: *mut loff_t,
    to: c_int,
    to_at: *mut loff_t,
    len: size_t,
    flags: c_uint,
) -> ssize_t {
    // The flag speaks for the pipe only; the other end must be of the same mind.
    let pipe_waits = flags & SPLICE_F_NONBLOCK == 0;
    if (waits(from) || waits(to)) && (pipe_waits || !both_pipes(from, to)) {
        return fail(EINVAL);
    }
    // SAFETY: the caller's arguments.
    unsafe { real::splice(from, from_at, to, to_at, len, flags) }
}

/// As `sendfile(2)`.
pub(crate) unsafe fn sendfile(_: &Inside, to: c_int, from: c_int, at: *mut off_t, len: size_t) -> ssize_t {
    if waits(to) || waits(from) {
        return fail(EINVAL);
    }
    // SAFETY: the caller's arguments.
    unsafe { real::sendfile(to, from, at, len) }
}

/// As `sendfile64(2)`.
pub(crate) unsafe fn sendfile64(_: &Inside, to: c_int, from: c_int, at: *mut loff_t, len: size_t) -> ssize_t {
    if waits(to) || waits(from) {
        return fail(EINVAL);
    }
    // SAFETY: the caller's arguments.
    unsafe { real::sendfile64(to, from, at, len) }
}

/// Whether the kernel might wait for this end: not for a file on disk.
fn waits(fd: c_int) -> bool {
    !matches!(kind(fd), libc::S_IFREG | libc::S_IFBLK) && !is_nonblocking(fd)
}

/// Whether both ends are pipes, so that `SPLICE_F_NONBLOCK` speaks for both.
fn both_pipes(a: c_int, b: c_int) -> bool {
    kind(a) == libc::S_IFIFO && kind(b) == libc::S_IFIFO
}
