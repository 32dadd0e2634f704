//! A lock around a value.

use std::cell::{Cell, RefCell, RefMut};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

use sward_runtime::lowlevel::{WaitQueue, Waited};
use sward_runtime::shield;

use crate::limit;

/// A lock around a value, for work on it that blocks half way.
///
/// Greenlets of one hub never run at the same time, so a `Cell` or `RefCell` is enough for work that
/// does not block. The lock goes to waiters in the order in which they came, and nobody barges in.
///
/// # Differences from `std::sync::Mutex`
///
/// No poisoning: a guard that is dropped while its greenlet panics or is killed unlocks, and that is
/// all. `try_lock` gives an `Option`. There is `lock_timeout`. It stays on its thread.
///
/// # Differences from gevent's `BoundedSemaphore(1)`
///
/// It protects a value, and only its guard unlocks it.
///
/// ```
/// use sward::sync::Mutex;
///
/// let count = Mutex::new(0);
/// sward::scope(|s| {
///     for _ in 0..10 {
///         s.spawn(|| {
///             let mut count = count.lock();
///             let seen = *count;
///             sward::yield_now(); // nobody else changes it meanwhile
///             *count = seen + 1;
///         });
///     }
/// });
/// assert_eq!(count.into_inner(), 10);
/// ```
pub struct Mutex<T: ?Sized> {
    /// Whether somebody has the lock. It stays set when it is handed over.
    locked: Cell<bool>,
    /// Who waits for the lock; being woken is having it.
    waiters: WaitQueue,
    /// What is protected. Borrowed by the guard, and only by it.
    value: RefCell<T>,
}

impl<T> Mutex<T> {
    /// A free lock around `value`.
    ///
    /// ```
    /// assert_eq!(*sward::sync::Mutex::new(1).lock(), 1);
    /// ```
    pub const fn new(value: T) -> Mutex<T> {
        Mutex { locked: Cell::new(false), waiters: WaitQueue::new(), value: RefCell::new(value) }
    }

    /// Takes the value out.
    ///
    /// ```
    /// assert_eq!(sward::sync::Mutex::new(1).into_inner(), 1);
    /// ```
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Takes the lock; waits until it is free. Blocks the greenlet.
    ///
    /// # Panics
    ///
    /// On the root stack, if nothing can ever free the lock ("deadlock"), for example because the
    /// root has it already.
    ///
    /// ```
    /// let mutex = sward::sync::Mutex::new(1);
    /// *mutex.lock() += 1;
    /// assert_eq!(*mutex.lock(), 2);
    /// ```
    // Inlined down to the switch, as `yield_now` is: see there.
    #[inline(always)]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        if self.locked.replace(true) {
            self.waiters.wait("Mutex::lock", (), None);
        }
        self.guard()
    }

    /// Takes the lock if it is free.
    ///
    /// ```
    /// let mutex = sward::sync::Mutex::new(1);
    /// let guard = mutex.lock();
    /// assert!(mutex.try_lock().is_none());
    /// # drop(guard);
    /// ```
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        (!self.locked.replace(true)).then(|| self.guard())
    }

    /// As [`lock`](Mutex::lock), for at most `limit`; `None` if it passes. Blocks the greenlet.
    ///
    /// # Panics
    ///
    /// Never on its own account.
    ///
    /// ```
    /// use std::time::Duration;
    /// let mutex = sward::sync::Mutex::new(1);
    /// let guard = mutex.lock();
    /// assert!(mutex.lock_timeout(Duration::from_millis(1)).is_none());
    /// # drop(guard);
    /// ```
    pub fn lock_timeout(&self, limit: Duration) -> Option<MutexGuard<'_, T>> {
        let has_it = !self.locked.replace(true)
            || limit::wait(&self.waiters, "Mutex::lock_timeout", (), limit) == Waited::Woken(())
            // It may have been freed in the same turn.
            || !self.locked.replace(true);
        has_it.then(|| self.guard())
    }

    /// The value, without locking: there can be no guard.
    ///
    /// ```
    /// let mut mutex = sward::sync::Mutex::new(1);
    /// *mutex.get_mut() = 2;
    /// assert_eq!(*mutex.lock(), 2);
    /// ```
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// Takes the lock whatever comes: for `Condvar`, which owes it to its caller.
    pub(crate) fn lock_uninterruptible(&self) -> MutexGuard<'_, T> {
        match self.try_lock() {
            Some(guard) => guard,
            None => shield(|| self.lock()),
        }
    }

    /// The guard of whoever has just got the lock.
    #[inline]
    fn guard(&self) -> MutexGuard<'_, T> {
        MutexGuard { value: self.value.borrow_mut(), lock: self }
    }

    /// Gives the lock to the first who waits, or frees it.
    #[inline]
    fn unlock(&self) {
        self.locked.set(self.waiters.wake_one());
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Mutex::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Self {
        Mutex::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (locked, waiters) = (self.locked.get(), self.waiters.len());
        let mut out = f.debug_struct("Mutex");
        // With the lock: the value's own `Debug` may block, and others who then want the lock have to wait for it.
        match self.try_lock() {
            Some(value) => out.field("value", &value),
            None => out.field("value", &format_args!("<locked>")),
        };
        out.field("locked", &locked).field("waiters", &waiters).finish()
    }
}

impl<T: ?Sized> UnwindSafe for Mutex<T> {}
impl<T: ?Sized> RefUnwindSafe for Mutex<T> {}

/// The lock of a [`Mutex`], and through it the value; unlocks when dropped.
#[must_use = "the lock is free again at once if its guard is not kept"]
pub struct MutexGuard<'a, T: ?Sized> {
    /// The value. Given up after `Drop::drop` has handed the lock over, which only queues: nobody
    /// runs in between.
    value: RefMut<'a, T>,
    /// The lock.
    lock: &'a Mutex<T>,
}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// The lock that the guard is of.
    pub(crate) fn mutex(&self) -> &'a Mutex<T> {
        self.lock
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.unlock();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized> UnwindSafe for MutexGuard<'_, T> {}
impl<T: ?Sized> RefUnwindSafe for MutexGuard<'_, T> {}
