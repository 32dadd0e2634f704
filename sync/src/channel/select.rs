//! Waiting for several channels, to do one operation of them.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{RecvError, SendError};
use std::time::{Duration, Instant};

use sward_runtime::lowlevel::can_park;

use super::chan::Selectable;
use super::error::{ReadyTimeoutError, SelectTimeoutError, TryReadyError, TrySelectError};
use super::receiver::Receiver;
use super::sender::Sender;
use super::state::Side;
use super::turn::Turn;
use crate::limit;

/// Operations on several channels, of which exactly one is to be done: the first that can.
///
/// If several can be done at once, they take turns: the search begins behind the one that was chosen
/// last by this `Select`, the first time with the first.
///
/// # Differences from crossbeam's `Select`
///
/// The choice is not random but in turns. Dropping a [`SelectedOperation`] does not panic: it
/// undoes the choice, and nothing is lost. On a rendezvous channel a receiver who gives up at the very
/// moment at which he was chosen to meet a `Select`'s sender leaves its item to the next receiver.
///
/// ```
/// use sward::sync::channel::{Select, unbounded};
///
/// let (tx, numbers) = unbounded();
/// let (_keep, words) = unbounded::<&str>();
/// tx.send(7).unwrap();
///
/// let mut select = Select::new();
/// let (first, second) = (select.recv(&numbers), select.recv(&words));
/// let operation = select.select();
/// match operation.index() {
///     i if i == first => assert_eq!(operation.recv(&numbers), Ok(7)),
///     i if i == second => println!("{:?}", operation.recv(&words)),
///     _ => unreachable!(),
/// }
/// ```
#[derive(Clone, Default)]
pub struct Select<'a> {
    /// The operations, by index; `None` is one that was removed.
    operations: Vec<Option<Operation<'a>>>,
    /// Where the search begins.
    start: usize,
}

/// An operation on a channel.
#[derive(Clone, Copy)]
struct Operation<'a> {
    /// The channel.
    chan: &'a dyn Selectable,
    /// Which end.
    side: Side,
}

