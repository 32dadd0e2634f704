//! The futex between greenlets of one hub, of two, and threads.

mod support;

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use libc::c_int;
use support::locks::{at, hub};
use support::{ms, patched_with_locks, takes};

fn futex(word: &AtomicU32, operation: c_int, value: u32, time: *const libc::timespec, bits: u32) -> (i64, c_int) {
    // SAFETY: a live word, and a time or null.
    let result = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, time, 0usize, bits) };
    (result, std::io::Error::last_os_error().raw_os_error().unwrap())
}

const NEVER: *const libc::timespec = std::ptr::null();

#[test]
fn a_futex_says_how_many_it_woke() {
    patched_with_locks("a_futex_says_how_many_it_woke", || {
        let word = Arc::new(AtomicU32::new(7));
        let woken = Arc::new(AtomicUsize::new(0));
        let work = {
            let (word, woken) = (word.clone(), woken.clone());
            move || {
                assert_eq!(futex(&word, libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, 7, NEVER, 0).0, 0);
                woken.fetch_add(1, Ordering::SeqCst);
            }
        };
        let mut all = vec![hub(3, work.clone()), hub(2, work.clone())];
        all.extend((0..2).map(|_| thread::spawn(work.clone())));
        let here: Vec<_> = (0..3).map(|_| sward::spawn(work.clone())).collect();
        sward::sleep(ms(50));
        let wake = |count| futex(&word, libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, count, NEVER, 0).0;
        let some: i64 = (0..4).map(|_| wake(1)).sum();
        assert_eq!((some, wake(2), wake(100), wake(100)), (4, 2, 4, 0));
        sward::join_all(here).into_iter().for_each(|result| result.unwrap());
        all.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(woken.load(Ordering::SeqCst), 10);
    });
}

#[test]
fn a_futex_with_another_value_a_time_limit_and_bits() {
    patched_with_locks("a_futex_with_another_value_a_time_limit_and_bits", || {
        let word = Arc::new(AtomicU32::new(7));
        sward::spawn(move || {
            let (wait, masked) = (libc::FUTEX_WAIT | 128, libc::FUTEX_WAIT_BITSET | 128);
            assert_eq!(futex(&word, wait, 8, NEVER, 0), (-1, libc::EAGAIN));
            let limit = libc::timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            takes(ms(19), ms(500), || assert_eq!(futex(&word, wait, 7, &limit, 0), (-1, libc::ETIMEDOUT)));
            for (flag, clock) in [(0, libc::CLOCK_MONOTONIC), (libc::FUTEX_CLOCK_REALTIME, libc::CLOCK_REALTIME)] {
                let until = at(clock, ms(20));
                takes(ms(19), ms(500), || {
                    assert_eq!(futex(&word, masked | flag, 7, &until, u32::MAX), (-1, libc::ETIMEDOUT));
                });
            }
            let theirs = word.clone();
            let waiter = sward::spawn(move || futex(&theirs, masked, 7, NEVER, 0b10).0);
            sward::yield_now();
            assert_eq!(futex(&word, libc::FUTEX_WAKE_BITSET | 128, 9, NEVER, 0b01).0, 0);
            assert_eq!(futex(&word, libc::FUTEX_WAKE_BITSET | 128, 9, NEVER, 0b11).0, 1);
            assert_eq!(waiter.join().unwrap(), 0);
            // Without the flag for private ones: ends by itself, as if woken for nothing.
            takes(ms(5), ms(500), || assert_eq!(futex(&word, libc::FUTEX_WAIT, 7, NEVER, 0).0, 0));
        })
        .join()
        .unwrap();
    });
}

#[test]
fn every_wake_between_hubs_and_threads_arrives() {
    patched_with_locks("every_wake_between_hubs_and_threads_arrives", || {
        // Two counters that chase one another: a lost wake-up stops both.
        let words = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let run = |me: usize, words: &[AtomicU32; 2]| {
            for round in 0..5_000 {
                if me == 1 {
                    while words[0].load(Ordering::SeqCst) == round {
                        futex(&words[0], libc::FUTEX_WAIT | 128, round, NEVER, 0);
                    }
                }
                words[me].store(round + 1, Ordering::Relaxed);
                futex(&words[me], libc::FUTEX_WAKE | 128, 1, NEVER, 0);
                if me == 0 {
                    while words[1].load(Ordering::SeqCst) == round {
                        futex(&words[1], libc::FUTEX_WAIT | 128, round, NEVER, 0);
                    }
                }
            }
        };
        let reset = |words: &[AtomicU32; 2]| words.iter().for_each(|word| word.store(0, Ordering::SeqCst));
        for kind in ["two hubs", "a hub and a thread", "a hub"] {
            reset(&words);
            let (a, b, c) = (words.clone(), words.clone(), words.clone());
            let one = hub(1, move || run(0, &a));
            match kind {
                "two hubs" => hub(1, move || run(1, &b)).join().unwrap(),
                "a hub and a thread" => thread::spawn(move || run(1, &b)).join().unwrap(),
                _ => sward::spawn(move || run(1, &c)).join().unwrap(),
            }
            one.join().unwrap();
        }
    });
}

