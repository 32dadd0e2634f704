//! Greenlets that borrow: as `std::thread::scope`.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{self, AssertUnwindSafe, RefUnwindSafe, UnwindSafe};
use std::rc::Rc;
use std::time::Duration;

use crate::hub::{self, hub};
use crate::join::{GreenletId, JoinError, Packet};
use crate::report;
use crate::spawn::Builder;
use crate::wait_queue::WaitQueue;

/// A scope to spawn greenlets in that borrow from around it; see [`scope`].
///
/// # Differences from `std::thread::Scope`
///
/// A child that was killed does not fail its scope. When the scope's function unwinds, its children
/// are killed and joined.
pub struct Scope<'scope, 'env: 'scope> {
    /// The greenlets spawned in it.
    children: Rc<Children>,
    /// Invariant in `'scope`, so that it cannot shrink.
    scope: PhantomData<&'scope mut &'scope ()>,
    /// Invariant in `'env`.
    env: PhantomData<&'env mut &'env ()>,
}

/// Counts the greenlets of a scope.
pub(crate) struct Children {
    /// The hub that they run on.
    hub: u64,
    /// The scope's number.
    serial: u64,
    /// Children that have not ended.
    running: Cell<usize>,
    /// Whether one panicked that nobody joined.
    panicked: Cell<bool>,
    /// Whether they were killed: then one that is spawned by another's destructor is killed too.
    doomed: Cell<bool>,
    /// The scope's owner, at its end.
    owner: WaitQueue,
}

impl Children {
    /// The number that the slots of the children carry.
    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    /// Whether some child may run. In a forked child process those of the parent never will.
    fn may_run(&self) -> bool {
        self.running.get() > 0 && hub::existing().is_some_and(|hub| hub.serial == self.hub)
    }

    /// A child is spawned.
    pub(crate) fn enter(&self) {
        self.running.set(self.running.get() + 1);
    }

    /// A child has ended, and nothing that it borrowed is used any more.
    pub(crate) fn leave(&self) {
        let running = self.running.get() - 1;
        self.running.set(running);
        if running == 0 {
            self.owner.wake_all();
        }
    }

    /// A child's panic was not joined.
    pub(crate) fn report_panic(&self) {
        self.panicked.set(true);
    }

    /// Whether the children were killed.
    pub(crate) fn doomed(&self) -> bool {
        self.doomed.get()
    }

    /// Kills all children that have not ended, and those to come.
    fn kill(&self) {
        self.doomed.set(true);
        let hub = hub();
        hub.table.iter().filter(|slot| slot.scope.get() == self.serial).for_each(|slot| hub.kill(slot));
    }

    /// Waits for all children, unless interrupted.
    fn join(&self) {
        while self.may_run() {
            self.owner.wait("scope", (), None);
        }
    }

    /// Waits for all children whatever comes.
    fn join_uninterruptible(&self) {
        let wait = || {
            while self.may_run() {
                self.owner.wait_uninterruptible("scope", ());
            }
        };
        if panic::catch_unwind(wait).is_err() {
            // A child that is shielded for ever: it borrows from frames that must not go away.
            report::line(format_args!("a scope cannot end, since a greenlet in it will never end; aborting"));
            std::process::abort();
        }
    }
}

impl RefUnwindSafe for Children {}
impl UnwindSafe for Children {}

