//! `poll` and `epoll_wait`: the real call looks without waiting and fills in the results; between
//! two looks the greenlet parks.

use std::os::fd::RawFd;
use std::ptr;
use std::time::{Duration, Instant};

use libc::{EBADF, ECANCELED, EINVAL, c_int, epoll_event, nfds_t, pollfd, sigset_t, timespec};
use sward_runtime::lowlevel::hooks::Ended;

use super::wait::{TICK, duration, tick};
use crate::gate::{Inside, fail};
use crate::table::real;

/// As `poll(2)`.
pub(crate) unsafe fn poll(inside: &Inside, fds: *mut pollfd, count: nfds_t, timeout: c_int) -> c_int {
    // SAFETY: the caller's list.
    unsafe { poll_with(inside, fds, count, from_millis(timeout), ptr::null()) }
}

/// As `ppoll(2)`.
pub(crate) unsafe fn ppoll(
    inside: &Inside,
    fds: *mut pollfd,
    count: nfds_t,
    limit: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: null, or the caller's.
    match unsafe { from_timespec(limit) } {
        // SAFETY: the caller's list and mask.
        Some(until) => unsafe { poll_with(inside, fds, count, until, mask) },
        None => fail(EINVAL),
    }
}

/// As `epoll_wait(2)`.
pub(crate) unsafe fn epoll_wait(
    inside: &Inside,
    epoll: c_int,
    events: *mut epoll_event,
    count: c_int,
    timeout: c_int,
) -> c_int {
    // SAFETY: the caller's buffer.
    unsafe { epoll_pwait(inside, epoll, events, count, timeout, ptr::null()) }
}

/// As `epoll_pwait(2)`.
pub(crate) unsafe fn epoll_pwait(
    inside: &Inside,
    epoll: c_int,
    events: *mut epoll_event,
    count: c_int,
    timeout: c_int,
    mask: *const sigset_t,
) -> c_int {
    let until = from_millis(timeout);
    let wait = Wait { until, masked: !mask.is_null(), interruptible: false, closed: |_| fail(EBADF) };
    let wanted = || vec![(epoll, libc::EPOLLIN as u32)];
    // SAFETY: the caller's buffer and mask.
    wait.run(inside, wanted, || unsafe { real::epoll_pwait(epoll, events, count, 0, mask) })
}

/// As `epoll_pwait2(2)`.
pub(crate) unsafe fn epoll_pwait2(
    inside: &Inside,
    epoll: c_int,
    events: *mut epoll_event,
    count: c_int,
    limit: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: null, or the caller's.
    let Some(until) = (unsafe { from_timespec(limit) }) else { return fail(EINVAL) };
    let wait = Wait { until, masked: !mask.is_null(), interruptible: false, closed: |_| fail(EBADF) };
    let wanted = || vec![(epoll, libc::EPOLLIN as u32)];
    // SAFETY: the caller's buffer and mask.
    wait.run(inside, wanted, || unsafe { real::epoll_pwait(epoll, events, count, 0, mask) })
}

