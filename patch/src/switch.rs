//! Turning patching on, off for a while, and counting.

use std::sync::atomic::Ordering;

use sward_runtime::lowlevel::hooks;

use crate::report::Report;
use crate::stats::{Calls, Stats};
use crate::table::TABLE;
use crate::{gate, identity, loaded, locks};

/// Turns it on.
pub(crate) fn all() -> Report {
    let (there, missing): (Vec<_>, Vec<_>) = TABLE.iter().partition(|function| function.resolve_once() != 0);
    let objects = loaded::repair();
    // C code has no stack probes, and frames that step over a narrow guard.
    hooks::widen_guards();
    let identity = identity::start();
    gate::open();
    if identity.is_ok() {
        locks::open();
    }
    let names = |functions: Vec<&'static crate::function::Function>| functions.iter().map(|f| f.name()).collect();
    Report { functions: names(there), missing: names(missing), objects, identity, locks: locks::is_open() }
}

/// Off for `f`.
pub(crate) fn without<T>(f: impl FnOnce() -> T) -> T {
    gate::without(f)
}

/// The counts.
pub(crate) fn stats() -> Stats {
    let counts = TABLE.iter().map(|function| Calls {
        function: function.name(),
        calls: function.calls.load(Ordering::Relaxed),
        parks: function.parks.load(Ordering::Relaxed),
    });
    Stats { calls: counts.filter(|calls| calls.calls != 0).collect() }
}
