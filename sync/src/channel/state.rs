//! A channel under its lock: items, and who waits. Nothing here blocks or runs code of the user's.
//!
//! ```text
//!   senders ──▶ [ items ] ──▶ receivers ──▶ given
//!   wait with    up to         wait          handed over,
//!   their item   `capacity`                  not fetched yet
//! ```
//!
//! A receiver waits only while there are no items, a sender only while there is no room. A sender
//! that waits in a `Select` brings no item, since it decides what to send when it has been chosen:
//! it is given a *reservation* instead, room for one item that it may always put.

use std::collections::VecDeque;
use std::sync::Arc;

use super::turn::{Key, Turn, Wakes};

/// Somebody who waits.
pub(super) struct Entry<V> {
    /// The wait.
    turn: Arc<Turn>,
    /// Which of its operations.
    op: usize,
    /// What it brings.
    value: V,
}

impl<V> Entry<V> {
    /// Operation `op` of a wait.
    pub(super) fn new(turn: &Arc<Turn>, op: usize, value: V) -> Entry<V> {
        Entry { turn: turn.clone(), op, value }
    }

    /// The operation's name.
    fn key(&self) -> Key {
        self.turn.key(self.op)
    }
}

/// Those who wait, first come first.
type Line<V> = VecDeque<Entry<V>>;

/// What a channel consists of.
pub(super) struct State<T> {
    /// Items that were sent and not received.
    items: VecDeque<T>,
    /// How many items may be there.
    pub(super) capacity: usize,
    /// Senders of a `Select` that were chosen and have not sent yet.
    reserved: Vec<Key>,
    /// Items that were handed to receivers who have not run yet.
    given: Vec<(Key, T)>,
    /// Who waits to receive.
    receivers: Line<()>,
    /// Who waits to send; in a `Select` without an item.
    senders: Line<Option<T>>,
    /// Who waits, in `Select::ready`, until something can be received or sent.
    watchers: Line<Side>,
    /// How many `Sender`s there are.
    pub(super) sender_count: usize,
    /// How many `Receiver`s there are.
    pub(super) receiver_count: usize,
}

/// What a wait is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// To send.
    Send,
    /// To receive.
    Receive,
}

/// Why an item was not sent.
pub(super) enum Refused<T> {
    /// There is no room.
    Full(T),
    /// There is no receiver.
    Disconnected(T),
}

impl<T> State<T> {
    /// An empty channel with one sender and one receiver.
    pub(super) fn new(capacity: usize) -> State<T> {
        State {
            items: VecDeque::new(),
            capacity,
            reserved: Vec::new(),
            given: Vec::new(),
            receivers: Line::new(),
            senders: Line::new(),
            watchers: Line::new(),
            sender_count: 1,
            receiver_count: 1,
        }
    }

    /// How many items are there.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// How many items a receiver could have.
    pub(super) fn offered(&self) -> usize {
        self.items.len() + self.senders.len()
    }

    /// Moves all items into `batch`, which is empty.
    pub(super) fn take_all(&mut self, batch: &mut VecDeque<T>) {
        std::mem::swap(&mut self.items, batch);
    }

    /// Puts the items of `batch` before the others.
    pub(super) fn put_first(&mut self, batch: &mut VecDeque<T>) {
        if !batch.is_empty() {
            batch.append(&mut self.items);
            std::mem::swap(&mut self.items, batch);
        }
    }

    /// How many wait.
    pub(super) fn waiters(&self) -> usize {
        self.receivers.len() + self.senders.len() + self.watchers.len()
    }

    /// Sends an item if that needs no waiting.
    #[inline]
    pub(super) fn send(&mut self, item: T, wakes: &mut Wakes) -> Result<(), Refused<T>> {
        if self.receiver_count == 0 {
            return Err(Refused::Disconnected(item));
        }
        if self.items.len() + self.reserved.len() < self.capacity {
            self.deliver(item, wakes);
            return Ok(());
        }
        // A rendezvous: only a receiver who waits will do.
        match claim_first(&mut self.receivers) {
            Some(receiver) => {
                self.give(receiver, item, wakes);
                Ok(())
            }
            None => Err(Refused::Full(item)),
        }
    }

