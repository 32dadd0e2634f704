//! Locks where something else than an unlock by another happens: forks, ends of threads, writers that give up.

#[path = "support/own_process.rs"]
mod own_process;
mod support;

use std::cell::{Cell, RefCell, UnsafeCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, mpsc};
use std::thread;
use std::time::Duration;

use libc::c_int;
use own_process::in_own_process;
use support::locks::{Shared, at, hub};
use support::{ms, patched_with_locks};

// Not in the crate `libc`.
unsafe extern "C" {
    fn _Fork() -> libc::pid_t;
    fn pthread_rwlock_timedwrlock(lock: *mut libc::pthread_rwlock_t, until: *const libc::timespec) -> c_int;
}

/// A mutex that handlers of fork hold.
static HELD_IN_FORKS: Shared<libc::pthread_mutex_t> = Shared(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));

extern "C" fn hold() {
    // SAFETY: a live mutex.
    unsafe { libc::pthread_mutex_lock(HELD_IN_FORKS.get()) };
}

extern "C" fn let_go() {
    // SAFETY: locked by `hold`.
    unsafe { libc::pthread_mutex_unlock(HELD_IN_FORKS.get()) };
}

#[test]
fn a_fork_handler_that_was_there_first_may_wait_for_a_thread_that_unlocks() {
    const NAME: &str = "a_fork_handler_that_was_there_first_may_wait_for_a_thread_that_unlocks";
    let output = in_own_process(NAME, || {
        // Before `patch::all`: so it runs after the table's own.
        // SAFETY: the handlers do not unwind.
        unsafe { libc::pthread_atfork(Some(hold), Some(let_go), Some(let_go)) };
        patched_with_locks(NAME, || {
            let inner = Shared::with_kind(libc::PTHREAD_MUTEX_NORMAL);
            let stop = Arc::new(AtomicBool::new(false));
            let (theirs, stopped) = (inner.clone(), stop.clone());
            let greenlets = hub(3, move || {
                while !stopped.load(Ordering::SeqCst) {
                    theirs.lock();
                    sward::yield_now();
                    theirs.unlock();
                    sward::yield_now();
                }
            });
            let stopped = stop.clone();
            let unlocks = thread::spawn(move || {
                while !stopped.load(Ordering::SeqCst) {
                    hold();
                    inner.lock();
                    inner.unlock();
                    let_go();
                }
            });
            for _ in 0..100 {
                // SAFETY: the child locks, unlocks, and ends.
                unsafe {
                    let child = libc::fork();
                    if child == 0 {
                        hold();
                        let_go();
                        libc::_exit(7);
                    }
                    let mut status = 0;
                    assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
                    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7, "{status:#x}");
                }
            }
            stop.store(true, Ordering::SeqCst);
            unlocks.join().unwrap();
            greenlets.join().unwrap();
        });
    });
    if let Some(output) = output {
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn a_child_without_fork_handlers_finds_no_bucket_locked() {
    patched_with_locks("a_child_without_fork_handlers_finds_no_bucket_locked", || {
        let semaphore: Arc<Shared<libc::sem_t>> = Shared::zeroed();
        let stop = Arc::new(AtomicBool::new(false));
        let waits = [(); 2].map(|()| {
            let (semaphore, stop) = (semaphore.clone(), stop.clone());
            hub(3, move || {
                while !stop.load(Ordering::SeqCst) {
                    let until = at(libc::CLOCK_REALTIME, Duration::from_micros(50));
                    // SAFETY: a live semaphore and a time.
                    unsafe { libc::sem_timedwait(semaphore.get(), &until) };
                }
            })
        });
        let forks = move || {
            for _ in 0..400 {
                // SAFETY: the child posts, which it may, and ends; if it hangs, a signal ends it.
                unsafe {
                    let child = _Fork();
                    if child == 0 {
                        libc::alarm(20);
                        libc::sem_post(semaphore.get());
                        libc::_exit(7);
                    }
                    let mut status = 0;
                    assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
                    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7, "{status:#x}");
                }
            }
        };
        forks();
        sward::spawn(forks).join().unwrap();
        stop.store(true, Ordering::SeqCst);
        waits.into_iter().for_each(|hub| hub.join().unwrap());
    });
}

