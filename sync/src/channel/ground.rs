//! What a channel stands on: std's locks and the runtime's parking, or what the models put in their place.

#[cfg(not(all(loom, test)))]
mod real {
    pub(crate) use std::sync::atomic::AtomicUsize;
    pub(crate) use std::sync::{Mutex, MutexGuard};

    pub(crate) use sward_runtime::lowlevel::{RemoteUnparker, park};

    /// Whether the caller is a thread without other greenlets to run, as far as one can tell cheaply.
    pub(crate) fn may_spin() -> bool {
        sward_runtime::current().name() == Some("root")
    }
}

#[cfg(all(loom, test))]
pub(super) use super::models::ground::*;
#[cfg(not(all(loom, test)))]
pub(super) use real::*;
