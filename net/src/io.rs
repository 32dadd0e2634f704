//! What every blocking call on a socket goes through, and standard input without blocking the hub.
//!
//! ```text
//!   TcpStream::read ──▶ Socket::read_stream ──▶ Source::read_with ──▶ try, park, try again
//!                       deadline from the        (sward-runtime)
//!                       socket's timeout
//! ```

use std::cell::{Cell, OnceCell};
use std::io;
use std::os::fd::AsFd;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{self, Timeout};
use sward_runtime::lowlevel::{Direction, Source};

pub use crate::stdin::{Lines, Stdin, StdinLock, stdin};

/// A socket or pipe of type `T` in non-blocking mode, with the options that std keeps in the kernel.
pub(crate) struct Socket<T: AsFd> {
    /// The descriptor and what the hub knows of it.
    source: Source<T>,
    /// The options of a socket that was never cloned: at hand, and no memory of their own.
    own: Options,
    /// Those of one that was: its clones share them, as they share the kernel's.
    shared: OnceCell<Rc<Options>>,
}

/// What can be set on a socket and is not in the kernel.
#[derive(Clone, Default)]
struct Options {
    /// The limit of each call that reads.
    read_timeout: Cell<Option<Duration>>,
    /// The limit of each call that writes.
    write_timeout: Cell<Option<Duration>>,
    /// Whether the user has switched to non-blocking mode.
    nonblocking: Cell<bool>,
    /// Whether a datagram socket was shut down for reading.
    closed_for_reading: Cell<bool>,
}

impl<T: AsFd> Socket<T> {
    /// Wraps `io`, which is in non-blocking mode.
    #[inline]
    pub(crate) fn new(io: T) -> Socket<T> {
        Socket { source: Source::new(io), own: Options::default(), shared: OnceCell::new() }
    }

    /// Runs a call that reads until it is done, within the read timeout. Blocks the greenlet.
    #[inline]
    pub(crate) fn read<R>(&self, name: &'static str, mut call: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        if self.options().nonblocking.get() {
            return call(self.get_ref());
        }
        self.source.read_with(name, deadline(self.options().read_timeout.get()), call)
    }

    /// As `read`, for a stream of bytes and a buffer of `len`. Less than that means that the kernel
    /// has no more now: the next read waits without trying.
    #[inline]
    pub(crate) fn read_stream(
        &self,
        name: &'static str,
        len: usize,
        call: impl FnMut(&T) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if len == 0 {
            return Ok(0); // the kernel would wait for a byte, and then not give it
        }
        let n = self.read(name, call)?;
        // 0 is the end of the stream: the next read says so again, at once.
        if 0 < n && n < len {
            self.source.used_up(Direction::Read);
        }
        Ok(n)
    }

    /// As `read_stream`, for a stream in which less than `len` does not mean that there is no more: a
    /// Unix socket ends a read at each passed descriptor.
    #[inline]
    pub(crate) fn read_pieces(
        &self,
        name: &'static str,
        len: usize,
        call: impl FnMut(&T) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if len == 0 { Ok(0) } else { self.read(name, call) }
    }

    /// Runs a call that writes until it is done, within the write timeout. Blocks the greenlet.
    #[inline]
    pub(crate) fn write<R>(&self, name: &'static str, mut call: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        if self.options().nonblocking.get() {
            return call(self.get_ref());
        }
        self.source.write_with(name, deadline(self.options().write_timeout.get()), call)
    }

    /// As `write`, for a stream of bytes. Less than `len` means that the kernel's buffer is full.
    #[inline]
    pub(crate) fn write_stream(
        &self,
        name: &'static str,
        len: usize,
        call: impl FnMut(&T) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if len == 0 {
            return Ok(0);
        }
        let n = self.write(name, call)?;
        if 0 < n && n < len {
            self.source.used_up(Direction::Write);
        }
        Ok(n)
    }

    /// The object inside.
    #[inline]
    pub(crate) fn get_ref(&self) -> &T {
        self.source.get_ref()
    }

    /// The descriptor with what the hub knows of it.
    pub(crate) fn source(&self) -> &Source<T> {
        &self.source
    }

    /// Wraps a second handle of the same socket.
    pub(crate) fn clone_as(&self, io: T) -> Socket<T> {
        let shared = self.shared.get_or_init(|| Rc::new(self.own.clone())).clone();
        Socket { source: Source::new(io), own: Options::default(), shared: shared.into() }
    }

    /// The options in force.
    #[inline]
    fn options(&self) -> &Options {
        self.shared.get().map_or(&self.own, |shared| shared)
    }

    /// Whether the user has switched to non-blocking mode.
    pub(crate) fn nonblocking(&self) -> bool {
        self.options().nonblocking.get()
    }

    /// Switches the user's non-blocking mode; the descriptor itself always is.
    pub(crate) fn set_nonblocking(&self, nonblocking: bool) {
        self.options().nonblocking.set(nonblocking);
    }

    /// Records that a datagram socket was shut down for reading.
    pub(crate) fn close_for_reading(&self) {
        self.options().closed_for_reading.set(true);
    }

    /// Whether that was recorded.
    pub(crate) fn is_closed_for_reading(&self) -> bool {
        self.options().closed_for_reading.get()
    }

    /// The limit of each call that reads.
    pub(crate) fn read_timeout(&self) -> Option<Duration> {
        self.options().read_timeout.get()
    }

    /// Sets the limit of each call that reads; as in std, zero is an error.
    pub(crate) fn set_read_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        self.options().read_timeout.set(checked(limit)?);
        Ok(())
    }

    /// The limit of each call that writes.
    pub(crate) fn write_timeout(&self) -> Option<Duration> {
        self.options().write_timeout.get()
    }

    /// Sets the limit of each call that writes; as in std, zero is an error.
    pub(crate) fn set_write_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        self.options().write_timeout.set(checked(limit)?);
        Ok(())
    }

    /// Takes over the timeouts that std keeps in the kernel. A pipe has none.
    pub(crate) fn take_over_timeouts(&self) {
        let limit = |which| sockopt::socket_timeout(self.get_ref(), which).ok().flatten();
        self.options().read_timeout.set(limit(Timeout::Recv));
        self.options().write_timeout.set(limit(Timeout::Send));
    }

    /// Hands the timeouts over to the kernel, which refuses those of a pipe: it has none.
    pub(crate) fn hand_over_timeouts(&self) {
        let _ = sockopt::set_socket_timeout(self.get_ref(), Timeout::Recv, self.read_timeout());
        let _ = sockopt::set_socket_timeout(self.get_ref(), Timeout::Send, self.write_timeout());
    }

    /// Deregisters the descriptor and gives the object back, still in non-blocking mode.
    pub(crate) fn into_inner(self) -> T {
        self.source.into_inner()
    }
}

impl<T: AsFd> UnwindSafe for Socket<T> {}
impl<T: AsFd> RefUnwindSafe for Socket<T> {}

/// The instant at which `limit` from now has passed; one too far away is none.
#[inline]
pub(crate) fn deadline(limit: Option<Duration>) -> Option<Instant> {
    limit.and_then(|limit| Instant::now().checked_add(limit))
}

/// Refuses a limit of zero, as std does.
fn checked(limit: Option<Duration>) -> io::Result<Option<Duration>> {
    if limit == Some(Duration::ZERO) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "cannot set a 0 duration timeout"));
    }
    Ok(limit)
}
