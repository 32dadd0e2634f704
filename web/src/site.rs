//! A server's part on one hub: its application, and the connections that must hear of its end.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use slab::Slab;
use sward_net::ServerHandle;
use sward_runtime::lowlevel::{HubLocal, Unparker, park, spawn_now};
use sward_runtime::{Greenlet, spawn};

use crate::app::App;
use crate::exchange::Spares;
use crate::host::KnownHost;
use crate::polling::Polling;
use crate::settings::Settings;

/// The parts, on this hub, of servers that are on several.
static SITES: HubLocal<Sites> = HubLocal::new(RefCell::default);

/// Connections whose memory is not worth a system call.
const MANY: usize = 256;

/// Parts of servers on one hub, by the server's number.
type Sites = RefCell<Vec<(u64, Rc<Site>)>>;

/// A number for a server on several hubs.
pub(crate) fn new_id() -> u64 {
    static IDS: AtomicU64 = AtomicU64::new(0);
    IDS.fetch_add(1, Ordering::Relaxed)
}

/// One server on one hub.
pub(crate) struct Site {
    /// The application.
    pub(crate) app: Rc<dyn App>,
    /// Limits and times.
    pub(crate) settings: Rc<Settings>,
    /// Whether the server stops.
    stopping: Cell<bool>,
    /// Open connections.
    connections: RefCell<Slab<Connection>>,
    /// Whether answers with large bodies are sent here.
    pub(crate) sends_large: Cell<bool>,
    /// For the next requests.
    pub(crate) spares: Spares,
    /// What they say they want.
    pub(crate) known_host: KnownHost,
    /// Polls them.
    pub(crate) polling: Rc<Polling>,
    /// Whom to remind when.
    reminders: Reminders,
}

impl Site {
    /// Without connections.
    pub(crate) fn new(app: Rc<dyn App>, settings: Settings) -> Rc<Site> {
        Rc::new(Site {
            app,
            settings: Rc::new(settings),
            stopping: Cell::new(false),
            connections: RefCell::new(Slab::new()),
            sends_large: Cell::new(false),
            spares: Spares::default(),
            known_host: KnownHost::default(),
            polling: Rc::new(Polling::new()),
            reminders: Reminders::default(),
        })
    }

    /// Whether the server stops.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// The server stops: idle connections close, the others after what they are doing.
    pub(crate) fn stop(&self) {
        self.stopping.set(true);
        self.connections.borrow().iter().for_each(|(_, connection)| connection.greenlet.unpark());
    }

    /// This hub's part of the server `id`, made if this is its first connection here.
    pub(crate) fn on_this_hub(id: u64, handle: &ServerHandle, make: impl FnOnce() -> Rc<Site>) -> Rc<Site> {
        let found =
            SITES.with(|sites| sites.borrow().iter().find(|(other, _)| *other == id).map(|(_, site)| site.clone()));
        found.unwrap_or_else(|| {
            let site = make();
            SITES.with(|sites| sites.borrow_mut().push((id, site.clone())));
            let (stopped, handle) = (site.clone(), handle.clone());
            spawn(move || {
                let _forget = Forget(id);
                handle.wait_stop();
                stopped.stop();
            });
            site
        })
    }

    /// Tells the connections when the server stops, until the result is dropped.
    pub(crate) fn watch(self: &Rc<Self>, handle: ServerHandle) -> Watcher {
        let site = self.clone();
        Watcher(spawn(move || {
            handle.wait_stop();
            site.stop();
        }))
    }

    /// Whether there are so many connections that the memory of each counts for more than a system call.
    pub(crate) fn has_many_connections(&self) -> bool {
        self.connections.borrow().len() > MANY
    }

    /// Registers the running greenlet as a connection's.
    pub(crate) fn enter(self: &Rc<Self>) -> Entry {
        let connection = Connection { greenlet: Unparker::current(), reminder: None };
        let place = self.connections.borrow_mut().insert(connection);
        Entry { site: self.clone(), place }
    }
}

/// An open connection.
struct Connection {
    /// Its greenlet.
    greenlet: Unparker,
    /// When it will be reminded, that or earlier than it asked for.
    reminder: Option<Instant>,
}

/// Whom to remind when. Nearly all limits are moved before they pass, with each request, so moving one must cost
/// nothing: a connection keeps the reminder that it has if that comes before the new limit, looks when it comes, and
/// asks for the next one. One greenlet sleeps for all connections.
#[derive(Default)]
struct Reminders {
    /// Reminders, those that were replaced by earlier ones too.
    queue: RefCell<BinaryHeap<Reverse<(Instant, usize)>>>,
    /// The greenlet that sleeps until the first of them, while there are connections.
    sleeper: RefCell<Option<Unparker>>,
}

