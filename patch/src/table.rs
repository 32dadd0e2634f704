//! The hooked functions: for each the real one, the hook, and the exported symbol.
//!
//! ```text
//!   std, C libraries ──▶ recv (exported) ──▶ hook::recv ──▶ gate ──▶ green::receive::recv ──▶ real::recv
//!   objects that symbol resolution ─────────────▲
//!   does not reach: repaired slots
//! ```
//!
//! The exported symbols are found before libc's because the program itself comes first in the order
//! of symbol resolution, and the linker exports what libc also defines.

#![allow(non_snake_case, reason = "named as in C")]

#[cfg(shared_libc)]
use std::ffi::{c_char, c_long};
use std::ffi::{c_int, c_uint, c_void};

#[cfg(shared_libc)]
use libc::{
    addrinfo, cpu_set_t, gid_t, hostent, pthread_attr_t, pthread_barrier_t, pthread_cond_t, pthread_key_t,
    pthread_mutex_t, pthread_once_t, pthread_rwlock_t, sched_param, sem_t, sigval, termios, uid_t, winsize,
};
use libc::{
    clockid_t, epoll_event, fd_set, id_t, idtype_t, iovec, loff_t, mmsghdr, msghdr, nfds_t, off_t, pid_t, pollfd,
    pthread_t, rusage, siginfo_t, sigset_t, size_t, sockaddr, socklen_t, ssize_t, timespec, timeval, useconds_t,
};

use crate::function::Function;
use crate::report::Missing;
#[cfg(not(shared_libc))]
use crate::system as first;
use crate::{gate, green};
#[cfg(shared_libc)]
use crate::{identity, identity::list_lock::Each, locks, locks::once::Init};

