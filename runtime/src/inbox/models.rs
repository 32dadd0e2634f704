//! The inbox in every interleaving that the memory model allows (loom): see `ci/loom`.
//!
//! A wake-up that is lost shows as a deadlock, which loom reports; a wake after `close` as a data
//! race on the `Bell` that the hub takes down.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize as Tally;
use std::sync::atomic::Ordering::{Relaxed, Release, SeqCst};

use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::atomic::{AtomicPtr, AtomicUsize};
use loom::sync::{Arc, Notify};
use loom::thread;

use super::Inbox;

/// A queue that promises less than crossbeam's: its length is relaxed, so only what the gate
/// orders can be relied on to be seen.
pub(super) struct Queue<M> {
    /// How many messages are in; may be seen late.
    len: AtomicUsize,
    /// The messages. Not loom's lock, which would order what the gate has to order.
    messages: Mutex<VecDeque<M>>,
}

impl<M> Queue<M> {
    pub(super) fn new() -> Queue<M> {
        let (len, messages) = (AtomicUsize::new(0), Mutex::new(VecDeque::new()));
        Queue { len, messages }
    }

    pub(super) fn push(&self, message: M) {
        self.messages.lock().unwrap().push_back(message);
        self.len.fetch_add(1, Relaxed);
    }

    pub(super) fn pop(&self) -> Option<M> {
        if self.is_empty() {
            return None;
        }
        self.len.fetch_sub(1, Relaxed);
        self.messages.lock().unwrap().pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len.load(Relaxed) == 0
    }
}

/// What a hub and its pushers share.
struct Shared {
    /// The thing itself.
    inbox: Inbox<u32>,
    /// The hub's eventfd.
    bell: Notify,
    /// Stands for the eventfd being open: read by each wake, written by the hub that closes it.
    open: UnsafeCell<()>,
    /// How often the bell was rung. Not loom's: it takes no part in the model.
    wakes: Tally,
}

impl Shared {
    fn new() -> Arc<Shared> {
        Arc::new(Shared { inbox: Inbox::new(), bell: Notify::new(), open: UnsafeCell::new(()), wakes: Tally::new(0) })
    }

    fn wake(&self) {
        self.open.with(|_| ());
        self.wakes.fetch_add(1, SeqCst);
        self.bell.notify();
    }

    fn push(&self, message: u32) -> Result<(), u32> {
        self.inbox.push(message, || self.wake())
    }

    fn drop_handle(&self) {
        self.inbox.drop_handle(|| self.wake());
    }

    /// The hub's loop until it has `wanted` messages, or, if that is not said, until nobody can
    /// send it any. How many came.
    fn serve(&self, wanted: Option<u32>) -> u32 {
        let (mut got, mut sleeps) = (0, 0);
        loop {
            while self.inbox.pop().is_some() {
                got += 1;
            }
            if wanted == Some(got) {
                break;
            }
            // Also if it says false: it may have been announced for a moment.
            sleeps += 1;
            if !self.inbox.prepare_sleep() {
                continue;
            }
            if wanted.is_none() && self.inbox.is_cut_off() {
                self.inbox.awake();
                break;
            }
            self.bell.wait();
            self.inbox.awake();
        }
        assert!(self.wakes.load(SeqCst) <= sleeps, "two wakes for a sleep");
        got
    }

    /// The hub's end. How many messages it had not seen.
    fn end(&self) -> u32 {
        let mut drained = 0;
        self.inbox.close(|_| drained += 1);
        self.open.with_mut(|_| ());
        drained
    }
}

/// Every interleaving, whatever bound on preemptions `ci/loom` sets for the larger models.
fn check_all(model: fn()) {
    let mut builder = Builder::new();
    builder.preemption_bound = None;
    builder.check(model);
}

#[test]
fn all_of_one_push_to_a_hub_that_serves() {
    check_all(|| {
        let shared = Shared::new();
        shared.inbox.add_handle();
        let pusher = Arc::clone(&shared);
        let pusher = thread::spawn(move || pusher.push(1).unwrap());
        assert_eq!(shared.serve(Some(1)), 1);
        pusher.join().unwrap();
    });
}

#[test]
fn all_of_one_handle_and_a_hub_that_serves() {
    check_all(|| {
        let shared = Shared::new();
        shared.inbox.add_handle();
        let dropper = Arc::clone(&shared);
        let dropper = thread::spawn(move || dropper.drop_handle());
        assert_eq!(shared.serve(None), 0);
        dropper.join().unwrap();
    });
}