impl Site {
    /// Has the connection at `place` unparked at `deadline` or before; if that cannot be, gives `deadline` back.
    pub(crate) fn remind(self: &Rc<Self>, place: usize, deadline: Instant) -> Option<Instant> {
        // None: it was killed, and who polls it has not ended yet. One that has its place now looks once too often.
        let reminder = self.connections.borrow().get(place)?.reminder;
        if reminder.is_some_and(|reminder| reminder <= deadline) {
            return None;
        }
        if !self.ensure_sleeper() {
            return Some(deadline);
        }
        let mut connections = self.connections.borrow_mut();
        connections[place].reminder = Some(deadline);
        let mut queue = self.reminders.queue.borrow_mut();
        // Here, not when reminders are sent: until the first is due, many connections may have come and gone.
        if queue.len() > 2 * connections.len() + 64 {
            queue.retain(|Reverse((at, place))| connections.get(*place).is_some_and(|c| c.reminder == Some(*at)));
        }
        queue.push(Reverse((deadline, place)));
        if queue.peek().is_some_and(|Reverse(first)| *first == (deadline, place))
            && let Some(sleeper) = &*self.reminders.sleeper.borrow()
        {
            sleeper.unpark();
        }
        None
    }

    /// Spawns the greenlet that reminds, unless there is one; false if there is no stack for it.
    fn ensure_sleeper(self: &Rc<Self>) -> bool {
        if self.reminders.sleeper.borrow().is_some() {
            return true;
        }
        let site = self.clone();
        let spawned = spawn_now(move || {
            *site.reminders.sleeper.borrow_mut() = Some(Unparker::current());
            while let Some(next) = site.send_reminders() {
                park(next);
            }
            site.reminders.sleeper.take();
            site.reminders.queue.take();
        });
        spawned.is_ok()
    }

    /// Sends the reminders that are due, and tells until when to sleep; none if there are no connections.
    fn send_reminders(&self) -> Option<Option<Instant>> {
        let mut connections = self.connections.borrow_mut();
        let mut queue = self.reminders.queue.borrow_mut();
        if connections.is_empty() {
            return None;
        }
        while let Some(&Reverse((at, place))) = queue.peek() {
            if at > Instant::now() {
                return Some(Some(at));
            }
            queue.pop();
            if let Some(connection) = connections.get_mut(place).filter(|c| c.reminder == Some(at)) {
                connection.reminder = None;
                connection.greenlet.unpark();
            }
        }
        Some(None)
    }
}

/// Takes a server out of `SITES` when dropped.
struct Forget(u64);

impl Drop for Forget {
    fn drop(&mut self) {
        // Bound to a name: the application is dropped after the borrow has ended.
        let _site = SITES.with(|sites| {
            let mut sites = sites.borrow_mut();
            let place = sites.iter().position(|(id, _)| *id == self.0);
            place.map(|place| sites.swap_remove(place))
        });
    }
}

/// The greenlet of `Site::watch`, killed when dropped.
pub(crate) struct Watcher(Greenlet<()>);

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.kill();
    }
}

/// A connection's entry, taken back when dropped.
pub(crate) struct Entry {
    /// Where it is.
    site: Rc<Site>,
    /// Its place there.
    place: usize,
}

impl Entry {
    /// The place, for [`Site::remind`].
    pub(crate) fn place(&self) -> usize {
        self.place
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut connections = self.site.connections.borrow_mut();
        connections.remove(self.place);
        if connections.is_empty()
            && let Some(sleeper) = &*self.site.reminders.sleeper.borrow()
        {
            sleeper.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::exchange::Exchange;

    /// Is never asked.
    struct Nothing;

    impl App for Nothing {
        fn answer(&self, _: &Exchange) {}
    }

    #[test]
    fn nothing_is_kept_of_connections_that_have_gone() {
        let site = Site::new(Rc::new(Nothing), Settings::default());
        let stays = site.enter();
        let now = Instant::now();
        for n in 0..10_000 {
            let entry = site.enter();
            assert!(site.remind(entry.place(), now + Duration::from_secs(30 + n)).is_none());
        }
        let kept = site.reminders.queue.borrow().len();
        assert!(kept < 100, "{kept} reminders for one connection");
        drop(stays);
    }
}
