//! The channel in every interleaving that the memory model allows (loom): see `ci/loom`.
//!
//! It is the channel itself that runs here, on loom's locks and atomics and on a `park` made of loom's. A wake-up
//! that is lost shows as a deadlock, which loom reports; an item that is lost or doubled fails an assertion. What
//! gives up does so at once after it has taken its place, which is any time, since loom lets others run before it.
//! Only the spinning is left out: it does nothing but try once more.

use std::time::Duration;

use loom::model::Builder;
use loom::thread;

use super::{Receiver, Select, bounded, unbounded};

/// What takes the place of std and of the runtime.
pub(super) mod ground {
    use std::sync::Arc;
    use std::time::Instant;

    use loom::sync::Notify;
    pub(crate) use loom::sync::atomic::AtomicUsize;
    pub(crate) use loom::sync::{Mutex, MutexGuard};
    use sward_runtime::lowlevel::Wake;

    loom::thread_local! {
        /// What makes this thread's `park` return. It remembers one call, as a greenlet's token does, and returns
        /// without one at times, as `park` may.
        static TOKEN: Arc<Notify> = Arc::new(Notify::new());
    }

    /// The runtime's, for a thread of the model.
    pub(crate) struct RemoteUnparker(Arc<Notify>);

    impl RemoteUnparker {
        pub(crate) fn current() -> RemoteUnparker {
            RemoteUnparker(TOKEN.with(Arc::clone))
        }

        pub(crate) fn unpark(&self) {
            self.0.notify();
        }
    }

    /// The runtime's; a deadline has always passed by now.
    pub(crate) fn park(deadline: Option<Instant>) -> Wake {
        if deadline.is_some() {
            return Wake::TimedOut;
        }
        TOKEN.with(Arc::clone).wait();
        Wake::Unparked
    }

    /// No thread spins.
    pub(crate) fn may_spin() -> bool {
        false
    }
}

/// Longer than nothing, and over at once: see `ground::park`.
const MOMENT: Duration = Duration::from_secs(1);

/// No bound, as a number.
const UNBOUNDED: usize = usize::MAX;

/// Runs a model, up to `LOOM_MAX_PREEMPTIONS`, or two if that is not said.
fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound.get_or_insert(2);
    builder.check(model);
}

/// All that still comes, sorted.
fn rest(rx: &Receiver<u32>) -> Vec<u32> {
    let mut items: Vec<u32> = rx.iter().collect();
    items.sort_unstable();
    items
}

/// Two senders of one item each, and one receiver, until both have gone.
fn two_senders(capacity: usize) {
    check(move || {
        let (tx, rx) = bounded(capacity);
        let tx2 = tx.clone();
        let senders = [(tx, 1), (tx2, 2)].map(|(tx, item)| thread::spawn(move || tx.send(item).unwrap()));
        assert_eq!(rest(&rx), [1, 2]);
        _ = senders.map(|sender| sender.join().unwrap());
    });
}

#[test]
fn two_senders_meet_a_receiver() {
    two_senders(0);
}

#[test]
fn two_senders_share_one_place() {
    two_senders(1);
}

#[test]
fn two_senders_without_a_bound() {
    two_senders(UNBOUNDED);
}

/// One sender of three items, whose order stays.
fn in_order(capacity: usize) {
    check(move || {
        let (tx, rx) = bounded(capacity);
        let sender = thread::spawn(move || (1..=3).for_each(|item| tx.send(item).unwrap()));
        assert_eq!(rx.iter().collect::<Vec<u32>>(), [1, 2, 3]);
        sender.join().unwrap();
    });
}

#[test]
fn the_order_of_a_sender_stays_in_a_rendezvous() {
    in_order(0);
}

#[test]
fn the_order_of_a_sender_stays_in_one_place() {
    in_order(1);
}

#[test]
fn the_order_of_a_sender_stays_without_a_bound() {
    in_order(UNBOUNDED);
}

/// Two receivers of one item each: with no bound, one of them may hold the other's in the batch.
fn two_receivers(capacity: usize) {
    check(move || {
        let (tx, rx) = bounded(capacity);
        let receivers = [rx.clone(), rx].map(|rx| thread::spawn(move || rx.recv().unwrap()));
        tx.send(1).unwrap();
        tx.send(2).unwrap();
        let mut items = receivers.map(|receiver| receiver.join().unwrap());
        items.sort_unstable();
        assert_eq!(items, [1, 2]);
    });
}

#[test]
fn two_receivers_of_a_rendezvous() {
    two_receivers(0);
}

#[test]
fn two_receivers_of_one_place() {
    two_receivers(1);
}

#[test]
fn two_receivers_share_a_batch() {
    two_receivers(UNBOUNDED);
}

/// A receiver that gives up while it is handed an item has it or leaves it to the next.
fn a_receiver_gives_up(capacity: usize) {
    check(move || {
        let (tx, rx) = bounded(capacity);
        let rx2 = rx.clone();
        let hasty = thread::spawn(move || rx2.recv_timeout(MOMENT).ok());
        let sender = thread::spawn(move || [1, 2].map(|item| tx.send(item).unwrap()));
        let mut items = rest(&rx);
        items.extend(hasty.join().unwrap());
        sender.join().unwrap();
        items.sort_unstable();
        assert_eq!(items, [1, 2]);
    });
}

