//! TLS over the sockets of this crate, by [`rustls`] (feature `tls`).
//!
//! A [`TlsStream`] is `Read + Write`, so that any blocking library takes it; through `&TlsStream` one
//! greenlet may read while another writes. Configurations are rustls' own: certificates, client
//! certificates, ALPN and versions are set there.
//!
//! ```text
//!   read ──▶ Source::read_with ──▶ borrow the connection: decrypted bytes there? done
//!                 ▲                one read(2) into rustls' buffer, decrypt, again
//!                 └── park ◀────── WouldBlock: the borrow has ended
//! ```

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Read, Write};
use std::ops::DerefMut;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::Duration;

#[doc(no_inline)]
pub use rustls;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};
use sward_runtime::{Elapsed, timeout};

use crate::tcp::TcpStream;
use crate::unix::UnixStream;

/// The hidden beginning of the examples: a certificate for "localhost" that signs itself, who shows it, who trusts it,
/// and two sockets to talk over.
macro_rules! example {
    () => {
        r#"# use std::io::{Read, Write};
# use std::sync::Arc;
# use std::time::Duration;
# use sward::net::UnixStream;
# use sward::tls::rustls::{ClientConfig, RootCertStore, ServerConfig, pki_types::PrivateKeyDer};
# use sward::tls::{Acceptor, Connector, TlsStream, Transport};
# let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
# let (cert, key) = (made.cert.der().clone(), PrivateKeyDer::try_from(made.key_pair.serialize_der()).unwrap());
# let mut roots = RootCertStore::empty();
# roots.add(cert.clone()).unwrap();
# let server_config = Arc::new(ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert], key).unwrap());
# let client_config = Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
# let (a, b) = UnixStream::pair()?;"#
    };
}

/// How long a handshake may take unless something else is set.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Makes the server's side of TLS connections. Cheap to clone; may cross threads.
///
/// ```
#[doc = example!()]
/// use sward::net::{Server, TcpStream};
///
/// let tls = Acceptor::new(server_config);
/// let server = Server::bind("127.0.0.1:0")?;
/// let addr = server.local_addr()?;
/// sward::spawn(move || {
///     server.serve(move |stream, _peer| {
///         let stream = tls.accept(stream)?; // the handshake runs in the handler's greenlet
///         std::io::copy(&mut &stream, &mut &stream)?;
///         stream.shutdown()
///     })
/// });
/// let mut client = Connector::new(client_config).connect("localhost", TcpStream::connect(addr)?)?;
/// client.write_all(b"hello")?;
/// client.shutdown()?;
/// assert_eq!(std::io::read_to_string(client)?, "hello");
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Debug)]
pub struct Acceptor {
    /// Certificates, ALPN, versions.
    config: Arc<ServerConfig>,
    /// How long a handshake may take.
    limit: Duration,
}

impl Acceptor {
    /// With a handshake of at most 10 seconds.
    ///
    /// ```
    #[doc = example!()]
    /// let tls = Acceptor::new(server_config);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn new(config: Arc<ServerConfig>) -> Acceptor {
        Acceptor { config, limit: HANDSHAKE }
    }

    /// Sets how long a handshake may take.
    ///
    /// ```
    #[doc = example!()]
    /// let tls = Acceptor::new(server_config).handshake_timeout(Duration::from_millis(10));
    /// let error = tls.accept(a).unwrap_err(); // the peer says nothing
    /// assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    /// # drop(b);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn handshake_timeout(mut self, limit: Duration) -> Acceptor {
        self.limit = limit;
        self
    }

    /// Makes the handshake. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// `ErrorKind::TimedOut` when the handshake takes too long, `ErrorKind::InvalidData` with a
    /// [`rustls::Error`] inside when the peer breaks the protocol or is not trusted, those of the socket.
    ///
    /// ```
    #[doc = example!()]
    /// let serving = sward::spawn(move || Acceptor::new(server_config).accept(a));
    /// # let client = Connector::new(client_config).connect("localhost", b)?;
    /// let server: TlsStream<UnixStream> = serving.join().unwrap()?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn accept<S: Transport>(&self, stream: S) -> io::Result<TlsStream<S>> {
        let connection = ServerConnection::new(self.config.clone()).map_err(invalid)?;
        TlsStream::handshake(stream, connection.into(), self.limit)
    }
}

