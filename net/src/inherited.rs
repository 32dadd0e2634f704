//! Servers on sockets that a service manager has opened and passed on (`LISTEN_FDS`).

use std::io;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use listenfd::ListenFd;

use crate::server::Server;
use crate::tcp::TcpListener;
use crate::unix::UnixListener;

/// What was passed to this process and is not taken yet.
static PASSED: LazyLock<Mutex<ListenFd>> = LazyLock::new(|| Mutex::new(ListenFd::from_env()));

/// Asks the environment at the first call.
fn passed() -> MutexGuard<'static, ListenFd> {
    PASSED.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server<TcpListener> {
    /// A server on the listening TCP socket number `index`, from 0, of those that systemd, `systemfd` or
    /// another service manager has passed to this process (`LISTEN_FDS`, sd_listen_fds(3)). `None` if it
    /// has passed fewer, or this one is taken already.
    ///
    /// With [`threads`](Server::threads) the process must belong to the user who has opened the socket:
    /// the kernel lets nobody else share the port. Call it early in `main`, while there is one thread:
    /// the environment is read and changed.
    ///
    /// # Errors
    ///
    /// `ErrorKind::InvalidInput` if what was passed is not a TCP socket.
    ///
    /// ```
    /// use sward::net::Server;
    ///
    /// let server = match Server::inherited(0)? {
    ///     Some(server) => server,
    ///     None => Server::bind("127.0.0.1:0")?,
    /// };
    /// # std::io::Result::Ok(())
    /// ```
    pub fn inherited(index: usize) -> io::Result<Option<Server<TcpListener>>> {
        let listener = passed().take_tcp_listener(index)?;
        Ok(listener.map(|listener| Server::from(TcpListener::from(listener))))
    }
}

impl Server<UnixListener> {
    /// As [`Server::inherited`], for a Unix socket.
    ///
    /// # Errors
    ///
    /// `ErrorKind::InvalidInput` if what was passed is not a Unix socket.
    ///
    /// ```
    /// assert!(sward::net::Server::inherited_unix(0)?.is_none());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn inherited_unix(index: usize) -> io::Result<Option<Server<UnixListener>>> {
        let listener = passed().take_unix_listener(index)?;
        Ok(listener.map(|listener| Server::from(UnixListener::from(listener))))
    }
}
