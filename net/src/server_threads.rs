//! A server on several hubs, one OS thread each.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sward_runtime::lowlevel::park;

use crate::accept::Accept;
use crate::control::{Control, ServerHandle};
use crate::handlers::Permit;
use crate::server::{Server, Signals, Take, in_greenlets, serve_on_this_hub, with_permits};
use crate::tcp::TcpListener;

/// A [`Server`] on several hubs, see [`Server::threads`].
///
/// ```
/// let server: sward::net::ServerThreads = sward::net::Server::bind("127.0.0.1:0")?.threads(2);
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct ServerThreads<L: Accept = TcpListener> {
    /// The server as it is on one hub.
    server: Server<L>,
    /// The listeners of the other hubs. They listen from now on, so that the kernel spreads also the
    /// connections that come before `serve`.
    siblings: io::Result<Vec<OwnedFd>>,
}

impl<L: Accept> Server<L> {
    /// Serves on `n` hubs: the caller's and `n - 1` on OS threads of their own. They share nothing.
    ///
    /// Each has its own socket with `SO_REUSEPORT`, and the kernel spreads connections over them; a
    /// Unix socket is one socket that all accept from. The handler must be `Send + Sync`.
    ///
    /// # Panics
    ///
    /// If `n` is zero.
    ///
    /// ```
    /// use std::io::Write;
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// use sward::net::{Server, TcpStream};
    ///
    /// static SERVED: AtomicU32 = AtomicU32::new(0);
    /// let server = Server::bind("127.0.0.1:0")?.threads(2);
    /// let (addr, handle) = (server.local_addr()?, server.handle());
    /// let serving = sward::spawn(move || server.serve(|_, _| SERVED.fetch_add(1, Ordering::Relaxed)));
    /// for _ in 0..10 {
    ///     std::io::read_to_string(TcpStream::connect(addr)?)?;
    /// }
    /// handle.stop();
    /// serving.join().unwrap()?;
    /// assert_eq!(SERVED.load(Ordering::Relaxed), 10);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn threads(self, n: usize) -> ServerThreads<L> {
        assert!(n > 0, "a server needs a thread");
        let siblings = (1..n).map(|_| self.listener.sibling()).collect();
        ServerThreads { server: self, siblings }
    }
}

impl ServerThreads<TcpListener> {
    /// As [`Server::local_addr`].
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// # let server = sward::net::Server::bind("127.0.0.1:0")?;
    /// let server = server.threads(2);
    /// assert_ne!(server.local_addr()?.port(), 0);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.server.local_addr()
    }
}

impl<L: Accept> ServerThreads<L> {
    /// As [`Server::pool`]; the size is that of each hub's pool.
    ///
    /// # Panics
    ///
    /// If `size` is zero.
    ///
    /// ```
    /// let server = sward::net::Server::bind("127.0.0.1:0")?.threads(2).pool(500); // 1000 in all
    /// # std::io::Result::Ok(())
    /// ```
    pub fn pool(mut self, size: usize) -> Self {
        self.server = self.server.pool(size);
        self
    }

    /// As [`Server::stop_on_signal`].
    ///
    /// ```
    /// use std::time::Duration;
    /// let server = sward::net::Server::bind("127.0.0.1:0")?.threads(2).stop_on_signal(Duration::from_secs(30));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn stop_on_signal(mut self, limit: Duration) -> Self {
        self.server = self.server.stop_on_signal(limit);
        self
    }

    /// As [`Server::handle`].
    ///
    /// ```
    /// # let server = sward::net::Server::bind("127.0.0.1:0")?;
    /// let server = server.threads(2);
    /// let handle = server.handle();
    /// std::thread::spawn(move || handle.stop());
    /// server.serve(|_stream, peer| println!("{peer} was here"))?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn handle(&self) -> ServerHandle {
        self.server.handle()
    }

    /// As [`Server::serve`], on all hubs. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// When a listener or a thread cannot be made, or accepting fails for good; the other hubs are
    /// stopped first.
    ///
    /// ```
    /// # let server = sward::net::Server::bind("127.0.0.1:0")?;
    /// # let server = server.threads(2);
    /// # let handle = server.handle();
    /// # std::thread::spawn(move || handle.stop());
    /// server.serve(|stream, _peer| std::io::copy(&mut &stream, &mut &stream))?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn serve<F, R>(self, handler: F) -> io::Result<()>
    where
        F: Fn(L::Stream, L::Peer) -> R + Send + Sync + 'static,
        R: 'static,
    {
        let handler = Arc::new(handler);
        self.serve_each(move || {
            let handler = handler.clone();
            in_greenlets::<L, _, _>(move |stream, peer| handler(stream, peer))
        })
    }

    /// As [`Server::serve_permits`], on all hubs.
    #[doc(hidden)]
    pub fn serve_permits<F>(self, take: F) -> io::Result<()>
    where
        F: Fn(L::Stream, L::Peer, Permit) -> io::Result<()> + Send + Sync + 'static,
    {
        let take = Arc::new(take);
        self.serve_each(move || {
            let take = take.clone();
            with_permits::<L, _>(move |stream, peer, permit| take(stream, peer, permit))
        })
    }

    /// Serves on all hubs; each has what `make` makes there.
    fn serve_each<T: Take<L>>(self, make: impl Fn() -> T + Clone + Send + 'static) -> io::Result<()> {
        let Server { listener, settings, control } = self.server;
        let siblings = self.siblings?;
        if !control.begin(siblings.len() + 1) {
            return Ok(());
        }
        let _signals = Signals::watch(&settings, &control);
        let mut others = Others { control: &control, threads: Vec::new() };
        let mut failed = None;
        for (i, fd) in siblings.into_iter().enumerate() {
            let (make, control) = (make.clone(), control.clone());
            let body = move || sward_runtime::run(|| serve_on_this_hub(L::from(fd), settings, &control, make()));
            match thread::Builder::new().name(format!("sward-server-{}", i + 1)).spawn(body) {
                Ok(thread) => others.threads.push(thread),
                Err(error) => {
                    others.control.hub_ended(false);
                    others.control.stop(Some(Instant::now()));
                    failed = Some(error);
                }
            }
        }
        let own = serve_on_this_hub(listener, settings, &control, make());
        let result = others.join();
        failed.map_or(own.and(result), Err)
    }
}

/// The threads besides the caller's.
struct Others<'a> {
    /// The server's state.
    control: &'a Control,
    /// Each serves on a hub.
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Others<'_> {
    /// Waits until all have ended; the first error.
    fn join(mut self) -> io::Result<()> {
        let _watch = self.control.watch();
        while self.control.hubs() > 0 {
            park(None);
        }
        // Their hubs have ended, what is left takes moments.
        let results = self.threads.drain(..).map(|thread| match thread.join() {
            Ok(result) => result,
            Err(payload) => std::panic::resume_unwind(payload),
        });
        results.collect()
    }
}

impl Drop for Others<'_> {
    fn drop(&mut self) {
        // Interrupted: they kill their handlers and end by themselves.
        if !self.threads.is_empty() {
            self.control.stop(Some(Instant::now()));
        }
    }
}
