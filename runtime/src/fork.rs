//! What happens to a hub when the process forks: the child must not touch the parent's, whose
//! poller it shares. It forgets it and gets a fresh one on first use.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{hub, inspect};

/// How many forks lie between this process and the one in which the library was first used.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// How many forks lie between this process and the one in which the library was first used.
pub(crate) fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// Asks libc to call `in_child` in every forked child; once per process.
pub(crate) fn watch() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        // SAFETY: `in_child` is an `extern "C" fn` that does not unwind and does only what is allowed
        // between fork and exec: stores to atomics and one to a thread-local without destructor.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
}

/// Runs in the child, on the one thread it has.
extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    hub::abandon();
    inspect::abandon();
}
