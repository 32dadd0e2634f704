//! What a server accepts connections from.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::sockopt;

use crate::tcp::{TcpListener, TcpStream};
use crate::unix::{UnixListener, UnixStream};

/// A listener that a [`Server`](crate::Server) can be made of: [`TcpListener`] or [`UnixListener`].
///
/// ```
/// use sward::net::{Accept, Server, TcpListener};
///
/// fn serve<L: Accept>(listener: L) -> std::io::Result<()> {
///     let server = Server::from(listener);
///     # let handle = server.handle();
///     # sward::spawn(move || handle.stop());
///     server.serve(|stream, peer| println!("{peer:?} came as {stream:?}"))
/// }
/// serve(TcpListener::bind("127.0.0.1:0")?)?;
/// # std::io::Result::Ok(())
/// ```
pub trait Accept: sealed::Listener + fmt::Debug + 'static {
    /// A connection.
    type Stream: fmt::Debug + 'static;
    /// The address of its other side.
    type Peer: fmt::Debug + 'static;

    /// Waits for a connection. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// As the listener's `accept`.
    ///
    /// ```
    /// use sward::net::{Accept, TcpListener, TcpStream};
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let client = TcpStream::connect(listener.local_addr()?)?;
    /// assert_eq!(listener.accept_one()?.1, client.local_addr()?);
    /// # std::io::Result::Ok(())
    /// ```
    fn accept_one(&self) -> io::Result<(Self::Stream, Self::Peer)>;
}

impl Accept for TcpListener {
    type Stream = TcpStream;
    type Peer = SocketAddr;

    fn accept_one(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.accept()
    }
}

impl Accept for UnixListener {
    type Stream = UnixStream;
    type Peer = std::os::unix::net::SocketAddr;

    fn accept_one(&self) -> io::Result<(UnixStream, std::os::unix::net::SocketAddr)> {
        self.accept()
    }
}

/// Keeps `Accept` to the types above.
pub(crate) mod sealed {
    use super::*;

    /// What only servers need of a listener.
    pub trait Listener: From<OwnedFd> + Into<OwnedFd> {
        /// A listener for another hub, on the same address.
        fn sibling(&self) -> io::Result<OwnedFd>;
    }

    impl Listener for TcpListener {
        /// A socket of its own: the kernel spreads connections over all of them.
        fn sibling(&self) -> io::Result<OwnedFd> {
            // Every one of them must allow it; on the first one it may be set after `bind`.
            sockopt::set_socket_reuseport(self.as_fd(), true)?;
            Ok(TcpListener::bind_one(&self.local_addr()?, true)?.into())
        }
    }

    impl Listener for UnixListener {
        /// The same socket: the kernel knows no sharing of a path.
        fn sibling(&self) -> io::Result<OwnedFd> {
            self.as_fd().try_clone_to_owned()
        }
    }
}