/// Makes the client's side of TLS connections. Cheap to clone; may cross threads.
///
/// ```
#[doc = example!()]
/// sward::spawn(move || Acceptor::new(server_config).accept(a)?.write_all(b"hello"));
/// let mut client = Connector::new(client_config).connect("localhost", b)?;
/// let mut text = [0; 5];
/// client.read_exact(&mut text)?;
/// assert_eq!(&text, b"hello");
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Debug)]
pub struct Connector {
    /// Whom to trust, ALPN, versions, client certificates.
    config: Arc<ClientConfig>,
    /// How long a handshake may take.
    limit: Duration,
}

impl Connector {
    /// With a handshake of at most 10 seconds.
    ///
    /// ```
    #[doc = example!()]
    /// let tls = Connector::new(client_config);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn new(config: Arc<ClientConfig>) -> Connector {
        Connector { config, limit: HANDSHAKE }
    }

    /// Sets how long a handshake may take.
    ///
    /// ```
    #[doc = example!()]
    /// let tls = Connector::new(client_config).handshake_timeout(Duration::from_millis(10));
    /// let error = tls.connect("localhost", b).unwrap_err(); // the peer says nothing
    /// assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    /// # drop(a);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn handshake_timeout(mut self, limit: Duration) -> Connector {
        self.limit = limit;
        self
    }

    /// Makes the handshake with the server `name`, a host name (which is sent: SNI) or an IP address.
    /// Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// As [`Acceptor::accept`]; `ErrorKind::InvalidInput` for a name that is none.
    ///
    /// ```
    #[doc = example!()]
    /// sward::spawn(move || Acceptor::new(server_config).accept(a));
    /// let error = Connector::new(client_config).connect("example.org", b).unwrap_err(); // not its name
    /// assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn connect<S: Transport>(&self, name: &str, stream: S) -> io::Result<TlsStream<S>> {
        let name = ServerName::try_from(name.to_owned());
        let name = name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let connection = ClientConnection::new(self.config.clone(), name).map_err(invalid)?;
        TlsStream::handshake(stream, connection.into(), self.limit)
    }
}

/// A socket that TLS runs over: [`TcpStream`] or [`UnixStream`].
///
/// ```
#[doc = example!()]
/// fn greet<S: Transport>(stream: S, tls: &Acceptor) -> std::io::Result<()> {
///     tls.accept(stream)?.write_all(b"hello")
/// }
/// sward::spawn(move || greet(a, &Acceptor::new(server_config)));
/// let mut client = Connector::new(client_config).connect("localhost", b)?;
/// client.read_exact(&mut [0; 5])?;
/// # std::io::Result::Ok(())
/// ```
pub trait Transport: sealed::Pipe {}
impl Transport for TcpStream {}
impl Transport for UnixStream {}

/// Keeps `Transport` to the types above.
mod sealed {
    use super::*;

    /// One attempt to read or write, again when the socket is ready.
    pub trait Pipe: fmt::Debug + 'static {
        /// Runs `call` with something to read from.
        fn read_with<R>(&self, call: impl FnMut(&mut dyn Read) -> io::Result<R>) -> io::Result<R>;
        /// Runs `call` with something to write to.
        fn write_with<R>(&self, call: impl FnMut(&mut dyn Write) -> io::Result<R>) -> io::Result<R>;
        /// Runs `call` once; never blocks.
        fn try_write<R>(&self, call: impl FnOnce(&mut dyn Write) -> io::Result<R>) -> io::Result<R>;
        /// Shuts down the writing direction.
        fn end(&self) -> io::Result<()>;
    }

    /// For a type with a `Socket` inside.
    macro_rules! pipe {
        ($type:ty) => {
            impl Pipe for $type {
                fn read_with<R>(&self, mut call: impl FnMut(&mut dyn Read) -> io::Result<R>) -> io::Result<R> {
                    self.socket().read("TlsStream::read", |mut io| call(&mut io))
                }

                fn write_with<R>(&self, mut call: impl FnMut(&mut dyn Write) -> io::Result<R>) -> io::Result<R> {
                    self.socket().write("TlsStream::write", |mut io| call(&mut io))
                }

                fn try_write<R>(&self, call: impl FnOnce(&mut dyn Write) -> io::Result<R>) -> io::Result<R> {
                    call(&mut self.socket().get_ref())
                }

                fn end(&self) -> io::Result<()> {
                    self.shutdown(std::net::Shutdown::Write)
                }
            }
        };
    }

    pipe!(TcpStream);
    pipe!(UnixStream);
}

