//! Waiting for the first of several objects.

use std::time::{Duration, Instant};

use crate::hub::hub;
use crate::join::Greenlet;
use crate::park::{abort_in_destructor, can_park};
use crate::scope::ScopedGreenlet;
use crate::slot::Mode;
use crate::wait_queue::{Place, WaitQueue};

/// How the crates of sward make their types [`Waitable`]; not for others.
#[doc(hidden)]
pub mod sealed {
    /// What `wait_any` needs of an object.
    pub trait Watched {
        /// Whether it is ready now.
        fn ready(&self) -> bool;
        /// The queue that is woken when it becomes ready.
        fn watchers(&self) -> &super::WaitQueue;
    }

    impl<W: Watched + ?Sized> Watched for &W {
        fn ready(&self) -> bool {
            (**self).ready()
        }

        fn watchers(&self) -> &super::WaitQueue {
            (**self).watchers()
        }
    }

    impl<W: Watched + ?Sized> Watched for std::rc::Rc<W> {
        fn ready(&self) -> bool {
            (**self).ready()
        }

        fn watchers(&self) -> &super::WaitQueue {
            (**self).watchers()
        }
    }
}

/// An object that becomes ready: a greenlet (finished), an `Event` (set), an `AsyncResult` (set), a
/// `Semaphore` (has a permit), a `Queue` (something to get, or closed); and references and `Rc`s of
/// them. Sealed.
pub trait Waitable: sealed::Watched {}

impl<W: sealed::Watched + ?Sized> Waitable for W {}

impl<T> sealed::Watched for Greenlet<T> {
    fn ready(&self) -> bool {
        self.is_finished()
    }

    fn watchers(&self) -> &WaitQueue {
        self.packet().waiters()
    }
}

impl<T> sealed::Watched for ScopedGreenlet<'_, T> {
    fn ready(&self) -> bool {
        self.is_finished()
    }

    fn watchers(&self) -> &WaitQueue {
        self.packet().waiters()
    }
}

/// Waits until one of the objects is ready and returns its index: that of the one that became
/// ready first, or the lowest if several are already. Takes nothing from it. Blocks the greenlet.
///
/// # Panics
///
/// If the list is empty; on the root stack, if nothing can ever end the wait ("deadlock").
///
/// ```
/// use std::time::Duration;
/// let slow = sward::spawn(|| sward::sleep(Duration::from_secs(9)));
/// let fast = sward::spawn(|| ());
/// assert_eq!(sward::wait_any(&[&slow, &fast]), 1);
/// ```
#[track_caller]
pub fn wait_any(objects: &[&dyn Waitable]) -> usize {
    wait(objects, None).expect("a wait without a deadline ends with an object")
}

/// As [`wait_any`], for at most `limit`; `None` if it passes.
///
/// # Panics
///
/// If the list is empty.
///
/// ```
/// use std::time::Duration;
/// let slow = sward::spawn(|| sward::sleep(Duration::from_secs(9)));
/// assert_eq!(sward::wait_any_timeout(&[&slow], Duration::from_millis(1)), None);
/// ```
#[track_caller]
pub fn wait_any_timeout(objects: &[&dyn Waitable], limit: Duration) -> Option<usize> {
    wait(objects, Instant::now().checked_add(limit))
}

/// The body of both.
#[track_caller]
fn wait(objects: &[&dyn Waitable], deadline: Option<Instant>) -> Option<usize> {
    assert!(!objects.is_empty(), "wait_any needs an object to wait for");
    if let Some(index) = objects.iter().position(|object| object.ready()) {
        return Some(index);
    }
    if !can_park() {
        match deadline {
            Some(_) => return None,
            None => abort_in_destructor("wait_any"),
        }
    }
    let hub = hub();
    let key = hub.next_wait();
    // The allocator may take a patched lock: a wait for it would use up the key.
    let busy = hub.busy();
    let places: Vec<_> = objects.iter().map(|object| Place::new(object.watchers(), key, ())).collect();
    drop(busy);
    hub.park(Mode::Keyed, "wait_any", deadline.map(|instant| hub.clock.at(instant)));
    // At most one: the first that woke this wait.
    places.iter().position(Place::woken)
}
