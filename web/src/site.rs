//! A server's part on one hub: its application, and the connections that must hear of its end.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use sward_net::ServerHandle;
use sward_runtime::lowlevel::{HubLocal, Unparker, park, spawn_now};
use sward_runtime::{Builder, Greenlet, spawn};

use crate::app::App;
use crate::connection::Connection;
use crate::exchange::Spares;
use crate::host::KnownHost;
use crate::polling::Polling;
use crate::settings::Settings;

/// The parts, on this hub, of servers that are on several.
static SITES: HubLocal<Sites> = HubLocal::new(RefCell::default);

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
        self.polling.ring_all();
    }

    /// This hub's part of the server `id`, made if this is its first connection here.
    pub(crate) fn on_this_hub(id: u64, handle: &ServerHandle, make: impl FnOnce() -> Rc<Site>) -> io::Result<Rc<Site>> {
        let found =
            SITES.with(|sites| sites.borrow().iter().find(|(other, _)| *other == id).map(|(_, site)| site.clone()));
        if let Some(site) = found {
            return Ok(site);
        }
        let site = make();
        let (stopped, handle) = (site.clone(), handle.clone());
        // Not `spawn`: without a stack it panics, and who accepts connections is to try again.
        Builder::new().spawn(move || {
            let _forget = Forget(id);
            handle.wait_stop();
            stopped.stop();
        })?;
        SITES.with(|sites| sites.borrow_mut().push((id, site.clone())));
        Ok(site)
    }

    /// Tells the connections when the server stops, until the result is dropped.
    pub(crate) fn watch(self: &Rc<Self>, handle: ServerHandle) -> Watcher {
        let site = self.clone();
        Watcher(spawn(move || {
            handle.wait_stop();
            site.stop();
        }))
    }

    /// Lets a connection be polled, and reminded.
    pub(crate) fn add(self: &Rc<Self>, make: impl FnOnce(usize) -> Rc<Connection>) -> io::Result<Rc<Connection>> {
        let connection = self.polling.add(make)?;
        if let Err(error) = self.ensure_sleeper() {
            self.remove(connection.place());
            return Err(error);
        }
        Ok(connection)
    }

    /// Forgets a connection.
    pub(crate) fn remove(&self, place: usize) {
        self.polling.remove(place);
        if self.polling.len() == 0
            && let Some(sleeper) = &*self.reminders.sleeper.borrow()
        {
            sleeper.unpark();
        }
    }
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

impl Reminders {
    /// Adds one. Others that are not expected may be forgotten: `open` connections have no more than that.
    fn add(&self, deadline: Instant, place: usize, open: usize, is_expected: impl Fn(Instant, usize) -> bool) {
        let mut queue = self.queue.borrow_mut();
        // Here, not when reminders are sent: until the first is due, many connections may have come and gone.
        if queue.len() > 2 * open + 64 {
            queue.retain(|Reverse((at, place))| is_expected(*at, *place));
        }
        queue.push(Reverse((deadline, place)));
        if queue.peek().is_some_and(|Reverse(first)| *first == (deadline, place))
            && let Some(sleeper) = &*self.sleeper.borrow()
        {
            sleeper.unpark();
        }
    }
}

impl Site {
    /// Has the connection at `place` reminded at `deadline`; one that asks again remembers itself what it asked for.
    pub(crate) fn remind(&self, place: usize, deadline: Instant) {
        let is_expected = |at, place| self.polling.get(place).is_some_and(|c| c.expects_reminder(at));
        self.reminders.add(deadline, place, self.polling.len(), is_expected);
    }

    /// Spawns the greenlet that reminds, unless there is one.
    fn ensure_sleeper(self: &Rc<Self>) -> io::Result<()> {
        if self.reminders.sleeper.borrow().is_some() {
            return Ok(());
        }
        let site = self.clone();
        spawn_now(move || {
            *site.reminders.sleeper.borrow_mut() = Some(Unparker::current());
            while let Some(next) = site.send_reminders() {
                park(next);
            }
            site.reminders.sleeper.take();
            site.reminders.queue.take();
        })?;
        Ok(())
    }

    /// Sends the reminders that are due, and tells until when to sleep; none if there are no connections.
    fn send_reminders(&self) -> Option<Option<Instant>> {
        if self.polling.len() == 0 {
            return None;
        }
        loop {
            let next = self.reminders.queue.borrow().peek().copied();
            let Some(Reverse((at, place))) = next else { return Some(None) };
            if at > Instant::now() {
                return Some(Some(at));
            }
            self.reminders.queue.borrow_mut().pop();
            if let Some(connection) = self.polling.get(place).filter(|c| c.expects_reminder(at)) {
                connection.remind(); // with nothing borrowed: patched, it may park for the bell's lock
            }
        }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn nothing_is_kept_of_connections_that_have_gone() {
        let reminders = Reminders::default();
        let now = Instant::now();
        for n in 0..10_000 {
            // One stays; of the others, only the last is there still.
            let is_expected = |at, place| place == 0 || at == now + Duration::from_secs(30 + n);
            reminders.add(now + Duration::from_secs(30 + n), usize::from(n > 0), 2, is_expected);
        }
        let kept = reminders.queue.borrow().len();
        assert!(kept < 100, "{kept} reminders for two connections");
    }
}
