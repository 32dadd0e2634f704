//! The hub of a thread and its loop.
//!
//! ```text
//!            ┌───────────────────────── Hub::run_until_root_is_ready ───────────────────────┐
//!   ready:   │ [g7] [g2] [root] [g9] …       pop the first; the root? return to it.         │
//!            │   │                           a greenlet? resume it until it parks.          │
//!            │   └── wake() appends here     none? idle(): wait for I/O, timers, threads    │
//!            └──────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The loop runs on the thread's own stack whenever the root blocks. Greenlets switch to it and it
//! switches to them; they never switch to one another. Nothing here holds a borrow while a greenlet
//! runs (invariant 1), waking only queues (invariant 2), and `switch` is the one function that
//! leaves a stack to run something else, but for two: `spawn::run_within_caller` runs a new greenlet from its caller's stack
//! until it leaves for the first time, and `inspect` resumes parked greenlets for a moment, to walk their own stacks.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{Clock, coarse_tick, milliseconds};
use crate::greenlet::Errand;
use crate::identity::Spares;
use crate::inspect::{self, Accounts};
use crate::reactor::Reactor;
use crate::remote::{Message, Owed, Remote};
use crate::slot::{Reason, Slot, State, VACANT};
use crate::stack::overflow::AlternateStack;
use crate::stack::{Stack, StackPool};
use crate::table::Table;
use crate::timers::Timers;
use crate::wait_queue::WaitQueue;

/// Switches between two looks at I/O, timers and other threads while greenlets are ready.
const SWITCHES_PER_TURN: u32 = 256;
/// The coarse clock is read once in so many switches; a power of two.
const SWITCHES_PER_TICK: u32 = 4;
/// After the clock has stepped it is read at each of so many switches: if it steps again among them, switches are
/// so far apart that four of them would be too late.
const WATCHFUL_SWITCHES: u32 = 64;
/// An idle hub without a poller (no file descriptor was to be had) looks again after this time.
const BLIND_NAP: Duration = Duration::from_millis(5);

/// Whom a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// The wait `epoch` of the greenlet in `slot` times out.
    Wait {
        /// The slot's index.
        slot: u32,
        /// The wait's number.
        epoch: u32,
    },
    /// The `timeout` call at `depth` of the greenlet in `slot` expires.
    Timeout {
        /// The slot's index.
        slot: u32,
        /// The call's place among the greenlet's nested ones.
        depth: u32,
    },
}

/// Names one wait of one greenlet. Kept in queues and by other threads; stale ones are harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WaitKey {
    /// The hub.
    pub(crate) hub: u64,
    /// The slot's index.
    pub(crate) slot: u32,
    /// The wait's number.
    pub(crate) epoch: u32,
}

/// Names one greenlet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GreenletKey {
    /// The hub.
    pub(crate) hub: u64,
    /// The slot's index.
    pub(crate) slot: u32,
    /// The greenlet's id.
    pub(crate) id: u64,
}

/// Nothing can ever make the root ready.
#[derive(Debug)]
pub(crate) struct Deadlock;

