//! After `patch::all`, greenlets that have thread-locals of their own are looked at as others are.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

mod support;

use std::cell::Cell;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use support::patched;
use sward::inspect::{HubInfo, State, dump, hubs, profile, resolve, snapshot};
use sward::{sleep, spawn, yield_now};

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(0) };
}

/// Waits in a call of std, in a function whose name can be found.
#[inline(never)]
fn wait_for_std(receiver: &Receiver<usize>) -> usize {
    let number = receiver.recv().unwrap();
    NUMBER.get() + number
}

/// What `dump` writes.
fn dumped() -> String {
    let mut text = Vec::new();
    dump(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn the_calls_of_greenlets_that_wait_in_patched_calls_are_found() {
    patched("the_calls_of_greenlets_that_wait_in_patched_calls_are_found", || {
        let (senders, greenlets): (Vec<_>, Vec<_>) = (0..20)
            .map(|n| {
                let (sender, receiver) = channel();
                let greenlet = spawn(move || {
                    NUMBER.set(n);
                    wait_for_std(&receiver)
                });
                (sender, greenlet)
            })
            .unzip();
        let sleeper = spawn(|| std::thread::sleep(Duration::from_secs(3600)));
        yield_now();
        // From the root, and from greenlets, of which several look at once.
        let lookers: Vec<_> = (0..3).map(|_| spawn(dumped)).collect();
        let mut texts = vec![dumped()];
        texts.extend(sward::join_all(lookers).into_iter().map(Result::unwrap));
        for text in texts {
            assert_eq!(text.matches("wait_for_std").count(), 20, "{text}");
        }
        let parked = snapshot().into_iter().filter(|row| row.state == State::Parked).count();
        assert_eq!(parked, 21);
        // Each goes on with its own.
        for (n, sender) in senders.iter().enumerate() {
            sender.send(1000 * n).unwrap();
        }
        for (n, greenlet) in greenlets.into_iter().enumerate() {
            assert_eq!(greenlet.join().unwrap(), 1001 * n);
        }
        sleeper.kill();
        sleeper.wait();
    });
}

#[test]
fn looking_does_not_wait_for_a_greenlet_that_writes() {
    patched("looking_does_not_wait_for_a_greenlet_that_writes", || {
        // Its writer parks in the middle of the tree; others go on, and look as well.
        struct Slow(Vec<u8>);
        impl std::io::Write for Slow {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                sleep(Duration::from_millis(1));
                self.0.extend(&bytes[..bytes.len().min(40)]);
                Ok(bytes.len().min(40))
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let lookers = (0..3).map(|_| {
            spawn(|| {
                let mut text = Slow(Vec::new());
                dump(&mut text).unwrap();
                String::from_utf8(text.0).unwrap()
            })
        });
        for text in sward::join_all(lookers) {
            assert!(text.unwrap().starts_with("0 \"root\" waits in "));
        }
    });
}

/// Computes with a number of its own, and switches in between.
fn work(n: usize) -> usize {
    NUMBER.set(n);
    for _ in 0..50 {
        NUMBER.set(NUMBER.get() + (0..20).map(|n| *Box::new(n)).sum::<usize>());
        yield_now();
    }
    NUMBER.get()
}

#[test]
fn hubs_that_are_asked_and_profiled_all_the_time_do_their_work() {
    patched("hubs_that_are_asked_and_profiled_all_the_time_do_their_work", || {
        let working = || {
            for _ in 0..10 {
                for (n, end) in sward::join_all((0..50).map(|n| spawn(move || work(n)))).into_iter().enumerate() {
                    assert_eq!(end.unwrap(), n + 50 * 190);
                }
            }
        };
        let other = std::thread::spawn(working);
        let (profiles, asked) = sward::scope(|scope| {
            let profiler = scope.spawn(|| {
                let mut found = 0;
                while found < 20 {
                    let samples = profile(Duration::from_millis(50), Duration::from_millis(1)).unwrap();
                    found += samples.iter().map(|sample| sample.count).sum::<u64>();
                    resolve(samples.into_iter().map(|sample| sample.stack).collect());
                    spawn(working).join().unwrap();
                }
                found
            });
            let asker = scope.spawn(|| {
                let mut answers = 0;
                for _ in 0..20 {
                    for hub in hubs(Duration::from_millis(100)) {
                        answers += usize::from(hub.stats.is_some());
                        hub.traces(Duration::from_millis(100)).for_each(drop);
                    }
                    sleep(Duration::from_millis(1));
                }
                answers
            });
            working();
            (profiler.join().unwrap(), asker.join().unwrap())
        });
        other.join().unwrap();
        assert!(profiles >= 20 && asked > 0);
        assert!(hubs(Duration::from_secs(60)).iter().any(HubInfo::is_current));
    });
}
