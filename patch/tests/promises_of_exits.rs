//! The end of the process, wanted by several greenlets of a thread.

#[path = "support/own_process.rs"]
mod own_process;
mod support;

use std::process::exit;
use std::thread;

use own_process::in_own_process;
use support::{ms, patched, patched_with_locks};

/// The status of the one who came first.
const FIRST: i32 = 7;

/// Parks when its greenlet's thread-locals are destroyed, which `exit` does.
struct Parks;

impl Drop for Parks {
    fn drop(&mut self) {
        thread::sleep(ms(50));
        println!("destroyed");
    }
}

thread_local! {
    static PARKS: Parks = const { Parks };
}

/// A greenlet that ends the process, and parks in that.
fn first() -> sward::Greenlet<()> {
    let first = sward::spawn(|| {
        PARKS.with(|_| ());
        exit(FIRST)
    });
    sward::yield_now();
    first
}

/// Runs `second` on a patched thread where a greenlet ends the process meanwhile.
#[track_caller]
fn the_first_one_ends_the_process(test: &'static str, second: impl FnOnce() + Send + 'static) {
    let outcome = in_own_process(test, || {
        patched_with_locks(test, || {
            let first = first();
            second();
            first.join().unwrap();
        });
    });
    let Some(outcome) = outcome else { return };
    let (out, errors) = (String::from_utf8_lossy(&outcome.stdout), String::from_utf8_lossy(&outcome.stderr));
    assert_eq!(outcome.status.code(), Some(FIRST), "{out}{errors}");
    assert!(out.contains("destroyed"), "{out}{errors}");
}

#[test]
fn the_root_may_exit_too() {
    the_first_one_ends_the_process("the_root_may_exit_too", || exit(1));
}

#[test]
fn another_greenlet_may_exit_too() {
    the_first_one_ends_the_process("another_greenlet_may_exit_too", || {
        sward::spawn(|| exit(1)).join().unwrap();
    });
}

#[test]
fn c_may_exit_too() {
    the_first_one_ends_the_process("c_may_exit_too", || {
        // SAFETY: the handlers of this process may run at any time.
        sward::spawn(|| unsafe { libc::exit(1) });
        sward::yield_now();
        // SAFETY: as above.
        unsafe { libc::exit(2) }
    });
}

#[test]
fn a_greenlet_that_pauses_lets_the_others_run() {
    patched("a_greenlet_that_pauses_lets_the_others_run", || {
        // SAFETY: takes nothing.
        let paused = sward::spawn(|| (unsafe { libc::pause() }, std::io::Error::last_os_error().raw_os_error()));
        sward::sleep(ms(10));
        assert!(!paused.is_finished());
        paused.kill();
        assert_eq!(paused.join().unwrap(), (-1, Some(libc::ECANCELED)));
    });
}
