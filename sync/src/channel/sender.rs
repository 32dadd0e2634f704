//! The sending end.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::sync::mpsc::{SendError, TrySendError};
use std::time::Duration;

use super::chan::{Chan, Failure};
use super::error::SendTimeoutError;
use super::state::{Refused, Side};
use crate::limit;

/// The sending end of a channel. Clone it for more senders; the channel is disconnected when the last
/// one is dropped.
///
/// # Differences from `std::sync::mpsc::SyncSender`
///
/// A greenlet that waits parks, its thread does not. There is `send_timeout`. Any number of
/// receivers.
///
/// ```
/// let (tx, rx) = sward::sync::channel::unbounded();
/// let other = tx.clone();
/// std::thread::spawn(move || other.send("from a thread").unwrap());
/// assert_eq!(rx.recv(), Ok("from a thread"));
/// ```
pub struct Sender<T> {
    /// Shared with all ends.
    chan: Arc<Chan<T>>,
}

impl<T> Sender<T> {
    /// The first one.
    pub(super) fn new(chan: Arc<Chan<T>>) -> Sender<T> {
        Sender { chan }
    }

    /// What the ends share.
    pub(super) fn chan(&self) -> &Chan<T> {
        &self.chan
    }

    /// Sends an item; waits for room. Blocks the greenlet (a plain thread blocks as a whole).
    ///
    /// # Errors
    ///
    /// The item comes back if there is no receiver, also if the last one goes while this waits; and if
    /// there is no room while a destructor runs in an unwinding, which cannot wait.
    ///
    /// # Panics
    ///
    /// Never on its own account.
    ///
    /// ```
    /// let (tx, rx) = sward::sync::channel::bounded(1);
    /// tx.send(1).unwrap();
    /// drop(rx);
    /// assert_eq!(tx.send(2).unwrap_err().0, 2);
    /// ```
    #[inline]
    pub fn send(&self, item: T) -> Result<(), SendError<T>> {
        self.chan.send(item, None).map_err(|(item, _)| SendError(item))
    }

    /// Sends an item if there is room, or a receiver that waits for it.
    ///
    /// # Errors
    ///
    /// The item comes back if there is not, or if there is no receiver at all.
    ///
    /// ```
    /// let (tx, rx) = sward::sync::channel::bounded(1);
    /// assert!(tx.try_send(1).is_ok());
    /// assert!(tx.try_send(2).is_err());
    /// # drop(rx);
    /// ```
    #[inline]
    pub fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
        self.chan.try_send(item).map_err(|refused| match refused {
            Refused::Full(item) => TrySendError::Full(item),
            Refused::Disconnected(item) => TrySendError::Disconnected(item),
        })
    }

    /// As [`send`](Sender::send), for at most `limit`. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// The item comes back if the limit passes or there is no receiver.
    ///
    /// # Panics
    ///
    /// Never on its own account.
    ///
    /// ```
    /// use std::time::Duration;
    /// let (tx, rx) = sward::sync::channel::bounded(1);
    /// assert!(tx.send_timeout(1, Duration::from_millis(1)).is_ok());
    /// assert!(tx.send_timeout(2, Duration::from_millis(1)).is_err());
    /// # drop(rx);
    /// ```
    pub fn send_timeout(&self, item: T, limit: Duration) -> Result<(), SendTimeoutError<T>> {
        let deadline = limit::deadline(limit);
        self.chan.send(item, deadline).map_err(|(item, failure)| match failure {
            Failure::TimedOut => SendTimeoutError::Timeout(item),
            Failure::Disconnected => SendTimeoutError::Disconnected(item),
        })
    }

    /// How many items wait to be received.
    ///
    /// ```
    /// let (tx, rx) = sward::sync::channel::unbounded();
    /// tx.send(1).unwrap();
    /// assert_eq!(tx.len(), 1);
    /// # drop(rx);
    /// ```
    pub fn len(&self) -> usize {
        self.chan.lock().len()
    }

    /// Whether no item waits to be received.
    ///
    /// ```
    /// let (tx, rx) = sward::sync::channel::unbounded::<u32>();
    /// assert!(tx.is_empty());
    /// # drop(rx);
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// For how many items there is room; `None` if for any number.
    ///
    /// ```
    /// let (tx, rx) = sward::sync::channel::bounded::<u32>(3);
    /// assert_eq!(tx.capacity(), Some(3));
    /// # drop(rx);
    /// ```
    pub fn capacity(&self) -> Option<usize> {
        Some(self.chan.lock().capacity).filter(|capacity| *capacity != usize::MAX)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.chan.enter(Side::Send);
        Sender { chan: self.chan.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.chan.leave(Side::Send);
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chan.debug(f, "Sender")
    }
}

impl<T> UnwindSafe for Sender<T> {}
impl<T> RefUnwindSafe for Sender<T> {}
