//! Where the symbols cannot be hooked.

use crate::report::Report;
use crate::stats::Stats;

/// Why not.
const WHY: &str = "this libc is not known: only glibc on 64-bit Linux is, statically linked only on x86-64 and aarch64";

/// Does nothing, and says so.
pub(crate) fn all() -> Report {
    Report { functions: Vec::new(), missing: Vec::new(), objects: Vec::new(), identity: Err(WHY), locks: false }
}

/// Runs `f`.
pub(crate) fn without<T>(f: impl FnOnce() -> T) -> T {
    f()
}

/// None.
pub(crate) fn stats() -> Stats {
    Stats::default()
}
