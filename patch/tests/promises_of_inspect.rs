//! After `patch::all`, greenlets that have thread-locals of their own are looked at as others are.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

mod support;

use std::cell::Cell;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use support::patched;
use sward::inspect::{State, dump, snapshot};
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
