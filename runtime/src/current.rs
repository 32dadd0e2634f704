//! The running greenlet.

use std::fmt;
use std::rc::Rc;

use crate::hub::hub;
use crate::join::GreenletId;
use crate::slot::Slot;

/// The greenlet that runs, or the root; see [`current`].
pub struct Current {
    /// Its slot.
    slot: &'static Slot,
    /// Its id.
    id: GreenletId,
    /// Its name.
    name: Option<Rc<str>>,
}

/// The running greenlet; on the thread's own stack the root, with id 0 and the name "root".
///
/// ```
/// assert_eq!(sward::current().id().to_string(), "0");
/// assert_eq!(sward::current().name(), Some("root"));
/// ```
pub fn current() -> Current {
    let slot = hub().current();
    Current { slot, id: GreenletId(slot.id.get()), name: slot.name.borrow().clone() }
}

impl Current {
    /// Its id.
    pub fn id(&self) -> GreenletId {
        self.id
    }

    /// Its name, if it has one.
    pub fn name(&self) -> Option<&str> {
        if self.slot.is_root() { Some("root") } else { self.name.as_deref() }
    }

    /// Kills it: its next blocking call unwinds. Does nothing if it has finished.
    ///
    /// # Panics
    ///
    /// If it is the root.
    ///
    /// ```
    /// let g = sward::spawn(|| {
    ///     sward::current().kill();
    ///     sward::yield_now(); // does not return
    /// });
    /// assert!(g.join().unwrap_err().is_killed());
    /// ```
    #[track_caller]
    pub fn kill(&self) {
        assert!(!self.slot.is_root(), "the root greenlet cannot be killed: it is the thread's own stack");
        if self.slot.id.get() == self.id.0 {
            hub().kill(self.slot);
        }
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current").field("id", &self.id).field("name", &self.name()).finish()
    }
}
