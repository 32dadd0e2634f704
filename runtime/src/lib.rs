//! Greenlets, scheduler, timers and reactor of sward.
//!
//! Use the facade crate `sward`, which re-exports all of this.

mod alarm;
mod block_on;
mod calls;
mod clock;
#[cfg(doctest)]
mod compile_fail;
mod current;
#[cfg(target_os = "linux")]
mod doorbell;
mod fork;
mod gate;
mod greenlet;
mod handler;
#[cfg(target_os = "linux")]
mod hooks;
mod hub;
mod identity;
mod inbox;
pub mod inspect;
mod interrupt;
mod join;
mod killer;
mod local;
mod offload;
#[cfg(target_os = "linux")]
mod oneshot;
mod park;
mod per_process;
mod prefetch;
mod reactor;
mod readiness;
mod remote;
mod report;
mod run;
mod scheduler;
mod scope;
mod slot;
mod source;
mod spawn;
mod stack;
mod table;
mod thread_pointer;
mod threads;
mod timers;
mod wait_any;
mod wait_queue;

pub use block_on::block_on;
pub use current::{Current, current};
pub use interrupt::{Elapsed, shield, timeout};
pub use join::{Greenlet, GreenletId, JoinError, join_all};
pub use local::GreenletLocal;
pub use offload::offload;
pub use park::{sleep, sleep_until, yield_now};
pub use remote::{Handle, RemoteGreenlet, handle};
pub use run::run;
pub use scope::{Scope, ScopedGreenlet, scope};
pub use spawn::{Builder, spawn, spawn_later};
pub use wait_any::{Waitable, wait_any, wait_any_timeout};

/// What `sync` and `net` are themselves written on: build your own primitives and green drivers.
pub mod lowlevel {
    /// What `sward-patch` is written on. Not for others: it skips what keeps the rest safe to use.
    #[cfg(target_os = "linux")]
    #[doc(hidden)]
    pub mod hooks {
        pub use crate::doorbell::{Doorbell, on_pile, take_pile};
        pub use crate::hooks::{
            Ended, Key, abandon, closed, next_wait, offload, on_greenlet, on_hub, on_root, runs_greenlet, sleep, stack,
            wait, wait_fds, wake, wake_and_let_run, widen_guards, yield_now,
        };
        pub use crate::identity::{Identities, has_identity, home, provide};
        pub use crate::thread_pointer::ThreadPointer;
    }
    pub use crate::clock::recent_time;
    pub use crate::killer::Killer;
    pub use crate::local::HubLocal;
    pub use crate::offload::offload_to;
    pub use crate::park::{Unparker, Wake, can_park, is_interrupted, park};
    pub use crate::prefetch::fetch_ahead;
    pub use crate::readiness::Direction;
    pub use crate::remote::RemoteUnparker;
    pub use crate::source::Source;
    pub use crate::spawn::{spawn_now, spawn_now_then, spawn_then};
    pub use crate::threads::ThreadPool;
    pub use crate::wait_any::sealed;
    pub use crate::wait_queue::{WaitQueue, Waited};
}
