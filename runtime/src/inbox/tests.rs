use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use super::*;
use crate::threads::tests::within;

/// Stands in for the hub's eventfd.
#[derive(Default)]
struct Bell {
    /// Rung, and not yet heard.
    rung: Mutex<bool>,
    /// Tells the hub.
    change: Condvar,
    /// How often it was rung.
    count: AtomicU64,
}

impl Bell {
    fn ring(&self) {
        self.count.fetch_add(1, Relaxed);
        *self.rung.lock().unwrap() = true;
        self.change.notify_one();
    }

    fn wait(&self) {
        let rung = self.rung.lock().unwrap();
        let mut rung = self.change.wait_while(rung, |rung| !*rung).unwrap();
        *rung = false;
    }
}

#[test]
fn four_threads_push_and_none_is_lost() {
    const EACH: u64 = 250_000;
    within(Duration::from_secs(60), || {
        let shared = Arc::new((Inbox::new(), Bell::default()));
        let (inbox, bell) = &*shared;
        let pushers = [0, 1, 2, 3].map(|thread: u64| {
            inbox.add_handle();
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let (inbox, bell) = &*shared;
                for i in 0..EACH {
                    inbox.push((thread, i), || bell.ring()).unwrap();
                }
                inbox.drop_handle(|| bell.ring());
            })
        });
        let (mut next, mut sleeps) = ([0; 4], 0);
        loop {
            while let Some((thread, i)) = inbox.pop() {
                assert_eq!(next[thread as usize], i, "out of order");
                next[thread as usize] += 1;
            }
            sleeps += 1;
            if inbox.prepare_sleep() {
                if inbox.is_cut_off() {
                    break;
                }
                bell.wait();
                inbox.awake();
            }
        }
        assert_eq!(next, [EACH; 4]);
        assert!(bell.count.load(Relaxed) <= sleeps);
        for pusher in pushers {
            pusher.join().unwrap();
        }
    });
}

#[test]
fn an_awake_hub_is_not_woken() {
    let inbox = Inbox::new();
    inbox.push(1, || panic!("woken")).unwrap();
    assert!(!inbox.prepare_sleep(), "there is a message");
    inbox.push(2, || panic!("woken")).unwrap();
    assert_eq!((inbox.pop(), inbox.pop()), (Some(1), Some(2)));
}

#[test]
fn a_sleeping_hub_is_woken_once() {
    let inbox = Inbox::new();
    for _ in 0..2 {
        assert!(inbox.prepare_sleep());
        let mut woken = 0;
        inbox.push('a', || woken += 1).unwrap();
        inbox.push('b', || woken += 1).unwrap();
        assert_eq!(woken, 1);
        inbox.awake();
        assert_eq!((inbox.pop(), inbox.pop()), (Some('a'), Some('b')));
    }
}

#[test]
fn only_the_last_handle_wakes_the_hub() {
    let inbox: Inbox<()> = Inbox::new();
    inbox.add_handle();
    inbox.add_handle();
    assert_eq!(inbox.handles(), 2);
    assert!(inbox.prepare_sleep());
    inbox.drop_handle(|| panic!("woken"));
    assert!(!inbox.is_cut_off());
    let mut woken = false;
    inbox.drop_handle(|| woken = true);
    assert!(woken && inbox.is_cut_off());
    inbox.awake();
}

#[test]
fn a_message_whose_sender_is_gone_still_counts() {
    let inbox = Inbox::new();
    inbox.add_handle();
    assert!(inbox.prepare_sleep());
    inbox.push((), || ()).unwrap();
    inbox.drop_handle(|| panic!("woken twice"));
    assert_eq!(inbox.handles(), 0);
    assert!(!inbox.is_cut_off());
}

#[test]
fn a_closed_inbox_gives_messages_back() {
    let inbox = Inbox::new();
    inbox.add_handle();
    inbox.push(1, || ()).unwrap();
    inbox.push(2, || ()).unwrap();
    let mut drained = Vec::new();
    inbox.close(|message| {
        drained.push(message);
        assert_eq!(inbox.push(3, || panic!("woken")), Err(3));
    });
    assert_eq!(drained, [1, 2]);
    inbox.drop_handle(|| panic!("woken"));
    inbox.close(|_| panic!("closed twice, drained twice"));
}

#[test]
fn a_wake_that_panics_does_not_block_close() {
    within(Duration::from_secs(20), || {
        let inbox = Inbox::new();
        assert!(inbox.prepare_sleep());
        let push = std::panic::AssertUnwindSafe(|| inbox.push(1, || std::panic::panic_any(())));
        std::panic::catch_unwind(push).unwrap_err();
        inbox.awake();
        let mut drained = 0;
        inbox.close(|_| drained += 1);
        assert_eq!(drained, 1);
    });
}

#[test]
fn close_races_with_pushes_and_loses_none() {
    within(Duration::from_secs(60), || {
        for _ in 0..500 {
            let inbox = Arc::new(Inbox::new());
            let pushers = [0, 1, 2].map(|_| {
                let inbox = Arc::clone(&inbox);
                thread::spawn(move || (0..1000).filter(|i| inbox.push(*i, || ()).is_ok()).count())
            });
            let mut seen = 0;
            while seen < 100 {
                seen += usize::from(inbox.pop().is_some());
            }
            inbox.close(|_| seen += 1);
            let accepted: usize = pushers.map(|p| p.join().unwrap()).iter().sum();
            assert_eq!(accepted, seen);
        }
    });
}
