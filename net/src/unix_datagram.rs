//! Unix sockets for datagrams.

use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType};

use crate::io::{Socket, deadline};
use crate::tcp::FLAGS;

/// How long a send to a full receiver waits before it looks again. The kernel wakes a sender only
/// if it is connected to the receiver.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A Unix socket for datagrams, as [`std::os::unix::net::UnixDatagram`].
///
/// # Differences from `std::os::unix::net::UnixDatagram`
///
/// - Calls block the greenlet, not the thread; a `kill` or `timeout` ends them.
/// - The socket stays on its thread (`!Send`).
/// - A timeout is reported as `ErrorKind::TimedOut` (std: `WouldBlock`).
/// - `FromRawFd` is missing, since it is unsafe: use `From<OwnedFd>`. `peek`, `peek_from` and
///   `set_mark` are unstable in std.
///
/// ```
/// use sward::net::UnixDatagram;
///
/// let (a, b) = UnixDatagram::pair()?;
/// a.send(b"ping")?;
/// let mut buf = [0; 16];
/// let n = b.recv(&mut buf)?;
/// assert_eq!(&buf[..n], b"ping");
/// # std::io::Result::Ok(())
/// ```
pub struct UnixDatagram {
    /// The socket.
    socket: Socket<std::os::unix::net::UnixDatagram>,
}

descriptor!(UnixDatagram, std::os::unix::net::UnixDatagram);

