//! What threads send to greenlets, which they take for threads: signals, cancellations.

#[path = "support/own_process.rs"]
mod own_process;
mod support;

use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use libc::pthread_t;
use own_process::in_own_process;
use support::{ms, patched_with_locks};

// Not in the crate `libc`.
unsafe extern "C" {
    fn pthread_cancel(thread: pthread_t) -> c_int;
    fn pthread_testcancel();
}

/// How many signals have come.
static SIGNALS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_: c_int) {
    SIGNALS.fetch_add(1, Ordering::SeqCst);
}

#[test]
fn a_signal_for_a_greenlet_comes_to_its_thread() {
    patched_with_locks("a_signal_for_a_greenlet_comes_to_its_thread", || {
        // SAFETY: the handler only counts; threads are ours and alive.
        unsafe {
            libc::signal(libc::SIGUSR1, count as *const () as libc::sighandler_t);
            let me = Arc::new(AtomicUsize::new(0));
            let told = me.clone();
            let greenlet = sward::spawn(move || {
                told.store(libc::pthread_self() as usize, Ordering::SeqCst);
                assert_eq!(libc::pthread_kill(libc::pthread_self(), libc::SIGUSR1), 0);
                assert_eq!(SIGNALS.load(Ordering::SeqCst), 1, "a signal to oneself comes before the call returns");
                sward::sleep(ms(100));
            });
            sward::yield_now();
            let greenlets = me.load(Ordering::SeqCst) as pthread_t;
            let sibling = sward::spawn(move || libc::pthread_kill(greenlets, libc::SIGUSR1));
            assert_eq!(sibling.join().unwrap(), 0);
            let other = thread::spawn(move || {
                let none = libc::sigval { sival_ptr: std::ptr::null_mut() };
                (libc::pthread_kill(greenlets, 0), libc::pthread_sigqueue(greenlets, libc::SIGUSR1, none))
            });
            assert_eq!(other.join().unwrap(), (0, 0));
            greenlet.join().unwrap();
            assert_eq!(SIGNALS.load(Ordering::SeqCst), 3);
        }
    });
}

#[test]
fn the_clock_of_a_greenlets_thread_is_told_to_all() {
    patched_with_locks("the_clock_of_a_greenlets_thread_is_told_to_all", || {
        // SAFETY: places for results; the greenlet is alive.
        let clock_of = |thread| unsafe {
            let mut clock = 0;
            assert_eq!(libc::pthread_getcpuclockid(thread, &raw mut clock), 0);
            clock
        };
        // SAFETY: takes nothing.
        let me = clock_of(unsafe { libc::pthread_self() });
        sward::spawn(move || {
            // SAFETY: as above.
            let greenlets = unsafe { libc::pthread_self() };
            assert_eq!(thread::spawn(move || clock_of(greenlets)).join().unwrap(), me);
            assert_eq!(clock_of(greenlets), me);
        })
        .join()
        .unwrap();
    });
}

#[test]
fn a_greenlet_cannot_be_cancelled() {
    patched_with_locks("a_greenlet_cannot_be_cancelled", || {
        let greenlet = sward::spawn(|| {
            // SAFETY: the greenlet is alive.
            unsafe {
                let me = libc::pthread_self();
                assert_eq!(thread::spawn(move || pthread_cancel(me)).join().unwrap(), libc::ESRCH);
                assert_eq!(pthread_cancel(me), libc::ESRCH);
                pthread_testcancel();
                assert_eq!(libc::usleep(100), 0);
            }
        });
        greenlet.join().unwrap();
    });
}

#[test]
fn the_process_changes_its_identity_while_a_greenlet_computes() {
    const NAME: &str = "the_process_changes_its_identity_while_a_greenlet_computes";
    // In a process of its own, which an alarm ends: libc sends signals to all threads without end where this fails.
    let output = in_own_process(NAME, || {
        patched_with_locks(NAME, || {
            let step = Arc::new(AtomicUsize::new(0));
            let stepped = step.clone();
            let computes = thread::spawn(move || {
                let greenlet = sward::spawn(move || {
                    stepped.store(1, Ordering::SeqCst);
                    while stepped.load(Ordering::SeqCst) == 1 {
                        std::hint::spin_loop();
                    }
                });
                greenlet.join().unwrap();
            });
            while step.load(Ordering::SeqCst) == 0 {
                thread::yield_now();
            }
            // SAFETY: set to what they are.
            unsafe {
                assert_eq!(libc::setgid(libc::getgid()), 0);
                assert_eq!(sward::spawn(|| libc::setuid(libc::getuid())).join().unwrap(), 0);
            }
            step.store(2, Ordering::SeqCst);
            computes.join().unwrap();
        });
    });
    if let Some(output) = output {
        assert!(output.status.success(), "{output:?}");
    }
}
