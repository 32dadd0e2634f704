//! Turning patching on, off for a while, and counting.

use std::sync::atomic::Ordering;

use sward_runtime::lowlevel::hooks;

use crate::report::{Missing, Report};
use crate::stats::{Calls, Stats};
use crate::table::{LEFT_OUT, TABLE};
use crate::{gate, loaded};
#[cfg(shared_libc)]
use crate::{identity, locks};

/// Turns it on.
pub(crate) fn all() -> Report {
    let (there, absent): (Vec<_>, Vec<_>) = TABLE.iter().partition(|function| function.resolve_once() != 0);
    let objects = loaded::repair();
    // C code has no stack probes, and frames that step over a narrow guard.
    hooks::widen_guards();
    let identity = start_identity();
    gate::open();
    let locks = identity.is_ok() && open_locks();
    let absent = absent.iter().map(|function| Missing { function: function.name(), why: "this libc does not have it" });
    Report {
        functions: there.iter().map(|function| function.name()).collect(),
        missing: absent.chain(LEFT_OUT.iter().copied()).collect(),
        objects,
        identity,
        locks,
    }
}

/// Gives greenlets thread-locals of their own.
#[cfg(shared_libc)]
fn start_identity() -> Result<(), &'static str> {
    identity::start()
}

/// Says why greenlets cannot have thread-locals of their own.
#[cfg(not(shared_libc))]
fn start_identity() -> Result<(), &'static str> {
    Err("libc is linked statically: its own thread-locals cannot be told from the program's")
}

/// Lets greenlets park in locks; whether they do.
#[cfg(shared_libc)]
fn open_locks() -> bool {
    locks::open();
    locks::is_open()
}

/// Lets nobody park in locks.
#[cfg(not(shared_libc))]
fn open_locks() -> bool {
    false
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
