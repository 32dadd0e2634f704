//! The futex, which std, parking_lot and many others reach through libc's function `syscall`.
//!
//! That function is variadic, and Rust cannot define one. But on x86-64 and aarch64 a variadic function
//! gets its integer arguments where a plain one with as many does: the first six or eight in
//! registers, then on the stack. (What differs are floating-point numbers, of which a system call
//! takes none, and the count of vector registers in `al` on x86-64, which the plain one ignores.) libc's
//! own reads six arguments whatever the number needs, and passes on what it finds where the caller
//! passed fewer; so does this one, and what it finds is on its caller's stack, which can be read.
//!
//! # Private and shared
//!
//! Without `FUTEX_PRIVATE_FLAG` the word may be in memory that other processes share, and a wake by one of them is not
//! seen here. Nor is one through another mapping of the same memory. So a greenlet's wait for such
//! a word ends by itself after a tick, like one that was woken for nothing, which callers of
//! `futex(2)` must expect. Wakes of such words go to the kernel too, as all do.
//!
//! # Who is woken first
//!
//! Threads that wait in the kernel and greenlets that wait here are two queues for one word. Where both
//! have waiters they take turns: else those in the second queue could starve.
//!
//! But a root waits in the kernel, and so does who wakes in the hub's own loop, or unwinds. A greenlet of that thread
//! which is woken does not run then: if it was the only one, nobody would. So while there are such threads each wake is
//! for both queues. Who waits for a futex must expect to be woken for nothing.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use std::arch::asm;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};

use libc::{
    CLOCK_MONOTONIC, CLOCK_REALTIME, EAGAIN, EFAULT, EINVAL, ETIMEDOUT, FUTEX_CLOCK_REALTIME, FUTEX_CMP_REQUEUE,
    FUTEX_PRIVATE_FLAG, FUTEX_REQUEUE, FUTEX_WAIT, FUTEX_WAIT_BITSET, FUTEX_WAKE, FUTEX_WAKE_BITSET, FUTEX_WAKE_OP,
    SYS_futex, c_int, c_long, timespec,
};
use sward_runtime::lowlevel::hooks::{self, Ended};

use super::limit::{Limit, Passed};
use super::table::{self, Kind, Place, Waker};
use crate::function::Function;
use crate::gate::fail;
use crate::green::wait::TICK;
use crate::table::real;

