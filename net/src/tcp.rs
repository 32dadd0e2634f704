//! TCP: streams and listeners.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::iter::FusedIterator;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::addr::{ToSocketAddrs, each_addr};
use crate::io::{Socket, deadline};

/// Connections that the kernel keeps for `accept`. std asks for 128, and then a burst of 500
/// connects costs some of them the second after which TCP sends its SYN again.
pub(crate) const BACKLOG: i32 = 4096;

/// New sockets are in non-blocking mode and closed by `exec`.
pub(crate) const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// A TCP connection, as [`std::net::TcpStream`].
///
/// Several greenlets may use one stream at once through `&TcpStream` (in an `Rc`, in a `scope`): one
/// may read while another writes, and those that wait in the same direction are served first in,
/// first out.
///
/// # Differences from `std::net::TcpStream`
///
/// - Calls block the greenlet, not the thread; a `kill` or `timeout` ends them.
/// - The stream stays on its thread (`!Send`). Convert it into std's type to move it elsewhere.
/// - A timeout is reported as `ErrorKind::TimedOut` (std: `WouldBlock` on Unix).
/// - `write` returns when the kernel has taken a part, as it does for std with a write timeout; `write_all` writes all.
/// - `FromRawFd` is missing, since it is unsafe: use `From<OwnedFd>`.
///
/// ```
/// use std::io::{Read, Write};
/// use sward::net::{TcpListener, TcpStream};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let addr = listener.local_addr()?;
/// let server = sward::spawn(move || -> std::io::Result<()> {
///     let (mut stream, _peer) = listener.accept()?;
///     stream.write_all(b"hello")
/// });
/// let mut text = String::new();
/// TcpStream::connect(addr)?.read_to_string(&mut text)?;
/// assert_eq!(text, "hello");
/// server.join().unwrap()?;
/// # std::io::Result::Ok(())
/// ```
pub struct TcpStream {
    /// The socket.
    socket: Socket<std::net::TcpStream>,
}

descriptor!(TcpStream, std::net::TcpStream);
stream_traits!(
    TcpStream,
    read_stream,
    ["TcpStream::read", "TcpStream::read_vectored", "TcpStream::write", "TcpStream::write_vectored"]
);

