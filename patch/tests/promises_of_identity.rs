//! After `patch::all`, each greenlet looks like a thread of its own.
#![cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]

mod support;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ffi::c_void;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use support::patched;
use sward::lowlevel::spawn_now;
use sward::{Builder, spawn, yield_now};

thread_local! {
    static NUMBER: Cell<u32> = const { Cell::new(7) };
    static TEXT: RefCell<String> = RefCell::new("fresh".into());
}

#[test]
fn it_is_on_here() {
    patched("it_is_on_here", || {
        // SAFETY: only asks again.
        let report = unsafe { sward::patch::all() };
        assert!(report.thread_identity(), "{report}");
    });
}

#[test]
fn thread_locals_are_the_greenlets_own() {
    patched("thread_locals_are_the_greenlets_own", || {
        NUMBER.set(1);
        TEXT.with_borrow_mut(|text| text.push_str(" of the root"));
        for _ in 0..3 {
            let greenlets = (0..100).map(|i| {
                spawn(move || {
                    assert_eq!(NUMBER.get(), 7);
                    NUMBER.set(i);
                    TEXT.with_borrow_mut(|text| *text = format!("{text} {i}"));
                    yield_now();
                    assert_eq!(NUMBER.get(), i);
                    assert_eq!(TEXT.take(), format!("fresh {i}"));
                })
            });
            sward::join_all(greenlets).into_iter().for_each(|result| result.unwrap());
        }
        assert_eq!(NUMBER.get(), 1);
        assert_eq!(TEXT.take(), "fresh of the root");
    });
}

#[test]
fn a_greenlet_that_runs_at_once_has_its_own_and_its_caller_keeps_those_it_had() {
    patched("a_greenlet_that_runs_at_once_has_its_own_and_its_caller_keeps_those_it_had", || {
        fn nest(number: u32) {
            assert_eq!(NUMBER.replace(number), 7);
            if number > 0 {
                let inner = spawn_now(move || nest(number - 1)).unwrap();
                assert_eq!(NUMBER.get(), number, "after it has left");
                inner.join().unwrap();
            }
            thread::sleep(Duration::from_millis(1));
            TEXT.with_borrow_mut(|text| *text = format!("{text} {number}"));
            assert_eq!((NUMBER.get(), TEXT.take()), (number, format!("fresh {number}")));
        }
        NUMBER.set(1);
        spawn_now(|| nest(3)).unwrap().join().unwrap();
        assert_eq!(NUMBER.get(), 1);
        spawn(|| nest(3)).join().unwrap();
        assert_eq!(NUMBER.get(), 1);
    });
}

