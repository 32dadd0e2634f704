//! What is behind the hooks of a statically linked program: the system calls.
//!
//! In such a program ours is the only `read`: the linker has left libc's out, `dlsym` finds none. So the hooks call the
//! kernel, as libc's functions do, with errno set as theirs; but these are no cancellation points.
//!
//! Functions that are more than a system call have no hook there, since there would be nothing behind it:
//! names, locks, keys of thread-locals, `fork`.

#![allow(non_snake_case, reason = "named as in C")]

use std::ffi::c_void;
use std::ptr;

use libc::{
    EINTR, EINVAL, F_GETFD, c_int, c_long, c_uint, c_ulong, clockid_t, epoll_event, fd_set, id_t, idtype_t, iovec,
    loff_t, mmsghdr, msghdr, nfds_t, off_t, pid_t, pollfd, pthread_t, rusage, siginfo_t, sigset_t, size_t, sockaddr,
    socklen_t, ssize_t, timespec, timeval, useconds_t,
};

use crate::gate::{errno, fail, set_errno};

/// Bytes of a signal mask, to the kernel.
const MASK: usize = 8;

/// Declares functions that are system calls of these arguments, in this order.
macro_rules! system_calls {
    ($(fn $name:ident($($arg:ident: $type:ty),*) -> $result:ty = $number:ident($($passed:expr),*);)*) => {
        $(
            /// As the C function.
            ///
            /// # Safety
            ///
            /// As the C function.
            pub(crate) unsafe extern "C" fn $name($($arg: $type),*) -> $result {
                // SAFETY: the caller vouches for what the C function asks for.
                unsafe { libc::syscall(libc::$number, $($passed),*) as $result }
            }
        )*
    };
}

/// No address.
const NONE: *mut c_void = ptr::null_mut();

