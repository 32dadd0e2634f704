//! Conditions and semaphores of libc between greenlets of one hub, of two, and threads.

mod support;

use std::cell::{Cell, UnsafeCell};
use std::mem::MaybeUninit;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;

use libc::c_int;
use support::locks::{Shared, at, hub};
use support::{ms, patched_with_locks, takes};

/// A condition, its mutex, and what it is about.
struct Condition {
    mutex: libc::pthread_mutex_t,
    condition: libc::pthread_cond_t,
    ready: usize,
}

impl Shared<Condition> {
    fn parts(&self) -> (*mut libc::pthread_mutex_t, *mut libc::pthread_cond_t, *mut usize) {
        let place = self.get();
        // SAFETY: only places are taken.
        unsafe { (&raw mut (*place).mutex, &raw mut (*place).condition, &raw mut (*place).ready) }
    }

    /// Waits until one is ready, and takes it.
    fn take(&self) {
        let (mutex, condition, ready) = self.parts();
        // SAFETY: live objects; `ready` is the mutex's.
        unsafe {
            assert_eq!(libc::pthread_mutex_lock(mutex), 0);
            while ready.read_volatile() == 0 {
                assert_eq!(libc::pthread_cond_wait(condition, mutex), 0);
            }
            *ready -= 1;
            assert_eq!(libc::pthread_mutex_unlock(mutex), 0);
        }
    }

    /// Makes some ready.
    fn give(&self, count: usize, tell: unsafe extern "C" fn(*mut libc::pthread_cond_t) -> c_int) {
        let (mutex, condition, ready) = self.parts();
        // SAFETY: as above.
        unsafe {
            assert_eq!(libc::pthread_mutex_lock(mutex), 0);
            *ready += count;
            assert_eq!(tell(condition), 0);
            assert_eq!(libc::pthread_mutex_unlock(mutex), 0);
        }
    }
}

