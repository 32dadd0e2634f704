//! Waiting, with a lock given up, for others to change what it protects.

use std::fmt;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use sward_runtime::lowlevel::{WaitQueue, Waited, can_park};

use crate::limit;
use crate::mutex::MutexGuard;

/// A condition that greenlets wait for while they give up a [`Mutex`](crate::Mutex).
///
/// # Differences from `std::sync::Condvar`
///
/// No poisoning, no spurious wake-ups, any number of mutexes. Waiters are woken in the order in
/// which they came; then they queue for the lock. A `wait` that is interrupted (killed, timed out
/// from outside) has the lock again when it begins to unwind. Getting the lock back cannot be
/// interrupted: a notification is never lost that way.
///
/// ```
/// use sward::sync::{Condvar, Mutex};
///
/// let (ready, changed) = (Mutex::new(false), Condvar::new());
/// sward::scope(|s| {
///     s.spawn(|| { *ready.lock() = true; changed.notify_one(); });
///     let guard = changed.wait_while(ready.lock(), |ready| !*ready);
///     assert!(*guard);
/// });
/// ```
#[derive(Default)]
pub struct Condvar {
    /// Who waits to be notified.
    waiters: WaitQueue,
}

/// Whether a wait of a [`Condvar`] ended because its limit passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Whether the limit passed.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sward::sync::{Condvar, Mutex};
    /// let mutex = Mutex::new(());
    /// let (_guard, result) = Condvar::new().wait_timeout(mutex.lock(), Duration::from_millis(1));
    /// assert!(result.timed_out());
    /// ```
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    /// A condition that nobody waits for.
    ///
    /// ```
    /// sward::sync::Condvar::new().notify_one(); // nobody hears it
    /// ```
    pub const fn new() -> Condvar {
        Condvar { waiters: WaitQueue::new() }
    }

    /// Unlocks, waits to be notified, and locks again. Blocks the greenlet.
    ///
    /// # Panics
    ///
    /// On the root stack, if nothing can ever notify it ("deadlock").
    ///
    /// ```
    /// use sward::sync::{Condvar, Mutex};
    /// let (mutex, condvar) = (Mutex::new(0), Condvar::new());
    /// sward::scope(|s| {
    ///     s.spawn(|| { *mutex.lock() = 7; condvar.notify_one(); });
    ///     let mut guard = mutex.lock();
    ///     while *guard == 0 {
    ///         guard = condvar.wait(guard);
    ///     }
    ///     assert_eq!(*guard, 7);
    /// });
    /// ```
    pub fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.wait_until("Condvar::wait", guard, None).0
    }

    /// Waits as long as `condition` is true; it is asked first, and after each notification.
    /// Blocks the greenlet.
    ///
    /// # Panics
    ///
    /// As [`wait`](Condvar::wait); passes on a panic of `condition`.
    ///
    /// ```
    /// use sward::sync::{Condvar, Mutex};
    /// let mutex = Mutex::new(false);
    /// let guard = Condvar::new().wait_while(mutex.lock(), |busy| *busy); // not at all
    /// # drop(guard);
    /// ```
    pub fn wait_while<'a, T, F>(&self, mut guard: MutexGuard<'a, T>, mut condition: F) -> MutexGuard<'a, T>
    where
        T: ?Sized,
        F: FnMut(&mut T) -> bool,
    {
        while condition(&mut guard) {
            guard = self.wait(guard);
        }
        guard
    }

    /// As [`wait`](Condvar::wait), for at most `limit`, to which the time it takes to get the lock
    /// back is added. Blocks the greenlet.
    ///
    /// # Panics
    ///
    /// Never on its own account.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sward::sync::{Condvar, Mutex};
    /// let mutex = Mutex::new(());
    /// let (_guard, result) = Condvar::new().wait_timeout(mutex.lock(), Duration::from_millis(1));
    /// assert!(result.timed_out());
    /// ```
    pub fn wait_timeout<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        limit: Duration,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
        if !can_park() {
            return (guard, WaitTimeoutResult(true));
        }
        let (guard, notified) = self.wait_until("Condvar::wait_timeout", guard, limit::deadline(limit));
        (guard, WaitTimeoutResult(!notified))
    }

    /// As [`wait_while`](Condvar::wait_while), for at most `limit`; the result is "timed out" if the
    /// condition is true at the end. Blocks the greenlet.
    ///
    /// # Panics
    ///
    /// Passes on a panic of `condition`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sward::sync::{Condvar, Mutex};
    /// let mutex = Mutex::new(true);
    /// let condvar = Condvar::new();
    /// let (_guard, result) = condvar.wait_timeout_while(mutex.lock(), Duration::from_millis(1), |busy| *busy);
    /// assert!(result.timed_out());
    /// ```
    pub fn wait_timeout_while<'a, T, F>(
        &self,
        mut guard: MutexGuard<'a, T>,
        limit: Duration,
        mut condition: F,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult)
    where
        T: ?Sized,
        F: FnMut(&mut T) -> bool,
    {
        let deadline = limit::deadline(limit);
        loop {
            if !condition(&mut guard) {
                return (guard, WaitTimeoutResult(false));
            }
            if !can_park() || deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return (guard, WaitTimeoutResult(true));
            }
            guard = self.wait_until("Condvar::wait_timeout_while", guard, deadline).0;
        }
    }

    /// Wakes the one who has waited longest.
    ///
    /// ```
    /// sward::sync::Condvar::new().notify_one();
    /// ```
    pub fn notify_one(&self) {
        self.waiters.wake_one();
    }

    /// Wakes all who wait.
    ///
    /// ```
    /// sward::sync::Condvar::new().notify_all();
    /// ```
    pub fn notify_all(&self) {
        self.waiters.wake_all();
    }

    /// The body of all waits; tells whether a notification came.
    fn wait_until<'a, T: ?Sized>(
        &self,
        call: &'static str,
        guard: MutexGuard<'a, T>,
        deadline: Option<Instant>,
    ) -> (MutexGuard<'a, T>, bool) {
        let mutex = guard.mutex();
        // Caught, because a destructor could not wait for the lock while the wait unwinds.
        let waited = catch_unwind(AssertUnwindSafe(|| {
            // Unlocking only queues: nobody runs before this greenlet waits.
            drop(guard);
            self.waiters.wait(call, (), deadline)
        }));
        let guard = mutex.lock_uninterruptible();
        match waited {
            Ok(waited) => (guard, waited == Waited::Woken(())),
            Err(payload) => resume_unwind(payload),
        }
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").field("waiters", &self.waiters.len()).finish()
    }
}

impl UnwindSafe for Condvar {}
impl RefUnwindSafe for Condvar {}
