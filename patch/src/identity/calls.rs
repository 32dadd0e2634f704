//! Calls in which it counts which thread of the kernel makes them, or where its stack is.

use std::ffi::c_void;
use std::mem;
use std::ptr::{self, NonNull};

use libc::{
    ESRCH, c_char, c_int, clockid_t, cpu_set_t, pid_t, pthread_attr_t, pthread_t, sched_param, sigval, size_t, termios,
    winsize,
};
use sward_runtime::lowlevel::hooks::{self, ThreadPointer};

use super::block::Block;
use super::{KNOWN, after_fork, on_hub};
use crate::locks;
use crate::table::real;

/// Declares calls that fork. libc keeps the caller, and forgets all others of its list of threads.
macro_rules! that_fork {
    ($($name:ident($($arg:ident: $type:ty),*);)*) => {
        $(
            /// As the function of that name in the manual.
            #[allow(non_snake_case, reason = "as in C")]
            pub(crate) unsafe fn $name($($arg: $type),*) -> c_int {
                // SAFETY: the caller's promise.
                in_child_too(|| unsafe { real::$name($($arg),*) })
            }
        )*
    };
}

that_fork! {
    fork();
    __fork();
    daemon(keep_directory: c_int, keep_streams: c_int);
    forkpty(terminal: *mut c_int, name: *mut c_char, settings: *const termios, size: *const winsize);
}

/// As `_Fork(3)`, which calls no handlers: on any thread, what those do for the child is done here.
#[expect(non_snake_case, reason = "as in C")]
pub(crate) unsafe fn _Fork() -> pid_t {
    // SAFETY: takes nothing.
    let result = in_child_too(|| unsafe { real::_Fork() });
    if result == 0 {
        hooks::abandon();
        locks::forget();
        after_fork();
    }
    result
}

/// Makes a call that may return in a child.
fn in_child_too(f: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: takes nothing.
    let parent = unsafe { libc::getpid() };
    let result = on_hub(f);
    // SAFETY: takes nothing.
    if unsafe { libc::getpid() } != parent {
        // The child has forgotten the parent's hub at most on the hub's thread-locals.
        hooks::abandon();
    }
    result
}

/// As `pthread_exit(3)`, which a greenlet cannot do: it ends by returning.
pub(crate) unsafe fn pthread_exit(_: *mut c_void) -> ! {
    let message = b"sward-patch: pthread_exit was called in a greenlet, which is none of libc's threads; aborting\n";
    // SAFETY: plain bytes to standard error, by the system call: `write` is hooked too.
    unsafe { libc::syscall(libc::SYS_write, 2, message.as_ptr(), message.len()) };
    std::process::abort();
}

/// Declares calls that take a thread: a greenlet's stands for its hub's, whoever calls.
macro_rules! of_thread {
    ($($name:ident($($arg:ident: $type:ty),*);)*) => {
        $(
            /// As the function of that name in section 3 of the manual.
            pub(crate) unsafe fn $name(thread: pthread_t, $($arg: $type),*) -> c_int {
                let thread = hubs_thread(thread).unwrap_or(thread);
                // SAFETY: the caller's promise.
                unsafe { real::$name(thread, $($arg),*) }
            }
        )*
    };
}

of_thread! {
    pthread_kill(signal: c_int);
    pthread_sigqueue(signal: c_int, value: sigval);
    pthread_getaffinity_np(size: size_t, set: *mut cpu_set_t);
    pthread_setaffinity_np(size: size_t, set: *const cpu_set_t);
    pthread_getcpuclockid(clock: *mut clockid_t);
    pthread_getschedparam(policy: *mut c_int, parameters: *mut sched_param);
    pthread_setschedparam(policy: c_int, parameters: *const sched_param);
    pthread_setschedprio(priority: c_int);
}

/// As `pthread_cancel(3)`. libc ends a thread from its beginning, of which it knows nothing in a greenlet; and to end
/// the thread that it is on would end others too.
pub(crate) unsafe fn pthread_cancel(thread: pthread_t) -> c_int {
    match hubs_thread(thread) {
        Some(_) => ESRCH,
        // SAFETY: the caller's promise.
        None => unsafe { real::pthread_cancel(thread) },
    }
}

/// The thread that a greenlet is on, if `thread` is a greenlet's.
fn hubs_thread(thread: pthread_t) -> Option<pthread_t> {
    let known = KNOWN.get()?;
    let address = NonNull::new(ptr::with_exposed_provenance_mut(thread as usize))?;
    let home = Block::home_of(ThreadPointer::new(address), &known.layout)?;
    Some(home.address().as_ptr().addr() as pthread_t)
}

/// As `pthread_getattr_np(3)`: the calling greenlet's stack is the greenlet's; what else is asked of one is its thread's,
/// also in a child that a greenlet has forked.
pub(crate) unsafe fn pthread_getattr_np(thread: pthread_t, attributes: *mut pthread_attr_t) -> c_int {
    // SAFETY: takes nothing.
    let stack = hooks::stack().filter(|_| thread == unsafe { libc::pthread_self() });
    let Some(stack) = stack else {
        let thread = hubs_thread(thread).unwrap_or(thread);
        // SAFETY: the caller's promise.
        return unsafe { real::pthread_getattr_np(thread, attributes) };
    };
    // SAFETY: the caller's place; `attributes` is initialised by the first call.
    unsafe {
        match libc::pthread_attr_init(attributes) {
            0 => {}
            error => return error,
        }
        libc::pthread_attr_setguardsize(attributes, 0);
        libc::pthread_attr_setstack(attributes, stack.start as *mut c_void, stack.end - stack.start)
    }
}

// A thread is an address in this libc, and nothing else fits where one is kept.
const _: () = assert!(mem::size_of::<pthread_t>() == mem::size_of::<usize>());
