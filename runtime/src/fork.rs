//! What happens to a hub when the process forks: the child must not touch the parent's, whose
//! poller it shares. It forgets it and gets a fresh one on first use.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::{hub, inspect};

/// How many forks lie between this process and the one in which the library was first used.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// How many forks lie between this process and the one in which the library was first used.
pub(crate) fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// Asks libc to call `in_child` in every forked child, before it returns. Several threads may do so at once: to be called
/// more often does no harm, and to wait for another thread would be to wait for ever in a child that was forked meanwhile.
pub(crate) fn watch() {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    if !WATCHED.load(Ordering::Acquire) {
        // SAFETY: `in_child` is an `extern "C" fn` that does not unwind and does only what is allowed
        // between fork and exec: stores to atomics and one to a thread-local without destructor.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        WATCHED.store(true, Ordering::Release);
    }
}

/// As std's, and the child of a fork in the middle of a call does not wait for it: it calls once more.
pub(crate) struct Once(AtomicU64);

impl Once {
    /// It was called.
    const DONE: u64 = u64::MAX;

    /// Not called yet.
    pub(crate) const fn new() -> Once {
        Once(AtomicU64::new(0))
    }

    /// Calls `f`, which must be one that may be called again after half of it, unless it was called. Waits if another
    /// thread is at it.
    pub(crate) fn call(&self, f: impl FnOnce()) {
        watch();
        let ours = generation() + 1;
        loop {
            match self.0.load(Ordering::Acquire) {
                Once::DONE => return,
                at_it if at_it == ours => thread::yield_now(),
                // Nobody, or a thread that is not in this process.
                other => {
                    if self.0.compare_exchange(other, ours, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                        f();
                        return self.0.store(Once::DONE, Ordering::Release);
                    }
                }
            }
        }
    }
}

/// Runs in the child, on the one thread it has.
extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    hub::abandon();
    inspect::abandon();
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn once_is_once_however_many_ask() {
        static ONCE: Once = Once::new();
        let calls = Arc::new(AtomicUsize::new(0));
        let threads = [(); 8].map(|()| {
            let calls = calls.clone();
            thread::spawn(move || {
                ONCE.call(|| {
                    thread::sleep(std::time::Duration::from_millis(1));
                    calls.fetch_add(1, Ordering::Relaxed);
                });
                assert_eq!(calls.load(Ordering::Relaxed), 1);
            })
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn what_was_half_done_at_the_fork_is_done_again() {
        let (once, mut calls) = (Once::new(), 0);
        // As another generation's thread, which is not here, has left it.
        once.0.store(generation() + 2, Ordering::Relaxed);
        once.call(|| calls += 1);
        once.call(|| calls += 1);
        assert_eq!(calls, 1);
    }
}
