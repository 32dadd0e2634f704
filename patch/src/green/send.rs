//! `write` and the family of `send`: a blocking call goes on until everything is sent.

use std::ffi::c_void;
use std::ptr;

use libc::{
    ENOTSOCK, MSG_DONTWAIT, PIPE_BUF, S_IFIFO, c_int, c_uint, iovec, mmsghdr, msghdr, size_t, sockaddr, socklen_t,
    ssize_t,
};

use super::parts::{Parts, message_of, total};
use super::wait::{Direction, Limit, is_nonblocking, kind, other_is_ready, retry};
use crate::gate::{Inside, errno};
use crate::table::real;

/// As `write(2)`.
pub(crate) unsafe fn write(inside: &Inside, fd: c_int, buffer: *const c_void, len: size_t) -> ssize_t {
    if len == 0 {
        // SAFETY: the caller's arguments.
        return unsafe { real::write(fd, buffer, len) };
    }
    // SAFETY: the caller's buffer, for `len` bytes.
    let sent = unsafe { send(inside, fd, buffer, len, 0) };
    if sent >= 0 || errno() != ENOTSOCK {
        return sent;
    }
    let parts = iovec { iov_base: buffer.cast_mut(), iov_len: len };
    // SAFETY: the same buffer as a list.
    unsafe { write_other(inside, fd, &message_of(&raw const parts, 1), len) }
        // SAFETY: the caller's arguments.
        .unwrap_or_else(|| unsafe { real::write(fd, buffer, len) })
}

/// As `writev(2)`.
pub(crate) unsafe fn writev(inside: &Inside, fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    let message = message_of(parts, count);
    // SAFETY: the caller vouches for the list; a count that the kernel refuses is left to it.
    let len = if (1..=libc::UIO_MAXIOV).contains(&count) { unsafe { total(&message) } } else { 0 };
    if len == 0 {
        // SAFETY: the caller's arguments.
        return unsafe { real::writev(fd, parts, count) };
    }
    // SAFETY: the same list in a message.
    let sent = unsafe { sendmsg(inside, fd, &raw const message, 0) };
    if sent >= 0 || errno() != ENOTSOCK {
        return sent;
    }
    // SAFETY: as above.
    unsafe { write_other(inside, fd, &message, len) }
        // SAFETY: the caller's arguments.
        .unwrap_or_else(|| unsafe { real::writev(fd, parts, count) })
}

/// As `send(2)`.
pub(crate) unsafe fn send(inside: &Inside, fd: c_int, buffer: *const c_void, len: size_t, flags: c_int) -> ssize_t {
    // SAFETY: without an address `sendto` is `send`.
    unsafe { sendto(inside, fd, buffer, len, flags, ptr::null(), 0) }
}

/// As `sendto(2)`.
pub(crate) unsafe fn sendto(
    inside: &Inside,
    fd: c_int,
    buffer: *const c_void,
    len: size_t,
    flags: c_int,
    to: *const sockaddr,
    to_len: socklen_t,
) -> ssize_t {
    finish(fd, len, flags, |done, limit| {
        retry(inside, fd, Direction::Write, flags & MSG_DONTWAIT != 0, limit, || {
            let (rest, left, flags) = (buffer.wrapping_byte_add(done), len - done, flags | MSG_DONTWAIT);
            // SAFETY: `done` is at most `len`, for which the caller vouches, as for the address.
            unsafe { real::sendto(fd, rest, left, flags, to, to_len) }
        })
    })
}

/// As `sendmsg(2)`.
pub(crate) unsafe fn sendmsg(inside: &Inside, fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    let never = flags & MSG_DONTWAIT != 0;
    let mut limit = Limit::default();
    let first = retry(inside, fd, Direction::Write, never, &mut limit, || {
        // SAFETY: the caller's message.
        unsafe { real::sendmsg(fd, message, flags | MSG_DONTWAIT) }
    });
    if first <= 0 {
        return first;
    }
    // SAFETY: the kernel has just read the message through the same pointers.
    let (like, len) = unsafe { (*message, total(&*message)) };
    let mut begun = Some(first);
    finish(fd, len, flags, |done, limit| {
        begun.take().unwrap_or_else(|| {
            // SAFETY: as above.
            let mut parts = unsafe { Parts::after(&like, done) };
            let rest = parts.message(&like);
            retry(inside, fd, Direction::Write, never, limit, || {
                // SAFETY: a part of the caller's list.
                unsafe { real::sendmsg(fd, &raw const rest, flags | MSG_DONTWAIT) }
            })
        })
    })
}

/// As `sendmmsg(2)`.
pub(crate) unsafe fn sendmmsg(
    inside: &Inside,
    fd: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
) -> c_int {
    for done in 0..count.min(libc::UIO_MAXIOV as c_uint) {
        let message = messages.wrapping_add(done as usize);
        // SAFETY: one of the caller's messages.
        let sent = unsafe { sendmsg(inside, fd, &raw const (*message).msg_hdr, flags) };
        if sent < 0 {
            return if done > 0 { done as c_int } else { -1 };
        }
        // SAFETY: as above.
        unsafe { (*message).msg_len = sent as c_uint };
    }
    count as c_int
}

/// Calls `next`, which sends what comes after the first so many bytes, until all is sent or, after a
/// part, it fails: the next call will report that if it lasts.
fn finish(fd: c_int, len: size_t, flags: c_int, mut next: impl FnMut(size_t, &mut Limit) -> ssize_t) -> ssize_t {
    let mut limit = Limit::default();
    let mut done = 0;
    loop {
        match next(done, &mut limit) {
            sent if sent < 0 && done == 0 => return sent,
            sent if sent <= 0 => return done as ssize_t,
            sent => done += sent as size_t,
        }
        if done >= len || flags & MSG_DONTWAIT != 0 || is_nonblocking(fd) {
            return done as ssize_t;
        }
    }
}

/// Writes a list to what is not a socket. `None`: it will not block (or may: a file), write in place.
///
/// # Safety
///
/// As for `writev(2)`.
unsafe fn write_other(inside: &Inside, fd: c_int, message: &msghdr, len: size_t) -> Option<ssize_t> {
    if fd <= 2 || is_nonblocking(fd) {
        return None;
    }
    let pipe = kind(fd) == S_IFIFO;
    if !pipe || len <= PIPE_BUF {
        // A pipe that poll calls writable has room for PIPE_BUF bytes.
        return if other_is_ready(inside, fd, Direction::Write) { None } else { Some(-1) };
    }
    // SAFETY: the caller vouches for the list.
    let mut parts = unsafe { Parts::after(message, 0) };
    let mut done = 0;
    while let Some(part) = parts.front() {
        let mut sent = -1;
        if other_is_ready(inside, fd, Direction::Write) {
            // SAFETY: a part of the caller's list.
            sent = unsafe { real::write(fd, part.iov_base, part.iov_len.min(PIPE_BUF)) };
        }
        if sent < 0 {
            return Some(if done > 0 { done } else { -1 });
        }
        done += sent;
        parts.advance(sent as size_t);
    }
    Some(done)
}
