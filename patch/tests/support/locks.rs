//! libc's locks, shared between greenlets and threads.
#![allow(dead_code, reason = "each test file uses a part")]

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use libc::c_int;

/// Threads and hubs may use it: it is C's.
pub(crate) struct Shared<T>(pub(crate) UnsafeCell<T>);

// SAFETY: what is in it is made for threads, or protected by what is.
unsafe impl<T> Sync for Shared<T> {}

// SAFETY: as above.
unsafe impl<T> Send for Shared<T> {}

impl<T> Shared<T> {
    pub(crate) fn new(value: T) -> Arc<Shared<T>> {
        Arc::new(Shared(UnsafeCell::new(value)))
    }

    pub(crate) fn zeroed() -> Arc<Shared<T>> {
        // SAFETY: all zeros is what the static initialisers of libc's types are.
        Shared::new(unsafe { MaybeUninit::zeroed().assume_init() })
    }

    pub(crate) fn get(&self) -> *mut T {
        self.0.get()
    }
}

/// A mutex of libc's, and the number that it protects.
pub(crate) struct Counter {
    /// The mutex.
    pub(crate) mutex: libc::pthread_mutex_t,
    /// The number.
    pub(crate) count: usize,
}

impl Shared<Counter> {
    pub(crate) fn with_kind(kind: c_int) -> Arc<Shared<Counter>> {
        // SAFETY: initialised by `made`.
        Self::made(|how| assert_eq!(unsafe { libc::pthread_mutexattr_settype(how, kind) }, 0))
    }

    /// With attributes that `set` changes.
    pub(crate) fn made(set: impl FnOnce(*mut libc::pthread_mutexattr_t)) -> Arc<Shared<Counter>> {
        let counter: Arc<Shared<Counter>> = Shared::zeroed();
        let mut how = MaybeUninit::uninit();
        // SAFETY: initialised in this order, and not in use yet.
        unsafe {
            assert_eq!(libc::pthread_mutexattr_init(how.as_mut_ptr()), 0);
            set(how.as_mut_ptr());
            assert_eq!(libc::pthread_mutex_init(counter.mutex(), how.as_ptr()), 0);
        }
        counter
    }

    pub(crate) fn mutex(&self) -> *mut libc::pthread_mutex_t {
        // SAFETY: only the place is taken.
        unsafe { &raw mut (*self.get()).mutex }
    }

    pub(crate) fn lock(&self) {
        // SAFETY: a live mutex.
        assert_eq!(unsafe { libc::pthread_mutex_lock(self.mutex()) }, 0);
    }

    pub(crate) fn unlock(&self) {
        // SAFETY: locked by the caller.
        assert_eq!(unsafe { libc::pthread_mutex_unlock(self.mutex()) }, 0);
    }

    pub(crate) fn add(&self) {
        // SAFETY: the caller holds the mutex.
        unsafe { (*self.get()).count += 1 }
    }
}

/// Runs `f` on a thread with a hub of its own, in greenlets.
pub(crate) fn hub(greenlets: usize, f: impl Fn() + Clone + Send + 'static) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let all = (0..greenlets).map(|_| sward::spawn(f.clone()));
        for result in sward::join_all(all) {
            result.expect("no greenlet fails");
        }
    })
}

/// An absolute time.
pub(crate) fn at(clock: libc::clockid_t, from_now: Duration) -> libc::timespec {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is writable.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    let nanos = now.tv_nsec + i64::from(from_now.subsec_nanos());
    libc::timespec {
        tv_sec: now.tv_sec + from_now.as_secs() as i64 + nanos / 1_000_000_000,
        tv_nsec: nanos % 1_000_000_000,
    }
}
