//! The receiving end.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::sync::mpsc::{RecvError, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use super::chan::{Chan, Failure};
use super::state::Side;
use crate::limit;

/// The receiving end of a channel. Clone it for more receivers: each item goes to one of them.
///
/// # Differences from `std::sync::mpsc::Receiver`
///
/// A greenlet that waits parks, its thread does not. It can be cloned.
///
/// ```
/// let (tx, rx) = sward::sync::channel::unbounded();
/// tx.send(1).unwrap();
/// drop(tx);
/// assert_eq!(rx.recv(), Ok(1));
/// assert!(rx.recv().is_err()); // no sender is left
/// ```
pub struct Receiver<T> {
    /// Shared with all ends.
    chan: Arc<Chan<T>>,
}

impl<T> Receiver<T> {
    /// The first one.
    pub(super) fn new(chan: Arc<Chan<T>>) -> Receiver<T> {
        Receiver { chan }
    }

    /// What the ends share.
    pub(super) fn chan(&self) -> &Chan<T> {
        &self.chan
    }

    /// Receives an item; waits for one. Blocks the greenlet (a plain thread blocks as a whole).
    ///
    /// # Errors
    ///
    /// If there is no item and no sender, also if the last one goes while this waits; and if there is
    /// no item while a destructor runs in an unwinding, which cannot wait.
    ///
    /// # Panics
    ///
    /// Never on its own account.
    ///
    /// ```
    /// let (tx, rx) = sward::sync::channel::unbounded();
    /// tx.send(1).unwrap();
    /// assert_eq!(rx.recv(), Ok(1));
    /// ```
    #[inline]
    pub fn recv(&self) -> Result<T, RecvError> {
        self.chan.receive(None).map_err(|_| RecvError)
    }

    /// Receives an item if there is one.
    ///
    /// # Errors
    ///
    /// If there is none now, or if there will never be one.
    ///
    /// ```
    /// use sward::sync::channel::{TryRecvError, unbounded};
    /// let (tx, rx) = unbounded::<u32>();
    /// assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    /// drop(tx);
    /// assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
    /// ```
    #[inline]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.chan.try_receive().map_err(|failure| match failure {
            Failure::TimedOut => TryRecvError::Empty,
            Failure::Disconnected => TryRecvError::Disconnected,
        })
    }

    /// As [`recv`](Receiver::recv), for at most `limit`. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// If the limit passes, or there is no item and no sender.
    ///
    /// # Panics
    ///
    /// Never on its own account.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sward::sync::channel::{RecvTimeoutError, unbounded};
    /// let (_tx, rx) = unbounded::<u32>();
    /// assert_eq!(rx.recv_timeout(Duration::from_millis(1)), Err(RecvTimeoutError::Timeout));
    /// ```
    pub fn recv_timeout(&self, limit: Duration) -> Result<T, RecvTimeoutError> {
        let deadline = limit::deadline(limit);
        self.chan.receive(deadline).map_err(|failure| match failure {
            Failure::TimedOut => RecvTimeoutError::Timeout,
            Failure::Disconnected => RecvTimeoutError::Disconnected,
        })
    }

    /// Receives until there is no item and no sender left. Each step blocks as `recv`.
    ///
    /// ```
    /// let (tx, rx) = sward::sync::channel::unbounded();
    /// tx.send(1).unwrap();
    /// drop(tx);
    /// assert_eq!(rx.iter().collect::<Vec<_>>(), [1]);
    /// ```
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { receiver: self }
    }

    /// Receives what is there now, without waiting.
    ///
    /// ```
    /// let (tx, rx) = sward::sync::channel::unbounded();
    /// tx.send(1).unwrap();
    /// assert_eq!(rx.try_iter().collect::<Vec<_>>(), [1]);
    /// ```
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter { receiver: self }
    }

    /// How many items wait to be received.
    ///
    /// ```
    /// let (tx, rx) = sward::sync::channel::unbounded();
    /// tx.send(1).unwrap();
    /// assert_eq!(rx.len(), 1);
    /// ```
    pub fn len(&self) -> usize {
        self.chan.lock().len()
    }

    /// Whether no item waits to be received.
    ///
    /// ```
    /// let (tx, rx) = sward::sync::channel::unbounded::<u32>();
    /// assert!(rx.is_empty());
    /// # drop(tx);
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// For how many items there is room; `None` if for any number.
    ///
    /// ```
    /// let (tx, rx) = sward::sync::channel::unbounded::<u32>();
    /// assert_eq!(rx.capacity(), None);
    /// # drop(tx);
    /// ```
    pub fn capacity(&self) -> Option<usize> {
        Some(self.chan.lock().capacity).filter(|capacity| *capacity != usize::MAX)
    }
}

impl<T> Chan<T> {
    /// `Debug` of an end.
    pub(super) fn debug(&self, f: &mut fmt::Formatter<'_>, end: &str) -> fmt::Result {
        let state = self.lock();
        let (len, waiters) = (state.len(), state.waiters());
        let (senders, receivers) = (state.sender_count, state.receiver_count);
        drop(state);
        f.debug_struct(end)
            .field("len", &len)
            .field("senders", &senders)
            .field("receivers", &receivers)
            .field("waiters", &waiters)
            .finish()
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.chan.enter(Side::Receive);
        Receiver { chan: self.chan.clone() }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.chan.leave(Side::Receive);
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chan.debug(f, "Receiver")
    }
}

impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}

/// Receives until a channel is disconnected; made by [`Receiver::iter`].
#[derive(Debug)]
pub struct Iter<'a, T> {
    /// Where from.
    receiver: &'a Receiver<T>,
}

/// Receives what is there; made by [`Receiver::try_iter`].
#[derive(Debug)]
pub struct TryIter<'a, T> {
    /// Where from.
    receiver: &'a Receiver<T>,
}

/// Receives until a channel is disconnected; made by `Receiver::into_iter`.
#[derive(Debug)]
pub struct IntoIter<T> {
    /// Where from.
    receiver: Receiver<T>,
}

impl<T> Iterator for Iter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}

impl<T> Iterator for TryIter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.try_recv().ok()
    }
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.recv().ok()
    }
}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter { receiver: self }
    }
}
