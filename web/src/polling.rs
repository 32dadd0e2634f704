//! Polls the connections of a server on one hub: all of them in the same greenlet, for as long as nothing blocks it.
//!
//! ```text
//!   a connection's waker ──▶ Bell: 3, 7, 1 ──▶ a poller takes them all, and for a few at a time:
//!                                                reads ──▶ polls, one after the other ──▶ writes
//!                                                            │
//!                                                            └─ one of them blocks it (a body of the user's)?
//!                                                               The next poller is ready already and goes on.
//! ```
//!
//! There is always a next poller: each makes sure of that when it begins to work. If something is left to be done
//! after the first connection, the next one is made ready before that, and finds nothing to do if all went well.
//! One that comes while another only lets others run goes on in its place: who is not blocked does not become more.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use slab::Slab;
use sward_runtime::lowlevel::{Killer, RemoteUnparker, fetch_ahead, is_interrupted, park};
use sward_runtime::{Builder, GreenletId, yield_now};

use crate::connection::Connection;

/// Connections that have their turn in a row, before others do: two calls each, so that it is as with all I/O.
const STREAK: usize = 64;
/// Connections that are read from, then polled, and then written to. Between two system calls the processor loses
/// much of what it has at hand of a program, and of the kernel between two others: what is done for one connection right
/// after the same for another takes less time.
const ROUND: usize = 16;
/// What a turn may take for that: who is answered by something that computes for longer gets the answer at once.
const QUICK: Duration = Duration::from_micros(50);
/// How many turns must have taken less, after one that took more.
const PROBATION: usize = 64;
/// Pollers that wait for work at most; a further one ends.
const IDLE: usize = 2;

/// Connections and those who poll them.
pub(crate) struct Polling {
    /// What the wakers see of this.
    bell: Arc<Bell>,
    /// Connections.
    connections: RefCell<Slab<Rc<Connection>>>,
    /// What is to be done for them. The next poller goes on where one is blocked.
    work: RefCell<Work>,
    /// How many turns are to be quick before there are rounds again.
    probation: Cell<usize>,
    /// The greenlets that poll.
    pollers: RefCell<Slab<Option<Killer>>>,
}

impl Polling {
    /// Without connections.
    pub(crate) fn new() -> Polling {
        Polling {
            bell: Arc::default(),
            connections: RefCell::default(),
            work: RefCell::default(),
            probation: Cell::new(0),
            pollers: RefCell::default(),
        }
    }

    /// What the wakers ring.
    pub(crate) fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    /// Polls the connection that `make` makes for its place whenever that is rung, until it is removed.
    pub(crate) fn add(self: &Rc<Self>, make: impl FnOnce(usize) -> Rc<Connection>) -> io::Result<Rc<Connection>> {
        self.ensure_next()?;
        let place = self.connections.borrow().vacant_key();
        let connection = make(place);
        self.connections.borrow_mut().insert(connection.clone());
        Ok(connection)
    }

