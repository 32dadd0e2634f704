//! Futures in greenlets.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use crate::park::park_in;
use crate::remote::RemoteUnparker;

/// Runs a future to its end: polls it in this greenlet and parks between polls. Blocks the greenlet.
///
/// Its wakers work from any thread. The future may block when it is polled, as everything in a
/// greenlet may. A future that needs a certain runtime's I/O or timers still needs that runtime.
///
/// # Panics
///
/// Passes on a panic of the future.
///
/// ```
/// assert_eq!(sward::block_on(async { 6 * 7 }), 42);
/// ```
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let signal = Arc::new(Signal { woken: AtomicBool::new(false), unparker: RemoteUnparker::current() });
    let waker = Waker::from(signal.clone());
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        // A flag of its own: nested calls share the greenlet's one unpark token.
        while !signal.woken.swap(false, Ordering::Acquire) {
            park_in("block_on", None);
        }
    }
}

/// The waker of one `block_on`.
struct Signal {
    /// Whether the future is to be polled again.
    woken: AtomicBool,
    /// The greenlet that polls it.
    unparker: RemoteUnparker,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::Release) {
            self.unparker.unpark();
        }
    }
}
