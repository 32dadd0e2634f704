//! Children that a greenlet forks after `patch::all` find greenlets that work, and nothing locked.
#![cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]

#[path = "support/own_process.rs"]
mod own_process;
mod support;

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use own_process::in_own_process;
use support::patched;
use sward::spawn;

thread_local! {
    static NUMBER: Cell<u32> = const { Cell::new(7) };
}

// The sanitizer makes its allocator ready for a fork in a hook of its own, which ours goes past.
#[test]
fn a_child_process_and_its_greenlets_not_under_asan() {
    const NAME: &str = "a_child_process_and_its_greenlets_not_under_asan";
    // Of its own: libc locks its list of objects while another test prints a backtrace, and leaves it locked in a child.
    let outcome = in_own_process(NAME, || {
        patched(NAME, || {
            let g = spawn(|| {
                let parent = thread::current().id();
                // SAFETY: the child only does what is said below, and ends.
                let child = unsafe { libc::fork() };
                if child == 0 {
                    let same = thread::current().id() == parent;
                    let hub = std::panic::catch_unwind(|| sward::spawn(|| NUMBER.get()).join().unwrap());
                    // SAFETY: ends the child.
                    unsafe { libc::_exit(if same && hub.is_ok_and(|number| number == 7) { 42 } else { 1 }) };
                }
                let mut status = 0;
                // SAFETY: a place for the status.
                assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
                assert_eq!(libc::WEXITSTATUS(status), 42);
                assert!(std::process::Command::new("true").status().unwrap().success());
            });
            g.join().unwrap();
        })
    });
    let Some(outcome) = outcome else { return };
    assert!(outcome.status.success(), "{}", String::from_utf8_lossy(&outcome.stderr));
}

#[test]
fn children_find_nothing_locked_that_other_threads_greenlets_lock_at_their_ends_not_under_asan() {
    const NAME: &str = "children_find_nothing_locked_that_other_threads_greenlets_lock_at_their_ends_not_under_asan";
    // Of its own: libc locks its list of objects while another test prints a backtrace, and leaves it locked in a child.
    let outcome = in_own_process(NAME, || {
        patched(NAME, || {
            static STOP: AtomicBool = AtomicBool::new(false);
            let ends = || {
                while !STOP.load(Ordering::Relaxed) {
                    spawn(|| ()).join().unwrap();
                }
            };
            let others = [thread::spawn(ends), thread::spawn(ends)];
            let g = spawn(|| {
                for _ in 0..200 {
                    // SAFETY: the child only does what is said below, and ends.
                    let child = unsafe { libc::fork() };
                    if child == 0 {
                        // SAFETY: takes a number: who hangs is ended.
                        unsafe { libc::alarm(10) };
                        let hub = std::panic::catch_unwind(|| spawn(|| ()).join().is_ok());
                        // SAFETY: ends the child.
                        unsafe { libc::_exit(if hub.is_ok_and(|ended| ended) { 42 } else { 1 }) };
                    }
                    let mut status = 0;
                    // SAFETY: a place for the status.
                    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
                    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 42, "{status:#x}");
                }
            });
            let result = g.join();
            STOP.store(true, Ordering::Relaxed);
            others.into_iter().for_each(|thread| thread.join().unwrap());
            result.unwrap();
        })
    });
    let Some(outcome) = outcome else { return };
    assert!(outcome.status.success(), "{}", String::from_utf8_lossy(&outcome.stderr));
}
