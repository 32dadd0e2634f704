//! A server: accepts connections and handles each in a greenlet of its own.
//!
//! ```text
//!   serve (waits in `park` for what comes first)
//!     ├── accept loop ──▶ one greenlet for each connection, or what takes its permit; `Handlers` knows them
//!     └── told by: a handle's `stop`, a signal, an accept that failed for good, the last handler's end
//! ```

use std::fmt;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use sward_runtime::lowlevel::{Killer, Unparker, park};
use sward_runtime::{Greenlet, sleep, spawn};

use crate::accept::Accept;
use crate::addr::ToSocketAddrs;
use crate::control::{Control, Phase, ServerHandle};
use crate::handlers::{Handlers, Permit};
use crate::tcp::TcpListener;
use crate::unix::UnixListener;

/// The first pause of a server that has no file descriptor left for the next connection.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections and handles each in a greenlet of its own, as gevent's `StreamServer`.
///
/// A handler that panics closes its own connection only; the report on stderr names the peer. When
/// the process runs out of file descriptors the server waits a little and goes on.
///
/// ```
/// use std::io::{Read, Write};
/// use sward::net::{Server, TcpStream};
///
/// let server = Server::bind("127.0.0.1:0")?.pool(1000);
/// let (addr, handle) = (server.local_addr()?, server.handle());
/// let serving = sward::spawn(move || {
///     server.serve(|mut stream, peer| stream.write_all(format!("hello {peer}").as_bytes()))
/// });
///
/// let mut text = String::new();
/// let mut client = TcpStream::connect(addr)?;
/// client.read_to_string(&mut text)?;
/// assert_eq!(text, format!("hello {}", client.local_addr()?));
///
/// handle.stop();
/// serving.join().unwrap()?;
/// # std::io::Result::Ok(())
/// ```
///
/// On all cores, each with a hub of its own, and stopped by SIGTERM:
///
/// ```
/// use std::time::Duration;
/// use sward::net::Server;
///
/// let cores = std::thread::available_parallelism()?.get();
/// let server = Server::bind("0.0.0.0:0")?.stop_on_signal(Duration::from_secs(30)).threads(cores);
/// # let handle = server.handle();
/// # std::thread::spawn(move || handle.stop());
/// server.serve(|stream, _peer| std::io::copy(&mut &stream, &mut &stream))?;
/// # std::io::Result::Ok(())
/// ```
pub struct Server<L: Accept = TcpListener> {
    /// Where connections come from.
    pub(crate) listener: L,
    /// How they are handled.
    pub(crate) settings: Settings,
    /// How the server is stopped.
    pub(crate) control: Arc<Control>,
}

/// What can be set on a server; each of its hubs has a copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// The most connections at a time on one hub.
    pool: usize,
    /// Stop at SIGTERM and SIGINT, and give handlers so long.
    stop_on_signal: Option<Duration>,
}

impl Server<TcpListener> {
    /// Listens on a TCP address; connections wait until [`serve`](Server::serve).
    ///
    /// # Errors
    ///
    /// As [`TcpListener::bind`].
    ///
    /// ```
    /// let server = sward::net::Server::bind("127.0.0.1:0")?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<Server<TcpListener>> {
        TcpListener::bind(addr).map(Server::from)
    }

    /// The address that the server listens on.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// # let server = sward::net::Server::bind("127.0.0.1:0")?;
    /// assert_ne!(server.local_addr()?.port(), 0);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Server<UnixListener> {
    /// Listens on a Unix socket at `path`, which must not exist.
    ///
    /// # Errors
    ///
    /// As [`UnixListener::bind`].
    ///
    /// ```
    /// use std::io::Write;
    /// use sward::net::{Server, UnixStream};
    ///
    /// let path = std::env::temp_dir().join(format!("sward-doc-server-{}", std::process::id()));
    /// let server = Server::bind_unix(&path)?;
    /// let handle = server.handle();
    /// sward::spawn(move || server.serve(|mut stream, _peer| stream.write_all(b"hello")));
    /// assert_eq!(std::io::read_to_string(UnixStream::connect(&path)?)?, "hello");
    /// handle.stop();
    /// std::fs::remove_file(path)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn bind_unix<P: AsRef<Path>>(path: P) -> io::Result<Server<UnixListener>> {
        UnixListener::bind(path).map(Server::from)
    }
}

