//! What other threads see of a hub: an inbox, a waker, and handles that push to them.
//!
//! ```text
//!   other threads                        the hub's thread
//!   RemoteUnparker::unpark ─┐
//!   Handle::spawn ──────────┼─▶ inbox ──▶ drained at every turn
//!   RemoteGreenlet::kill ───┘     └─ one write to the waker, only if the hub sleeps
//! ```

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{self, AssertUnwindSafe, Location, RefUnwindSafe, UnwindSafe};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use crate::hub::{self, hub};
use crate::inbox::Inbox;
use crate::inspect::Asked;
use crate::join::JoinError;
use crate::park::park_in;
use crate::report;
use crate::scheduler::{GreenletKey, WaitKey};
use crate::spawn::{Builder, discard};

/// What another thread asks of a hub.
pub(crate) enum Message {
    /// End one wait.
    Wake(WaitKey),
    /// Unpark a greenlet.
    Unpark(GreenletKey),
    /// Spawn a greenlet.
    Spawn(Box<dyn Start>),
    /// Kill a greenlet that was spawned from another thread. Holds nothing of the user's, whose
    /// destructors must not run in the hub's loop.
    Kill(Arc<Control>),
    /// Tell what its greenlets are at.
    Ask(Asked),
}

/// A greenlet to be spawned for another thread.
pub(crate) trait Start: Send {
    /// Spawns it, on the hub's thread.
    fn start(self: Box<Self>);
}

/// The shared side of a hub.
pub(crate) struct Remote {
    /// The hub's number.
    hub: u64,
    /// Messages to it.
    pub(crate) inbox: Inbox<Message>,
    /// Ends the poller's sleep; there is none before the hub has slept for the first time.
    waker: OnceLock<mio::Waker>,
    /// The hub's thread, for the kernel.
    #[cfg(target_os = "linux")]
    thread: u64,
    /// Questions of `inspect` in the inbox.
    pub(crate) unanswered: AtomicUsize,
}

impl Remote {
    /// The shared side of this thread's hub, which has this number.
    pub(crate) fn new(hub: u64) -> Remote {
        Remote {
            hub,
            inbox: Inbox::new(),
            waker: OnceLock::new(),
            #[cfg(target_os = "linux")]
            thread: crate::inspect::this_thread(),
            unanswered: AtomicUsize::new(0),
        }
    }

    /// The hub's number.
    pub(crate) fn hub(&self) -> u64 {
        self.hub
    }

    /// The hub's thread, for the kernel.
    #[cfg(target_os = "linux")]
    pub(crate) fn thread(&self) -> u64 {
        self.thread
    }

    /// Tells how to wake the hub's poller.
    pub(crate) fn set_waker(&self, waker: mio::Waker) {
        // Set once: a hub makes one poller.
        let _ = self.waker.set(waker);
    }

    /// Ends the hub's sleep.
    fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            // Fails only if the counter of the eventfd is full, and then the hub is awake.
            let _ = waker.wake();
        }
    }

    /// Sends a message; false if the hub has ended.
    pub(crate) fn send(&self, message: Message) -> bool {
        self.inbox.push(message, || self.wake()).is_ok()
    }

    /// The hub ends: no more messages. Returns those that are there, for the caller to drop: they
    /// hold what the user's destructors may block in.
    pub(crate) fn close(&self) -> Vec<Message> {
        let mut left = Vec::new();
        self.inbox.close(|message| left.push(message));
        left
    }
}

/// A counted reference to a hub's shared side: while one is alive the hub does not report a
/// deadlock, since it may be woken from outside.
pub(crate) struct Link(Arc<Remote>);

impl Link {
    /// A link to this thread's hub.
    pub(crate) fn new() -> Link {
        Link::to(&hub().remote)
    }

    /// A link to a hub.
    fn to(remote: &Arc<Remote>) -> Link {
        remote.inbox.add_handle();
        Link(remote.clone())
    }

    /// Ends the wait that `key` names. From any thread.
    pub(crate) fn wake(&self, key: WaitKey) {
        self.0.send(Message::Wake(key));
    }

    /// The number of its hub.
    #[cfg(target_os = "linux")]
    pub(crate) fn hub(&self) -> u64 {
        self.0.hub
    }

    /// Puts something on the hub's pile; false if the hub has ended. From any thread, and from a
    /// signal handler.
    #[cfg(target_os = "linux")]
    pub(crate) fn put(&self, put: impl FnOnce(&crate::inbox::Pile)) -> bool {
        self.0.inbox.put(put, || self.0.wake())
    }
}

impl Clone for Link {
    fn clone(&self) -> Self {
        Link::to(&self.0)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.0.inbox.drop_handle(|| self.0.wake());
    }
}

