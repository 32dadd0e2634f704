//! What is known of the two directions of a source, and who waits in them.
//!
//! `ready` is false only while the kernel is known to have nothing: an edge-triggered event is due
//! before there can be something again. In each direction one greenlet at a time has the *turn*; the
//! others wait for it first in, first out, so an event wakes one of them and nobody overtakes. The one that has the turn
//! needs no queue to wait in: the key of its wait is all that an event has to find, and mostly all that there is.
//!
//! A future waits beside them, without a turn: it leaves its waker with the direction. A waker is
//! foreign code, so the reactor only collects those of a turn; the hub calls them when nothing of it
//! is borrowed (invariant 1).

use std::cell::{Cell, OnceCell};
use std::collections::VecDeque;
use std::io;
use std::task::Waker;
use std::time::Instant;

use crate::hub::{self, hub};
use crate::prefetch::prefetch;
use crate::scheduler::{Hub, WaitKey};
use crate::slot::{Mode, Reason};
use crate::wait_queue::{WaitQueue, Waited};

/// A direction of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Reading, accepting.
    Read,
    /// Writing, connecting.
    Write,
}

/// What is known of one direction: bytes, so that both directions' lie in one cache line.
pub(crate) struct State {
    /// Whether the next call may succeed.
    pub(crate) ready: Cell<bool>,
    /// The other side is gone: no further edge may come, so `ready` is only cleared by a call that
    /// really would block.
    pub(crate) hung_up: Cell<bool>,
    /// Whether a greenlet has the turn.
    pub(crate) taken: Cell<bool>,
    /// False: nobody is in `Others::turns`.
    queued: Cell<bool>,
    /// False: nobody waits for an event.
    watched: Cell<bool>,
}

/// Who waits in one direction. In this order: see `Readiness`.
#[repr(C)]
struct Waiters {
    /// The wait of the greenlet that has the turn, for an event.
    holder: Cell<Option<WaitKey>>,
    /// The future that waits for an event, the last one that was polled.
    waker: Cell<Option<Waker>>,
    /// Other greenlets; most sockets never have any.
    others: OnceCell<Box<Others>>,
}

/// Greenlets that wait in one direction and do not have the turn.
#[derive(Default)]
struct Others {
    /// For an event: callers of `wait_readable`.
    events: WaitQueue,
    /// For the turn.
    turns: WaitQueue,
}

/// One direction.
#[derive(Clone, Copy)]
pub(crate) struct Side<'a> {
    /// What is known of it.
    pub(crate) state: &'a State,
    /// Who waits in it.
    waiters: &'a Waiters,
}