#[test]
fn destructors_of_thread_locals_run_at_the_greenlets_end_and_may_block() {
    /// Says on what it was dropped.
    struct Noisy(RefCell<Option<Rc<RefCell<Vec<&'static str>>>>>);
    impl Drop for Noisy {
        fn drop(&mut self) {
            let Some(log) = self.0.take() else { return };
            log.borrow_mut().push("begins");
            thread::sleep(Duration::from_millis(5));
            log.borrow_mut().push("ends");
        }
    }
    thread_local!(static NOISY: Noisy = const { Noisy(RefCell::new(None)) });
    patched("destructors_of_thread_locals_run_at_the_greenlets_end_and_may_block", || {
        let log = Rc::new(RefCell::new(Vec::new()));
        let theirs = log.clone();
        let g = spawn(move || {
            NOISY.with(|noisy| noisy.0.replace(Some(theirs.clone())));
            theirs.borrow_mut().push("returns");
        });
        let other = log.clone();
        spawn(move || {
            yield_now();
            other.borrow_mut().push("meanwhile");
        });
        g.join().unwrap();
        assert_eq!(*log.borrow(), ["returns", "begins", "meanwhile", "ends"]);
        assert_eq!(Rc::strong_count(&log), 1);
    });
}

#[test]
fn a_kill_does_not_end_a_destructor_of_a_thread_local() {
    struct Sleeps;
    static DONE: AtomicUsize = AtomicUsize::new(0);
    impl Drop for Sleeps {
        fn drop(&mut self) {
            sward::sleep(Duration::from_millis(10));
            DONE.fetch_add(1, Ordering::Relaxed);
        }
    }
    thread_local!(static SLEEPS: Sleeps = const { Sleeps });
    patched("a_kill_does_not_end_a_destructor_of_a_thread_local", || {
        let g = spawn(|| SLEEPS.with(|_| ()));
        yield_now();
        g.kill();
        assert!(g.join().is_ok());
        let g = spawn(|| {
            SLEEPS.with(|_| ());
            sward::sleep(Duration::from_secs(60));
        });
        yield_now();
        g.kill();
        assert!(g.join().unwrap_err().is_killed());
        assert_eq!(DONE.load(Ordering::Relaxed), 2);
    });
}

#[test]
fn values_under_keys_are_the_greenlets_own_and_are_destroyed() {
    static DESTROYED: AtomicUsize = AtomicUsize::new(0);
    unsafe extern "C" fn destroy(value: *mut c_void) {
        DESTROYED.fetch_add(value.addr(), Ordering::Relaxed);
    }
    patched("values_under_keys_are_the_greenlets_own_and_are_destroyed", || {
        // More than one block of keys holds.
        let keys: Vec<_> = (0..40)
            .map(|_| {
                let mut key = 0;
                // SAFETY: a place for the key, and a function that takes any value.
                assert_eq!(unsafe { libc::pthread_key_create(&raw mut key, Some(destroy)) }, 0);
                key
            })
            .collect();
        let keys = Rc::new(keys);
        for round in 1..=2 {
            let greenlets = (1..=3_usize).map(|i| {
                let keys = keys.clone();
                spawn(move || {
                    for &key in keys.iter() {
                        // SAFETY: a live key.
                        unsafe {
                            assert!(libc::pthread_getspecific(key).is_null());
                            libc::pthread_setspecific(key, std::ptr::without_provenance(i));
                        }
                    }
                    yield_now();
                    // SAFETY: a live key.
                    assert!(keys.iter().all(|&key| unsafe { libc::pthread_getspecific(key) }.addr() == i));
                })
            });
            sward::join_all(greenlets).into_iter().for_each(|result| result.unwrap());
            assert_eq!(DESTROYED.load(Ordering::Relaxed), round * 40 * (1 + 2 + 3));
        }
        // SAFETY: live keys.
        keys.iter().for_each(|&key| assert_eq!(unsafe { libc::pthread_key_delete(key) }, 0));
    });
}

#[test]
fn each_greenlet_is_a_thread_to_std_and_libc() {
    patched("each_greenlet_is_a_thread_to_std_and_libc", || {
        let seen = Rc::new(RefCell::new((HashSet::new(), HashSet::new())));
        let greenlets = (0..10).map(|_| {
            let seen = seen.clone();
            spawn(move || {
                let me = thread::current().id();
                // SAFETY: takes nothing.
                let thread = unsafe { libc::pthread_self() };
                yield_now();
                assert_eq!(thread::current().id(), me);
                assert!(seen.borrow_mut().0.insert(me));
                assert!(seen.borrow_mut().1.insert(thread));
            })
        });
        sward::join_all(greenlets).into_iter().for_each(|result| result.unwrap());
        assert!(!seen.borrow().0.contains(&thread::current().id()));
    });
}

#[test]
fn errno_is_the_greenlets_own() {
    patched("errno_is_the_greenlets_own", || {
        let fail = |fd: i32, errno: i32| {
            move || {
                // SAFETY: takes numbers only.
                assert_eq!(unsafe { libc::lseek(fd, 0, libc::SEEK_SET) }, -1);
                yield_now();
                assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(errno));
            }
        };
        let mut pipe = [0; 2];
        // SAFETY: a place for two descriptors.
        assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
        let (a, b) = (spawn(fail(-1, libc::EBADF)), spawn(fail(pipe[0], libc::ESPIPE)));
        a.join().unwrap();
        b.join().unwrap();
        // SAFETY: opened above.
        pipe.into_iter().for_each(|fd| assert_eq!(unsafe { libc::close(fd) }, 0));
    });
}

#[test]
fn a_destructor_that_parks_in_an_unwinding_does_not_poison_a_siblings_mutex() {
    struct Parks;
    impl Drop for Parks {
        fn drop(&mut self) {
            assert!(thread::panicking());
            sward::sleep(Duration::from_millis(10));
            thread::sleep(Duration::from_millis(10));
            assert!(thread::panicking());
        }
    }
    patched("a_destructor_that_parks_in_an_unwinding_does_not_poison_a_siblings_mutex", || {
        let mutex = Rc::new(std::sync::Mutex::new(0));
        let ticks = mutex.clone();
        let sibling = spawn(move || {
            for _ in 0..10 {
                assert!(!thread::panicking());
                *ticks.lock().unwrap() += 1;
                sward::sleep(Duration::from_millis(1));
            }
        });
        let g = spawn(|| {
            let _parks = Parks;
            std::panic::resume_unwind(Box::new("not a message"));
        });
        yield_now();
        g.kill();
        assert!(g.join().unwrap_err().is_panic());
        assert!(*mutex.lock().unwrap() > 3, "the sibling ran while the other unwound");
        sibling.join().unwrap();
        assert!(!mutex.is_poisoned());
    });
}

#[test]
fn a_kill_lets_destructors_that_block_finish() {
    struct Parks(Rc<Cell<bool>>);
    impl Drop for Parks {
        fn drop(&mut self) {
            let other = spawn(|| sward::sleep(Duration::from_millis(3)));
            other.wait();
            sward::sleep(Duration::from_millis(3));
            thread::sleep(Duration::from_millis(3));
            self.0.set(other.is_finished());
        }
    }
    patched("a_kill_lets_destructors_that_block_finish", || {
        let done = Rc::new(Cell::new(false));
        let theirs = done.clone();
        let g = spawn(move || {
            let _parks = Parks(theirs);
            sward::sleep(Duration::from_secs(60));
        });
        yield_now();
        g.kill();
        assert!(g.join().unwrap_err().is_killed());
        assert!(done.get());
    });
}

