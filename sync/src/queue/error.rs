//! The errors of the queues: one small type per operation. Each that has an item gives it back.

use std::fmt;

/// The queue is closed; the item that was to be put comes back.
///
/// ```
/// use sward::sync::{Closed, Queue};
/// let queue = Queue::unbounded();
/// queue.close();
/// assert_eq!(queue.put(1), Err(Closed(1)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Closed<T>(pub T);

/// Why `try_put` did not put.
///
/// ```
/// use sward::sync::{Queue, TryPutError};
/// let queue = Queue::bounded(1);
/// queue.try_put(1).unwrap();
/// assert_eq!(queue.try_put(2), Err(TryPutError::Full(2)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TryPutError<T> {
    /// There is no room now.
    Full(T),
    /// The queue is closed.
    Closed(T),
}

/// Why `try_get` has nothing.
///
/// ```
/// use sward::sync::{Queue, TryGetError};
/// assert_eq!(Queue::<u32>::unbounded().try_get(), Err(TryGetError::Empty));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryGetError {
    /// There is nothing now.
    Empty,
    /// The queue is closed and empty.
    Closed,
}

/// Why `put_timeout` did not put.
///
/// ```
/// use std::time::Duration;
/// use sward::sync::{PutTimeoutError, Queue};
/// let queue = Queue::bounded(0);
/// assert_eq!(queue.put_timeout(1, Duration::from_millis(1)), Err(PutTimeoutError::Timeout(1)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PutTimeoutError<T> {
    /// There was no room before the limit passed.
    Timeout(T),
    /// The queue is closed.
    Closed(T),
}

/// Why `get_timeout` has nothing.
///
/// ```
/// use std::time::Duration;
/// use sward::sync::{GetTimeoutError, Queue};
/// let queue = Queue::<u32>::unbounded();
/// assert_eq!(queue.get_timeout(Duration::from_millis(1)), Err(GetTimeoutError::Timeout));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GetTimeoutError {
    /// Nothing came before the limit passed.
    Timeout,
    /// The queue is closed and empty.
    Closed,
}

impl<T> Closed<T> {
    /// The item.
    ///
    /// ```
    /// assert_eq!(sward::sync::Closed(1).into_inner(), 1);
    /// ```
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> TryPutError<T> {
    /// The item.
    ///
    /// ```
    /// assert_eq!(sward::sync::TryPutError::Full(1).into_inner(), 1);
    /// ```
    pub fn into_inner(self) -> T {
        match self {
            TryPutError::Full(item) | TryPutError::Closed(item) => item,
        }
    }
}

impl<T> PutTimeoutError<T> {
    /// The item.
    ///
    /// ```
    /// assert_eq!(sward::sync::PutTimeoutError::Timeout(1).into_inner(), 1);
    /// ```
    pub fn into_inner(self) -> T {
        match self {
            PutTimeoutError::Timeout(item) | PutTimeoutError::Closed(item) => item,
        }
    }
}

impl<T> From<Closed<T>> for TryPutError<T> {
    fn from(Closed(item): Closed<T>) -> Self {
        TryPutError::Closed(item)
    }
}

impl<T> From<Closed<T>> for PutTimeoutError<T> {
    fn from(Closed(item): Closed<T>) -> Self {
        PutTimeoutError::Closed(item)
    }
}

impl<T> fmt::Debug for Closed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Closed(..)")
    }
}

impl<T> fmt::Debug for TryPutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryPutError::Full(_) => "Full(..)",
            TryPutError::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> fmt::Debug for PutTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PutTimeoutError::Timeout(_) => "Timeout(..)",
            PutTimeoutError::Closed(_) => "Closed(..)",
        })
    }
}

/// What "closed" reads like.
const CLOSED: &str = "the queue is closed";

impl<T> fmt::Display for Closed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(CLOSED)
    }
}

impl<T> fmt::Display for TryPutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryPutError::Full(_) => "the queue is full",
            TryPutError::Closed(_) => CLOSED,
        })
    }
}

impl fmt::Display for TryGetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryGetError::Empty => "the queue is empty",
            TryGetError::Closed => "the queue is closed and empty",
        })
    }
}

impl<T> fmt::Display for PutTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PutTimeoutError::Timeout(_) => "the queue was full until the time limit passed",
            PutTimeoutError::Closed(_) => CLOSED,
        })
    }
}

impl fmt::Display for GetTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GetTimeoutError::Timeout => "the queue was empty until the time limit passed",
            GetTimeoutError::Closed => "the queue is closed and empty",
        })
    }
}

impl<T> std::error::Error for Closed<T> {}
impl<T> std::error::Error for TryPutError<T> {}
impl std::error::Error for TryGetError {}
impl<T> std::error::Error for PutTimeoutError<T> {}
impl std::error::Error for GetTimeoutError {}
