//! What the three queues do, whatever the order of their items.
//!
//! ```text
//!   putters ──▶ [ store ] ──▶ getters
//!   wait with    up to        wait with a place
//!   their item   `capacity`   for an item
//! ```
//!
//! Between two calls it holds that
//!
//! 1. a getter waits only while the store is empty and no putter waits (but see `lent`),
//! 2. a putter waits only while the store is full.
//!
//! So `put` hands its item to the first getter, or else stores it, or else waits with it; and what
//! makes room (`get`) moves the item of the first putter into the store. An item is always in one
//! place: with its putter, in the store, or with its getter; whoever is killed or times out first
//! drops or returns what is his, and nobody else's.

use std::cell::Cell;
use std::fmt;
use std::time::{Duration, Instant};

use sward_runtime::lowlevel::{WaitQueue, Waited, can_park};

use super::error::{Closed, GetTimeoutError, PutTimeoutError, TryGetError, TryPutError};
use super::store::Store;
use crate::limit;

/// The capacity of a queue without one.
pub(super) const UNBOUNDED: usize = usize::MAX;

/// The names of a queue's calls, for reports.
pub(super) struct Names {
    /// The type.
    pub(super) queue: &'static str,
    /// Its `put`.
    pub(super) put: &'static str,
    /// Its `get`.
    pub(super) get: &'static str,
    /// Its `peek`.
    pub(super) peek: &'static str,
    /// Its `join`.
    pub(super) join: &'static str,
}

/// A queue.
pub(super) struct Core<S: Store> {
    /// The items.
    store: S,
    /// Who waits for an item; woken without one, the queue is closed.
    getters: WaitQueue<Option<S::Item>>,
    /// Who waits to put an item; woken with it, the queue is closed.
    putters: WaitQueue<Option<S::Item>>,
    /// Who waits for an item to look at. Woken to look again.
    peekers: WaitQueue,
    /// Who waits in `wait_any` for something to get.
    watchers: WaitQueue,
    /// Who waits for `unfinished` to become 0.
    joiners: WaitQueue,
    /// How many items the store may hold.
    capacity: usize,
    /// Items that are out of the store for a moment, for `peek` to clone them.
    lent: Cell<usize>,
    /// Items put, less calls of `task_done`.
    unfinished: Cell<usize>,
    /// Whether `close` was called.
    closed: Cell<bool>,
    /// What the queue and its calls are called.
    names: &'static Names,
}

impl<S: Store> Core<S> {
    /// A queue of up to `capacity` items.
    pub(super) const fn new(store: S, capacity: usize, names: &'static Names) -> Core<S> {
        Core {
            store,
            getters: WaitQueue::new(),
            putters: WaitQueue::new(),
            peekers: WaitQueue::new(),
            watchers: WaitQueue::new(),
            joiners: WaitQueue::new(),
            capacity,
            lent: Cell::new(0),
            unfinished: Cell::new(0),
            closed: Cell::new(false),
            names,
        }
    }

    /// `put`.
    #[inline]
    pub(super) fn put(&self, item: S::Item) -> Result<(), Closed<S::Item>> {
        match self.try_put(item) {
            Ok(()) => Ok(()),
            Err(TryPutError::Full(item)) if can_park() => match self.wait_to_put(item, None) {
                Ok(()) => Ok(()),
                Err(PutTimeoutError::Closed(item) | PutTimeoutError::Timeout(item)) => Err(Closed(item)),
            },
            Err(error) => Err(Closed(error.into_inner())),
        }
    }

    /// `try_put`.
    #[inline]
    pub(super) fn try_put(&self, item: S::Item) -> Result<(), TryPutError<S::Item>> {
        if self.closed.get() {
            return Err(TryPutError::Closed(item));
        }
        match self.offer(item) {
            Ok(()) => {
                self.count_put();
                Ok(())
            }
            Err(item) => Err(TryPutError::Full(item)),
        }
    }

    /// `put_timeout`.
    pub(super) fn put_timeout(&self, item: S::Item, limit: Duration) -> Result<(), PutTimeoutError<S::Item>> {
        match self.try_put(item) {
            Ok(()) => Ok(()),
            Err(TryPutError::Closed(item)) => Err(PutTimeoutError::Closed(item)),
            Err(TryPutError::Full(item)) if can_park() => self.wait_to_put(item, limit::deadline(limit)),
            Err(TryPutError::Full(item)) => Err(PutTimeoutError::Timeout(item)),
        }
    }

