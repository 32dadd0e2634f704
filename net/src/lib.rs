//! Sockets in `std::net`'s shapes for sward's greenlets, and what goes with them: name lookups, a
//! [`Server`], child [`process`]es, [`signal`]s, files ([`fs`]), standard input ([`io`]), TLS (`tls`).
//!
//! Use the facade crate `sward`, which re-exports all of this. To follow a read from here to the
//! poller: `tcp.rs` → `io.rs` → `source.rs` of sward-runtime → `park.rs` there.
//!
//! # What is there of std
//!
//! All that was stable in Rust 1.88, the oldest version that sward compiles with, but for:
//!
//! | std | here | not here, and why |
//! |---|---|---|
//! | `net::TcpStream` | methods, `Read`, `Write` (also for `&`), `AsFd`, `From`, `Into`, `Debug` | `set_linger` is unstable in std (`socket2::SockRef` works) |
//! | `net::TcpListener` | methods, `incoming` | `set_only_v6`, `only_v6` are deprecated; `into_incoming` is unstable |
//! | `net::UdpSocket` | methods | |
//! | `os::unix::net::UnixStream` | methods, abstract addresses | `peek`, `peer_cred`, `set_mark` and passed descriptors are unstable |
//! | `os::unix::net::UnixListener` | methods, `IntoIterator for &` | |
//! | `os::unix::net::UnixDatagram` | methods | `peek`, `peek_from`, `set_mark` and passed descriptors are unstable |
//! | `os::linux::net` | | `TcpStreamExt` is newer than 1.88 (`socket2::SockRef` works), `UnixSocketExt` unstable |
//! | `net::ToSocketAddrs` | a trait of our own with the same implementors: std's would block in the caller | |
//! | `process::Command` | methods, those of `CommandExt` too, which only std may implement | `pre_exec` is unsafe: set it on std's `Command` and convert; `before_exec` is deprecated |
//! | `process::Child`, its pipes | methods, traits | |
//! | `fs`, its functions | all | `soft_link` is deprecated |
//! | `os::unix::fs`, its functions | `symlink`, `chown`, `lchown` | `fchown` takes a descriptor, of our `File` too; `chroot` is about the process |
//! | `fs::File` | methods, `FileExt`, `Read`, `Write`, `Seek` (also for `&`) | `lock` and its kin are newer than 1.88: `rustix::fs::flock` in `offload` |
//! | `fs::OpenOptions`, `DirBuilder`, `ReadDir`, `DirEntry` | methods, `OpenOptionsExt`, `DirBuilderExt`, `DirEntryExt` | |
//! | `io::Stdin`, `StdinLock` | methods, `Read`, `BufRead`, `AsFd` | |
//! | traits of the types above | all other | `FromRawFd` is unsafe: `From<OwnedFd>` is there; only std may implement `IsTerminal`: `is_terminal` is a method; `Send`, `Sync`: what belongs to a hub stays on its thread |
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
#[doc(hidden)]
pub use handlers::{Holder, Permit};
pub use server::Server;
pub use server_threads::ServerThreads;
pub use tcp::{Incoming, TcpListener, TcpStream};
pub use udp::UdpSocket;
pub use unix::{UnixIncoming, UnixListener, UnixStream};
pub use unix_datagram::UnixDatagram;
pub use wait::{wait_readable, wait_writable};