/// Runs `f` with a scope in which greenlets can be spawned that borrow from around it, and returns
/// when all of them have ended. Blocks the greenlet.
///
/// If `f` unwinds (a panic, a kill, a timeout), or the wait at the end is interrupted, the children
/// are killed and joined; that wait cannot be interrupted.
///
/// # Panics
///
/// Passes on a panic of `f`; panics if a child panicked that was not joined.
///
/// ```
/// let mut numbers = [1, 2, 3];
/// sward::scope(|s| {
///     for n in &mut numbers {
///         s.spawn(move || *n *= 10);
///     }
/// });
/// assert_eq!(numbers, [10, 20, 30]);
/// ```
#[track_caller]
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let hub = hub();
    let children = Rc::new(Children {
        hub: hub.serial,
        serial: hub.next_serial(),
        running: Cell::new(0),
        panicked: Cell::new(false),
        doomed: Cell::new(false),
        owner: WaitQueue::new(),
    });
    let scope = Scope { children: children.clone(), scope: PhantomData, env: PhantomData };
    let result = panic::catch_unwind(AssertUnwindSafe(|| f(&scope)));
    let joined = match &result {
        Ok(_) => panic::catch_unwind(AssertUnwindSafe(|| children.join())),
        Err(_) => Ok(()),
    };
    if children.may_run() {
        children.kill();
        children.join_uninterruptible();
    }
    match (result, joined) {
        (Err(payload), _) | (Ok(_), Err(payload)) => panic::resume_unwind(payload),
        (Ok(_), Ok(())) if children.panicked.get() => panic!("a scoped greenlet panicked"),
        (Ok(value), Ok(())) => value,
    }
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Spawns a greenlet in the scope.
    ///
    /// # Panics
    ///
    /// As [`spawn`](crate::spawn()).
    ///
    /// ```
    /// let words = ["a", "bc"];
    /// let total: usize = sward::scope(|s| {
    ///     let lengths: Vec<_> = words.iter().map(|word| s.spawn(|| word.len())).collect();
    ///     lengths.into_iter().map(|length| length.join().unwrap()).sum()
    /// });
    /// assert_eq!(total, 3);
    /// ```
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedGreenlet<'scope, T>
    where
        F: FnOnce() -> T + 'scope,
        T: 'scope,
    {
        match Builder::new().spawn_scoped(self, f) {
            Ok(greenlet) => greenlet,
            Err(error) => panic!("failed to spawn a greenlet: {error}"),
        }
    }

    /// The scope's children.
    pub(crate) fn children(&self) -> &Rc<Children> {
        &self.children
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("running", &self.children.running.get()).finish_non_exhaustive()
    }
}

/// A greenlet of a [`scope`]: all of [`Greenlet`](crate::Greenlet)'s methods but `link`.
pub struct ScopedGreenlet<'scope, T> {
    /// Shared with the greenlet.
    packet: Rc<Packet<T>>,
    /// Ends with the scope.
    scope: PhantomData<&'scope mut &'scope ()>,
}

impl<T> ScopedGreenlet<'_, T> {
    /// A handle.
    pub(crate) fn new(packet: Rc<Packet<T>>) -> Self {
        ScopedGreenlet { packet, scope: PhantomData }
    }

    /// As [`Greenlet::join`](crate::Greenlet::join).
    ///
    /// # Errors
    ///
    /// [`JoinError`] if the greenlet panicked or was killed.
    ///
    /// # Panics
    ///
    /// On the root stack, if nothing can ever end the wait ("deadlock").
    pub fn join(self) -> Result<T, JoinError> {
        self.packet.join()
    }

    /// As [`Greenlet::wait`](crate::Greenlet::wait).
    ///
    /// # Panics
    ///
    /// On the root stack, if nothing can ever end the wait ("deadlock").
    pub fn wait(&self) {
        self.packet.wait(None);
    }

    /// As [`Greenlet::wait_timeout`](crate::Greenlet::wait_timeout).
    pub fn wait_timeout(&self, limit: Duration) -> bool {
        self.packet.wait_timeout(limit)
    }

    /// Whether the greenlet has finished.
    pub fn is_finished(&self) -> bool {
        self.packet.is_finished()
    }

    /// As [`Greenlet::kill`](crate::Greenlet::kill).
    pub fn kill(&self) {
        self.packet.kill();
    }

    /// The greenlet's id.
    pub fn id(&self) -> GreenletId {
        GreenletId(self.packet.id())
    }

    /// The name given to `Builder::name`.
    pub fn name(&self) -> Option<&str> {
        self.packet.name()
    }

    /// What the handle shares with the greenlet.
    pub(crate) fn packet(&self) -> &Packet<T> {
        &self.packet
    }
}

impl<T> fmt::Debug for ScopedGreenlet<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.packet.debug(f, "ScopedGreenlet")
    }
}

impl<T> UnwindSafe for ScopedGreenlet<'_, T> {}
impl<T> RefUnwindSafe for ScopedGreenlet<'_, T> {}
