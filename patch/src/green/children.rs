//! Waiting for processes, threads and file locks.

use std::ffi::c_void;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::{Duration, Instant};

use libc::{
    EBUSY, ECANCELED, EWOULDBLOCK, LOCK_NB, WCONTINUED, WNOHANG, WUNTRACED, c_int, id_t, idtype_t, pid_t, pthread_t,
    rusage, siginfo_t,
};
use sward_runtime::lowlevel::hooks::Ended;

use super::wait::{TICK, tick};
use crate::gate::{Inside, errno, fail};
use crate::table::real;

/// As `waitpid(2)`.
pub(crate) unsafe fn waitpid(inside: &Inside, pid: pid_t, status: *mut c_int, options: c_int) -> pid_t {
    // SAFETY: without a place for usage `wait4` is `waitpid`.
    unsafe { wait4(inside, pid, status, options, ptr::null_mut()) }
}

/// As `wait4(2)`.
pub(crate) unsafe fn wait4(
    inside: &Inside,
    pid: pid_t,
    status: *mut c_int,
    options: c_int,
    usage: *mut rusage,
) -> pid_t {
    let mut child = Child::new(pid, options & (WUNTRACED | WCONTINUED) != 0);
    loop {
        // SAFETY: the caller's places.
        let ended = unsafe { real::wait4(pid, status, options | WNOHANG, usage) };
        if ended != 0 || options & WNOHANG != 0 {
            return ended;
        }
        if child.wait(inside) == Ended::Interrupted {
            return fail::<c_int>(ECANCELED);
        }
    }
}

/// As `waitid(2)`.
pub(crate) unsafe fn waitid(inside: &Inside, kind: idtype_t, id: id_t, info: *mut siginfo_t, options: c_int) -> c_int {
    let stops = options & (libc::WSTOPPED | WCONTINUED) != 0;
    let mut child = match kind {
        libc::P_PID => Child::new(id as pid_t, stops),
        _ => Child::new(-1, stops),
    };
    // SAFETY: all zeros is a siginfo, of no child.
    let mut own: siginfo_t = unsafe { std::mem::zeroed() };
    let place = if info.is_null() { &raw mut own } else { info };
    loop {
        // SAFETY: the caller's place or ours.
        let (result, found) = unsafe {
            // Without a child, the kernel leaves this field as it was on some versions.
            *place = std::mem::zeroed();
            let result = real::waitid(kind, id, place, options | WNOHANG);
            (result, (*place).si_pid() != 0)
        };
        if result != 0 || found || options & WNOHANG != 0 {
            return result;
        }
        if child.wait(inside) == Ended::Interrupted {
            return fail(ECANCELED);
        }
    }
}

/// As `pthread_join(3)`. Not interrupted: std would panic, and the thread's result would be lost.
pub(crate) unsafe fn pthread_join(inside: &Inside, thread: pthread_t, value: *mut *mut c_void) -> c_int {
    // SAFETY: the caller vouches for the thread.
    let result = unsafe { libc::pthread_tryjoin_np(thread, value) };
    if result != EBUSY {
        return result;
    }
    // SAFETY: the caller's arguments; nobody has joined.
    unsafe { join(inside, real::pthread_join, thread, value) }
}

/// As `thrd_join(3)`: what the thread returned is a number.
pub(crate) unsafe fn thrd_join(inside: &Inside, thread: pthread_t, value: *mut c_int) -> c_int {
    // SAFETY: the caller's arguments.
    unsafe { join(inside, real::thrd_join, thread, value) }
}

/// Joins a thread by libc's function, on the pool.
unsafe fn join<T: Default + 'static>(
    inside: &Inside,
    real: unsafe fn(pthread_t, *mut T) -> c_int,
    thread: pthread_t,
    value: *mut T,
) -> c_int {
    let job = move || {
        let mut value = Value(T::default());
        // SAFETY: the caller waits for us, and so joins the thread once.
        let result = unsafe { real(thread, &raw mut value.0) };
        (result, value)
    };
    match inside.offload(true, job) {
        Ok(Some((result, Value(result_value)))) => {
            if result == 0 && !value.is_null() {
                // SAFETY: the caller's place.
                unsafe { *value = result_value };
            }
            result
        }
        // No thread to be had: this one waits.
        // SAFETY: the caller's arguments; nobody has joined.
        _ => unsafe { real(thread, value) },
    }
}

/// As `flock(2)`: tried again, after pauses that grow. A thread of the pool would take the lock also
/// for a greenlet that was killed meanwhile.
pub(crate) unsafe fn flock(inside: &Inside, fd: c_int, operation: c_int) -> c_int {
    let mut pause = Duration::from_millis(1);
    loop {
        // SAFETY: takes numbers only.
        let result = unsafe { real::flock(fd, operation | LOCK_NB) };
        if result == 0 || operation & LOCK_NB != 0 || errno() != EWOULDBLOCK {
            return result;
        }
        if inside.sleep(Some(Instant::now() + pause)) == Ended::Interrupted {
            return fail(ECANCELED);
        }
        pause = (pause * 2).min(TICK);
    }
}

/// What a thread returned.
struct Value<T>(T);

// SAFETY: an opaque word, handed on to the one who asked for it.
unsafe impl<T> Send for Value<T> {}

/// A child that is waited for.
struct Child {
    /// Its process number; not positive: any of several.
    pid: pid_t,
    /// Readable when it ends; made at the first wait.
    pidfd: Option<OwnedFd>,
    /// Whether stops and continuations count, which a pidfd does not tell.
    stops: bool,
}

impl Child {
    /// The child `pid`.
    fn new(pid: pid_t, stops: bool) -> Child {
        Child { pid, pidfd: None, stops }
    }

    /// Parks until there may be something to be told of it.
    fn wait(&mut self, inside: &Inside) -> Ended {
        if self.pidfd.is_none() && self.pid > 0 {
            self.pidfd = pidfd_open(self.pid);
        }
        let Some(pidfd) = &self.pidfd else { return tick(inside, None) };
        let next = self.stops.then(|| Instant::now() + TICK);
        let wanted = [(pidfd.as_raw_fd(), libc::EPOLLIN as u32)];
        inside.wait(&wanted, next).unwrap_or_else(|_| tick(inside, None))
    }
}

/// A descriptor for the process; `None` if the kernel has none to give.
fn pidfd_open(pid: pid_t) -> Option<OwnedFd> {
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = c_int::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: fresh from the kernel, and nobody else's.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}
