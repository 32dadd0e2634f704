//! `connect` and `accept`, which have no flag that says "do not wait": the descriptor is made
//! non-blocking around the one call, and never across a wait.

use std::time::{Duration, Instant};

use libc::{
    EAGAIN, EALREADY, EBADF, ECANCELED, EINPROGRESS, EISCONN, F_GETFL, F_SETFL, O_NONBLOCK, c_int, sockaddr, socklen_t,
    ssize_t,
};
use sward_runtime::lowlevel::hooks::Ended;

use super::wait::{Direction, Limit, block, is_nonblocking, looks_ready, retry, socket_option};
use crate::gate::{Inside, errno, fail, set_errno};
use crate::table::real;

/// The longest pause before a full backlog of a Unix socket is tried again.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// As `connect(2)`.
pub(crate) unsafe fn connect(inside: &Inside, fd: c_int, to: *const sockaddr, len: socklen_t) -> c_int {
    // SAFETY: the caller's arguments.
    let call = || unsafe { real::connect(fd, to, len) };
    if is_nonblocking(fd) {
        return call();
    }
    let mut limit = Limit::default();
    let mut result = nonblocking(fd, call);
    if result != 0 && errno() == EAGAIN {
        result = back_off(inside, fd, call);
    }
    let begun = errno();
    while result != 0 && matches!(errno(), EINPROGRESS | EALREADY) {
        if !block(inside, fd, Direction::Write, &mut limit) {
            // A blocking `connect` that times out says that it goes on.
            if errno() == EAGAIN {
                set_errno(begun);
            }
            return -1;
        }
        // Asked again, the kernel says how it went. Having said that it went badly, it lets the caller try anew, as after
        // a blocking call; `SO_ERROR` would not.
        result = if looks_ready(fd, Direction::Write) { nonblocking(fd, call) } else { fail(EINPROGRESS) };
        if result != 0 && errno() == EISCONN {
            return 0; // said by those that do not tell by themselves when it has gone well
        }
    }
    result
}

/// As `accept(2)`.
pub(crate) unsafe fn accept(inside: &Inside, fd: c_int, from: *mut sockaddr, len: *mut socklen_t) -> c_int {
    // SAFETY: the caller's arguments.
    accept_with(inside, fd, || unsafe { real::accept(fd, from, len) })
}

/// As `accept4(2)`.
pub(crate) unsafe fn accept4(
    inside: &Inside,
    fd: c_int,
    from: *mut sockaddr,
    len: *mut socklen_t,
    flags: c_int,
) -> c_int {
    // SAFETY: the caller's arguments.
    accept_with(inside, fd, || unsafe { real::accept4(fd, from, len, flags) })
}

/// Both kinds of `accept`.
fn accept_with(inside: &Inside, fd: c_int, call: impl Fn() -> c_int) -> c_int {
    if is_nonblocking(fd) {
        return call();
    }
    let mut limit = Limit::default();
    let accepted = retry(inside, fd, Direction::Read, false, &mut limit, || {
        // What does not listen has nobody to wait for: the call says at once what is wrong with it.
        if !looks_ready(fd, Direction::Read) && listens(fd) {
            return fail::<ssize_t>(EAGAIN);
        }
        nonblocking(fd, &call) as ssize_t
    });
    accepted as c_int
}

/// Whether `fd` is a socket that connections come to.
fn listens(fd: c_int) -> bool {
    let mut listens: c_int = 0;
    socket_option(fd, libc::SO_ACCEPTCONN, &mut listens) && listens != 0
}

/// A Unix socket whose peer's backlog is full: nothing tells when there is room, so it is tried
/// again, after pauses that grow.
fn back_off(inside: &Inside, fd: c_int, call: impl Fn() -> c_int) -> c_int {
    let mut seconds = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let limited = socket_option(fd, libc::SO_SNDTIMEO, &mut seconds) && (seconds.tv_sec, seconds.tv_usec) != (0, 0);
    let limit = Duration::new(seconds.tv_sec as u64, seconds.tv_usec as u32 * 1000);
    let deadline = limited.then(|| Instant::now().checked_add(limit)).flatten();
    let mut pause = Duration::from_millis(1);
    loop {
        match inside.sleep(Some(Instant::now() + pause)) {
            Ended::Interrupted => return fail(ECANCELED),
            Ended::Closed(_) => return fail(EBADF),
            _ => {}
        }
        let result = nonblocking(fd, &call);
        if result == 0 || errno() != EAGAIN {
            return result;
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return fail(EAGAIN);
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Runs `call` with the descriptor in non-blocking mode; errno is that of the call.
fn nonblocking(fd: c_int, call: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: takes numbers only.
    let flags = unsafe { libc::fcntl(fd, F_GETFL) };
    if flags < 0 {
        return -1;
    }
    // SAFETY: as above.
    unsafe { libc::fcntl(fd, F_SETFL, flags | O_NONBLOCK) };
    let result = call();
    let error = errno();
    // SAFETY: as above.
    unsafe { libc::fcntl(fd, F_SETFL, flags) };
    set_errno(error);
    result
}
