#![doc = include_str!("../README.md")]
//!
//! # Where things are
//!
//! - This page: greenlets, as `std::thread` has threads: [`spawn`], [`Greenlet`], [`scope`], [`sleep`], [`timeout`] ...
//! - [`sync`]: what greenlets wait for each other with.
//! - [`net`]: sockets in `std::net`'s shapes.
//! - `web` (feature `web`): HTTP servers whose handlers simply block; `web::inspect` tells what is going on.
//! - `patch` (feature `patch`): makes blocking code that nobody wrote for greenlets park them.
//! - [`inspect`]: what is going on: who waits for what, and who keeps the others waiting.
//! - [`lowlevel`]: what `sync` and `net` are written on, for primitives and drivers of your own.

#![forbid(unsafe_code)]

#[doc(inline)]
pub use sward_net as net;
#[cfg(feature = "tls")]
pub use sward_net::tls;
pub use sward_net::{fs, io, process, signal};
#[cfg(feature = "patch")]
#[doc(inline)]
pub use sward_patch as patch;
pub use sward_runtime::{
    Builder, Current, Elapsed, Greenlet, GreenletId, GreenletLocal, Handle, JoinError, RemoteGreenlet, Scope,
    ScopedGreenlet, Waitable, block_on, current, greenlet_local, handle, inspect, join_all, lowlevel, offload, run,
    scope, shield, sleep, sleep_until, spawn, spawn_later, timeout, wait_any, wait_any_timeout, yield_now,
};
#[doc(inline)]
pub use sward_sync as sync;
#[cfg(feature = "web")]
#[doc(inline)]
pub use sward_web as web;
