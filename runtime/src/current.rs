//! The running greenlet.

use std::fmt;
use std::rc::Rc;

use crate::hub::{self, hub};
use crate::join::GreenletId;
use crate::scheduler::GreenletKey;

/// The greenlet that runs, or the root; see [`current`].
pub struct Current {
    /// Which one. Not its slot: this may outlive the hub.
    key: GreenletKey,
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
    let hub = hub();
    Current { key: hub.current_key(), name: hub.current().name.borrow().clone() }
}

impl Current {
    /// Its id.
    pub fn id(&self) -> GreenletId {
        GreenletId(self.key.id)
    }

    /// Its name, if it has one.
    pub fn name(&self) -> Option<&str> {
        if self.is_root() { Some("root") } else { self.name.as_deref() }
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
        assert!(!self.is_root(), "the root greenlet cannot be killed: it is the thread's own stack");
        if let Some(hub) = hub::existing()
            && let Some(slot) = hub.find(self.key)
        {
            hub.kill(slot);
        }
    }

    /// Whether it is the thread's own stack.
    fn is_root(&self) -> bool {
        self.key.id == 0
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current").field("id", &self.id()).field("name", &self.name()).finish()
    }
}