/// An encrypted stream.
///
/// Timeouts are those of the socket: `stream.get_ref().set_read_timeout(..)`. Dropping it does not say
/// goodbye to the peer, since that may block: [`shutdown`](TlsStream::shutdown) does.
///
/// ```
/// use std::{io::{Read, Write}, sync::Arc};
/// use sward::net::UnixStream;
/// use sward::tls::rustls::{ClientConfig, RootCertStore, ServerConfig, pki_types::PrivateKeyDer};
/// use sward::tls::{Acceptor, Connector};
///
/// let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
/// let (cert, key) = (made.cert.der().clone(), PrivateKeyDer::try_from(made.key_pair.serialize_der()).unwrap());
/// let mut roots = RootCertStore::empty();
/// roots.add(cert.clone()).unwrap();
/// let mut server = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert], key).unwrap();
/// let mut client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
/// server.alpn_protocols = vec![b"demo".to_vec()];
/// client.alpn_protocols = vec![b"demo".to_vec()];
///
/// let (a, b) = UnixStream::pair()?;
/// let serving = sward::spawn(move || -> std::io::Result<()> {
///     let stream = Acceptor::new(Arc::new(server)).accept(a)?;
///     assert_eq!(stream.server_name().as_deref(), Some("localhost"));
///     (&stream).write_all(b"hello")?;
///     stream.shutdown()
/// });
/// let mut stream = Connector::new(Arc::new(client)).connect("localhost", b)?;
/// assert_eq!(stream.alpn_protocol().as_deref(), Some(&b"demo"[..]));
/// assert_eq!(stream.peer_certificates().len(), 1);
/// let mut text = String::new();
/// stream.read_to_string(&mut text)?;
/// assert_eq!(text, "hello");
/// serving.join().unwrap()?;
/// # std::io::Result::Ok(())
/// ```
pub struct TlsStream<S: Transport = TcpStream> {
    /// The socket.
    socket: S,
    /// rustls' state. Never borrowed while a greenlet parks.
    connection: RefCell<Connection>,
}

impl<S: Transport> TlsStream<S> {
    /// Makes the handshake within `limit`.
    fn handshake(socket: S, connection: Connection, limit: Duration) -> io::Result<TlsStream<S>> {
        let stream = TlsStream { socket, connection: RefCell::new(connection) };
        timeout(limit, || {
            while stream.connection.borrow().is_handshaking() {
                stream.flush_all()?;
                let answered = |it: &mut Connection| Ok((!it.is_handshaking() || it.wants_write()).then_some(()));
                if stream.receive(answered)?.is_none() {
                    let what = "the peer closed the connection during the TLS handshake";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
                }
            }
            stream.flush_all()
        })
        .unwrap_or_else(|Elapsed| Err(io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake took too long")))?;
        Ok(stream)
    }

    /// The socket.
    ///
    /// ```
    #[doc = example!()]
    /// # let serving = sward::spawn(move || Acceptor::new(server_config).accept(a));
    /// let client = Connector::new(client_config).connect("localhost", b)?;
    /// client.get_ref().set_read_timeout(Some(Duration::from_secs(5)))?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn get_ref(&self) -> &S {
        &self.socket
    }

    /// The protocol that both sides agreed on (ALPN), if any.
    ///
    /// ```
    #[doc = example!()]
    /// # let serving = sward::spawn(move || Acceptor::new(server_config).accept(a));
    /// let client = Connector::new(client_config).connect("localhost", b)?;
    /// assert_eq!(client.alpn_protocol(), None); // nobody has offered any
    /// # std::io::Result::Ok(())
    /// ```
    pub fn alpn_protocol(&self) -> Option<Vec<u8>> {
        self.connection.borrow().alpn_protocol().map(<[u8]>::to_vec)
    }

    /// The certificates that the peer has shown, its own first; empty if none.
    ///
    /// ```
    #[doc = example!()]
    /// # let serving = sward::spawn(move || Acceptor::new(server_config).accept(a));
    /// let client = Connector::new(client_config).connect("localhost", b)?;
    /// assert_eq!(client.peer_certificates().len(), 1);
    /// # let server = serving.join().unwrap()?;
    /// assert!(server.peer_certificates().is_empty()); // it has asked for none
    /// # std::io::Result::Ok(())
    /// ```
    pub fn peer_certificates(&self) -> Vec<CertificateDer<'static>> {
        let connection = self.connection.borrow();
        connection.peer_certificates().unwrap_or_default().iter().map(|it| it.clone().into_owned()).collect()
    }

