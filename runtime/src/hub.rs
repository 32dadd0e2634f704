//! Which hub belongs to this thread: made on first use, ended with the thread, left alone by a
//! forked child.

use std::cell::Cell;

use crate::remote::Message;
use crate::scheduler::{Hub, WaitKey};
use crate::slot::Reason;
use crate::stack;
use crate::stack::overflow::{self, Victim};
use crate::thread_pointer::ThreadPointer;
use crate::{fork, inspect};

thread_local! {
    /// This thread's hub. Has no destructor, so it can be read at any time, in a signal handler too.
    static HUB: Cell<Option<&'static Hub>> = const { Cell::new(None) };
    /// In a greenlet with thread-locals of its own: the thread pointer of the thread that it runs on. A fork's child
    /// keeps it.
    static HOME: Cell<Option<ThreadPointer>> = const { Cell::new(None) };
    /// Ends the hub with its thread.
    static END: End = const { End };
}

/// This thread's hub, made now if there is none.
#[inline]
pub(crate) fn hub() -> &'static Hub {
    match HUB.get() {
        Some(hub) => hub,
        None => create(),
    }
}

/// This thread's hub, if there is one.
#[inline]
pub(crate) fn existing() -> Option<&'static Hub> {
    HUB.get()
}

/// [`Hub::wake`] on the hub that the key is for, if that is this thread's.
#[inline]
pub(crate) fn wake(key: WaitKey, reason: Reason) -> bool {
    existing().is_some_and(|hub| hub.serial == key.hub && hub.wake(key, reason))
}

/// Whether the greenlet is still in the wait that `key` names: [`wake`] would succeed.
#[inline]
pub(crate) fn waits(key: WaitKey) -> bool {
    existing().is_some_and(|hub| hub.serial == key.hub && hub.waits(key))
}

/// Makes a thread's hub known to a greenlet of it that has thread-locals of its own.
pub(crate) fn adopt(hub: &'static Hub) {
    HUB.set(Some(hub));
    HOME.set(Some(hub.identities.own()));
}

/// The thread pointer of the thread that the calling greenlet runs on; `None` if that is the current one.
#[inline]
pub(crate) fn home() -> Option<ThreadPointer> {
    HOME.get()
}

/// Forgets this thread's hub; in a forked child, whose parent goes on using it.
pub(crate) fn abandon() {
    HUB.set(None);
}

/// Makes this thread's hub.
#[cold]
fn create() -> &'static Hub {
    fork::watch();
    overflow::install(describe_overflow);
    let hub: &'static Hub = Box::leak(Box::new(Hub::new()));
    hub.begin();
    HUB.set(Some(hub));
    // Registers the destructor. When the thread's destructors run already, it is too late: then
    // the hub is leaked, and nobody is told of it.
    if END.try_with(|_| ()).is_ok() {
        inspect::begins(hub);
    }
    hub
}

/// Tells the signal handler whether `address` lies in the guard of the greenlet that runs.
fn describe_overflow(address: usize, report: &mut dyn FnMut(Victim<'_>)) -> bool {
    let Some(hub) = HUB.get() else { return false };
    let slot = hub.current();
    if slot.is_root() || !slot.greenlet.guard().contains(&address) {
        return false;
    }
    let name = slot.name.try_borrow();
    report(Victim {
        name: name.as_ref().ok().and_then(|name| name.as_deref()),
        id: slot.id.get(),
        stack_size: slot.greenlet.usable(),
        stack_top: slot.greenlet.guard().end + slot.greenlet.usable() + stack::LARGEST_PAGE,
        spawned_at: slot.spawned_at.get(),
    });
    true
}

/// Its destructor ends the thread's hub.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        let Some(hub) = HUB.get() else { return };
        if is_main_thread() {
            // The process is about to end; greenlets end as std's detached threads do.
            return;
        }
        if !hub.current().is_root() {
            // `process::exit` in a greenlet: nothing here will ever run again.
            return;
        }
        let unread = hub.shut_down();
        let empty = hub.live.get() == 0;
        HUB.set(None);
        // What blocks in these destructors does so on a hub of its own.
        drop(unread);
        if empty {
            // SAFETY: `hub` came from `Box::leak` in `create` and is freed here only. Nothing can
            // reach it any more: `HUB` is empty, no greenlet is left whose stack could hold a
            // reference, no frame of the hub's loop is on this stack (a thread's destructors run
            // after its closure has returned), and what outlives the hub elsewhere (keys, handles,
            // queues) names it by number.
            drop(unsafe { Box::from_raw(std::ptr::from_ref(hub).cast_mut()) });
        }
    }
}

/// Whether this is the thread whose end is the end of the process.
#[cfg(target_os = "linux")]
fn is_main_thread() -> bool {
    rustix::thread::gettid() == rustix::process::getpid()
}

/// Whether this is the thread whose end is the end of the process.
#[cfg(not(target_os = "linux"))]
fn is_main_thread() -> bool {
    std::thread::current().name() == Some("main")
}

impl Hub {
    /// Ends the hub: kills what is left as far as that goes without waiting, closes the inbox and
    /// the poller. If a greenlet is left (parked in a shield, say), the hub must be leaked. Returns
    /// the messages that nobody will read.
    fn shut_down(&'static self) -> Vec<Message> {
        let unwinds = cfg!(panic = "unwind") && !std::thread::panicking();
        if unwinds {
            self.kill_without_waiting();
        }
        // The hook has printed the message of a destructor's panic.
        let _ = self.root().locals.clear();
        // Those destructors may have handed something to a greenlet that is left, a lock say, which nobody else would
        // get if that one did not run.
        if unwinds && self.has_ready() {
            self.kill_without_waiting();
        }
        self.identities.clear();
        inspect::ends(self);
        let unread = self.remote.close();
        self.owed.settle();
        #[cfg(target_os = "linux")]
        crate::doorbell::drain(self, false);
        self.reactor.take();
        unread
    }
}
