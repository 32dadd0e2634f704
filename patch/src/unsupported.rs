//! Where the symbols cannot be hooked.

use crate::report::Report;
use crate::stats::Stats;

/// Why not.
const WHY: &str = if cfg!(target_feature = "crt-static") {
    "libc is linked statically: there is no second one behind hooks, that would do the work"
} else {
    "this libc is not known: only glibc on 64-bit Linux is"
};

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