    /// On the server's side, the name that the client asked for (SNI), if any.
    ///
    /// ```
    #[doc = example!()]
    /// # let serving = sward::spawn(move || Acceptor::new(server_config).accept(a));
    /// # let client = Connector::new(client_config).connect("localhost", b)?;
    /// # let server = serving.join().unwrap()?;
    /// assert_eq!(server.server_name().as_deref(), Some("localhost"));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn server_name(&self) -> Option<String> {
        match &*self.connection.borrow() {
            Connection::Server(connection) => connection.server_name().map(str::to_owned),
            Connection::Client(_) => None,
        }
    }

    /// Tells the peer that nothing more will be written (`close_notify`, then the end of the stream);
    /// reading goes on. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    ///
    /// ```
    #[doc = example!()]
    /// # let serving = sward::spawn(move || Acceptor::new(server_config).accept(a));
    /// let mut client = Connector::new(client_config).connect("localhost", b)?;
    /// # let server = serving.join().unwrap()?;
    /// server.shutdown()?;
    /// assert_eq!(client.read(&mut [0; 8])?, 0); // the end, and not an error: nobody has cut it off
    /// # std::io::Result::Ok(())
    /// ```
    pub fn shutdown(&self) -> io::Result<()> {
        self.connection.borrow_mut().send_close_notify();
        self.flush_all()?;
        self.socket.end()
    }

    /// Writes what is encrypted and not yet written. Blocks the greenlet.
    fn flush_all(&self) -> io::Result<()> {
        while self.connection.borrow().wants_write() {
            self.socket.write_with(|io| self.connection.borrow_mut().write_tls(&mut Sink(io)))?;
        }
        Ok(())
    }

    /// Receives and decrypts until `take` has something. `None` at the end of the stream. Blocks the
    /// greenlet.
    fn receive<R>(&self, mut take: impl FnMut(&mut Connection) -> io::Result<Option<R>>) -> io::Result<Option<R>> {
        let result = self.socket.read_with(|io| {
            let mut connection = self.connection.borrow_mut();
            let connection = connection.deref_mut();
            loop {
                // First: another greenlet may have received what this one waits for.
                if let Some(value) = take(connection)? {
                    return Ok(Some(value));
                }
                if connection.read_tls(io)? == 0 {
                    return Ok(None);
                }
                connection.process_new_packets().map_err(invalid)?;
            }
        });
        // Alerts and key updates: without waiting, since this greenlet is a reader.
        if self.connection.borrow().wants_write() {
            let _ = self.socket.try_write(|io| self.connection.borrow_mut().write_tls(&mut Sink(io)));
        }
        result
    }
}

/// What decrypted bytes there are, into `buf`; `None` if there are none yet.
fn take_plaintext(connection: &mut Connection, buf: &mut [u8]) -> io::Result<Option<usize>> {
    match connection.reader().read(buf) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        result => result.map(Some),
    }
}

impl<S: Transport> Read for &TlsStream<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        if let Some(n) = take_plaintext(&mut self.connection.borrow_mut(), buf)? {
            return Ok(n);
        }
        match self.receive(|connection| take_plaintext(connection, buf))? {
            Some(n) => Ok(n),
            // The end of the socket: whether it is that of the TLS stream too, rustls knows.
            None => Ok(take_plaintext(&mut self.connection.borrow_mut(), buf)?.unwrap_or(0)),
        }
    }
}

impl<S: Transport> Write for &TlsStream<S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        // First what was taken before and could not be sent: an error of that has taken nothing of `buf`.
        self.flush_all()?;
        let n = self.connection.borrow_mut().writer().write(buf)?;
        match self.flush_all() {
            // Taken, so it counts as written; the next call waits again.
            Err(error) if error.kind() == io::ErrorKind::TimedOut || error.kind() == io::ErrorKind::WouldBlock => Ok(n),
            result => result.map(|()| n),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flush_all()
    }
}

impl<S: Transport> Read for TlsStream<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }
}

impl<S: Transport> Write for TlsStream<S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self).flush()
    }
}

impl<S: Transport> fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl<S: Transport> UnwindSafe for TlsStream<S> {}
impl<S: Transport> RefUnwindSafe for TlsStream<S> {}

/// A writer that rustls may ask for a vectored write.
struct Sink<'a>(&'a mut dyn Write);

impl Write for Sink<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn write_vectored(&mut self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A failure of TLS as std has errors.
fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
