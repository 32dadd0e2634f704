//! What the hooks do for a greenlet: the real call in a form that does not block, and where it would
//! have blocked, a wait that parks.
//!
//! There is no table of descriptors and their modes, and no descriptor's flags are changed across a
//! wait. What the caller's call would do is asked of the kernel, and only once it would block:
//! `O_NONBLOCK` (then the caller gets its `EAGAIN`), `SO_RCVTIMEO`, `SO_SNDTIMEO`.
//!
//! An interrupt (kill, timeout) makes a call fail with `ECANCELED`, and a sleep end early: nothing
//! unwinds here (invariant 6). `EINTR` would be worse, since std and libpq try again for ever.

#[cfg(shared_libc)]
pub(crate) mod barrier;
pub(crate) mod checked;
pub(crate) mod children;
pub(crate) mod close;
pub(crate) mod connect;
pub(crate) mod copy;
#[cfg(shared_libc)]
pub(crate) mod exit;
#[cfg(shared_libc)]
pub(crate) mod hosts;
#[cfg(shared_libc)]
pub(crate) mod names;
mod parts;
pub(crate) mod poll;
pub(crate) mod receive;
pub(crate) mod select;
pub(crate) mod send;
pub(crate) mod sleep;
pub(crate) mod wait;
