//! What a hub keeps in order to be asked about it, beside what it knows anyway.

use std::cell::{Cell, OnceCell, RefCell};

use super::trace::Walk;
use super::watch::Pulse;
use crate::slot::Slot;

/// One hub's.
#[derive(Default)]
pub(crate) struct Accounts {
    /// How often the greenlets that have finished were resumed.
    pub(super) switches: Cell<u64>,
    /// How many greenlets were spawned.
    pub(super) spawned: Cell<u64>,
    /// What the watchdog sees of this hub; made when there is one.
    pub(super) pulse: OnceCell<&'static Pulse>,
    /// Who has the thread, as far as the watchdog was told.
    pub(super) watched: Cell<Option<&'static Slot>>,
    /// The walk of a parked greenlet's stack that is under way.
    pub(super) walk: RefCell<Walk>,
}

impl Accounts {
    /// A greenlet was spawned into `slot` by the one in `parent`.
    #[inline]
    pub(crate) fn spawned(&self, slot: &Slot, parent: &Slot) {
        self.spawned.set(self.spawned.get() + 1);
        slot.parent.set(parent.id.get());
        slot.ran.set(0);
    }

    /// The greenlet in `slot` has finished.
    #[inline]
    pub(crate) fn finished(&self, slot: &Slot) {
        self.switches.set(self.switches.get() + slot.switches.take());
    }
}
