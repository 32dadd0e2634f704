//! The protocol of `table`, step by step as its proof has it, in every interleaving that the memory model
//! allows (loom): see `ci/loom`. The table itself is a static, which loom has none of; so these are the
//! steps once more, on a table with one bucket.
//!
//! A wake-up that is lost shows as a deadlock, which loom reports.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use loom::sync::atomic::{AtomicUsize, fence};
use loom::sync::{Arc, Mutex, Notify};
use loom::thread;

/// A value, and who waits for it to change.
struct Table {
    /// Is not zero when there is something to take.
    value: AtomicUsize,
    /// How many wait, or are about to.
    waiting: AtomicUsize,
    /// Who waits; the lock orders as the bucket's does.
    waiters: Mutex<VecDeque<Arc<Waiter>>>,
}

/// Somebody who waits.
struct Waiter {
    /// Ends its park.
    ready: Notify,
}

impl Table {
    fn new() -> Arc<Table> {
        let (value, waiting, waiters) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(VecDeque::new()));
        Arc::new(Table { value, waiting, waiters })
    }

    /// Steps a to e: one more to take, for one waiter.
    fn give(&self) -> usize {
        self.value.fetch_add(1, Relaxed);
        fence(SeqCst);
        if self.waiting.load(Relaxed) == 0 {
            return 0;
        }
        let mut waiters = self.waiters.lock().unwrap();
        let Some(waiter) = waiters.pop_front() else { return 0 };
        self.waiting.fetch_sub(1, Relaxed);
        drop(waiters);
        waiter.ready.notify();
        1
    }

    /// Takes one if there is one.
    fn try_take(&self) -> bool {
        let mut value = self.value.load(Relaxed);
        while value != 0 {
            match self.value.compare_exchange(value, value - 1, Relaxed, Relaxed) {
                Ok(_) => return true,
                Err(other) => value = other,
            }
        }
        false
    }

    /// Steps 1 to 5, until there was one to take.
    fn take(&self) {
        while !self.try_take() {
            let waiter = Arc::new(Waiter { ready: Notify::new() });
            self.waiting.fetch_add(1, Relaxed);
            self.waiters.lock().unwrap().push_back(waiter.clone());
            fence(SeqCst);
            let taken = self.try_take();
            if !taken {
                waiter.ready.wait();
            }
            let mut waiters = self.waiters.lock().unwrap();
            if let Some(place) = waiters.iter().position(|other| Arc::ptr_eq(other, &waiter)) {
                waiters.remove(place);
                self.waiting.fetch_sub(1, Relaxed);
            }
            drop(waiters);
            if taken {
                return;
            }
        }
    }
}

#[test]
fn a_waiter_and_a_waker() {
    loom::model(|| {
        let table = Table::new();
        let theirs = table.clone();
        let giver = thread::spawn(move || theirs.give());
        table.take();
        giver.join().unwrap();
        assert_eq!((table.waiting.load(SeqCst), table.value.load(SeqCst)), (0, 0));
    });
}

#[test]
fn a_waiter_and_two_wakers() {
    loom::model(|| {
        let table = Table::new();
        let givers = [(); 2].map(|()| {
            let table = table.clone();
            thread::spawn(move || table.give())
        });
        table.take();
        table.take();
        givers.map(|giver| giver.join().unwrap());
        assert_eq!((table.waiting.load(SeqCst), table.value.load(SeqCst)), (0, 0));
    });
}
