//! Calls in which it counts which thread of the kernel makes them, or where its stack is.

use std::ffi::c_void;
use std::mem;

use libc::{c_char, c_int, clockid_t, cpu_set_t, gid_t, pid_t, pthread_attr_t, pthread_t, sched_param, size_t, uid_t};
use sward_runtime::lowlevel::hooks;

use super::on_hub;
use crate::table::real;

/// As `fork(2)`. libc keeps the caller, and forgets all others of its list of threads.
pub(crate) unsafe fn fork() -> pid_t {
    // SAFETY: the caller's promise.
    let child = on_hub(|| unsafe { real::fork() });
    if child == 0 {
        // The child has forgotten the parent's hub on the hub's thread-locals only.
        hooks::abandon();
    }
    child
}

/// Declares calls that libc makes on all threads of its list, of which the hub's is one.
macro_rules! on_all_threads {
    ($($name:ident($($arg:ident: $type:ty),*);)*) => {
        $(
            /// As the function of that name in section 2 of the manual.
            pub(crate) unsafe fn $name($($arg: $type),*) -> c_int {
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

/// Declares calls that take a thread: a greenlet's stands for its hub's.
macro_rules! of_thread {
    ($($name:ident($($arg:ident: $type:ty),*);)*) => {
        $(
            /// As the function of that name in section 3 of the manual.
            pub(crate) unsafe fn $name(thread: pthread_t, $($arg: $type),*) -> c_int {
                // SAFETY: the caller's promise.
                unsafe { real::$name(kernel_thread(thread), $($arg),*) }
            }
        )*
    };
}

of_thread! {
    pthread_getaffinity_np(size: size_t, set: *mut cpu_set_t);
    pthread_setaffinity_np(size: size_t, set: *const cpu_set_t);
    pthread_getcpuclockid(clock: *mut clockid_t);
    pthread_getschedparam(policy: *mut c_int, parameters: *mut sched_param);
    pthread_setschedparam(policy: c_int, parameters: *const sched_param);
    pthread_setschedprio(priority: c_int);
}

/// The thread that a greenlet which asks for itself is on.
fn kernel_thread(thread: pthread_t) -> pthread_t {
    // SAFETY: takes nothing.
    if thread != unsafe { libc::pthread_self() } {
        return thread;
    }
    hooks::thread_pointer_of_hub().map_or(thread, |hub| hub.address().as_ptr().addr() as pthread_t)
}

/// As `pthread_getattr_np(3)`: the calling greenlet's stack is the greenlet's.
pub(crate) unsafe fn pthread_getattr_np(thread: pthread_t, attributes: *mut pthread_attr_t) -> c_int {
    // SAFETY: takes nothing.
    let stack = hooks::stack().filter(|_| thread == unsafe { libc::pthread_self() });
    let Some(stack) = stack else {
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
