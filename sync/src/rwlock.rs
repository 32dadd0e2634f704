//! A lock that many readers or one writer hold.
//!
//! ```text
//!   waiters:  [read] [read] [write] [read]      one line, in order of arrival
//!              └──────┘ admitted together; the last read waits behind the writer
//! ```

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

use sward_runtime::lowlevel::{WaitQueue, Waited};

use crate::limit;

/// What somebody in the line wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// Read, with others who read.
    Read,
    /// Write, alone.
    Write,
}

/// A lock around a value that many may read at the same time, or one may write.
///
/// All who wait stand in one line: a writer that waits is not overtaken by readers who come later,
/// and readers next to each other in the line enter together.
///
/// # Differences from `std::sync::RwLock`
///
/// No poisoning; `try_read` and `try_write` give an `Option`; there are `read_timeout` and
/// `write_timeout`; the order is promised. It stays on its thread. A greenlet that reads and asks to
/// read once more waits for a writer that came in between, which waits for it.
///
/// ```
/// use sward::sync::RwLock;
///
/// let config = RwLock::new(String::from("old"));
/// {
///     let (one, two) = (config.read(), config.read());
///     assert_eq!(*one, *two);
/// }
/// config.write().push_str(" and new");
/// assert_eq!(*config.read(), "old and new");
/// ```
pub struct RwLock<T: ?Sized> {
    /// How many read, or have been admitted to.
    readers: Cell<usize>,
    /// Whether somebody writes, or has been admitted to.
    writing: Cell<bool>,
    /// The line; being woken is being admitted.
    waiters: WaitQueue<Access>,
    /// What is protected. Borrowed by the guards, and only by them.
    value: RefCell<T>,
}

impl<T> RwLock<T> {
    /// A free lock around `value`.
    ///
    /// ```
    /// assert_eq!(*sward::sync::RwLock::new(1).read(), 1);
    /// ```
    pub const fn new(value: T) -> RwLock<T> {
        RwLock {
            readers: Cell::new(0),
            writing: Cell::new(false),
            waiters: WaitQueue::new(),
            value: RefCell::new(value),
        }
    }

