//! What a connection, its exchanges and their greenlets know of each other.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Instant;

use slab::Slab;
use sward_net::{Holder, Permit};
use sward_runtime::lowlevel::{Killer, spawn_then};
use sward_runtime::{Builder, Greenlet, GreenletId, JoinError};

use crate::app::App;
use crate::exchange::Fetched;
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
    /// Ends, by that time.
    Ending(Option<Instant>),
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
    /// Whether a request's greenlet runs for the first time, called by who polls.
    pub(crate) starts: Cell<bool>,
    /// Whether a greenlet was spawned since the connection looked.
    pub(crate) spawned: Cell<bool>,
    /// Whether hyper copies what it sends, so that it is to be given no large pieces.
    pub(crate) copies: Cell<bool>,
    /// Whether the last request has, or had, a body.
    pub(crate) has_body: Cell<bool>,
    /// Whether the client may still be sending what nobody will read.
    pub(crate) unread: Cell<bool>,
    /// Under HTTP/2: when its streams were last looked through for those that the client lets lie.
    pub(crate) streams_checked: Cell<Option<Instant>>,
    /// Under HTTP/2: of the request whose stream hyper is about to hand over.
    newest: Cell<Option<Fetched>>,
    /// Takes the connection over when the answer to an upgrade is sent.
    pub(crate) upgrade: RefCell<Option<UpgradeTo>>,
    /// Exchanges that have begun and not ended.
    in_flight: Cell<usize>,
    /// Exchanges that have begun.
    begun: Cell<u64>,
    /// The greenlets of exchanges, those that have blocked. Most connections never have more than one.
    greenlets: RefCell<Slab<Killer>>,
    /// Makes the connection count as open.
    permit: RefCell<Option<Permit>>,
    /// Whether nothing but those greenlets keeps it.
    ended: Cell<bool>,
}

impl Shared {
    /// Of a new connection.
    pub(crate) fn new(site: &Rc<Site>, peer: Peer, permit: Permit) -> Rc<Shared> {
        Rc::new(Shared {
            app: site.app.clone(),
            settings: site.settings.clone(),
            site: site.clone(),
            peer,
            phase: Cell::new(Phase::Head(Instant::now())),
            starts: Cell::new(false),
            spawned: Cell::new(false),
            copies: Cell::new(false),
            has_body: Cell::new(false),
            unread: Cell::new(false),
            streams_checked: Cell::new(None),
            newest: Cell::new(None),
            upgrade: RefCell::new(None),
            in_flight: Cell::new(0),
            begun: Cell::new(0),
            greenlets: RefCell::new(Slab::with_capacity(1)),
            permit: RefCell::new(Some(permit)),
            ended: Cell::new(false),
        })
    }

    /// Whether the server stops.
    pub(crate) fn is_stopping(&self) -> bool {
        self.site.is_stopping()
    }

    /// Says who has the connection's permit.
    pub(crate) fn held_by(&self, holder: Rc<dyn Holder>) {
        if let Some(permit) = &*self.permit.borrow() {
            permit.held_by(holder);
        }
    }

    /// Whether this greenlet works for the connection.
    pub(crate) fn runs_in(&self, greenlet: GreenletId) -> bool {
        // In the first case nobody else runs.
        self.starts.get() || self.greenlets.borrow().iter().any(|(_, killer)| killer.id() == greenlet)
    }

    /// A request has come.
    pub(crate) fn exchange_begins(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
        self.begun.set(self.begun.get() + 1);
        self.phase.set(Phase::Busy);
    }

    /// A request has come on a stream of its own.
    pub(crate) fn begin_stream(&self) -> Fetched {
        let fetched = Fetched::default();
        self.newest.set(Some(fetched.clone()));
        fetched
    }

    /// Of the stream that has just begun.
    pub(crate) fn newest_stream(&self) -> Option<Fetched> {
        self.newest.take()
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

    /// Spawns a greenlet that takes the connection over.
    pub(crate) fn spawn_successor(self: &Rc<Self>, f: impl FnOnce() + 'static) -> io::Result<Greenlet<()>> {
        self.spawn_by(Builder::new().name(format!("connection from {}", self.peer.with_port())), f)
    }

    /// Spawns a greenlet that the connection waits for at its end, and kills if it is killed.
    pub(crate) fn spawn(self: &Rc<Self>, f: impl FnOnce() + 'static) -> io::Result<Greenlet<()>> {
        self.spawn_by(Builder::new(), f)
    }

    /// The body of both.
    fn spawn_by(self: &Rc<Self>, builder: Builder, f: impl FnOnce() + 'static) -> io::Result<Greenlet<()>> {
        let leave = Rc::new(Leave { shared: self.clone(), place: Cell::new(None) });
        let place = leave.clone();
        self.spawned.set(true);
        let greenlet = builder.spawn(move || {
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
        if self.ended.get() {
            self.end();
        }
    }

    /// Whether so many greenlets work for this connection that it gets no more.
    pub(crate) fn is_full(&self) -> bool {
        self.greenlets.borrow().len() >= MAX_GREENLETS
    }

    /// Nothing but greenlets keeps the connection open any more.
    pub(crate) fn end(&self) {
        self.ended.set(true);
        if self.greenlets.borrow().is_empty() {
            self.permit.take();
        }
    }

    /// The connection does not count as open any more, whatever its greenlets do.
    pub(crate) fn give_permit_up(&self) {
        self.permit.take();
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
