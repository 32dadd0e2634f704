//! An asynchronous driver in blocking style: tokio-postgres over a green socket, without tokio's runtime.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use sward::lowlevel::{Direction, Source};
use sward::net::{TcpStream, UnixStream};
use sward::sync::channel::{Receiver, Sender, bounded};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, NoTls};

use super::accounts::Failure;

/// Connections to one database, shared by all hubs.
///
/// A channel with a place for each connection that may be open: whoever wants one takes a place out, and puts it
/// back, with the connection if that may be used again. Who comes when all are out waits, first come first served.
pub(crate) struct Pool {
    /// The database.
    config: Config,
    /// Where places are put back.
    back: Sender<Option<Client>>,
    /// Where they are taken from.
    free: Receiver<Option<Client>>,
}

impl Pool {
    /// Of at most `size` connections to the database at `url`.
    pub(crate) fn new(url: &str, size: usize) -> Result<Pool, Failure> {
        let (back, free) = bounded(size);
        for _ in 0..size {
            back.try_send(None).map_err(|_| "a new channel is empty")?;
        }
        Ok(Pool { config: url.parse()?, back, free })
    }

    /// Lends a connection to `f`. Blocks the greenlet while all are in use.
    pub(crate) fn with<T>(&self, f: impl FnOnce(&Client) -> Result<T, tokio_postgres::Error>) -> Result<T, Failure> {
        let mut place = Place { pool: self, client: self.free.recv()? };
        let client = match place.client.take().filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => self.connect()?,
        };
        let result = f(&client)?;
        // Not after an error or an interrupt: then nobody knows what the connection is doing.
        place.client = Some(client);
        Ok(result)
    }

    /// A new connection, with a greenlet that speaks the protocol on it.
    fn connect(&self) -> Result<Client, Failure> {
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        let socket = match self.config.get_hosts().first() {
            Some(Host::Tcp(host)) => Socket::tcp(host, port)?,
            Some(Host::Unix(folder)) => Socket::unix(folder, port)?,
            None => Socket::tcp("localhost", port)?,
        };
        let (client, connection) = sward::block_on(self.config.connect_raw(socket, NoTls))?;
        sward::spawn(move || {
            if let Err(error) = sward::block_on(connection) {
                eprintln!("web_service: a connection to PostgreSQL ended: {error}");
            }
        });
        Ok(client)
    }
}

/// A place out of the pool; put back when dropped, also by an interrupt.
struct Place<'a> {
    /// Where it belongs.
    pool: &'a Pool,
    /// The connection to be used again.
    client: Option<Client>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        // There is room: it was taken out.
        _ = self.pool.back.try_send(self.client.take());
    }
}

/// A green socket with tokio's traits.
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn tcp(host: &str, port: u16) -> io::Result<Socket> {
        let stream = TcpStream::connect((host, port))?;
        stream.set_nodelay(true)?;
        Ok(Socket::Tcp(stream))
    }

    /// PostgreSQL's socket in a folder.
    fn unix(folder: &Path, port: u16) -> io::Result<Socket> {
        UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).map(Socket::Unix)
    }
}

/// Reads if something is there.
fn poll_read<T>(source: &Source<T>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>>
where
    T: AsFd,
    for<'a> &'a T: Read,
{
    let unfilled = buffer.initialize_unfilled();
    let n = ready!(source.poll_with(Direction::Read, context, |mut io| io.read(unfilled)))?;
    buffer.advance(n);
    Poll::Ready(Ok(()))
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &*self {
            Socket::Tcp(stream) => poll_read(stream.source(), context, buffer),
            Socket::Unix(stream) => poll_read(stream.source(), context, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &*self {
            Socket::Tcp(stream) => stream.source().poll_with(Direction::Write, context, |mut io| io.write(bytes)),
            Socket::Unix(stream) => stream.source().poll_with(Direction::Write, context, |mut io| io.write(bytes)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match &*self {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write),
        })
    }
}