#[test]
fn a_greenlet_may_share_its_threads() {
    patched("a_greenlet_may_share_its_threads", || {
        NUMBER.set(11);
        let id = thread::current().id();
        let g = Builder::new().shared_tls().spawn(move || {
            assert_eq!(NUMBER.get(), 11);
            assert_eq!(thread::current().id(), id);
            NUMBER.set(12);
        });
        g.unwrap().join().unwrap();
        assert_eq!(NUMBER.get(), 12);
        NUMBER.set(7);
    });
}

#[test]
fn hubs_on_several_threads_have_greenlets_of_their_own() {
    patched("hubs_on_several_threads_have_greenlets_of_their_own", || {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                thread::spawn(|| {
                    for _ in 0..20 {
                        let greenlets = (0..50).map(|i| {
                            spawn(move || {
                                TEXT.with_borrow_mut(|text| *text = "x".repeat(i));
                                yield_now();
                                TEXT.take().len()
                            })
                        });
                        let lens = sward::join_all(greenlets).into_iter().map(Result::unwrap);
                        assert!(lens.eq(0..50));
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_thread_that_ends_with_greenlets_left_frees_what_it_can() {
    patched("a_thread_that_ends_with_greenlets_left_frees_what_it_can", || {
        for _ in 0..50 {
            let thread = thread::spawn(|| {
                spawn(|| {
                    TEXT.with_borrow_mut(|text| text.push('!'));
                    sward::sleep(Duration::from_secs(60));
                });
                spawn(|| ()).join().unwrap();
            });
            thread.join().unwrap();
        }
    });
}

#[test]
fn identity_of_the_process_can_be_changed_from_a_greenlet() {
    patched("identity_of_the_process_can_be_changed_from_a_greenlet", || {
        let g = spawn(|| {
            // SAFETY: takes nothing; sets what is set.
            unsafe {
                assert_eq!(libc::setgid(libc::getgid()), 0);
                assert_eq!(libc::setuid(libc::getuid()), 0);
            }
        });
        let other = thread::spawn(|| thread::sleep(Duration::from_millis(20)));
        g.join().unwrap();
        other.join().unwrap();
    });
}

#[test]
fn a_greenlets_stack_is_told() {
    patched("a_greenlets_stack_is_told", || {
        let g = spawn(|| {
            let here = 0_u8;
            // SAFETY: all zeros will be overwritten; places for results.
            unsafe {
                let mut attributes = std::mem::zeroed();
                assert_eq!(libc::pthread_getattr_np(libc::pthread_self(), &raw mut attributes), 0);
                let (mut start, mut len) = (std::ptr::null_mut(), 0);
                assert_eq!(libc::pthread_attr_getstack(&raw const attributes, &raw mut start, &raw mut len), 0);
                libc::pthread_attr_destroy(&raw mut attributes);
                assert!((start.addr()..start.addr() + len).contains(&(&raw const here).addr()));
                let mut set = std::mem::zeroed::<libc::cpu_set_t>();
                assert_eq!(libc::pthread_getaffinity_np(libc::pthread_self(), size_of_val(&set), &raw mut set), 0);
                let mut clock = 0;
                assert_eq!(libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut clock), 0);
                let mut time = std::mem::zeroed();
                assert_eq!(libc::clock_gettime(clock, &raw mut time), 0);
            }
        });
        g.join().unwrap();
    });
}

#[test]
fn recursive_and_checking_mutexes_tell_greenlets_apart() {
    patched("recursive_and_checking_mutexes_tell_greenlets_apart", || {
        // SAFETY: initialised below, and neither moved nor freed while greenlets use it.
        let mutex: &'static mut libc::pthread_mutex_t = Box::leak(Box::new(unsafe { std::mem::zeroed() }));
        let address = (&raw mut *mutex).addr();
        // SAFETY: as above.
        unsafe {
            let mut attributes = std::mem::zeroed();
            libc::pthread_mutexattr_init(&raw mut attributes);
            libc::pthread_mutexattr_settype(&raw mut attributes, libc::PTHREAD_MUTEX_ERRORCHECK);
            libc::pthread_mutex_init(mutex, &raw const attributes);
        }
        let mutex = move || std::ptr::with_exposed_provenance_mut::<libc::pthread_mutex_t>(address);
        let a = spawn(move || {
            // SAFETY: a live mutex.
            unsafe {
                assert_eq!(libc::pthread_mutex_lock(mutex()), 0);
                assert_eq!(libc::pthread_mutex_trylock(mutex()), libc::EBUSY);
                yield_now();
                assert_eq!(libc::pthread_mutex_unlock(mutex()), 0);
            }
        });
        let b = spawn(move || {
            // SAFETY: a live mutex.
            unsafe {
                assert_eq!(libc::pthread_mutex_unlock(mutex()), libc::EPERM);
                assert_eq!(libc::pthread_mutex_trylock(mutex()), libc::EBUSY);
            }
        });
        a.join().unwrap();
        b.join().unwrap();
    });
}