#[test]
fn all_of_one_pusher_and_a_hub_that_closes() {
    check_all(|| {
        let shared = Shared::new();
        shared.inbox.add_handle();
        let pusher = Arc::clone(&shared);
        let pusher = thread::spawn(move || {
            let accepted = pusher.push(1).is_ok();
            pusher.drop_handle();
            u32::from(accepted)
        });
        if shared.inbox.prepare_sleep() {
            shared.inbox.awake();
        }
        let drained = shared.end();
        assert_eq!(drained, pusher.join().unwrap());
    });
}

/// What is put on the pile is as little lost as what is pushed, also when both come at once.
#[test]
fn no_pile_is_lost() {
    loom::model(|| {
        let shared = Shared::new();
        shared.inbox.add_handle();
        let pushers = [true, false].map(|piles| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                if piles {
                    let put = |pile: &AtomicPtr<()>| pile.store(std::ptr::dangling_mut(), Release);
                    assert!(shared.inbox.put(put, || shared.wake()));
                } else {
                    shared.push(1).unwrap();
                }
            })
        });
        let (mut pushed, mut piled) = (false, false);
        while !(pushed && piled) {
            piled |= !shared.inbox.take_pile().is_null();
            pushed |= shared.inbox.pop().is_some();
            if !(pushed && piled) && shared.inbox.prepare_sleep() {
                assert!(!shared.inbox.is_cut_off());
                shared.bell.wait();
                shared.inbox.awake();
            }
        }
        for pusher in pushers {
            pusher.join().unwrap();
        }
    });
}

#[test]
fn no_wake_is_lost() {
    loom::model(|| {
        let shared = Shared::new();
        let pushers = [1, 2].map(|message| {
            let shared = Arc::clone(&shared);
            shared.inbox.add_handle();
            thread::spawn(move || shared.push(message).unwrap())
        });
        assert_eq!(shared.serve(Some(2)), 2);
        for pusher in pushers {
            pusher.join().unwrap();
        }
    });
}

#[test]
fn close_loses_no_message_and_no_wake_comes_after_it() {
    loom::model(|| {
        let shared = Shared::new();
        let pushers = [1, 2].map(|message| {
            let shared = Arc::clone(&shared);
            shared.inbox.add_handle();
            thread::spawn(move || u32::from(shared.push(message).is_ok()))
        });
        if shared.inbox.prepare_sleep() {
            shared.inbox.awake();
        }
        let drained = shared.end();
        assert_eq!(shared.push(3), Err(3));
        let accepted: u32 = pushers.map(|pusher| pusher.join().unwrap()).iter().sum();
        assert_eq!(accepted, drained);
        assert!(shared.inbox.is_empty());
    });
}

#[test]
fn the_hub_is_told_of_the_last_handle() {
    loom::model(|| {
        let shared = Shared::new();
        let droppers = [0, 1].map(|_| {
            let shared = Arc::clone(&shared);
            shared.inbox.add_handle();
            thread::spawn(move || shared.drop_handle())
        });
        assert_eq!(shared.serve(None), 0);
        for dropper in droppers {
            dropper.join().unwrap();
        }
    });
}

#[test]
fn a_hub_that_is_cut_off_has_seen_every_message() {
    loom::model(|| {
        let shared = Shared::new();
        shared.inbox.add_handle();
        shared.inbox.add_handle();
        let pusher = Arc::clone(&shared);
        let pusher = thread::spawn(move || {
            pusher.push(1).unwrap();
            pusher.drop_handle();
        });
        let dropper = Arc::clone(&shared);
        let dropper = thread::spawn(move || dropper.drop_handle());
        assert_eq!(shared.serve(None), 1);
        assert_eq!(shared.end(), 0);
        pusher.join().unwrap();
        dropper.join().unwrap();
    });
}

#[test]
fn a_handle_dropped_while_the_hub_closes_does_not_wake_it() {
    loom::model(|| {
        let shared = Shared::new();
        shared.inbox.add_handle();
        let dropper = Arc::clone(&shared);
        let dropper = thread::spawn(move || dropper.drop_handle());
        if shared.inbox.prepare_sleep() {
            shared.inbox.awake();
        }
        assert_eq!(shared.end(), 0);
        dropper.join().unwrap();
    });
}
