//! Blocking on what is polled.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use sward_runtime::block_on;
use sward_runtime::lowlevel::can_park;

/// Runs a future to its end. Most are ready at once, and need no waker; the others are polled again, with one. Blocks
/// the greenlet.
#[inline]
pub(crate) fn wait<F: Future>(mut future: Pin<&mut F>) -> F::Output {
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => block_on(future),
    }
}

/// Polls until there is a result. Blocks the greenlet; in a destructor that runs in an unwinding, which must not wait for
/// a client, it fails instead.
pub(crate) fn wait_for<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>) -> io::Result<T> {
    if can_park() {
        return block_on(poll_fn(poll));
    }
    match poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(no_waiting()),
    }
}

/// Why a call in such a destructor has failed.
pub(crate) fn no_waiting() -> io::Error {
    io::Error::new(io::ErrorKind::WouldBlock, "a destructor that runs in an unwinding cannot wait for the client")
}