/// Unparks one greenlet, from any thread. Outliving the greenlet, or its hub, is harmless.
///
/// While one is alive, a root that blocks waits for it instead of reporting a deadlock.
///
/// ```
/// use std::sync::{Arc, atomic::{AtomicBool, Ordering::SeqCst}};
/// use sward::lowlevel::{RemoteUnparker, park};
///
/// let (me, done) = (RemoteUnparker::current(), Arc::new(AtomicBool::new(false)));
/// let done2 = done.clone();
/// std::thread::spawn(move || { done2.store(true, SeqCst); me.unpark() });
/// while !done.load(SeqCst) {
///     park(None);
/// }
/// ```
#[derive(Clone)]
pub struct RemoteUnparker {
    /// The hub.
    link: Link,
    /// The greenlet.
    key: GreenletKey,
}

impl RemoteUnparker {
    /// The unparker of the running greenlet (or of this thread's root).
    pub fn current() -> RemoteUnparker {
        RemoteUnparker { link: Link::new(), key: hub().current_key() }
    }

    /// Makes the greenlet's [`park`](crate::lowlevel::park) return: the one it is in, or else its next.
    pub fn unpark(&self) {
        match hub::existing() {
            Some(hub) if hub.serial == self.link.0.hub => hub.unpark(self.key),
            _ => {
                self.link.0.send(Message::Unpark(self.key));
            }
        }
    }
}

impl fmt::Debug for RemoteUnparker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteUnparker").field("greenlet", &self.key.id).finish_non_exhaustive()
    }
}

/// Spawns greenlets on one hub from any thread; made by [`handle`].
///
/// While one is alive, the hub's root waits for it instead of reporting a deadlock.
#[derive(Clone)]
pub struct Handle(Link);

/// The handle of this thread's hub.
///
/// ```
/// let here = sward::handle();
/// let remote = std::thread::spawn(move || here.spawn(|| 6 * 7)).join();
/// # // the greenlet runs on this thread, while it blocks
/// assert_eq!(remote.unwrap().join().unwrap(), 42);
/// ```
pub fn handle() -> Handle {
    Handle(Link::new())
}

impl Handle {
    /// Spawns a greenlet on the handle's hub. Never blocks; the greenlet starts when the hub's
    /// thread gets to it.
    ///
    /// If the hub's thread has ended, `join` of the result is `Err` (killed).
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> RemoteGreenlet<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let packet = Arc::new(Packet::new(Location::caller()));
        let order = Order { f: Some(f), packet: packet.clone() };
        // A refused message is dropped, and dropping the order settles its result.
        self.0.0.send(Message::Spawn(Box::new(order)));
        RemoteGreenlet { packet, link: self.0.clone() }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("hub", &self.0.0.hub).finish()
    }
}

/// A greenlet spawned from another thread by [`Handle::spawn`]. Dropping it detaches.
pub struct RemoteGreenlet<T> {
    /// Where the result comes.
    packet: Arc<Packet<T>>,
    /// The greenlet's hub.
    link: Link,
}

impl<T: Send + 'static> RemoteGreenlet<T> {
    /// Waits until the greenlet has finished and returns its result. Blocks the greenlet that calls
    /// it, on whichever thread.
    ///
    /// # Errors
    ///
    /// [`JoinError`] if it panicked, was killed, or its hub's thread has ended.
    pub fn join(self) -> Result<T, JoinError> {
        let _leave = Joiner(&self.packet);
        loop {
            let mut state = self.packet.lock();
            if let Some(result) = state.result.take() {
                return result;
            }
            state.joiner = Some(RemoteUnparker::current());
            drop(state);
            park_in("RemoteGreenlet::join", None);
        }
    }

    /// Whether the greenlet has finished.
    pub fn is_finished(&self) -> bool {
        self.packet.finished.load(Ordering::Acquire)
    }

    /// Kills the greenlet. Never blocks, idempotent; one that has not started never runs.
    pub fn kill(&self) {
        let control = &self.packet.control;
        control.killed.store(true, Ordering::Release);
        self.link.0.send(Message::Kill(control.clone()));
    }
}

impl<T> fmt::Debug for RemoteGreenlet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let finished = self.packet.finished.load(Ordering::Acquire);
        f.debug_struct("RemoteGreenlet").field("finished", &finished).finish_non_exhaustive()
    }
}

/// The joiner's place in the packet, given up when the wait ends, however it does: the unparker
/// that is there counts as somebody who may wake the joiner's hub.
struct Joiner<'a, T>(&'a Packet<T>);

impl<T> Drop for Joiner<'_, T> {
    fn drop(&mut self) {
        // Bound to a name: dropped when the packet is no longer locked.
        let _joiner = self.0.lock().joiner.take();
    }
}

/// What it takes to kill a remote greenlet.
pub(crate) struct Control {
    /// Whether it was killed.
    killed: AtomicBool,
    /// The greenlet, once it was spawned.
    key: OnceLock<GreenletKey>,
}

impl Control {
    /// Kills the greenlet, on the hub's thread.
    pub(crate) fn kill(&self) {
        if let (Some(key), Some(hub)) = (self.key.get(), hub::existing())
            && let Some(slot) = hub.find(*key)
        {
            hub.kill(slot);
        }
    }
}

