//! `pthread_once` and C's `call_once`: a greenlet may park in the function that is to run once, and others that
//! come meanwhile park until it is done.
//!
//! ```text
//!   control   0 ──▶ in progress (an odd number) ──▶ 2: done
//!             ▲                 │ the function has thrown
//!             └─────────────────┘
//! ```
//!
//! These are libc's values, so that threads, which call libc's function, meet greenlets in the same control. The number
//! for "in progress" is asked of libc: it changes with each fork, so that a child does not wait for its parent.

use std::mem;
use std::sync::atomic::{AtomicI32, Ordering};

use libc::{FUTEX_PRIVATE_FLAG, FUTEX_WAKE, SYS_futex, c_int, pthread_once_t};

use super::acquire::{How, acquire};
use super::limit::Limit;
use super::table::{self, Kind, Place, Waker};
use crate::function::Function;
use crate::table::real;

/// What is to run once: C++ throws out of it.
pub(crate) type Init = extern "C-unwind" fn();

/// Nobody has begun.
const FRESH: c_int = 0;
/// Somebody is in the function.
const IN_PROGRESS: c_int = 1;
/// It has returned.
const DONE: c_int = 2;

/// What libc writes for "in progress"; 0: not known.
static MARK: AtomicI32 = AtomicI32::new(0);

/// As `pthread_once(3)`.
pub(crate) unsafe fn pthread_once(function: &'static Function, control: *mut pthread_once_t, init: Init) -> c_int {
    // SAFETY: the caller's control.
    if unsafe { !super::is_shut() && once(function, control, init) } {
        return 0;
    }
    // SAFETY: the caller's arguments.
    let result = unsafe { real::pthread_once(control, init) };
    wake(control);
    result
}

/// As `call_once(3)`.
pub(crate) unsafe fn call_once(function: &'static Function, control: *mut pthread_once_t, init: Init) {
    // SAFETY: the caller's control; the two functions differ in what they return only.
    unsafe { pthread_once(function, control, init) };
}

/// Asks libc for its number.
pub(super) fn probe() {
    /// A control, and what was in it when the function ran.
    static CONTROL: AtomicI32 = AtomicI32::new(FRESH);
    static SEEN: AtomicI32 = AtomicI32::new(FRESH);
    extern "C-unwind" fn look() {
        SEEN.store(CONTROL.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    // SAFETY: a control that is used for nothing else.
    let result = unsafe { real::pthread_once(CONTROL.as_ptr(), look) };
    let seen = SEEN.load(Ordering::Relaxed);
    if result == 0 && CONTROL.load(Ordering::Relaxed) == DONE && seen & (IN_PROGRESS | DONE) == IN_PROGRESS {
        MARK.store(seen, Ordering::Relaxed);
    }
}

/// In a fork's child, where libc's number is another one.
pub(super) fn forget() {
    MARK.store(0, Ordering::Relaxed);
}

/// Runs the function, or waits for who does, in a greenlet; false if that is to be left to libc.
unsafe fn once(function: &'static Function, control: *mut pthread_once_t, init: Init) -> bool {
    // SAFETY: the caller's, which is changed by atomic operations only.
    let word = unsafe { AtomicI32::from_ptr(control) };
    let mark = MARK.load(Ordering::Relaxed);
    if mark == 0 {
        return false;
    }
    loop {
        let state = word.load(Ordering::Acquire);
        if state & DONE != 0 {
            return true;
        }
        if state == FRESH {
            if word.compare_exchange(FRESH, mark, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                Running(word).run(init);
                return true;
            }
            continue;
        }
        let Some(inside) = super::enter(function) else { return false };
        let look = || (word.load(Ordering::SeqCst) & (IN_PROGRESS | DONE) != IN_PROGRESS).then_some(());
        // Who is done may be a thread whose call did not come to the hook.
        let how = How { limit: Limit::Never, unseen: true, interruptible: false };
        let _ = acquire(&inside, Place::of(Kind::Once, control), how, look);
    }
}

/// The function is running.
struct Running<'a>(&'a AtomicI32);

impl Running<'_> {
    /// Runs it.
    fn run(self, init: Init) {
        init();
        self.finish(DONE);
        mem::forget(self);
    }

    /// Says how it went, to all who wait.
    fn finish(&self, state: c_int) {
        let word = self.0.as_ptr();
        self.0.store(state, Ordering::Release);
        // Threads, which wait in the kernel. A greenlet that is counted by now is seen after the kernel's barrier.
        let operation = (FUTEX_WAKE | FUTEX_PRIVATE_FLAG) as usize;
        // SAFETY: an address, which may be nobody's by now.
        unsafe { real::syscall(SYS_futex, word.addr(), operation, c_int::MAX as usize, 0, 0, 0) };
        wake(word);
    }
}

impl Drop for Running<'_> {
    /// The function has thrown: the next who comes runs it again.
    fn drop(&mut self) {
        self.finish(FRESH);
    }
}

/// Wakes the greenlets that wait. After a system call, or libc's own function, which makes one if it has waited or run
/// something.
fn wake(control: *mut pthread_once_t) {
    if table::anybody() {
        table::wake_after(Kind::Once, control, usize::MAX, Waker::Ordinary);
    }
}
