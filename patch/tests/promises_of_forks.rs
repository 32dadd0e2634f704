//! Children that a greenlet forks after `patch::all` find greenlets that work, and nothing locked.
#![cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]

mod support;

use std::backtrace::Backtrace;
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use support::patched;
use sward::spawn;

thread_local! {
    static NUMBER: Cell<u32> = const { Cell::new(7) };
}

// The sanitizer makes its allocator ready for a fork in a hook of its own, which ours goes past.
#[test]
fn a_child_process_and_its_greenlets_not_under_asan() {
    patched("a_child_process_and_its_greenlets_not_under_asan", || {
        let g = spawn(|| {
            let parent = thread::current().id();
            in_child(|| thread::current().id() == parent && spawn(|| NUMBER.get()).join().is_ok_and(|got| got == 7));
            assert!(std::process::Command::new("true").status().unwrap().success());
        });
        g.join().unwrap();
    });
}

#[test]
fn children_find_nothing_locked_that_other_threads_greenlets_lock_at_their_ends_not_under_asan() {
    const NAME: &str = "children_find_nothing_locked_that_other_threads_greenlets_lock_at_their_ends_not_under_asan";
    patched(NAME, || {
        let ends = || spawn(|| ()).join().unwrap();
        meanwhile(&[ends, ends], || (0..200).for_each(|_| in_child(|| spawn(|| ()).join().is_ok())));
    });
}

#[test]
fn children_find_nothing_locked_that_libc_locks_while_others_look_at_what_is_loaded_not_under_asan() {
    const NAME: &str =
        "children_find_nothing_locked_that_libc_locks_while_others_look_at_what_is_loaded_not_under_asan";
    patched(NAME, || {
        let looks = || _ = objects(|| ());
        let prints = || assert!(!Backtrace::force_capture().to_string().is_empty());
        let in_child_too = || spawn(|| ()).join().is_ok() && objects(|| ()) > 0;
        meanwhile(&[looks, looks, prints], move || (0..50).for_each(|_| in_child(in_child_too)));
    });
}

#[test]
fn a_child_goes_on_where_it_was_forked_while_it_looked_at_what_is_loaded_not_under_asan() {
    const NAME: &str = "a_child_goes_on_where_it_was_forked_while_it_looked_at_what_is_loaded_not_under_asan";
    patched(NAME, || {
        let forks = || {
            let all = objects(|| ());
            let seen = Cell::new(0);
            let child = Cell::new(-1);
            let count = objects(|| {
                seen.set(seen.get() + 1);
                if seen.get() == 2 {
                    child.set(fork());
                }
            });
            let works = || count == all && objects(|| ()) == all && spawn(|| ()).join().is_ok();
            end(child.get(), works);
        };
        spawn(forks).join().unwrap();
        forks();
    });
}

/// Runs `f` in a greenlet while other threads do the `others` again and again.
fn meanwhile(others: &[fn()], f: impl FnOnce() + 'static) {
    let stop = &AtomicBool::new(false);
    thread::scope(|scope| {
        for other in others {
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    other();
                }
            });
        }
        let result = spawn(f).join();
        stop.store(true, Ordering::Relaxed);
        result.unwrap();
    });
}

/// How many objects are loaded; calls `f` for each, while libc has its list of them locked.
fn objects<F: Fn()>(f: F) -> usize {
    unsafe extern "C" fn each<F: Fn()>(_: *mut libc::dl_phdr_info, _: usize, data: *mut c_void) -> c_int {
        // SAFETY: lent below.
        let (f, count) = unsafe { &mut *data.cast::<(F, usize)>() };
        f();
        *count += 1;
        0
    }
    let mut data = (f, 0);
    // SAFETY: `each` is called with our pointer before this returns.
    unsafe { libc::dl_iterate_phdr(Some(each::<F>), (&raw mut data).cast()) };
    data.1
}

/// Asserts that `f` is true in a forked child.
fn in_child(f: impl FnOnce() -> bool) {
    end(fork(), f);
}

/// A child; 0 in it.
fn fork() -> libc::pid_t {
    // SAFETY: the child does what is said in these tests only, and ends.
    unsafe { libc::fork() }
}

/// In the child ends it; in the parent asserts that `f` is true in the child, which has ten seconds for it.
fn end(child: libc::pid_t, f: impl FnOnce() -> bool) {
    if child == 0 {
        // SAFETY: takes a number: who hangs is ended.
        unsafe { libc::alarm(10) };
        let holds = catch_unwind(AssertUnwindSafe(f)).unwrap_or(false);
        // SAFETY: ends the child.
        unsafe { libc::_exit(if holds { 42 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: a place for the status.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 42, "{status:#x}");
}