impl TcpStream {
    /// Connects to the first of the addresses that answers. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// As std's: that of the last address.
    ///
    /// ```
    /// use sward::net::{TcpListener, TcpStream};
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let stream = TcpStream::connect(("localhost", listener.local_addr()?.port()))?;
    /// assert_eq!(stream.peer_addr()?, listener.local_addr()?);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn connect<A: ToSocketAddrs>(addr: A) -> io::Result<TcpStream> {
        each_addr(addr, |addr| TcpStream::connect_until(addr, None))
    }

    /// Connects to one address within `limit`. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// As std's: `ErrorKind::TimedOut` when the limit passes, `ErrorKind::InvalidInput` for a limit of
    /// zero.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sward::net::{TcpListener, TcpStream};
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// TcpStream::connect_timeout(&listener.local_addr()?, Duration::from_secs(5))?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn connect_timeout(addr: &SocketAddr, limit: Duration) -> io::Result<TcpStream> {
        if limit.is_zero() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "cannot set a 0 duration timeout"));
        }
        TcpStream::connect_until(addr, deadline(Some(limit)))
    }

    /// Connects; interrupted, it closes the socket.
    fn connect_until(addr: &SocketAddr, deadline: Option<Instant>) -> io::Result<TcpStream> {
        let fd = rustix::net::socket_with(family(addr), SocketType::STREAM, FLAGS, None)?;
        let stream = TcpStream::wrap(fd.into());
        match rustix::net::connect(&stream, addr) {
            Ok(()) => return Ok(stream),
            // A signal does not stop the attempt either.
            Err(Errno::INPROGRESS | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        stream.socket.source().write_with("TcpStream::connect", deadline, |io| {
            if let Some(error) = io.take_error()? {
                return Err(error);
            }
            // An event may come for nothing: connected is who has a peer.
            match rustix::net::getpeername(io) {
                Err(Errno::NOTCONN) => Err(io::ErrorKind::WouldBlock.into()),
                other => other.map(drop).map_err(io::Error::from),
            }
        })?;
        Ok(stream)
    }

    /// The address of the other side.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// # let listener = sward::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let stream = sward::net::TcpStream::connect(listener.local_addr()?)?;
    /// assert_eq!(stream.peer_addr()?, listener.local_addr()?);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().peer_addr()
    }

    /// The address of this side.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// # let listener = sward::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let stream = sward::net::TcpStream::connect(listener.local_addr()?)?;
    /// assert!(stream.local_addr()?.ip().is_loopback());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().local_addr()
    }

    /// Shuts down one direction or both; wakes the greenlets that wait there, also those that use a
    /// clone.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// use std::{io::Read, net::Shutdown, rc::Rc};
    /// use sward::net::{TcpListener, TcpStream};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let stream = Rc::new(TcpStream::connect(listener.local_addr()?)?);
    /// let reader = sward::spawn({
    ///     let stream = stream.clone();
    ///     move || (&*stream).read(&mut [0; 8])
    /// });
    /// sward::yield_now(); // the reader waits
    /// stream.shutdown(Shutdown::Both)?;
    /// assert_eq!(reader.join().unwrap()?, 0);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.get_ref().shutdown(how)
    }

    /// Reads and leaves what it has read in the socket. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// As std's; `ErrorKind::TimedOut` when the read timeout passes.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use sward::net::{TcpListener, TcpStream};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let mut a = TcpStream::connect(listener.local_addr()?)?;
    /// let (mut b, _) = listener.accept()?;
    /// a.write_all(b"x")?;
    /// assert_eq!(b.peek(&mut [0])?, 1);
    /// assert_eq!(b.read(&mut [0])?, 1);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0); // as `read`
        }
        self.socket.read("TcpStream::peek", |io| io.peek(buf))
    }

    /// Sends small writes at once (`TCP_NODELAY`) instead of collecting them.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// # let listener = sward::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let stream = sward::net::TcpStream::connect(listener.local_addr()?)?;
    /// stream.set_nodelay(true)?;
    /// assert!(stream.nodelay()?);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.socket.get_ref().set_nodelay(nodelay)
    }

    /// Whether small writes are sent at once.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// # let listener = sward::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let stream = sward::net::TcpStream::connect(listener.local_addr()?)?;
    /// assert!(!stream.nodelay()?);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn nodelay(&self) -> io::Result<bool> {
        self.socket.get_ref().nodelay()
    }

    common_methods!(
        TcpStream,
        "# let listener = sward::net::TcpListener::bind(\"127.0.0.1:0\")?;
        # let socket = sward::net::TcpStream::connect(listener.local_addr()?)?;"
    );
    timeout_methods!(
        "# let listener = sward::net::TcpListener::bind(\"127.0.0.1:0\")?;
        # let socket = sward::net::TcpStream::connect(listener.local_addr()?)?;"
    );
    ttl_methods!(
        "# let listener = sward::net::TcpListener::bind(\"127.0.0.1:0\")?;
        # let socket = sward::net::TcpStream::connect(listener.local_addr()?)?;"
    );
}

/// A TCP socket that accepts connections, as [`std::net::TcpListener`].
///
/// # Differences from `std::net::TcpListener`
///
/// - Calls block the greenlet, not the thread; a `kill` or `timeout` ends them.
/// - The listener stays on its thread (`!Send`).
/// - It listens with a backlog of 4096 (std: 128).
/// - `FromRawFd` is missing, since it is unsafe: use `From<OwnedFd>`. `into_incoming` is unstable in
///   std, `set_only_v6` deprecated there.
///
/// ```
/// use sward::net::{TcpListener, TcpStream};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let client = TcpStream::connect(listener.local_addr()?)?;
/// let (stream, peer) = listener.accept()?;
/// assert_eq!(peer, client.local_addr()?);
/// # std::io::Result::Ok(())
/// ```
pub struct TcpListener {
    /// The socket.
    socket: Socket<std::net::TcpListener>,
}

