//! Stand-ins for `linux` on other systems: one call per range, guards by protection only.

use std::io;
use std::ops::Range;

use libc::c_void;

/// The number of bytes in a page.
pub(crate) fn page_size() -> usize {
    // SAFETY: sysconf reads a constant of the system.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

/// Nothing to refuse: elsewhere anonymous memory is not turned into huge pages behind our back.
pub(super) fn refuse_huge_pages(_: Range<usize>) {}

/// There are no guard markers: the caller protects the pages instead.
///
/// # Safety
///
/// None is needed; it is `unsafe` as its twin in `linux` is.
pub(super) unsafe fn install_markers(_: &[Range<usize>]) -> Result<(), (usize, io::Error)> {
    Err((0, io::Error::from_raw_os_error(libc::EINVAL)))
}

/// Tells the system that it may take the pages in `ranges` back.
///
/// # Safety
///
/// The ranges are whole pages of private anonymous memory whose contents nobody needs.
pub(super) unsafe fn give_back(ranges: &[Range<usize>]) {
    for range in ranges {
        // SAFETY: the caller's promise.
        unsafe { libc::madvise(range.start as *mut c_void, range.len(), libc::MADV_FREE) };
    }
}

/// There is no limit that one could ask for.
pub(super) fn map_limit() -> Option<usize> {
    None
}