    /// `get`.
    #[inline]
    pub(super) fn get(&self) -> Option<S::Item> {
        match self.try_get() {
            Err(TryGetError::Empty) if can_park() => self.wait_to_get(None).ok(),
            result => result.ok(),
        }
    }

    /// `try_get`.
    #[inline]
    pub(super) fn try_get(&self) -> Result<S::Item, TryGetError> {
        match self.take() {
            Some(item) => Ok(item),
            None if self.closed.get() => Err(TryGetError::Closed),
            None => Err(TryGetError::Empty),
        }
    }

    /// `get_timeout`.
    pub(super) fn get_timeout(&self, limit: Duration) -> Result<S::Item, GetTimeoutError> {
        match self.try_get() {
            Ok(item) => Ok(item),
            Err(TryGetError::Closed) => Err(GetTimeoutError::Closed),
            Err(TryGetError::Empty) if can_park() => self.wait_to_get(limit::deadline(limit)),
            Err(TryGetError::Empty) => Err(GetTimeoutError::Timeout),
        }
    }

    /// `close`.
    pub(super) fn close(&self) {
        self.closed.set(true);
        self.getters.wake_all();
        self.putters.wake_all();
        self.peekers.wake_all();
        self.watchers.wake_all();
    }

    /// `is_closed`.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// `len`.
    pub(super) fn len(&self) -> usize {
        self.store.len() + self.lent.get()
    }

    /// `is_full`.
    pub(super) fn is_full(&self) -> bool {
        self.len() >= self.capacity
    }

    /// `capacity`.
    pub(super) fn capacity(&self) -> Option<usize> {
        (self.capacity != UNBOUNDED).then_some(self.capacity)
    }

    /// `task_done`.
    #[track_caller]
    pub(super) fn task_done(&self) {
        let Some(unfinished) = self.unfinished.get().checked_sub(1) else {
            panic!("{}::task_done was called more often than items were put", self.names.queue);
        };
        self.unfinished.set(unfinished);
        if unfinished == 0 {
            self.joiners.wake_all();
        }
    }

    /// `join`.
    pub(super) fn join(&self) {
        if self.unfinished.get() > 0 {
            self.joiners.wait(self.names.join, (), None);
        }
    }

    /// Whether there is something to get, or will never be.
    pub(super) fn ready(&self) -> bool {
        self.store.len() > 0 || self.closed.get() || (self.capacity == 0 && !self.putters.is_empty())
    }

    /// Who waits for that.
    pub(super) fn watchers(&self) -> &WaitQueue {
        &self.watchers
    }

    /// Notes that an item has come in.
    #[inline]
    fn count_put(&self) {
        self.unfinished.set(self.unfinished.get() + 1);
    }

