//! Killing a greenlet without having its handle.

use std::marker::PhantomData;

use crate::hub;
use crate::join::{Greenlet, GreenletId};
use crate::scheduler::GreenletKey;

/// Kills one greenlet of this thread. Outliving the greenlet is harmless; it keeps nothing of it
/// alive, so whoever holds the handle alone has the result.
///
/// ```
/// use std::time::Duration;
/// use sward::lowlevel::Killer;
///
/// let greenlet = sward::spawn(|| sward::sleep(Duration::from_secs(9)));
/// Killer::of(&greenlet).kill();
/// assert!(greenlet.join().unwrap_err().is_killed());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Killer {
    /// Whom.
    key: GreenletKey,
    /// Killing pushes to the hub of this thread.
    not_send: PhantomData<*const ()>,
}

impl Killer {
    /// The killer of `greenlet`.
    pub fn of<T>(greenlet: &Greenlet<T>) -> Killer {
        Killer::new(greenlet.key())
    }

    /// The killer of the greenlet that `key` names.
    #[inline]
    pub(crate) fn new(key: GreenletKey) -> Killer {
        Killer { key, not_send: PhantomData }
    }

    /// The greenlet's id.
    ///
    /// ```
    /// use sward::lowlevel::Killer;
    ///
    /// let greenlet = sward::spawn(|| ());
    /// assert_eq!(Killer::of(&greenlet).id(), greenlet.id());
    /// # greenlet.join().unwrap();
    /// ```
    pub fn id(&self) -> GreenletId {
        GreenletId(self.key.id)
    }

    /// As [`Greenlet::kill`].
    pub fn kill(&self) {
        if let Some(hub) = hub::existing()
            && let Some(slot) = hub.find(self.key)
        {
            hub.kill(slot);
        }
    }
}