#[test]
fn a_receiver_gives_up_a_rendezvous() {
    a_receiver_gives_up(0);
}

#[test]
fn a_receiver_gives_up_one_place() {
    a_receiver_gives_up(1);
}

#[test]
fn a_receiver_gives_up_without_a_bound() {
    a_receiver_gives_up(UNBOUNDED);
}

/// A sender that gives up has its item back or has sent it.
fn a_sender_gives_up(capacity: usize) {
    check(move || {
        let (tx, rx) = bounded(capacity);
        let tx2 = tx.clone();
        let hasty = thread::spawn(move || tx2.send_timeout(1, MOMENT).is_ok());
        let sender = thread::spawn(move || tx.send(2).unwrap());
        let items = rest(&rx);
        assert_eq!(items, if hasty.join().unwrap() { vec![1, 2] } else { vec![2] });
        sender.join().unwrap();
    });
}

#[test]
fn a_sender_gives_up_a_rendezvous() {
    a_sender_gives_up(0);
}

#[test]
fn a_sender_gives_up_one_place() {
    a_sender_gives_up(1);
}

#[test]
fn both_ends_give_up_a_rendezvous() {
    check(|| {
        let (tx, rx) = bounded(0);
        let sender = thread::spawn(move || tx.send_timeout(1, MOMENT).is_ok());
        let received = rx.recv_timeout(MOMENT).is_ok();
        assert_eq!(sender.join().unwrap(), received);
    });
}

#[test]
fn receivers_are_told_that_the_senders_have_gone() {
    for capacity in [0, 1, UNBOUNDED] {
        check(move || {
            let (tx, rx) = bounded::<u32>(capacity);
            let receivers = [rx.clone(), rx].map(|rx| thread::spawn(move || assert!(rx.recv().is_err())));
            drop(tx);
            _ = receivers.map(|receiver| receiver.join().unwrap());
        });
    }
}

#[test]
fn senders_are_told_that_the_receiver_has_gone() {
    for capacity in [0, 1] {
        check(move || {
            let (tx, rx) = bounded(capacity);
            let tx2 = tx.clone();
            let senders = [(tx, 1), (tx2, 2)].map(|(tx, item)| {
                thread::spawn(move || match tx.send(item) {
                    Ok(()) => 1,
                    Err(back) => {
                        assert_eq!(back.0, item);
                        0
                    }
                })
            });
            drop(rx);
            let sent: usize = senders.map(|sender| sender.join().unwrap()).iter().sum();
            assert!(sent <= capacity, "nobody has received it");
        });
    }
}

/// A `Select` takes an item of one channel and leaves the other's alone.
fn select_of_two(capacity: usize) {
    check(move || {
        let ((tx1, rx1), (tx2, rx2)) = (bounded(capacity), bounded(capacity));
        let senders = [(tx1, 1), (tx2, 2)].map(|(tx, item)| thread::spawn(move || tx.send(item).unwrap()));
        let mut select = Select::new();
        let first = select.recv(&rx1);
        select.recv(&rx2);
        let operation = select.select();
        let items = if operation.index() == first {
            [operation.recv(&rx1).unwrap(), rx2.recv().unwrap()]
        } else {
            let item = operation.recv(&rx2).unwrap();
            [rx1.recv().unwrap(), item]
        };
        assert_eq!(items, [1, 2]);
        _ = senders.map(|sender| sender.join().unwrap());
    });
}

#[test]
fn a_select_of_two_rendezvous() {
    select_of_two(0);
}

#[test]
fn a_select_of_two_with_room() {
    select_of_two(1);
}

#[test]
fn a_select_that_sends_meets_a_receiver() {
    check(|| {
        let (tx, rx) = bounded(0);
        let receiver = thread::spawn(move || rx.recv().unwrap());
        let mut select = Select::new();
        select.send(&tx);
        select.select().send(&tx, 1).unwrap();
        assert_eq!(receiver.join().unwrap(), 1);
    });
}

#[test]
fn a_watch_sees_what_comes() {
    check(|| {
        let (tx, rx) = unbounded();
        let sender = thread::spawn(move || tx.send(1).unwrap());
        let mut select = Select::new();
        let index = select.recv(&rx);
        assert_eq!(select.ready(), index);
        assert_eq!(rx.try_recv(), Ok(1));
        sender.join().unwrap();
    });
}

#[test]
fn a_select_that_sends_holds_nobody_up_behind_it() {
    check(|| {
        let (tx, rx) = bounded(1);
        let receivers = [rx.clone(), rx].map(|rx| thread::spawn(move || rx.recv().unwrap()));
        let tx2 = tx.clone();
        let sender = thread::spawn(move || tx2.send(1).unwrap());
        let mut select = Select::new();
        select.send(&tx);
        select.select().send(&tx, 2).unwrap();
        sender.join().unwrap();
        let mut items = receivers.map(|receiver| receiver.join().unwrap());
        items.sort_unstable();
        assert_eq!(items, [1, 2]);
    });
}