/// Declares the functions; `greenlet` hooks act for greenlets, `hub` hooks on any thread with a hub, `identity` hooks
/// for greenlets with thread-locals of their own, `always` hooks for everybody, also before `patch::all`. Those of
/// `lock` and `counted` are told which function they are: they act as those of `identity` and `always`.
macro_rules! functions {
    ($(cfg($when:meta) extern $abi:literal or $why:literal {
        $($kind:ident fn $name:ident($($arg:ident: $type:ty),*) -> $result:ty = $green:path;)*
    })*) => {
        /// Places in [`TABLE`].
        #[allow(non_camel_case_types, reason = "named as in C")]
        enum Index { $($(#[cfg($when)] $name),*),* }

        /// How many there are in this program.
        const COUNT: usize = [$($(#[cfg($when)] stringify!($name)),*),*].len();

        /// All of them.
        pub(crate) static TABLE: [Function; COUNT] = [
            $($(#[cfg($when)] Function::new(
                concat!(stringify!($name), "\0").as_bytes(),
                hook::$name as *const c_void,
                exported::$name as *const c_void,
                first::$name as *const c_void,
            )),*),*
        ];

        /// Those that have no hook in this program, and why.
        pub(crate) const LEFT_OUT: &[Missing] =
            &[$($(#[cfg(not($when))] Missing { function: stringify!($name), why: $why }),*),*];

        /// libc's own functions.
        pub(crate) mod real {
            use super::*;
            $($(
                /// libc's.
                ///
                /// # Safety
                ///
                /// As the C function.
                #[inline(always)]
                #[allow(clippy::too_many_arguments, dead_code, reason = "as in C")]
                #[cfg($when)]
                pub(crate) unsafe fn $name($($arg: $type),*) -> $result {
                    let real = TABLE[Index::$name as usize].real();
                    // SAFETY: the address is that of libc's function or of the one in `first`, of the same type.
                    let real: unsafe extern $abi fn($($type),*) -> $result = unsafe { std::mem::transmute(real) };
                    // SAFETY: the caller vouches for what the C function asks for.
                    unsafe { real($($arg),*) }
                }
            )*)*
        }

        /// Stand for libc's own functions until they are needed.
        #[cfg(shared_libc)]
        mod first {
            use super::*;
            $($(
                /// # Safety
                ///
                /// As the C function.
                #[cold]
                #[allow(clippy::too_many_arguments, reason = "as in C")]
                #[cfg($when)]
                pub(crate) unsafe extern $abi fn $name($($arg: $type),*) -> $result {
                    let real = TABLE[Index::$name as usize].find();
                    // SAFETY: the address was looked up under this name, and the type is the C one.
                    let real: unsafe extern $abi fn($($type),*) -> $result = unsafe { std::mem::transmute(real) };
                    // SAFETY: the caller vouches for what the C function asks for.
                    unsafe { real($($arg),*) }
                }
            )*)*
        }

        /// The hooks.
        pub(crate) mod hook {
            use super::*;
            $($(
                /// # Safety
                ///
                /// As the C function.
                #[inline(always)]
                #[allow(clippy::too_many_arguments, reason = "as in C")]
                #[cfg($when)]
                pub(crate) unsafe extern $abi fn $name($($arg: $type),*) -> $result {
                    functions!(@body $kind $name $green, ($($arg: $type),*) -> $result)
                }
            )*)*
        }

        /// The symbols that everybody else's calls find.
        mod exported {
            use super::*;
            $($(
                /// # Safety
                ///
                /// As the C function.
                #[allow(clippy::too_many_arguments, reason = "as in C")]
                #[unsafe(no_mangle)]
                #[cfg($when)]
                pub(crate) unsafe extern $abi fn $name($($arg: $type),*) -> $result {
                    // SAFETY: passed on as they came.
                    unsafe { hook::$name($($arg),*) }
                }
            )*)*
        }
    };
    (@body greenlet $name:ident $green:path, ($($arg:ident: $type:ty),*) -> $result:ty) => {{
        /// The rest, apart: so that the way past the gate is a jump and not a call. A return after a
        /// system call is one that the processor predicts wrong.
        ///
        /// # Safety
        ///
        /// As the C function.
        #[inline(never)]
        #[allow(clippy::too_many_arguments, reason = "as in C")]
        unsafe extern "C" fn enter($($arg: $type),*) -> $result {
            match gate::enter(&TABLE[Index::$name as usize]) {
                // SAFETY: passed on as they came.
                None => unsafe { real::$name($($arg),*) },
                // SAFETY: the green functions ask for what the C functions ask for. What they lend to
                // the kernel or read after parking is the caller's, whose frame stays where it is: a
                // greenlet's stack is not reused before it has returned (invariant 8).
                Some(inside) => unsafe { $green(&inside, $($arg),*) },
            }
        }
        if gate::is_shut() {
            // SAFETY: passed on as they came.
            return unsafe { real::$name($($arg),*) };
        }
        // SAFETY: as above.
        unsafe { enter($($arg),*) }
    }};
    (@body always $name:ident $green:path, ($($arg:ident: $type:ty),*) -> $result:ty) => {
        // SAFETY: passed on as they came.
        unsafe { $green($($arg),*) }
    };
    (@body identity $name:ident $green:path, ($($arg:ident: $type:ty),*) -> $result:ty) => {
        if gate::is_open() && sward_runtime::lowlevel::hooks::home().is_some() {
            // SAFETY: passed on as they came.
            unsafe { $green($($arg),*) }
        } else {
            // SAFETY: passed on as they came.
            unsafe { real::$name($($arg),*) }
        }
    };
    (@body lock $name:ident $green:path, ($($arg:ident: $type:ty),*) -> $result:ty) => {
        if locks::is_shut() {
            // SAFETY: passed on as they came.
            unsafe { real::$name($($arg),*) }
        } else {
            // SAFETY: as at `greenlet`.
            unsafe { $green(&TABLE[Index::$name as usize], $($arg),*) }
        }
    };
    (@body counted $name:ident $green:path, ($($arg:ident: $type:ty),*) -> $result:ty) => {
        // SAFETY: as at `greenlet`.
        unsafe { $green(&TABLE[Index::$name as usize], $($arg),*) }
    };
    (@body hub $name:ident $green:path, ($($arg:ident: $type:ty),*) -> $result:ty) => {
        if gate::is_open() && sward_runtime::lowlevel::hooks::on_hub() {
            // SAFETY: passed on as they came.
            unsafe { $green($($arg),*) }
        } else {
            // SAFETY: passed on as they came.
            unsafe { real::$name($($arg),*) }
        }
    };
}

functions! {
    cfg(hooks) extern "C" or "" {
        greenlet fn read(fd: c_int, buffer: *mut c_void, len: size_t) -> ssize_t = green::receive::read;
        greenlet fn readv(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t = green::receive::readv;
        greenlet fn recv(fd: c_int, buffer: *mut c_void, len: size_t, flags: c_int) -> ssize_t = green::receive::recv;
        greenlet fn recvfrom(fd: c_int, buffer: *mut c_void, len: size_t, flags: c_int, from: *mut sockaddr, from_len: *mut socklen_t) -> ssize_t = green::receive::recvfrom;
        greenlet fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t = green::receive::recvmsg;
        greenlet fn recvmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int, limit: *mut timespec) -> c_int = green::receive::recvmmsg;
        greenlet fn __read_chk(fd: c_int, buffer: *mut c_void, len: size_t, size: size_t) -> ssize_t = green::checked::read;
        greenlet fn __recv_chk(fd: c_int, buffer: *mut c_void, len: size_t, size: size_t, flags: c_int) -> ssize_t = green::checked::recv;
        greenlet fn __recvfrom_chk(fd: c_int, buffer: *mut c_void, len: size_t, size: size_t, flags: c_int, from: *mut sockaddr, from_len: *mut socklen_t) -> ssize_t = green::checked::recvfrom;
        greenlet fn __poll_chk(fds: *mut pollfd, count: nfds_t, timeout: c_int, size: size_t) -> c_int = green::checked::poll;
        greenlet fn __ppoll_chk(fds: *mut pollfd, count: nfds_t, limit: *const timespec, mask: *const sigset_t, size: size_t) -> c_int = green::checked::ppoll;
        greenlet fn write(fd: c_int, buffer: *const c_void, len: size_t) -> ssize_t = green::send::write;
        greenlet fn writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t = green::send::writev;
        greenlet fn send(fd: c_int, buffer: *const c_void, len: size_t, flags: c_int) -> ssize_t = green::send::send;
        greenlet fn sendto(fd: c_int, buffer: *const c_void, len: size_t, flags: c_int, to: *const sockaddr, to_len: socklen_t) -> ssize_t = green::send::sendto;
        greenlet fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t = green::send::sendmsg;
        greenlet fn sendmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int) -> c_int = green::send::sendmmsg;
        greenlet fn splice(from: c_int, from_at: *mut loff_t, to: c_int, to_at: *mut loff_t, len: size_t, flags: c_uint) -> ssize_t = green::copy::splice;
        greenlet fn sendfile(to: c_int, from: c_int, at: *mut off_t, len: size_t) -> ssize_t = green::copy::sendfile;
        greenlet fn sendfile64(to: c_int, from: c_int, at: *mut loff_t, len: size_t) -> ssize_t = green::copy::sendfile64;
        greenlet fn connect(fd: c_int, to: *const sockaddr, len: socklen_t) -> c_int = green::connect::connect;
        greenlet fn accept(fd: c_int, from: *mut sockaddr, len: *mut socklen_t) -> c_int = green::connect::accept;
        greenlet fn accept4(fd: c_int, from: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int = green::connect::accept4;
        greenlet fn poll(fds: *mut pollfd, count: nfds_t, timeout: c_int) -> c_int = green::poll::poll;
        greenlet fn ppoll(fds: *mut pollfd, count: nfds_t, limit: *const timespec, mask: *const sigset_t) -> c_int = green::poll::ppoll;
        greenlet fn epoll_wait(epoll: c_int, events: *mut epoll_event, count: c_int, timeout: c_int) -> c_int = green::poll::epoll_wait;
        greenlet fn epoll_pwait(epoll: c_int, events: *mut epoll_event, count: c_int, timeout: c_int, mask: *const sigset_t) -> c_int = green::poll::epoll_pwait;
        greenlet fn epoll_pwait2(epoll: c_int, events: *mut epoll_event, count: c_int, limit: *const timespec, mask: *const sigset_t) -> c_int = green::poll::epoll_pwait2;
        greenlet fn select(count: c_int, reads: *mut fd_set, writes: *mut fd_set, exceptions: *mut fd_set, limit: *mut timeval) -> c_int = green::select::select;
        greenlet fn pselect(count: c_int, reads: *mut fd_set, writes: *mut fd_set, exceptions: *mut fd_set, limit: *const timespec, mask: *const sigset_t) -> c_int = green::select::pselect;
        greenlet fn nanosleep(duration: *const timespec, left: *mut timespec) -> c_int = green::sleep::nanosleep;
        greenlet fn clock_nanosleep(clock: clockid_t, flags: c_int, when: *const timespec, left: *mut timespec) -> c_int = green::sleep::clock_nanosleep;
        greenlet fn usleep(micros: useconds_t) -> c_int = green::sleep::usleep;
        greenlet fn sleep(seconds: c_uint) -> c_uint = green::sleep::sleep;
        greenlet fn sched_yield() -> c_int = green::sleep::sched_yield;
        greenlet fn thrd_sleep(duration: *const timespec, left: *mut timespec) -> c_int = green::sleep::thrd_sleep;
        greenlet fn thrd_yield() -> () = green::sleep::thrd_yield;
        greenlet fn waitpid(pid: pid_t, status: *mut c_int, options: c_int) -> pid_t = green::children::waitpid;
        greenlet fn wait4(pid: pid_t, status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t = green::children::wait4;
        greenlet fn waitid(kind: idtype_t, id: id_t, info: *mut siginfo_t, options: c_int) -> c_int = green::children::waitid;
        greenlet fn pthread_join(thread: pthread_t, value: *mut *mut c_void) -> c_int = green::children::pthread_join;
        greenlet fn thrd_join(thread: pthread_t, value: *mut c_int) -> c_int = green::children::thrd_join;
        greenlet fn flock(fd: c_int, operation: c_int) -> c_int = green::children::flock;
        hub fn close(fd: c_int) -> c_int = green::close::close;
        hub fn dup2(from: c_int, to: c_int) -> c_int = green::close::dup2;
        hub fn dup3(from: c_int, to: c_int, flags: c_int) -> c_int = green::close::dup3;
        hub fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int = green::close::close_range;
    }
    cfg(shared_libc) extern "C" or "libc is linked statically: nothing could stand in for this function behind a hook" {
        greenlet fn getaddrinfo(node: *const c_char, service: *const c_char, hints: *const addrinfo, found: *mut *mut addrinfo) -> c_int = green::names::getaddrinfo;
        greenlet fn getnameinfo(address: *const sockaddr, len: socklen_t, host: *mut c_char, host_len: socklen_t, service: *mut c_char, service_len: socklen_t, flags: c_int) -> c_int = green::names::getnameinfo;
        greenlet fn gethostbyname(name: *const c_char) -> *mut hostent = green::hosts::gethostbyname;
        greenlet fn gethostbyname_r(name: *const c_char, host: *mut hostent, buffer: *mut c_char, len: size_t, found: *mut *mut hostent, error: *mut c_int) -> c_int = green::hosts::gethostbyname_r;
        greenlet fn gethostbyaddr_r(address: *const c_void, address_len: socklen_t, family: c_int, host: *mut hostent, buffer: *mut c_char, len: size_t, found: *mut *mut hostent, error: *mut c_int) -> c_int = green::hosts::gethostbyaddr_r;
        greenlet fn res_query(name: *const c_char, class: c_int, kind: c_int, answer: *mut u8, len: c_int) -> c_int = green::names::res_query;
        greenlet fn res_search(name: *const c_char, class: c_int, kind: c_int, answer: *mut u8, len: c_int) -> c_int = green::names::res_search;
        greenlet fn pthread_barrier_wait(barrier: *mut pthread_barrier_t) -> c_int = green::barrier::wait;
    }
    cfg(shared_libc) extern "C" or "only for greenlets with thread-locals of their own" {
        always fn pthread_key_create(key: *mut pthread_key_t, destructor: Option<unsafe extern "C" fn(*mut c_void)>) -> c_int = identity::keys::create;
        always fn __pthread_key_create(key: *mut pthread_key_t, destructor: Option<unsafe extern "C" fn(*mut c_void)>) -> c_int = identity::keys::create;
        always fn pthread_key_delete(key: pthread_key_t) -> c_int = identity::keys::delete;
        always fn tss_delete(key: pthread_key_t) -> () = identity::keys::delete_tss;
        always fn tss_create(key: *mut pthread_key_t, destructor: Option<unsafe extern "C" fn(*mut c_void)>) -> c_int = identity::keys::create_tss;
        always fn dlclose(library: *mut c_void) -> c_int = identity::late::dlclose;
        identity fn fork() -> pid_t = identity::calls::fork;
        identity fn __fork() -> pid_t = identity::calls::__fork;
        always fn _Fork() -> pid_t = identity::calls::_Fork;
        identity fn daemon(keep_directory: c_int, keep_streams: c_int) -> c_int = identity::calls::daemon;
        identity fn forkpty(terminal: *mut c_int, name: *mut c_char, settings: *const termios, size: *const winsize) -> pid_t = identity::calls::forkpty;
        identity fn pthread_exit(value: *mut c_void) -> ! = identity::calls::pthread_exit;
        always fn exit(status: c_int) -> ! = green::exit::exit;
        counted fn pause() -> c_int = green::exit::pause;
        always fn setuid(uid: uid_t) -> c_int = identity::set_id::setuid;
        always fn setgid(gid: gid_t) -> c_int = identity::set_id::setgid;
        always fn seteuid(uid: uid_t) -> c_int = identity::set_id::seteuid;
        always fn setegid(gid: gid_t) -> c_int = identity::set_id::setegid;
        always fn setreuid(real: uid_t, effective: uid_t) -> c_int = identity::set_id::setreuid;
        always fn setregid(real: gid_t, effective: gid_t) -> c_int = identity::set_id::setregid;
        always fn setresuid(real: uid_t, effective: uid_t, saved: uid_t) -> c_int = identity::set_id::setresuid;
        always fn setresgid(real: gid_t, effective: gid_t, saved: gid_t) -> c_int = identity::set_id::setresgid;
        always fn setgroups(count: size_t, groups: *const gid_t) -> c_int = identity::set_id::setgroups;
        always fn initgroups(user: *const c_char, group: gid_t) -> c_int = identity::set_id::initgroups;
        always fn pthread_getattr_np(thread: pthread_t, attributes: *mut pthread_attr_t) -> c_int = identity::calls::pthread_getattr_np;
        always fn pthread_kill(thread: pthread_t, signal: c_int) -> c_int = identity::calls::pthread_kill;
        always fn pthread_sigqueue(thread: pthread_t, signal: c_int, value: sigval) -> c_int = identity::calls::pthread_sigqueue;
        always fn pthread_cancel(thread: pthread_t) -> c_int = identity::calls::pthread_cancel;
        always fn pthread_getaffinity_np(thread: pthread_t, size: size_t, set: *mut cpu_set_t) -> c_int = identity::calls::pthread_getaffinity_np;
        always fn pthread_setaffinity_np(thread: pthread_t, size: size_t, set: *const cpu_set_t) -> c_int = identity::calls::pthread_setaffinity_np;
        always fn pthread_getcpuclockid(thread: pthread_t, clock: *mut clockid_t) -> c_int = identity::calls::pthread_getcpuclockid;
        always fn pthread_getschedparam(thread: pthread_t, policy: *mut c_int, parameters: *mut sched_param) -> c_int = identity::calls::pthread_getschedparam;
        always fn pthread_setschedparam(thread: pthread_t, policy: c_int, parameters: *const sched_param) -> c_int = identity::calls::pthread_setschedparam;
        always fn pthread_setschedprio(thread: pthread_t, priority: c_int) -> c_int = identity::calls::pthread_setschedprio;
        // Variadic in C; see there.
        always fn syscall(number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long = locks::futex::syscall;
        lock fn pthread_mutex_lock(mutex: *mut pthread_mutex_t) -> c_int = locks::mutex::lock;
        lock fn pthread_mutex_trylock(mutex: *mut pthread_mutex_t) -> c_int = locks::mutex::trylock;
        lock fn pthread_mutex_timedlock(mutex: *mut pthread_mutex_t, until: *const timespec) -> c_int = locks::mutex::timedlock;
        lock fn pthread_mutex_clocklock(mutex: *mut pthread_mutex_t, clock: clockid_t, until: *const timespec) -> c_int = locks::mutex::clocklock;
        always fn pthread_mutex_unlock(mutex: *mut pthread_mutex_t) -> c_int = locks::mutex::unlock;
        counted fn pthread_cond_wait(condition: *mut pthread_cond_t, mutex: *mut pthread_mutex_t) -> c_int = locks::condition::wait;
        counted fn pthread_cond_timedwait(condition: *mut pthread_cond_t, mutex: *mut pthread_mutex_t, until: *const timespec) -> c_int = locks::condition::timedwait;
        counted fn pthread_cond_clockwait(condition: *mut pthread_cond_t, mutex: *mut pthread_mutex_t, clock: clockid_t, until: *const timespec) -> c_int = locks::condition::clockwait;
        always fn pthread_cond_signal(condition: *mut pthread_cond_t) -> c_int = locks::condition::signal;
        always fn pthread_cond_broadcast(condition: *mut pthread_cond_t) -> c_int = locks::condition::broadcast;
        lock fn pthread_rwlock_rdlock(lock: *mut pthread_rwlock_t) -> c_int = locks::rwlock::rdlock;
        lock fn pthread_rwlock_timedrdlock(lock: *mut pthread_rwlock_t, until: *const timespec) -> c_int = locks::rwlock::timedrdlock;
        lock fn pthread_rwlock_clockrdlock(lock: *mut pthread_rwlock_t, clock: clockid_t, until: *const timespec) -> c_int = locks::rwlock::clockrdlock;
        lock fn pthread_rwlock_wrlock(lock: *mut pthread_rwlock_t) -> c_int = locks::rwlock::wrlock;
        lock fn pthread_rwlock_timedwrlock(lock: *mut pthread_rwlock_t, until: *const timespec) -> c_int = locks::rwlock::timedwrlock;
        lock fn pthread_rwlock_clockwrlock(lock: *mut pthread_rwlock_t, clock: clockid_t, until: *const timespec) -> c_int = locks::rwlock::clockwrlock;
        always fn pthread_rwlock_unlock(lock: *mut pthread_rwlock_t) -> c_int = locks::rwlock::unlock;
        lock fn sem_wait(semaphore: *mut sem_t) -> c_int = locks::semaphore::wait;
        lock fn sem_timedwait(semaphore: *mut sem_t, until: *const timespec) -> c_int = locks::semaphore::timedwait;
        lock fn sem_clockwait(semaphore: *mut sem_t, clock: clockid_t, until: *const timespec) -> c_int = locks::semaphore::clockwait;
        always fn sem_post(semaphore: *mut sem_t) -> c_int = locks::semaphore::post;
        lock fn mtx_lock(mutex: *mut pthread_mutex_t) -> c_int = locks::c11::mtx_lock;
        lock fn mtx_trylock(mutex: *mut pthread_mutex_t) -> c_int = locks::c11::mtx_trylock;
        lock fn mtx_timedlock(mutex: *mut pthread_mutex_t, until: *const timespec) -> c_int = locks::c11::mtx_timedlock;
        always fn mtx_unlock(mutex: *mut pthread_mutex_t) -> c_int = locks::c11::mtx_unlock;
        counted fn cnd_wait(condition: *mut pthread_cond_t, mutex: *mut pthread_mutex_t) -> c_int = locks::c11::cnd_wait;
        counted fn cnd_timedwait(condition: *mut pthread_cond_t, mutex: *mut pthread_mutex_t, until: *const timespec) -> c_int = locks::c11::cnd_timedwait;
        always fn cnd_signal(condition: *mut pthread_cond_t) -> c_int = locks::c11::cnd_signal;
        always fn cnd_broadcast(condition: *mut pthread_cond_t) -> c_int = locks::c11::cnd_broadcast;
    }
    // What these call may throw.
    cfg(shared_libc) extern "C-unwind" or "only for greenlets with thread-locals of their own" {
        counted fn pthread_once(control: *mut pthread_once_t, init: Init) -> c_int = locks::once::pthread_once;
        counted fn call_once(control: *mut pthread_once_t, init: Init) -> () = locks::once::call_once;
        counted fn dl_iterate_phdr(each: Option<Each>, data: *mut c_void) -> c_int = identity::list_lock::dl_iterate_phdr;
    }
}

/// The function `syscall`.
#[cfg(shared_libc)]
pub(crate) fn syscall() -> &'static Function {
    &TABLE[Index::syscall as usize]
}
