//! The handle of a greenlet, and what it shares with the greenlet: the result, who waits for it,
//! and what is linked to it.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::hub;
use crate::interrupt::Interrupt;
use crate::report;
use crate::scheduler::GreenletKey;
use crate::scope::Children;
use crate::spawn::Builder;
use crate::wait_queue::{WaitQueue, Waited};

/// Identifies a greenlet on its hub; never used again there. The root's is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GreenletId(pub(crate) u64);

impl fmt::Display for GreenletId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A spawned greenlet. Dropping it detaches, as it does with std's `JoinHandle`.
///
/// # Differences from `std::thread::JoinHandle`
///
/// A greenlet can be killed, waited for with a limit and without taking its result, and linked to.
/// It stays on its thread, and so does its handle. The names are gevent's.
pub struct Greenlet<T> {
    /// Shared with the greenlet.
    packet: Rc<Packet<T>>,
}

impl<T> Greenlet<T> {
    /// A handle.
    pub(crate) fn new(packet: Rc<Packet<T>>) -> Greenlet<T> {
        Greenlet { packet }
    }

    /// Waits until the greenlet has finished, and every function linked to it has returned, and
    /// gives its result. Blocks the greenlet; interrupted, it detaches.
    ///
    /// # Errors
    ///
    /// [`JoinError`] if the greenlet panicked or was killed.
    ///
    /// # Panics
    ///
    /// On the root stack, if nothing can ever end the wait ("deadlock").
    ///
    /// ```
    /// assert_eq!(sward::spawn(|| 6 * 7).join().unwrap(), 42);
    /// ```
    pub fn join(self) -> Result<T, JoinError> {
        self.packet.join()
    }

    /// Waits until the greenlet has finished. Blocks the greenlet.
    ///
    /// # Panics
    ///
    /// On the root stack, if nothing can ever end the wait ("deadlock").
    ///
    /// ```
    /// let g = sward::spawn(|| "result");
    /// g.wait();
    /// assert_eq!(g.join().unwrap(), "result");
    /// ```
    pub fn wait(&self) {
        self.packet.wait(None);
    }

    /// As [`wait`](Greenlet::wait), for at most `limit`; tells whether the greenlet has finished.
    ///
    /// # Panics
    ///
    /// Never on its own account.
    ///
    /// ```
    /// use std::time::Duration;
    /// let g = sward::spawn(|| sward::sleep(Duration::from_secs(9)));
    /// assert!(!g.wait_timeout(Duration::from_millis(1)));
    /// ```
    pub fn wait_timeout(&self, limit: Duration) -> bool {
        self.packet.wait_timeout(limit)
    }

    /// Whether the greenlet has finished.
    pub fn is_finished(&self) -> bool {
        self.packet.finished.get()
    }

    /// Kills the greenlet: the blocking call it is in, or else its next, unwinds up to the
    /// greenlet's root. Never blocks, idempotent; a greenlet that has not started never runs.
    ///
    /// # Panics
    ///
    /// Never.
    ///
    /// ```
    /// use std::time::Duration;
    /// let g = sward::spawn(|| sward::sleep(Duration::from_secs(9)));
    /// g.kill();
    /// assert!(g.join().unwrap_err().is_killed());
    /// ```
    pub fn kill(&self) {
        self.packet.kill();
    }

    /// Runs `f` with the result once the greenlet has finished (at once if it has): in a greenlet of
    /// its own, in the order of linking. `join` returns after it.
    ///
    /// ```
    /// let g = sward::spawn(|| 3);
    /// g.link(|result| assert_eq!(*result.as_ref().unwrap(), 3));
    /// g.join().unwrap();
    /// ```
    #[track_caller]
    pub fn link<F>(&self, f: F)
    where
        F: FnOnce(&Result<T, JoinError>) + 'static,
        T: 'static,
    {
        let packet = self.packet.clone();
        let ticket = LinkTicket::new(packet.clone());
        let site = Location::caller();
        let start: Box<dyn FnOnce()> = Box::new(move || {
            let run = move || {
                let packet = ticket.packet.clone();
                if let Some(result) = &*packet.outcome.borrow() {
                    packet.extras().observed.set(true);
                    f(result);
                }
                drop(ticket);
            };
            // Out of stacks: the link is dropped, and the ticket with it.
            if let Err(error) = Builder::new().at(site).spawn(run) {
                report::line(format_args!("a function linked at {site} cannot run: {error}"));
            }
        });
        if packet.finished.get() {
            start();
        } else {
            let extras = packet.extras();
            let _busy = hub::hub().busy();
            extras.links.borrow_mut().push(start);
        }
    }

    /// The greenlet's id.
    pub fn id(&self) -> GreenletId {
        GreenletId(self.packet.id())
    }

    /// The name given to `Builder::name`.
    pub fn name(&self) -> Option<&str> {
        self.packet.name()
    }

    /// The key of the greenlet.
    pub(crate) fn key(&self) -> GreenletKey {
        self.packet.key()
    }