    /// Hands the item to the first getter, or stores it; gives it back if there is neither getter
    /// nor room.
    #[inline]
    fn offer(&self, item: S::Item) -> Result<(), S::Item> {
        let mut item = Some(item);
        if self.getters.wake_one_with(|place| *place = item.take()).is_some() {
            return Ok(());
        }
        match item {
            Some(item) if self.is_full() => Err(item),
            Some(item) => {
                self.keep(item);
                self.announce();
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Something can be got that was not there before.
    #[inline]
    fn announce(&self) {
        self.peekers.wake_all();
        self.watchers.wake_all();
    }

    /// Takes the next item, and lets putters fill the room it leaves.
    #[inline]
    fn take(&self) -> Option<S::Item> {
        let item = self.store.pop();
        if item.is_some() {
            self.refill();
            return item;
        }
        if self.capacity == 0 { self.take_from_putter() } else { None }
    }

    /// Takes the item of the first putter who has one (`peek` may have borrowed it).
    #[inline]
    fn take_from_putter(&self) -> Option<S::Item> {
        while let Some(item) = self.putters.wake_one_with(Option::take) {
            if item.is_some() {
                self.count_put();
                return item;
            }
        }
        None
    }

    /// Moves the items of putters into the store, as long as there is room.
    #[inline]
    fn refill(&self) {
        while !self.closed.get()
            && !self.is_full()
            && let Some(item) = self.take_from_putter()
        {
            self.keep(item);
        }
    }

    /// Puts an item into the store.
    #[inline]
    fn keep(&self, item: S::Item) {
        self.store.push(item);
        if S::COMPARES {
            self.settle();
        }
    }

    /// Serves getters that found the store empty only because its items were out for a moment: while
    /// `cmp` or `clone`, which are the user's code, let other greenlets run.
    fn settle(&self) {
        while !self.getters.is_empty()
            && let Some(item) = self.take()
        {
            // Stored again, if `cmp` has driven the getters away.
            let _ = self.offer(item).map_err(|item| self.store.push(item));
        }
    }

    /// Waits to put an item for which there is no room.
    fn wait_to_put(&self, item: S::Item, deadline: Option<Instant>) -> Result<(), PutTimeoutError<S::Item>> {
        if self.capacity == 0 {
            // From the moment at which it waits the item can be got. Nobody runs before that.
            self.announce();
        }
        match self.putters.wait(self.names.put, Some(item), deadline) {
            Waited::Woken(None) | Waited::TimedOut(None) => Ok(()),
            Waited::Woken(Some(item)) => Err(PutTimeoutError::Closed(item)),
            // There may be room since the same turn.
            Waited::TimedOut(Some(item)) => match self.try_put(item) {
                Ok(()) => Ok(()),
                Err(TryPutError::Full(item)) => Err(PutTimeoutError::Timeout(item)),
                Err(TryPutError::Closed(item)) => Err(PutTimeoutError::Closed(item)),
            },
        }
    }

    /// Waits for an item.
    fn wait_to_get(&self, deadline: Option<Instant>) -> Result<S::Item, GetTimeoutError> {
        let item = match self.getters.wait(self.names.get, None, deadline) {
            Waited::Woken(Some(item)) | Waited::TimedOut(Some(item)) => Some(item),
            // Closed; or the limit passed, but something may have come in the same turn.
            Waited::Woken(None) | Waited::TimedOut(None) => self.take(),
        };
        match item {
            Some(item) => Ok(item),
            None if self.closed.get() => Err(GetTimeoutError::Closed),
            None => Err(GetTimeoutError::Timeout),
        }
    }
}

impl<S: Store> Core<S>
where
    S::Item: Clone,
{
    /// `peek`.
    pub(super) fn peek(&self) -> Option<S::Item> {
        loop {
            if let Some(lent) = self.lend() {
                return lent.item.clone();
            }
            if self.closed.get() || !can_park() {
                return None;
            }
            self.peekers.wait(self.names.peek, (), None);
        }
    }

    /// Takes the next item out to be cloned: by code of the user's, which may use this queue.
    fn lend(&self) -> Option<Lent<'_, S>> {
        let (item, place) = match self.store.lend() {
            Some((item, place)) => (item, Some(place)),
            // An item of a rendezvous is with its putter, who goes on waiting.
            None if self.capacity == 0 && !self.closed.get() => (self.putters.with_first(Option::take)??, None),
            None => return None,
        };
        self.lent.set(self.lent.get() + usize::from(place.is_some()));
        Some(Lent { item: Some(item), place, core: self })
    }
}

/// An item that is out of the queue to be looked at. It goes back when this is dropped.
struct Lent<'a, S: Store> {
    /// The item.
    item: Option<S::Item>,
    /// Its place in the store; `None` if a waiting putter has it.
    place: Option<S::Place>,
    /// Where it goes back.
    core: &'a Core<S>,
}

impl<S: Store> Drop for Lent<'_, S> {
    fn drop(&mut self) {
        let core = self.core;
        match self.place {
            Some(place) => {
                core.lent.set(core.lent.get() - 1);
                if let Some(item) = self.item.take() {
                    core.store.put_back(item, place);
                }
            }
            None => {
                core.putters.with_first(|slot| match slot {
                    Some(_) => {}
                    None => *slot = self.item.take(),
                });
            }
        }
        // Left over only if `clone` let others run, and the putter has gone meanwhile.
        if let Some(item) = self.item.take() {
            core.count_put();
            core.store.push(item);
            core.announce();
        }
        core.settle();
    }
}

impl<S: Store> fmt::Debug for Core<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let readers = self.getters.len() + self.peekers.len() + self.watchers.len();
        f.debug_struct(self.names.queue)
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("closed", &self.closed.get())
            .field("unfinished", &self.unfinished.get())
            .field("waiters", &(readers + self.putters.len() + self.joiners.len()))
            .finish()
    }
}
