//! A million items through channels between threads and greenlets of several hubs; only there in a release build,
//! where it takes seconds. See the feature `heavy`.

#![cfg(not(debug_assertions))]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use support::limited;
use sward::sync::channel::{Receiver, RecvTimeoutError, Select, SendTimeoutError, Sender, TryRecvError, bounded};

/// A sender's number, and the number of the item among the sender's.
type Item = (usize, usize);

/// Hubs with greenlets that send and receive.
const HUBS: usize = 2;
/// Greenlets of each hub that send, and as many that receive.
const GREENLETS: usize = 3;
/// Plain threads that send, and as many that receive.
const THREADS: usize = 2;
/// All who send.
const SENDERS: usize = THREADS + HUBS * GREENLETS;
/// Items of each sender in a round.
const EACH: usize = 25_000;
/// The room in the two channels of each round.
const ROUNDS: [[usize; 2]; 5] = [[0, 0], [0, 1], [1, 7], [3, usize::MAX], [1024, usize::MAX]];
/// So short that many calls give up while they are being served.
const SHORT: Duration = Duration::from_micros(20);

const _: () = assert!(SENDERS * EACH * ROUNDS.len() == 1_000_000);

/// Which items have come.
type Seen = Arc<Vec<AtomicBool>>;

/// Sends all items of one sender, to the two channels in turn, each in one of several ways.
fn send(from: usize, txs: &[Sender<Item>; 2]) {
    for k in 0..EACH {
        let (tx, mut item) = (&txs[k % 2], (from, k));
        match fastrand::u8(0..4) {
            0 => {
                let mut select = Select::new();
                select.send(tx);
                select.select().send(tx, item).unwrap();
            }
            1 => {
                while let Err(error) = tx.send_timeout(item, SHORT) {
                    let SendTimeoutError::Timeout(back) = error else { panic!("{error}") };
                    item = back;
                }
            }
            _ => tx.send(item).unwrap(),
        }
    }
}

/// Receives until both channels have no senders any more, each time in one of several ways.
fn receive(rxs: &[Receiver<Item>; 2], seen: &Seen) {
    // The next item that may come, by channel and sender.
    let mut next = [[0; SENDERS]; 2];
    let mut is_open = [true; 2];
    while is_open.contains(&true) {
        let (channel, result) = receive_one(rxs, is_open);
        match result {
            Ok((from, k)) => {
                assert!(k >= next[channel][from], "sender {from}: {k}, but {} was next", next[channel][from]);
                next[channel][from] = k + 1;
                assert!(!seen[from * EACH + k].swap(true, Relaxed), "sender {from}: {k} came twice");
            }
            Err(RecvTimeoutError::Disconnected) => is_open[channel] = false,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Tries to receive an item, and tells from which channel.
fn receive_one(rxs: &[Receiver<Item>; 2], is_open: [bool; 2]) -> (usize, Result<Item, RecvTimeoutError>) {
    let channel = fastrand::usize(0..2);
    let way = fastrand::u8(0..5);
    if way == 0 {
        let result = rxs[channel].try_recv();
        return (
            channel,
            result.map_err(|error| match error {
                TryRecvError::Empty => RecvTimeoutError::Timeout,
                TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
            }),
        );
    }
    if way == 1 {
        return (channel, rxs[channel].recv_timeout(SHORT));
    }
    let open: Vec<usize> = (0..2).filter(|index| is_open[*index]).collect();
    let mut select = Select::new();
    for index in &open {
        select.recv(&rxs[*index]);
    }
    let operation = match way {
        2 => match select.select_timeout(SHORT) {
            Ok(operation) => operation,
            Err(_) => return (channel, Err(RecvTimeoutError::Timeout)),
        },
        _ => select.select(),
    };
    let channel = open[operation.index()];
    (channel, operation.recv(&rxs[channel]).map_err(|_| RecvTimeoutError::Disconnected))
}

#[test]
fn a_million_items_come_once_each_and_in_the_order_of_their_senders() {
    limited(|| {
        for capacities in ROUNDS {
            let seen: Seen = Arc::new((0..SENDERS * EACH).map(|_| AtomicBool::new(false)).collect());
            let [(tx1, rx1), (tx2, rx2)] = capacities.map(bounded);
            let (txs, rxs) = ([tx1, tx2], [rx1, rx2]);
            let mut threads = Vec::new();
            for from in 0..THREADS {
                let txs = txs.clone();
                threads.push(thread::spawn(move || send(from, &txs)));
                let (rxs, seen) = (rxs.clone(), seen.clone());
                threads.push(thread::spawn(move || receive(&rxs, &seen)));
            }
            for hub in 0..HUBS {
                let (txs, rxs, seen) = (txs.clone(), rxs.clone(), seen.clone());
                threads.push(thread::spawn(move || {
                    let greenlets = (0..GREENLETS).flat_map(|n| {
                        let (txs, rxs, seen) = (txs.clone(), rxs.clone(), seen.clone());
                        let from = THREADS + hub * GREENLETS + n;
                        [sward::spawn(move || send(from, &txs)), sward::spawn(move || receive(&rxs, &seen))]
                    });
                    let greenlets: Vec<_> = greenlets.collect();
                    drop((txs, rxs));
                    greenlets.into_iter().for_each(|greenlet| greenlet.join().unwrap());
                }));
            }
            drop((txs, rxs));
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            let lost = seen.iter().filter(|seen| !seen.load(Relaxed)).count();
            assert_eq!(lost, 0, "room {capacities:?}");
        }
    });
}
