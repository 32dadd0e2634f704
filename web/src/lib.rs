//! HTTP servers whose handlers simply block, on sward's greenlets.
//!
//! Use the facade crate `sward` with its feature `web`, which re-exports all of this as `sward::web`.
//!
//! hyper speaks HTTP/1.1 and HTTP/2 (detected on each connection), the crate `http` has the types, and the
//! application is a closure or any [`tower::Service`](tower_service::Service). Each request has a
//! greenlet: it may sleep, query a database, read the request's body as
//! [`io::Read`](std::io::Read) and write the response's as [`io::Write`](std::io::Write), at any depth, while
//! thousands of others do the same on one thread.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::time::Duration;
//! use sward::web::{self, Response};
//!
//! let server = web::Server::bind("127.0.0.1:0")?;
//! let (addr, handle) = (server.local_addr()?, server.handle());
//! let serving = sward::spawn(move || {
//!     server.serve(|request| {
//!         sward::sleep(Duration::from_millis(1)); // other requests go on
//!         Response::new(format!("Hello from {}!", request.uri().path()))
//!     })
//! });
//!
//! let mut client = sward::net::TcpStream::connect(addr)?;
//! client.write_all(b"GET /world HTTP/1.1\r\nhost: example.org\r\nconnection: close\r\n\r\n")?;
//! let mut answer = String::new();
//! client.read_to_string(&mut answer)?;
//! assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"));
//! assert!(answer.ends_with("\r\n\r\nHello from /world!"));
//!
//! handle.stop();
//! serving.join().unwrap()?;
//! # std::io::Result::Ok(())
//! ```
//!
//! What greenlets are at, a web server can tell as well: [`inspect`].
//!
//! # Logs
//!
//! Through the crate [`log`]: target `sward_web::access` has a line in the Common Log Format for each
//! request (level `Info`), target `sward_web` has failed requests with method, path, peer and greenlet (`Error`)
//! and connections that ended badly (`Debug`).

#![forbid(unsafe_code)]

mod access_log;
mod app;
mod body;
mod connection;
mod end;
mod engine;
mod exchange;
mod framing;
mod hold;
mod host;
pub mod inspect;
mod listen;
mod patience;
mod pipe;
mod polling;
mod reply;
mod server;
mod settings;
mod shared;
mod signal;
mod site;
mod stream;
#[cfg(feature = "tls")]
mod tls;
mod upgrade;
mod wait;
mod wire;

pub use app::IntoAnswer;
pub use body::Body;
pub use http::{self, HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
pub use listen::Listen;
pub use pipe::Writer;
pub use reply::Reply;
pub use server::{Server, ServerHandle, ServerThreads, serve};
pub use stream::Peer;
pub use upgrade::{Upgraded, upgrade};