impl<'a> Select<'a> {
    /// Without operations.
    ///
    /// ```
    /// assert!(sward::sync::channel::Select::new().try_select().is_err());
    /// ```
    pub fn new() -> Select<'a> {
        Select::default()
    }

    /// Adds "send on `sender`" and returns its index.
    ///
    /// ```
    /// let (tx, _rx) = sward::sync::channel::bounded::<u32>(1);
    /// assert_eq!(sward::sync::channel::Select::new().send(&tx), 0);
    /// ```
    pub fn send<T>(&mut self, sender: &'a Sender<T>) -> usize {
        self.add(sender.chan(), Side::Send)
    }

    /// Adds "receive on `receiver`" and returns its index.
    ///
    /// ```
    /// let (_tx, rx) = sward::sync::channel::bounded::<u32>(1);
    /// assert_eq!(sward::sync::channel::Select::new().recv(&rx), 0);
    /// ```
    pub fn recv<T>(&mut self, receiver: &'a Receiver<T>) -> usize {
        self.add(receiver.chan(), Side::Receive)
    }

    /// Takes the operation with this index out, for example because its channel is disconnected.
    ///
    /// # Panics
    ///
    /// If there is no such operation.
    ///
    /// ```
    /// let (_tx, rx) = sward::sync::channel::bounded::<u32>(1);
    /// let mut select = sward::sync::channel::Select::new();
    /// let index = select.recv(&rx);
    /// select.remove(index);
    /// ```
    #[track_caller]
    pub fn remove(&mut self, index: usize) {
        let operation = self.operations.get_mut(index).and_then(Option::take);
        assert!(operation.is_some(), "Select::remove: there is no operation {index}");
    }

    /// Waits until one operation can be done, and chooses it: it must now be done with
    /// [`SelectedOperation::send`] or `recv`. One that fails (its channel is disconnected) can be done
    /// too. Blocks the greenlet.
    ///
    /// # Panics
    ///
    /// If there are no operations.
    ///
    /// ```
    /// let (tx, rx) = sward::sync::channel::bounded(1);
    /// let mut select = sward::sync::channel::Select::new();
    /// select.send(&tx);
    /// select.select().send(&tx, 1).unwrap();
    /// assert_eq!(rx.recv(), Ok(1));
    /// ```
    #[track_caller]
    pub fn select(&mut self) -> SelectedOperation<'a> {
        assert!(!self.is_empty(), "Select::select needs an operation to wait for");
        match self.choose(None) {
            Some(operation) => operation,
            None => panic!("Select::select cannot wait in a destructor that runs in an unwinding"),
        }
    }

    /// Chooses an operation that can be done without waiting.
    ///
    /// # Errors
    ///
    /// If there is none.
    ///
    /// ```
    /// let (_tx, rx) = sward::sync::channel::bounded::<u32>(1);
    /// let mut select = sward::sync::channel::Select::new();
    /// select.recv(&rx);
    /// assert!(select.try_select().is_err());
    /// ```
    pub fn try_select(&mut self) -> Result<SelectedOperation<'a>, TrySelectError> {
        self.try_choose(&Turn::new()).ok_or(TrySelectError)
    }

    /// As [`select`](Select::select), for at most `limit`. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// If the limit passes first.
    ///
    /// # Panics
    ///
    /// Never on its own account.
    ///
    /// ```
    /// use std::time::Duration;
    /// let (_tx, rx) = sward::sync::channel::bounded::<u32>(1);
    /// let mut select = sward::sync::channel::Select::new();
    /// select.recv(&rx);
    /// assert!(select.select_timeout(Duration::from_millis(1)).is_err());
    /// ```
    pub fn select_timeout(&mut self, limit: Duration) -> Result<SelectedOperation<'a>, SelectTimeoutError> {
        let deadline = limit::deadline(limit);
        self.choose(deadline).ok_or(SelectTimeoutError)
    }

    /// As [`select`](Select::select), until `deadline`. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// If the deadline passes first.
    ///
    /// # Panics
    ///
    /// Never on its own account.
    ///
    /// ```
    /// use std::time::Instant;
    /// let (_tx, rx) = sward::sync::channel::bounded::<u32>(1);
    /// let mut select = sward::sync::channel::Select::new();
    /// select.recv(&rx);
    /// assert!(select.select_deadline(Instant::now()).is_err());
    /// ```
    pub fn select_deadline(&mut self, deadline: Instant) -> Result<SelectedOperation<'a>, SelectTimeoutError> {
        self.choose(Some(deadline)).ok_or(SelectTimeoutError)
    }

    /// Waits until an operation can be done and returns its index, without choosing it: somebody else
    /// may be quicker. Blocks the greenlet.
    ///
    /// # Panics
    ///
    /// If there are no operations.
    ///
    /// ```
    /// let (tx, rx) = sward::sync::channel::bounded(1);
    /// tx.send(1).unwrap();
    /// let mut select = sward::sync::channel::Select::new();
    /// let index = select.recv(&rx);
    /// assert_eq!(select.ready(), index);
    /// assert_eq!(rx.try_recv(), Ok(1));
    /// ```
    #[track_caller]
    pub fn ready(&mut self) -> usize {
        assert!(!self.is_empty(), "Select::ready needs an operation to wait for");
        match self.watch(None) {
            Some(index) => index,
            None => panic!("Select::ready cannot wait in a destructor that runs in an unwinding"),
        }
    }

    /// The index of an operation that can be done now.
    ///
    /// # Errors
    ///
    /// If there is none.
    ///
    /// ```
    /// let (tx, _rx) = sward::sync::channel::bounded::<u32>(1);
    /// let mut select = sward::sync::channel::Select::new();
    /// let index = select.send(&tx);
    /// assert_eq!(select.try_ready(), Ok(index));
    /// ```
    pub fn try_ready(&mut self) -> Result<usize, TryReadyError> {
        self.watch(Some(Instant::now())).ok_or(TryReadyError)
    }

    /// As [`ready`](Select::ready), for at most `limit`. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// If the limit passes first.
    ///
    /// # Panics
    ///
    /// Never on its own account.
    ///
    /// ```
    /// use std::time::Duration;
    /// let (_tx, rx) = sward::sync::channel::bounded::<u32>(1);
    /// let mut select = sward::sync::channel::Select::new();
    /// select.recv(&rx);
    /// assert!(select.ready_timeout(Duration::from_millis(1)).is_err());
    /// ```
    pub fn ready_timeout(&mut self, limit: Duration) -> Result<usize, ReadyTimeoutError> {
        let deadline = limit::deadline(limit);
        self.watch(deadline).ok_or(ReadyTimeoutError)
    }

    /// Whether there is no operation.
    fn is_empty(&self) -> bool {
        self.operations.iter().all(Option::is_none)
    }

    /// Adds an operation.
    fn add(&mut self, chan: &'a dyn Selectable, side: Side) -> usize {
        self.operations.push(Some(Operation { chan, side }));
        self.operations.len() - 1
    }

    /// The operations with their indices, in the order in which they are tried.
    fn in_turn(&self) -> impl Iterator<Item = (usize, Operation<'a>)> + '_ {
        let count = self.operations.len();
        let indices = (0..count).map(move |i| (self.start + i) % count);
        indices.filter_map(|index| Some((index, self.operations[index]?)))
    }

    /// Chooses an operation that needs no waiting.
    fn try_choose(&mut self, turn: &Arc<Turn>) -> Option<SelectedOperation<'a>> {
        let chosen = self.in_turn().find(|(index, operation)| operation.chan.begin(operation.side, turn, *index));
        chosen.and_then(|(index, _)| self.selected(turn, index))
    }

    /// Chooses an operation; waits for one that can be done.
    fn choose(&mut self, deadline: Option<Instant>) -> Option<SelectedOperation<'a>> {
        let turn = Turn::new();
        if let Some(operation) = self.try_choose(&turn) {
            return Some(operation);
        }
        if !can_park() {
            return None;
        }
        let mut lines = Lines { select: self, turn: &turn, keep: false };
        if !self.in_turn().any(|(index, operation)| operation.chan.begin_or_wait(operation.side, &turn, index)) {
            turn.wait(deadline);
        }
        lines.keep = true;
        drop(lines);
        turn.chosen().and_then(|index| self.selected(&turn, index))
    }

    /// Waits for an operation that can be done.
    fn watch(&mut self, deadline: Option<Instant>) -> Option<usize> {
        let turn = Turn::new();
        let lines = Lines { select: self, turn: &turn, keep: false };
        let is_ready =
            self.in_turn().any(|(index, operation)| operation.chan.ready_or_watch(operation.side, &turn, index));
        let is_over = deadline.is_some_and(|instant| instant <= Instant::now());
        if !is_ready && !is_over && can_park() {
            turn.wait(deadline);
        }
        drop(lines);
        let index = turn.chosen()?;
        self.start = index + 1;
        Some(index)
    }

    /// The operation that was chosen.
    fn selected(&mut self, turn: &Arc<Turn>, index: usize) -> Option<SelectedOperation<'a>> {
        self.start = index + 1;
        let operation = self.operations[index]?;
        Some(SelectedOperation { operation, index, turn: turn.clone(), done: false })
    }
}

