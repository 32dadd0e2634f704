//! What Linux has for large numbers of stacks, and other systems do not: advice for many ranges in
//! one call (`process_madvise(2)` on the calling process itself) and guard markers.
//!
//! `portable` has the same functions for everybody else.

use std::io;
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use libc::{c_int, c_long, c_void, iovec};

use super::BATCH;

/// `MADV_GUARD_INSTALL`, Linux 6.13: faults on access, costs no map, survives `MADV_DONTNEED`.
const MADV_GUARD_INSTALL: c_int = 102;
/// `PIDFD_SELF_THREAD_GROUP`, Linux 6.14: "this process" without a descriptor, so that nothing has
/// to be opened and a fork's child cannot advise its parent by mistake.
const PIDFD_SELF: c_int = -10001;

/// The number of bytes in a page.
pub(crate) fn page_size() -> usize {
    // SAFETY: sysconf reads a constant of the system.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

/// Asks for small pages only: one touched byte of a stack must not cost two megabytes.
pub(super) fn refuse_huge_pages(range: Range<usize>) {
    // SAFETY: the advice changes how memory is backed, never what is in it. It fails on a kernel
    // without huge pages, where it is not needed.
    unsafe { libc::madvise(range.start as *mut c_void, range.len(), libc::MADV_NOHUGEPAGE) };
}

/// Makes every access to `ranges` fault. On failure tells how many of them, counted from the first,
/// were done.
///
/// # Safety
///
/// The ranges are whole pages of private anonymous memory that nobody uses.
pub(super) unsafe fn install_markers(ranges: &[Range<usize>]) -> Result<(), (usize, io::Error)> {
    // SAFETY: the caller's promise.
    unsafe { advise(ranges, MADV_GUARD_INSTALL) }
}

/// Gives the pages in `ranges` back to the system; when they are next touched they are zero.
/// Memory that cannot be given back (it is locked) is kept, which does no harm.
///
/// # Safety
///
/// The ranges are whole pages of private anonymous memory whose contents nobody needs.
pub(super) unsafe fn give_back(ranges: &[Range<usize>]) {
    // SAFETY: the caller's promise.
    let _ = unsafe { advise(ranges, libc::MADV_DONTNEED) };
}

/// How many maps a process may have.
pub(super) fn map_limit() -> Option<usize> {
    std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()
}

/// Gives one piece of advice for many ranges, in one call where the kernel can. On failure tells how
/// many ranges were done.
///
/// # Safety
///
/// As for `madvise(2)` with this advice on each of the ranges.
unsafe fn advise(ranges: &[Range<usize>], advice: c_int) -> Result<(), (usize, io::Error)> {
    // SAFETY: the caller's promise.
    let mut left = unsafe { advise_at_once(ranges, advice) };
    for (done, range) in ranges.iter().enumerate() {
        if left >= range.len() {
            left -= range.len();
            continue;
        }
        // SAFETY: the caller's promise.
        if unsafe { libc::madvise(range.start as *mut c_void, range.len(), advice) } != 0 {
            return Err((done, io::Error::last_os_error()));
        }
    }
    Ok(())
}

/// Gives one piece of advice for many ranges in one call. Tells how many bytes, counted from the
/// first range, were done: none on an older kernel, in a sandbox, and under Valgrind.
///
/// # Safety
///
/// As for `advise`.
unsafe fn advise_at_once(ranges: &[Range<usize>], advice: c_int) -> usize {
    static REFUSED: AtomicBool = AtomicBool::new(false);

    debug_assert!(ranges.len() <= BATCH);
    if REFUSED.load(Ordering::Relaxed) {
        return 0;
    }
    let mut vectors = [iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
    for (vector, range) in vectors.iter_mut().zip(ranges) {
        *vector = iovec { iov_base: range.start as *mut c_void, iov_len: range.len() };
    }
    // SAFETY: the vectors are initialised and outlive the call, which changes no memory but as the
    // advice says, for which the caller vouches.
    let advised: c_long =
        unsafe { libc::syscall(libc::SYS_process_madvise, PIDFD_SELF, vectors.as_ptr(), ranges.len(), advice, 0) };
    usize::try_from(advised).unwrap_or_else(|_| {
        let error = io::Error::last_os_error().raw_os_error();
        let for_good = [libc::ENOSYS, libc::EBADF, libc::EPERM].map(Some).contains(&error);
        REFUSED.fetch_or(for_good, Ordering::Relaxed);
        0
    })
}