    /// The connection at `place`, unless it has gone.
    pub(crate) fn get(&self, place: usize) -> Option<Rc<Connection>> {
        self.connections.borrow().get(place).cloned()
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Has each connection polled.
    pub(crate) fn ring_all(&self) {
        // Listed: patched, a greenlet may park for the bell's lock, and must not have borrowed what others need.
        let places: Vec<usize> = self.connections.borrow().iter().map(|(place, _)| place).collect();
        places.into_iter().for_each(|place| self.bell.ring(place));
    }

    /// Forgets a connection, which the caller still has.
    pub(crate) fn remove(&self, place: usize) {
        self.connections.borrow_mut().remove(place);
        if self.len() == 0 {
            lock(&self.bell).dismiss();
        }
    }

    /// Kills who polls.
    pub(crate) fn kill(&self, poller: usize) {
        let killer = self.pollers.borrow().get(poller).copied();
        if let Some(Some(killer)) = killer {
            killer.kill();
        }
    }

    /// Whether this greenlet polls for `poller`.
    pub(crate) fn runs_in(&self, poller: usize, greenlet: GreenletId) -> bool {
        self.pollers.borrow().get(poller).is_some_and(|killer| killer.is_some_and(|killer| killer.id() == greenlet))
    }

    /// Has another one flush what is still to be flushed: who does so is about to run what may block.
    pub(crate) fn let_others_flush(&self) {
        if self.work.borrow().len() > 0 {
            lock(&self.bell).call();
        }
    }

    /// Closes all connections: nobody will poll them any more.
    #[cold]
    fn close_all(&self) {
        let connections = self.connections.take();
        // One by one, so that a panic of one's body is not met by that of another.
        connections.into_iter().for_each(|connection| _ = catch_unwind(AssertUnwindSafe(|| drop(connection))));
    }

    /// Makes sure that somebody comes when it is rung, or when who polls is blocked.
    fn ensure_next(self: &Rc<Self>) -> io::Result<()> {
        let mut state = lock(&self.bell);
        if state.has_next() {
            return Ok(());
        }
        // Under the same lock, for which a greenlet may park, patched: of two that were called one would wait for ever.
        let me = self.pollers.borrow_mut().insert(None);
        state.called = Some(me);
        drop(state);
        let poller = Poller { polling: self.clone(), me, has_begun: Cell::new(false) };
        let greenlet = Builder::new().name("web poller").spawn(move || poller.work())?;
        self.pollers.borrow_mut()[me] = Some(Killer::of(&greenlet));
        Ok(())
    }

    /// Whether there is something to do: connections that were rung are in `batch` then.
    fn take_batch(&self) -> bool {
        // First: patched, a greenlet may park for this lock, and must not have borrowed what the next poller needs.
        let mut state = lock(&self.bell);
        let mut work = self.work.borrow_mut();
        if work.batch.is_empty() {
            std::mem::swap(&mut work.batch, &mut state.rung);
        }
        // Also if another one has left it: that one may be blocked, and this one soon.
        if work.len() > 1 {
            state.call();
        }
        work.len() > 0
    }

    /// Whether there is a connection to be polled.
    fn has_more(&self) -> bool {
        !lock(&self.bell).rung.is_empty() || self.work.borrow().has_unpolled()
    }

    /// Begins a round: `me` reads what has come for a few connections, one right after the other. With only one there is
    /// nothing to be gained.
    #[inline]
    fn read_ahead(&self, me: usize) {
        let many = self.probation.get() == 0 && self.work.borrow().batch.len() > 1;
        while let Some(connection) = self.next_of_batch() {
            if many && let Some(connection) = connection {
                connection.read_ahead(me);
            }
        }
    }

    /// Takes the next connection into the round; none if there is no room for another one.
    #[inline]
    fn next_of_batch(&self) -> Option<Option<Rc<Connection>>> {
        let Work { batch, round, .. } = &mut *self.work.borrow_mut();
        let room = if self.probation.get() == 0 { ROUND } else { 1 };
        let place = if round.len() < room { batch.pop_front()? } else { return None };
        round.push_back(place);
        let connections = self.connections.borrow();
        let ahead = |n| batch.get(n).and_then(|place: &usize| connections.get(*place));
        // Its turn takes as long as fetching these does: in between, nothing of them was in a near cache.
        if let Some(next) = ahead(0) {
            next.fetch_ahead();
        }
        if let Some(later) = ahead(2) {
            fetch_ahead(&**later);
        }
        Some(connections.get(place).cloned())
    }

    /// The next connection of the round, unless it has gone.
    fn next(&self) -> Option<(usize, Option<Rc<Connection>>)> {
        let place = self.work.borrow_mut().round.pop_front()?;
        Some((place, self.get(place)))
    }

    /// A connection has had its turn.
    fn note(&self, place: usize, turned: Turned) {
        let mut work = self.work.borrow_mut();
        match turned {
            Turned::Waits => {}
            Turned::Writes => work.unwritten.push_back(place),
            Turned::Spawned => work.unflushed.push(place),
        }
    }

    /// The next connection that has something to write.
    fn next_unwritten(&self) -> Option<Rc<Connection>> {
        std::iter::from_fn(|| self.work.borrow_mut().unwritten.pop_front()).find_map(|place| self.get(place))
    }

    /// The next connection whose greenlets have had their turn.
    fn next_unflushed(&self) -> Option<Rc<Connection>> {
        let mut connections =
            std::iter::from_fn(|| self.work.borrow_mut().unflushed.pop()).filter_map(|place| self.get(place));
        // One that was rung has another turn soon, and writes then.
        connections.find(|connection| !connection.is_woken())
    }
}

/// What is to be done, and for whom: places.
#[derive(Default)]
struct Work {
    /// Those that are polled next.
    batch: VecDeque<usize>,
    /// Those that are polled now.
    round: VecDeque<usize>,
    /// Those that have something to write.
    unwritten: VecDeque<usize>,
    /// Those that have something to write when the greenlets that they have spawned have had their turn.
    unflushed: Vec<usize>,
}

impl Work {
    /// How much there is.
    fn len(&self) -> usize {
        self.batch.len() + self.round.len() + self.unwritten.len() + self.unflushed.len()
    }

