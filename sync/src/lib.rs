//! What greenlets wait for each other with: events, queues, locks, groups, pools and channels.
//!
//! Use the facade crate `sward`, which re-exports all of this as `sward::sync`.
//!
//! Every type waits through one mechanism, `sward::lowlevel::WaitQueue`: first come, first served,
//! and what a waiter was woken for (an item, a permit, a lock) is already its own.

#![forbid(unsafe_code)]

mod async_result;
mod barrier;
pub mod channel;
mod condvar;
mod event;
mod group;
mod limit;
mod mutex;
mod pool;
mod queue;
mod reentrant_lock;
mod rwlock;
mod semaphore;

pub use async_result::AsyncResult;
pub use barrier::{Barrier, BarrierWaitResult};
pub use condvar::{Condvar, WaitTimeoutResult};
pub use event::Event;
pub use group::Group;
pub use mutex::{Mutex, MutexGuard};
pub use pool::{Imap, ImapUnordered, Pool};
pub use queue::{
    Closed, GetTimeoutError, Iter, LifoQueue, PriorityQueue, PutTimeoutError, Queue, TryGetError, TryPutError,
};
pub use reentrant_lock::{ReentrantLock, ReentrantLockGuard};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{OwnedPermit, Permit, Semaphore};