    /// Receives an item if that needs no waiting.
    #[inline]
    pub(super) fn receive(&mut self, wakes: &mut Wakes) -> Option<T> {
        if let Some(item) = self.items.pop_front() {
            self.refill(wakes);
            return Some(item);
        }
        if self.capacity > 0 {
            return None;
        }
        let mut with_item = self.senders.iter().enumerate().filter(|(_, sender)| sender.value.is_some());
        if let Some((index, _)) = with_item.find(|(_, sender)| sender.turn.claim(sender.op)) {
            let sender = self.senders.remove(index)?;
            wakes.push(sender.turn);
            return sender.value;
        }
        // Nobody who brought an item: perhaps somebody in a `Select`, whose item comes when he runs.
        self.invite(1, wakes);
        None
    }

    /// Sends the item of a chosen sender of a `Select`.
    pub(super) fn send_reserved(&mut self, key: Key, item: T, wakes: &mut Wakes) -> Result<(), T> {
        if !self.take_reservation(key) || self.receiver_count == 0 {
            return Err(item);
        }
        self.deliver(item, wakes);
        self.refill(wakes);
        Ok(())
    }

    /// Takes what was handed to a receiver.
    pub(super) fn take_given(&mut self, key: Key) -> Option<T> {
        let index = self.given.iter().position(|(owner, _)| *owner == key)?;
        Some(self.given.swap_remove(index).1)
    }

    /// Lets a receiver wait.
    pub(super) fn wait_to_receive(&mut self, entry: Entry<()>, wakes: &mut Wakes) {
        self.receivers.push_back(entry);
        if self.capacity == 0 {
            self.invite(0, wakes);
            self.announce(Side::Send, wakes);
        }
    }

    /// Lets a sender wait.
    pub(super) fn wait_to_send(&mut self, entry: Entry<Option<T>>, wakes: &mut Wakes) {
        self.senders.push_back(entry);
        if self.capacity == 0 {
            self.announce(Side::Receive, wakes);
        }
    }

    /// Lets somebody wait until `ready(side)`.
    pub(super) fn watch(&mut self, entry: Entry<Side>) {
        self.watchers.push_back(entry);
    }

    /// Ends the wait of a sender; gives back the item that it brought, if it was not sent.
    pub(super) fn leave_senders(&mut self, key: Key) -> Option<T> {
        remove(&mut self.senders, key)?.value
    }

    /// Ends the wait of a receiver.
    pub(super) fn leave_receivers(&mut self, key: Key) {
        remove(&mut self.receivers, key);
    }

    /// Ends a watch.
    pub(super) fn leave_watchers(&mut self, key: Key) {
        remove(&mut self.watchers, key);
    }

    /// Undoes what was done for somebody who cannot use it: an item goes to the next receiver or back
    /// to the front, a reservation to the next sender.
    pub(super) fn give_back(&mut self, key: Key, wakes: &mut Wakes) {
        if let Some(item) = self.take_given(key) {
            match claim_first(&mut self.receivers) {
                Some(receiver) => self.give(receiver, item, wakes),
                None => {
                    self.items.push_front(item);
                    self.announce(Side::Receive, wakes);
                }
            }
        }
        if self.take_reservation(key) {
            self.refill(wakes);
        }
    }

    /// Does an operation of a `Select`, or at least what makes sure that it can be done, if that needs
    /// no waiting; false if it does.
    pub(super) fn begin(&mut self, side: Side, turn: &Arc<Turn>, op: usize, wakes: &mut Wakes) -> bool {
        if !self.ready(side, Some(turn)) || !turn.claim(op) {
            return false;
        }
        match side {
            Side::Receive => {
                if let Some(item) = self.receive(wakes) {
                    self.given.push((turn.key(op), item));
                }
            }
            Side::Send if self.receiver_count > 0 => self.reserved.push(turn.key(op)),
            Side::Send => {}
        }
        true
    }

    /// Whether an operation needs no waiting, be it that it fails. What `except` waits for does not
    /// count: it cannot meet itself.
    pub(super) fn ready(&self, side: Side, except: Option<&Arc<Turn>>) -> bool {
        match side {
            Side::Receive => {
                let from_sender = |sender: &Entry<Option<T>>| sender.value.is_some() && is_other(&sender.turn, except);
                !self.items.is_empty()
                    || self.sender_count == 0
                    || (self.capacity == 0 && self.senders.iter().any(from_sender))
            }
            Side::Send => {
                let used = self.items.len() + self.reserved.len();
                let waiting = || self.receivers.iter().filter(|receiver| is_other(&receiver.turn, except)).count();
                self.receiver_count == 0 || used < self.capacity || (self.capacity == 0 && used < waiting())
            }
        }
    }

