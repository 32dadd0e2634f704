//! A number of permits.

use std::cell::Cell;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;
use std::time::Duration;

use sward_runtime::lowlevel::{WaitQueue, Waited, sealed};

use crate::limit;

/// A number of permits that greenlets take, hold and give back.
///
/// A permit that is given back while others wait goes to the first of them. So there are free
/// permits only while nobody waits, and nobody barges in.
///
/// # Differences from gevent's `Semaphore`
///
/// A permit is a value: dropping it gives it back, also when its greenlet is killed. What
/// `release()` does without an `acquire()` is [`add_permits`](Semaphore::add_permits).
///
/// ```
/// use sward::sync::Semaphore;
///
/// let two_at_once = Semaphore::new(2);
/// sward::scope(|s| {
///     for _ in 0..10 {
///         s.spawn(|| {
///             let _permit = two_at_once.acquire();
///             sward::yield_now(); // the work
///         });
///     }
/// });
/// assert_eq!(two_at_once.available_permits(), 2);
/// ```
pub struct Semaphore {
    /// Free permits. More than 0 only while nobody waits in `waiters`.
    permits: Cell<usize>,
    /// Who waits for a permit; being woken is having it.
    waiters: WaitQueue,
    /// Who waits in `wait_any` for a free permit, which is not taken.
    watchers: WaitQueue,
}

impl Semaphore {
    /// A semaphore with `permits` free permits.
    ///
    /// ```
    /// assert_eq!(sward::sync::Semaphore::new(3).available_permits(), 3);
    /// ```
    pub const fn new(permits: usize) -> Semaphore {
        Semaphore { permits: Cell::new(permits), waiters: WaitQueue::new(), watchers: WaitQueue::new() }
    }

    /// Takes a permit; waits for one if there is none. Blocks the greenlet.
    ///
    /// # Panics
    ///
    /// On the root stack, if nothing can ever give a permit back ("deadlock").
    ///
    /// ```
    /// let semaphore = sward::sync::Semaphore::new(1);
    /// let permit = semaphore.acquire();
    /// assert_eq!(semaphore.available_permits(), 0);
    /// drop(permit);
    /// assert_eq!(semaphore.available_permits(), 1);
    /// ```
    #[inline]
    pub fn acquire(&self) -> Permit<'_> {
        self.take("Semaphore::acquire");
        Permit { semaphore: self }
    }

    /// Takes a permit if one is free.
    ///
    /// ```
    /// let semaphore = sward::sync::Semaphore::new(1);
    /// let permit = semaphore.try_acquire();
    /// assert!(permit.is_some());
    /// assert!(semaphore.try_acquire().is_none());
    /// ```
    #[inline]
    pub fn try_acquire(&self) -> Option<Permit<'_>> {
        self.try_take().then(|| Permit { semaphore: self })
    }

    /// As [`acquire`](Semaphore::acquire), for at most `limit`; `None` if it passes. Blocks the greenlet.
    ///
    /// # Panics
    ///
    /// Never on its own account.
    ///
    /// ```
    /// use std::time::Duration;
    /// let semaphore = sward::sync::Semaphore::new(0);
    /// assert!(semaphore.acquire_timeout(Duration::from_millis(1)).is_none());
    /// ```
    pub fn acquire_timeout(&self, limit: Duration) -> Option<Permit<'_>> {
        self.take_timeout(limit).then(|| Permit { semaphore: self })
    }

    /// As [`acquire`](Semaphore::acquire); the permit keeps the semaphore alive, so that it can move
    /// into a spawned greenlet. Blocks the greenlet.
    ///
    /// # Panics
    ///
    /// As `acquire`.
    ///
    /// ```
    /// use std::rc::Rc;
    /// let semaphore = Rc::new(sward::sync::Semaphore::new(1));
    /// let permit = semaphore.acquire_owned();
    /// sward::spawn(move || drop(permit)).join().unwrap();
    /// assert_eq!(semaphore.available_permits(), 1);
    /// ```
    pub fn acquire_owned(self: &Rc<Self>) -> OwnedPermit {
        self.acquire_owned_for("Semaphore::acquire_owned")
    }

    /// As [`try_acquire`](Semaphore::try_acquire), with a permit that keeps the semaphore alive.
    ///
    /// ```
    /// use std::rc::Rc;
    /// let semaphore = Rc::new(sward::sync::Semaphore::new(0));
    /// assert!(semaphore.try_acquire_owned().is_none());
    /// ```
    pub fn try_acquire_owned(self: &Rc<Self>) -> Option<OwnedPermit> {
        self.try_take().then(|| OwnedPermit { semaphore: Some(self.clone()) })
    }

    /// As [`acquire_timeout`](Semaphore::acquire_timeout), with a permit that keeps the semaphore
    /// alive. Blocks the greenlet.
    ///
    /// # Panics
    ///
    /// Never on its own account.
    ///
    /// ```
    /// use std::{rc::Rc, time::Duration};
    /// let semaphore = Rc::new(sward::sync::Semaphore::new(1));
    /// assert!(semaphore.acquire_owned_timeout(Duration::from_millis(1)).is_some());
    /// ```
    pub fn acquire_owned_timeout(self: &Rc<Self>, limit: Duration) -> Option<OwnedPermit> {
        self.take_timeout(limit).then(|| OwnedPermit { semaphore: Some(self.clone()) })
    }

    /// Adds `n` permits: the first go to those who wait.
    ///
    /// # Panics
    ///
    /// If there were more permits than a `usize` can count.
    ///
    /// ```
    /// let semaphore = sward::sync::Semaphore::new(0);
    /// semaphore.add_permits(2);
    /// assert_eq!(semaphore.available_permits(), 2);
    /// ```
    pub fn add_permits(&self, n: usize) {
        for given in 0..n {
            if !self.waiters.wake_one() {
                return self.add_free(n - given);
            }
        }
    }

    /// How many permits are free.
    ///
    /// ```
    /// assert_eq!(sward::sync::Semaphore::new(3).available_permits(), 3);
    /// ```
    #[inline]
    pub fn available_permits(&self) -> usize {
        self.permits.get()
    }

    /// Waits until a permit is free, and does not take it.
    pub(crate) fn wait_available(&self, call: &'static str) {
        while self.permits.get() == 0 {
            self.watchers.wait(call, (), None);
        }
    }

    /// As `acquire_owned`, in a call that reports name `call`.
    pub(crate) fn acquire_owned_for(self: &Rc<Self>, call: &'static str) -> OwnedPermit {
        self.take(call);
        OwnedPermit { semaphore: Some(self.clone()) }
    }

    /// How many wait.
    pub(crate) fn waiters(&self) -> usize {
        self.waiters.len() + self.watchers.len()
    }

    /// Takes a permit.
    #[inline]
    fn take(&self, call: &'static str) {
        if !self.try_take() {
            self.waiters.wait(call, (), None);
        }
    }

    /// Takes a permit if one is free.
    #[inline]
    fn try_take(&self) -> bool {
        let permits = self.permits.get();
        self.permits.set(permits.saturating_sub(1));
        permits > 0
    }

    /// Takes a permit within `limit`.
    fn take_timeout(&self, limit: Duration) -> bool {
        self.try_take()
            || limit::wait(&self.waiters, "Semaphore::acquire_timeout", (), limit) == Waited::Woken(())
            // One may have become free in the same turn.
            || self.try_take()
    }

    /// Gives one permit back.
    #[inline]
    fn give(&self) {
        if !self.waiters.wake_one() {
            self.add_free(1);
        }
    }

    /// Adds free permits; nobody waits for one.
    #[inline]
    fn add_free(&self, n: usize) {
        self.permits.set(self.permits.get().checked_add(n).expect("a semaphore's permits fit a usize"));
        self.watchers.wake_all();
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore").field("permits", &self.permits.get()).field("waiters", &self.waiters()).finish()
    }
}

