//! `select`: as `poll`, with sets that the real call overwrites each time.

use std::ffi::c_ulong;
use std::os::fd::RawFd;
use std::ptr;
use std::time::{Duration, Instant};

use libc::{EBADF, EINVAL, c_int, fd_set, sigset_t, timespec, timeval};

use super::poll::{Until, Wait, after, from_timespec};
use crate::gate::{Inside, fail};
use crate::table::real;

/// Descriptors in one word of a set.
const WORD: usize = c_ulong::BITS as usize;

/// As `select(2)`; as on Linux, `limit` is left with the time that was not used.
pub(crate) unsafe fn select(
    inside: &Inside,
    count: c_int,
    reads: *mut fd_set,
    writes: *mut fd_set,
    exceptions: *mut fd_set,
    limit: *mut timeval,
) -> c_int {
    // SAFETY: null, or the caller's.
    let until = match unsafe { limit.as_ref() } {
        None => Until::At(None),
        Some(limit) => match from_timeval(*limit) {
            Some(limit) => after(limit),
            None => return fail(EINVAL),
        },
    };
    // SAFETY: the caller's sets.
    let found = unsafe { select_with(inside, count, [reads, writes, exceptions], until, ptr::null()) };
    if let Until::At(Some(deadline)) = until {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = timeval { tv_sec: left.as_secs() as i64, tv_usec: i64::from(left.subsec_micros()) };
        // SAFETY: a deadline comes from a limit that is not null.
        unsafe { *limit = left };
    }
    found
}

/// As `pselect(2)`.
pub(crate) unsafe fn pselect(
    inside: &Inside,
    count: c_int,
    reads: *mut fd_set,
    writes: *mut fd_set,
    exceptions: *mut fd_set,
    limit: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: null, or the caller's.
    match unsafe { from_timespec(limit) } {
        // SAFETY: the caller's sets and mask.
        Some(until) => unsafe { select_with(inside, count, [reads, writes, exceptions], until, mask) },
        None => fail(EINVAL),
    }
}

/// Both kinds.
///
/// # Safety
///
/// As for `pselect(2)`.
unsafe fn select_with(
    inside: &Inside,
    count: c_int,
    sets: [*mut fd_set; 3],
    until: Until,
    mask: *const sigset_t,
) -> c_int {
    if count < 0 {
        return fail(EINVAL);
    }
    // What `fd_set` has room for is there; beyond that the kernel looks no further than there may be descriptors, and
    // what callers say may be more than their sets have: `getdtablesize()`, `INT_MAX`.
    let count = if count as usize > libc::FD_SETSIZE { count.min(room().unwrap_or(count)) } else { count };
    // A set has as many words as `count` needs, which may be more than `fd_set` has.
    let words = (count as usize).div_ceil(WORD);
    // SAFETY: the caller's sets are null or have that many words.
    let asked = sets.map(|set| unsafe { Words::copy(set, words) });
    let wanted = || {
        let bits = [libc::EPOLLIN | libc::EPOLLRDHUP, libc::EPOLLOUT, libc::EPOLLPRI];
        let interest = |fd: usize| {
            let each = asked.iter().zip(bits);
            each.filter(|(set, _)| set.has(fd)).fold(0, |all, (_, bits)| all | bits as u32)
        };
        let each = (0..count as usize).map(|fd| (fd as RawFd, interest(fd)));
        each.filter(|(_, interest)| *interest != 0).collect()
    };
    let wait = Wait { until, masked: !mask.is_null(), interruptible: true, closed: |_| fail(EBADF) };
    wait.run(inside, wanted, || {
        for (set, asked) in sets.iter().zip(&asked) {
            // SAFETY: copied from there.
            unsafe { asked.restore(*set) };
        }
        let [reads, writes, exceptions] = sets;
        let limit = timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the caller's sets and mask.
        unsafe { real::pselect(count, reads, writes, exceptions, &raw const limit, mask) }
    })
}

/// How many descriptors the process has room for at the moment; `None` where that is not told. In a call that is given
/// no more than this, the kernel touches no more either.
#[cold]
fn room() -> Option<c_int> {
    let status = std::fs::read("/proc/thread-self/status").ok()?;
    // The thread's name comes before it, with any bytes in it but line breaks.
    let size = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"FDSize:"))?;
    std::str::from_utf8(size).ok()?.trim().parse().ok()
}

/// What the caller asked for in one set.
struct Words(Vec<c_ulong>);

impl Words {
    /// Of the set, which is null or has `words` words.
    ///
    /// # Safety
    ///
    /// It must have them.
    unsafe fn copy(set: *const fd_set, words: usize) -> Words {
        if set.is_null() || words == 0 {
            return Words(Vec::new());
        }
        // SAFETY: the caller vouches for it.
        Words(unsafe { std::slice::from_raw_parts(set.cast(), words) }.to_vec())
    }

    /// Whether `fd` is in it.
    fn has(&self, fd: usize) -> bool {
        self.0.get(fd / WORD).is_some_and(|word| word >> (fd % WORD) & 1 != 0)
    }

    /// Writes it back.
    ///
    /// # Safety
    ///
    /// `set` is the one that it was copied from.
    unsafe fn restore(&self, set: *mut fd_set) {
        // SAFETY: the caller vouches for it; a null one has no words.
        unsafe { ptr::copy_nonoverlapping(self.0.as_ptr(), set.cast(), self.0.len()) };
    }
}

/// A `timeval` as a duration; `None` if it is negative. As the kernel, it takes more than a million
/// microseconds.
fn from_timeval(time: timeval) -> Option<Duration> {
    let (seconds, micros) = (u64::try_from(time.tv_sec).ok()?, u64::try_from(time.tv_usec).ok()?);
    Some(Duration::from_secs(seconds).saturating_add(Duration::from_micros(micros)))
}
