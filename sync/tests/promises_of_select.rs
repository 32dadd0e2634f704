//! What `channel::Select` promises.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use support::{EVER, SOON, limited, settle, started};
use sward::sync::channel::{RecvError, Select, SelectTimeoutError, TrySendError, bounded, unbounded};

#[test]
fn select_does_exactly_one_operation() {
    limited(|| {
        let ((tx1, rx1), (tx2, rx2)) = (unbounded::<u32>(), unbounded());
        let (tx3, rx3) = bounded(1);
        tx3.send(0).unwrap();
        let mut select = Select::new();
        let (first, second, third) = (select.recv(&rx1), select.recv(&rx2), select.send(&tx3));
        assert!(select.try_select().is_err());
        assert_eq!(select.select_timeout(SOON).unwrap_err(), SelectTimeoutError);
        assert_eq!(select.select_deadline(Instant::now()).unwrap_err(), SelectTimeoutError);
        tx2.send(2).unwrap();
        let operation = select.select();
        assert_eq!(operation.index(), second);
        assert_eq!(operation.recv(&rx2), Ok(2));
        rx3.recv().unwrap();
        let operation = select.select();
        assert_eq!(operation.index(), third);
        operation.send(&tx3, 3).unwrap();
        assert_eq!(rx3.len(), 1);
        drop(tx1);
        let operation = select.select();
        assert_eq!(operation.index(), first);
        assert_eq!(operation.recv(&rx1), Err(RecvError), "a disconnected channel is ready too");
        select.remove(first);
        assert!(select.try_select().is_err());
    });
}

#[test]
fn ready_operations_take_turns() {
    limited(|| {
        let ((tx1, rx1), (tx2, rx2)) = (unbounded(), unbounded());
        (0..4).for_each(|n| (tx1.send(n).unwrap(), tx2.send(n)).1.unwrap());
        let mut select = Select::new();
        select.recv(&rx1);
        select.recv(&rx2);
        let order: Vec<_> = (0..4)
            .map(|_| {
                let operation = select.select();
                let index = operation.index();
                operation.recv(if index == 0 { &rx1 } else { &rx2 }).unwrap();
                index
            })
            .collect();
        assert_eq!(order, [0, 1, 0, 1]);
    });
}

#[test]
fn an_operation_that_is_not_done_is_undone() {
    limited(|| {
        let (tx, rx) = bounded(1);
        tx.send(1).unwrap();
        let mut select = Select::new();
        select.recv(&rx);
        drop(select.select());
        assert_eq!(rx.recv(), Ok(1));
        let mut select = Select::new();
        select.send(&tx);
        let operation = select.select();
        assert_eq!(tx.try_send(2), Err(TrySendError::Full(2)), "the room is reserved");
        drop(operation);
        tx.try_send(3).unwrap();
        let (other, _rx) = bounded(1);
        let panic = catch_unwind(AssertUnwindSafe(|| {
            rx.recv().unwrap();
            let mut select = Select::new();
            select.send(&tx);
            let _ = select.select().send(&other, 1);
        }));
        assert!(panic.is_err(), "another channel");
        tx.try_send(4).unwrap();
    });
}

#[test]
fn a_blocked_select_is_woken_and_loses_nothing_when_killed() {
    limited(|| {
        let ((tx1, rx1), (_tx2, rx2)) = (unbounded(), unbounded::<u32>());
        let wait = || {
            let (rx1, rx2) = (rx1.clone(), rx2.clone());
            started(move || {
                let mut select = Select::new();
                select.recv(&rx2);
                select.recv(&rx1);
                let operation = select.select();
                assert_eq!(operation.index(), 1);
                operation.recv(&rx1).unwrap()
            })
        };
        let (killed, lives) = (wait(), wait());
        killed.kill();
        tx1.send(1).unwrap(); // to the one that was killed, and has not run
        assert!(killed.join().is_err());
        assert_eq!(lives.join().unwrap(), 1);
        assert!(format!("{rx1:?}").contains("waiters: 0"), "{rx1:?}");
        assert!(format!("{rx2:?}").contains("waiters: 0"), "{rx2:?}");
    });
}

#[test]
fn selects_meet_at_a_rendezvous() {
    limited(|| {
        let (tx, rx) = bounded(0);
        // A plain receiver, then a Select's.
        for selects in [false, true] {
            let receiver = {
                let rx = rx.clone();
                started(move || {
                    if !selects {
                        return rx.recv().unwrap();
                    }
                    let mut select = Select::new();
                    select.recv(&rx);
                    select.select().recv(&rx).unwrap()
                })
            };
            let mut select = Select::new();
            select.send(&tx);
            select.select().send(&tx, 5).unwrap();
            assert_eq!(receiver.join().unwrap(), 5);
        }
        // The sender first.
        for selects in [false, true] {
            let sender = {
                let tx = tx.clone();
                started(move || {
                    let mut select = Select::new();
                    select.send(&tx);
                    select.select().send(&tx, 6)
                })
            };
            let item = if selects {
                let mut select = Select::new();
                select.recv(&rx);
                select.select().recv(&rx)
            } else {
                rx.recv()
            };
            assert_eq!(item, Ok(6));
            sender.join().unwrap().unwrap();
        }
        // Nobody meets himself.
        let mut select = Select::new();
        select.send(&tx);
        select.recv(&rx);
        assert!(select.try_select().is_err());
        assert!(select.select_timeout(SOON).is_err());
        assert_eq!((rx.len(), format!("{rx:?}").contains("waiters: 0")), (0, true));
    });
}