/// One thread's greenlets, timers and poller.
pub(crate) struct Hub {
    /// This hub's number, unique in the process.
    pub(crate) serial: u64,
    /// All greenlets, the root first.
    pub(crate) table: Table,
    /// The hub's clock.
    pub(crate) clock: Clock,
    /// Deadlines of waits and of `timeout` calls.
    pub(crate) timers: RefCell<Timers<Due>>,
    /// The poller; made when first needed.
    pub(crate) reactor: RefCell<Option<Reactor>>,
    /// What other threads see of this hub.
    pub(crate) remote: Arc<Remote>,
    /// Results that other threads may wait for.
    pub(crate) owed: Owed,
    /// Stacks to spawn on.
    pub(crate) stacks: StackPool,
    /// Thread-locals of greenlets that have some of their own.
    pub(crate) identities: Spares,
    /// Greenlets that have not finished.
    pub(crate) live: Cell<usize>,
    /// Waits for `live` to change: `run`.
    pub(crate) closers: WaitQueue,
    /// Whether `run` may wait there.
    pub(crate) closing: Cell<bool>,
    /// The ready queue's first.
    pub(crate) head: Cell<Option<&'static Slot>>,
    /// The ready queue's last.
    tail: Cell<Option<&'static Slot>>,
    /// The root; `None` before `begin` only.
    root: Cell<Option<&'static Slot>>,
    /// Who runs; `None` before `begin` only.
    pub(crate) current: Cell<Option<&'static Slot>>,
    /// The next serial number for `next_serial`.
    serials: Cell<u64>,
    /// Switches left until the next turn.
    pub(crate) budget: Cell<u32>,
    /// The coarse clock at the last turn or wait.
    tick: Cell<u64>,
    /// The same in milliseconds; wraps around after 49 days.
    pub(crate) ticked: Cell<u32>,
    /// What is kept for `inspect`.
    pub(crate) accounts: Accounts,
    /// I/O calls in a row that succeeded at once; see `Source`.
    pub(crate) streak: Cell<u32>,
    /// Whether the running greenlet has its next wait prepared (its key is given out), or is in the middle of changing
    /// something: no call of the runtime's own, to a lock of std or of the allocator say, may park it then.
    pub(crate) busy: Cell<bool>,
    /// The signal stack that overflow reports are made on.
    _alternate: Option<AlternateStack>,
}

/// While it is there, the hub is busy.
pub(crate) struct Busy {
    /// The hub.
    hub: &'static Hub,
    /// Whether it was before.
    before: bool,
}

impl Drop for Busy {
    #[inline(always)]
    fn drop(&mut self) {
        self.hub.busy.set(self.before);
    }
}

/// The earlier of two times to wait, of which either may be missing.
#[inline]
fn earlier(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    a.into_iter().chain(b).min()
}

impl Hub {
    /// A hub with nothing but a root. It has no system resources yet.
    pub(crate) fn new() -> Hub {
        static SERIALS: AtomicU64 = AtomicU64::new(1);
        let serial = SERIALS.fetch_add(1, Ordering::Relaxed);
        Hub {
            serial,
            table: Table::new(),
            clock: Clock::new(),
            timers: RefCell::new(Timers::new()),
            reactor: RefCell::new(None),
            remote: Arc::new(Remote::new(serial)),
            owed: Owed::default(),
            stacks: StackPool::new(),
            identities: Spares::new(),
            live: Cell::new(0),
            closers: WaitQueue::new(),
            closing: Cell::new(false),
            head: Cell::new(None),
            tail: Cell::new(None),
            root: Cell::new(None),
            current: Cell::new(None),
            serials: Cell::new(1),
            budget: Cell::new(SWITCHES_PER_TURN + WATCHFUL_SWITCHES),
            tick: Cell::new(0),
            ticked: Cell::new(milliseconds(coarse_tick())),
            accounts: Accounts::default(),
            streak: Cell::new(0),
            busy: Cell::new(false),
            _alternate: AlternateStack::new().ok(),
        }
    }

    /// Makes the hub busy: around what may allocate while something is borrowed, or a wait is prepared.
    #[inline(always)]
    pub(crate) fn busy(&'static self) -> Busy {
        Busy { hub: self, before: self.busy.replace(true) }
    }

    /// A number that this hub has not given out before: greenlet ids, scopes, timeouts.
    #[inline]
    pub(crate) fn next_serial(&self) -> u64 {
        let serial = self.serials.get();
        self.serials.set(serial + 1);
        serial
    }

    /// Makes the root, which runs now. Once, before anything else.
    pub(crate) fn begin(&'static self) {
        let root = self.table.take();
        root.id.set(0);
        root.state.set(State::Running);
        self.root.set(Some(root));
        self.current.set(Some(root));
    }

