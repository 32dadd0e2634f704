//! What channels promise.

mod support;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use support::{EVER, SOON, in_unwinding, limited, settle, started};
use sward::sync::channel::{
    RecvError, RecvTimeoutError, Select, SendTimeoutError, TryRecvError, TrySendError, bounded, unbounded,
};

#[test]
fn items_keep_their_order_and_bounds_hold() {
    limited(|| {
        let (tx, rx) = bounded(2);
        assert_eq!(tx.capacity(), Some(2));
        tx.send(1).unwrap();
        tx.send(2).unwrap();
        assert_eq!(tx.try_send(3), Err(TrySendError::Full(3)));
        assert_eq!(tx.send_timeout(3, SOON), Err(SendTimeoutError::Timeout(3)));
        assert_eq!((rx.recv(), rx.try_recv(), rx.try_recv()), (Ok(1), Ok(2), Err(TryRecvError::Empty)));
        assert_eq!(rx.recv_timeout(SOON), Err(RecvTimeoutError::Timeout));
        let start = Instant::now();
        assert_eq!(rx.recv_timeout(Duration::from_millis(5)), Err(RecvTimeoutError::Timeout));
        assert!(start.elapsed() >= Duration::from_millis(5));
    });
}

#[test]
fn disconnecting_either_side_wakes_the_other() {
    limited(|| {
        let (tx, rx) = unbounded::<u32>();
        let receivers = [rx.clone(), rx].map(|rx| started(move || rx.recv()));
        tx.clone().send(1).unwrap();
        drop(tx);
        assert_eq!(receivers.map(|receiver| receiver.join().unwrap()), [Ok(1), Err(RecvError)]);

        let (tx, rx) = bounded(1);
        tx.send(1).unwrap();
        let sender = started({
            let tx = tx.clone();
            move || tx.send(2)
        });
        drop(rx);
        assert_eq!(sender.join().unwrap().unwrap_err().0, 2);
        assert_eq!(tx.try_send(3), Err(TrySendError::Disconnected(3)));
        assert_eq!(tx.send_timeout(3, EVER), Err(SendTimeoutError::Disconnected(3)));

        let (tx, rx) = unbounded();
        tx.send(1).unwrap();
        drop(tx);
        assert_eq!((rx.recv(), rx.recv()), (Ok(1), Err(RecvError)), "what was sent arrives");
        assert_eq!(rx.recv_timeout(EVER), Err(RecvTimeoutError::Disconnected));
    });
}

#[test]
fn items_left_behind_are_dropped_with_the_last_receiver() {
    let item = Arc::new(());
    let (tx, rx) = unbounded();
    tx.send(item.clone()).unwrap();
    drop(rx);
    assert_eq!(Arc::strong_count(&item), 1);
    assert!(tx.send(item).is_err());
}

#[test]
fn a_rendezvous_send_returns_once_received() {
    limited(|| {
        let (tx, rx) = bounded(0);
        assert_eq!(tx.try_send(0), Err(TrySendError::Full(0)));
        let sender = started(move || tx.send(1));
        assert!(!sender.is_finished());
        assert_eq!(rx.recv(), Ok(1));
        sender.join().unwrap().unwrap();
    });
}

#[test]
fn waiters_are_served_in_order_and_the_killed_are_skipped() {
    limited(|| {
        let (tx, rx) = unbounded();
        let receivers: Vec<_> = (0..4)
            .map(|_| {
                let rx = rx.clone();
                started(move || rx.recv())
            })
            .collect();
        receivers[1].kill();
        settle();
        (0..3).for_each(|n| tx.send(n).unwrap());
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty), "all three have an owner already");
        let results: Vec<_> = sward::join_all(receivers).into_iter().map(Result::ok).collect();
        assert_eq!(results, [Some(Ok(0)), None, Some(Ok(1)), Some(Ok(2))]);
    });
}

#[test]
fn what_a_killed_receiver_was_given_is_not_lost() {
    limited(|| {
        // Killed, then given before it ran: it passes the item on.
        let (tx, rx) = unbounded();
        let killed = started({
            let rx = rx.clone();
            move || rx.recv()
        });
        killed.kill();
        tx.send(1).unwrap();
        assert!(killed.join().is_err());
        assert_eq!(rx.try_recv(), Ok(1));

        // A killed sender's item is not sent.
        let (tx, rx) = bounded(0);
        let killed = started({
            let tx = tx.clone();
            move || tx.send(1)
        });
        killed.kill();
        assert!(killed.join().is_err());
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    });
}

