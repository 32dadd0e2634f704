//! Bodies that call what a test wants to happen.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;

/// A body that calls a closure when it is polled, and another one when it is dropped. It is "done".
pub struct Calls<P: FnOnce(), D: FnOnce()>(Option<P>, Option<D>);

impl<P: FnOnce()> Calls<P, fn()> {
    pub fn when_polled(call: P) -> Self {
        Calls(Some(call), None)
    }
}

impl<D: FnOnce()> Calls<fn(), D> {
    pub fn when_dropped(call: D) -> Self {
        Calls(Some(|| ()), Some(call))
    }
}

impl<P: FnOnce() + Unpin, D: FnOnce() + Unpin> http_body::Body for Calls<P, D> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(call) = self.0.take() else { return Poll::Ready(None) };
        call();
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"done")))))
    }
}

impl<P: FnOnce(), D: FnOnce()> Drop for Calls<P, D> {
    fn drop(&mut self) {
        self.1.take().into_iter().for_each(|call| call());
    }
}