impl fmt::Debug for Select<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Select").field("operations", &self.operations.len()).finish()
    }
}

/// The entries of a wait in the lines of its channels; taken out when dropped.
struct Lines<'s, 'a> {
    /// The operations.
    select: &'s Select<'a>,
    /// The wait.
    turn: &'s Arc<Turn>,
    /// Whether what was chosen will be done; not if the wait unwinds.
    keep: bool,
}

impl Drop for Lines<'_, '_> {
    fn drop(&mut self) {
        for (index, operation) in self.select.in_turn() {
            operation.chan.leave(operation.side, self.turn.key(index));
        }
        if !self.keep
            && let Some(index) = self.turn.chosen()
            && let Some(operation) = self.select.operations[index]
        {
            operation.chan.give_back(self.turn.key(index));
        }
    }
}

/// The operation that a [`Select`] has chosen, to be done now. Dropped without that, it is undone.
///
/// ```
/// use sward::sync::channel::{Select, bounded};
/// let (tx, rx) = bounded(1);
/// tx.send(1).unwrap();
/// let mut select = Select::new();
/// select.recv(&rx);
/// drop(select.select());
/// assert_eq!(rx.recv(), Ok(1)); // nothing was lost
/// ```
#[must_use = "the chosen operation has to be done"]
pub struct SelectedOperation<'a> {
    /// The operation.
    operation: Operation<'a>,
    /// Its index.
    index: usize,
    /// The wait that chose it.
    turn: Arc<Turn>,
    /// Whether it was done.
    done: bool,
}