    /// Whether somebody is to be polled.
    fn has_unpolled(&self) -> bool {
        !(self.batch.is_empty() && self.round.is_empty())
    }
}

/// What is left to be done for a connection that has had its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turned {
    /// Nothing.
    Waits,
    /// It has something to write.
    Writes,
    /// It may have more to write when the greenlets that it has spawned have had their turn.
    Spawned,
}

/// A greenlet that polls; leaves when dropped, even before it has begun.
struct Poller {
    /// The connections.
    polling: Rc<Polling>,
    /// Its own place.
    me: usize,
    /// Whether its greenlet has had a turn.
    has_begun: Cell<bool>,
}

impl Poller {
    /// Polls, until there are no connections or enough others. Blocks the greenlet.
    fn work(self) {
        let Poller { polling, me, has_begun } = &self;
        has_begun.set(true);
        lock(&polling.bell).enter(*me, RemoteUnparker::current());
        while !polling.connections.borrow().is_empty() {
            let coming = lock(&polling.bell).comes(*me);
            if let Some(coming) = coming {
                // Without a stack for the next one, who blocks this one blocks all.
                _ = polling.ensure_next();
                if !self.poll(coming) || !lock(&polling.bell).rests(*me) {
                    return;
                }
            }
            park(None);
        }
    }

    /// Polls what there is to poll, until another one comes; false if it is to end.
    fn poll(&self, coming: u64) -> bool {
        let polling = &*self.polling;
        while polling.take_batch() {
            let mut streak = 0;
            loop {
                let Some(turns) = self.go_round() else { return false };
                streak += turns;
                if streak >= STREAK || !polling.work.borrow().has_unpolled() {
                    break;
                }
            }
            if !polling.work.borrow().unflushed.is_empty() || polling.has_more() {
                yield_now();
            }
            while let Some(connection) = polling.next_unflushed() {
                connection.flush(self.me);
            }
            // Were all of them to go on, each connection that wakes itself would make them more.
            if lock(&polling.bell).comings != coming {
                break;
            }
        }
        true
    }

