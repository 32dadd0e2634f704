//! HTTPS: rustls between the socket and hyper.
//!
//! Polled as the sockets are, so that a connection that waits to read can write. Nothing here blocks, but what is the
//! user's in a handshake (who chooses the certificate, who remembers sessions): then who polls parks, with the state of this
//! connection borrowed, and nothing that another one needs.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use sward_net::tls::rustls::{self, ServerConfig, ServerConnection};

use crate::stream::Stream;

/// `config`, offering HTTP/2 and HTTP/1.1 (ALPN) unless it offers something already.
pub(crate) fn with_alpn(config: Arc<ServerConfig>) -> Arc<ServerConfig> {
    if !config.alpn_protocols.is_empty() {
        return config;
    }
    let mut config = ServerConfig::clone(&config);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

/// The server's side of an encrypted connection.
pub struct Tls {
    /// The socket.
    socket: Box<Stream>,
    /// rustls' state.
    connection: RefCell<ServerConnection>,
}

impl Tls {
    /// Before the handshake.
    pub(crate) fn new(socket: Stream, config: Arc<ServerConfig>) -> io::Result<Tls> {
        let connection = ServerConnection::new(config).map_err(invalid)?;
        Ok(Tls { socket: Box::new(socket), connection: RefCell::new(connection) })
    }

    /// Makes the handshake.
    pub(crate) fn poll_handshake(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = loop {
            match ready!(self.poll_flush(context)) {
                Ok(()) if self.connection.borrow().is_handshaking() => {}
                result => break result,
            }
            match ready!(self.poll_receive(context)) {
                Ok(0) => break Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
        };
        Poll::Ready(result.map_err(|error| io::Error::new(error.kind(), format!("TLS handshake: {error}"))))
    }

    /// Reads what was decrypted, after the handshake.
    pub(crate) fn poll_read(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            let read = self.connection.borrow_mut().reader().read(buffer);
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Closed without a goodbye. HTTP has its own ways to tell that a message is cut off.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Poll::Ready(Ok(0)),
                result => return Poll::Ready(result),
            }
            // At its end rustls says so at the next turn.
            ready!(self.poll_receive(context))?;
        }
    }

    /// Encrypts, and writes what the socket takes.
    pub(crate) fn poll_write(&self, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            let n = self.connection.borrow_mut().writer().write_vectored(parts)?;
            let flushed = self.poll_flush(context)?;
            if n > 0 || parts.iter().all(|part| part.is_empty()) {
                return Poll::Ready(Ok(n));
            }
            // rustls' buffer is full.
            ready!(flushed);
        }
    }

    /// Writes what is encrypted.
    pub(crate) fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut connection = self.connection.borrow_mut();
        while connection.wants_write() {
            match connection.write_tls(&mut Adapter { socket: &self.socket, context }) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                result => result?,
            };
        }
        Poll::Ready(Ok(()))
    }

    /// Says goodbye.
    pub(crate) fn poll_shutdown(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.borrow_mut().send_close_notify();
        ready!(self.poll_flush(context))?;
        self.socket.poll_shutdown(context)
    }

    /// Receives and decrypts once; 0 at the end of the stream.
    fn poll_receive(&self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut connection = self.connection.borrow_mut();
        let n = match connection.read_tls(&mut Adapter { socket: &self.socket, context }) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            result => result?,
        };
        let state = connection.process_new_packets();
        drop(connection);
        // Alerts and key updates, as far as the socket takes them; the rest goes with the next write.
        if let Poll::Ready(Err(error)) = self.poll_flush(context)
            && state.is_ok()
        {
            return Poll::Ready(Err(error));
        }
        state.map_err(invalid)?;
        Poll::Ready(Ok(n))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// A polled socket as rustls wants it.
struct Adapter<'a, 'b, 'c> {
    /// The socket.
    socket: &'a Stream,
    /// Who is woken when it is ready.
    context: &'b mut Context<'c>,
}

/// What is not ready would block.
fn now<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl Read for Adapter<'_, '_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        now(self.socket.poll_read(self.context, buffer))
    }
}

impl Write for Adapter<'_, '_, '_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buffer)])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        now(self.socket.poll_write(self.context, parts))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A failure of TLS as std has errors.
fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