impl UnixDatagram {
    /// A socket bound to `path`, which must not exist.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("sward-doc-dgram-{}", std::process::id()));
    /// let socket = sward::net::UnixDatagram::bind(&path)?;
    /// # std::fs::remove_file(path)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<UnixDatagram> {
        std::os::unix::net::UnixDatagram::bind(path).map(UnixDatagram::from)
    }

    /// A socket bound to an address, which may be an abstract one.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
    /// use sward::net::UnixDatagram;
    ///
    /// let name = format!("sward-doc-datagram-{}", std::process::id());
    /// let receiver = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
    /// let sender = UnixDatagram::unbound()?;
    /// sender.send_to_addr(b"ping", &receiver.local_addr()?)?;
    /// assert_eq!(receiver.recv(&mut [0; 16])?, 4);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn bind_addr(addr: &SocketAddr) -> io::Result<UnixDatagram> {
        std::os::unix::net::UnixDatagram::bind_addr(addr).map(UnixDatagram::from)
    }

    /// A socket without an address.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// let socket = sward::net::UnixDatagram::unbound()?;
    /// assert!(socket.local_addr()?.is_unnamed());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn unbound() -> io::Result<UnixDatagram> {
        let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, FLAGS, None)?;
        Ok(UnixDatagram::wrap(fd.into()))
    }

    /// Two sockets that are connected to each other.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// let (a, b) = sward::net::UnixDatagram::pair()?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
        let (a, b) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::DGRAM, FLAGS, None)?;
        Ok((UnixDatagram::wrap(a.into()), UnixDatagram::wrap(b.into())))
    }

    /// Connects to the socket at `path`: the peer of `send` and `recv`.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("sward-doc-dconn-{}", std::process::id()));
    /// let receiver = sward::net::UnixDatagram::bind(&path)?;
    /// let sender = sward::net::UnixDatagram::unbound()?;
    /// sender.connect(&path)?;
    /// sender.send(b"hi")?;
    /// # std::fs::remove_file(path)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn connect<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        self.socket.get_ref().connect(path)
    }

    /// Connects to an address, which may be an abstract one.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// # use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
    /// # let name = SocketAddr::from_abstract_name(format!("sward-doc-dconn-{}", std::process::id()))?;
    /// let receiver = sward::net::UnixDatagram::bind_addr(&name)?;
    /// let sender = sward::net::UnixDatagram::unbound()?;
    /// sender.connect_addr(&name)?;
    /// sender.send(b"hi")?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn connect_addr(&self, addr: &SocketAddr) -> io::Result<()> {
        self.socket.get_ref().connect_addr(addr)
    }

    /// The address of this socket.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// # let (a, b) = sward::net::UnixDatagram::pair()?;
    /// assert!(a.local_addr()?.is_unnamed());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().local_addr()
    }

    /// The address of the connected peer.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// # let (a, b) = sward::net::UnixDatagram::pair()?;
    /// assert!(a.peer_addr()?.is_unnamed());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().peer_addr()
    }

    /// Receives a datagram and tells who sent it. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// As std's; `ErrorKind::TimedOut` when the read timeout passes.
    ///
    /// ```
    /// # let (a, b) = sward::net::UnixDatagram::pair()?;
    /// a.send(b"hi")?;
    /// let (n, from) = b.recv_from(&mut [0; 8])?;
    /// assert!(n == 2 && from.is_unnamed());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.read("UnixDatagram::recv_from", |io| match io.recv_from(buf) {
            Err(error) if self.is_at_end(&error) => Ok((0, SocketAddr::from_pathname("")?)),
            result => result,
        })
    }

    /// Receives a datagram. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// As std's; `ErrorKind::TimedOut` when the read timeout passes.
    ///
    /// ```
    /// # let (a, b) = sward::net::UnixDatagram::pair()?;
    /// a.send(b"hi")?;
    /// assert_eq!(b.recv(&mut [0; 8])?, 2);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.read("UnixDatagram::recv", |io| match io.recv(buf) {
            Err(error) if self.is_at_end(&error) => Ok(0),
            result => result,
        })
    }

    /// Sends a datagram to the socket at `path`. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// As std's; `ErrorKind::TimedOut` when the write timeout passes.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("sward-doc-dto-{}", std::process::id()));
    /// let receiver = sward::net::UnixDatagram::bind(&path)?;
    /// assert_eq!(sward::net::UnixDatagram::unbound()?.send_to(b"hi", &path)?, 2);
    /// # std::fs::remove_file(path)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn send_to<P: AsRef<Path>>(&self, buf: &[u8], path: P) -> io::Result<usize> {
        self.send_to_addr(buf, &SocketAddr::from_pathname(path)?)
    }

    /// Sends a datagram to an address, which may be an abstract one. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// As std's; `ErrorKind::TimedOut` when the write timeout passes.
    ///
    /// ```
    /// # use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
    /// # let name = SocketAddr::from_abstract_name(format!("sward-doc-dto-{}", std::process::id()))?;
    /// let receiver = sward::net::UnixDatagram::bind_addr(&name)?;
    /// assert_eq!(sward::net::UnixDatagram::unbound()?.send_to_addr(b"hi", &name)?, 2);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn send_to_addr(&self, buf: &[u8], addr: &SocketAddr) -> io::Result<usize> {
        if self.socket.nonblocking() {
            return self.socket.get_ref().send_to_addr(buf, addr);
        }
        let limit = deadline(self.socket.write_timeout());
        loop {
            // Not waited for as other calls are: the kernel tells no sender of a receiver's room, but
            // reports after each failed attempt that this socket is writable.
            let sent = self.socket.source().write_with("UnixDatagram::send_to_addr", limit, |io| {
                match io.send_to_addr(buf, addr) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                    result => result.map(Some),
                }
            })?;
            let left = limit.map(|limit| limit.saturating_duration_since(Instant::now()));
            match (sent, left) {
                (Some(n), _) => return Ok(n),
                (None, Some(Duration::ZERO)) => return Err(io::ErrorKind::TimedOut.into()),
                (None, left) => sward_runtime::sleep(left.map_or(LOOK_AGAIN, |left| left.min(LOOK_AGAIN))),
            }
        }
    }

    /// Sends a datagram to the connected peer. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// As std's; `ErrorKind::TimedOut` when the write timeout passes.
    ///
    /// ```
    /// # let (a, b) = sward::net::UnixDatagram::pair()?;
    /// assert_eq!(a.send(b"hi")?, 2);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.socket.write("UnixDatagram::send", |io| io.send(buf))
    }

    /// Shuts down one direction or both; wakes the greenlets that wait there.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// # let (a, b) = sward::net::UnixDatagram::pair()?;
    /// b.shutdown(std::net::Shutdown::Read)?;
    /// assert_eq!(b.recv(&mut [0; 8])?, 0);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if how != Shutdown::Write {
            self.socket.close_for_reading();
        }
        self.socket.get_ref().shutdown(how)
    }

    /// Whether a call failed because this socket was shut down. In blocking mode the kernel returns
    /// nothing then, in non-blocking mode it says that the call would block.
    fn is_at_end(&self, error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::WouldBlock && self.socket.is_closed_for_reading()
    }

    common_methods!(UnixDatagram, "# let (socket, _other) = sward::net::UnixDatagram::pair()?;");
    timeout_methods!("# let (socket, _other) = sward::net::UnixDatagram::pair()?;");
}