impl Side<'_> {
    /// An event came. The waker returned is to be called once the reactor is not borrowed any more.
    #[must_use]
    #[inline]
    fn wake(self, hung_up: bool) -> Option<Waker> {
        self.state.ready.set(true);
        self.state.hung_up.set(self.state.hung_up.get() | hung_up);
        if !self.state.watched.replace(false) {
            return None;
        }
        if let Some(key) = self.waiters.holder.take() {
            hub::wake(key, Reason::Unparked);
        }
        if let Some(others) = self.waiters.others.get() {
            others.events.wake_all();
        }
        self.waiters.waker.take()
    }

    /// The descriptor goes away: nobody waits any longer.
    pub(crate) fn close(self) {
        let waker = self.wake(true);
        if let Some(others) = self.waiters.others.get() {
            others.turns.wake_all();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits for an event, without the turn. Blocks the greenlet.
    pub(crate) fn wait(self, name: &'static str, deadline: Option<Instant>) -> Waited<()> {
        let events = &self.others().events;
        self.state.watched.set(true);
        events.wait(name, (), deadline)
    }

    /// The greenlets that do not have the turn.
    #[inline(never)]
    fn others(&self) -> &Others {
        self.waiters.others.get_or_init(|| {
            let _busy = hub().busy();
            Box::default()
        })
    }

    /// Leaves a future's waker here.
    pub(crate) fn set_waker(self, waker: &Waker) {
        let kept = match self.waiters.waker.take() {
            Some(old) if old.will_wake(waker) => old,
            _ => waker.clone(),
        };
        self.waiters.waker.set(Some(kept));
        self.state.watched.set(true);
    }
}

/// What is known of a source's two directions; the reactor writes it. In this order, so that what an event touches
/// stands together, at the beginning.
#[repr(C)]
pub(crate) struct Readiness {
    /// What is known of reading and of writing.
    states: [State; 2],
    /// Who waits to read and who waits to write.
    waiters: [Waiters; 2],
}

impl Readiness {
    /// Neither direction was tried yet.
    pub(crate) fn new() -> Readiness {
        let state = || State {
            ready: Cell::new(true),
            hung_up: Cell::new(false),
            taken: Cell::new(false),
            queued: Cell::new(false),
            watched: Cell::new(false),
        };
        let waiters = || Waiters { holder: Cell::new(None), waker: Cell::new(None), others: OnceCell::new() };
        Readiness { states: [state(), state()], waiters: [waiters(), waiters()] }
    }

    /// One direction.
    #[inline]
    pub(crate) fn side(&self, direction: Direction) -> Side<'_> {
        let at = direction as usize;
        Side { state: &self.states[at], waiters: &self.waiters[at] }
    }

    /// Fetches what `on_event` touches.
    #[inline]
    pub(crate) fn prefetch(&self) {
        prefetch((&raw const *self).cast(), size_of::<Readiness>());
    }

    /// Takes an event of the poller. Wakes greenlets, which only queues them (invariant 2), and adds
    /// the wakers of futures to `woken`.
    #[inline]
    pub(crate) fn on_event(&self, event: &mio::event::Event, woken: &mut VecDeque<Waker>) {
        let error = event.is_error();
        let closed = [event.is_read_closed(), event.is_write_closed()];
        let ready = [event.is_readable(), event.is_writable()];
        for (at, direction) in [Direction::Read, Direction::Write].into_iter().enumerate() {
            if (error || ready[at] || closed[at])
                && let Some(waker) = self.side(direction).wake(error || closed[at])
            {
                woken.push_back(waker);
            }
        }
    }
}

/// The right to wait for events in one direction; passed on when dropped.
pub(crate) struct Turn<'a>(Side<'a>);

impl<'a> Turn<'a> {
    /// Takes the turn that nobody has.
    #[inline]
    pub(crate) fn take(side: Side<'a>) -> Turn<'a> {
        side.state.taken.set(true);
        Turn(side)
    }

    /// Waits for the turn.
    pub(crate) fn wait(side: Side<'a>, name: &'static str, deadline: Option<Instant>) -> io::Result<Turn<'a>> {
        let turns = &side.others().turns;
        side.state.queued.set(true);
        match turns.wait(name, (), deadline) {
            Waited::Woken(()) => Ok(Turn(side)),
            Waited::TimedOut(()) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Drop for Turn<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // However the wait ended, nothing of it stays (invariant 3).
        self.0.waiters.holder.set(None);
        if self.0.state.queued.get() {
            self.pass_on();
        } else {
            self.0.state.taken.set(false);
        }
    }
}

impl Turn<'_> {
    /// Waits for an event. Blocks the greenlet, which may park.
    // Inlined: a frame of its own is one or two cache lines more for each greenlet that waits.
    #[inline(always)]
    pub(crate) fn wait_for_event(&self, hub: &'static Hub, name: &'static str, deadline: Option<Instant>) -> Reason {
        let Side { state, waiters } = self.0;
        waiters.holder.set(Some(hub.next_wait()));
        state.watched.set(true);
        hub.park(Mode::Keyed, name, deadline.map(|deadline| hub.clock.at(deadline)))
    }

    /// Hands the turn over: `taken` stays true if somebody waits.
    #[inline(never)]
    fn pass_on(&self) {
        let Side { state, waiters } = self.0;
        let woken = waiters.others.get().is_some_and(|others| others.turns.wake_one());
        if !woken {
            state.queued.set(false);
            state.taken.set(false);
        }
    }
}
