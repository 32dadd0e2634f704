//! A flag that greenlets wait for.

use std::cell::Cell;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

use sward_runtime::lowlevel::{WaitQueue, Waited, sealed};

use crate::limit;

/// A flag that greenlets wait for: gevent's `Event`.
///
/// # Differences from gevent's `Event`
///
/// `wait` without a limit returns nothing, and there is `wait_timeout`. As there, `set()` wakes all
/// who wait, also if `clear()` follows before they run.
///
/// ```
/// use sward::sync::Event;
///
/// let go = Event::new();
/// sward::scope(|s| {
///     for n in 0..3 {
///         let go = &go;
///         s.spawn(move || { go.wait(); println!("{n} goes"); });
///     }
///     sward::yield_now(); // all three wait
///     go.set();
/// });
/// ```
#[derive(Default)]
pub struct Event {
    /// The flag.
    set: Cell<bool>,
    /// Who waits for it.
    waiters: WaitQueue,
}

impl Event {
    /// An event that is not set.
    ///
    /// ```
    /// assert!(!sward::sync::Event::new().is_set());
    /// ```
    pub const fn new() -> Event {
        Event { set: Cell::new(false), waiters: WaitQueue::new() }
    }

    /// Sets the flag and wakes all who wait for it.
    ///
    /// ```
    /// let event = sward::sync::Event::new();
    /// event.set();
    /// event.wait(); // returns at once, from now on
    /// ```
    #[inline]
    pub fn set(&self) {
        self.set.set(true);
        self.waiters.wake_all();
    }

    /// Takes the flag back: who waits from now on waits for the next `set`.
    ///
    /// ```
    /// let event = sward::sync::Event::new();
    /// event.set();
    /// event.clear();
    /// assert!(!event.is_set());
    /// ```
    #[inline]
    pub fn clear(&self) {
        self.set.set(false);
    }

    /// Whether the flag is set.
    ///
    /// ```
    /// let event = sward::sync::Event::new();
    /// event.set();
    /// assert!(event.is_set());
    /// ```
    #[inline]
    pub fn is_set(&self) -> bool {
        self.set.get()
    }

    /// Waits until the flag is set. Blocks the greenlet.
    ///
    /// # Panics
    ///
    /// On the root stack, if nothing can ever set it ("deadlock").
    ///
    /// ```
    /// use std::rc::Rc;
    /// let event = Rc::new(sward::sync::Event::new());
    /// sward::spawn({ let event = event.clone(); move || event.set() });
    /// event.wait();
    /// ```
    #[inline]
    pub fn wait(&self) {
        if !self.is_set() {
            self.waiters.wait("Event::wait", (), None);
        }
    }

    /// Waits until the flag is set, for at most `limit`; tells whether it was. Blocks the greenlet.
    ///
    /// # Panics
    ///
    /// Never on its own account.
    ///
    /// ```
    /// use std::time::Duration;
    /// let event = sward::sync::Event::new();
    /// assert!(!event.wait_timeout(Duration::from_millis(1)));
    /// ```
    pub fn wait_timeout(&self, limit: Duration) -> bool {
        self.is_set()
            || limit::wait(&self.waiters, "Event::wait_timeout", (), limit) == Waited::Woken(())
            // It may have been set in the same turn.
            || self.is_set()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("set", &self.is_set()).field("waiters", &self.waiters.len()).finish()
    }
}

impl sealed::Watched for Event {
    fn ready(&self) -> bool {
        self.is_set()
    }

    fn watchers(&self) -> &WaitQueue {
        &self.waiters
    }
}

impl UnwindSafe for Event {}
impl RefUnwindSafe for Event {}
