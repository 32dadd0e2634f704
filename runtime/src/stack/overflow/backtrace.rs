//! The backtrace in an overflow report, taken on the signal stack.
//!
//! ```text
//!   on_fault, report, …     on the signal stack: left out
//!   recurse                 ┐
//!   recurse                 │ innermost calls: printed as they are met
//!   …                       ┘
//!   … 5,173 calls left out
//!   recurse                 ┐ outermost calls: kept in a ring, printed at the end; they show
//!   handle_connection       ┘ how the recursion began
//!   the hub                 beyond the greenlet's stack: left out
//! ```
//!
//! Looking up names allocates, takes locks and reads the program's debug information. If the
//! overflow happened within the allocator, that never ends: so `limit_time` sets an alarm.

use std::ffi::c_void;
use std::fmt::Write;
use std::{mem, process, ptr};

use super::stderr::Stderr;
use crate::calls;

/// Calls printed from the innermost on.
const INNERMOST: usize = 80;
/// Calls printed at the other end.
const OUTERMOST: usize = 20;
/// Calls looked at. A gigabyte of stack may hold more than anybody wants to wait for.
const MOST: usize = 200_000;
/// Seconds until the process is ended, with or without a backtrace.
const SECONDS: u32 = 5;

/// From now on the process has a few seconds left.
pub(super) fn limit_time() {
    extern "C" fn give_up(_: libc::c_int) {
        let mut out = Stderr::new();
        let _ = out.write_str("sward: the backtrace took too long and is cut off\n");
        out.flush();
        process::abort();
    }
    // SAFETY: all zeroes is a `sigaction`; `give_up` calls nothing that a handler may not call. All
    // functions here may be called in a handler. The program's own use of SIGALRM ends here, as it does.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_flags = libc::SA_ONSTACK;
        action.sa_sigaction = give_up as *const () as usize;
        libc::sigaction(libc::SIGALRM, &action, ptr::null_mut());
        let mut alarm: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&mut alarm);
        libc::sigaddset(&mut alarm, libc::SIGALRM);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &alarm, ptr::null_mut());
        libc::alarm(SECONDS);
    }
}

/// Prints the calls on the stack that begins at `top`.
pub(super) fn write(out: &mut Stderr, top: usize) {
    let signal_stack = signal_stack();
    let mut outermost = [ptr::null_mut::<c_void>(); OUTERMOST];
    let mut count = 0;
    let _ = out.write_str("Calls, the innermost first:\n");
    ::backtrace::trace(|frame| {
        let at = frame.sp() as usize;
        if signal_stack.contains(&at) {
            return true;
        }
        if at > top || count == MOST {
            return false;
        }
        if count < INNERMOST {
            write_call(out, count, frame.ip());
        } else {
            outermost[count % OUTERMOST] = frame.ip();
        }
        count += 1;
        true
    });
    if count > INNERMOST + OUTERMOST {
        let _ = writeln!(out, "      … {} calls left out", count - INNERMOST - OUTERMOST);
    }
    for index in INNERMOST.max(count.saturating_sub(OUTERMOST))..count {
        write_call(out, index, outermost[index % OUTERMOST]);
    }
    if count == MOST {
        let _ = out.write_str("      … and so on\n");
    }
}

/// Prints one call, at once: the next may be one too many.
fn write_call(out: &mut Stderr, index: usize, ip: *mut c_void) {
    let _ = calls::write(out, index, ip.addr());
    out.flush();
}

/// The addresses of the signal stack that we run on.
fn signal_stack() -> std::ops::Range<usize> {
    // SAFETY: all zeroes is a `stack_t`; the call writes the stack in force there, changes nothing,
    // and may be called in a handler.
    let stack = unsafe {
        let mut stack: libc::stack_t = mem::zeroed();
        libc::sigaltstack(ptr::null(), &mut stack);
        stack
    };
    let start = stack.ss_sp as usize;
    start..start.saturating_add(stack.ss_size)
}
