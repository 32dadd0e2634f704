//! Channels between greenlets of any threads, and plain threads.
//!
//! ```
//! use sward::sync::channel;
//!
//! let (tx, rx) = channel::bounded(8);
//! std::thread::spawn(move || {
//!     for n in 1..=100 {
//!         tx.send(n).unwrap(); // a plain thread: waits as std's channel does
//!     }
//! });
//! let reader = sward::spawn(move || rx.iter().sum::<u32>()); // a greenlet: parks
//! assert_eq!(reader.join().unwrap(), 5050);
//! ```
//!
//! The items of one sender arrive in the order in which it sent them. Who waits is served in the
//! order of arrival, and what a waiter is woken for (an item, room for his) is his already. An
//! operation that is interrupted (killed, timed out from outside) has either happened or not, and loses
//! nothing: an item that was handed to a receiver who was killed goes to the next one.

mod chan;
mod error;
mod ground;
#[cfg(all(loom, test))]
mod models;
mod receiver;
mod select;
mod sender;
mod state;
mod turn;

use std::sync::Arc;
pub use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};

use self::chan::Chan;
pub use self::error::{ReadyTimeoutError, SelectTimeoutError, SendTimeoutError, TryReadyError, TrySelectError};
pub use self::receiver::{IntoIter, Iter, Receiver, TryIter};
pub use self::select::{Select, SelectedOperation};
pub use self::sender::Sender;

/// A channel with room for `capacity` items. With 0 it is a rendezvous: `send` returns once its item
/// was received.
///
/// ```
/// let (tx, rx) = sward::sync::channel::bounded(1);
/// tx.send(1).unwrap();
/// assert!(tx.try_send(2).is_err());
/// assert_eq!(rx.recv(), Ok(1));
/// ```
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let chan = Arc::new(Chan::new(capacity));
    (Sender::new(chan.clone()), Receiver::new(chan))
}

/// A channel with room for any number of items: `send` never blocks.
///
/// ```
/// let (tx, rx) = sward::sync::channel::unbounded();
/// tx.send("hello").unwrap();
/// assert_eq!(rx.recv(), Ok("hello"));
/// ```
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    bounded(usize::MAX)
}