#[test]
fn in_a_destructor_they_give_up() {
    limited(|| {
        let (tx, rx) = bounded::<u32>(0);
        let ends = (tx.clone(), rx.clone());
        assert!(in_unwinding(move || ends.0.send(1).is_err() && ends.1.recv().is_err()));
        let ends = (tx, rx);
        assert!(in_unwinding(move || {
            let mut select = Select::new();
            select.recv(&ends.1);
            select.select_timeout(EVER).is_err() && ends.1.recv_timeout(EVER).is_err()
        }));
    });
}

#[test]
fn threads_and_greenlets_of_several_hubs_share_one_channel() {
    limited(|| {
        for capacity in [0, 1, 16, usize::MAX] {
            let (tx, rx) = bounded(capacity);
            let (results, sums) = unbounded();
            let senders: Vec<_> = (0..4)
                .map(|n| {
                    let tx = tx.clone();
                    thread::spawn(move || {
                        let send = move |from: u64| (0..500).for_each(|k| tx.send((from, k)).unwrap());
                        if n % 2 == 0 {
                            return send(n);
                        }
                        // Greenlets of this thread's own hub.
                        let second = send.clone();
                        let one = sward::spawn(move || send(n));
                        let two = sward::spawn(move || second(n + 10));
                        one.join().unwrap();
                        two.join().unwrap();
                    })
                })
                .collect();
            drop(tx);
            let receivers: Vec<_> = (0..3)
                .map(|_| {
                    let (rx, results) = (rx.clone(), results.clone());
                    thread::spawn(move || {
                        let mut last = BTreeMap::new();
                        let mut count = 0_u64;
                        for (from, k) in rx {
                            let before = last.insert(from, k);
                            assert!(before.is_none_or(|before| before < k), "the order of one sender");
                            count += 1;
                            if count.is_multiple_of(64) {
                                thread::yield_now();
                            }
                        }
                        results.send(count).unwrap();
                    })
                })
                .collect();
            drop((rx, results));
            senders.into_iter().chain(receivers).for_each(|thread| thread.join().unwrap());
            assert_eq!(sums.iter().sum::<u64>(), 6 * 500, "capacity {capacity}");
        }
    });
}

#[test]
fn nothing_is_lost_when_receivers_are_killed_and_time_out_all_the_time() {
    limited(|| {
        const ITEMS: usize = 3000;
        for capacity in [0, 3] {
            let (tx, rx) = bounded(capacity);
            let received = Arc::new(AtomicUsize::new(0));
            let sender = thread::spawn(move || {
                for n in 0..ITEMS {
                    let mut item = n;
                    // Give up now and then, and try again.
                    while let Err(SendTimeoutError::Timeout(back)) = tx.send_timeout(item, Duration::from_micros(300)) {
                        item = back;
                    }
                }
            });
            let hubs: Vec<_> = (0..2)
                .map(|_| {
                    let (rx, received) = (rx.clone(), received.clone());
                    thread::spawn(move || {
                        while received.load(SeqCst) < ITEMS {
                            let victims: Vec<_> = (0..3)
                                .map(|_| {
                                    let (rx, received) = (rx.clone(), received.clone());
                                    // Counted without blocking in between: an item that recv returns is received.
                                    sward::spawn(move || {
                                        while rx.recv().is_ok() {
                                            received.fetch_add(1, SeqCst);
                                        }
                                    })
                                })
                                .collect();
                            sward::sleep(Duration::from_micros(fastrand::u64(0..200)));
                            victims.iter().for_each(|victim| victim.kill());
                            sward::join_all(victims);
                            if rx.recv_timeout(Duration::from_micros(50)).is_ok() {
                                received.fetch_add(1, SeqCst);
                            }
                        }
                    })
                })
                .collect();
            sender.join().unwrap();
            hubs.into_iter().for_each(|hub| hub.join().unwrap());
            assert_eq!(received.load(SeqCst), ITEMS);
            assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
        }
    });
}

#[test]
fn destructors_of_items_may_use_the_channel() {
    limited(|| {
        struct Item(Option<sward::sync::channel::Sender<Item>>);
        impl Drop for Item {
            fn drop(&mut self) {
                if let Some(tx) = self.0.take() {
                    assert!(tx.try_send(Item(None)).is_err());
                }
            }
        }
        let (tx, rx) = unbounded();
        tx.send(Item(Some(tx.clone()))).unwrap_or_else(|_| unreachable!());
        drop(rx);
        let kept = Rc::new(tx);
        assert_eq!(kept.len(), 0);
    });
}
