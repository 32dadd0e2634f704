//! The protocol of `table`, step by step as its proof has it, in every interleaving that the memory model
//! allows (loom): see `ci/loom`. The table itself is a static, which loom has none of; so these are the
//! steps once more, on a table with one bucket.
//!
//! A wake-up that is lost shows as a deadlock, which loom reports.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

use loom::cell::UnsafeCell;
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

    /// Steps 1 to 5 with `end` for the fifth: whether the second look took one, and whether it was woken.
    fn wait(&self, end: impl FnOnce(&Waiter)) -> (bool, bool) {
        let waiter = Arc::new(Waiter { ready: Notify::new() });
        self.waiting.fetch_add(1, Relaxed);
        self.waiters.lock().unwrap().push_back(waiter.clone());
        fence(SeqCst);
        let taken = self.try_take();
        if !taken {
            end(&waiter);
        }
        let mut waiters = self.waiters.lock().unwrap();
        let place = waiters.iter().position(|other| Arc::ptr_eq(other, &waiter));
        if let Some(place) = place {
            waiters.remove(place);
            self.waiting.fetch_sub(1, Relaxed);
        }
        (taken, place.is_none())
    }

    /// Takes one, for however long that takes.
    fn take(&self) {
        while !self.try_take() && !self.wait(|waiter| waiter.ready.wait()).0 {}
    }

    /// Takes one if there is one before the time is up, which it is at once. Whether it has.
    fn take_in_time(&self) -> bool {
        self.try_take() || self.wait(|_| ()).0 || self.try_take()
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

#[test]
fn a_wake_for_a_waiter_that_gives_up_is_not_lost() {
    loom::model(|| {
        let table = Table::new();
        let [theirs, others] = [(); 2].map(|()| table.clone());
        let gives_up = thread::spawn(move || theirs.take_in_time());
        let giver = thread::spawn(move || others.give());
        // The wake may be for the one that gives up: then that one takes what was given, or this one finds it.
        let took = gives_up.join().unwrap();
        if took {
            table.give();
        }
        table.take();
        giver.join().unwrap();
        assert_eq!((table.waiting.load(SeqCst), table.value.load(SeqCst)), (0, 0));
    });
}

#[test]
fn two_waiters_of_whom_one_gives_up() {
    loom::model(|| {
        let table = Table::new();
        let [theirs, others] = [(); 2].map(|()| table.clone());
        let gives_up = thread::spawn(move || {
            // Who took it in time gives it back, as one unlocks.
            if theirs.take_in_time() {
                theirs.give();
            }
        });
        let waits = thread::spawn(move || others.take());
        table.give();
        gives_up.join().unwrap();
        waits.join().unwrap();
        assert_eq!((table.waiting.load(SeqCst), table.value.load(SeqCst)), (0, 0));
    });
}

#[test]
fn who_is_reported_woken_knows_it() {
    loom::model(|| {
        let table = Table::new();
        let theirs = table.clone();
        // As `FUTEX_WAKE`: without anything to take.
        let waker = thread::spawn(move || {
            fence(SeqCst);
            if theirs.waiting.load(Relaxed) == 0 {
                return false;
            }
            let woken = theirs.waiters.lock().unwrap().pop_front();
            woken.inspect(|_| _ = theirs.waiting.fetch_sub(1, Relaxed)).is_some()
        });
        let (_, woken) = table.wait(|_| ());
        assert_eq!(waker.join().unwrap(), woken);
        assert_eq!(table.waiting.load(SeqCst), 0);
    });
}

/// A waiter that other threads put on its hub's pile.
struct Piled {
    /// Whether it is still linked to its bucket; the lock is the bucket's.
    is_linked: Mutex<bool>,
    /// Its hub's pile, which has room for one.
    pile: AtomicUsize,
    /// What the waiter's stack holds, until the waiter has left.
    stack: UnsafeCell<usize>,
}

impl Piled {
    /// Puts it on the pile, if it is linked: under the lock.
    fn wake(&self) {
        let mut is_linked = self.is_linked.lock().unwrap();
        if std::mem::replace(&mut *is_linked, false) {
            self.stack.with(|_| ());
            self.pile.store(1, Release);
        }
    }

    /// Works the pile off: only the waiter's thread does.
    fn work_off(&self) {
        if self.pile.swap(0, Acquire) != 0 {
            self.stack.with(|_| ());
        }
    }

    /// Ends the wait. After this the stack is used again.
    fn leave(&self) {
        let was_piled = !std::mem::replace(&mut *self.is_linked.lock().unwrap(), false);
        if was_piled {
            self.work_off();
        }
        self.stack.with_mut(|_| ());
        assert_eq!(self.pile.load(Relaxed), 0, "it has left, and is referred to");
    }
}

#[test]
fn nothing_refers_to_a_waiter_that_has_left() {
    loom::model(|| {
        let (is_linked, pile, stack) = (Mutex::new(true), AtomicUsize::new(0), UnsafeCell::new(0));
        let waiter = Arc::new(Piled { is_linked, pile, stack });
        let wakers = [(); 2].map(|()| {
            let waiter = waiter.clone();
            thread::spawn(move || waiter.wake())
        });
        // The hub's turn; then the time is up, or it was woken.
        waiter.work_off();
        waiter.leave();
        wakers.map(|waker| waker.join().unwrap());
        assert_eq!(waiter.pile.load(Relaxed), 0, "it is put there after it has left");
    });
}