#[test]
fn two_selects_that_send_both_find_their_receivers() {
    limited(|| {
        let (tx, rx) = bounded(0);
        let senders = [1, 2].map(|n| {
            let tx = tx.clone();
            started(move || {
                let mut select = Select::new();
                select.send(&tx);
                select.select().send(&tx, n).unwrap();
            })
        });
        let receivers = [0, 1].map(|_| {
            let rx = rx.clone();
            started(move || rx.recv().unwrap())
        });
        let sum: u32 = receivers.into_iter().map(|receiver| receiver.join().unwrap()).sum();
        assert_eq!(sum, 3);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    });
}

#[test]
fn ready_tells_and_takes_nothing() {
    limited(|| {
        let (tx, rx) = bounded(0);
        let sender = started({
            let tx = tx.clone();
            move || tx.send(1)
        });
        let mut select = Select::new();
        select.recv(&rx);
        assert_eq!(select.try_ready(), Ok(0));
        assert_eq!(rx.try_recv(), Ok(1));
        sender.join().unwrap().unwrap();
        assert!(select.try_ready().is_err() && select.ready_timeout(SOON).is_err());
        let watcher = started({
            let rx = rx.clone();
            move || {
                let mut select = Select::new();
                select.recv(&rx);
                select.ready()
            }
        });
        let sender = started(move || tx.send(2));
        assert_eq!(watcher.join().unwrap(), 0);
        assert_eq!(rx.recv(), Ok(2));
        sender.join().unwrap().unwrap();
    });
}

#[test]
fn selects_on_many_threads_lose_nothing() {
    limited(|| {
        const EACH: u64 = 400;
        for capacity in [0, 1, 8] {
            let ends: Vec<_> = (0..3).map(|_| bounded(capacity)).collect();
            let (txs, rxs): (Vec<_>, Vec<_>) = ends.into_iter().unzip();
            let senders: Vec<_> = (0..3_u64)
                .map(|n| {
                    let txs = txs.clone();
                    thread::spawn(move || {
                        for k in 0..EACH {
                            if k % 3 == 0 {
                                txs[(k / 3 % 3) as usize].send(n * EACH + k).unwrap();
                                continue;
                            }
                            let mut select = Select::new();
                            txs.iter().for_each(|tx| _ = select.send(tx));
                            let operation = select.select();
                            let tx = &txs[operation.index()];
                            operation.send(tx, n * EACH + k).unwrap();
                        }
                    })
                })
                .collect();
            drop(txs);
            let (results, sums) = unbounded();
            let receivers: Vec<_> = (0..2)
                .map(|_| {
                    let (rxs, results) = (rxs.clone(), results.clone());
                    thread::spawn(move || {
                        let (mut sum, mut open) = (0, 3);
                        let mut select = Select::new();
                        rxs.iter().for_each(|rx| _ = select.recv(rx));
                        while open > 0 {
                            let Ok(operation) = select.select_timeout(Duration::from_micros(100)) else { continue };
                            let index = operation.index();
                            match operation.recv(&rxs[index]) {
                                Ok(n) => sum += n,
                                Err(RecvError) => {
                                    select.remove(index);
                                    open -= 1;
                                }
                            }
                        }
                        results.send(sum).unwrap();
                    })
                })
                .collect();
            drop((rxs, results));
            senders.into_iter().chain(receivers).for_each(|thread| thread.join().unwrap());
            let total = 3 * EACH;
            assert_eq!(sums.iter().sum::<u64>(), total * (total - 1) / 2, "capacity {capacity}");
        }
    });
}

#[test]
fn room_that_becomes_free_while_receivers_wait_goes_through_to_them() {
    limited(|| {
        for is_sent in [true, false] {
            let (tx, rx) = bounded(1);
            let mut select = Select::new();
            select.send(&tx);
            let operation = select.select(); // the room is taken, and there is no item
            let blocked = started({
                let tx = tx.clone();
                move || tx.send(2).unwrap()
            });
            let receivers: Vec<_> = (0..2)
                .map(|_| {
                    let rx = rx.clone();
                    started(move || rx.recv_timeout(EVER).ok())
                })
                .collect();
            if is_sent {
                operation.send(&tx, 1).unwrap();
            } else {
                drop(operation);
            }
            blocked.join().unwrap();
            settle();
            assert_eq!(receivers.iter().filter(|receiver| receiver.is_finished()).count(), 1 + usize::from(is_sent));
            receivers.iter().for_each(|receiver| receiver.kill());
        }
    });
}