impl SelectedOperation<'_> {
    /// The index that `Select::send` or `Select::recv` returned.
    ///
    /// ```
    /// let (tx, _rx) = sward::sync::channel::bounded::<u32>(1);
    /// let mut select = sward::sync::channel::Select::new();
    /// let index = select.send(&tx);
    /// assert_eq!(select.select().index(), index);
    /// ```
    pub fn index(&self) -> usize {
        self.index
    }

    /// Sends; does not wait.
    ///
    /// # Errors
    ///
    /// The item comes back if there is no receiver.
    ///
    /// # Panics
    ///
    /// If this operation is not sending on `sender`'s channel.
    ///
    /// ```
    /// let (tx, rx) = sward::sync::channel::bounded(1);
    /// let mut select = sward::sync::channel::Select::new();
    /// select.send(&tx);
    /// select.select().send(&tx, 1).unwrap();
    /// # drop(rx);
    /// ```
    #[track_caller]
    pub fn send<T>(mut self, sender: &Sender<T>, item: T) -> Result<(), SendError<T>> {
        self.check(sender.chan(), Side::Send);
        self.done = true;
        let key = self.turn.key(self.index);
        sender.chan().with(|state, wakes| state.send_reserved(key, item, wakes)).map_err(SendError)
    }

    /// Receives; does not wait.
    ///
    /// # Errors
    ///
    /// If there is no item and no sender.
    ///
    /// # Panics
    ///
    /// If this operation is not receiving on `receiver`'s channel.
    ///
    /// ```
    /// let (tx, rx) = sward::sync::channel::bounded(1);
    /// tx.send(1).unwrap();
    /// let mut select = sward::sync::channel::Select::new();
    /// select.recv(&rx);
    /// assert_eq!(select.select().recv(&rx), Ok(1));
    /// ```
    #[track_caller]
    pub fn recv<T>(mut self, receiver: &Receiver<T>) -> Result<T, RecvError> {
        self.check(receiver.chan(), Side::Receive);
        self.done = true;
        receiver.chan().lock().take_given(self.turn.key(self.index)).ok_or(RecvError)
    }

    /// Panics if this is not the operation.
    #[track_caller]
    fn check(&self, chan: &dyn Selectable, side: Side) {
        let same = self.operation.chan.address() == chan.address() && self.operation.side == side;
        assert!(same, "the selected operation is another one: its index is {}", self.index);
    }
}

impl Drop for SelectedOperation<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.operation.chan.give_back(self.turn.key(self.index));
        }
    }
}

impl fmt::Debug for SelectedOperation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelectedOperation").field("index", &self.index).finish_non_exhaustive()
    }
}
