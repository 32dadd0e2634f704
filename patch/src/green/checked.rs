//! What `_FORTIFY_SOURCE` makes of the calls: the size of the buffer is known, and a call for more
//! ends the process. That is left to libc.

use std::ffi::c_void;

use libc::{c_int, nfds_t, pollfd, sigset_t, size_t, sockaddr, socklen_t, ssize_t, timespec};

use super::{poll, receive};
use crate::gate::Inside;
use crate::table::real;

/// As `read(2)`.
pub(crate) unsafe fn read(inside: &Inside, fd: c_int, buffer: *mut c_void, len: size_t, size: size_t) -> ssize_t {
    // SAFETY: the caller's arguments.
    unsafe {
        if len > size {
            return real::__read_chk(fd, buffer, len, size);
        }
        receive::read(inside, fd, buffer, len)
    }
}

/// As `recv(2)`.
pub(crate) unsafe fn recv(
    inside: &Inside,
    fd: c_int,
    buffer: *mut c_void,
    len: size_t,
    size: size_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the caller's arguments.
    unsafe {
        if len > size {
            return real::__recv_chk(fd, buffer, len, size, flags);
        }
        receive::recv(inside, fd, buffer, len, flags)
    }
}

/// As `recvfrom(2)`.
#[expect(clippy::too_many_arguments, reason = "as in C")]
pub(crate) unsafe fn recvfrom(
    inside: &Inside,
    fd: c_int,
    buffer: *mut c_void,
    len: size_t,
    size: size_t,
    flags: c_int,
    from: *mut sockaddr,
    from_len: *mut socklen_t,
) -> ssize_t {
    // SAFETY: the caller's arguments.
    unsafe {
        if len > size {
            return real::__recvfrom_chk(fd, buffer, len, size, flags, from, from_len);
        }
        receive::recvfrom(inside, fd, buffer, len, flags, from, from_len)
    }
}

/// As `poll(2)`.
pub(crate) unsafe fn poll(inside: &Inside, fds: *mut pollfd, count: nfds_t, timeout: c_int, size: size_t) -> c_int {
    // SAFETY: the caller's arguments.
    unsafe {
        if size / size_of::<pollfd>() < count as usize {
            return real::__poll_chk(fds, count, timeout, size);
        }
        poll::poll(inside, fds, count, timeout)
    }
}

/// As `ppoll(2)`.
pub(crate) unsafe fn ppoll(
    inside: &Inside,
    fds: *mut pollfd,
    count: nfds_t,
    limit: *const timespec,
    mask: *const sigset_t,
    size: size_t,
) -> c_int {
    // SAFETY: the caller's arguments.
    unsafe {
        if size / size_of::<pollfd>() < count as usize {
            return real::__ppoll_chk(fds, count, limit, mask, size);
        }
        poll::ppoll(inside, fds, count, limit, mask)
    }
}
