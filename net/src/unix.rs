//! Unix sockets that are streams, and their listeners.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::iter::FusedIterator;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix, SocketType};

use crate::io::Socket;
use crate::tcp::{BACKLOG, FLAGS};

/// The first pause of a connect to a listener whose backlog is full. The kernel tells nobody when
/// there is room again.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// A Unix socket that is a stream, as [`std::os::unix::net::UnixStream`].
///
/// # Differences from `std::os::unix::net::UnixStream`
///
/// - Calls block the greenlet, not the thread; a `kill` or `timeout` ends them.
/// - The stream stays on its thread (`!Send`). Convert it into std's type to move it elsewhere.
/// - A timeout is reported as `ErrorKind::TimedOut` (std: `WouldBlock`).
/// - `write` returns when the kernel has taken a part, as it does for std with a write timeout; `write_all` writes all.
/// - `FromRawFd` is missing, since it is unsafe: use `From<OwnedFd>`. `peek`, `peer_cred` and
///   `set_mark` are unstable in std.
///
/// ```
/// use std::io::{Read, Write};
/// use sward::net::UnixStream;
///
/// let (mut a, mut b) = UnixStream::pair()?;
/// let reader = sward::spawn(move || {
///     let mut text = String::new();
///     b.read_to_string(&mut text).map(|_| text)
/// });
/// a.write_all(b"hello")?;
/// drop(a);
/// assert_eq!(reader.join().unwrap()?, "hello");
/// # std::io::Result::Ok(())
/// ```
pub struct UnixStream {
    /// The socket.
    socket: Socket<std::os::unix::net::UnixStream>,
}

descriptor!(UnixStream, std::os::unix::net::UnixStream);
stream_traits!(
    UnixStream,
    read_pieces,
    ["UnixStream::read", "UnixStream::read_vectored", "UnixStream::write", "UnixStream::write_vectored"]
);

impl UnixStream {
    /// Connects to the socket at `path`. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("sward-doc-connects-{}", std::process::id()));
    /// let listener = sward::net::UnixListener::bind(&path)?;
    /// let stream = sward::net::UnixStream::connect(&path)?;
    /// assert_eq!(stream.peer_addr()?.as_pathname(), Some(&*path));
    /// # std::fs::remove_file(path)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn connect<P: AsRef<Path>>(path: P) -> io::Result<UnixStream> {
        UnixStream::connect_addr(&SocketAddr::from_pathname(path)?)
    }

    /// Connects to an address, which may be an abstract one. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// # use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
    /// # let name = SocketAddr::from_abstract_name(format!("sward-doc-connect-{}", std::process::id()))?;
    /// let listener = sward::net::UnixListener::bind_addr(&name)?;
    /// let stream = sward::net::UnixStream::connect_addr(&listener.local_addr()?)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn connect_addr(addr: &SocketAddr) -> io::Result<UnixStream> {
        let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
        let addr = to_rustix(addr)?;
        let mut pause = FIRST_PAUSE;
        loop {
            match rustix::net::connect(&fd, &addr) {
                Ok(()) => return Ok(UnixStream::wrap(fd.into())),
                Err(Errno::AGAIN) => {
                    sward_runtime::sleep(pause);
                    pause = LONGEST_PAUSE.min(pause * 2);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Two sockets that are connected to each other.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// let (a, b) = sward::net::UnixStream::pair()?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let (a, b) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
        Ok((UnixStream::wrap(a.into()), UnixStream::wrap(b.into())))
    }

    /// The address of this side.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// let (a, _b) = sward::net::UnixStream::pair()?;
    /// assert!(a.local_addr()?.is_unnamed());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().local_addr()
    }

    /// The address of the other side.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// let (a, _b) = sward::net::UnixStream::pair()?;
    /// assert!(a.peer_addr()?.is_unnamed());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().peer_addr()
    }

    /// Shuts down one direction or both; wakes the greenlets that wait there, also those that use a
    /// clone.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// use std::{io::Read, net::Shutdown};
    /// let (a, mut b) = sward::net::UnixStream::pair()?;
    /// a.shutdown(Shutdown::Write)?;
    /// assert_eq!(b.read(&mut [0; 8])?, 0);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.get_ref().shutdown(how)
    }

    common_methods!(UnixStream, "# let (socket, _other) = sward::net::UnixStream::pair()?;");
    timeout_methods!("# let (socket, _other) = sward::net::UnixStream::pair()?;");
}

/// A Unix socket that accepts connections, as [`std::os::unix::net::UnixListener`].
///
/// # Differences from `std::os::unix::net::UnixListener`
///
/// - Calls block the greenlet, not the thread; a `kill` or `timeout` ends them.
/// - The listener stays on its thread (`!Send`).
/// - It listens with a backlog of 4096.
/// - `FromRawFd` is missing, since it is unsafe: use `From<OwnedFd>`.
///
/// ```
/// use std::io::Write;
/// use sward::net::{UnixListener, UnixStream};
///
/// # let path = std::env::temp_dir().join(format!("sward-doc-listener-{}", std::process::id()));
/// let listener = UnixListener::bind(&path)?;
/// sward::spawn(move || {
///     for stream in listener.incoming() {
///         let mut stream = stream.unwrap();
///         sward::spawn(move || stream.write_all(b"hello"));
///     }
/// });
/// assert_eq!(std::io::read_to_string(UnixStream::connect(&path)?)?, "hello");
/// # std::fs::remove_file(path)?;
/// # std::io::Result::Ok(())
/// ```
pub struct UnixListener {
    /// The socket.
    socket: Socket<std::os::unix::net::UnixListener>,
}

