//! Mutexes and locks of libc between greenlets of one hub, of two, and threads.

mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use libc::c_int;
use support::locks::{Shared, at, hub};
use support::{ms, patched_with_locks, takes};

// Not in the crate `libc`.
unsafe extern "C" {
    fn pthread_rwlock_timedrdlock(lock: *mut libc::pthread_rwlock_t, until: *const libc::timespec) -> c_int;
}

#[test]
fn a_mutex_that_a_parked_greenlet_holds_parks_the_next_one() {
    patched_with_locks("a_mutex_that_a_parked_greenlet_holds_parks_the_next_one", || {
        let counter = Shared::with_kind(libc::PTHREAD_MUTEX_NORMAL);
        takes(ms(50), ms(1000), || {
            let all = (0..10).map(|_| {
                let counter = counter.clone();
                sward::spawn(move || {
                    counter.lock();
                    thread::sleep(ms(5));
                    counter.unlock();
                })
            });
            sward::join_all(all).into_iter().for_each(|result| result.unwrap());
        });
        let stats = sward::patch::stats();
        assert!(stats.of("pthread_mutex_lock").parks >= 9, "{stats}");
    });
}

#[test]
fn no_increment_is_lost_between_two_hubs_and_two_threads() {
    patched_with_locks("no_increment_is_lost_between_two_hubs_and_two_threads", || {
        let counter = Shared::with_kind(libc::PTHREAD_MUTEX_NORMAL);
        let work = {
            let counter = counter.clone();
            move || {
                for round in 0..14_000 {
                    counter.lock();
                    counter.add();
                    if round % 16 == 0 {
                        sward::yield_now();
                    }
                    counter.unlock();
                }
            }
        };
        let hubs = [hub(4, work.clone()), hub(4, work.clone())];
        let threads = [(); 2].map(|()| {
            let counter = counter.clone();
            thread::spawn(move || {
                for _ in 0..14_000 {
                    counter.lock();
                    counter.add();
                    counter.unlock();
                }
            })
        });
        for thread in hubs.into_iter().chain(threads) {
            thread.join().unwrap();
        }
        // SAFETY: nobody else is left.
        assert_eq!(unsafe { (*counter.get()).count }, 140_000);
    });
}

#[test]
fn an_adaptive_mutex_of_a_parked_greenlet_is_no_deadlock() {
    patched_with_locks("an_adaptive_mutex_of_a_parked_greenlet_is_no_deadlock", || {
        const PTHREAD_MUTEX_ADAPTIVE_NP: c_int = 3;
        let counter = Shared::with_kind(PTHREAD_MUTEX_ADAPTIVE_NP);
        let all = (0..3).map(|_| {
            let counter = counter.clone();
            sward::spawn(move || {
                counter.lock();
                thread::sleep(ms(5));
                counter.unlock();
            })
        });
        sward::join_all(all).into_iter().for_each(|result| result.unwrap());
    });
}

#[test]
fn mutexes_that_the_kernel_takes_part_in_are_the_threads() {
    /// Makes a kind of mutex.
    type Make = unsafe fn(*mut libc::pthread_mutexattr_t) -> c_int;
    patched_with_locks("mutexes_that_the_kernel_takes_part_in_are_the_threads", || {
        // SAFETY: as the caller of these vouches.
        let robust: Make = |how| unsafe { libc::pthread_mutexattr_setrobust(how, libc::PTHREAD_MUTEX_ROBUST) };
        // SAFETY: as above.
        let inherits: Make = |how| unsafe { libc::pthread_mutexattr_setprotocol(how, libc::PTHREAD_PRIO_INHERIT) };
        for make in [robust, inherits] {
            // SAFETY: attributes that `made` has initialised.
            let counter = Shared::made(|how| assert_eq!(unsafe { make(how) }, 0));
            let work = {
                let counter = counter.clone();
                move || {
                    for round in 0..300 {
                        counter.lock();
                        counter.add();
                        if round % 30 == 0 {
                            thread::sleep(ms(1));
                        }
                        counter.unlock();
                    }
                }
            };
            let all = [hub(3, work.clone()), hub(2, work.clone()), thread::spawn(work)];
            all.into_iter().for_each(|thread| thread.join().unwrap());
            // SAFETY: nobody else is left.
            assert_eq!(unsafe { (*counter.get()).count }, 1800);
        }
    });
}

