//! The lock of a part of the table.
//!
//! It cannot be std's, which calls `syscall`, which is hooked. It may be wanted in places where nothing
//! may wait for it: a signal handler that posts a semaphore may have interrupted the very thread that
//! holds it. So each thread knows whether it holds one. If it does, what wants another is put off:
//! the holder is told that something was *missed*, and when it releases, it wakes all who wait, who
//! then look for themselves.

use std::cell::Cell;
use std::hint;
use std::sync::atomic::{AtomicU32, Ordering, compiler_fence};

use libc::{FUTEX_PRIVATE_FLAG, FUTEX_WAIT, FUTEX_WAKE, SYS_futex};

use crate::gate::{errno, set_errno};
use crate::table::real;

/// Nobody holds the lock.
const FREE: u32 = 0;
/// Somebody holds it.
const HELD: u32 = 1;
/// Somebody holds it, and others wait in the kernel.
const WANTED: u32 = 2;

/// How often a held lock is looked at before the thread waits in the kernel.
const SPINS: u32 = 100;

/// What this thread has to do with these locks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Own {
    /// Holds none.
    None,
    /// Holds one.
    One,
    /// Holds one, and has missed something in the meantime.
    Missed,
}

thread_local! {
    /// Whether this thread, or a signal handler on it, is inside. A greenlet does not park inside.
    static OWN: Cell<Own> = const { Cell::new(Own::None) };
    /// Whether this thread is inside because it forks.
    static FORKS: Cell<bool> = const { Cell::new(false) };
}

/// A lock that never calls a hook.
pub(super) struct Lock(AtomicU32);

impl Lock {
    /// A free one.
    pub(super) const fn new() -> Lock {
        Lock(AtomicU32::new(FREE))
    }

    /// Takes it, waiting for other threads.
    pub(super) fn lock(&self) {
        if self.0.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.wait();
        }
    }

    /// Takes it when it is held: looks for a while, then sleeps.
    #[cold]
    fn wait(&self) {
        for _ in 0..SPINS {
            if self.0.load(Ordering::Relaxed) == FREE
                && self.0.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                return;
            }
            hint::spin_loop();
        }
        while self.0.swap(WANTED, Ordering::Acquire) != FREE {
            self.kernel(FUTEX_WAIT, WANTED);
        }
    }

    /// Releases it.
    pub(super) fn unlock(&self) {
        if self.0.swap(FREE, Ordering::Release) == WANTED {
            self.kernel(FUTEX_WAKE, 1);
        }
    }

    /// Forgets who held it; in a forked child, which has one thread.
    pub(super) fn reset(&self) {
        self.0.store(FREE, Ordering::Relaxed);
    }

    /// The system call, past the hook, and without a trace in errno.
    fn kernel(&self, operation: i32, value: u32) {
        let errno = errno();
        let operation = (operation | FUTEX_PRIVATE_FLAG) as usize;
        // SAFETY: the word lives as long as `self`; no time limit.
        unsafe { real::syscall(SYS_futex, self.0.as_ptr().addr(), operation, value as usize, 0, 0, 0) };
        set_errno(errno);
    }
}

/// This thread is inside; one at a time.
pub(super) struct Inside(());

impl Inside {
    /// `None` if this thread is inside already: then who is has been told that it misses something.
    pub(super) fn enter() -> Option<Inside> {
        if OWN.get() != Own::None {
            OWN.set(Own::Missed);
            return None;
        }
        OWN.set(Own::One);
        // A signal handler of this thread must find it set before the lock is taken.
        compiler_fence(Ordering::SeqCst);
        Some(Inside(()))
    }

    /// Whether this thread is inside.
    pub(super) fn is_there() -> bool {
        OWN.get() != Own::None
    }

    /// Inside until `end_fork`, if this thread is not inside already.
    pub(super) fn begin_fork() {
        if Inside::enter().is_some() {
            FORKS.set(true);
        }
    }

    /// Out again, if `begin_fork` has let it in; true if something was missed.
    pub(super) fn end_fork() -> bool {
        FORKS.take() && Inside(()).leave()
    }

    /// Out again; true if something was missed.
    pub(super) fn leave(self) -> bool {
        compiler_fence(Ordering::SeqCst);
        OWN.replace(Own::None) == Own::Missed
    }
}
