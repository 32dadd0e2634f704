//! What handles a server's connections, on one hub: greenlets, or for those who have a [`Permit`] something else.
//!
//! Not `Pool` of sward-sync, though it looks like one. A server waits for room *before* it accepts (a connection that
//! nobody can handle belongs into the kernel's backlog, where another hub or process may take it), spawns with a name
//! (the peer's) and survives that no stack is to be had, kills without waiting for the end, and waits for the end and
//! for a stop in one `park`. `Pool::spawn` waits itself, has no name to give and panics without a stack, `Pool::kill`
//! waits, and `Pool::join` waits for one thing. To give it all that would take more than these lines.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use slab::Slab;
use sward_runtime::lowlevel::{HubLocal, Killer, Unparker, WaitQueue};
use sward_runtime::{Builder, GreenletId, current};

use crate::control::Control;

/// Those of the servers that serve, or have served, on this hub.
static SERVED: HubLocal<RefCell<Vec<Weak<Handlers>>>> = HubLocal::new(RefCell::default);

/// Whether the running greenlet handles a connection of the server with this state.
pub(crate) fn is_handler(control: &Arc<Control>) -> bool {
    let served: Vec<_> = SERVED.with(|served| served.borrow().iter().filter_map(Weak::upgrade).collect());
    let me = current().id();
    served.iter().filter(|handlers| Arc::ptr_eq(&handlers.control, control)).any(|handlers| handlers.run_in(me))
}

/// What handles a connection that has a [`Permit`].
pub trait Holder {
    /// The connection is to end at once. May drop the permit; must not block.
    fn kill(&self);
    /// Whether this greenlet works for the connection.
    fn runs_in(&self, greenlet: GreenletId) -> bool;
}

/// Who handles a connection.
#[derive(Clone)]
enum Handler {
    /// A greenlet of its own.
    Greenlet(Killer),
    /// Who has its permit.
    Holder(Rc<dyn Holder>),
    /// Who has it is about to say so.
    Nobody,
}

/// The connections that are being handled.
pub(crate) struct Handlers {
    /// The most at a time.
    limit: usize,
    /// One entry for each.
    running: RefCell<Slab<Handler>>,
    /// The greenlet that accepts, while there is no room.
    room: WaitQueue,
    /// Told when the last one has ended.
    owner: Unparker,
    /// The server's state.
    control: Arc<Control>,
}

impl Handlers {
    /// None yet; the running greenlet is told when the last one has ended.
    pub(crate) fn new(limit: usize, control: &Arc<Control>) -> Rc<Handlers> {
        let handlers = Rc::new(Handlers {
            limit,
            running: RefCell::new(Slab::new()),
            room: WaitQueue::new(),
            owner: Unparker::current(),
            control: control.clone(),
        });
        SERVED.with(|served| {
            let mut served = served.borrow_mut();
            served.retain(|handlers| handlers.strong_count() > 0);
            served.push(Rc::downgrade(&handlers));
        });
        handlers
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
        self.running.borrow_mut().insert(Handler::Greenlet(Killer::of(&greenlet)));
        Ok(())
    }

    /// Lets a connection count as handled until the result is dropped.
    pub(crate) fn admit(self: &Rc<Self>) -> Permit {
        let key = self.running.borrow_mut().insert(Handler::Nobody);
        Permit(Leave { handlers: self.clone(), key })
    }

    /// Whether no connection is being handled.
    pub(crate) fn is_empty(&self) -> bool {
        self.running.borrow().is_empty()
    }

    /// Kills all; never blocks.
    pub(crate) fn kill(&self) {
        self.list().iter().for_each(|handler| match handler {
            Handler::Greenlet(killer) => killer.kill(),
            Handler::Holder(holder) => holder.kill(),
            Handler::Nobody => {}
        });
    }

    /// Whether this greenlet handles a connection.
    fn run_in(&self, greenlet: GreenletId) -> bool {
        self.list().iter().any(|handler| match handler {
            Handler::Greenlet(killer) => killer.id() == greenlet,
            Handler::Holder(holder) => holder.runs_in(greenlet),
            Handler::Nobody => false,
        })
    }

    /// All of them: some leave when they are told something.
    fn list(&self) -> Vec<Handler> {
        self.running.borrow().iter().map(|(_, handler)| handler.clone()).collect()
    }
}

/// A connection that no greenlet handles counts for its server (its pool, its graceful stop) as long as this is there.
pub struct Permit(Leave);

impl Permit {
    /// Says who has it.
    pub fn held_by(&self, holder: Rc<dyn Holder>) {
        self.0.handlers.running.borrow_mut()[self.0.key] = Handler::Holder(holder);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}

/// Takes a connection out of `Handlers` when dropped.
struct Leave {
    /// Where it is.
    handlers: Rc<Handlers>,
    /// Its place there.
    key: usize,
}

impl Drop for Leave {
    fn drop(&mut self) {
        // Not there if it could not be spawned. Who held a permit is dropped after the borrow has ended.
        let _handler = self.handlers.running.borrow_mut().try_remove(self.key);
        self.handlers.room.wake_one();
        if self.handlers.is_empty() {
            self.handlers.owner.unpark();
        }
    }
}
