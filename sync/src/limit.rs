//! Waiting for at most a `Duration`.

use std::time::{Duration, Instant};

use sward_runtime::lowlevel::{WaitQueue, Waited, can_park};

/// When a call that begins now and may take `limit` gives up; a limit too large for an `Instant` is
/// none.
#[inline]
pub(crate) fn deadline(limit: Duration) -> Option<Instant> {
    Instant::now().checked_add(limit)
}

/// Waits in `queue` for at most `limit`. While a destructor runs in an unwinding the limit has
/// passed already.
pub(crate) fn wait<T>(queue: &WaitQueue<T>, call: &'static str, value: T, limit: Duration) -> Waited<T> {
    if can_park() { queue.wait(call, value, deadline(limit)) } else { Waited::TimedOut(value) }
}