    /// What the handle shares with the greenlet.
    pub(crate) fn packet(&self) -> &Packet<T> {
        &self.packet
    }
}

impl<T> fmt::Debug for Greenlet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.packet.debug(f, "Greenlet")
    }
}

impl<T> UnwindSafe for Greenlet<T> {}
impl<T> RefUnwindSafe for Greenlet<T> {}

/// Joins them all, in order, and gives their results in the same order. Takes all of its input
/// before it waits. Blocks the greenlet.
///
/// # Panics
///
/// As [`Greenlet::join`].
///
/// ```
/// let squares = sward::join_all((1..=3).map(|n| sward::spawn(move || n * n)));
/// assert_eq!(squares.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [1, 4, 9]);
/// ```
pub fn join_all<T>(greenlets: impl IntoIterator<Item = Greenlet<T>>) -> Vec<Result<T, JoinError>> {
    let greenlets: Vec<_> = greenlets.into_iter().collect();
    greenlets.into_iter().map(Greenlet::join).collect()
}

/// What a greenlet shares with its handle.
pub(crate) struct Packet<T> {
    /// The greenlet's hub.
    pub(crate) hub: u64,
    /// Its id.
    id: u64,
    /// Its slot.
    slot: u32,
    /// Linked functions that have not returned.
    pending_links: Cell<u32>,
    /// Where it was spawned.
    pub(crate) site: &'static Location<'static>,
    /// The scope it belongs to.
    pub(crate) children: OnceCell<Rc<Children>>,
    /// What most greenlets do not have.
    extras: OnceCell<Box<Extras>>,
    /// Whether the greenlet has finished.
    finished: Cell<bool>,
    /// The result, until `join` takes it.
    outcome: RefCell<Option<Result<T, JoinError>>>,
    /// Who waits for the end, and for the linked functions.
    waiters: WaitQueue,
}

/// What most greenlets do not have.
#[derive(Default)]
struct Extras {
    /// The greenlet's name.
    name: Option<Rc<str>>,
    /// What starts the linked functions.
    links: RefCell<Vec<Box<dyn FnOnce()>>>,
    /// Whether a linked function has seen the result.
    observed: Cell<bool>,
}

impl Extras {
    /// The greenlet has ended.
    #[cold]
    fn start_links(&self) {
        self.links.take().into_iter().for_each(|start| start());
    }
}

impl<T> Packet<T> {
    /// Of a greenlet that has not finished.
    ///
    /// Written where it stays: `Rc::new` would take the finished value, which is then written twice, and the copying
    /// waits for the first writing. For the same reason the parts that are always the same are constants.
    #[inline]
    pub(crate) fn new(key: GreenletKey, site: &'static Location<'static>) -> Rc<Packet<T>> {
        Rc::new_cyclic(|_| Packet {
            hub: key.hub,
            id: key.id,
            slot: key.slot,
            pending_links: Cell::new(0),
            site,
            children: OnceCell::new(),
            extras: OnceCell::new(),
            finished: Cell::new(false),
            outcome: const { RefCell::new(None) },
            waiters: const { WaitQueue::new() },
        })
    }

    /// Names the greenlet and puts it into a scope.
    #[inline(always)]
    pub(crate) fn describe(&self, name: Option<Rc<str>>, children: Option<Rc<Children>>) {
        if let Some(children) = children {
            let _ = self.children.set(children);
        }
        if let Some(name) = name {
            let _ = self.extras.set(Box::new(Extras { name: Some(name), ..Extras::default() }));
        }
    }

    /// The greenlet's id.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The greenlet's key.
    #[inline]
    pub(crate) fn key(&self) -> GreenletKey {
        GreenletKey { hub: self.hub, slot: self.slot, id: self.id }
    }

    /// The greenlet's name.
    pub(crate) fn name(&self) -> Option<&str> {
        self.extras.get()?.name.as_deref()
    }

    /// What most greenlets do not have, made now.
    fn extras(&self) -> &Extras {
        self.extras.get_or_init(Default::default)
    }

    /// Whether a linked function has not returned.
    #[inline]
    fn has_pending_links(&self) -> bool {
        self.pending_links.get() > 0
    }

    /// The greenlet has ended: wakes who waits, starts what is linked.
    #[inline]
    pub(crate) fn finish(&self, result: Result<T, JoinError>) {
        let none = self.outcome.replace(Some(result));
        debug_assert!(none.is_none(), "a greenlet ends once");
        std::mem::forget(none);
        self.finished.set(true);
        if let Some(extras) = self.extras.get() {
            extras.start_links();
        }
        self.waiters.wake_all();
    }

    /// `Greenlet::join`.
    #[inline]
    pub(crate) fn join(&self) -> Result<T, JoinError> {
        while !self.finished.get() || self.has_pending_links() {
            self.waiters.wait("Greenlet::join", (), None);
        }
        self.outcome.take().expect("join takes the handle, so it is called once")
    }

