//! Sockets in `std::net`'s shapes for sward's greenlets.
//!
//! Use the facade crate `sward`, which re-exports all of this.

#![forbid(unsafe_code)]

#[macro_use]
mod delegate;
mod accept;
mod addr;
mod control;
pub mod fs;
mod handlers;
pub mod io;
pub mod process;
mod server;
mod server_threads;
pub mod signal;
mod stdin;
mod tcp;
#[cfg(feature = "tls")]
pub mod tls;
mod udp;
mod unix;
mod unix_datagram;
mod wait;

#[doc(no_inline)]
pub use std::net::{AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6};

pub use accept::Accept;
pub use addr::ToSocketAddrs;
pub use control::ServerHandle;
pub use server::Server;
pub use server_threads::ServerThreads;
pub use tcp::{Incoming, TcpListener, TcpStream};
pub use udp::UdpSocket;
pub use unix::{UnixIncoming, UnixListener, UnixStream};
pub use unix_datagram::UnixDatagram;
pub use wait::{wait_readable, wait_writable};
