//! Barriers, initialisers that run once, and C's own names for locks and threads, between greenlets and threads.

mod support;

use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::{ptr, thread};

use support::locks::{Shared, at, hub};
use support::{greenlets, ms, patched, patched_with_locks, takes};

/// `thrd_success`.
const SUCCESS: c_int = 0;
/// `thrd_busy`.
const BUSY: c_int = 1;
/// `thrd_timedout`.
const TIMED_OUT: c_int = 4;
/// `mtx_plain`.
const PLAIN: c_int = 0;
/// `mtx_recursive`.
const RECURSIVE: c_int = 1;

type Init = extern "C-unwind" fn();

// Not in the crate `libc`, or without a word about unwinding.
unsafe extern "C-unwind" {
    fn pthread_once(control: *mut c_int, init: Init) -> c_int;
    fn call_once(control: *mut c_int, init: Init);
    fn mtx_init(mutex: *mut libc::pthread_mutex_t, kind: c_int) -> c_int;
    fn mtx_lock(mutex: *mut libc::pthread_mutex_t) -> c_int;
    fn mtx_trylock(mutex: *mut libc::pthread_mutex_t) -> c_int;
    fn mtx_timedlock(mutex: *mut libc::pthread_mutex_t, until: *const libc::timespec) -> c_int;
    fn mtx_unlock(mutex: *mut libc::pthread_mutex_t) -> c_int;
    fn cnd_init(condition: *mut libc::pthread_cond_t) -> c_int;
    fn cnd_wait(condition: *mut libc::pthread_cond_t, mutex: *mut libc::pthread_mutex_t) -> c_int;
    fn cnd_timedwait(
        condition: *mut libc::pthread_cond_t,
        mutex: *mut libc::pthread_mutex_t,
        until: *const libc::timespec,
    ) -> c_int;
    fn cnd_signal(condition: *mut libc::pthread_cond_t) -> c_int;
    fn cnd_broadcast(condition: *mut libc::pthread_cond_t) -> c_int;
    fn thrd_create(
        thread: *mut libc::pthread_t,
        start: extern "C" fn(*mut c_void) -> c_int,
        argument: *mut c_void,
    ) -> c_int;
    fn thrd_join(thread: libc::pthread_t, value: *mut c_int) -> c_int;
    fn thrd_sleep(duration: *const libc::timespec, left: *mut libc::timespec) -> c_int;
    safe fn thrd_yield();
}

/// C's mutex and condition, with the number that they protect.
struct Numbered {
    mutex: libc::pthread_mutex_t,
    condition: libc::pthread_cond_t,
    number: usize,
}

impl Shared<Numbered> {
    fn of_kind(kind: c_int) -> Arc<Shared<Numbered>> {
        let numbered: Arc<Shared<Numbered>> = Shared::zeroed();
        // SAFETY: not in use yet.
        unsafe {
            assert_eq!(mtx_init(numbered.mutex(), kind), SUCCESS);
            assert_eq!(cnd_init(numbered.condition()), SUCCESS);
        }
        numbered
    }

    fn mutex(&self) -> *mut libc::pthread_mutex_t {
        // SAFETY: only the place is taken.
        unsafe { &raw mut (*self.get()).mutex }
    }

    fn condition(&self) -> *mut libc::pthread_cond_t {
        // SAFETY: only the place is taken.
        unsafe { &raw mut (*self.get()).condition }
    }

    /// Runs `f` on the number with the mutex held.
    fn locked<T>(&self, f: impl FnOnce(&mut usize) -> T) -> T {
        // SAFETY: a live mutex, which protects the number.
        unsafe {
            assert_eq!(mtx_lock(self.mutex()), SUCCESS);
            let result = f(&mut (*self.get()).number);
            assert_eq!(mtx_unlock(self.mutex()), SUCCESS);
            result
        }
    }

    /// Waits until the number is not zero, and takes one.
    fn take(&self) {
        self.locked(|_| {
            // SAFETY: the mutex is held.
            unsafe {
                while (*self.get()).number == 0 {
                    assert_eq!(cnd_wait(self.condition(), self.mutex()), SUCCESS);
                }
                (*self.get()).number -= 1;
            }
        });
    }
}

#[test]
fn mutexes_of_c11_park() {
    patched_with_locks("mutexes_of_c11_park", || {
        let numbered = Shared::of_kind(PLAIN);
        let work = {
            let numbered = numbered.clone();
            move || {
                for _ in 0..10 {
                    numbered.locked(|number| {
                        let was = *number;
                        thread::sleep(ms(1));
                        *number = was + 1;
                    });
                }
            }
        };
        let all = [hub(5, work.clone()), hub(5, work.clone()), thread::spawn(work)];
        all.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(numbered.locked(|number| *number), 110);
        let stats = sward::patch::stats();
        assert!(stats.of("mtx_lock").parks > 0, "{stats}");
    });
}

