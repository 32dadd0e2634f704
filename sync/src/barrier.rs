//! A place where a number of greenlets meet.

use std::cell::Cell;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

use sward_runtime::lowlevel::WaitQueue;

/// A place where `n` greenlets wait for each other: std's `Barrier`.
///
/// # Differences from `std::sync::Barrier`
///
/// A greenlet that is killed or timed out while it waits has not arrived: the others go on waiting
/// for one more. It stays on its thread.
///
/// ```
/// use sward::sync::Barrier;
///
/// let barrier = Barrier::new(3);
/// let leaders: usize = sward::scope(|s| {
///     let all: Vec<_> = (0..3).map(|_| s.spawn(|| barrier.wait().is_leader())).collect();
///     all.into_iter().map(|g| usize::from(g.join().unwrap())).sum()
/// });
/// assert_eq!(leaders, 1);
/// ```
pub struct Barrier {
    /// How many have to arrive.
    size: usize,
    /// Who has arrived.
    waiters: WaitQueue,
    /// How many are inside `wait`: those who have arrived, and those who have been woken or killed but
    /// have not run since. Saves counting `waiters` at each arrival.
    inside: Cell<usize>,
}

/// Counts one inside `wait`.
struct Inside<'a>(&'a Cell<usize>);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Tells one of those who met at a [`Barrier`] from the others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// Whether this is the one who arrived last; true for exactly one.
    ///
    /// ```
    /// assert!(sward::sync::Barrier::new(1).wait().is_leader());
    /// ```
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

impl fmt::Debug for BarrierWaitResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BarrierWaitResult").field("is_leader", &self.0).finish()
    }
}

impl Barrier {
    /// A barrier for `n` greenlets; 0 counts as 1.
    ///
    /// ```
    /// sward::sync::Barrier::new(0).wait(); // nobody to wait for
    /// ```
    pub const fn new(n: usize) -> Barrier {
        Barrier { size: n, waiters: WaitQueue::new(), inside: Cell::new(0) }
    }

    /// Waits until `n` greenlets have called this; then the barrier can be used again. Blocks the
    /// greenlet.
    ///
    /// # Panics
    ///
    /// On the root stack, if the others can never arrive ("deadlock").
    ///
    /// ```
    /// let barrier = sward::sync::Barrier::new(2);
    /// sward::scope(|s| {
    ///     s.spawn(|| { barrier.wait(); });
    ///     barrier.wait();
    /// });
    /// ```
    pub fn wait(&self) -> BarrierWaitResult {
        self.inside.set(self.inside.get() + 1);
        let _inside = Inside(&self.inside);
        let last = self.inside.get() >= self.size && self.waiters.len() + 1 >= self.size;
        if last {
            self.waiters.wake_all();
        } else {
            self.waiters.wait("Barrier::wait", (), None);
        }
        BarrierWaitResult(last)
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").field("size", &self.size).field("waiters", &self.waiters.len()).finish()
    }
}

impl UnwindSafe for Barrier {}
impl RefUnwindSafe for Barrier {}