impl<L: Accept> Server<L> {
    /// Handles at most `size` connections at a time (on each hub, if there are several). When so many
    /// are there, the server stops accepting until one has ended; others wait in the kernel's backlog.
    ///
    /// # Panics
    ///
    /// If `size` is zero.
    ///
    /// ```
    /// let server = sward::net::Server::bind("127.0.0.1:0")?.pool(1000);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn pool(mut self, size: usize) -> Self {
        assert!(size > 0, "a server with a pool of zero would never handle a connection");
        self.settings.pool = size;
        self
    }

    /// Stops at SIGTERM or SIGINT as [`ServerHandle::stop_timeout`] does: stops accepting, lets
    /// handlers run for at most `limit`, kills the rest, and lets `serve` return.
    ///
    /// ```
    /// use std::time::Duration;
    /// let server = sward::net::Server::bind("127.0.0.1:0")?.stop_on_signal(Duration::from_secs(30));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn stop_on_signal(mut self, limit: Duration) -> Self {
        self.settings.stop_on_signal = Some(limit);
        self
    }

    /// Stops the server from elsewhere.
    ///
    /// ```
    /// # let server = sward::net::Server::bind("127.0.0.1:0")?;
    /// let handle = server.handle();
    /// sward::spawn(move || handle.stop());
    /// server.serve(|_stream, peer| println!("{peer} was here"))?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn handle(&self) -> ServerHandle {
        ServerHandle { control: self.control.clone() }
    }

    /// Accepts connections and calls `handler` for each, in a greenlet of its own, until the server
    /// is stopped and all handlers have returned. What `handler` returns is dropped. Blocks the
    /// greenlet.
    ///
    /// If the wait is interrupted, the listener is closed and the handlers are killed.
    ///
    /// # Errors
    ///
    /// When accepting fails for good, which on a sound listener it does not.
    ///
    /// ```
    /// # let server = sward::net::Server::bind("127.0.0.1:0")?;
    /// # let handle = server.handle();
    /// # sward::spawn(move || handle.stop());
    /// server.serve(|stream, _peer| std::io::copy(&mut &stream, &mut &stream))?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn serve<F, R>(self, handler: F) -> io::Result<()>
    where
        F: Fn(L::Stream, L::Peer) -> R + 'static,
        R: 'static,
    {
        if !self.control.begin(1) {
            return Ok(());
        }
        let _signals = Signals::watch(&self.settings, &self.control);
        serve_on_this_hub(self.listener, self.settings, &self.control, in_greenlets::<L, _, _>(handler))
    }

    /// As [`serve`](Server::serve), but `take` is called by the greenlet that accepts, and must not block: what handles a
    /// connection counts for as long as its permit is there. If `take` fails, it is as if accepting had.
    #[doc(hidden)]
    pub fn serve_permits<F>(self, take: F) -> io::Result<()>
    where
        F: Fn(L::Stream, L::Peer, Permit) -> io::Result<()> + 'static,
    {
        if !self.control.begin(1) {
            return Ok(());
        }
        let _signals = Signals::watch(&self.settings, &self.control);
        serve_on_this_hub(self.listener, self.settings, &self.control, with_permits::<L, _>(take))
    }
}

/// Has each connection handled by a greenlet of its own.
pub(crate) fn in_greenlets<L, F, R>(handler: F) -> impl Take<L>
where
    L: Accept,
    F: Fn(L::Stream, L::Peer) -> R + 'static,
    R: 'static,
{
    let handler = Rc::new(handler);
    move |handlers: &Rc<Handlers>, stream, peer| {
        let handler = handler.clone();
        handlers.spawn(format!("connection from {peer:?}"), move || handler(stream, peer))
    }
}

/// Gives each connection a permit.
pub(crate) fn with_permits<L, F>(take: F) -> impl Take<L>
where
    L: Accept,
    F: Fn(L::Stream, L::Peer, Permit) -> io::Result<()> + 'static,
{
    move |handlers: &Rc<Handlers>, stream, peer| take(stream, peer, handlers.admit())
}

/// What becomes of a connection.
pub(crate) trait Take<L: Accept>: Fn(&Rc<Handlers>, L::Stream, L::Peer) -> io::Result<()> + 'static {}