#[test]
fn mutexes_of_c11_have_limits_and_results_of_their_own() {
    patched_with_locks("mutexes_of_c11_have_limits_and_results_of_their_own", || {
        let numbered = Shared::of_kind(RECURSIVE);
        let holder = {
            let numbered = numbered.clone();
            sward::spawn(move || {
                numbered.locked(|_| {
                    // SAFETY: a live mutex, which is recursive.
                    unsafe {
                        assert_eq!(mtx_trylock(numbered.mutex()), SUCCESS);
                        assert_eq!(mtx_unlock(numbered.mutex()), SUCCESS);
                    }
                    thread::sleep(ms(60));
                });
            })
        };
        let other = sward::spawn(move || {
            // SAFETY: a live mutex.
            unsafe {
                assert_eq!(mtx_trylock(numbered.mutex()), BUSY);
                let until = at(libc::CLOCK_REALTIME, ms(20));
                takes(ms(15), ms(5000), || assert_eq!(mtx_timedlock(numbered.mutex(), &raw const until), TIMED_OUT));
                let until = at(libc::CLOCK_REALTIME, ms(5000));
                assert_eq!(mtx_timedlock(numbered.mutex(), &raw const until), SUCCESS);
                assert_eq!(mtx_unlock(numbered.mutex()), SUCCESS);
            }
        });
        sward::join_all([holder, other]).into_iter().for_each(|result| result.unwrap());
    });
}

#[test]
fn conditions_of_c11_park_and_wake_greenlets_and_threads() {
    patched_with_locks("conditions_of_c11_park_and_wake_greenlets_and_threads", || {
        let numbered = Shared::of_kind(PLAIN);
        let work = {
            let numbered = numbered.clone();
            move || numbered.take()
        };
        let mut all = vec![hub(5, work.clone()), hub(5, work.clone())];
        all.extend((0..3).map(|_| thread::spawn(work.clone())));
        thread::sleep(ms(20));
        numbered.locked(|number| *number = 12);
        // SAFETY: a live condition.
        assert_eq!(unsafe { cnd_broadcast(numbered.condition()) }, SUCCESS);
        thread::sleep(ms(20));
        numbered.locked(|number| *number += 1);
        // SAFETY: as above.
        assert_eq!(unsafe { cnd_signal(numbered.condition()) }, SUCCESS);
        all.into_iter().for_each(|thread| thread.join().unwrap());

        let late = sward::spawn(move || {
            let until = at(libc::CLOCK_REALTIME, ms(20));
            // SAFETY: the mutex is held.
            numbered.locked(|_| unsafe { cnd_timedwait(numbered.condition(), numbered.mutex(), &raw const until) })
        });
        assert_eq!(late.join().unwrap(), TIMED_OUT);
        let stats = sward::patch::stats();
        assert!(stats.of("cnd_wait").parks >= 10 && stats.of("cnd_timedwait").parks >= 1, "{stats}");
    });
}

#[test]
fn threads_of_c11_are_joined_and_slept_in_side_by_side() {
    extern "C" fn start(number: *mut c_void) -> c_int {
        thread::sleep(ms(50));
        number.addr() as c_int
    }
    patched("threads_of_c11_are_joined_and_slept_in_side_by_side", || {
        takes(ms(50), ms(900), || {
            greenlets(20, |number| {
                let (mut thread, mut value) = (0, -1);
                let time = libc::timespec { tv_sec: 0, tv_nsec: 50_000_000 };
                // SAFETY: `start` takes a number; the thread is joined once.
                unsafe {
                    assert_eq!(thrd_create(&raw mut thread, start, ptr::without_provenance_mut(number)), SUCCESS);
                    assert_eq!(thrd_sleep(&raw const time, ptr::null_mut()), 0);
                    assert_eq!(thrd_join(thread, &raw mut value), SUCCESS);
                }
                assert_eq!(value, number as c_int);
            });
        });
        let others = AtomicUsize::new(0);
        sward::scope(|scope| {
            scope.spawn(|| {
                others.fetch_add(1, Ordering::Relaxed);
            });
            scope.spawn(|| {
                thrd_yield();
                assert_eq!(others.load(Ordering::Relaxed), 1);
            });
        });
        // SAFETY: no time, which is an error.
        assert_eq!(sward::spawn(|| unsafe { thrd_sleep(&BAD, ptr::null_mut()) }).join().unwrap(), -2);
    });
}