descriptor!(UnixListener, std::os::unix::net::UnixListener);

impl UnixListener {
    /// Listens at `path`, which must not exist.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("sward-doc-bind-{}", std::process::id()));
    /// let listener = sward::net::UnixListener::bind(&path)?;
    /// # std::fs::remove_file(path)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<UnixListener> {
        UnixListener::bind_addr(&SocketAddr::from_pathname(path)?)
    }

    /// Listens on an address, which may be an abstract one.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
    /// use sward::net::{UnixListener, UnixStream};
    ///
    /// let name = format!("sward-doc-{}", std::process::id());
    /// let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
    /// let client = UnixStream::connect_addr(&listener.local_addr()?)?;
    /// let (stream, _peer) = listener.accept()?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn bind_addr(addr: &SocketAddr) -> io::Result<UnixListener> {
        let listener = std::os::unix::net::UnixListener::bind_addr(addr)?;
        rustix::net::listen(&listener, BACKLOG)?;
        Ok(listener.into())
    }

    /// Waits for a connection. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// # use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
    /// # let name = SocketAddr::from_abstract_name(format!("sward-doc-accept-{}", std::process::id()))?;
    /// # let listener = sward::net::UnixListener::bind_addr(&name)?;
    /// # let _client = sward::net::UnixStream::connect_addr(&name)?;
    /// let (stream, peer) = listener.accept()?;
    /// assert!(peer.is_unnamed());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        self.socket.read("UnixListener::accept", |io| {
            let (fd, peer) = rustix::net::acceptfrom_with(io, FLAGS)?;
            Ok((UnixStream::wrap(fd.into()), from_rustix(peer)?))
        })
    }

    /// The address that the socket listens on.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("sward-doc-local-{}", std::process::id()));
    /// let listener = sward::net::UnixListener::bind(&path)?;
    /// assert_eq!(listener.local_addr()?.as_pathname(), Some(&*path));
    /// # std::fs::remove_file(path)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().local_addr()
    }

    /// The connections, one after the other, without end. Its `next` blocks the greenlet.
    ///
    /// ```
    /// # use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
    /// # let name = SocketAddr::from_abstract_name(format!("sward-doc-incoming-{}", std::process::id()))?;
    /// # let listener = sward::net::UnixListener::bind_addr(&name)?;
    /// # let _client = sward::net::UnixStream::connect_addr(&name)?;
    /// for stream in listener.incoming() {
    ///     println!("from {:?}", stream?.peer_addr()?);
    /// #   break;
    /// }
    /// # std::io::Result::Ok(())
    /// ```
    pub fn incoming(&self) -> UnixIncoming<'_> {
        UnixIncoming { listener: self }
    }

    common_methods!(
        UnixListener,
        "# use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
        # let name = SocketAddr::from_abstract_name(format!(\"sward-doc-{}-{}\", std::process::id(), line!()))?;
        # let socket = sward::net::UnixListener::bind_addr(&name)?;"
    );
}

impl<'a> IntoIterator for &'a UnixListener {
    type Item = io::Result<UnixStream>;
    type IntoIter = UnixIncoming<'a>;

    fn into_iter(self) -> UnixIncoming<'a> {
        self.incoming()
    }
}

/// The connections of a [`UnixListener`], see [`UnixListener::incoming`]. std's is
/// `std::os::unix::net::Incoming`.
///
/// ```
/// # use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
/// use sward::net::{UnixIncoming, UnixListener, UnixStream};
/// # let name = SocketAddr::from_abstract_name(format!("sward-doc-unix-incoming-{}", std::process::id()))?;
/// let listener = UnixListener::bind_addr(&name)?;
/// let _client = UnixStream::connect_addr(&name)?;
/// let mut connections: UnixIncoming = listener.incoming();
/// assert!(connections.next().unwrap()?.peer_addr()?.is_unnamed());
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct UnixIncoming<'a> {
    /// Where they come from.
    listener: &'a UnixListener,
}

impl Iterator for UnixIncoming<'_> {
    type Item = io::Result<UnixStream>;

    fn next(&mut self) -> Option<io::Result<UnixStream>> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

impl FusedIterator for UnixIncoming<'_> {}

/// An address as rustix has it.
fn to_rustix(addr: &SocketAddr) -> io::Result<SocketAddrUnix> {
    Ok(match (addr.as_pathname(), addr.as_abstract_name()) {
        (Some(path), _) => SocketAddrUnix::new(path)?,
        (None, Some(name)) => SocketAddrUnix::new_abstract_name(name)?,
        (None, None) => SocketAddrUnix::new_unnamed(),
    })
}

/// An address as std has it.
fn from_rustix(addr: Option<SocketAddrAny>) -> io::Result<SocketAddr> {
    let addr = addr.and_then(|addr| SocketAddrUnix::try_from(addr).ok());
    let path = addr.as_ref().and_then(SocketAddrUnix::path_bytes);
    match addr.as_ref().and_then(SocketAddrUnix::abstract_name) {
        // rustix gives an unnamed address as an empty name.
        Some(name) if !name.is_empty() => SocketAddr::from_abstract_name(name),
        // std makes an unnamed address of an empty path.
        _ => SocketAddr::from_pathname(OsStr::from_bytes(path.unwrap_or_default())),
    }
}
