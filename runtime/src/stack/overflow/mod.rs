//! What happens when a greenlet runs into its guard: the process says which greenlet it was, and aborts.
//!
//! ```text
//!   greenlet's stack            signal stack of the thread (`AlternateStack`)
//!   ────────────────            ─────────────────────────────────────────────
//!   touches its guard ───────▶  on_fault: does `describe` know the address?
//!     (SIGSEGV, SIGBUS)           ├── yes ──▶ report: the essential line, a backtrace, abort
//!                                 └── no ───▶ chain: whoever handled the signal before us,
//!                                             so std still reports a thread's own overflow
//! ```
//!
//! The greenlet is never resumed: its stack is full, so not even a destructor could run. It may have
//! been stopped anywhere, within the allocator too. So the essential line is written without
//! allocating, and only then comes what may go wrong, under an alarm.

mod alternate;
mod backtrace;
mod stderr;
#[cfg(test)]
mod tests;

use std::panic::Location;
use std::ptr;
use std::sync::OnceLock;

use libc::{c_int, c_void, sigaction, siginfo_t};

pub(crate) use alternate::AlternateStack;

use crate::fork::Once;
use crate::handler;

/// The greenlet that overflowed its stack.
pub(crate) struct Victim<'a> {
    /// Its name, if it was given one.
    pub(crate) name: Option<&'a str>,
    /// Its number on its hub.
    pub(crate) id: u64,
    /// Usable bytes of its stack.
    pub(crate) stack_size: usize,
    /// Where that begins: an address above its frames.
    pub(crate) stack_top: usize,
    /// Where it was spawned.
    pub(crate) spawned_at: &'static Location<'static>,
}

/// Tells whether `address` lies in the guard of the greenlet that runs on this thread, and if so
/// calls `report` with what is known about that greenlet. Called in a signal handler, on the thread
/// that faulted: it must not allocate, lock or unwind.
pub(crate) type Describe = fn(address: usize, report: &mut dyn FnMut(Victim<'_>)) -> bool;

/// The signals that an access to a guard may raise.
const SIGNALS: [c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// Who knows the greenlets; set before the handlers are.
static DESCRIBE: OnceLock<Describe> = OnceLock::new();
/// Who handled each of `SIGNALS` before us; set before our handlers are.
static FORMER: [OnceLock<sigaction>; 2] = [const { OnceLock::new() }; 2];

/// Handles faults in this process from now on, once and for all.
pub(crate) fn install(describe: Describe) {
    static INSTALLED: Once = Once::new();
    INSTALLED.call(|| {
        DESCRIBE.get_or_init(|| describe);
        for (signal, former) in SIGNALS.into_iter().zip(&FORMER) {
            // SAFETY: `on_fault` is made to run at any moment.
            unsafe { handler::install(signal, on_fault, 0, former) };
        }
    });
}

/// The handler. Ends the process if a greenlet overflowed its stack; otherwise as if we were not here.
extern "C" fn on_fault(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes valid information, and for these signals it has an
    // address when the kernel itself raised them.
    let (by_kernel, address) = unsafe { ((*info).si_code > 0, (*info).si_addr() as usize) };
    if by_kernel && let Some(describe) = DESCRIBE.get() {
        let is_overflow = describe(address, &mut |victim| report(&victim));
        if is_overflow {
            std::process::abort();
        }
    }
    // SAFETY: the arguments are the kernel's, passed on.
    unsafe { chain(signal, by_kernel, info, context) };
}

/// Says what happened, the essential line first.
fn report(victim: &Victim<'_>) {
    use std::fmt::Write;

    stderr::wait_for_my_turn();
    backtrace::limit_time();
    let mut out = stderr::Stderr::new();
    let _ = write!(out, "sward: greenlet {}", victim.id);
    if let Some(name) = victim.name {
        let _ = write!(out, " {name:?}");
    }
    let _ = writeln!(
        out,
        " (spawned at {}) overflowed its stack of {} bytes; give it more with Builder::stack_size, or look for an \
         endless recursion",
        victim.spawned_at, victim.stack_size,
    );
    out.flush();
    backtrace::write(&mut out, victim.stack_top);
    out.flush();
}

/// Does what would have happened without our handler.
///
/// # Safety
///
/// The arguments are those of a signal handler with SA_SIGINFO, on its stack.
unsafe fn chain(signal: c_int, by_kernel: bool, info: *mut siginfo_t, context: *mut c_void) {
    let place = SIGNALS.iter().position(|&known| known == signal);
    let Some(former) = place.and_then(|place| FORMER[place].get()) else { return };
    match former.sa_sigaction {
        libc::SIG_IGN if !by_kernel => {}
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: puts an action in force that was in force before. The faulting instruction then
            // runs into it; a signal that somebody sent has to be sent once more.
            unsafe {
                libc::sigaction(signal, former, ptr::null_mut());
                if !by_kernel {
                    libc::raise(signal);
                }
            }
        }
        // SAFETY: the arguments are the kernel's, passed on.
        _ => unsafe { handler::call(former, signal, info, context) },
    }
}
