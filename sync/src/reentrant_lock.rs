//! A lock that its owner may take again.

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

use sward_runtime::GreenletId;
use sward_runtime::lowlevel::{WaitQueue, Waited};

use crate::limit;

/// A lock that one greenlet at a time holds, as often as it likes; it is free once all of its
/// guards are gone.
///
/// Since one greenlet may hold several guards, a guard gives out `&T` only; put a `RefCell` inside
/// for more, or use [`Mutex`](crate::Mutex).
///
/// # Differences from gevent's `RLock`
///
/// It protects a value, and a guard unlocks it: also when its greenlet is killed. Waiters get the
/// lock in the order in which they came, and nobody barges in.
///
/// # Differences from `std::sync::ReentrantLock`
///
/// It belongs to a greenlet, not to a thread, and there is `lock_timeout`.
///
/// ```
/// use sward::sync::ReentrantLock;
///
/// let lock = ReentrantLock::new("shared");
/// let outer = lock.lock();
/// let inner = lock.lock(); // the same greenlet again
/// assert_eq!(*inner, "shared");
/// # drop((outer, inner));
/// ```
pub struct ReentrantLock<T: ?Sized> {
    /// Who holds the lock.
    owner: Cell<Option<GreenletId>>,
    /// How many guards its owner has; 0 if there is none.
    depth: Cell<usize>,
    /// Who waits for the lock. Each brings its id, so that the lock can be handed over.
    waiters: WaitQueue<GreenletId>,
    /// What is protected.
    value: T,
}

impl<T> ReentrantLock<T> {
    /// A free lock around `value`.
    ///
    /// ```
    /// let lock = sward::sync::ReentrantLock::new(1);
    /// assert_eq!(*lock.lock(), 1);
    /// ```
    pub const fn new(value: T) -> ReentrantLock<T> {
        ReentrantLock { owner: Cell::new(None), depth: Cell::new(0), waiters: WaitQueue::new(), value }
    }

    /// Takes the value out.
    ///
    /// ```
    /// assert_eq!(sward::sync::ReentrantLock::new(1).into_inner(), 1);
    /// ```
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T: ?Sized> ReentrantLock<T> {
    /// Takes the lock, once more if the greenlet has it already. Blocks the greenlet.
    ///
    /// # Panics
    ///
    /// On the root stack, if nothing can ever free the lock ("deadlock").
    ///
    /// ```
    /// let lock = sward::sync::ReentrantLock::new(());
    /// let guard = lock.lock();
    /// let again = lock.lock();
    /// # drop((guard, again));
    /// ```
    #[inline]
    pub fn lock(&self) -> ReentrantLockGuard<'_, T> {
        let me = sward_runtime::current().id();
        if !self.enter(me) {
            self.waiters.wait("ReentrantLock::lock", me, None);
        }
        ReentrantLockGuard { lock: self }
    }

    /// Takes the lock if that needs no waiting.
    ///
    /// ```
    /// let lock = sward::sync::ReentrantLock::new(());
    /// let guard = lock.lock();
    /// assert!(lock.try_lock().is_some()); // ours
    /// sward::scope(|s| { s.spawn(|| assert!(lock.try_lock().is_none())); });
    /// # drop(guard);
    /// ```
    #[inline]
    pub fn try_lock(&self) -> Option<ReentrantLockGuard<'_, T>> {
        self.enter(sward_runtime::current().id()).then(|| ReentrantLockGuard { lock: self })
    }

    /// As [`lock`](ReentrantLock::lock), for at most `limit`; `None` if it passes. Blocks the greenlet.
    ///
    /// # Panics
    ///
    /// Never on its own account.
    ///
    /// ```
    /// use std::time::Duration;
    /// let lock = sward::sync::ReentrantLock::new(());
    /// let guard = lock.lock();
    /// sward::scope(|s| {
    ///     s.spawn(|| assert!(lock.lock_timeout(Duration::from_millis(1)).is_none()));
    /// });
    /// # drop(guard);
    /// ```
    pub fn lock_timeout(&self, limit: Duration) -> Option<ReentrantLockGuard<'_, T>> {
        let me = sward_runtime::current().id();
        let has_it = self.enter(me)
            || match limit::wait(&self.waiters, "ReentrantLock::lock_timeout", me, limit) {
                Waited::Woken(_) => true,
                // It may have been freed in the same turn.
                Waited::TimedOut(_) => self.enter(me),
            };
        has_it.then(|| ReentrantLockGuard { lock: self })
    }

    /// The value, without locking: there can be no guard.
    ///
    /// ```
    /// let mut lock = sward::sync::ReentrantLock::new(1);
    /// *lock.get_mut() = 2;
    /// assert_eq!(*lock.lock(), 2);
    /// ```
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.value
    }

    /// Takes the lock for `me` if it is free or its own.
    #[inline]
    fn enter(&self, me: GreenletId) -> bool {
        match self.owner.get() {
            Some(owner) if owner != me => false,
            _ => {
                self.owner.set(Some(me));
                self.depth.set(self.depth.get() + 1);
                true
            }
        }
    }

    /// Gives up one guard; with the last one the lock goes to the first who waits.
    #[inline]
    fn leave(&self) {
        let depth = self.depth.get() - 1;
        if depth > 0 {
            return self.depth.set(depth);
        }
        let next = self.waiters.wake_one_with(|id| *id);
        self.depth.set(usize::from(next.is_some()));
        self.owner.set(next);
    }
}

impl<T: Default> Default for ReentrantLock<T> {
    fn default() -> Self {
        ReentrantLock::new(T::default())
    }
}

impl<T> From<T> for ReentrantLock<T> {
    fn from(value: T) -> Self {
        ReentrantLock::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for ReentrantLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReentrantLock")
            .field("value", &&self.value)
            .field("owner", &self.owner.get())
            .field("depth", &self.depth.get())
            .field("waiters", &self.waiters.len())
            .finish()
    }
}

impl<T: UnwindSafe + ?Sized> UnwindSafe for ReentrantLock<T> {}
impl<T: RefUnwindSafe + ?Sized> RefUnwindSafe for ReentrantLock<T> {}

/// A share in a [`ReentrantLock`] that its greenlet holds; given up when dropped.
#[must_use = "the lock is free again at once if its guard is not kept"]
pub struct ReentrantLockGuard<'a, T: ?Sized> {
    /// The lock.
    lock: &'a ReentrantLock<T>,
}

impl<T: ?Sized> Deref for ReentrantLockGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.lock.value
    }
}

impl<T: ?Sized> Drop for ReentrantLockGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.leave();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for ReentrantLockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for ReentrantLockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
