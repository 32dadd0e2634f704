//! A web server: `net::Server`, with HTTP on each connection.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use http::{Request, Response};
use sward_net::{TcpListener, ToSocketAddrs, UnixListener};
use tower_service::Service;

use crate::app::{App, Handler, IntoAnswer, Tower};
use crate::body::Body;
use crate::connection;
use crate::listen::Listen;
use crate::reply::BoxError;
use crate::settings::Settings;
use crate::site::{self, Site};

pub use sward_net::ServerHandle;

/// Listens on `addr` and answers requests with `handler`, with the default limits, until the process ends.
/// Blocks the greenlet. See [`Server`] for everything else.
///
/// # Errors
///
/// As [`Server::bind`] and [`Server::serve`].
///
/// ```no_run
/// use sward::web::{self, Response};
///
/// web::serve("127.0.0.1:8080", |request| Response::new(format!("you asked for {}", request.uri())))?;
/// # std::io::Result::Ok(())
/// ```
pub fn serve<F, A>(addr: impl ToSocketAddrs, handler: F) -> io::Result<()>
where
    F: Fn(Request<Body>) -> A + 'static,
    A: IntoAnswer + 'static,
{
    Server::bind(addr)?.serve(handler)
}

/// An HTTP server: each request has a greenlet of its own, and handlers may block.
///
/// The defaults survive clients that hold connections without sending anything: every wait for a client
/// has a limit. A handler that panics or returns an error answers 500 to its own request only. At most 256 greenlets
/// work for one connection: HTTP/2 streams beyond that are answered with 503.
///
/// See the [crate's page](crate) for an example. On all cores, stopped by SIGTERM:
///
/// ```no_run
/// use std::time::Duration;
/// use sward::web::{Response, Server};
///
/// Server::bind("0.0.0.0:8080")?
///     .pool(10_000)
///     .stop_on_signal(Duration::from_secs(30))
///     .threads(4)
///     .serve(|_| Response::new("hello"))?;
/// # std::io::Result::Ok(())
/// ```
pub struct Server<L: Listen = TcpListener> {
    /// Accepts connections.
    inner: sward_net::Server<L>,
    /// Limits and times.
    settings: Settings,
}

impl Server<TcpListener> {
    /// Listens on a TCP address; connections wait until [`serve`](Server::serve).
    ///
    /// # Errors
    ///
    /// As [`TcpListener::bind`].
    ///
    /// ```
    /// let server = sward::web::Server::bind("127.0.0.1:0")?;
    /// assert_ne!(server.local_addr()?.port(), 0);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<Server<TcpListener>> {
        TcpListener::bind(addr).map(Server::from)
    }

    /// The address that the server listens on.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// let server = sward::web::Server::bind("127.0.0.1:0")?;
    /// println!("listening on {}", server.local_addr()?);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

impl Server<UnixListener> {
    /// Listens on a Unix socket at `path`, which must not exist: for a front server on this machine.
    ///
    /// # Errors
    ///
    /// As [`UnixListener::bind`].
    ///
    /// ```no_run
    /// use sward::web::{Response, Server};
    /// Server::bind_unix("app.sock")?.serve(|_| Response::new("hello"))?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn bind_unix<P: AsRef<Path>>(path: P) -> io::Result<Server<UnixListener>> {
        UnixListener::bind(path).map(Server::from)
    }
}

/// Sets one thing and gives the server back.
macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident: $type:ty => $field:ident = $value:expr;)*) => {
        impl<L: Listen> Server<L> {
            $($(#[$doc])*
            pub fn $name(mut self, $name: $type) -> Self {
                self.settings.$field = $value;
                self
            })*
        }
    };
}