impl<L, F> Take<L> for F
where
    L: Accept,
    F: Fn(&Rc<Handlers>, L::Stream, L::Peer) -> io::Result<()> + 'static,
{
}

impl<L: Accept> From<L> for Server<L> {
    fn from(listener: L) -> Server<L> {
        let settings = Settings { pool: usize::MAX, stop_on_signal: None };
        Server { listener, settings, control: Control::new() }
    }
}

impl<L: Accept + fmt::Debug> fmt::Debug for Server<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Server");
        debug.field("listener", &self.listener).field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// One hub's part of `serve`.
pub(crate) fn serve_on_this_hub<L: Accept>(
    listener: L,
    settings: Settings,
    control: &Arc<Control>,
    take: impl Take<L>,
) -> io::Result<()> {
    let _watch = control.watch();
    let handlers = Handlers::new(settings.pool, control);
    let acceptor = spawn({
        let handlers = handlers.clone();
        move || accept_loop(&listener, &handlers, take)
    });
    let me = Unparker::current();
    acceptor.link(move |_| me.unpark());
    let mut end = End { acceptor: Killer::of(&acceptor), handlers, control, killed: false };

    while control.phase() == Phase::Serving && !acceptor.is_finished() {
        park(None);
    }
    acceptor.kill();
    // Closes the listener. Killed is how it ends if nothing is wrong.
    let result = acceptor.join().or_else(|error| error.try_into_panic().map_or(Ok(Ok(())), Err));
    if !matches!(result, Ok(Ok(()))) {
        control.stop(None); // the other hubs too
    }
    while !end.handlers.is_empty() {
        let deadline = match control.phase() {
            Phase::Stopping(deadline) if !end.killed => deadline,
            _ => None,
        };
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            end.killed = true;
            end.handlers.kill();
            continue;
        }
        park(deadline);
    }
    result.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Ends one hub's part of `serve`, however it ends.
struct End<'a> {
    /// The greenlet that accepts.
    acceptor: Killer,
    /// Those that handle connections.
    handlers: Rc<Handlers>,
    /// The server's state.
    control: &'a Control,
    /// Whether handlers had to be killed.
    killed: bool,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        // After an orderly end there is nobody left to kill.
        self.acceptor.kill();
        self.handlers.kill();
        self.control.hub_ended(self.killed);
    }
}

/// Accepts until it is killed, or fails for good.
fn accept_loop<L: Accept>(listener: &L, handlers: &Rc<Handlers>, take: impl Take<L>) -> io::Result<()> {
    let mut pause = FIRST_PAUSE;
    loop {
        handlers.wait_for_room();
        let accepted = listener.accept_one().and_then(|(stream, peer)| take(handlers, stream, peer));
        match accepted {
            Ok(()) => pause = FIRST_PAUSE,
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) if is_exhaustion(&error) => {
                if pause == FIRST_PAUSE {
                    // Not `eprintln`, which panics when nobody reads it any more.
                    let text =
                        format!("sward: the server on {listener:?} cannot take a connection: {error}; trying again\n");
                    _ = io::stderr().write_all(text.as_bytes());
                }
                sleep(pause);
                pause = LONGEST_PAUSE.min(pause * 2);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether the connection was gone before it was accepted; accept(2) passes its error on.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::PROTO
                | Errno::PERM
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::NOPROTOOPT
                | Errno::NONET
                | Errno::TIMEDOUT
        )
    )
}

/// Whether something has run out that may come back.
fn is_exhaustion(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::AGAIN)
    ) || error.kind() == io::ErrorKind::OutOfMemory
}

/// The greenlet that waits for a signal to stop the server; killed when dropped.
pub(crate) struct Signals(Option<Greenlet<()>>);

impl Signals {
    /// Begins to wait, if the server is to stop at signals.
    pub(crate) fn watch(settings: &Settings, control: &Arc<Control>) -> Signals {
        Signals(settings.stop_on_signal.map(|limit| {
            let control = control.clone();
            spawn(move || match crate::signal::wait(&[crate::signal::SIGTERM, crate::signal::SIGINT]) {
                Ok(_) => control.stop(crate::io::deadline(Some(limit))),
                Err(error) => eprintln!("sward: the server cannot wait for signals: {error}"),
            })
        }))
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        if let Some(greenlet) = &self.0 {
            greenlet.kill();
        }
    }
}
