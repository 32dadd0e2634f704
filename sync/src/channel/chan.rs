//! A channel: its state behind a lock, and the two calls that block.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use sward_runtime::lowlevel::can_park;

use super::ground::{AtomicUsize, Mutex, MutexGuard, may_spin};
use super::state::{Entry, Refused, Side, State};
use super::turn::{Key, SPINS, Turn, Wakes};

/// The one operation of a wait that is not a `Select`'s.
const ONLY: usize = 0;

/// Why a call did nothing.
pub(super) enum Failure {
    /// It gave up.
    TimedOut,
    /// There is nobody at the other end.
    Disconnected,
}

/// Alone in its cache lines (two, since processors fetch them in pairs): what one side writes does not
/// take from the other side's core what that works with.
#[repr(align(128))]
struct Apart<V>(V);

/// What the two ends share.
pub(super) struct Chan<T> {
    /// Everything. Locked for moments in which nobody blocks and no code of the user's runs.
    state: Mutex<State<T>>,
    /// How many items were there, or with senders who wait, when the lock was last given up. A hint
    /// that can be looked at without taking the lock from those who work.
    hint: AtomicUsize,
    /// Without a bound, receivers take all items there are at once and serve themselves from here, so
    /// that senders and receivers seldom meet at one lock. These are older than those in `state`, and
    /// nobody waits to receive while there are any. Locked before `state`.
    batch: Apart<Mutex<VecDeque<T>>>,
    /// Whether there is no bound.
    unbounded: bool,
}

impl<T> Chan<T> {
    /// A channel with one sender and one receiver.
    pub(super) fn new(capacity: usize) -> Chan<T> {
        Chan {
            state: Mutex::new(State::new(capacity)),
            hint: AtomicUsize::new(0),
            batch: Apart(Mutex::new(VecDeque::new())),
            unbounded: capacity == usize::MAX,
        }
    }

    /// The state, with all items in it; nothing panics while it is locked.
    pub(super) fn lock(&self) -> MutexGuard<'_, State<T>> {
        if !self.unbounded {
            return self.lock_state();
        }
        let mut batch = self.batch.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.lock_state();
        state.put_first(&mut batch);
        state
    }

    /// The state, perhaps without its oldest items.
    fn lock_state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the oldest item, if there is no bound.
    #[inline]
    fn receive_from_batch(&self) -> Option<T> {
        if !self.unbounded {
            return None;
        }
        let mut batch = self.batch.0.lock().unwrap_or_else(PoisonError::into_inner);
        if batch.is_empty() {
            self.lock_state().take_all(&mut batch);
            self.hint.store(0, Ordering::Relaxed);
        }
        batch.pop_front()
    }

    /// Works on the state and then, when it is not locked any more, wakes whom that has served.
    #[inline]
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut State<T>, &mut Wakes) -> R) -> R {
        self.with_locked(self.lock(), work)
    }

    /// As `with`, on what was locked.
    #[inline]
    fn with_locked<R>(
        &self,
        mut state: MutexGuard<'_, State<T>>,
        work: impl FnOnce(&mut State<T>, &mut Wakes) -> R,
    ) -> R {
        let mut wakes = Wakes::default();
        let result = work(&mut state, &mut wakes);
        self.hint.store(state.offered(), Ordering::Relaxed);
        drop(state);
        drop(wakes);
        result
    }

    /// Sends if that needs no waiting.
    #[inline]
    pub(super) fn try_send(&self, item: T) -> Result<(), Refused<T>> {
        // What is in the batch does not matter to a sender.
        self.with_locked(self.lock_state(), |state, wakes| state.send(item, wakes))
    }

    /// Receives if that needs no waiting. `None` in the error: there is nothing now.
    #[inline]
    pub(super) fn try_receive(&self) -> Result<T, Failure> {
        if let Some(item) = self.receive_from_batch() {
            return Ok(item);
        }
        self.with(|state, wakes| match state.receive(wakes) {
            Some(item) => Ok(item),
            None if state.sender_count == 0 => Err(Failure::Disconnected),
            None => Err(Failure::TimedOut),
        })
    }

    /// Sends, waiting for room.
    pub(super) fn send(&self, item: T, deadline: Option<Instant>) -> Result<(), (T, Failure)> {
        let mut item = match self.try_send(item) {
            Ok(()) => return Ok(()),
            Err(Refused::Disconnected(item)) => return Err((item, Failure::Disconnected)),
            Err(Refused::Full(item)) if !can_park() => return Err((item, Failure::TimedOut)),
            Err(Refused::Full(item)) => item,
        };
        let full = self.hint.load(Ordering::Relaxed);
        if self.spin(|hint| hint < full) {
            match self.try_send(item) {
                Ok(()) => return Ok(()),
                Err(Refused::Disconnected(back)) => return Err((back, Failure::Disconnected)),
                Err(Refused::Full(back)) => item = back,
            }
        }
        let turn = Turn::new();
        let registered = self.with(|state, wakes| {
            state.send(item, wakes).map_err(|refused| match refused {
                Refused::Disconnected(item) => Some(item),
                Refused::Full(item) => {
                    state.wait_to_send(Entry::new(&turn, ONLY, Some(item)), wakes);
                    None
                }
            })
        });
        match registered {
            Ok(()) => return Ok(()),
            Err(Some(item)) => return Err((item, Failure::Disconnected)),
            Err(None) => {}
        }
        let waiting = Waiting { chan: self, side: Side::Send, key: turn.key(ONLY) };
        turn.wait(deadline);
        std::mem::forget(waiting);
        let mut state = self.lock();
        match state.leave_senders(turn.key(ONLY)) {
            None => Ok(()),
            Some(item) if state.receiver_count == 0 => Err((item, Failure::Disconnected)),
            Some(item) => Err((item, Failure::TimedOut)),
        }
    }

    /// Receives, waiting for an item.
    pub(super) fn receive(&self, deadline: Option<Instant>) -> Result<T, Failure> {
        match self.try_receive() {
            Err(Failure::TimedOut) if can_park() => {}
            result => return result,
        }
        if self.spin(|hint| hint > 0) {
            match self.try_receive() {
                Err(Failure::TimedOut) => {}
                result => return result,
            }
        }
        let turn = Turn::new();
        let now = self.with(|state, wakes| match state.receive(wakes) {
            Some(item) => Some(Ok(item)),
            None if state.sender_count == 0 => Some(Err(Failure::Disconnected)),
            None => {
                state.wait_to_receive(Entry::new(&turn, ONLY, ()), wakes);
                None
            }
        });
        if let Some(result) = now {
            return result;
        }
        let waiting = Waiting { chan: self, side: Side::Receive, key: turn.key(ONLY) };
        turn.wait(deadline);
        std::mem::forget(waiting);
        let mut state = self.lock();
        state.leave_receivers(turn.key(ONLY));
        match state.take_given(turn.key(ONLY)) {
            Some(item) => Ok(item),
            None if state.sender_count == 0 => Err(Failure::Disconnected),
            None => Err(Failure::TimedOut),
        }
    }

    /// Looks for a moment whether the hint becomes good: cheaper than to sleep and be woken, if the other
    /// end is at work on another core. A greenlet does not: others on its thread could run.
    fn spin(&self, is_good: impl Fn(usize) -> bool) -> bool {
        let looks = if may_spin() { SPINS } else { 0 };
        (0..looks).any(|_| {
            std::hint::spin_loop();
            is_good(self.hint.load(Ordering::Relaxed))
        })
    }

    /// One more sender or receiver.
    pub(super) fn enter(&self, side: Side) {
        let mut state = self.lock();
        *count(&mut state, side) += 1;
    }

    /// One less.
    pub(super) fn leave(&self, side: Side) {
        let left: VecDeque<T> = self.with(|state, wakes| {
            let count = count(state, side);
            *count -= 1;
            if *count == 0 { state.disconnect(side, wakes) } else { VecDeque::new() }
        });
        // The items' destructors run while nothing is locked.
        drop(left);
    }
}