system_calls! {
    fn read(fd: c_int, buffer: *mut c_void, len: size_t) -> ssize_t = SYS_read(fd, buffer, len);
    fn readv(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t = SYS_readv(fd, parts, count as c_long);
    fn recv(fd: c_int, buffer: *mut c_void, len: size_t, flags: c_int) -> ssize_t = SYS_recvfrom(fd, buffer, len, flags, NONE, NONE);
    fn recvfrom(fd: c_int, buffer: *mut c_void, len: size_t, flags: c_int, from: *mut sockaddr, from_len: *mut socklen_t) -> ssize_t = SYS_recvfrom(fd, buffer, len, flags, from, from_len);
    fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t = SYS_recvmsg(fd, message, flags);
    fn recvmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int, limit: *mut timespec) -> c_int = SYS_recvmmsg(fd, messages, count, flags, limit);
    fn write(fd: c_int, buffer: *const c_void, len: size_t) -> ssize_t = SYS_write(fd, buffer, len);
    fn writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t = SYS_writev(fd, parts, count as c_long);
    fn send(fd: c_int, buffer: *const c_void, len: size_t, flags: c_int) -> ssize_t = SYS_sendto(fd, buffer, len, flags, NONE, 0);
    fn sendto(fd: c_int, buffer: *const c_void, len: size_t, flags: c_int, to: *const sockaddr, to_len: socklen_t) -> ssize_t = SYS_sendto(fd, buffer, len, flags, to, to_len);
    fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t = SYS_sendmsg(fd, message, flags);
    fn sendmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int) -> c_int = SYS_sendmmsg(fd, messages, count, flags);
    fn splice(from: c_int, from_at: *mut loff_t, to: c_int, to_at: *mut loff_t, len: size_t, flags: c_uint) -> ssize_t = SYS_splice(from, from_at, to, to_at, len, flags);
    fn sendfile(to: c_int, from: c_int, at: *mut off_t, len: size_t) -> ssize_t = SYS_sendfile(to, from, at, len);
    fn sendfile64(to: c_int, from: c_int, at: *mut loff_t, len: size_t) -> ssize_t = SYS_sendfile(to, from, at, len);
    fn connect(fd: c_int, to: *const sockaddr, len: socklen_t) -> c_int = SYS_connect(fd, to, len);
    fn accept(fd: c_int, from: *mut sockaddr, len: *mut socklen_t) -> c_int = SYS_accept(fd, from, len);
    fn accept4(fd: c_int, from: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int = SYS_accept4(fd, from, len, flags);
    fn epoll_wait(epoll: c_int, events: *mut epoll_event, count: c_int, timeout: c_int) -> c_int = SYS_epoll_pwait(epoll, events, count, timeout, NONE, MASK);
    fn epoll_pwait(epoll: c_int, events: *mut epoll_event, count: c_int, timeout: c_int, mask: *const sigset_t) -> c_int = SYS_epoll_pwait(epoll, events, count, timeout, mask, MASK);
    fn epoll_pwait2(epoll: c_int, events: *mut epoll_event, count: c_int, limit: *const timespec, mask: *const sigset_t) -> c_int = SYS_epoll_pwait2(epoll, events, count, limit, mask, MASK);
    fn nanosleep(duration: *const timespec, left: *mut timespec) -> c_int = SYS_nanosleep(duration, left);
    fn sched_yield() -> c_int = SYS_sched_yield();
    fn waitpid(pid: pid_t, status: *mut c_int, options: c_int) -> pid_t = SYS_wait4(pid, status, options, NONE);
    fn wait4(pid: pid_t, status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t = SYS_wait4(pid, status, options, usage);
    fn waitid(kind: idtype_t, id: id_t, info: *mut siginfo_t, options: c_int) -> c_int = SYS_waitid(kind, id, info, options, NONE);
    fn flock(fd: c_int, operation: c_int) -> c_int = SYS_flock(fd, operation);
    fn close(fd: c_int) -> c_int = SYS_close(fd);
    fn dup3(from: c_int, to: c_int, flags: c_int) -> c_int = SYS_dup3(from, to, flags);
    fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int = SYS_close_range(first, last, flags);
}

/// What libc's resolver keeps for a thread, as in `resolv.h`.
#[repr(C)]
struct Resolver {
    /// Times.
    _retries: [c_int; 2],
    /// What it may do; the first bit says that the rest is valid.
    options: c_ulong,
    /// Servers, domains, the order of addresses.
    _search: [u8; 484],
    /// Its connection to a server.
    connection: c_int,
}

// For all versions of libc.
const _: () = assert!(std::mem::offset_of!(Resolver, connection) == 500);

/// Whether the calling thread's resolver is about to read from its server. Its other calls have names of their own
/// in libc, but this one comes to the hook, and must not park: it leaves the resolver's state half done.
pub(crate) fn is_resolvers(fd: c_int) -> bool {
    // SAFETY: the thread's own.
    let resolver = unsafe { &*__res_state() };
    resolver.options & 1 != 0 && resolver.connection == fd
}

unsafe extern "C" {
    /// The calling thread's.
    safe fn __res_state() -> *const Resolver;
    /// Ends the process, as for all calls for more than a buffer holds.
    safe fn __chk_fail() -> !;
    /// As `pthread_join`, with a time limit if there is one.
    fn pthread_timedjoin_np(thread: pthread_t, value: *mut *mut c_void, until: *const timespec) -> c_int;
}

/// Declares what `_FORTIFY_SOURCE` makes of calls: as they, if `$fits`.
macro_rules! checked {
    ($(fn $name:ident($($arg:ident: $type:ty),*) -> $result:ty = if $fits:expr => $call:expr;)*) => {
        $(
            /// As the C function.
            ///
            /// # Safety
            ///
            /// As the C function.
            #[allow(clippy::too_many_arguments, reason = "as in C")]
            pub(crate) unsafe extern "C" fn $name($($arg: $type),*) -> $result {
                if !$fits {
                    __chk_fail();
                }
                // SAFETY: the caller vouches for what the C function asks for.
                unsafe { $call }
            }
        )*
    };
}

checked! {
    fn __read_chk(fd: c_int, buffer: *mut c_void, len: size_t, size: size_t) -> ssize_t = if len <= size => read(fd, buffer, len);
    fn __recv_chk(fd: c_int, buffer: *mut c_void, len: size_t, size: size_t, flags: c_int) -> ssize_t = if len <= size => recv(fd, buffer, len, flags);
    fn __recvfrom_chk(fd: c_int, buffer: *mut c_void, len: size_t, size: size_t, flags: c_int, from: *mut sockaddr, from_len: *mut socklen_t) -> ssize_t = if len <= size => recvfrom(fd, buffer, len, flags, from, from_len);
    fn __poll_chk(fds: *mut pollfd, count: nfds_t, timeout: c_int, size: size_t) -> c_int = if count as usize <= size / size_of::<pollfd>() => poll(fds, count, timeout);
    fn __ppoll_chk(fds: *mut pollfd, count: nfds_t, limit: *const timespec, mask: *const sigset_t, size: size_t) -> c_int = if count as usize <= size / size_of::<pollfd>() => ppoll(fds, count, limit, mask);
}

/// As `poll(2)`, which is no system call on aarch64.
pub(crate) unsafe extern "C" fn poll(fds: *mut pollfd, count: nfds_t, timeout: c_int) -> c_int {
    let limit = timespec { tv_sec: (timeout / 1000).into(), tv_nsec: (timeout % 1000 * 1_000_000).into() };
    let limit = if timeout < 0 { ptr::null() } else { &raw const limit };
    // SAFETY: the caller's list.
    unsafe { ppoll(fds, count, limit, ptr::null()) }
}

/// As `ppoll(2)`: the kernel would change the time.
pub(crate) unsafe extern "C" fn ppoll(
    fds: *mut pollfd,
    count: nfds_t,
    limit: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: the caller's list, time and mask.
    unsafe {
        let mut own = limit.as_ref().copied();
        libc::syscall(libc::SYS_ppoll, fds, count, pointer(&mut own), mask, MASK) as c_int
    }
}

/// As `pselect(2)`: the kernel would change the time.
pub(crate) unsafe extern "C" fn pselect(
    count: c_int,
    reads: *mut fd_set,
    writes: *mut fd_set,
    exceptions: *mut fd_set,
    limit: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    let masks = [mask.addr(), MASK];
    // SAFETY: the caller's sets, time and mask.
    unsafe {
        let mut own = limit.as_ref().copied();
        let limit = pointer(&mut own);
        libc::syscall(libc::SYS_pselect6, count, reads, writes, exceptions, limit, masks.as_ptr()) as c_int
    }
}

/// As `select(2)`, which is no system call on aarch64. What is left of the time is told.
pub(crate) unsafe extern "C" fn select(
    count: c_int,
    reads: *mut fd_set,
    writes: *mut fd_set,
    exceptions: *mut fd_set,
    limit: *mut timeval,
) -> c_int {
    // SAFETY: null, or the caller's.
    let mut own = match unsafe { limit.as_ref() } {
        Some(time) if time.tv_sec < 0 || time.tv_usec < 0 => return fail(EINVAL),
        Some(time) => Some(timespec {
            tv_sec: time.tv_sec.saturating_add(time.tv_usec / 1_000_000),
            tv_nsec: time.tv_usec % 1_000_000 * 1000,
        }),
        None => None,
    };
    // SAFETY: the caller's sets and time.
    unsafe {
        let limit_of_kernel = pointer(&mut own);
        let found = libc::syscall(libc::SYS_pselect6, count, reads, writes, exceptions, limit_of_kernel, NONE);
        if let Some(left) = own {
            *limit = timeval { tv_sec: left.tv_sec, tv_usec: left.tv_nsec / 1000 };
        }
        found as c_int
    }
}

/// As `clock_nanosleep(2)`, which returns its error.
pub(crate) unsafe extern "C" fn clock_nanosleep(
    clock: clockid_t,
    flags: c_int,
    when: *const timespec,
    left: *mut timespec,
) -> c_int {
    if clock == libc::CLOCK_THREAD_CPUTIME_ID {
        return EINVAL;
    }
    let was = errno();
    // SAFETY: the caller's times.
    if unsafe { libc::syscall(libc::SYS_clock_nanosleep, clock, flags, when, left) } == 0 {
        return 0;
    }
    let error = errno();
    set_errno(was);
    error
}

/// As `thrd_sleep(3)`.
pub(crate) unsafe extern "C" fn thrd_sleep(duration: *const timespec, left: *mut timespec) -> c_int {
    // SAFETY: the caller's times.
    match unsafe { clock_nanosleep(libc::CLOCK_REALTIME, 0, duration, left) } {
        0 => 0,
        EINTR => -1,
        _ => -2,
    }
}

/// As `thrd_yield(3)`.
pub(crate) unsafe extern "C" fn thrd_yield() {
    // SAFETY: takes nothing.
    unsafe { sched_yield() };
}

/// As `usleep(3)`.
pub(crate) unsafe extern "C" fn usleep(micros: useconds_t) -> c_int {
    let time = timespec { tv_sec: (micros / 1_000_000).into(), tv_nsec: (micros % 1_000_000 * 1000).into() };
    // SAFETY: a time of our own.
    unsafe { nanosleep(&raw const time, ptr::null_mut()) }
}

/// As `sleep(3)`: the seconds that are left.
pub(crate) unsafe extern "C" fn sleep(seconds: c_uint) -> c_uint {
    let mut time = timespec { tv_sec: seconds.into(), tv_nsec: 0 };
    let place = &raw mut time;
    // SAFETY: times of our own.
    if unsafe { nanosleep(place, place) } == 0 { 0 } else { time.tv_sec as c_uint }
}

/// As `dup2(2)`, which is no system call on aarch64.
pub(crate) unsafe extern "C" fn dup2(from: c_int, to: c_int) -> c_int {
    // SAFETY: takes numbers only; the caller owns `to`.
    unsafe {
        if from != to {
            return dup3(from, to, 0);
        }
        if libc::fcntl(from, F_GETFD) < 0 { -1 } else { to }
    }
}

/// As `pthread_join(3)`: libc has another name for it.
pub(crate) unsafe extern "C" fn pthread_join(thread: pthread_t, value: *mut *mut c_void) -> c_int {
    // SAFETY: the caller's thread and place; no time limit.
    unsafe { pthread_timedjoin_np(thread, value, ptr::null()) }
}

/// As `thrd_join(3)`.
pub(crate) unsafe extern "C" fn thrd_join(thread: pthread_t, value: *mut c_int) -> c_int {
    /// `thrd_error`.
    const ERROR: c_int = 2;
    let mut whole = ptr::null_mut();
    // SAFETY: the caller's thread and place.
    unsafe {
        if pthread_join(thread, &raw mut whole) != 0 {
            return ERROR;
        }
        if !value.is_null() {
            *value = whole.addr() as c_int;
        }
    }
    0
}

/// To what there is, or null.
fn pointer<T>(place: &mut Option<T>) -> *mut T {
    place.as_mut().map_or(ptr::null_mut(), ptr::from_mut)
}