#[test]
fn a_root_that_joins_a_greenlet_which_a_thread_will_wake_reports_no_deadlock() {
    patched_with_locks("a_root_that_joins_a_greenlet_which_a_thread_will_wake_reports_no_deadlock", || {
        let word = Arc::new(AtomicU32::new(0));
        let theirs = word.clone();
        let waiter = sward::spawn(move || {
            while theirs.load(Ordering::SeqCst) == 0 {
                futex(&theirs, libc::FUTEX_WAIT | 128, 0, NEVER, 0);
            }
        });
        let thread = thread::spawn(move || {
            thread::sleep(ms(50));
            word.store(1, Ordering::SeqCst);
            futex(&word, libc::FUTEX_WAKE | 128, 1, NEVER, 0);
        });
        waiter.join().unwrap();
        thread.join().unwrap();
    });
}

#[test]
fn wakes_go_past_a_hub_that_has_ended() {
    patched_with_locks("wakes_go_past_a_hub_that_has_ended", || {
        let word = Arc::new(AtomicU32::new(0));
        let theirs = word.clone();
        // Its greenlet cannot be killed there, and stays as it is for ever.
        thread::spawn(move || {
            sward::spawn(move || futex(&theirs, libc::FUTEX_WAIT | 128, 0, NEVER, 0));
            sward::yield_now();
        })
        .join()
        .unwrap();
        let theirs = word.clone();
        let waiter = sward::spawn(move || futex(&theirs, libc::FUTEX_WAIT | 128, 0, NEVER, 0).0);
        sward::yield_now();
        assert_eq!(futex(&word, libc::FUTEX_WAKE | 128, 1, NEVER, 0).0, 1);
        assert_eq!(waiter.join().unwrap(), 0);
    });
}

#[test]
fn a_wake_that_a_hub_has_not_heard_of_when_it_ends_goes_to_the_next() {
    patched_with_locks("a_wake_that_a_hub_has_not_heard_of_when_it_ends_goes_to_the_next", || {
        let word = Arc::new(AtomicU32::new(0));
        let (theirs, step) = (word.clone(), Arc::new(AtomicU32::new(0)));
        let stepped = step.clone();
        let ends = thread::spawn(move || {
            sward::spawn(move || futex(&theirs, libc::FUTEX_WAIT | 128, 0, NEVER, 0));
            sward::yield_now();
            stepped.store(1, Ordering::SeqCst);
            // The thread does not look at its inbox meanwhile, nor after this.
            while stepped.load(Ordering::SeqCst) == 1 {
                std::hint::spin_loop();
            }
        });
        while step.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        let theirs = word.clone();
        let next = sward::spawn(move || futex(&theirs, libc::FUTEX_WAIT | 128, 0, NEVER, 0).0);
        sward::yield_now();
        assert_eq!(futex(&word, libc::FUTEX_WAKE | 128, 1, NEVER, 0).0, 1);
        step.store(2, Ordering::SeqCst);
        ends.join().unwrap();
        assert_eq!(next.join().unwrap(), 0);
    });
}

/// The root waits in the kernel, and its thread with it: were a greenlet alone woken, nobody would ever run.
#[test]
fn a_root_and_its_greenlets_may_wait_for_the_same_mutex() {
    patched_with_locks("a_root_and_its_greenlets_may_wait_for_the_same_mutex", || {
        for _ in 0..20 {
            let (mutex, (waits, waiting)) = (Arc::new(Mutex::new(0)), mpsc::channel());
            let held = mutex.lock().unwrap();
            let theirs = mutex.clone();
            let hub = thread::spawn(move || {
                let greenlets = [(); 2].map(|()| {
                    let theirs = theirs.clone();
                    sward::spawn(move || *theirs.lock().unwrap() += 1)
                });
                sward::sleep(ms(1)); // they wait
                waits.send(()).unwrap();
                *theirs.lock().unwrap() += 1;
                sward::join_all(greenlets).into_iter().for_each(|result| result.unwrap());
            });
            waiting.recv().unwrap();
            thread::sleep(ms(5)); // so does the root
            drop(held);
            hub.join().unwrap();
            assert_eq!(*mutex.lock().unwrap(), 3);
        }
    });
}