/// How many ends there are of one side.
fn count<T>(state: &mut State<T>, side: Side) -> &mut usize {
    match side {
        Side::Send => &mut state.sender_count,
        Side::Receive => &mut state.receiver_count,
    }
}

/// A wait that is under way. Dropped when it unwinds: leaves, and passes on what it was given.
struct Waiting<'a, T> {
    /// The channel.
    chan: &'a Chan<T>,
    /// What the wait is for.
    side: Side,
    /// Its name.
    key: Key,
}

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        let item = self.chan.with(|state, wakes| match self.side {
            Side::Send => state.leave_senders(self.key),
            Side::Receive => {
                state.leave_receivers(self.key);
                state.give_back(self.key, wakes);
                None
            }
        });
        // Its destructor runs while nothing is locked.
        drop(item);
    }
}

/// A channel whose type of items does not matter: what a `Select` needs of it.
pub(super) trait Selectable {
    /// Begins an operation if it needs no waiting.
    fn begin(&self, side: Side, turn: &Arc<Turn>, op: usize) -> bool;
    /// As `begin`; otherwise lets it wait.
    fn begin_or_wait(&self, side: Side, turn: &Arc<Turn>, op: usize) -> bool;
    /// Whether the operation needs no waiting; otherwise waits until it does not.
    fn ready_or_watch(&self, side: Side, turn: &Arc<Turn>, op: usize) -> bool;
    /// Ends the waits of an operation.
    fn leave(&self, side: Side, key: Key);
    /// The operation was begun and will not be done.
    fn give_back(&self, key: Key);
    /// Tells this channel from others.
    fn address(&self) -> usize;
}

impl<T> Selectable for Chan<T> {
    fn begin(&self, side: Side, turn: &Arc<Turn>, op: usize) -> bool {
        self.with(|state, wakes| state.begin(side, turn, op, wakes))
    }

    fn begin_or_wait(&self, side: Side, turn: &Arc<Turn>, op: usize) -> bool {
        self.with(|state, wakes| {
            if turn.chosen().is_some() || state.begin(side, turn, op, wakes) {
                return true;
            }
            match side {
                Side::Send => state.wait_to_send(Entry::new(turn, op, None), wakes),
                Side::Receive => state.wait_to_receive(Entry::new(turn, op, ()), wakes),
            }
            false
        })
    }

    fn ready_or_watch(&self, side: Side, turn: &Arc<Turn>, op: usize) -> bool {
        let mut state = self.lock();
        let is_ready = state.ready(side, None);
        if is_ready {
            turn.claim(op);
        } else {
            state.watch(Entry::new(turn, op, side));
        }
        is_ready
    }

    fn leave(&self, side: Side, key: Key) {
        let mut state = self.lock();
        match side {
            // An operation of a `Select` brings no item.
            Side::Send => drop(state.leave_senders(key)),
            Side::Receive => state.leave_receivers(key),
        }
        state.leave_watchers(key);
    }

    fn give_back(&self, key: Key) {
        self.with(|state, wakes| state.give_back(key, wakes));
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }
}