#[test]
fn recursive_and_checking_mutexes_know_their_greenlet() {
    patched_with_locks("recursive_and_checking_mutexes_know_their_greenlet", || {
        for kind in [libc::PTHREAD_MUTEX_RECURSIVE, libc::PTHREAD_MUTEX_ERRORCHECK] {
            let counter = Shared::with_kind(kind);
            let inside = Arc::new(AtomicUsize::new(0));
            let work = {
                let counter = counter.clone();
                move || {
                    for _ in 0..20 {
                        counter.lock();
                        // SAFETY: a live mutex.
                        let again = unsafe { libc::pthread_mutex_lock(counter.mutex()) };
                        assert_eq!(again == 0, kind == libc::PTHREAD_MUTEX_RECURSIVE, "{again}");
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        sward::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        if again == 0 {
                            counter.unlock();
                        }
                        counter.unlock();
                        // SAFETY: as above. No longer this greenlet's.
                        assert_eq!(unsafe { libc::pthread_mutex_unlock(counter.mutex()) }, libc::EPERM);
                    }
                }
            };
            let all = [hub(3, work.clone()), hub(2, work.clone()), thread::spawn(work)];
            all.into_iter().for_each(|thread| thread.join().unwrap());
        }
    });
}

#[test]
fn a_timed_lock_gives_up_in_time() {
    patched_with_locks("a_timed_lock_gives_up_in_time", || {
        let counter = Shared::with_kind(libc::PTHREAD_MUTEX_NORMAL);
        let theirs = counter.clone();
        let holder = sward::spawn(move || {
            theirs.lock();
            thread::sleep(ms(100));
            theirs.unlock();
        });
        sward::yield_now();
        let waiter = sward::spawn(move || {
            let until = at(libc::CLOCK_REALTIME, ms(30));
            takes(ms(29), ms(90), || {
                // SAFETY: a live mutex and a time.
                assert_eq!(unsafe { libc::pthread_mutex_timedlock(counter.mutex(), &until) }, libc::ETIMEDOUT);
            });
            let until = at(libc::CLOCK_REALTIME, ms(5000));
            // SAFETY: as above.
            assert_eq!(unsafe { libc::pthread_mutex_timedlock(counter.mutex(), &until) }, 0);
            counter.unlock();
        });
        waiter.join().unwrap();
        holder.join().unwrap();
    });
}

#[test]
fn an_unlock_that_no_hook_sees_is_found_at_the_next_tick() {
    patched_with_locks("an_unlock_that_no_hook_sees_is_found_at_the_next_tick", || {
        let counter = Shared::with_kind(libc::PTHREAD_MUTEX_NORMAL);
        // SAFETY: the function's type.
        let unlock: unsafe extern "C" fn(*mut libc::pthread_mutex_t) -> c_int =
            unsafe { support::past_the_hooks(c"pthread_mutex_unlock") };
        counter.lock();
        let theirs = counter.clone();
        let waiter = sward::spawn(move || {
            theirs.lock();
            theirs.unlock();
        });
        sward::yield_now();
        // SAFETY: locked above.
        assert_eq!(unsafe { unlock(counter.mutex()) }, 0);
        takes(ms(0), ms(500), || waiter.join().unwrap());
    });
}

#[test]
fn a_kill_does_not_end_a_wait_for_a_mutex() {
    patched_with_locks("a_kill_does_not_end_a_wait_for_a_mutex", || {
        let counter = Shared::with_kind(libc::PTHREAD_MUTEX_NORMAL);
        let (theirs, got) = (counter.clone(), Rc::new(Cell::new(false)));
        counter.lock();
        let told = got.clone();
        let waiter = sward::spawn(move || {
            theirs.lock();
            told.set(true);
            theirs.unlock();
            sward::yield_now();
        });
        sward::yield_now();
        waiter.kill();
        assert!(!waiter.wait_timeout(ms(30)));
        counter.unlock();
        assert!(waiter.join().unwrap_err().is_killed());
        assert!(got.get());
    });
}

