//! Blocking work that is not green: on a pool of OS threads.

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, PoisonError};
use std::{io, thread};

use crate::hub::hub;
use crate::park::can_park;
use crate::remote::Link;
use crate::scheduler::Hub;
use crate::slot::Mode;
use crate::threads::ThreadPool;

/// The threads of `offload`. The cap is generous: they wait more than they compute.
static THREADS: ThreadPool = ThreadPool::new("sward-offload", 64);

/// Runs `f` on a pool of OS threads and waits for it. Blocks the greenlet, not its thread.
///
/// For what blocks a thread and cannot be green: a file, a C library, a long computation. Threads
/// are made on demand, 64 at most (then jobs queue up), and leave when idle. If the wait is
/// interrupted, `f` goes on without anybody waiting for it, unless it has not started.
///
/// # Panics
///
/// Resumes a panic of `f` in the caller. Panics if no thread can be made.
///
/// ```
/// let text = sward::offload(|| std::fs::read_to_string("/proc/self/comm").unwrap_or_default());
/// # let _ = text;
/// ```
#[track_caller]
pub fn offload<F, T>(f: F) -> T
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    offload_to(&THREADS, "offload", f)
}

/// As [`offload`](crate::offload), on a pool of the caller's; `call` names the wait in reports.
///
/// # Panics
///
/// As [`offload`](crate::offload).
///
/// See [`ThreadPool`] for an example.
#[track_caller]
pub fn offload_to<F, T>(threads: &'static ThreadPool, call: &'static str, f: F) -> T
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    if !can_park() {
        return f();
    }
    let hub = hub();
    // Before the job starts, which nothing could take back.
    hub.raise_due(hub.current(), Mode::Keyed);
    let job = match Job::start(hub, threads, f) {
        Ok(job) => job,
        Err(error) => panic!("failed to make a thread for {call}: {error}"),
    };
    // The wake-up comes through the inbox, which is looked at between switches only: it cannot come
    // before this greenlet has parked.
    hub.park(Mode::Keyed, call, None);
    match job.take().expect("only the finished job wakes this wait") {
        Ok(value) => value,
        Err(payload) => panic::resume_unwind(payload),
    }
}

/// A function that runs on a pool, and at whose end the next wait of the greenlet that started it ends.
/// If this is dropped before the function starts, it never does; if later, its result is dropped there.
pub(crate) struct Job<T>(Arc<Mutex<Option<thread::Result<T>>>>);

impl<T: Send + 'static> Job<T> {
    /// Hands `f` to `threads` for the running greenlet.
    ///
    /// # Errors
    ///
    /// If no thread can be made: `f` has not run.
    pub(crate) fn start<F>(hub: &'static Hub, threads: &'static ThreadPool, f: F) -> io::Result<Self>
    where
        F: FnOnce() -> T + Send + 'static,
    {
        let result = Arc::new(Mutex::new(None));
        let (link, key, theirs) = (Link::new(), hub.next_wait(), Arc::downgrade(&result));
        let job = move || {
            if theirs.strong_count() == 0 {
                return;
            }
            let outcome = panic::catch_unwind(AssertUnwindSafe(f));
            if let Some(result) = theirs.upgrade() {
                *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
            }
            link.wake(key);
        };
        // The lock of the pool may be a patched one: a wait for it would use up the key.
        let busy = hub.busy();
        let executed = threads.execute(Box::new(job));
        drop(busy);
        executed.map(|()| Job(result))
    }

    /// What the function returned, or its panic; `None` before it has ended.
    pub(crate) fn take(&self) -> Option<thread::Result<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
