//! Queues: what one greenlet puts another one gets.

mod core;
mod error;
mod methods;
mod store;

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

use sward_runtime::lowlevel::{WaitQueue, sealed};

use self::core::{Core, Names, UNBOUNDED};
pub use self::error::{Closed, GetTimeoutError, PutTimeoutError, TryGetError, TryPutError};
use self::methods::queue_methods;
use self::store::{Fifo, Lifo, Sorted};

/// A first-in first-out queue, bounded or not, that can be closed.
///
/// An item goes to the getter who has waited longest; a putter for whom there is no room waits with
/// its item, which goes in, in order of arrival, at the moment there is room. A `bounded(0)` queue is
/// a rendezvous: `put` returns once the item was taken. An item that goes straight to a waiting `get`
/// is not seen by those who wait in `peek`.
///
/// # Differences from gevent's `JoinableQueue`
///
/// It can be closed: then `put` fails, and `get` is `None` once the queue is empty. Errors are
/// values, not exceptions. `Queue(0)` is `bounded(0)`, `Queue(None)` is `unbounded()`.
///
/// # Differences from `std::sync::mpsc`
///
/// One object instead of two ends, any number of getters, and it stays on its thread;
/// [`channel`](crate::channel) is for several threads.
///
/// ```
/// use sward::sync::Queue;
///
/// let queue = Queue::bounded(2);
/// sward::scope(|s| {
///     s.spawn(|| {
///         for n in 1..=4 {
///             queue.put(n).unwrap(); // waits while the queue is full
///         }
///         queue.close();
///     });
///     assert_eq!(queue.iter().sum::<i32>(), 10);
/// });
/// ```
pub struct Queue<T> {
    /// Everything.
    core: Core<Fifo<T>>,
}

/// A queue whose smallest item comes out first; equal ones in the order in which they were put.
///
/// An item that is put while a `get` waits is handed to it at once. [`std::cmp::Reverse`] makes
/// it largest first. `Ord::cmp` runs inside `put`, and inside a `get` that makes room for a waiting
/// putter; while it runs, it finds the queue empty.
///
/// # Differences from gevent's `PriorityQueue`
///
/// Equal items come out in the order in which they were put. As for the rest, see [`Queue`].
///
/// ```
/// let queue = sward::sync::PriorityQueue::unbounded();
/// for n in [3, 1, 2] {
///     queue.put(n).unwrap();
/// }
/// queue.close();
/// assert_eq!(queue.iter().collect::<Vec<_>>(), [1, 2, 3]);
/// ```
pub struct PriorityQueue<T: Ord> {
    /// Everything.
    core: Core<Sorted<T>>,
}

/// A queue whose newest item comes out first.
///
/// # Differences from gevent's `LifoQueue`
///
/// As for [`Queue`].
///
/// ```
/// let stack = sward::sync::LifoQueue::unbounded();
/// for n in [1, 2, 3] {
///     stack.put(n).unwrap();
/// }
/// stack.close();
/// assert_eq!(stack.iter().collect::<Vec<_>>(), [3, 2, 1]);
/// ```
pub struct LifoQueue<T> {
    /// Everything.
    core: Core<Lifo<T>>,
}

queue_methods!(Queue, Fifo, []);
queue_methods!(PriorityQueue, Sorted, [Ord]);
queue_methods!(LifoQueue, Lifo, []);

/// Gets items of a queue until it is closed and empty.
///
/// ```
/// let queue = sward::sync::Queue::unbounded();
/// queue.put(1).unwrap();
/// queue.close();
/// assert_eq!(queue.iter().collect::<Vec<_>>(), [1]);
/// ```
pub struct Iter<'a, Q> {
    /// The queue.
    queue: &'a Q,
}

impl<Q: fmt::Debug> fmt::Debug for Iter<'_, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Iter").field(&self.queue).finish()
    }
}
