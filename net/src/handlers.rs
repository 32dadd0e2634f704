//! The greenlets that a server's connections are handled in, on one hub.
//!
//! Not `Pool` of sward-sync, though it looks like one. A server waits for room *before* it accepts (a connection that
//! nobody can handle belongs into the kernel's backlog, where another hub or process may take it), spawns with a name
//! (the peer's) and survives that no stack is to be had, kills without waiting for the end, and waits for the end and
//! for a stop in one `park`. `Pool::spawn` waits itself, has no name to give and panics without a stack, `Pool::kill`
//! waits, and `Pool::join` waits for one thing. To give it all that would take more than these lines.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use slab::Slab;
use sward_runtime::Builder;
use sward_runtime::lowlevel::{Killer, Unparker, WaitQueue};

/// The connections that are being handled.
pub(crate) struct Handlers {
    /// The most at a time.
    limit: usize,
    /// One entry for each.
    running: RefCell<Slab<Killer>>,
    /// The greenlet that accepts, while there is no room.
    room: WaitQueue,
    /// Told when the last one has ended.
    owner: Unparker,
}

impl Handlers {
    /// None yet; the running greenlet is told when the last one has ended.
    pub(crate) fn new(limit: usize) -> Rc<Handlers> {
        Rc::new(Handlers {
            limit,
            running: RefCell::new(Slab::new()),
            room: WaitQueue::new(),
            owner: Unparker::current(),
        })
    }

    /// Waits until one more is allowed. Blocks the greenlet.
    pub(crate) fn wait_for_room(&self) {
        while self.running.borrow().len() >= self.limit {
            self.room.wait("Server (its pool is full)", (), None);
        }
    }

    /// Handles a connection in a greenlet with this name.
    pub(crate) fn spawn<R: 'static>(self: &Rc<Self>, name: String, f: impl FnOnce() -> R + 'static) -> io::Result<()> {
        let key = self.running.borrow().vacant_key();
        let leave = Leave { handlers: self.clone(), key };
        let greenlet = Builder::new().name(name).spawn(move || {
            let _leave = leave; // dropped last, or if the greenlet never starts
            f();
        })?;
        self.running.borrow_mut().insert(Killer::of(&greenlet));
        Ok(())
    }

    /// Whether no connection is being handled.
    pub(crate) fn is_empty(&self) -> bool {
        self.running.borrow().is_empty()
    }

    /// Kills all; never blocks.
    pub(crate) fn kill(&self) {
        self.running.borrow().iter().for_each(|(_, killer)| killer.kill());
    }
}

/// Takes a greenlet out of `Handlers` when dropped.
struct Leave {
    /// Where it is.
    handlers: Rc<Handlers>,
    /// Its place there.
    key: usize,
}

impl Drop for Leave {
    fn drop(&mut self) {
        // Not there if it could not be spawned.
        self.handlers.running.borrow_mut().try_remove(self.key);
        self.handlers.room.wake_one();
        if self.handlers.is_empty() {
            self.handlers.owner.unpark();
        }
    }
}