    /// A rendezvous: lets senders of a `Select` send, as many as there are others who wait to receive, and
    /// at least up to `least` in all.
    fn invite(&mut self, least: usize, wakes: &mut Wakes) {
        loop {
            let used = self.items.len() + self.reserved.len();
            let receivers = &self.receivers;
            let is_wanted = |sender: &Entry<Option<T>>| {
                let others = receivers.iter().filter(|receiver| is_other(&receiver.turn, Some(&sender.turn)));
                sender.value.is_none() && used < others.count().max(least)
            };
            let mut wanted = self.senders.iter().enumerate().filter(|(_, sender)| is_wanted(sender));
            let Some((index, _)) = wanted.find(|(_, sender)| sender.turn.claim(sender.op)) else { return };
            if let Some(sender) = self.senders.remove(index) {
                self.reserved.push(sender.key());
                wakes.push(sender.turn);
            }
        }
    }

    /// The last sender or receiver has gone. Gives back the items that nobody will receive, to be
    /// dropped once the channel is not locked.
    pub(super) fn disconnect(&mut self, side: Side, wakes: &mut Wakes) -> VecDeque<T> {
        // They stay in line: that is how they see that they were not served.
        end_all(&self.receivers, wakes);
        end_all(&self.senders, wakes);
        end_all(&self.watchers, wakes);
        match side {
            Side::Send => VecDeque::new(),
            Side::Receive => std::mem::take(&mut self.items),
        }
    }

    /// Gives an item that may go in to the first who waits, or keeps it.
    #[inline]
    fn deliver(&mut self, item: T, wakes: &mut Wakes) {
        match claim_first(&mut self.receivers) {
            Some(receiver) => self.give(receiver, item, wakes),
            None => {
                self.items.push_back(item);
                self.announce(Side::Receive, wakes);
            }
        }
    }

    /// Hands an item to a receiver who was claimed.
    fn give(&mut self, receiver: Entry<()>, item: T, wakes: &mut Wakes) {
        self.given.push((receiver.key(), item));
        wakes.push(receiver.turn);
    }

    /// Lets senders fill the room that there is.
    #[inline]
    fn refill(&mut self, wakes: &mut Wakes) {
        if self.capacity == 0 {
            return self.invite(0, wakes);
        }
        while self.items.len() + self.reserved.len() < self.capacity {
            let Some(sender) = claim_first(&mut self.senders) else {
                return self.announce(Side::Send, wakes);
            };
            let key = sender.key();
            wakes.push(sender.turn);
            match sender.value {
                Some(item) => self.deliver(item, wakes),
                None => self.reserved.push(key),
            }
        }
    }

    /// Takes a reservation; false if there is none of that name.
    fn take_reservation(&mut self, key: Key) -> bool {
        let index = self.reserved.iter().position(|owner| *owner == key);
        index.map(|index| self.reserved.swap_remove(index)).is_some()
    }

    /// Ends the watches for `side`.
    #[inline]
    fn announce(&mut self, side: Side, wakes: &mut Wakes) {
        if self.watchers.is_empty() {
            return;
        }
        self.watchers.retain(|watcher| {
            let is_over = watcher.value == side;
            if is_over && watcher.turn.claim(watcher.op) {
                wakes.push(watcher.turn.clone());
            }
            !is_over
        });
    }
}

/// Whether a wait goes on and is not `except`: nobody meets himself.
fn is_other(turn: &Arc<Turn>, except: Option<&Arc<Turn>>) -> bool {
    turn.chosen().is_none() && !except.is_some_and(|except| Arc::ptr_eq(except, turn))
}

/// Takes the first who can be claimed out of a line; those who were claimed elsewhere leave it.
#[inline]
fn claim_first<V>(line: &mut Line<V>) -> Option<Entry<V>> {
    while let Some(entry) = line.pop_front() {
        if entry.turn.claim(entry.op) {
            return Some(entry);
        }
    }
    None
}

/// Takes an operation out of a line.
fn remove<V>(line: &mut Line<V>, key: Key) -> Option<Entry<V>> {
    let index = line.iter().position(|entry| entry.key() == key)?;
    line.remove(index)
}

/// Ends the waits of all in a line, who stay in it.
fn end_all<V>(line: &Line<V>, wakes: &mut Wakes) {
    for entry in line {
        if entry.turn.claim(entry.op) {
            wakes.push(entry.turn.clone());
        }
    }
}