/// Both kinds of `poll`.
///
/// # Safety
///
/// As for `ppoll(2)`.
unsafe fn poll_with(inside: &Inside, fds: *mut pollfd, count: nfds_t, until: Until, mask: *const sigset_t) -> c_int {
    let index = |index: usize| fds.wrapping_add(index);
    let wanted = || {
        let mut wanted = Vec::with_capacity(count as usize);
        for at in 0..count as usize {
            // SAFETY: the real call has just accepted the list.
            let pollfd { fd, events, .. } = unsafe { *index(at) };
            if fd >= 0 {
                wanted.push((fd, events_of(events)));
            }
        }
        wanted
    };
    let closed = |gone: RawFd| {
        let mut found = 0;
        for at in 0..count as usize {
            // SAFETY: as above.
            let entry = unsafe { &mut *index(at) };
            if entry.fd == gone {
                entry.revents = libc::POLLNVAL;
                found += 1;
            }
        }
        found
    };
    Wait { until, masked: !mask.is_null(), interruptible: true, closed }.run(inside, wanted, || {
        if mask.is_null() {
            // SAFETY: the caller's list.
            unsafe { real::poll(fds, count, 0) }
        } else {
            let at_once = timespec { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: the caller's list and mask.
            unsafe { real::ppoll(fds, count, &raw const at_once, mask) }
        }
    })
}

/// Bits of `poll(2)` in those of `epoll_ctl(2)`. They are the same on Linux; an error or a hang-up is
/// reported in any case.
fn events_of(events: i16) -> u32 {
    u32::from(events as u16)
        & (libc::EPOLLIN
            | libc::EPOLLPRI
            | libc::EPOLLOUT
            | libc::EPOLLRDNORM
            | libc::EPOLLRDBAND
            | libc::EPOLLWRNORM
            | libc::EPOLLWRBAND
            | libc::EPOLLRDHUP) as u32
}

/// When a wait ends at the latest.
#[derive(Clone, Copy)]
pub(super) enum Until {
    /// Before it begins: the caller only wants to look.
    Now,
    /// At this instant; `None` is never.
    At(Option<Instant>),
}

/// A limit in milliseconds; a negative one is none.
pub(super) fn from_millis(timeout: c_int) -> Until {
    match u64::try_from(timeout) {
        Ok(0) => Until::Now,
        Ok(millis) => after(Duration::from_millis(millis)),
        Err(_) => Until::At(None),
    }
}

/// A limit from now.
pub(super) fn after(limit: Duration) -> Until {
    if limit.is_zero() { Until::Now } else { Until::At(Instant::now().checked_add(limit)) }
}

/// A limit from now; null is none. `None` if it is not valid.
///
/// # Safety
///
/// Null or valid.
pub(super) unsafe fn from_timespec(limit: *const timespec) -> Option<Until> {
    // SAFETY: the caller vouches for it.
    match unsafe { limit.as_ref() } {
        None => Some(Until::At(None)),
        Some(limit) => duration(*limit).map(after),
    }
}

/// A wait for several descriptors.
pub(super) struct Wait<C> {
    /// Until when.
    pub(super) until: Until,
    /// The caller gave a signal mask: only the real call can put it on, so a signal that it lets
    /// through is noticed at the next look.
    pub(super) masked: bool,
    /// Whether a kill or a timeout ends it. Event loops on epoll (tokio's, libev's, libuv's) take a failure of it for the
    /// end of the world, and panic or abort.
    pub(super) interruptible: bool,
    /// What to return if a descriptor was closed meanwhile.
    pub(super) closed: C,
}

impl<C: Fn(RawFd) -> c_int> Wait<C> {
    /// Looks, parks until something in `wanted` happens, looks again, until `look` finds something.
    pub(super) fn run(
        &self,
        inside: &Inside,
        wanted: impl Fn() -> Vec<(RawFd, u32)>,
        mut look: impl FnMut() -> c_int,
    ) -> c_int {
        let found = look();
        let deadline = match self.until {
            Until::At(deadline) if found == 0 => deadline,
            _ => return found,
        };
        let wanted = wanted();
        loop {
            let next = if self.masked { Some(Instant::now() + TICK) } else { None };
            let until = [deadline, next].into_iter().flatten().min();
            // What epoll does not take (a device, too deep a nest of epolls) is looked at again and again.
            match inside.wait_as(self.interruptible, &wanted, until).unwrap_or_else(|_| self.tick(inside, until)) {
                Ended::Ready | Ended::TimedOut => {}
                Ended::Interrupted => return fail(ECANCELED),
                Ended::Closed(fd) => return (self.closed)(fd),
            }
            let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            let found = look();
            if found != 0 || late {
                return found;
            }
        }
    }

    /// Waits a little, or until then.
    fn tick(&self, inside: &Inside, until: Option<Instant>) -> Ended {
        if self.interruptible {
            return tick(inside, until);
        }
        let next = Instant::now() + TICK;
        inside.wait_for_lock(false, Some(until.map_or(next, |until| until.min(next))))
    }
}
