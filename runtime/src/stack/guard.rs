//! Guards: the ranges below each stack where every access faults.
//!
//! ```text
//!   markers      one map for the whole region            │ guard ░░░│ stack │ guard ░░░│ stack │
//!                (Linux 6.13)                            └──────────────── one map ────────────┘
//!   protection   two maps for each stack                 │   ---    │  rw-  │   ---    │  rw-  │
//!                (everywhere)                            └─── map ──┘└ map ─┘└── map ──┘└ map ─┘
//! ```
//!
//! With protection the kernel's limit on maps per process (`vm.max_map_count`, 65,530 unless
//! somebody changed it) ends it all at some 30,000 stacks. We stop before that, with an error that
//! says so, because at the limit even the allocator fails and nobody could report anything.
//!
//! `SWARD_GUARD=mprotect` in the environment asks for protection where markers are to be had.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::os;

/// How guards are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guards {
    /// By marking their pages.
    Markers,
    /// By taking away all access rights, at the cost of maps.
    Protection,
}

/// Stacks of this process that are guarded by protection; each costs two maps.
static PROTECTED: AtomicUsize = AtomicUsize::new(0);
/// `vm.max_map_count` where one cannot ask.
const USUAL_MAP_LIMIT: usize = 65_530;

impl Guards {
    /// What the environment asks for; markers by default.
    pub(super) fn preferred() -> Guards {
        match std::env::var_os("SWARD_GUARD") {
            Some(value) if value == "mprotect" => Guards::Protection,
            _ => Guards::Markers,
        }
    }

    /// Makes every access to the first ranges of `ranges` fault and tells how many they are: at
    /// least one. Turns to protection for good if the kernel has no markers.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` if the process has no maps left for it.
    ///
    /// # Safety
    ///
    /// The ranges are whole pages of regions, and hold nothing.
    pub(super) unsafe fn install(&mut self, ranges: &[Range<usize>]) -> io::Result<usize> {
        if *self == Guards::Markers {
            // SAFETY: the caller's promise.
            match unsafe { os::install_markers(ranges) } {
                Ok(()) => return Ok(ranges.len()),
                Err((0, error)) if error.raw_os_error() == Some(libc::EINVAL) => *self = Guards::Protection,
                Err((0, error)) => return Err(error),
                Err((done, _)) => return Ok(done),
            }
        }
        // SAFETY: the caller's promise.
        unsafe { protect(ranges, os::map_limit().unwrap_or(USUAL_MAP_LIMIT)) }
    }
}

/// Protects `ranges` as long as the maps last; see `Guards::install`.
///
/// # Safety
///
/// As for `Guards::install`.
unsafe fn protect(ranges: &[Range<usize>], map_limit: usize) -> io::Result<usize> {
    // A sixteenth of the maps is left to the rest of the program.
    let most = map_limit / 32 * 15;
    for (done, range) in ranges.iter().enumerate() {
        let protected = PROTECTED.fetch_add(1, Ordering::Relaxed);
        let error = if protected >= most {
            io::ErrorKind::OutOfMemory.into()
        } else {
            // SAFETY: nobody uses these pages, by the caller's promise.
            let status = unsafe { libc::mprotect(range.start as *mut _, range.len(), libc::PROT_NONE) };
            if status == 0 {
                continue;
            }
            io::Error::last_os_error()
        };
        forget_protected(1);
        return if done > 0 { Ok(done) } else { Err(explain(error, protected, map_limit)) };
    }
    Ok(ranges.len())
}

/// Notes that `count` protected guards were unmapped.
pub(super) fn forget_protected(count: usize) {
    PROTECTED.fetch_sub(count, Ordering::Relaxed);
}

/// Tells the reader what ran out and what to do.
fn explain(error: io::Error, protected: usize, map_limit: usize) -> io::Error {
    if error.kind() != io::ErrorKind::OutOfMemory {
        return error;
    }
    io::Error::new(
        io::ErrorKind::OutOfMemory,
        format!(
            "no memory maps left to guard another greenlet stack: {protected} stacks take two maps each, and \
             vm.max_map_count is {map_limit}; raise it with sysctl, or run on Linux 6.13 or newer, where guards \
             need no maps"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_of_maps_is_an_error_that_names_the_limit() {
        // No range is touched: with a limit of 0 the first one is already too many.
        // SAFETY: as said.
        let error = unsafe { protect(&[0..4096, 4096..8192], 0) }.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        assert!(error.to_string().contains("vm.max_map_count is 0"), "{error}");
    }
}
