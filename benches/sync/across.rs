//! Two threads and a channel, ours and crossbeam's.

use std::thread;
use std::time::{Duration, Instant};

use sward::sync::channel;

/// The functions for one kind of channel.
macro_rules! rows {
    ($channel:ident: $unbounded:ident $bounded:ident $ping_pong:ident $rendezvous:ident) => {
        pub(crate) fn $unbounded(count: u64) -> Duration {
            stream!(count, $channel::unbounded())
        }

        pub(crate) fn $bounded(count: u64) -> Duration {
            stream!(count, $channel::bounded(1024))
        }

        pub(crate) fn $rendezvous(count: u64) -> Duration {
            stream!(count, $channel::bounded(0))
        }

        pub(crate) fn $ping_pong(count: u64) -> Duration {
            let ((tx, there), (back, rx)) = ($channel::bounded(1), $channel::bounded(1));
            let echo = thread::spawn(move || there.iter().for_each(|n: u64| back.send(n).unwrap()));
            let start = Instant::now();
            for n in 0..count {
                tx.send(n).unwrap();
                assert_eq!(rx.recv(), Ok(n));
            }
            let elapsed = start.elapsed();
            drop(tx);
            echo.join().unwrap();
            elapsed
        }
    };
}

/// One sends, the other receives.
macro_rules! stream {
    ($count:ident, $pair:expr) => {{
        let (tx, rx) = $pair;
        let start = Instant::now();
        let sender = thread::spawn(move || (0..$count).for_each(|n| tx.send(n).unwrap()));
        assert_eq!(rx.iter().sum::<u64>(), $count * ($count - 1) / 2);
        sender.join().unwrap();
        start.elapsed()
    }};
}

rows!(channel: ours_unbounded ours_bounded ours_ping_pong ours_rendezvous);
rows!(crossbeam_channel: theirs_unbounded theirs_bounded theirs_ping_pong theirs_rendezvous);