#[test]
fn a_reader_goes_on_when_the_writer_that_held_it_back_gives_up() {
    patched_with_locks("a_reader_goes_on_when_the_writer_that_held_it_back_gives_up", || {
        const PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP: c_int = 2;
        let lock: Arc<Shared<libc::pthread_rwlock_t>> = Shared::zeroed();
        // SAFETY: initialised in this order, and not in use yet.
        unsafe {
            let mut how = std::mem::zeroed();
            libc::pthread_rwlockattr_init(&raw mut how);
            libc::pthread_rwlockattr_setkind_np(&raw mut how, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
            assert_eq!(libc::pthread_rwlock_init(lock.get(), &raw const how), 0);
            assert_eq!(libc::pthread_rwlock_rdlock(lock.get()), 0);
        }
        let theirs = lock.clone();
        let writer = thread::spawn(move || {
            let until = at(libc::CLOCK_REALTIME, ms(200));
            // SAFETY: a live lock and a time.
            assert_eq!(unsafe { pthread_rwlock_timedwrlock(theirs.get(), &until) }, libc::ETIMEDOUT);
        });
        // SAFETY: as above.
        unsafe {
            while libc::pthread_rwlock_tryrdlock(lock.get()) == 0 {
                assert_eq!(libc::pthread_rwlock_unlock(lock.get()), 0);
                thread::yield_now();
            }
        }
        // The lock stays locked for reading all the time: nobody unlocks it.
        let reader = sward::spawn(move || {
            // SAFETY: as above.
            unsafe { (libc::pthread_rwlock_rdlock(lock.get()), libc::pthread_rwlock_unlock(lock.get())) }
        });
        assert_eq!(reader.join().unwrap(), (0, 0));
        writer.join().unwrap();
    });
}

#[test]
fn a_lock_that_the_end_of_a_thread_gives_to_its_own_greenlet_goes_on_to_others() {
    sward::greenlet_local! {
        /// What the thread's root holds until its end.
        static HELD: RefCell<Option<MutexGuard<'static, ()>>> = RefCell::new(None);
    }
    patched_with_locks("a_lock_that_the_end_of_a_thread_gives_to_its_own_greenlet_goes_on_to_others", || {
        let mutex: &'static Mutex<()> = Box::leak(Box::new(Mutex::new(())));
        let step = Arc::new(AtomicU32::new(0));
        let stepped = step.clone();
        let ends = thread::spawn(move || {
            HELD.with(|held| *held.borrow_mut() = Some(mutex.lock().unwrap()));
            sward::spawn(move || drop(mutex.lock().unwrap()));
            sward::yield_now();
            stepped.store(1, Ordering::SeqCst);
            while stepped.load(Ordering::SeqCst) == 1 {
                std::hint::spin_loop();
            }
        });
        while step.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        let next = sward::spawn(move || drop(mutex.lock().unwrap()));
        sward::yield_now();
        step.store(2, Ordering::SeqCst);
        ends.join().unwrap();
        next.join().unwrap();
    });
}

#[test]
fn a_futex_at_no_address_is_no_crash() {
    patched_with_locks("a_futex_at_no_address_is_no_crash", || {
        let errno = sward::spawn(|| {
            // SAFETY: the kernel, and what stands for it, refuses the address.
            let result = unsafe { libc::syscall(libc::SYS_futex, 0_usize, libc::FUTEX_WAIT | 128, 0, 0_usize) };
            (result, std::io::Error::last_os_error().raw_os_error())
        });
        assert_eq!(errno.join().unwrap(), (-1, Some(libc::EFAULT)));
    });
}

/// Runs `hold` again and again in one greenlet, which parks nowhere but in it, until `take` has returned in another.
/// Says how often.
fn rounds_until_the_other_is_in(hold: impl Fn() + 'static, take: impl FnOnce() + 'static) -> usize {
    let (taken, is_taken) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
    let (told, rounds) = (taken.clone(), is_taken.clone());
    let hog = sward::spawn(move || {
        while !taken.get() {
            hold();
            rounds.set(rounds.get() + 1);
        }
    });
    let other = sward::spawn(move || {
        take();
        told.set(true);
    });
    hog.join().unwrap();
    other.join().unwrap();
    is_taken.get()
}

#[test]
fn nobody_is_overtaken_for_ever_by_a_greenlet_that_parks_only_while_it_holds_the_lock() {
    const NAME: &str = "nobody_is_overtaken_for_ever_by_a_greenlet_that_parks_only_while_it_holds_the_lock";
    patched_with_locks(NAME, || {
        let std = Arc::new(Mutex::new(()));
        let theirs = std.clone();
        let hold = move || {
            let _held = std.lock().unwrap();
            sward::yield_now();
        };
        let of_std = rounds_until_the_other_is_in(hold, move || drop(theirs.lock().unwrap()));

        let mutex = Shared::with_kind(libc::PTHREAD_MUTEX_NORMAL);
        let theirs = mutex.clone();
        let hold = move || {
            mutex.lock();
            sward::yield_now();
            mutex.unlock();
        };
        let take = move || {
            theirs.lock();
            theirs.unlock();
        };
        let of_libc = rounds_until_the_other_is_in(hold, take);

        let lock: Arc<Shared<libc::pthread_rwlock_t>> = Shared::zeroed();
        let theirs = lock.clone();
        // SAFETY: a live lock.
        let hold = move || unsafe {
            assert_eq!(libc::pthread_rwlock_rdlock(lock.get()), 0);
            sward::yield_now();
            assert_eq!(libc::pthread_rwlock_unlock(lock.get()), 0);
        };
        // SAFETY: as above.
        let take = move || unsafe {
            assert_eq!(libc::pthread_rwlock_wrlock(theirs.get()), 0);
            assert_eq!(libc::pthread_rwlock_unlock(theirs.get()), 0);
        };
        let of_libc_rw = rounds_until_the_other_is_in(hold, take);

        let semaphore: Arc<Shared<libc::sem_t>> = Shared::zeroed();
        // SAFETY: nobody uses it yet.
        assert_eq!(unsafe { libc::sem_init(semaphore.get(), 0, 1) }, 0);
        let theirs = semaphore.clone();
        // SAFETY: a live semaphore.
        let hold = move || unsafe {
            assert_eq!(libc::sem_wait(semaphore.get()), 0);
            sward::yield_now();
            assert_eq!(libc::sem_post(semaphore.get()), 0);
        };
        // SAFETY: as above.
        let take = move || unsafe {
            assert_eq!(libc::sem_wait(theirs.get()), 0);
            assert_eq!(libc::sem_post(theirs.get()), 0);
        };
        let of_semaphores = rounds_until_the_other_is_in(hold, take);

        // Each wake takes a turn of the hub, of some hundred switches, since a post may be a signal handler's.
        assert!(of_semaphores <= 1000, "{of_semaphores}");

        let all = [of_std, of_libc, of_libc_rw];
        assert!(all.into_iter().all(|rounds| rounds <= 20), "{all:?}");
    });
}

#[test]
fn a_wait_for_no_time_lets_the_others_run() {
    patched_with_locks("a_wait_for_no_time_lets_the_others_run", || {
        // SAFETY: all zeros is the beginning of time, and a semaphore of 0.
        let (passed, semaphore) = unsafe { (std::mem::zeroed(), Shared::<libc::sem_t>::zeroed()) };
        let mutex = Shared::with_kind(libc::PTHREAD_MUTEX_NORMAL);
        let (held, condition) = (Mutex::new(()), Condvar::new());
        let waits: [Box<dyn Fn()>; 3] = [
            // SAFETY: a live semaphore or mutex, and a time.
            Box::new(move || unsafe { assert_eq!(libc::sem_timedwait(semaphore.get(), &passed), -1) }),
            // SAFETY: as above.
            Box::new(move || unsafe {
                libc::pthread_mutex_trylock(mutex.mutex());
                assert_eq!(libc::pthread_mutex_timedlock(mutex.mutex(), &passed), libc::ETIMEDOUT);
            }),
            Box::new(move || drop(condition.wait_timeout(held.lock().unwrap(), Duration::ZERO))),
        ];
        for wait in waits {
            let done = Rc::new(Cell::new(false));
            let told = done.clone();
            let polls = sward::spawn(move || {
                while !done.get() {
                    wait();
                }
            });
            let other = sward::spawn(move || told.set(true));
            polls.join().unwrap();
            other.join().unwrap();
        }
    });
}

#[test]
fn who_sends_or_notifies_does_not_let_others_run() {
    patched_with_locks("who_sends_or_notifies_does_not_let_others_run", || {
        let (sender, receiver) = mpsc::channel();
        let pair = Arc::new((Mutex::new(0), Condvar::new()));
        let (seen, notified) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (told, theirs) = (seen.clone(), pair.clone());
        let receives = sward::spawn(move || {
            while receiver.recv().is_ok() {
                told.set(told.get() + 1);
            }
        });
        let told = notified.clone();
        let waits = sward::spawn(move || {
            let mut count = theirs.0.lock().unwrap();
            while *count < 100 {
                count = theirs.1.wait(count).unwrap();
                told.set(told.get() + 1);
            }
        });
        let wakes = sward::spawn(move || {
            sward::yield_now();
            for round in 0..100 {
                assert_eq!((seen.get(), notified.get()), (round, round), "each was woken by the last one");
                sender.send(()).unwrap();
                *pair.0.lock().unwrap() += 1;
                pair.1.notify_one();
                assert_eq!((seen.get(), notified.get()), (round, round), "and runs later");
                sward::yield_now();
            }
        });
        sward::join_all([receives, waits, wakes]).into_iter().for_each(|result| result.unwrap());
    });
}