    /// The slot of whoever runs.
    #[inline]
    pub(crate) fn current(&'static self) -> &'static Slot {
        self.current.get().expect("a hub begins with its root")
    }

    /// Whether a greenlet runs, and not the root.
    #[inline(always)]
    pub(crate) fn runs_greenlet(&self) -> bool {
        self.current.get().is_some_and(|slot| !slot.is_root())
    }

    /// The root's slot.
    #[inline]
    pub(crate) fn root(&'static self) -> &'static Slot {
        self.root.get().expect("a hub begins with its root")
    }

    /// The greenlet that `key` names, if it has not finished.
    pub(crate) fn find(&'static self, key: GreenletKey) -> Option<&'static Slot> {
        self.table.get(key.slot).filter(|slot| key.hub == self.serial && slot.id.get() == key.id)
    }

    /// The key for the next wait of the running greenlet.
    #[inline]
    pub(crate) fn next_wait(&'static self) -> WaitKey {
        let slot = self.current();
        WaitKey { hub: self.serial, slot: slot.index, epoch: slot.epoch.get().wrapping_add(1) }
    }

    /// Makes the greenlet ready if it still waits in the wait that `key` names and nothing else has
    /// woken it; tells whether it did. Only queues, never switches.
    #[inline]
    pub(crate) fn wake(&'static self, key: WaitKey, reason: Reason) -> bool {
        match self.table.get(key.slot) {
            Some(slot) if slot.epoch.get() == key.epoch => self.wake_slot(slot, reason),
            _ => false,
        }
    }

    /// Whether the greenlet is still in the wait that `key` names: nothing has woken it yet.
    #[inline]
    pub(crate) fn waits(&'static self, key: WaitKey) -> bool {
        let slot = self.table.get(key.slot);
        slot.is_some_and(|slot| slot.epoch.get() == key.epoch && slot.state.get() == State::Parked)
    }

    /// As `wake` because of an unpark, and switches to that greenlet; the running one, which is no root, goes on after it.
    #[cfg(target_os = "linux")]
    pub(crate) fn wake_and_let_run(&'static self, key: WaitKey) {
        let Some(slot) = self.table.get(key.slot).filter(|_| self.waits(key)) else { return };
        slot.reason.set(Some(Reason::Unparked));
        let caller = self.current();
        self.push_first(slot, caller);
        // A greenlet's switch is never a deadlock, only the root's.
        let _ = self.switch(caller);
    }

    /// As `wake`, for whatever wait the greenlet is in.
    #[inline]
    pub(crate) fn wake_slot(&'static self, slot: &'static Slot, reason: Reason) -> bool {
        if slot.state.get() != State::Parked || slot.reason.get().is_some() {
            return false;
        }
        slot.reason.set(Some(reason));
        self.push_ready(slot);
        true
    }

    /// Appends to the ready queue.
    #[inline]
    pub(crate) fn push_ready(&self, slot: &'static Slot) {
        slot.state.set(State::Ready);
        slot.next.set(None);
        match self.tail.replace(Some(slot)) {
            Some(last) => last.next.set(Some(slot)),
            None => self.head.set(Some(slot)),
        }
    }

    /// Puts two greenlets before all others.
    #[cfg(target_os = "linux")]
    #[inline]
    fn push_first(&self, first: &'static Slot, second: &'static Slot) {
        first.state.set(State::Ready);
        second.state.set(State::Ready);
        first.next.set(Some(second));
        second.next.set(self.head.replace(Some(first)));
        if second.next.get().is_none() {
            self.tail.set(Some(second));
        }
    }

    /// Takes the first of the ready queue.
    #[inline]
    fn pop_ready(&self) -> Option<&'static Slot> {
        let slot = self.head.get()?;
        let next = slot.next.get();
        self.head.set(next);
        if next.is_none() {
            self.tail.set(None);
        }
        Some(slot)
    }

    /// Whether any greenlet is ready.
    #[inline]
    pub(crate) fn has_ready(&self) -> bool {
        self.head.get().is_some()
    }

    /// Leaves the running stack until its slot comes up in the ready queue again. The only function
    /// that switches away from a greenlet; the caller has put the slot into its new state.
    #[inline(always)]
    pub(crate) fn switch(&'static self, slot: &'static Slot) -> Result<(), Deadlock> {
        self.streak.set(0);
        let outcome = if slot.is_root() {
            self.run_until_root_is_ready()
        } else {
            slot.greenlet.suspend(&slot.frame);
            Ok(())
        };
        slot.state.set(State::Running);
        outcome
    }

    /// The loop. Runs on the root stack while the root waits.
    #[inline(never)]
    fn run_until_root_is_ready(&'static self) -> Result<(), Deadlock> {
        loop {
            let Some(slot) = self.pop_ready() else {
                self.idle()?;
                continue;
            };
            self.count_switch();
            slot.switches.set(slot.switches.get() + 1);
            if inspect::is_watching() {
                inspect::starts(self, slot);
            }
            if slot.is_root() {
                return Ok(());
            }
            self.resume(slot);
        }
    }

    /// Runs one greenlet until it parks, yields or finishes.
    #[inline]
    fn resume(&'static self, slot: &'static Slot) {
        let finished = self.enter(slot);
        self.current.set(self.root.get());
        if let Some(stack) = finished {
            self.retire(slot, stack);
        }
    }

    /// Switches to a greenlet, until it parks, yields or finishes: then its stack is given back.
    #[inline(always)]
    pub(crate) fn enter(&'static self, slot: &'static Slot) -> Option<Stack> {
        self.current.set(Some(slot));
        match slot.identity.get() {
            None => slot.greenlet.resume(Errand::Run),
            Some(identity) => slot.greenlet.resume_as(identity, Errand::Run),
        }
    }

    /// Takes a finished greenlet's stack and slot back.
    #[inline]
    pub(crate) fn retire(&'static self, slot: &'static Slot, stack: Stack) {
        debug_assert!(slot.state.get() == State::Vacant, "a greenlet's last act");
        slot.id.set(VACANT);
        slot.epoch.set(slot.epoch.get().wrapping_add(1));
        slot.token.set(false);
        self.accounts.finished(slot);
        slot.scope.set(0);
        slot.interrupts.reset();
        if slot.name.borrow().is_some() {
            slot.name.take();
        }
        if let Some(identity) = slot.identity.take() {
            self.identities.give(identity);
        }
        self.stacks.give(stack);
        self.table.give(slot);
        self.live.set(self.live.get() - 1);
        self.wake_closers();
    }

    /// Tells `run`, if it waits, that a greenlet was spawned or has ended.
    #[inline]
    pub(crate) fn wake_closers(&self) {
        if self.closing.get() {
            self.closers.wake_all();
        }
    }

    /// Looks at I/O, timers and other threads every 256 switches, and whenever the coarse clock
    /// has stepped (at most 4 ms on Linux), so that a busy ready queue does not keep them waiting.
    #[inline]
    fn count_switch(&'static self) {
        let left = self.budget.get() - 1;
        self.budget.set(left);
        let look = left.is_multiple_of(SWITCHES_PER_TICK) || left >= SWITCHES_PER_TURN;
        if look && (left == 0 || coarse_tick() != self.tick.get()) {
            self.turn();
        }
    }

    /// One look at everything outside, without waiting.
    #[cold]
    fn turn(&'static self) {
        let stepped = self.read_tick();
        self.budget.set(if stepped { SWITCHES_PER_TURN + WATCHFUL_SWITCHES } else { SWITCHES_PER_TURN });
        self.drain_inbox();
        if let Some(reactor) = self.reactor.borrow_mut().as_mut().filter(|reactor| reactor.has_sources()) {
            reactor.turn_often();
        }
        self.wake_futures();
        self.expire_timers();
    }

    /// Reads the coarse clock; tells whether it has stepped.
    fn read_tick(&self) -> bool {
        let tick = coarse_tick();
        self.ticked.set(milliseconds(tick));
        tick != self.tick.replace(tick)
    }

    /// Nothing is ready: waits for I/O, a timer or another thread.
    #[cold]
    fn idle(&'static self) -> Result<(), Deadlock> {
        self.budget.set(SWITCHES_PER_TURN + WATCHFUL_SWITCHES);
        inspect::stops(self);
        self.drain_inbox();
        if self.has_ready() {
            return Ok(());
        }
        let next = self.timers.borrow().next_deadline();
        let sources = self.reactor.borrow().as_ref().is_some_and(Reactor::has_sources);
        if next.is_none() && !sources && self.remote.inbox.is_cut_off() {
            return Err(Deadlock);
        }
        let limit = next.map(|deadline| Duration::from_nanos(deadline.saturating_sub(self.clock.now())));
        self.wait_outside(earlier(limit, self.stacks.tidy()));
        self.read_tick();
        self.wake_futures();
        self.drain_inbox();
        self.expire_timers();
        self.prefetch_first();
        Ok(())
    }

    /// Blocks the OS thread until something happens outside, at most for `limit`.
    fn wait_outside(&'static self, limit: Option<Duration>) {
        let mut reactor = self.reactor.borrow_mut();
        let Ok(reactor) = Reactor::get_or_make(&mut reactor, &self.remote) else {
            std::thread::sleep(limit.map_or(BLIND_NAP, |limit| limit.min(BLIND_NAP)));
            return;
        };
        let mut sleeps = limit != Some(Duration::ZERO) && self.remote.inbox.prepare_sleep();
        if sleeps && limit.is_none() && !reactor.has_sources() {
            // The last handle may have gone before the hub said that it sleeps: nobody would wake it.
            sleeps = !self.remote.inbox.is_cut_off();
        }
        let more = reactor.turn(if sleeps { limit } else { Some(Duration::ZERO) });
        self.remote.inbox.awake();
        if more && self.timers.borrow().next_deadline().is_some_and(|deadline| deadline <= self.clock.now()) {
            // Data that is there beats the deadline.
            reactor.turn_often();
        }
    }

    /// Calls the wakers of the futures that events came for: foreign code, so nothing is borrowed.
    fn wake_futures(&'static self) {
        let next = || self.reactor.borrow_mut().as_mut().and_then(Reactor::pop_woken);
        while let Some(waker) = next() {
            waker.wake();
        }
    }

    /// Makes ready whose deadline has passed. I/O was looked at before: ready data beats a timeout.
    fn expire_timers(&'static self) {
        if self.timers.borrow().is_empty() {
            return;
        }
        let now = self.clock.now();
        loop {
            let expired = self.timers.borrow_mut().pop_expired(now);
            match expired {
                Some(Due::Wait { slot, epoch }) => {
                    self.wake(WaitKey { hub: self.serial, slot, epoch }, Reason::TimedOut);
                }
                Some(Due::Timeout { slot, depth }) => {
                    let Some(slot) = self.table.get(slot) else { continue };
                    if slot.interrupts.expire(depth as usize) {
                        self.interrupt(slot);
                    }
                }
                None => return,
            }
        }
    }

    /// Does what other threads asked for.
    fn drain_inbox(&'static self) {
        if self.remote.inbox.is_empty() {
            return;
        }
        #[cfg(target_os = "linux")]
        crate::doorbell::drain(self, true);
        // Bounded by what is there now: a thread that pushes without end must not starve the rest.
        for _ in 0..1024 {
            match self.remote.inbox.pop() {
                Some(Message::Wake(key)) => {
                    self.wake(key, Reason::Unparked);
                }
                Some(Message::Unpark(key)) => self.unpark(key),
                Some(Message::Spawn(start)) => start.start(),
                Some(Message::Kill(target)) => target.kill(),
                // Some milliseconds' work at times: others have their turn before the next one.
                Some(Message::Ask(asked)) => return asked.answer(self),
                None => return,
            }
        }
    }
}
