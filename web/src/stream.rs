//! What a connection comes over.
//!
//! From here up to `Connection::turn` nearly everything is inlined. The kernel's protections leave the processor without the
//! return addresses that it had predicted, so that each function which is open during a system call costs a wrong guess
//! when it returns; with two calls for a request, and five functions around each, that is felt.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::task::{Context, Poll, ready};

use sward_net::{TcpStream, UnixStream};
use sward_runtime::lowlevel::{Direction, Source};

#[cfg(feature = "tls")]
use crate::tls::Tls;

/// Who is at the other end of a connection.
///
/// ```
/// use sward::web::Peer;
/// assert_eq!(Peer::Tcp("127.0.0.1:80".parse().unwrap()).to_string(), "127.0.0.1");
/// assert_eq!(Peer::Unix.to_string(), "-");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Peer {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A process on this machine, through a Unix socket.
    Unix,
}

/// As the access log has it: the IP address, or `-`.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(addr) => addr.ip().fmt(f),
            Peer::Unix => f.write_str("-"),
        }
    }
}

impl Peer {
    /// As the error log has it: enough to find the other end's own log.
    pub(crate) fn with_port(self) -> String {
        match self {
            Peer::Tcp(addr) => addr.to_string(),
            Peer::Unix => "a Unix socket".to_owned(),
        }
    }
}

/// A connection's bytes.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// Either of them, encrypted.
    #[cfg(feature = "tls")]
    Tls(Box<Tls>),
}

impl Stream {
    /// What comes before the first byte that is read, the handshake of TLS.
    pub(crate) fn poll_begin(&self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(_) | Stream::Unix(_) => Poll::Ready(Ok(())),
            #[cfg(feature = "tls")]
            Stream::Tls(tls) => tls.poll_handshake(_context),
        }
    }

    /// Reads.
    #[inline(always)]
    pub(crate) fn poll_read(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Stream::Tcp(stream) => poll_read(stream.source(), context, buffer),
            Stream::Unix(stream) => poll_read(stream.source(), context, buffer),
            #[cfg(feature = "tls")]
            Stream::Tls(tls) => tls.poll_read(context, buffer),
        }
    }

    /// Writes.
    #[inline(always)]
    pub(crate) fn poll_write(&self, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self {
            Stream::Tcp(stream) => poll_write(stream.source(), context, parts),
            Stream::Unix(stream) => poll_write(stream.source(), context, parts),
            #[cfg(feature = "tls")]
            Stream::Tls(tls) => tls.poll_write(context, parts),
        }
    }

    /// Writes what the stream itself keeps back: encrypted bytes; a socket keeps nothing.
    pub(crate) fn poll_flush(&self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(_) | Stream::Unix(_) => Poll::Ready(Ok(())),
            #[cfg(feature = "tls")]
            Stream::Tls(tls) => tls.poll_flush(_context),
        }
    }

    /// Says that nothing more will be written.
    pub(crate) fn poll_shutdown(&self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
            #[cfg(feature = "tls")]
            Stream::Tls(tls) => return tls.poll_shutdown(_context),
        };
        Poll::Ready(match result {
            // The other side was faster.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            result => result,
        })
    }
}

/// Reads from a socket.
#[inline(always)]
fn poll_read<T>(source: &Source<T>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>
where
    T: AsFd,
    for<'a> &'a T: Read,
{
    let n = ready!(source.poll_with(Direction::Read, context, |mut io| io.read(buffer)))?;
    note_short(source, Direction::Read, n, buffer.len());
    Poll::Ready(Ok(n))
}

/// Writes to a socket.
#[inline(always)]
fn poll_write<T>(source: &Source<T>, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>>
where
    T: AsFd,
    for<'a> &'a T: Write,
{
    let write = |mut io: &T| match parts {
        [part] => io.write(part),
        parts => io.write_vectored(parts),
    };
    let n = ready!(source.poll_with(Direction::Write, context, write))?;
    note_short(source, Direction::Write, n, parts.iter().map(|part| part.len()).sum());
    Poll::Ready(Ok(n))
}

/// Less than was asked for: the kernel has no more now.
#[inline]
fn note_short<T: AsFd>(source: &Source<T>, direction: Direction, n: usize, len: usize) {
    if 0 < n && n < len {
        source.used_up(direction);
    }
}
