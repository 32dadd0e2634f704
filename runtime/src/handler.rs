//! Signal handlers that leave those before them in force.

use std::sync::OnceLock;
use std::{mem, ptr};

use libc::{c_int, c_void, sigaction, siginfo_t};

/// A handler as SA_SIGINFO calls it.
pub(crate) type Handler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

/// Puts `handler` in the place of the one in force for `signal`, which is kept in `former`. It runs on the thread's
/// signal stack if there is one.
///
/// # Safety
///
/// `handler` must do nothing that may not be done at any moment: in an allocation, with any lock held.
pub(crate) unsafe fn install(signal: c_int, handler: Handler, flags: c_int, former: &OnceLock<sigaction>) {
    // SAFETY: all zeroes is a `sigaction`: no flags, an empty mask, the default action.
    let mut action: sigaction = unsafe { mem::zeroed() };
    // SAFETY: asks for the action in force, which is written to a valid place.
    if unsafe { libc::sigaction(signal, ptr::null(), &mut action) } != 0 {
        return;
    }
    former.get_or_init(|| action);
    // SAFETY: as above.
    let mut action: sigaction = unsafe { mem::zeroed() };
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | flags;
    action.sa_sigaction = handler as *const () as usize;
    // SAFETY: `handler` has the signature that SA_SIGINFO asks for, and the caller vouches for what it does.
    unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
}

/// Calls the handler that `former` is, if it is one and neither the default nor to ignore the signal.
///
/// # Safety
///
/// The arguments are those of a signal handler with SA_SIGINFO, on its stack.
pub(crate) unsafe fn call(former: &sigaction, signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    if matches!(former.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN) {
        return;
    }
    // SAFETY: the kernel would have blocked these signals for that handler; the mask is put back when our handler
    // returns. The address is a function of the signature that the flags say: the kernel would have called it in the
    // same way.
    unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, &former.sa_mask, ptr::null_mut());
        if former.sa_flags & libc::SA_SIGINFO != 0 {
            let handler: Handler = mem::transmute(former.sa_sigaction);
            handler(signal, info, context);
        } else {
            let handler: extern "C" fn(c_int) = mem::transmute(former.sa_sigaction);
            handler(signal);
        }
    }
}
