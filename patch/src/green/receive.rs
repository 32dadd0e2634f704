//! `read` and the family of `recv`.

use std::ffi::c_void;
use std::time::Instant;

use libc::{
    EINVAL, ENOTSOCK, MSG_DONTWAIT, MSG_ERRQUEUE, MSG_PEEK, MSG_WAITALL, MSG_WAITFORONE, c_int, c_uint, iovec, mmsghdr,
    msghdr, size_t, sockaddr, socklen_t, ssize_t, timespec,
};

use super::parts::{Parts, message_of, total};
use super::wait::{Direction, Limit, duration, is_stream, other_is_ready, retry};
use crate::gate::{Inside, errno, fail};
use crate::table::real;

/// Flags with which a call never waits.
const NEVER: c_int = MSG_DONTWAIT | MSG_ERRQUEUE;

#[cfg(not(shared_libc))]
use crate::system::is_resolvers;

/// Whether the call is one of libc's resolver, which has no hook to call when libc is another object.
#[cfg(shared_libc)]
fn is_resolvers(_: c_int) -> bool {
    false
}

/// As `read(2)`.
pub(crate) unsafe fn read(inside: &Inside, fd: c_int, buffer: *mut c_void, len: size_t) -> ssize_t {
    // `recv` of nothing waits for something, `read` of nothing does not.
    if len != 0 && !is_resolvers(fd) {
        // SAFETY: the caller's buffer, for `len` bytes.
        let got = unsafe { recv(inside, fd, buffer, len, 0) };
        if got >= 0 || errno() != ENOTSOCK {
            return got;
        }
        if !other_is_ready(inside, fd, Direction::Read) {
            return -1;
        }
    }
    // SAFETY: as above.
    unsafe { real::read(fd, buffer, len) }
}

/// As `readv(2)`.
pub(crate) unsafe fn readv(inside: &Inside, fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    let mut message = message_of(parts, count);
    // SAFETY: the caller vouches for the list; a count that the kernel refuses is left to it.
    if (1..=libc::UIO_MAXIOV).contains(&count) && unsafe { total(&message) } != 0 {
        // SAFETY: the same list in a message.
        let got = unsafe { recvmsg(inside, fd, &raw mut message, 0) };
        if got >= 0 || errno() != ENOTSOCK {
            return got;
        }
        if !other_is_ready(inside, fd, Direction::Read) {
            return -1;
        }
    }
    // SAFETY: as above.
    unsafe { real::readv(fd, parts, count) }
}

/// As `recv(2)`.
pub(crate) unsafe fn recv(inside: &Inside, fd: c_int, buffer: *mut c_void, len: size_t, flags: c_int) -> ssize_t {
    let mut limit = Limit::default();
    let call = |done: size_t, limit: &mut Limit| {
        retry(inside, fd, Direction::Read, flags & NEVER != 0, limit, || {
            // SAFETY: `done` is less than `len`, for which the caller vouches.
            unsafe { real::recv(fd, buffer.wrapping_byte_add(done), len - done, flags | MSG_DONTWAIT) }
        })
    };
    let first = call(0, &mut limit);
    fill(fd, len, flags, first, |done| call(done, &mut limit))
}

/// As `recvfrom(2)`.
pub(crate) unsafe fn recvfrom(
    inside: &Inside,
    fd: c_int,
    buffer: *mut c_void,
    len: size_t,
    flags: c_int,
    from: *mut sockaddr,
    from_len: *mut socklen_t,
) -> ssize_t {
    let mut limit = Limit::default();
    let never = flags & NEVER != 0;
    let first = retry(inside, fd, Direction::Read, never, &mut limit, || {
        // SAFETY: the caller's arguments.
        unsafe { real::recvfrom(fd, buffer, len, flags | MSG_DONTWAIT, from, from_len) }
    });
    fill(fd, len, flags, first, |done| {
        retry(inside, fd, Direction::Read, never, &mut limit, || {
            // SAFETY: `done` is less than `len`, for which the caller vouches.
            unsafe { real::recv(fd, buffer.wrapping_byte_add(done), len - done, flags | MSG_DONTWAIT) }
        })
    })
}

/// As `recvmsg(2)`.
pub(crate) unsafe fn recvmsg(inside: &Inside, fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    let mut limit = Limit::default();
    let never = flags & NEVER != 0;
    let first = retry(inside, fd, Direction::Read, never, &mut limit, || {
        // SAFETY: the caller's message.
        unsafe { real::recvmsg(fd, message, flags | MSG_DONTWAIT) }
    });
    if first <= 0 || flags & MSG_WAITALL == 0 {
        return first;
    }
    // SAFETY: the kernel has just read the message through the same pointers.
    let (like, len) = unsafe { (*message, total(&*message)) };
    fill(fd, len, flags, first, |done| {
        // SAFETY: as above.
        let mut parts = unsafe { Parts::after(&like, done) };
        let mut rest = parts.message(&like);
        retry(inside, fd, Direction::Read, never, &mut limit, || {
            // SAFETY: a part of the caller's list.
            unsafe { real::recvmsg(fd, &raw mut rest, flags | MSG_DONTWAIT) }
        })
    })
}

/// As `recvmmsg(2)`.
pub(crate) unsafe fn recvmmsg(
    inside: &Inside,
    fd: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
    limit: *mut timespec,
) -> c_int {
    let mut deadline = None;
    // SAFETY: null, or the caller's.
    if let Some(time) = unsafe { limit.as_ref() } {
        let Some(duration) = duration(*time) else { return fail(EINVAL) };
        deadline = Instant::now().checked_add(duration);
    }
    let mut done: c_uint = 0;
    let mut wait = Limit::default();
    loop {
        let never = flags & NEVER != 0 || (done > 0 && flags & MSG_WAITFORONE != 0);
        let got = retry(inside, fd, Direction::Read, never, &mut wait, || {
            let (rest, flags) = (messages.wrapping_add(done as usize), flags | MSG_DONTWAIT);
            // SAFETY: the caller's messages from the first that is not filled yet.
            unsafe { real::recvmmsg(fd, rest, count - done, flags, std::ptr::null_mut()) as ssize_t }
        });
        // The kernel too looks at the limit only after each message.
        let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        match got {
            1.. => done += got as c_uint,
            _ if done > 0 => return done as c_int,
            _ => return got as c_int,
        }
        if done >= count || late || flags & NEVER != 0 {
            return done as c_int;
        }
    }
}

/// The rest of a call with `MSG_WAITALL`, of which the `first` part has come: `next` receives more.
fn fill(fd: c_int, len: size_t, flags: c_int, first: ssize_t, mut next: impl FnMut(size_t) -> ssize_t) -> ssize_t {
    let whole = flags & MSG_WAITALL != 0 && flags & (MSG_PEEK | NEVER) == 0;
    if !whole || first <= 0 || first as size_t >= len || !is_stream(fd) {
        return first;
    }
    let mut done = first as size_t;
    while done < len {
        match next(done) {
            more @ 1.. => done += more as size_t,
            // The end, or an error, which the next call will report if it lasts.
            _ => break,
        }
    }
    done as ssize_t
}