impl sealed::Watched for Semaphore {
    fn ready(&self) -> bool {
        self.permits.get() > 0
    }

    fn watchers(&self) -> &WaitQueue {
        &self.watchers
    }
}

impl UnwindSafe for Semaphore {}
impl RefUnwindSafe for Semaphore {}

/// A permit of a [`Semaphore`], given back when dropped.
///
/// ```
/// let semaphore = sward::sync::Semaphore::new(1);
/// drop(semaphore.acquire());
/// assert_eq!(semaphore.available_permits(), 1);
/// ```
#[must_use = "the permit is given back at once if it is not kept"]
#[derive(Debug)]
pub struct Permit<'a> {
    /// Where it came from.
    semaphore: &'a Semaphore,
}

impl Permit<'_> {
    /// Does not give the permit back: the semaphore has one less from now on.
    ///
    /// ```
    /// let semaphore = sward::sync::Semaphore::new(1);
    /// semaphore.acquire().forget();
    /// assert_eq!(semaphore.available_permits(), 0);
    /// ```
    pub fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.semaphore.give();
    }
}

/// A permit that keeps its [`Semaphore`] alive; given back when dropped.
///
/// ```
/// use std::rc::Rc;
/// let semaphore = Rc::new(sward::sync::Semaphore::new(1));
/// drop(semaphore.acquire_owned());
/// assert_eq!(semaphore.available_permits(), 1);
/// ```
#[must_use = "the permit is given back at once if it is not kept"]
#[derive(Debug)]
pub struct OwnedPermit {
    /// Where it came from; `None` once forgotten.
    semaphore: Option<Rc<Semaphore>>,
}

impl OwnedPermit {
    /// Does not give the permit back: the semaphore has one less from now on.
    ///
    /// ```
    /// use std::rc::Rc;
    /// let semaphore = Rc::new(sward::sync::Semaphore::new(1));
    /// semaphore.acquire_owned().forget();
    /// assert_eq!(semaphore.available_permits(), 0);
    /// ```
    pub fn forget(mut self) {
        self.semaphore = None;
    }
}

impl Drop for OwnedPermit {
    #[inline]
    fn drop(&mut self) {
        if let Some(semaphore) = &self.semaphore {
            semaphore.give();
        }
    }
}
