//! The results of a pool's work, as iterators.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::rc::Rc;

use sward_runtime::{Greenlet, JoinError};

use super::feed::{Feed, Slot};
use crate::queue::Queue;

/// Results in the order of the inputs; made by [`Pool::imap`](crate::Pool::imap).
///
/// ```
/// let pool = sward::sync::Pool::new(2);
/// let doubled: Result<Vec<_>, _> = pool.imap(1..=3, |n| 2 * n).collect();
/// assert_eq!(doubled.unwrap(), [2, 4, 6]);
/// ```
#[must_use = "nothing is done before the results are asked for"]
pub struct Imap<I: Iterator, F, R> {
    /// The inputs.
    feed: Feed<I, F>,
    /// Those that run or have results, oldest first.
    running: VecDeque<Greenlet<R>>,
}

impl<I: Iterator, F, R> Imap<I, F, R> {
    /// Nothing has begun.
    pub(super) fn new(feed: Feed<I, F>) -> Self {
        Imap { feed, running: VecDeque::new() }
    }
}

impl<I, F, R> Iterator for Imap<I, F, R>
where
    I: Iterator,
    I::Item: 'static,
    F: Fn(I::Item) -> R + 'static,
    R: 'static,
{
    type Item = Result<R, JoinError>;

    fn next(&mut self) -> Option<Self::Item> {
        // At least one input is taken each time, so that all slots stay in use; more only as long as
        // that does not hold up a result that is there.
        while let Some(slot) = self.feed.slot(self.running.len()) {
            let is_ours = matches!(slot, Slot::Callers);
            self.running.extend(self.feed.start(slot, ()));
            if is_ours || self.running.front().is_some_and(Greenlet::is_finished) {
                break;
            }
        }
        // Waited for in its place: an interrupt here loses no result.
        self.running.front()?.wait();
        self.running.pop_front().map(Greenlet::join)
    }
}

impl<I: Iterator, F, R> Drop for Imap<I, F, R> {
    fn drop(&mut self) {
        self.running.iter().for_each(Greenlet::kill);
    }
}

impl<I: Iterator, F, R> fmt::Debug for Imap<I, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imap").field("running", &self.running.len()).finish_non_exhaustive()
    }
}

/// Results as they come; made by [`Pool::imap_unordered`](crate::Pool::imap_unordered).
///
/// ```
/// let pool = sward::sync::Pool::new(2);
/// let total: i32 = pool.imap_unordered(1..=3, |n| 2 * n).map(Result::unwrap).sum();
/// assert_eq!(total, 12);
/// ```
#[must_use = "nothing is done before the results are asked for"]
pub struct ImapUnordered<I: Iterator, F, R> {
    /// The inputs.
    feed: Feed<I, F>,
    /// Those that run or have results, by the number of their input.
    running: BTreeMap<usize, Greenlet<R>>,
    /// The number of the next input.
    next: usize,
    /// The numbers of those that have ended.
    ended: Rc<Queue<usize>>,
    /// One of them, from `ended`, whose result was not taken yet.
    taken: Option<usize>,
}

impl<I: Iterator, F, R> ImapUnordered<I, F, R> {
    /// Nothing has begun.
    pub(super) fn new(feed: Feed<I, F>) -> Self {
        ImapUnordered { feed, running: BTreeMap::new(), next: 0, ended: Rc::default(), taken: None }
    }
}

impl<I, F, R> ImapUnordered<I, F, R>
where
    I: Iterator,
    I::Item: 'static,
    F: Fn(I::Item) -> R + 'static,
    R: 'static,
{
    /// The next result and the number of its input.
    pub(super) fn next_numbered(&mut self) -> Option<(usize, Result<R, JoinError>)> {
        // As in `Imap`.
        while let Some(slot) = self.feed.slot(self.running.len()) {
            let is_ours = matches!(slot, Slot::Callers);
            let end = End { ended: self.ended.clone(), number: self.next };
            if let Some(greenlet) = self.feed.start(slot, end) {
                self.running.insert(self.next, greenlet);
                self.next += 1;
            }
            if is_ours || !self.ended.is_empty() {
                break;
            }
        }
        if self.running.is_empty() {
            return None;
        }
        // What was begun here is kept in `self` until it is done: an interrupt loses no result.
        if self.taken.is_none() {
            self.taken = self.ended.get();
        }
        if self.taken.is_none() {
            // In a destructor that runs in an unwinding `get` gives up. Results must not be left out, so
            // this wait aborts and says why, as all do that cannot give up.
            self.running.values().for_each(Greenlet::wait);
            self.taken = self.ended.get();
        }
        let number = self.taken?;
        self.running.get(&number)?.wait();
        self.taken = None;
        Some((number, self.running.remove(&number)?.join()))
    }
}

impl<I, F, R> Iterator for ImapUnordered<I, F, R>
where
    I: Iterator,
    I::Item: 'static,
    F: Fn(I::Item) -> R + 'static,
    R: 'static,
{
    type Item = Result<R, JoinError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_numbered().map(|(_, result)| result)
    }
}

impl<I: Iterator, F, R> Drop for ImapUnordered<I, F, R> {
    fn drop(&mut self) {
        self.running.values().for_each(Greenlet::kill);
    }
}

impl<I: Iterator, F, R> fmt::Debug for ImapUnordered<I, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImapUnordered").field("running", &self.running.len()).finish_non_exhaustive()
    }
}

/// Tells an [`ImapUnordered`] that one of its greenlets has ended.
struct End {
    /// Where.
    ended: Rc<Queue<usize>>,
    /// Which.
    number: usize,
}

impl Drop for End {
    fn drop(&mut self) {
        // Unbounded and never closed: it goes in at once.
        let _ = self.ended.try_put(self.number);
    }
}