/// What a remote greenlet and its handle share.
struct Packet<T> {
    /// Set after the result; never cleared.
    finished: AtomicBool,
    /// How to kill it.
    control: Arc<Control>,
    /// Where it was spawned.
    site: &'static Location<'static>,
    /// The rest.
    state: Mutex<State<T>>,
}

/// The locked part of a packet.
struct State<T> {
    /// The result, until `join` takes it.
    result: Option<Result<T, JoinError>>,
    /// Who waits for it.
    joiner: Option<RemoteUnparker>,
}

impl<T> Packet<T> {
    /// Without a result.
    fn new(site: &'static Location<'static>) -> Packet<T> {
        Packet {
            finished: AtomicBool::new(false),
            control: Arc::new(Control { killed: AtomicBool::new(false), key: OnceLock::new() }),
            site,
            state: Mutex::new(State { result: None, joiner: None }),
        }
    }

    /// The state; nothing panics while it is locked.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores the result, unless there is one, and wakes the joiner.
    fn finish(&self, result: Result<T, JoinError>) {
        if self.finished.load(Ordering::Acquire) {
            return;
        }
        let mut state = self.lock();
        state.result = Some(result);
        self.finished.store(true, Ordering::Release);
        let joiner = state.joiner.take();
        drop(state);
        if let Some(joiner) = joiner {
            joiner.unpark();
        }
    }
}

impl<T> Drop for Packet<T> {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let (Some(Err(error)), Some(key)) = (&state.result, self.control.key.get())
            && error.is_panic()
        {
            report::unseen_panic(key.id, None, self.site);
        }
    }
}

/// Somebody's result, of whatever type.
trait Settle: Send + Sync {
    /// Stores "killed", unless there is a result.
    fn settle(&self);
}

impl<T: Send> Settle for Packet<T> {
    fn settle(&self) {
        self.finish(Err(JoinError::killed()));
    }
}

/// The results of a hub's remote greenlets that have not finished, by id: those that are leaked when its thread ends
/// never will, and whoever joins them must hear of it.
#[derive(Default)]
pub(crate) struct Owed(RefCell<BTreeMap<u64, Weak<dyn Settle>>>);

impl Owed {
    /// Notes a greenlet's result.
    fn add(&self, key: &GreenletKey, packet: Weak<dyn Settle>) {
        let _busy = hub().busy();
        self.0.borrow_mut().insert(key.id, packet);
    }

    /// The greenlet has its result.
    fn remove(&self, key: &GreenletKey) {
        let _busy = hub().busy();
        self.0.borrow_mut().remove(&key.id);
    }

    /// The hub ends: none of them will finish any more.
    pub(crate) fn settle(&self) {
        for packet in self.0.take().into_values().filter_map(|packet| packet.upgrade()) {
            packet.settle();
        }
    }
}

/// A closure on its way to a hub. Dropped without having run, it leaves "killed" as the result.
struct Order<F, T> {
    /// The closure, until it runs.
    f: Option<F>,
    /// Where its result goes.
    packet: Arc<Packet<T>>,
}

impl<F, T> Drop for Order<F, T> {
    fn drop(&mut self) {
        // First: who joins finds everything dropped.
        let _ = discard(self.f.take());
        self.packet.finish(Err(JoinError::killed()));
        if let (Some(key), Some(hub)) = (self.packet.control.key.get(), hub::existing()) {
            hub.owed.remove(key);
        }
    }
}

impl<F, T> Start for Order<F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    fn start(self: Box<Self>) {
        let packet = self.packet.clone();
        // Destructors of the closure may block, which the hub must not: it is dropped in the greenlet.
        let order = Rc::new(Cell::new(Some(self)));
        let theirs = order.clone();
        let spawned = Builder::new().at(packet.site).spawn(move || {
            let Some(mut order) = theirs.take() else { return };
            let killed = order.packet.control.killed.load(Ordering::Acquire);
            let Some(f) = order.f.take_if(|_| !killed) else { return };
            match panic::catch_unwind(AssertUnwindSafe(f)) {
                Ok(value) => order.packet.finish(Ok(value)),
                Err(payload) => order.packet.finish(Err(JoinError::from_payload(payload))),
            }
        });
        match spawned {
            Ok(greenlet) => {
                let key = greenlet.key();
                let theirs: Weak<Packet<T>> = Arc::downgrade(&packet);
                hub().owed.add(&key, theirs);
                let _ = packet.control.key.set(key);
            }
            Err(error) => {
                let reason: Box<dyn Any + Send> = Box::new(format!("failed to spawn a greenlet: {error}"));
                packet.finish(Err(JoinError::from_payload(reason)));
                // No stack to drop it on.
                std::mem::forget(order);
            }
        }
    }
}

impl UnwindSafe for Link {}
impl RefUnwindSafe for Link {}
impl<T> UnwindSafe for RemoteGreenlet<T> {}
impl<T> RefUnwindSafe for RemoteGreenlet<T> {}