settings! {
    /// The most bytes of a request's head (64 KiB): more is answered with 431.
    ///
    /// ```
    /// let server = sward::web::Server::bind("127.0.0.1:0")?.max_head(16 * 1024);
    /// # std::io::Result::Ok(())
    /// ```
    max_head: usize => max_head = max_head;
    /// The most header fields of a request (100): more are answered with 431.
    ///
    /// ```
    /// let server = sward::web::Server::bind("127.0.0.1:0")?.max_headers(50);
    /// # std::io::Result::Ok(())
    /// ```
    max_headers: usize => max_headers = Some(max_headers);
    /// The most bytes of a request's body (64 MiB). A longer one is answered with 413: at once if its length
    /// is announced, otherwise when the handler has read so much and returns an error.
    ///
    /// ```
    /// let server = sward::web::Server::bind("127.0.0.1:0")?.max_body(1024 * 1024);
    /// # std::io::Result::Ok(())
    /// ```
    max_body: u64 => max_body = max_body;
    /// How long a client may take for a request's head, from its first byte, and a new connection until its
    /// first request (30 seconds; `None`: no limit): answered with 408.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let server = sward::web::Server::bind("127.0.0.1:0")?.head_timeout(Some(Duration::from_secs(5)));
    /// # std::io::Result::Ok(())
    /// ```
    head_timeout: Option<Duration> => head_timeout = head_timeout;
    /// How long a read of a request's body may wait for the client (30 seconds; `None`: no limit). A handler
    /// that then returns an error is answered with 408.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let server = sward::web::Server::bind("127.0.0.1:0")?.body_timeout(Some(Duration::from_secs(5)));
    /// # std::io::Result::Ok(())
    /// ```
    body_timeout: Option<Duration> => body_timeout = body_timeout;
    /// How long a handler may take until it returns its response (`None`, the default: no limit). It is
    /// interrupted as by [`timeout`](sward_runtime::timeout) and the client gets 503, or 408 if the handler was
    /// waiting for the rest of the request.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let server = sward::web::Server::bind("127.0.0.1:0")?.request_timeout(Some(Duration::from_secs(60)));
    /// # std::io::Result::Ok(())
    /// ```
    request_timeout: Option<Duration> => request_timeout = request_timeout;
    /// How long a client may read nothing of an answer (60 seconds; `None`: no limit); then the connection is
    /// closed, and a greenlet that writes the answer gets an error. Under HTTP/2 one stream may be left unread while others
    /// are read: it is reset, after up to one and a half times as long.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let server = sward::web::Server::bind("127.0.0.1:0")?.write_timeout(Some(Duration::from_secs(10)));
    /// # std::io::Result::Ok(())
    /// ```
    write_timeout: Option<Duration> => write_timeout = write_timeout;
    /// How long a connection may wait for its next request (75 seconds; `None`: no limit).
    ///
    /// ```
    /// # use std::time::Duration;
    /// let server = sward::web::Server::bind("127.0.0.1:0")?.keep_alive(Some(Duration::from_secs(15)));
    /// # std::io::Result::Ok(())
    /// ```
    keep_alive: Option<Duration> => keep_alive = keep_alive;
}

