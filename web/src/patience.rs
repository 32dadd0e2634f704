//! The time limit of a body that is polled: whoever polls it has no time of its own.
//!
//! The first time that the client keeps a body waiting, a greenlet begins to watch it. It sleeps until the limit has
//! passed and then has the body polled again, which finds that it is late. It ends with the body.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use sward_runtime::lowlevel::{RemoteUnparker, park};
use sward_runtime::spawn;

/// How long a body waits.
#[derive(Debug, Default)]
pub(crate) struct Patience(Option<Arc<Mutex<Wait>>>);

/// What the body and its watcher share.
#[derive(Debug, Default)]
struct Wait {
    /// When the client is late; none while it does not keep the body waiting.
    late: Option<Instant>,
    /// Who polls the body.
    waker: Option<Waker>,
    /// The watcher, once it runs.
    watcher: Option<RemoteUnparker>,
}

impl Patience {
    /// The body has what it was polled for.
    pub(crate) fn restore(&mut self) {
        if let Some(wait) = &self.0 {
            lock(wait).late = None;
        }
    }

    /// The body waits: has it waited for longer than `limit`?
    pub(crate) fn is_lost(&mut self, limit: Duration, context: &Context<'_>) -> bool {
        let now = Instant::now();
        let wait = self.0.get_or_insert_with(|| {
            let wait = Arc::default();
            let theirs = Arc::downgrade(&wait);
            spawn(move || watch(&theirs, limit));
            wait
        });
        let mut wait = lock(wait);
        wait.waker = Some(context.waker().clone());
        match wait.late {
            Some(late) => late <= now,
            None => {
                wait.late = now.checked_add(limit);
                false
            }
        }
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        if let Some(wait) = self.0.take() {
            let watcher = lock(&wait).watcher.take();
            drop(wait);
            if let Some(watcher) = watcher {
                watcher.unpark();
            }
        }
    }
}

/// Has a body polled each time that its client is late, until it is gone. Blocks the greenlet.
fn watch(wait: &Weak<Mutex<Wait>>, limit: Duration) {
    while let Some(wait) = wait.upgrade() {
        let mut now = lock(&wait);
        now.watcher.get_or_insert_with(RemoteUnparker::current);
        let begun = Instant::now();
        let late = now.late.filter(|late| *late > begun);
        let waker = if now.late.is_some() && late.is_none() { now.waker.take() } else { None };
        drop(now);
        drop(wait);
        if let Some(waker) = waker {
            waker.wake();
        }
        park(late.or(begun.checked_add(limit)));
    }
}

/// No panic happens while it is locked.
fn lock(wait: &Mutex<Wait>) -> MutexGuard<'_, Wait> {
    wait.lock().unwrap_or_else(PoisonError::into_inner)
}