descriptor!(TcpListener, std::net::TcpListener);

impl TcpListener {
    /// Listens on the first of the addresses that can be had. Blocks the greenlet while it looks up a
    /// name.
    ///
    /// # Errors
    ///
    /// As std's: that of the last address.
    ///
    /// ```
    /// let listener = sward::net::TcpListener::bind("127.0.0.1:0")?;
    /// assert_ne!(listener.local_addr()?.port(), 0);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<TcpListener> {
        each_addr(addr, |addr| TcpListener::bind_one(addr, false))
    }

    /// Listens on one address; `shared` lets other sockets of this kind share the port.
    pub(crate) fn bind_one(addr: &SocketAddr, shared: bool) -> io::Result<TcpListener> {
        let fd = rustix::net::socket_with(family(addr), SocketType::STREAM, FLAGS, None)?;
        sockopt::set_socket_reuseaddr(&fd, true)?;
        if shared {
            sockopt::set_socket_reuseport(&fd, true)?;
        }
        rustix::net::bind(&fd, addr)?;
        rustix::net::listen(&fd, BACKLOG)?;
        Ok(TcpListener::wrap(fd.into()))
    }

    /// The address that the socket listens on.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// let listener = sward::net::TcpListener::bind("127.0.0.1:0")?;
    /// assert_ne!(listener.local_addr()?.port(), 0);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().local_addr()
    }

    /// Waits for a connection. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// As std's. The one of a process that has no descriptor left (`EMFILE`) comes again at once if
    /// the call is repeated: sleep first, as `Server` does.
    ///
    /// ```
    /// use sward::net::{TcpListener, TcpStream};
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let _client = TcpStream::connect(listener.local_addr()?)?;
    /// let (stream, peer) = listener.accept()?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.socket.read("TcpListener::accept", |io| {
            let (fd, peer) = rustix::net::acceptfrom_with(io, FLAGS)?;
            let stream = TcpStream::wrap(fd.into());
            let peer = match peer.map(SocketAddr::try_from) {
                Some(Ok(peer)) => peer,
                _ => stream.peer_addr()?,
            };
            Ok((stream, peer))
        })
    }

    /// The connections, one after the other, without end. Its `next` blocks the greenlet.
    ///
    /// ```
    /// use sward::net::{TcpListener, TcpStream};
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let _client = TcpStream::connect(listener.local_addr()?)?;
    /// for stream in listener.incoming() {
    ///     println!("from {}", stream?.peer_addr()?);
    /// #   break;
    /// }
    /// # std::io::Result::Ok(())
    /// ```
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    common_methods!(TcpListener, "# let socket = sward::net::TcpListener::bind(\"127.0.0.1:0\")?;");
    ttl_methods!("# let socket = sward::net::TcpListener::bind(\"127.0.0.1:0\")?;");
}

/// The connections of a [`TcpListener`], see [`TcpListener::incoming`].
///
/// ```
/// use sward::net::{Incoming, TcpListener, TcpStream};
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let client = TcpStream::connect(listener.local_addr()?)?;
/// let mut connections: Incoming = listener.incoming();
/// assert_eq!(connections.next().unwrap()?.peer_addr()?, client.local_addr()?);
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct Incoming<'a> {
    /// Where they come from.
    listener: &'a TcpListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

impl FusedIterator for Incoming<'_> {}

/// The address family of a socket for `addr`.
fn family(addr: &SocketAddr) -> AddressFamily {
    match addr {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    }
}