impl<L: Listen> Server<L> {
    /// Encrypts connections (feature `tls`): `config` has the certificates. It offers HTTP/2 and HTTP/1.1 (ALPN)
    /// unless it says what to offer.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use sward::tls::rustls::ServerConfig;
    ///
    /// fn serve(config: ServerConfig) -> std::io::Result<()> {
    ///     let server = sward::web::Server::bind("0.0.0.0:8443")?.tls(Arc::new(config));
    ///     server.serve(|_| sward::web::Response::new("hello"))
    /// }
    /// ```
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: Arc<sward_net::tls::rustls::ServerConfig>) -> Self {
        self.settings.tls = Some(crate::tls::with_alpn(config));
        self
    }

    /// Serves at most `size` connections at a time (on each hub, if there are several); more wait in the
    /// kernel's backlog.
    ///
    /// # Panics
    ///
    /// If `size` is zero.
    ///
    /// ```
    /// let server = sward::web::Server::bind("127.0.0.1:0")?.pool(10_000);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn pool(mut self, size: usize) -> Self {
        self.inner = self.inner.pool(size);
        self
    }

    /// Stops at SIGTERM or SIGINT: stops accepting, closes idle connections, lets requests in flight run for
    /// at most `limit`, kills the rest, and lets `serve` return.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let server = sward::web::Server::bind("127.0.0.1:0")?.stop_on_signal(Duration::from_secs(30));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn stop_on_signal(mut self, limit: Duration) -> Self {
        self.inner = self.inner.stop_on_signal(limit);
        self
    }

    /// Stops the server from any greenlet or thread: no new connections, idle ones are closed, requests in
    /// flight are finished (with [`stop_timeout`](ServerHandle::stop_timeout): killed in the end).
    ///
    /// In a request's handler `stop` does not wait: its own request is one of those that are finished.
    ///
    /// ```
    /// use sward::web::{Response, Server};
    ///
    /// let server = Server::bind("127.0.0.1:0")?;
    /// let handle = server.handle();
    /// let serving = sward::spawn(move || server.serve(|_| Response::new("hello")));
    /// handle.stop();
    /// serving.join().unwrap()?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn handle(&self) -> ServerHandle {
        self.inner.handle()
    }

    /// Serves on `n` hubs: the caller's and `n - 1` on OS threads of their own, as
    /// [`net::Server::threads`](sward_net::Server::threads). The application must then be `Send + Sync`.
    ///
    /// # Panics
    ///
    /// If `n` is zero.
    ///
    /// ```
    /// use sward::web::{Response, Server};
    ///
    /// let server = Server::bind("127.0.0.1:0")?.threads(2);
    /// let handle = server.handle();
    /// let serving = sward::spawn(move || server.serve(|_| Response::new("hello")));
    /// handle.stop();
    /// serving.join().unwrap()?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn threads(self, n: usize) -> ServerThreads<L> {
        ServerThreads { inner: self.inner.threads(n), settings: self.settings }
    }

    /// Calls `handler` for each request, in a greenlet of its own, until the server is stopped. Blocks the
    /// greenlet.
    ///
    /// The handler may block and hold `Rc`s. It returns a `Response` of anything that converts into a
    /// [`Reply`](crate::Reply), or a `Result` of that.
    ///
    /// # Errors
    ///
    /// As [`net::Server::serve`](sward_net::Server::serve).
    ///
    /// ```no_run
    /// use std::io::Read;
    /// use sward::web::{Response, Server};
    ///
    /// Server::bind("127.0.0.1:8080")?.serve(|mut request| {
    ///     let mut text = String::new();
    ///     request.body_mut().read_to_string(&mut text)?; // blocks; an error becomes a 4xx or a 500
    ///     std::io::Result::Ok(Response::new(text))
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn serve<F, A>(self, handler: F) -> io::Result<()>
    where
        F: Fn(Request<Body>) -> A + 'static,
        A: IntoAnswer + 'static,
    {
        self.serve_app(Rc::new(Handler(handler)))
    }

    /// As [`serve`](Server::serve), with a tower service: an `axum::Router`, middleware around one, your own.
    /// Each request has a clone of it.
    ///
    /// # Errors
    ///
    /// The same.
    ///
    /// ```no_run
    /// # use sward::web::{Body, Request, Response, Server};
    /// # #[derive(Clone)] struct App;
    /// # impl tower_service::Service<Request<Body>> for App {
    /// #     type Response = Response<String>;
    /// #     type Error = std::convert::Infallible;
    /// #     type Future = std::future::Ready<Result<Self::Response, Self::Error>>;
    /// #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
    /// #         std::task::Poll::Ready(Ok(()))
    /// #     }
    /// #     fn call(&mut self, _: Request<Body>) -> Self::Future {
    /// #         std::future::ready(Ok(Response::new(String::new())))
    /// #     }
    /// # }
    /// let app = App; // such as axum::Router::new().route("/", get(|| async { "hello" }))
    /// Server::bind("127.0.0.1:8080")?.serve_service(app)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn serve_service<S, B>(self, service: S) -> io::Result<()>
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
        S::Error: Into<BoxError>,
        B: http_body::Body + 'static,
        B::Data: Buf,
        B::Error: Into<BoxError>,
    {
        self.serve_app(Rc::new(Tower(service)))
    }

    /// Serves on this hub.
    fn serve_app(self, app: Rc<dyn App>) -> io::Result<()> {
        let site = Site::new(app, self.settings);
        let _watcher = site.watch(self.inner.handle());
        self.inner.serve_permits(move |stream, peer, permit| {
            let (stream, peer) = L::open(stream, peer);
            connection::open(stream, peer, permit, &site)
        })
    }
}

