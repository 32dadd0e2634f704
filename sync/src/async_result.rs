//! A value that is set once and waited for.

use std::cell::OnceCell;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

use sward_runtime::Elapsed;
use sward_runtime::lowlevel::{WaitQueue, sealed};

use crate::limit;

/// A value that one greenlet sets, once, and any number of others wait for.
///
/// # Differences from gevent's `AsyncResult`
///
/// It can be set once only; [`set`](AsyncResult::set) gives a second value back. There is no
/// `set_exception`: let `T` be a `Result`. [`get`](AsyncResult::get) lends the value, so that many
/// can have it; [`into_inner`](AsyncResult::into_inner) takes it out.
///
/// # Differences from `std::sync::OnceLock`
///
/// `get` waits; `try_get` is `OnceLock::get`. It stays on its thread.
///
/// ```
/// use sward::sync::AsyncResult;
///
/// let answer = AsyncResult::new();
/// sward::scope(|s| {
///     s.spawn(|| answer.set(42).unwrap());
///     assert_eq!(*answer.get(), 42);
/// });
/// ```
pub struct AsyncResult<T> {
    /// The value, once it was set.
    value: OnceCell<T>,
    /// Who waits for it.
    waiters: WaitQueue,
}

impl<T> AsyncResult<T> {
    /// One without a value.
    ///
    /// ```
    /// let result = sward::sync::AsyncResult::<u32>::new();
    /// assert!(!result.is_set());
    /// ```
    pub const fn new() -> AsyncResult<T> {
        AsyncResult { value: OnceCell::new(), waiters: WaitQueue::new() }
    }

    /// Sets the value and wakes all who wait for it.
    ///
    /// # Errors
    ///
    /// The value comes back if there was one already.
    ///
    /// ```
    /// let result = sward::sync::AsyncResult::new();
    /// assert_eq!(result.set(1), Ok(()));
    /// assert_eq!(result.set(2), Err(2));
    /// assert_eq!(*result.get(), 1);
    /// ```
    #[inline]
    pub fn set(&self, value: T) -> Result<(), T> {
        self.value.set(value)?;
        self.waiters.wake_all();
        Ok(())
    }

    /// Whether it has a value.
    ///
    /// ```
    /// let result = sward::sync::AsyncResult::new();
    /// result.set("done").unwrap();
    /// assert!(result.is_set());
    /// ```
    #[inline]
    pub fn is_set(&self) -> bool {
        self.value.get().is_some()
    }

    /// Waits for the value. Blocks the greenlet.
    ///
    /// # Panics
    ///
    /// On the root stack, if nothing can ever set it ("deadlock").
    ///
    /// ```
    /// use std::rc::Rc;
    /// use sward::sync::AsyncResult;
    ///
    /// let result = Rc::new(AsyncResult::new());
    /// let reader = sward::spawn({ let result = result.clone(); move || *result.get() });
    /// result.set('x').unwrap();
    /// assert_eq!(reader.join().unwrap(), 'x');
    /// ```
    #[inline]
    pub fn get(&self) -> &T {
        loop {
            if let Some(value) = self.value.get() {
                return value;
            }
            self.waiters.wait("AsyncResult::get", (), None);
        }
    }

    /// Waits for the value, for at most `limit`. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// [`Elapsed`] if the limit passes first.
    ///
    /// # Panics
    ///
    /// Never on its own account.
    ///
    /// ```
    /// use std::time::Duration;
    /// let result = sward::sync::AsyncResult::<u32>::new();
    /// assert_eq!(result.get_timeout(Duration::from_millis(1)), Err(sward::Elapsed));
    /// ```
    pub fn get_timeout(&self, limit: Duration) -> Result<&T, Elapsed> {
        if self.value.get().is_none() {
            limit::wait(&self.waiters, "AsyncResult::get_timeout", (), limit);
        }
        // Also if the limit passed: the value may have come in the same turn.
        self.value.get().ok_or(Elapsed)
    }

    /// The value, if there is one.
    ///
    /// ```
    /// let result = sward::sync::AsyncResult::new();
    /// assert_eq!(result.try_get(), None);
    /// result.set(5).unwrap();
    /// assert_eq!(result.try_get(), Some(&5));
    /// ```
    #[inline]
    pub fn try_get(&self) -> Option<&T> {
        self.value.get()
    }

    /// Takes the value out, if there is one.
    ///
    /// ```
    /// let result = sward::sync::AsyncResult::new();
    /// result.set(String::from("mine")).unwrap();
    /// assert_eq!(result.into_inner(), Some(String::from("mine")));
    /// ```
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }
}

impl<T> Default for AsyncResult<T> {
    fn default() -> Self {
        AsyncResult::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for AsyncResult<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncResult").field("value", &self.value.get()).field("waiters", &self.waiters.len()).finish()
    }
}

impl<T> sealed::Watched for AsyncResult<T> {
    fn ready(&self) -> bool {
        self.is_set()
    }

    fn watchers(&self) -> &WaitQueue {
        &self.waiters
    }
}

impl<T: UnwindSafe> UnwindSafe for AsyncResult<T> {}
impl<T: RefUnwindSafe + UnwindSafe> RefUnwindSafe for AsyncResult<T> {}
