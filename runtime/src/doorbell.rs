//! How somebody who may not allocate wakes greenlets of a hub: an allocator that releases a lock, a
//! signal handler. They link what they have to say to the hub's pile and ring.
//!
//! ```text
//!   any thread, any place                      the hub's thread
//!   door.put(|pile| link to it) ──▶ pile ──▶   each turn: f(pile), f as `on_pile` was told
//!                  └── rings, if the hub sleeps
//! ```
//!
//! What lies on a pile is known to those alone who put it there and who asked to be called with it
//! (`sward-patch`): here it is an address.

use std::fmt;
use std::sync::OnceLock;

use crate::hub;
use crate::inbox::Pile;
use crate::remote::Link;
use crate::scheduler::Hub;

/// What is called with a pile.
static ON_PILE: OnceLock<fn(*mut (), bool)> = OnceLock::new();

/// A hub's door: while one is there, the hub may be woken from outside, and reports no deadlock.
pub struct Doorbell(Link);

impl fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Doorbell").field(&self.0.hub()).finish()
    }
}

impl Doorbell {
    /// Of this thread's hub.
    pub fn here() -> Doorbell {
        Doorbell(Link::new())
    }

    /// Whether it is this thread's.
    pub fn is_here(&self) -> bool {
        hub::existing().is_some_and(|hub| hub.serial == self.0.hub())
    }

    /// Has `put` link something to the pile, by a compare-and-swap that releases, and rings. False if
    /// the hub has ended: then `put` was not called. From any thread, also in a signal handler.
    pub fn put(&self, put: impl FnOnce(&Pile)) -> bool {
        self.0.put(put)
    }
}

/// Says what hubs call, on their thread, with a pile that they have taken off, and whether what is on it may still
/// run: at its end a hub gives away a last pile, for nobody. The first call counts.
pub fn on_pile(f: fn(*mut (), bool)) {
    let _ = ON_PILE.set(f);
}

/// Takes the pile off this thread's hub; null if there is none.
pub fn take_pile() -> *mut () {
    hub::existing().map_or(std::ptr::null_mut(), |hub| hub.remote.inbox.take_pile())
}

/// Hands the hub's pile to whom it is for; `alive` says whether the hub goes on.
pub(crate) fn drain(hub: &Hub, alive: bool) {
    let pile = hub.remote.inbox.take_pile();
    if !pile.is_null()
        && let Some(f) = ON_PILE.get()
    {
        f(pile, alive);
    }
}
