//! `setuid` and its like, which libc does on all threads of its list: it sends each a signal, whose handler makes the
//! call for that thread, and notes *by the thread pointer* that it has; libc sends again until every thread has.
//!
//! ```text
//!   setuid ──▶ signal ──▶ ours: on the hub's thread pointer ──▶ libc's handler
//! ```
//!
//! In a greenlet the note would go to the greenlet's block, and libc would send again until the thread is found outside
//! greenlets: for as long as one computes. So its handler is called by ours.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use libc::{SYS_rt_sigaction, c_char, gid_t, size_t, uid_t};
use sward_runtime::lowlevel::hooks;

use super::{KNOWN, on_hub};
use crate::table::real;

/// Declares calls that libc makes on all threads of its list, of which the hub's is one.
macro_rules! on_all_threads {
    ($($name:ident($($arg:ident: $type:ty),*);)*) => {
        $(
            /// As the function of that name in section 2 of the manual.
            pub(crate) unsafe fn $name($($arg: $type),*) -> c_int {
                stand_before_libcs();
                // SAFETY: the caller's promise.
                on_hub(|| unsafe { real::$name($($arg),*) })
            }
        )*
    };
}

on_all_threads! {
    setuid(uid: uid_t);
    setgid(gid: gid_t);
    seteuid(uid: uid_t);
    setegid(gid: gid_t);
    setreuid(real: uid_t, effective: uid_t);
    setregid(real: gid_t, effective: gid_t);
    setresuid(real: uid_t, effective: uid_t, saved: uid_t);
    setresgid(real: gid_t, effective: gid_t, saved: gid_t);
    setgroups(count: size_t, groups: *const gid_t);
    initgroups(user: *const c_char, group: gid_t);
}

/// `SIGSETXID`, the second of the signals that libc keeps for itself.
const SIGNAL: c_int = 33;

/// libc's handler.
static LIBCS: AtomicUsize = AtomicUsize::new(0);

/// What a signal does, as the kernel knows it on x86-64.
#[repr(C)]
#[derive(Default)]
struct Action {
    /// What is called; 0 and 1 are no functions.
    handler: usize,
    /// How.
    flags: u64,
    /// What it returns to.
    restorer: usize,
    /// What is blocked meanwhile.
    mask: u64,
}

/// Puts our handler before libc's, if that is there: libc has it from its first thread on.
fn stand_before_libcs() {
    if KNOWN.get().is_none() {
        return;
    }
    // By the system call: libc does not let anybody at this signal.
    let exchange = |new: *const Action, old: *mut Action| {
        // SAFETY: null, or an action as the kernel has it.
        unsafe { libc::syscall(SYS_rt_sigaction, SIGNAL, new, old, size_of::<u64>()) }
    };
    let mut action = Action::default();
    let ours = handle as *const () as usize;
    if exchange(ptr::null(), &raw mut action) == 0 && action.handler > 1 && action.handler != ours {
        LIBCS.store(action.handler, Ordering::Release);
        action.handler = ours;
        exchange(&raw const action, ptr::null_mut());
    }
}

/// What a handler is given.
struct Signal(c_int, *mut c_void, *mut c_void);

/// Ours.
extern "C" fn handle(signal: c_int, about: *mut c_void, context: *mut c_void) {
    let mut signal = Signal(signal, about, context);
    match hooks::home() {
        // SAFETY: the thread's own thread pointer, on that thread; libc's handler neither unwinds nor parks.
        Some(home) => unsafe { home.call(pass_on, (&raw mut signal).cast()) },
        None => pass_on((&raw mut signal).cast()),
    }
}

/// Calls libc's.
extern "C" fn pass_on(signal: *mut c_void) {
    /// A handler's type.
    type Handler = extern "C" fn(c_int, *mut c_void, *mut c_void);
    // SAFETY: lent by `handle`.
    let Signal(signal, about, context) = unsafe { signal.cast::<Signal>().read() };
    // SAFETY: what libc had given the kernel for a handler, before ours could be called.
    let libcs = unsafe { std::mem::transmute::<usize, Handler>(LIBCS.load(Ordering::Acquire)) };
    libcs(signal, about, context);
}
