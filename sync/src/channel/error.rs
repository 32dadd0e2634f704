//! The errors that `std::sync::mpsc` does not have.

use std::fmt;

/// Why `send_timeout` did not send; the item comes back.
///
/// ```
/// use std::time::Duration;
/// use sward::sync::channel::{SendTimeoutError, bounded};
/// let (tx, _rx) = bounded(0);
/// assert_eq!(tx.send_timeout(1, Duration::from_millis(1)), Err(SendTimeoutError::Timeout(1)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SendTimeoutError<T> {
    /// There was no room before the limit passed.
    Timeout(T),
    /// There is no receiver.
    Disconnected(T),
}

impl<T> SendTimeoutError<T> {
    /// The item.
    ///
    /// ```
    /// assert_eq!(sward::sync::channel::SendTimeoutError::Timeout(1).into_inner(), 1);
    /// ```
    pub fn into_inner(self) -> T {
        match self {
            SendTimeoutError::Timeout(item) | SendTimeoutError::Disconnected(item) => item,
        }
    }
}

impl<T> fmt::Debug for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendTimeoutError::Timeout(_) => "Timeout(..)",
            SendTimeoutError::Disconnected(_) => "Disconnected(..)",
        })
    }
}

impl<T> fmt::Display for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendTimeoutError::Timeout(_) => "the channel was full until the time limit passed",
            SendTimeoutError::Disconnected(_) => "sending on a channel without a receiver",
        })
    }
}

impl<T> std::error::Error for SendTimeoutError<T> {}

/// The errors of `Select`, which have one case each.
macro_rules! select_errors {
    ($($(#[$doc:meta])* $Error:ident: $text:literal,)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub struct $Error;

            impl fmt::Display for $Error {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str($text)
                }
            }

            impl std::error::Error for $Error {}
        )*
    };
}

select_errors! {
    /// No operation of `try_select` could be done without waiting.
    TrySelectError: "no operation could be done without waiting",
    /// No operation of `select_timeout` could be done before the limit passed.
    SelectTimeoutError: "no operation could be done before the time limit passed",
    /// No operation of `try_ready` is ready.
    TryReadyError: "no operation is ready",
    /// No operation of `ready_timeout` was ready before the limit passed.
    ReadyTimeoutError: "no operation was ready before the time limit passed",
}