#[test]
fn a_child_has_nobody_who_waits() {
    patched_with_locks("a_child_has_nobody_who_waits", || {
        let counter = Shared::with_kind(libc::PTHREAD_MUTEX_NORMAL);
        counter.lock();
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let theirs = counter.clone();
                sward::spawn(move || {
                    theirs.lock();
                    theirs.unlock();
                })
            })
            .collect();
        sward::yield_now();
        // SAFETY: the child unlocks, locks, and ends.
        unsafe {
            let pid = libc::fork();
            if pid == 0 {
                let unlocked = libc::pthread_mutex_unlock(counter.mutex());
                let locked = libc::pthread_mutex_lock(counter.mutex());
                libc::_exit(7 + unlocked + locked);
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
            assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7, "{status:#x}");
        }
        counter.unlock();
        sward::join_all(waiters).into_iter().for_each(|result| result.unwrap());
    });
}

#[test]
fn readers_share_a_lock_and_a_writer_gets_it_alone() {
    patched_with_locks("readers_share_a_lock_and_a_writer_gets_it_alone", || {
        let lock: Arc<Shared<libc::pthread_rwlock_t>> = Shared::zeroed();
        let inside = Arc::new(AtomicUsize::new(0));
        let mut hubs = Vec::new();
        for _ in 0..2 {
            let (theirs, inside) = (lock.clone(), inside.clone());
            hubs.push(hub(4, move || {
                for round in 0..50 {
                    // SAFETY: a live lock.
                    unsafe {
                        if round % 5 == 0 {
                            assert_eq!(libc::pthread_rwlock_wrlock(theirs.get()), 0);
                            assert_eq!(inside.fetch_add(100, Ordering::SeqCst), 0);
                            sward::yield_now();
                            inside.fetch_sub(100, Ordering::SeqCst);
                        } else {
                            assert_eq!(libc::pthread_rwlock_rdlock(theirs.get()), 0);
                            assert!(inside.fetch_add(1, Ordering::SeqCst) < 100);
                            sward::sleep(Duration::from_micros(100));
                            inside.fetch_sub(1, Ordering::SeqCst);
                        }
                        assert_eq!(libc::pthread_rwlock_unlock(theirs.get()), 0);
                    }
                }
            }));
        }
        hubs.into_iter().for_each(|hub| hub.join().unwrap());
    });
}

#[test]
fn a_timed_reader_gives_up() {
    patched_with_locks("a_timed_reader_gives_up", || {
        let lock: Arc<Shared<libc::pthread_rwlock_t>> = Shared::zeroed();
        let theirs = lock.clone();
        // SAFETY: a live lock.
        assert_eq!(unsafe { libc::pthread_rwlock_wrlock(lock.get()) }, 0);
        let reader = sward::spawn(move || {
            let until = at(libc::CLOCK_REALTIME, ms(20));
            // SAFETY: a live lock and a time.
            let result = unsafe { pthread_rwlock_timedrdlock(theirs.get(), &until) };
            assert_eq!(result, libc::ETIMEDOUT);
        });
        reader.join().unwrap();
        // SAFETY: locked above.
        assert_eq!(unsafe { libc::pthread_rwlock_unlock(lock.get()) }, 0);
    });
}

#[test]
fn a_greenlet_that_shares_its_threads_locals_waits_with_its_thread() {
    patched_with_locks("a_greenlet_that_shares_its_threads_locals_waits_with_its_thread", || {
        let counter = Shared::with_kind(libc::PTHREAD_MUTEX_NORMAL);
        let (theirs, held) = (counter.clone(), Arc::new(AtomicUsize::new(0)));
        let told = held.clone();
        let holder = thread::spawn(move || {
            theirs.lock();
            told.store(1, Ordering::SeqCst);
            thread::sleep(ms(50));
            told.store(2, Ordering::SeqCst);
            theirs.unlock();
        });
        while held.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        let waiter = sward::Builder::new().shared_tls().spawn(move || {
            counter.lock();
            counter.unlock();
        });
        let other = sward::spawn(move || held.load(Ordering::SeqCst));
        waiter.unwrap().join().unwrap();
        assert_eq!(other.join().unwrap(), 2, "it did not run before the lock was free");
        holder.join().unwrap();
    });
}
