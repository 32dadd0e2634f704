//! What other threads see of a hub: an inbox, a waker, and handles that push to them.
//!
//! ```text
//!   other threads                        the hub's thread
//!   RemoteUnparker::unpark ─┐
//!   Handle::spawn ──────────┼─▶ inbox ──▶ drained at every turn
//!   RemoteGreenlet::kill ───┘     └─ one write to the waker, only if the hub sleeps
//! ```

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::panic::{self, AssertUnwindSafe, RefUnwindSafe, UnwindSafe};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::hub::{self, hub};
use crate::inbox::Inbox;
use crate::join::JoinError;
use crate::park::park;
use crate::scheduler::{GreenletKey, WaitKey};
use crate::spawn::Builder;

/// What another thread asks of a hub.
pub(crate) enum Message {
    /// End one wait.
    Wake(WaitKey),
    /// Unpark a greenlet.
    Unpark(GreenletKey),
    /// Spawn a greenlet.
    Spawn(Box<dyn Start>),
    /// Kill a greenlet that was spawned from another thread.
    Kill(Arc<dyn Target>),
}

/// A greenlet to be spawned for another thread.
pub(crate) trait Start: Send {
    /// Spawns it, on the hub's thread.
    fn start(self: Box<Self>);
}

/// A greenlet that was spawned from another thread.
pub(crate) trait Target: Send + Sync {
    /// Kills it, on the hub's thread.
    fn kill(&self);
}

/// The shared side of a hub.
pub(crate) struct Remote {
    /// The hub's number.
    hub: u64,
    /// Messages to it.
    pub(crate) inbox: Inbox<Message>,
    /// Ends the poller's sleep; there is none before the hub has slept for the first time.
    waker: OnceLock<mio::Waker>,
}

impl Remote {
    /// The shared side of the hub with this number.
    pub(crate) fn new(hub: u64) -> Remote {
        Remote { hub, inbox: Inbox::new(), waker: OnceLock::new() }
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
    fn send(&self, message: Message) -> bool {
        self.inbox.push(message, || self.wake()).is_ok()
    }

    /// The hub ends: no more messages, and those that are there are dropped.
    pub(crate) fn close(&self) {
        self.inbox.close(drop);
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

    /// Makes the greenlet's [`park`] return: the one it is in, or else its next.
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
        let packet = Arc::new(Packet::new());
        let order = Order { f: Some(f), packet: packet.clone(), site: std::panic::Location::caller() };
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
        loop {
            let mut state = self.packet.lock();
            if let Some(result) = state.result.take() {
                return result;
            }
            state.joiner = Some(RemoteUnparker::current());
            drop(state);
            park(None);
        }
    }

    /// Whether the greenlet has finished.
    pub fn is_finished(&self) -> bool {
        self.packet.finished.load(Ordering::Acquire)
    }

    /// Kills the greenlet. Never blocks, idempotent; one that has not started never runs.
    pub fn kill(&self) {
        self.packet.lock().killed = true;
        self.link.0.send(Message::Kill(self.packet.clone()));
    }
}

impl<T> fmt::Debug for RemoteGreenlet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let finished = self.packet.finished.load(Ordering::Acquire);
        f.debug_struct("RemoteGreenlet").field("finished", &finished).finish_non_exhaustive()
    }
}

/// What a remote greenlet and its handle share.
struct Packet<T> {
    /// Set after the result; never cleared.
    finished: AtomicBool,
    /// The rest.
    state: Mutex<State<T>>,
}

/// The locked part of a packet.
struct State<T> {
    /// The result, until `join` takes it.
    result: Option<Result<T, JoinError>>,
    /// Who waits for it.
    joiner: Option<RemoteUnparker>,
    /// The greenlet, once it was spawned.
    key: Option<GreenletKey>,
    /// Whether it was killed before that.
    killed: bool,
}

impl<T> Packet<T> {
    /// Without a result.
    fn new() -> Packet<T> {
        let state = State { result: None, joiner: None, key: None, killed: false };
        Packet { finished: AtomicBool::new(false), state: Mutex::new(state) }
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

impl<T: Send> Target for Packet<T> {
    fn kill(&self) {
        let key = self.lock().key;
        if let (Some(key), Some(hub)) = (key, hub::existing())
            && let Some(slot) = hub.find(key)
        {
            hub.kill(slot);
        }
    }
}

/// A closure on its way to a hub. Dropped without having run, it leaves "killed" as the result.
struct Order<F, T> {
    /// The closure, until it runs.
    f: Option<F>,
    /// Where its result goes.
    packet: Arc<Packet<T>>,
    /// Where it was spawned.
    site: &'static std::panic::Location<'static>,
}

impl<F, T> Drop for Order<F, T> {
    fn drop(&mut self) {
        self.packet.finish(Err(JoinError::killed()));
    }
}

impl<F, T> Start for Order<F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    fn start(self: Box<Self>) {
        let (packet, site) = (self.packet.clone(), self.site);
        // Destructors of the closure may block, which the hub must not: it is dropped in the greenlet.
        let order = Rc::new(Cell::new(Some(self)));
        let theirs = order.clone();
        let spawned = Builder::new().at(site).spawn(move || {
            let Some(mut order) = theirs.take() else { return };
            let killed = order.packet.lock().killed;
            let Some(f) = order.f.take_if(|_| !killed) else { return };
            match panic::catch_unwind(AssertUnwindSafe(f)) {
                Ok(value) => order.packet.finish(Ok(value)),
                Err(payload) => order.packet.finish(Err(JoinError::from_payload(payload))),
            }
        });
        match spawned {
            Ok(greenlet) => packet.lock().key = Some(greenlet.key()),
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