    /// `Greenlet::wait`; false if the deadline passed.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> bool {
        while !self.finished.get() {
            if let Waited::TimedOut(()) = self.waiters.wait("Greenlet::wait", (), deadline) {
                return self.finished.get();
            }
        }
        true
    }

    /// `Greenlet::wait_timeout`.
    pub(crate) fn wait_timeout(&self, limit: Duration) -> bool {
        self.finished.get() || self.wait(Instant::now().checked_add(limit))
    }

    /// `Greenlet::kill`.
    pub(crate) fn kill(&self) {
        if let Some(hub) = hub::existing()
            && let Some(slot) = hub.find(self.key())
        {
            hub.kill(slot);
        }
    }

    /// Whether the greenlet has finished.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished.get()
    }

    /// Who waits for the end.
    pub(crate) fn waiters(&self) -> &WaitQueue {
        &self.waiters
    }

    /// `Debug` of a handle.
    pub(crate) fn debug(&self, f: &mut fmt::Formatter<'_>, handle: &str) -> fmt::Result {
        f.debug_struct(handle)
            .field("id", &self.id)
            .field("name", &self.name())
            .field("finished", &self.finished.get())
            .finish()
    }
}

impl<T> Drop for Packet<T> {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.outcome.get_mut()
            && error.is_panic()
        {
            self.report_panic();
        }
    }
}

impl<T> Packet<T> {
    /// Nobody can join the greenlet any more, and it has panicked.
    #[cold]
    fn report_panic(&self) {
        match self.children.get() {
            _ if self.extras.get().is_some_and(|extras| extras.observed.get()) => {}
            Some(children) => children.report_panic(),
            None => report::unseen_panic(self.id, self.name(), self.site),
        }
    }
}

/// Counts a linked function until it has returned, or is dropped.
struct LinkTicket<T> {
    /// What it is linked to.
    packet: Rc<Packet<T>>,
}

impl<T> LinkTicket<T> {
    /// Counts one.
    fn new(packet: Rc<Packet<T>>) -> LinkTicket<T> {
        let pending = &packet.pending_links;
        pending.set(pending.get() + 1);
        LinkTicket { packet }
    }
}

impl<T> Drop for LinkTicket<T> {
    fn drop(&mut self) {
        let pending = &self.packet.pending_links;
        pending.set(pending.get() - 1);
        if pending.get() == 0 {
            self.packet.waiters.wake_all();
        }
    }
}

/// Why a greenlet has no result: it panicked or was killed.
pub struct JoinError {
    /// What it panicked with; none if it was killed. Boxed so that every greenlet's result is small, and behind a
    /// lock only so that the error is `Sync`, as the payload is not.
    panic: Option<Box<Mutex<Box<dyn Any + Send>>>>,
}

impl JoinError {
    /// Killed.
    pub(crate) fn killed() -> JoinError {
        JoinError { panic: None }
    }

    /// From what the greenlet unwound with.
    pub(crate) fn from_payload(payload: Box<dyn Any + Send>) -> JoinError {
        if payload.is::<Interrupt>() {
            return JoinError::killed();
        }
        JoinError { panic: Some(Box::new(Mutex::new(payload))) }
    }

    /// Whether the greenlet was killed.
    pub fn is_killed(&self) -> bool {
        self.panic.is_none()
    }

    /// Whether the greenlet panicked.
    pub fn is_panic(&self) -> bool {
        !self.is_killed()
    }

    /// The panic's payload, for `std::panic::resume_unwind`.
    ///
    /// # Panics
    ///
    /// If the greenlet was killed.
    pub fn into_panic(self) -> Box<dyn Any + Send> {
        match self.try_into_panic() {
            Ok(payload) => payload,
            Err(_) => panic!("the greenlet was killed, it did not panic"),
        }
    }

    /// The panic's payload.
    ///
    /// # Errors
    ///
    /// The error itself, if the greenlet was killed.
    pub fn try_into_panic(self) -> Result<Box<dyn Any + Send>, JoinError> {
        match self.panic {
            Some(payload) => Ok(payload.into_inner().unwrap_or_else(PoisonError::into_inner)),
            None => Err(self),
        }
    }

    /// The panic's message, if it is a string.
    fn message(&self) -> Option<String> {
        let payload = self.panic.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        let text = payload.downcast_ref::<&str>().map(ToString::to_string);
        text.or_else(|| payload.downcast_ref::<String>().cloned())
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.is_killed(), self.message()) {
            (true, _) => f.write_str("JoinError::Killed"),
            (false, Some(message)) => write!(f, "JoinError::Panic({message:?})"),
            (false, None) => f.write_str("JoinError::Panic(..)"),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.is_killed(), self.message()) {
            (true, _) => f.write_str("the greenlet was killed"),
            (false, Some(message)) => write!(f, "the greenlet panicked: {message}"),
            (false, None) => f.write_str("the greenlet panicked"),
        }
    }
}

impl std::error::Error for JoinError {}
