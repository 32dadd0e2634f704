//! A server's part on one hub: its application, and the connections that must hear of its end.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use slab::Slab;
use sward_net::ServerHandle;
use sward_runtime::lowlevel::{HubLocal, Unparker};
use sward_runtime::{Greenlet, spawn};

use crate::app::App;
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
    /// The greenlets of open connections.
    connections: RefCell<Slab<Unparker>>,
}

impl Site {
    /// Without connections.
    pub(crate) fn new(app: Rc<dyn App>, settings: Settings) -> Rc<Site> {
        Rc::new(Site {
            app,
            settings: Rc::new(settings),
            stopping: Cell::new(false),
            connections: RefCell::new(Slab::new()),
        })
    }

    /// Whether the server stops.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// The server stops: idle connections close, the others after what they are doing.
    pub(crate) fn stop(&self) {
        self.stopping.set(true);
        self.connections.borrow().iter().for_each(|(_, connection)| connection.unpark());
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

    /// Registers the running greenlet as a connection's.
    pub(crate) fn enter(self: &Rc<Self>) -> Entry {
        let place = self.connections.borrow_mut().insert(Unparker::current());
        Entry { site: self.clone(), place }
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

impl Drop for Entry {
    fn drop(&mut self) {
        self.site.connections.borrow_mut().remove(self.place);
    }
}
