//! How a server is stopped: its phase, which all its hubs and every handle share.
//!
//! ```text
//!   Idle ──serve──▶ Serving ──stop──▶ Stopping (until a deadline) ──the last hub is done──▶ Stopped
//!     └─────────────────────────────── stop ──────────────────────────────────────────────────┘
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use slab::Slab;
use sward_runtime::lowlevel::{RemoteUnparker, can_park, park};

use crate::handlers::is_handler;
use crate::io::deadline;

/// What a server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// `serve` was not called yet.
    Idle,
    /// It accepts.
    Serving,
    /// It no longer accepts and waits for the handlers; they are killed at the deadline.
    Stopping(Option<Instant>),
    /// Everything has ended.
    Stopped,
}

/// The state of a server.
pub(crate) struct Control {
    /// Behind a lock for moments.
    state: Mutex<State>,
}

/// What the lock protects.
struct State {
    /// What the server does.
    phase: Phase,
    /// Hubs that have not ended.
    hubs: usize,
    /// Whether handlers had to be killed.
    killed: bool,
    /// Who is told of every change.
    watchers: Slab<RemoteUnparker>,
}

impl Control {
    /// The state of a new server.
    pub(crate) fn new() -> Arc<Control> {
        let state = State { phase: Phase::Idle, hubs: 0, killed: false, watchers: Slab::new() };
        Arc::new(Control { state: Mutex::new(state) })
    }

    /// What the server does.
    pub(crate) fn phase(&self) -> Phase {
        self.lock().phase
    }

    /// `serve` begins on `hubs` hubs; false if the server was stopped before.
    pub(crate) fn begin(&self, hubs: usize) -> bool {
        let mut state = self.lock();
        let begins = state.phase == Phase::Idle;
        if begins {
            state.phase = Phase::Serving;
            state.hubs = hubs;
        }
        begins
    }

    /// Stops accepting; the handlers have until `deadline`, or until one that was set before.
    pub(crate) fn stop(&self, deadline: Option<Instant>) {
        let mut state = self.lock();
        state.phase = match state.phase {
            Phase::Idle | Phase::Stopped => Phase::Stopped,
            Phase::Serving => Phase::Stopping(deadline),
            Phase::Stopping(earlier) => Phase::Stopping(match (earlier, deadline) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            }),
        };
        state.tell();
    }

    /// A hub has ended, and `killed` handlers or not.
    pub(crate) fn hub_ended(&self, killed: bool) {
        let mut state = self.lock();
        state.killed |= killed;
        state.hubs -= 1;
        if state.hubs == 0 {
            state.phase = Phase::Stopped;
        }
        state.tell();
    }

    /// Hubs that have not ended.
    pub(crate) fn hubs(&self) -> usize {
        self.lock().hubs
    }

    /// Unparks the running greenlet at every change, until the result is dropped.
    pub(crate) fn watch(&self) -> Watch<'_> {
        Watch { control: self, key: self.lock().watchers.insert(RemoteUnparker::current()) }
    }

    /// The state. No code of users runs under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Unparks all who watch.
    fn tell(&self) {
        self.watchers.iter().for_each(|(_, watcher)| watcher.unpark());
    }
}

/// See `Control::watch`.
pub(crate) struct Watch<'a> {
    /// What is watched.
    control: &'a Control,
    /// The place among the watchers.
    key: usize,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.control.lock().watchers.remove(self.key);
    }
}

/// Stops a server, from any greenlet or thread. See [`Server`](crate::Server).
///
/// ```
/// use sward::net::{Server, ServerHandle};
///
/// let server = Server::bind("127.0.0.1:0")?;
/// let handle: ServerHandle = server.handle();
/// let stopping = std::thread::spawn(move || handle.stop());
/// server.serve(|_stream, peer| println!("{peer} was here"))?;
/// stopping.join().unwrap();
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct ServerHandle {
    /// The server's state.
    pub(crate) control: Arc<Control>,
}

impl ServerHandle {
    /// Stops accepting, closes the listener, and waits until all handlers have returned and `serve`
    /// is about to. Blocks the greenlet.
    ///
    /// Called in a handler of this very server, it does not wait: it would wait for itself. A server
    /// that does not serve yet will not begin.
    ///
    /// # Panics
    ///
    /// Never on its own account.
    ///
    /// ```
    /// use sward::net::Server;
    ///
    /// let server = Server::bind("127.0.0.1:0")?;
    /// let handle = server.handle();
    /// let serving = sward::spawn(move || server.serve(|_stream, peer| println!("{peer} was here")));
    /// sward::yield_now();
    /// handle.stop();
    /// serving.join().unwrap()?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn stop(&self) {
        self.stop_until(None);
    }

    /// As [`stop`](ServerHandle::stop), and kills the handlers that have not returned when `limit`
    /// has passed. True if none had to be killed. Blocks the greenlet.
    ///
    /// # Panics
    ///
    /// Never on its own account.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sward::net::{Server, TcpStream};
    ///
    /// let server = Server::bind("127.0.0.1:0")?;
    /// let (addr, handle) = (server.local_addr()?, server.handle());
    /// let serving = sward::spawn(move || server.serve(|_stream, _peer| sward::sleep(Duration::from_secs(60))));
    /// let client = TcpStream::connect(addr)?;
    /// sward::sleep(Duration::from_millis(2)); // the handler sleeps
    /// assert!(!handle.stop_timeout(Duration::from_millis(10)));
    /// serving.join().unwrap()?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn stop_timeout(&self, limit: Duration) -> bool {
        self.stop_until(deadline(Some(limit)));
        !self.control.lock().killed
    }

    /// Waits until the server no longer accepts; handlers may still run. Blocks the greenlet.
    ///
    /// For whoever must tell long-lived handlers to come to an end.
    ///
    /// # Panics
    ///
    /// Never on its own account.
    ///
    /// ```
    /// let server = sward::net::Server::bind("127.0.0.1:0")?;
    /// let handle = server.handle();
    /// let told = sward::spawn({
    ///     let handle = handle.clone();
    ///     move || handle.wait_stop()
    /// });
    /// let serving = sward::spawn(move || server.serve(|_stream, _peer| ()));
    /// sward::yield_now();
    /// handle.stop();
    /// told.join().unwrap();
    /// # serving.join().unwrap()?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn wait_stop(&self) {
        let _watch = self.control.watch();
        while matches!(self.control.phase(), Phase::Idle | Phase::Serving) {
            park(None);
        }
    }

    /// Whether the server has stopped: no handler runs any more.
    ///
    /// ```
    /// # let server = sward::net::Server::bind("127.0.0.1:0")?;
    /// let handle = server.handle();
    /// assert!(!handle.is_stopped());
    /// handle.stop(); // before it serves: it never will
    /// assert!(handle.is_stopped());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn is_stopped(&self) -> bool {
        self.control.phase() == Phase::Stopped
    }

    /// The body of both.
    fn stop_until(&self, deadline: Option<Instant>) {
        let _watch = self.control.watch();
        self.control.stop(deadline);
        let handles_for_it = is_handler(&self.control);
        while !handles_for_it && can_park() && !self.is_stopped() {
            park(None);
        }
    }
}

impl std::fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerHandle").field("phase", &self.control.phase()).finish()
    }
}
