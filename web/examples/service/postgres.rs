//! An asynchronous driver in blocking style: tokio-postgres over a green socket, without tokio's runtime.

use std::cell::{OnceCell, RefCell};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use sward::lowlevel::Direction;
use sward::net::TcpStream;
use sward::sync::Semaphore;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, NoTls};

use crate::accounts::Failure;

/// Connections to one database; each hub has some of its own, since sockets stay on their thread.
pub(crate) struct Pool {
    /// The database.
    config: Config,
    /// The most connections on each hub.
    size: usize,
}

/// A hub's connections.
struct Local {
    /// One for each connection that may be in use at the same time.
    permits: Semaphore,
    /// Those that nobody uses.
    idle: RefCell<Vec<Client>>,
}

thread_local! {
    /// This hub's.
    static LOCAL: OnceCell<Rc<Local>> = const { OnceCell::new() };
}

impl Pool {
    /// Of connections to the database at `url`.
    pub(crate) fn new(url: &str, size: usize) -> Result<Pool, Failure> {
        Ok(Pool { config: url.parse()?, size })
    }

    /// Lends a connection to `f`. Blocks the greenlet while all are in use.
    pub(crate) fn with<T>(&self, f: impl FnOnce(&Client) -> Result<T, tokio_postgres::Error>) -> Result<T, Failure> {
        let new = || Rc::new(Local { permits: Semaphore::new(self.size), idle: RefCell::new(Vec::new()) });
        let local = LOCAL.with(|local| local.get_or_init(new).clone());
        let _permit = local.permits.acquire();
        let idle = local.idle.borrow_mut().pop().filter(|client| !client.is_closed());
        let client = match idle {
            Some(client) => client,
            None => self.connect()?,
        };
        let result = f(&client)?;
        // Not after an error or an interrupt: then nobody knows what the connection is doing.
        local.idle.borrow_mut().push(client);
        Ok(result)
    }

    /// A new connection, with a greenlet that speaks the protocol on it.
    fn connect(&self) -> Result<Client, Failure> {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.as_str(),
            _ => "127.0.0.1",
        };
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        let stream = TcpStream::connect((host, port))?;
        stream.set_nodelay(true)?;
        let (client, connection) = sward::block_on(self.config.connect_raw(Socket(stream), NoTls))?;
        sward::spawn(move || {
            if let Err(error) = sward::block_on(connection) {
                eprintln!("web_service: a connection to PostgreSQL ended: {error}");
            }
        });
        Ok(client)
    }
}

/// A green socket with tokio's traits.
struct Socket(TcpStream);

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let unfilled = buffer.initialize_unfilled();
        let n = ready!(self.0.source().poll_with(Direction::Read, context, |mut io| io.read(unfilled)))?;
        buffer.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.source().poll_with(Direction::Write, context, |mut io| io.write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.shutdown(Shutdown::Write))
    }
}