    /// Reads, polls and writes, each for a few connections, and tells for how many; none if it is to end.
    fn go_round(&self) -> Option<usize> {
        let polling = &*self.polling;
        let begun = Instant::now();
        polling.read_ahead(self.me);
        let mut turns = 0_u32;
        while let Some((place, connection)) = polling.next() {
            turns += 1;
            if let Some(connection) = connection {
                polling.note(place, connection.turn(self.me));
            }
            // A body has killed who polls it: that concerns no other.
            if is_interrupted() {
                return None;
            }
        }
        while let Some(connection) = polling.next_unwritten() {
            connection.flush(self.me);
        }
        let (quick, turns) = (begun.elapsed() <= QUICK * turns, turns as usize);
        polling.probation.set(if quick { polling.probation.get().saturating_sub(turns) } else { PROBATION });
        (!is_interrupted()).then_some(turns)
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.polling.pollers.borrow_mut().remove(self.me);
        let has_left_work = self.polling.work.borrow().len() > 0;
        lock(&self.polling.bell).leave(self.me, has_left_work);
        if self.polling.connections.borrow().is_empty() {
            return;
        }
        // Bodies may have killed all that there are. But if the next one does not even begin, the hub ends, or there is
        // no stack.
        if self.has_begun.get() {
            _ = self.polling.ensure_next();
        } else if self.polling.pollers.borrow().is_empty() {
            self.polling.close_all();
        }
    }
}

/// What may be rung from any thread.
#[derive(Default)]
pub(crate) struct Bell(Mutex<Rung>);

/// What is behind the bell.
#[derive(Default)]
struct Rung {
    /// The connections that are to be polled.
    rung: VecDeque<usize>,
    /// The pollers, by their places.
    pollers: Vec<Option<RemoteUnparker>>,
    /// Those that wait to be called; the last one is the next.
    idle: Vec<usize>,
    /// Who was called, or spawned, and has not come yet.
    called: Option<usize>,
    /// How often one has come.
    comings: u64,
}

impl Bell {
    /// The connection at `place` is to be polled.
    pub(crate) fn ring(&self, place: usize) {
        let mut state = lock(self);
        state.rung.push_back(place);
        state.call();
    }
}

impl Rung {
    /// Whether somebody would come.
    fn has_next(&self) -> bool {
        self.called.is_some() || !self.idle.is_empty()
    }

    /// Has the next one come, unless that was done.
    fn call(&mut self) {
        if self.called.is_none()
            && let Some(next) = self.idle.pop()
        {
            self.called = Some(next);
            self.unpark(next);
        }
    }

    /// Wakes one.
    fn unpark(&self, poller: usize) {
        if let Some(Some(unparker)) = self.pollers.get(poller) {
            unparker.unpark();
        }
    }

    /// Wakes all, for them to end.
    fn dismiss(&self) {
        self.idle.iter().for_each(|poller| self.unpark(*poller));
    }

    /// A poller has begun.
    fn enter(&mut self, poller: usize, unparker: RemoteUnparker) {
        if self.pollers.len() <= poller {
            self.pollers.resize_with(poller + 1, || None);
        }
        self.pollers[poller] = Some(unparker);
    }

    /// The number of the coming of a poller that has been woken; none if it was not called.
    fn comes(&mut self, poller: usize) -> Option<u64> {
        self.called.take_if(|called| *called == poller)?;
        self.comings += 1;
        Some(self.comings)
    }

    /// Whether a poller that has nothing to do is to wait for work; it ends if enough others do.
    fn rests(&mut self, poller: usize) -> bool {
        if self.idle.len() >= IDLE {
            return false;
        }
        self.idle.push(poller);
        if !self.rung.is_empty() {
            self.call();
        }
        true
    }

    /// A poller has ended.
    fn leave(&mut self, poller: usize, has_left_work: bool) {
        self.called.take_if(|called| *called == poller);
        self.idle.retain(|idle| *idle != poller);
        if let Some(unparker) = self.pollers.get_mut(poller) {
            *unparker = None;
        }
        if has_left_work || !self.rung.is_empty() {
            self.call();
        }
    }
}

/// No panic happens while it is locked.
fn lock(bell: &Bell) -> MutexGuard<'_, Rung> {
    bell.0.lock().unwrap_or_else(PoisonError::into_inner)
}