impl<L: Listen> From<L> for Server<L> {
    fn from(listener: L) -> Server<L> {
        Server { inner: sward_net::Server::from(listener), settings: Settings::default() }
    }
}

impl<L: Listen> fmt::Debug for Server<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("inner", &self.inner).field("settings", &self.settings).finish()
    }
}

/// A [`Server`] on several hubs, see [`Server::threads`].
pub struct ServerThreads<L: Listen = TcpListener> {
    /// Accepts connections.
    inner: sward_net::ServerThreads<L>,
    /// Limits and times.
    settings: Settings,
}

impl ServerThreads<TcpListener> {
    /// As [`Server::local_addr`].
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// let server = sward::web::Server::bind("127.0.0.1:0")?.threads(2);
    /// println!("listening on {}", server.local_addr()?);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

impl<L: Listen> ServerThreads<L> {
    /// As [`Server::handle`].
    ///
    /// ```
    /// let server = sward::web::Server::bind("127.0.0.1:0")?.threads(2);
    /// let handle = server.handle(); // may go to another thread
    /// # std::io::Result::Ok(())
    /// ```
    pub fn handle(&self) -> ServerHandle {
        self.inner.handle()
    }

    /// As [`Server::serve`], on all hubs. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// As [`net::ServerThreads::serve`](sward_net::ServerThreads::serve).
    ///
    /// ```no_run
    /// use sward::web::{Response, Server};
    /// Server::bind("127.0.0.1:8080")?.threads(4).serve(|_| Response::new("hello"))?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn serve<F, A>(self, handler: F) -> io::Result<()>
    where
        F: Fn(Request<Body>) -> A + Send + Sync + 'static,
        A: IntoAnswer + 'static,
    {
        let handler = Arc::new(handler);
        self.serve_apps(move || {
            let handler = handler.clone();
            Rc::new(Handler(move |request| handler(request)))
        })
    }

    /// As [`Server::serve_service`], on all hubs; each has a clone of the service. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// The same.
    ///
    /// ```no_run
    /// # fn app() -> impl tower_service::Service<sward::web::Request<sward::web::Body>,
    /// #     Response = sward::web::Response<String>, Error = std::io::Error> + Clone + Send + Sync { Service }
    /// # #[derive(Clone)] struct Service;
    /// # impl tower_service::Service<sward::web::Request<sward::web::Body>> for Service {
    /// #     type Response = sward::web::Response<String>;
    /// #     type Error = std::io::Error;
    /// #     type Future = std::future::Ready<std::io::Result<Self::Response>>;
    /// #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<std::io::Result<()>> {
    /// #         std::task::Poll::Ready(Ok(()))
    /// #     }
    /// #     fn call(&mut self, _: sward::web::Request<sward::web::Body>) -> Self::Future {
    /// #         std::future::ready(Ok(sward::web::Response::new(String::new())))
    /// #     }
    /// # }
    /// sward::web::Server::bind("127.0.0.1:8080")?.threads(4).serve_service(app())?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn serve_service<S, B>(self, service: S) -> io::Result<()>
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        B: http_body::Body + 'static,
        B::Data: Buf,
        B::Error: Into<BoxError>,
    {
        self.serve_apps(move || Rc::new(Tower(service.clone())))
    }

    /// Serves on all hubs, with what `make` makes on each.
    fn serve_apps(self, make: impl Fn() -> Rc<dyn App> + Send + Sync + 'static) -> io::Result<()> {
        let (handle, settings) = (self.inner.handle(), self.settings);
        let id = site::new_id();
        self.inner.serve_permits(move |stream, peer, permit| {
            let (stream, peer) = L::open(stream, peer);
            let site = Site::on_this_hub(id, &handle, || Site::new(make(), settings.clone()))?;
            connection::open(stream, peer, permit, &site)
        })
    }
}

impl<L: Listen> fmt::Debug for ServerThreads<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerThreads").field("inner", &self.inner).field("settings", &self.settings).finish()
    }
}