/// No time.
const BAD: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: -1 };

#[test]
fn a_barrier_is_met_by_greenlets_of_two_hubs_and_threads() {
    patched("a_barrier_is_met_by_greenlets_of_two_hubs_and_threads", || {
        const PARTIES: usize = 5 + 4 + 2;
        const ROUNDS: usize = 20;
        let barrier: Arc<Shared<libc::pthread_barrier_t>> = Shared::zeroed();
        // SAFETY: not in use yet.
        assert_eq!(unsafe { libc::pthread_barrier_init(barrier.get(), ptr::null(), PARTIES as u32) }, 0);
        let (last, came) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = {
            let (barrier, last, came) = (barrier.clone(), last.clone(), came.clone());
            move || {
                for round in 1..=ROUNDS {
                    came.fetch_add(1, Ordering::Relaxed);
                    // SAFETY: a live barrier.
                    match unsafe { libc::pthread_barrier_wait(barrier.get()) } {
                        libc::PTHREAD_BARRIER_SERIAL_THREAD => _ = last.fetch_add(1, Ordering::Relaxed),
                        result => assert_eq!(result, 0),
                    }
                    assert!(came.load(Ordering::Relaxed) >= round * PARTIES, "nobody leaves before all have come");
                }
            }
        };
        let all = [hub(5, work.clone()), hub(4, work.clone()), thread::spawn(work.clone()), thread::spawn(work)];
        all.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(last.load(Ordering::Relaxed), ROUNDS, "one in each round is told that it was the last");
        // SAFETY: nobody waits.
        assert_eq!(unsafe { libc::pthread_barrier_destroy(barrier.get()) }, 0);
        let stats = sward::patch::stats();
        assert!(stats.of("pthread_barrier_wait").parks >= (9 * ROUNDS) as u64, "{stats}");
    });
}

#[test]
fn an_initialiser_that_parks_runs_once_and_others_wait_for_it() {
    static CONTROL: Shared<c_int> = Shared(std::cell::UnsafeCell::new(0));
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    static IS_DONE: AtomicBool = AtomicBool::new(false);
    extern "C-unwind" fn init() {
        RUNS.fetch_add(1, Ordering::Relaxed);
        thread::sleep(ms(50));
        IS_DONE.store(true, Ordering::Relaxed);
    }
    fn once() {
        // SAFETY: a live control, of type `once_flag` as well.
        unsafe {
            match RUNS.load(Ordering::Relaxed) % 2 {
                0 => assert_eq!(pthread_once(CONTROL.get(), init), 0),
                _ => call_once(CONTROL.get(), init),
            }
        }
        assert!(IS_DONE.load(Ordering::Relaxed));
    }
    patched_with_locks("an_initialiser_that_parks_runs_once_and_others_wait_for_it", || {
        for threads_are_first in [false, true] {
            RUNS.store(0, Ordering::Relaxed);
            IS_DONE.store(false, Ordering::Relaxed);
            // SAFETY: nobody uses it.
            unsafe { *CONTROL.get() = 0 };
            let first = thread::spawn(move || if threads_are_first { once() } else { hub(3, once).join().unwrap() });
            thread::sleep(ms(20));
            let others = [hub(4, once), hub(4, once), thread::spawn(once)];
            [first].into_iter().chain(others).for_each(|thread| thread.join().unwrap());
            assert_eq!(RUNS.load(Ordering::Relaxed), 1);
        }
        let stats = sward::patch::stats();
        let parks = stats.of("pthread_once").parks + stats.of("call_once").parks;
        assert!(parks >= 10, "{stats}");
    });
}

#[test]
fn an_initialiser_that_throws_is_run_again() {
    static CONTROL: Shared<c_int> = Shared(std::cell::UnsafeCell::new(0));
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    extern "C-unwind" fn init() {
        let runs = RUNS.fetch_add(1, Ordering::Relaxed);
        thread::sleep(ms(5));
        assert!(runs == 2, "thrown");
    }
    fn once() -> bool {
        // SAFETY: a live control.
        let result = catch_unwind(AssertUnwindSafe(|| unsafe { pthread_once(CONTROL.get(), init) }));
        result.inspect(|result| assert_eq!(*result, 0)).is_ok()
    }
    patched_with_locks("an_initialiser_that_throws_is_run_again", || {
        assert!(!thread::spawn(once).join().unwrap());
        let succeeded = greenlets(5, |_| once());
        assert_eq!(succeeded, [false, true, true, true, true]);
        assert_eq!(RUNS.load(Ordering::Relaxed), 3);
    });
}