/// As `syscall(2)`: parks a greenlet that waits for a futex, and wakes those that do; the rest is libc's.
#[inline(always)]
pub(crate) unsafe fn syscall(number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long {
    if number != SYS_futex {
        // SAFETY: passed on as they came.
        return unsafe { real::syscall(number, a, b, c, d, e, f) };
    }
    let call = Call { word: a, operation: b, value: c, time: d, word2: e, value3: f };
    if !matches!(call.operation(), FUTEX_WAKE | FUTEX_WAKE_BITSET) || table::anybody() {
        // SAFETY: the caller's arguments.
        return unsafe { other(a, b, c, d, e, f) };
    }
    // SAFETY: as above.
    let woken = unsafe { call.make() };
    // The kernel has passed a barrier since the caller changed the value.
    if table::anybody() { rest(a, b, c, f, woken) } else { woken }
}

/// Greenlets after the threads, if anybody waits. By registers: else the call is written to memory in any case.
#[cold]
#[inline(never)]
extern "C" fn rest(word: usize, operation: usize, value: usize, value3: usize, woken: c_long) -> c_long {
    Call { word, operation, value, time: 0, word2: 0, value3 }.wake_the_rest(woken)
}

/// All but a wake when nobody waits. So many arguments go in registers: the call can be a jump.
#[inline(never)]
unsafe extern "C" fn other(
    word: usize,
    operation: usize,
    value: usize,
    time: usize,
    word2: usize,
    value3: usize,
) -> c_long {
    let call = Call { word, operation, value, time, word2, value3 };
    // SAFETY: the caller's arguments.
    unsafe {
        match call.operation() {
            FUTEX_WAKE | FUTEX_WAKE_BITSET => call.wake_both(),
            FUTEX_WAIT | FUTEX_WAIT_BITSET if !super::is_shut() => call.wait(crate::table::syscall()),
            FUTEX_WAIT | FUTEX_WAIT_BITSET => call.block(),
            FUTEX_REQUEUE | FUTEX_CMP_REQUEUE | FUTEX_WAKE_OP => call.rare(),
            _ => call.make(),
        }
    }
}

/// How many threads that have a hub wait in the kernel.
static BLOCKED: AtomicUsize = AtomicUsize::new(0);

/// A call of `futex(2)`.
#[derive(Clone, Copy)]
struct Call {
    /// The word's address.
    word: usize,
    /// What to do, with flags.
    operation: usize,
    /// What the word must be, or how many to wake.
    value: usize,
    /// A time, or a second count.
    time: usize,
    /// Another word's address.
    word2: usize,
    /// A mask, or yet another value.
    value3: usize,
}

impl Call {
    /// Makes it, in the kernel: here and not by a call of libc's function, since of two returns after a
    /// system call the processor predicts the second one wrong too.
    #[inline(always)]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    unsafe fn make(&self) -> c_long {
        let result: isize;
        // SAFETY: the caller vouches for the arguments; the registers are those of a system call.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            asm!("syscall", inlateout("rax") SYS_futex as isize => result, in("rdi") self.word, in("rsi") self.operation,
                in("rdx") self.value, in("r10") self.time, in("r8") self.word2, in("r9") self.value3,
                lateout("rcx") _, lateout("r11") _, options(nostack));
        }
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        unsafe {
            asm!("svc 0", in("x8") SYS_futex, inlateout("x0") self.word as isize => result, in("x1") self.operation,
                in("x2") self.value, in("x3") self.time, in("x4") self.word2, in("x5") self.value3, options(nostack));
        }
        if (-4095..0).contains(&result) { fail(-result as c_int) } else { result as c_long }
    }

    /// Makes it, in the kernel.
    #[inline(always)]
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    unsafe fn make(&self) -> c_long {
        // SAFETY: the caller vouches for the arguments.
        unsafe { real::syscall(SYS_futex, self.word, self.operation, self.value, self.time, self.word2, self.value3) }
    }

    /// What to do, without flags.
    fn operation(&self) -> c_int {
        self.operation as c_int & !(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME)
    }

    /// Whom it is for.
    fn place(&self) -> Place {
        /// "Locked, and others wait": what `std::sync::Mutex`, and mutexes on futexes in general, wait with. Who waits for
        /// an event waits with a number that changes with each.
        const CONTENDED: u32 = 2;
        let masked = matches!(self.operation(), FUTEX_WAIT_BITSET | FUTEX_WAKE_BITSET);
        let bits = if masked { self.value3 as u32 } else { u32::MAX };
        Place { kind: Kind::Futex, address: self.word, bits, is_lock: self.value as u32 == CONTENDED }
    }

    /// How many to wake: the kernel takes a number that is not positive for 1.
    fn count(&self) -> usize {
        usize::try_from(self.value as c_int).unwrap_or(1).max(1)
    }

    /// After `woken` threads, greenlets.
    #[cold]
    fn wake_the_rest(&self, woken: c_long) -> c_long {
        match usize::try_from(woken) {
            Ok(threads) if threads < self.count() => {
                woken + table::wake(self.place(), self.count() - threads, Waker::Ordinary) as c_long
            }
            _ => woken,
        }
    }

    /// Wakes threads and greenlets, in turns first.
    #[cold]
    unsafe fn wake_both(&self) -> c_long {
        /// Counts such wakes.
        static TURN: AtomicU32 = AtomicU32::new(0);
        // After the value was changed: who is not counted yet finds it changed.
        fence(Ordering::SeqCst);
        if BLOCKED.load(Ordering::SeqCst) > 0 {
            // SAFETY: the caller's arguments.
            let threads = unsafe { self.make() };
            let Ok(woken) = usize::try_from(threads) else { return threads };
            return (woken + table::wake(self.place(), self.count(), Waker::Ordinary)).min(self.count()) as c_long;
        }
        if !table::waits(self.place()) || TURN.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            // SAFETY: the caller's arguments.
            let woken = unsafe { self.make() };
            return self.wake_the_rest(woken);
        }
        let greenlets = table::wake(self.place(), self.count(), Waker::Ordinary);
        if greenlets >= self.count() {
            return greenlets as c_long;
        }
        let rest = Call { value: self.count() - greenlets, ..*self };
        // SAFETY: the caller's arguments.
        match unsafe { rest.make() } {
            // Once more: only the kernel's barrier makes sure that whoever is counted is seen.
            threads @ 0.. => greenlets as c_long + rest.wake_the_rest(threads),
            _ if greenlets > 0 => greenlets as c_long,
            error => error,
        }
    }

    /// Calls that move waiters to another word, or look at two: all greenlets concerned are woken, and look
    /// for themselves. The result counts threads only.
    #[cold]
    unsafe fn rare(&self) -> c_long {
        // SAFETY: the caller's arguments.
        let result = unsafe { self.make() };
        fence(Ordering::SeqCst);
        if table::anybody() {
            let place = self.place();
            table::wake(place, usize::MAX, Waker::Ordinary);
            if self.operation() == FUTEX_WAKE_OP {
                table::wake(Place { address: self.word2, ..place }, usize::MAX, Waker::Ordinary);
            }
        }
        result
    }

    /// Until when it waits, by `FUTEX_WAIT`'s rules or `FUTEX_WAIT_BITSET`'s.
    unsafe fn limit(&self) -> Option<Limit> {
        let time = self.time as *const timespec;
        let clock = match self.operation as c_int & FUTEX_CLOCK_REALTIME {
            0 => CLOCK_MONOTONIC,
            _ => CLOCK_REALTIME,
        };
        match self.operation() {
            // SAFETY: the caller's, or null.
            FUTEX_WAIT => unsafe { Limit::after(time) },
            // SAFETY: as above.
            _ => unsafe { Limit::at(clock, time) },
        }
    }

    /// Waits, in the kernel.
    unsafe fn block(&self) -> c_long {
        if !super::is_open() || !hooks::on_hub() {
            // SAFETY: the caller's arguments.
            return unsafe { self.make() };
        }
        BLOCKED.fetch_add(1, Ordering::SeqCst);
        // SAFETY: as above.
        let result = unsafe { self.make() };
        BLOCKED.fetch_sub(1, Ordering::SeqCst);
        result
    }

    /// Waits, in a greenlet.
    unsafe fn wait(&self, function: &'static Function) -> c_long {
        // SAFETY: the caller's arguments.
        let limit = unsafe { self.limit() };
        let Some((inside, limit)) = super::enter(function).zip(limit) else {
            // SAFETY: the caller's arguments.
            return unsafe { self.block() };
        };
        let place = self.place();
        if !self.word.is_multiple_of(align_of::<AtomicU32>()) || place.bits == 0 {
            return fail(EINVAL);
        }
        if self.word == 0 {
            return fail(EFAULT);
        }
        // SAFETY: the caller's word, which others change by atomic operations.
        let word = unsafe { AtomicU32::from_ptr(self.word as *mut u32) };
        let changed = || (word.load(Ordering::SeqCst) != self.value as u32).then_some(());
        if changed().is_some() {
            return fail(EAGAIN);
        }
        let is_shared = self.operation as c_int & FUTEX_PRIVATE_FLAG == 0;
        let mut has_parked = false;
        loop {
            let deadline = match limit.next(is_shared.then_some(TICK)) {
                Ok(deadline) => deadline,
                Err(Passed) => {
                    // Who waits again and again for no time would otherwise never let the others run.
                    if !has_parked {
                        inside.yield_now();
                    }
                    return fail(ETIMEDOUT);
                }
            };
            has_parked = true;
            let waited = table::wait(&inside, place, false, deadline, changed);
            if waited.woken {
                return 0;
            }
            if waited.found.is_some() {
                return fail(EAGAIN);
            }
            // The time is up, or it was not yet: by the wall clock, which was set meanwhile.
            if is_shared && waited.ended == Ended::TimedOut && !limit.passed() {
                return 0;
            }
        }
    }
}
