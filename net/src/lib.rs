//! Sockets in `std::net`'s shapes for sward's greenlets, and what goes with them: name lookups, a
//! [`Server`], child [`process`]es, [`signal`]s, files ([`fs`]), standard input ([`io`]), TLS (`tls`).
//!
//! Use the facade crate `sward`, which re-exports all of this. To follow a read from here to the
//! poller: `tcp.rs` → `io.rs` → `source.rs` of sward-runtime → `park.rs` there.
//!
//! # What is there of std
//!
//! | std | here | not here, and why |
//! |---|---|---|
//! | `net::TcpStream` | all stable methods, `Read`, `Write` (also for `&`), `AsFd`, `From`, `Into`, `Debug` | `FromRawFd` is unsafe (`From<OwnedFd>` is there); `set_linger` is unstable in std (`socket2::SockRef` works) |
//! | `net::TcpListener` | all stable methods, `incoming` | `set_only_v6`, `only_v6` are deprecated; `into_incoming` is unstable; `FromRawFd` |
//! | `net::UdpSocket` | all stable methods | `FromRawFd` |
//! | `os::unix::net::UnixStream` | all stable methods, abstract addresses | `peek`, `peer_cred`, `set_mark` are unstable; `FromRawFd` |
//! | `os::unix::net::UnixListener` | all stable methods, `IntoIterator for &` | `FromRawFd` |
//! | `os::unix::net::UnixDatagram` | all stable methods | `peek`, `peek_from`, `set_mark` are unstable; `FromRawFd` |
//! | `net::ToSocketAddrs` | a trait of our own with the same implementors: std's would block in the caller | |
//! | `process` | `Command`, `Child`, the pipes | `pre_exec` is unsafe: set it on std's `Command` and convert |
//! | `fs` | the free functions, `File`, `OpenOptions`, `ReadDir` | `File::lock` and its kin, `FileExt`, `File` into std's (take std's, or `offload` what needs them); `soft_link` is deprecated; `DirBuilder` and `DirEntry` are std's and block the thread |
//!
//! A socket that is converted into std's type, an `OwnedFd` or a raw descriptor goes back to blocking
//! mode, as std would have it. Clones share that mode, so convert the last one.

#![forbid(unsafe_code)]

#[macro_use]
mod delegate;
mod accept;
mod addr;
mod control;
pub mod fs;
mod handlers;
mod inherited;
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