#[test]
fn a_broadcast_wakes_greenlets_of_two_hubs_and_threads() {
    patched_with_locks("a_broadcast_wakes_greenlets_of_two_hubs_and_threads", || {
        let shared: Arc<Shared<Condition>> = Shared::zeroed();
        let work = {
            let shared = shared.clone();
            move || shared.take()
        };
        let mut all = vec![hub(5, work.clone()), hub(5, work.clone())];
        all.extend((0..3).map(|_| thread::spawn(work.clone())));
        thread::sleep(ms(20));
        shared.give(13, libc::pthread_cond_broadcast);
        all.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn each_signal_wakes_somebody_among_greenlets_and_threads() {
    patched_with_locks("each_signal_wakes_somebody_among_greenlets_and_threads", || {
        let shared: Arc<Shared<Condition>> = Shared::zeroed();
        let work = {
            let shared = shared.clone();
            move || (0..500).for_each(|_| shared.take())
        };
        let mut all = vec![hub(4, work.clone()), hub(2, work.clone())];
        all.extend((0..2).map(|_| thread::spawn(work.clone())));
        let giver = {
            let shared = shared.clone();
            hub(2, move || {
                for _ in 0..1000 {
                    shared.give(1, libc::pthread_cond_signal);
                    sward::yield_now();
                }
            })
        };
        (0..2000).for_each(|_| shared.give(1, libc::pthread_cond_signal));
        giver.join().unwrap();
        all.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_condition_keeps_its_time_limit_by_either_clock() {
    patched_with_locks("a_condition_keeps_its_time_limit_by_either_clock", || {
        for clock in [libc::CLOCK_REALTIME, libc::CLOCK_MONOTONIC] {
            let shared: Arc<Shared<Condition>> = Shared::zeroed();
            let (mutex, condition, _) = shared.parts();
            let mut how = MaybeUninit::uninit();
            // SAFETY: initialised in this order, and not in use yet.
            unsafe {
                libc::pthread_condattr_init(how.as_mut_ptr());
                libc::pthread_condattr_setclock(how.as_mut_ptr(), clock);
                libc::pthread_cond_init(condition, how.as_ptr());
            }
            let shared = shared.clone();
            let waits = sward::spawn(move || {
                let (mutex, condition, _) = shared.parts();
                let until = at(clock, ms(30));
                // SAFETY: live objects.
                unsafe {
                    libc::pthread_mutex_lock(mutex);
                    takes(ms(29), ms(500), || {
                        // It may return for nothing: the signal handler of another test here has that effect.
                        while libc::pthread_cond_timedwait(condition, mutex, &until) == 0 {}
                        // And again, with a time that has passed.
                        assert_eq!(libc::pthread_cond_timedwait(condition, mutex, &until), libc::ETIMEDOUT);
                    });
                    assert_eq!(libc::pthread_mutex_trylock(mutex), libc::EBUSY, "it holds the mutex again");
                    libc::pthread_mutex_unlock(mutex);
                }
            });
            sward::yield_now();
            // SAFETY: a live mutex.
            assert_eq!(unsafe { libc::pthread_mutex_trylock(mutex) }, 0, "released while it waits");
            // SAFETY: as above.
            unsafe { libc::pthread_mutex_unlock(mutex) };
            waits.join().unwrap();
        }
    });
}

#[test]
fn a_thread_that_waits_for_a_condition_lets_a_greenlet_have_the_mutex() {
    patched_with_locks("a_thread_that_waits_for_a_condition_lets_a_greenlet_have_the_mutex", || {
        let shared: Arc<Shared<Condition>> = Shared::zeroed();
        let (holds, theirs) = (Arc::new(AtomicU32::new(0)), shared.clone());
        let told = holds.clone();
        let waiter = thread::spawn(move || {
            let (mutex, condition, ready) = theirs.parts();
            // SAFETY: live objects; `ready` is the mutex's.
            unsafe {
                libc::pthread_mutex_lock(mutex);
                told.store(1, Ordering::SeqCst);
                // Not before the greenlet waits for the mutex.
                while told.load(Ordering::SeqCst) == 1 {
                    thread::sleep(ms(1));
                }
                while ready.read_volatile() == 0 {
                    libc::pthread_cond_wait(condition, mutex);
                }
                libc::pthread_mutex_unlock(mutex);
            }
        });
        while holds.load(Ordering::SeqCst) == 0 {
            sward::sleep(ms(1));
        }
        let theirs = shared.clone();
        let giver = sward::spawn(move || theirs.give(1, libc::pthread_cond_signal));
        sward::yield_now();
        holds.store(2, Ordering::SeqCst);
        giver.join().unwrap();
        waiter.join().unwrap();
    });
}

fn semaphore(value: u32) -> Arc<Shared<libc::sem_t>> {
    let semaphore = Shared::zeroed();
    // SAFETY: room for one.
    assert_eq!(unsafe { libc::sem_init(semaphore.get(), 0, value) }, 0);
    semaphore
}

#[test]
fn each_post_lets_one_go_on() {
    patched_with_locks("each_post_lets_one_go_on", || {
        let (semaphore, taken) = (semaphore(0), Arc::new(AtomicUsize::new(0)));
        let work = {
            let (semaphore, taken) = (semaphore.clone(), taken.clone());
            move || {
                for _ in 0..300 {
                    // SAFETY: a live semaphore.
                    assert_eq!(unsafe { libc::sem_wait(semaphore.get()) }, 0);
                    taken.fetch_add(1, Ordering::SeqCst);
                }
            }
        };
        let all = [hub(4, work.clone()), hub(3, work.clone()), thread::spawn(work)];
        for _ in 0..2400 {
            // SAFETY: a live semaphore.
            unsafe { libc::sem_post(semaphore.get()) };
        }
        all.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(taken.load(Ordering::SeqCst), 2400);
    });
}

#[test]
fn a_semaphore_keeps_its_time_limit_and_says_when_it_was_interrupted() {
    patched_with_locks("a_semaphore_keeps_its_time_limit_and_says_when_it_was_interrupted", || {
        let semaphore = semaphore(0);
        let theirs = semaphore.clone();
        let errno = || std::io::Error::last_os_error().raw_os_error();
        sward::spawn(move || {
            let until = at(libc::CLOCK_REALTIME, ms(20));
            // SAFETY: a live semaphore and a time.
            takes(ms(19), ms(500), || assert_eq!(unsafe { libc::sem_timedwait(theirs.get(), &until) }, -1));
            assert_eq!(errno(), Some(libc::ETIMEDOUT));
        })
        .join()
        .unwrap();
        let (seen, theirs) = (Rc::new(Cell::new(None)), semaphore.clone());
        let noted = seen.clone();
        let killed = sward::spawn(move || {
            // SAFETY: a live semaphore.
            assert_eq!(unsafe { libc::sem_wait(theirs.get()) }, -1);
            noted.set(errno());
            sward::yield_now();
        });
        sward::yield_now();
        killed.kill();
        assert!(killed.join().unwrap_err().is_killed());
        assert_eq!(seen.get(), Some(libc::ECANCELED));
    });
}

#[test]
fn a_signal_handler_may_post() {
    static SEMAPHORE: Shared<MaybeUninit<libc::sem_t>> = Shared(UnsafeCell::new(MaybeUninit::zeroed()));
    static POSTED: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn post(_: c_int) {
        // SAFETY: a live semaphore.
        unsafe { libc::sem_post(SEMAPHORE.get().cast()) };
        POSTED.fetch_add(1, Ordering::SeqCst);
    }
    patched_with_locks("a_signal_handler_may_post", || {
        const POSTS: usize = 2000;
        // SAFETY: room for one; the handler does only what handlers may.
        unsafe {
            libc::sem_init(SEMAPHORE.get().cast(), 0, 0);
            libc::signal(libc::SIGUSR1, post as *const () as usize);
        }
        // SAFETY: takes nothing.
        let here = unsafe { libc::pthread_self() };
        let waiters = (0..4).map(|_| {
            sward::spawn(|| {
                for _ in 0..POSTS / 4 {
                    // SAFETY: a live semaphore.
                    unsafe { while libc::sem_wait(SEMAPHORE.get().cast()) != 0 {} }
                }
            })
        });
        let waiters: Vec<_> = waiters.collect();
        let sender = thread::spawn(move || {
            for sent in 0..POSTS {
                // SAFETY: that thread waits for this one to end.
                unsafe { libc::pthread_kill(here, libc::SIGUSR1) };
                // Signals do not queue up: not the next one before the handler has run.
                while POSTED.load(Ordering::SeqCst) <= sent {
                    thread::yield_now();
                }
            }
        });
        sward::join_all(waiters).into_iter().for_each(|result| result.unwrap());
        sender.join().unwrap();
    });
}
