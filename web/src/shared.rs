//! What a connection, its exchanges and their greenlets know of each other.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Instant;

use slab::Slab;
use sward_runtime::lowlevel::{Killer, Unparker, park, spawn_then};
use sward_runtime::{Builder, Greenlet, JoinError};

use crate::app::App;
use crate::settings::Settings;
use crate::site::Site;
use crate::stream::Peer;
use crate::upgrade::UpgradeTo;

/// The most greenlets of one connection. hyper allows 200 streams at a time, but a client that resets one may open
/// another while the handler of the first still runs.
const MAX_GREENLETS: usize = 256;

/// What a connection does, and since when.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Phase {
    /// Waits for the rest of a request's head.
    Head(Instant),
    /// A request is being answered.
    Busy,
    /// Waits for the next request.
    Idle(Instant),
}

/// The shared state of one connection.
pub(crate) struct Shared {
    /// The application.
    pub(crate) app: Rc<dyn App>,
    /// Limits and times.
    pub(crate) settings: Rc<Settings>,
    /// The server on this hub.
    pub(crate) site: Rc<Site>,
    /// Who is at the other end.
    pub(crate) peer: Peer,
    /// What the connection does.
    pub(crate) phase: Cell<Phase>,
    /// Whether a greenlet was spawned since the connection looked.
    pub(crate) spawned: Cell<bool>,
    /// Whether hyper copies what it sends, so that it is to be given no large pieces.
    pub(crate) copies: Cell<bool>,
    /// Whether the last request has, or had, a body.
    pub(crate) has_body: Cell<bool>,
    /// Whether the client may still be sending what nobody will read.
    pub(crate) unread: Cell<bool>,
    /// Takes the connection over when the answer to an upgrade is sent.
    pub(crate) upgrade: RefCell<Option<UpgradeTo>>,
    /// Exchanges that have begun and not ended.
    in_flight: Cell<usize>,
    /// Exchanges that have begun.
    begun: Cell<u64>,
    /// The greenlets of exchanges, those that have blocked. Most connections never have more than one.
    greenlets: RefCell<Slab<Killer>>,
    /// Whether the connection waits for those greenlets.
    ending: Cell<bool>,
    /// The connection's greenlet.
    owner: Unparker,
    /// The connection's place in its site.
    entry: usize,
    /// When its greenlet will be unparked, if it still waits for that: at this time or before.
    reminder: Cell<Option<Instant>>,
}

impl Shared {
    /// Of a new connection, which the running greenlet handles.
    pub(crate) fn new(site: &Rc<Site>, peer: Peer, entry: usize) -> Rc<Shared> {
        Rc::new(Shared {
            app: site.app.clone(),
            settings: site.settings.clone(),
            site: site.clone(),
            peer,
            phase: Cell::new(Phase::Head(Instant::now())),
            spawned: Cell::new(false),
            copies: Cell::new(false),
            has_body: Cell::new(false),
            unread: Cell::new(false),
            upgrade: RefCell::new(None),
            in_flight: Cell::new(0),
            begun: Cell::new(0),
            greenlets: RefCell::new(Slab::with_capacity(1)),
            ending: Cell::new(false),
            owner: Unparker::current(),
            entry,
            reminder: Cell::new(None),
        })
    }

    /// Whether the server stops.
    pub(crate) fn is_stopping(&self) -> bool {
        self.site.is_stopping()
    }

    /// Has the connection's greenlet unparked at `deadline` or before; otherwise returns it, to be parked with.
    #[inline]
    pub(crate) fn remind(&self, deadline: Instant) -> Option<Instant> {
        if self.reminder.get().is_some_and(|reminder| reminder <= deadline) {
            return None;
        }
        self.remind_sooner(deadline)
    }

    /// As `remind`, if no reminder is known that comes before that.
    #[cold]
    fn remind_sooner(&self, deadline: Instant) -> Option<Instant> {
        let own = self.site.remind(self.entry, deadline);
        self.reminder.set(if own.is_none() { Some(deadline) } else { None });
        own
    }

    /// The connection's greenlet was unparked, perhaps by its reminder.
    pub(crate) fn forget_reminder(&self) {
        self.reminder.set(None);
    }

    /// Unparks the connection's greenlet.
    pub(crate) fn unpark(&self) {
        self.owner.unpark();
    }

    /// A request has come.
    pub(crate) fn exchange_begins(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
        self.begun.set(self.begun.get() + 1);
        self.phase.set(Phase::Busy);
    }

    /// How many requests have come so far.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.get()
    }

    /// A request was answered, or its client has left.
    pub(crate) fn exchange_ends(&self, now: Instant) {
        self.in_flight.set(self.in_flight.get() - 1);
        if self.in_flight.get() == 0 {
            self.phase.set(Phase::Idle(now));
        }
    }

    /// Spawns a greenlet that the connection waits for at its end, and kills if it is killed.
    pub(crate) fn spawn(self: &Rc<Self>, f: impl FnOnce() + 'static) -> io::Result<Greenlet<()>> {
        let leave = Rc::new(Leave { shared: self.clone(), place: Cell::new(None) });
        let place = leave.clone();
        self.spawned.set(true);
        let greenlet = Builder::new().spawn(move || {
            let _leave = leave; // dropped last, or when the greenlet never starts
            f();
        })?;
        place.place.set(Some(self.enlist(Killer::of(&greenlet))));
        Ok(greenlet)
    }

    /// As `lowlevel::spawn_then`; the caller enlists the greenlet. It runs before the connection writes what there is to
    /// write.
    pub(crate) fn spawn_then(
        &self,
        f: impl FnOnce() + 'static,
        then: impl FnOnce(Result<(), JoinError>) + 'static,
    ) -> io::Result<Killer> {
        self.spawned.set(true);
        spawn_then(f, then)
    }

    /// Makes the connection wait for a greenlet at its end, and kill it if it is killed, until the greenlet leaves.
    pub(crate) fn enlist(&self, greenlet: Killer) -> Place {
        Place(self.greenlets.borrow_mut().insert(greenlet))
    }

    /// A greenlet is done.
    pub(crate) fn leave(&self, place: Place) {
        self.greenlets.borrow_mut().remove(place.0);
        if self.ending.get() {
            self.owner.unpark();
        }
    }

    /// Whether so many greenlets work for this connection that it gets no more.
    pub(crate) fn is_full(&self) -> bool {
        self.greenlets.borrow().len() >= MAX_GREENLETS
    }

    /// Waits until the greenlets of all exchanges have ended. Blocks the greenlet.
    pub(crate) fn wait_for_greenlets(&self) {
        self.ending.set(true);
        while !self.greenlets.borrow().is_empty() {
            park(None);
        }
    }

    /// Kills the greenlets of all exchanges.
    pub(crate) fn kill_greenlets(&self) {
        self.greenlets.borrow().iter().for_each(|(_, killer)| killer.kill());
    }
}

/// A greenlet's place in its connection's list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place(usize);

/// Takes a greenlet out of its connection's list when dropped.
struct Leave {
    /// The connection.
    shared: Rc<Shared>,
    /// The place in the list.
    place: Cell<Option<Place>>,
}

impl Drop for Leave {
    fn drop(&mut self) {
        if let Some(place) = self.place.get() {
            self.shared.leave(place);
        }
    }
}