    /// Takes the value out.
    ///
    /// ```
    /// assert_eq!(sward::sync::RwLock::new(1).into_inner(), 1);
    /// ```
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Takes the lock for reading. Blocks the greenlet.
    ///
    /// # Panics
    ///
    /// On the root stack, if it can never be had ("deadlock").
    ///
    /// ```
    /// let lock = sward::sync::RwLock::new(1);
    /// assert_eq!(*lock.read(), 1);
    /// ```
    #[inline]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        if !self.try_enter(Access::Read) {
            self.stand_in_line("RwLock::read", Access::Read);
        }
        self.read_guard()
    }

    /// Takes the lock for reading if that needs no waiting.
    ///
    /// ```
    /// let lock = sward::sync::RwLock::new(1);
    /// let writer = lock.write();
    /// assert!(lock.try_read().is_none());
    /// # drop(writer);
    /// ```
    #[inline]
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        self.try_enter(Access::Read).then(|| self.read_guard())
    }

    /// As [`read`](RwLock::read), for at most `limit`; `None` if it passes. Blocks the greenlet.
    ///
    /// # Panics
    ///
    /// Never on its own account.
    ///
    /// ```
    /// use std::time::Duration;
    /// let lock = sward::sync::RwLock::new(1);
    /// let writer = lock.write();
    /// assert!(lock.read_timeout(Duration::from_millis(1)).is_none());
    /// # drop(writer);
    /// ```
    pub fn read_timeout(&self, limit: Duration) -> Option<RwLockReadGuard<'_, T>> {
        self.enter_timeout("RwLock::read_timeout", Access::Read, limit).then(|| self.read_guard())
    }

    /// Takes the lock for writing. Blocks the greenlet.
    ///
    /// # Panics
    ///
    /// On the root stack, if it can never be had ("deadlock").
    ///
    /// ```
    /// let lock = sward::sync::RwLock::new(1);
    /// *lock.write() = 2;
    /// assert_eq!(*lock.read(), 2);
    /// ```
    #[inline]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        if !self.try_enter(Access::Write) {
            self.stand_in_line("RwLock::write", Access::Write);
        }
        self.write_guard()
    }

    /// Takes the lock for writing if that needs no waiting.
    ///
    /// ```
    /// let lock = sward::sync::RwLock::new(1);
    /// let reader = lock.read();
    /// assert!(lock.try_write().is_none());
    /// # drop(reader);
    /// ```
    #[inline]
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        self.try_enter(Access::Write).then(|| self.write_guard())
    }

    /// As [`write`](RwLock::write), for at most `limit`; `None` if it passes. Blocks the greenlet.
    ///
    /// # Panics
    ///
    /// Never on its own account.
    ///
    /// ```
    /// use std::time::Duration;
    /// let lock = sward::sync::RwLock::new(1);
    /// let reader = lock.read();
    /// assert!(lock.write_timeout(Duration::from_millis(1)).is_none());
    /// # drop(reader);
    /// ```
    pub fn write_timeout(&self, limit: Duration) -> Option<RwLockWriteGuard<'_, T>> {
        self.enter_timeout("RwLock::write_timeout", Access::Write, limit).then(|| self.write_guard())
    }

    /// The value, without locking: there can be no guard.
    ///
    /// ```
    /// let mut lock = sward::sync::RwLock::new(1);
    /// *lock.get_mut() = 2;
    /// assert_eq!(*lock.read(), 2);
    /// ```
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// Enters if that is possible and nobody stands in line.
    #[inline]
    fn try_enter(&self, access: Access) -> bool {
        if !self.waiters.is_empty() {
            // A writer at the head may just have been killed: those behind it come first.
            self.admit();
        }
        self.may_enter(access) && self.waiters.is_empty() && {
            self.enter(access);
            true
        }
    }

    /// Waits for admission.
    fn stand_in_line(&self, call: &'static str, access: Access) {
        let line = Line { lock: self };
        self.waiters.wait(call, access, None);
        std::mem::forget(line);
    }

    /// Enters within `limit`.
    fn enter_timeout(&self, call: &'static str, access: Access, limit: Duration) -> bool {
        if self.try_enter(access) {
            return true;
        }
        let line = Line { lock: self };
        match limit::wait(&self.waiters, call, access, limit) {
            Waited::Woken(_) => {
                std::mem::forget(line);
                true
            }
            // It may have become possible in the same turn.
            Waited::TimedOut(_) => {
                drop(line);
                self.try_enter(access)
            }
        }
    }

    /// Whether nobody inside is in the way.
    #[inline]
    fn may_enter(&self, access: Access) -> bool {
        !self.writing.get() && (access == Access::Read || self.readers.get() == 0)
    }

    /// Notes that one more is inside.
    #[inline]
    fn enter(&self, access: Access) {
        match access {
            Access::Read => self.readers.set(self.readers.get() + 1),
            Access::Write => self.writing.set(true),
        }
    }

    /// Lets in, from the head of the line, all who may enter.
    #[inline]
    fn admit(&self) {
        while let Some(access) = self.waiters.with_first(|access| *access)
            && self.may_enter(access)
        {
            self.enter(access);
            self.waiters.wake_one();
        }
    }

    /// The guard of a reader who has entered.
    #[inline]
    fn read_guard(&self) -> RwLockReadGuard<'_, T> {
        RwLockReadGuard { value: self.value.borrow(), _inside: ReaderInside { lock: self } }
    }

    /// The guard of a writer who has entered.
    #[inline]
    fn write_guard(&self) -> RwLockWriteGuard<'_, T> {
        RwLockWriteGuard { value: self.value.borrow_mut(), _inside: WriterInside { lock: self } }
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> Self {
        RwLock::new(T::default())
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(value: T) -> Self {
        RwLock::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (readers, writing, waiters) = (self.readers.get(), self.writing.get(), self.waiters.len());
        let mut out = f.debug_struct("RwLock");
        // As a reader: the value's own `Debug` may block, and a writer who then comes has to wait for it.
        match self.try_read() {
            Some(value) => out.field("value", &value),
            None => out.field("value", &format_args!("<locked>")),
        };
        out.field("readers", &readers).field("writing", &writing).field("waiters", &waiters).finish()
    }
}

impl<T: ?Sized> UnwindSafe for RwLock<T> {}
impl<T: ?Sized> RefUnwindSafe for RwLock<T> {}

/// Somebody who leaves the line without having been admitted: those behind may now be able to enter.
struct Line<'a, T: ?Sized> {
    /// The lock.
    lock: &'a RwLock<T>,
}

impl<T: ?Sized> Drop for Line<'_, T> {
    fn drop(&mut self) {
        self.lock.admit();
    }
}

/// Counts a reader inside.
struct ReaderInside<'a, T: ?Sized> {
    /// The lock.
    lock: &'a RwLock<T>,
}

impl<T: ?Sized> Drop for ReaderInside<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.readers.set(self.lock.readers.get() - 1);
        self.lock.admit();
    }
}

/// Counts the writer inside.
struct WriterInside<'a, T: ?Sized> {
    /// The lock.
    lock: &'a RwLock<T>,
}

impl<T: ?Sized> Drop for WriterInside<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.writing.set(false);
        self.lock.admit();
    }
}

/// A reader's share in a [`RwLock`], given up when dropped.
#[must_use = "the lock is free again at once if its guard is not kept"]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    /// The value. Dropped first.
    value: Ref<'a, T>,
    /// Leaves the lock.
    _inside: ReaderInside<'a, T>,
}

/// A writer's hold of a [`RwLock`], given up when dropped.
#[must_use = "the lock is free again at once if its guard is not kept"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    /// The value. Dropped first.
    value: RefMut<'a, T>,
    /// Leaves the lock.
    _inside: WriterInside<'a, T>,
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized> UnwindSafe for RwLockReadGuard<'_, T> {}
impl<T: ?Sized> RefUnwindSafe for RwLockReadGuard<'_, T> {}
impl<T: ?Sized> UnwindSafe for RwLockWriteGuard<'_, T> {}
impl<T: ?Sized> RefUnwindSafe for RwLockWriteGuard<'_, T> {}
