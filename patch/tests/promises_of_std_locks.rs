//! Locks and channels of std, parking_lot and crossbeam, unmodified, between greenlets of one hub, of
//! two, and threads.

mod support;

use std::cell::Cell;
use std::io::Write;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, LazyLock, Mutex, Once, OnceLock, RwLock, mpsc};
use std::thread;

use support::locks::hub;
use support::{greenlets, ms, patched_with_locks, takes};

/// 8 greenlets on two hubs and 2 threads call `add` 14,000 times each, now and then parking in between.
fn contend(add: impl Fn(bool) + Clone + Send + 'static) {
    let work = {
        let add = add.clone();
        move || (0..14_000).for_each(|round| add(round % 64 == 0))
    };
    let hubs = [hub(4, work.clone()), hub(4, work)];
    let threads = [(); 2].map(|()| {
        let add = add.clone();
        thread::spawn(move || (0..14_000).for_each(|_| add(false)))
    });
    hubs.into_iter().chain(threads).for_each(|thread| thread.join().unwrap());
}

#[test]
fn no_increment_is_lost_under_a_mutex_of_std() {
    patched_with_locks("no_increment_is_lost_under_a_mutex_of_std", || {
        let count = Arc::new(Mutex::new(0));
        let theirs = count.clone();
        contend(move |parks| {
            let mut count = theirs.lock().unwrap();
            *count += 1;
            if parks {
                thread::sleep(std::time::Duration::from_micros(10));
            }
        });
        assert_eq!(*count.lock().unwrap(), 140_000);
    });
}

#[test]
fn no_increment_is_lost_under_a_mutex_of_parking_lot() {
    patched_with_locks("no_increment_is_lost_under_a_mutex_of_parking_lot", || {
        let count = Arc::new(parking_lot::Mutex::new(0));
        let theirs = count.clone();
        contend(move |parks| {
            let mut count = theirs.lock();
            *count += 1;
            if parks {
                thread::sleep(std::time::Duration::from_micros(10));
            }
        });
        assert_eq!(*count.lock(), 140_000);
    });
}

#[test]
fn no_increment_is_lost_under_locks_for_writing() {
    patched_with_locks("no_increment_is_lost_under_locks_for_writing", || {
        let counts = Arc::new((RwLock::new(0), parking_lot::RwLock::new(0)));
        let theirs = counts.clone();
        contend(move |parks| {
            *theirs.0.write().unwrap() += 1;
            *theirs.1.write() += 1;
            if parks {
                let (one, other) = (theirs.0.read().unwrap(), theirs.1.read());
                sward::yield_now();
                assert!(*one >= 1 && *other >= 1);
            }
        });
        assert_eq!((*counts.0.read().unwrap(), *counts.1.read()), (140_000, 140_000));
    });
}

#[test]
fn a_mutex_held_over_a_sleep_makes_the_others_of_the_thread_wait() {
    patched_with_locks("a_mutex_held_over_a_sleep_makes_the_others_of_the_thread_wait", || {
        let order = Arc::new(Mutex::new(Vec::new()));
        let theirs = order.clone();
        takes(ms(50), ms(2000), || {
            greenlets(10, move |number| {
                let mut order = theirs.lock().unwrap();
                thread::sleep(ms(5));
                order.push(number);
            });
        });
        assert_eq!(*order.lock().unwrap(), (0..10).collect::<Vec<_>>(), "first come, first served");
    });
}

#[test]
fn channels_of_std_carry_everything_between_hubs_and_threads() {
    patched_with_locks("channels_of_std_carry_everything_between_hubs_and_threads", || {
        for capacity in [None, Some(0), Some(3)] {
            /// Sends a number.
            type Send = Box<dyn Fn(usize) + std::marker::Send>;
            let (send, receive): (Box<dyn Fn() -> Send>, _) = match capacity {
                None => {
                    let (sender, receiver) = mpsc::channel();
                    let make = move || -> Send {
                        let sender = sender.clone();
                        Box::new(move |item| sender.send(item).unwrap())
                    };
                    (Box::new(make), receiver)
                }
                Some(capacity) => {
                    let (sender, receiver) = mpsc::sync_channel(capacity);
                    let make = move || -> Send {
                        let sender = sender.clone();
                        Box::new(move |item| sender.send(item).unwrap())
                    };
                    (Box::new(make), receiver)
                }
            };
            let mut all = Vec::new();
            for _ in 0..2 {
                let senders: Vec<_> = (0..3).map(|_| send()).collect();
                all.push(thread::spawn(move || {
                    let senders = senders.into_iter().map(|send| sward::spawn(move || (0..500).for_each(send)));
                    sward::join_all(senders).into_iter().for_each(|result| result.unwrap());
                }));
            }
            let to_send = send();
            all.push(thread::spawn(move || (0..500).for_each(to_send)));
            let here = send();
            let here = sward::spawn(move || (0..500).for_each(here));
            drop(send);
            let sum = sward::spawn(move || receive.iter().sum::<usize>()).join().unwrap();
            here.join().unwrap();
            all.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!(sum, 8 * (0..500).sum::<usize>(), "{capacity:?}");
        }
    });
}

#[test]
fn channels_of_crossbeam_carry_everything_and_select() {
    patched_with_locks("channels_of_crossbeam_carry_everything_and_select", || {
        let (sender, receiver) = crossbeam_channel::bounded::<usize>(2);
        let (other_sender, other) = crossbeam_channel::bounded::<usize>(0);
        let senders = [
            hub(3, move || (0..500).for_each(|item| sender.send(item).unwrap())),
            thread::spawn(move || (0..500).for_each(|item| other_sender.send(item).unwrap())),
        ];
        let sums = greenlets(3, move |_| {
            let mut sum = 0;
            loop {
                crossbeam_channel::select! {
                    recv(receiver) -> item => match item {
                        Ok(item) => sum += item,
                        Err(_) => break sum + other.iter().sum::<usize>(),
                    },
                    recv(other) -> item => match item {
                        Ok(item) => sum += item,
                        Err(_) => break sum + receiver.iter().sum::<usize>(),
                    },
                }
            }
        });
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        assert_eq!(sums.into_iter().sum::<usize>(), 4 * (0..500).sum::<usize>());
    });
}

#[test]
fn conditions_and_barriers_of_std_and_parking_lot() {
    patched_with_locks("conditions_and_barriers_of_std_and_parking_lot", || {
        let shared = Arc::new((Mutex::new(0), Condvar::new(), parking_lot::Mutex::new(0), parking_lot::Condvar::new()));
        let (barrier, leaders) = (Arc::new(Barrier::new(9)), Arc::new(AtomicUsize::new(0)));
        let work = {
            let (shared, barrier, leaders) = (shared.clone(), barrier.clone(), leaders.clone());
            move || {
                for round in 1..=20 {
                    let (mutex, condition, other, other_condition) = &*shared;
                    drop(condition.wait_while(mutex.lock().unwrap(), |value| *value < round).unwrap());
                    other_condition.wait_while(&mut other.lock(), |value| *value < round);
                    leaders.fetch_add(usize::from(barrier.wait().is_leader()), Ordering::SeqCst);
                }
            }
        };
        let mut all = vec![hub(3, work.clone()), hub(3, work.clone())];
        all.extend((0..2).map(|_| thread::spawn(work.clone())));
        let teller = sward::spawn(move || {
            for round in 1..=20 {
                *shared.0.lock().unwrap() = round;
                shared.1.notify_all();
                *shared.2.lock() = round;
                shared.3.notify_all();
                leaders.fetch_add(usize::from(barrier.wait().is_leader()), Ordering::SeqCst);
            }
            leaders.load(Ordering::SeqCst)
        });
        assert!(teller.join().unwrap() >= 19);
        all.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn what_is_made_once_is_made_once() {
    patched_with_locks("what_is_made_once_is_made_once", || {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        static ONCE: Once = Once::new();
        static CELL: OnceLock<usize> = OnceLock::new();
        static LAZY: LazyLock<usize> = LazyLock::new(make);
        fn make() -> usize {
            thread::sleep(ms(20));
            MADE.fetch_add(1, Ordering::SeqCst)
        }
        let work = || {
            ONCE.call_once(|| _ = make());
            CELL.get_or_init(make);
            LazyLock::force(&LAZY);
        };
        let other = hub(4, work);
        greenlets(4, move |_| work());
        other.join().unwrap();
        assert_eq!(MADE.load(Ordering::SeqCst), 3);
    });
}

#[test]
fn each_greenlet_parks_and_is_unparked_as_a_thread() {
    patched_with_locks("each_greenlet_parks_and_is_unparked_as_a_thread", || {
        // A ring: each waits for the one before it, in all combinations of places.
        let turn = Arc::new(AtomicUsize::new(0));
        let (tell, told) = mpsc::channel();
        let run = move |me: usize, turn: Arc<AtomicUsize>, tell: mpsc::Sender<(usize, thread::Thread)>| {
            let (give, next) = mpsc::channel();
            tell.send((me, thread::current())).unwrap();
            RING.lock().unwrap().push((me, give));
            drop(tell);
            let next: thread::Thread = next.recv().unwrap();
            for round in 0..200 {
                while turn.load(Ordering::SeqCst) != round * 6 + me {
                    thread::park();
                }
                turn.fetch_add(1, Ordering::SeqCst);
                next.unpark();
            }
        };
        static RING: Mutex<Vec<(usize, mpsc::Sender<thread::Thread>)>> = Mutex::new(Vec::new());
        let start = |members: Vec<usize>| {
            let (turn, tell) = (turn.clone(), tell.clone());
            thread::spawn(move || {
                let all = members.into_iter().map(|me| {
                    let (turn, tell) = (turn.clone(), tell.clone());
                    sward::spawn(move || run(me, turn, tell))
                });
                sward::join_all(all.collect::<Vec<_>>()).into_iter().for_each(|result| result.unwrap());
            })
        };
        let hubs = [start(vec![0, 1, 3]), start(vec![2, 4])];
        let last = {
            let (turn, tell) = (turn.clone(), tell.clone());
            thread::spawn(move || run(5, turn, tell))
        };
        let mut threads: Vec<_> = told.iter().take(6).collect();
        threads.sort_by_key(|(me, _)| *me);
        while RING.lock().unwrap().len() < 6 {
            thread::sleep(ms(1));
        }
        for (me, give) in RING.lock().unwrap().drain(..) {
            give.send(threads[(me + 1) % 6].1.clone()).unwrap();
        }
        hubs.into_iter().chain([last]).for_each(|thread| thread.join().unwrap());
        assert_eq!(turn.load(Ordering::SeqCst), 1200);
    });
}

#[test]
fn waits_with_a_limit_end_in_time() {
    patched_with_locks("waits_with_a_limit_end_in_time", || {
        takes(ms(30), ms(400), || {
            greenlets(20, |_| {
                let (_sender, receiver) = mpsc::channel::<()>();
                assert_eq!(receiver.recv_timeout(ms(30)), Err(mpsc::RecvTimeoutError::Timeout));
            });
        });
        takes(ms(60), ms(600), || {
            greenlets(20, |_| {
                thread::park_timeout(ms(30));
                let (mutex, condition) = (Mutex::new(()), Condvar::new());
                let (_guard, result) = condition.wait_timeout(mutex.lock().unwrap(), ms(30)).unwrap();
                assert!(result.timed_out());
            });
        });
        let mutex = Arc::new(parking_lot::Mutex::new(()));
        let held = mutex.clone();
        let holder = sward::spawn(move || {
            let _guard = held.lock();
            thread::sleep(ms(60));
        });
        sward::yield_now();
        let waiter = sward::spawn(move || {
            assert!(mutex.try_lock_for(ms(20)).is_none());
            assert!(mutex.try_lock_for(ms(2000)).is_some());
        });
        sward::join_all([holder, waiter]).into_iter().for_each(|result| result.unwrap());
    });
}

#[test]
fn a_killed_greenlet_gets_the_lock_first_and_poisons_nothing() {
    patched_with_locks("a_killed_greenlet_gets_the_lock_first_and_poisons_nothing", || {
        let mutex = Arc::new(Mutex::new(0));
        let guard = mutex.lock().unwrap();
        let (theirs, reached) = (mutex.clone(), Rc::new(Cell::new(false)));
        let told = reached.clone();
        let waiter = sward::spawn(move || {
            *theirs.lock().unwrap() += 1;
            told.set(true);
            sward::sleep(ms(1));
        });
        let limited = {
            let theirs = mutex.clone();
            sward::spawn(move || {
                let limited = sward::timeout(ms(10), || {
                    *theirs.lock().unwrap() += 1;
                    sward::yield_now();
                });
                assert_eq!(limited, Err(sward::Elapsed));
            })
        };
        sward::yield_now();
        waiter.kill();
        sward::sleep(ms(30));
        assert!(!waiter.is_finished() && !limited.is_finished());
        drop(guard);
        assert!(waiter.join().unwrap_err().is_killed());
        limited.join().unwrap();
        assert!(reached.get());
        assert_eq!(*mutex.lock().unwrap(), 2);
    });
}

#[test]
fn a_lock_may_be_waited_for_in_a_destructor_while_unwinding() {
    patched_with_locks("a_lock_may_be_waited_for_in_a_destructor_while_unwinding", || {
        struct Adds(Arc<Mutex<i32>>);
        impl Drop for Adds {
            fn drop(&mut self) {
                *self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) += 1;
            }
        }
        let mutex = Arc::new(Mutex::new(0));
        let (theirs, held) = (mutex.clone(), mutex.clone());
        let holder = sward::spawn(move || {
            let guard = held.lock().unwrap();
            sward::sleep(ms(20));
            drop(guard);
        });
        sward::yield_now();
        let panics = sward::spawn(move || {
            let _adds = Adds(theirs);
            std::panic::resume_unwind(Box::new(7));
        });
        holder.join().unwrap();
        assert!(panics.join().unwrap_err().is_panic());
        assert_eq!(*mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner()), 1);
    });
}

#[test]
fn standard_output_is_locked_by_one_greenlet_at_a_time() {
    patched_with_locks("standard_output_is_locked_by_one_greenlet_at_a_time", || {
        let inside = Arc::new(AtomicUsize::new(0));
        let work = {
            let inside = inside.clone();
            move || {
                for _ in 0..5 {
                    let mut out = std::io::stdout().lock();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    thread::sleep(ms(1));
                    // The same greenlet may lock it again.
                    std::io::stdout().lock().flush().unwrap();
                    out.flush().unwrap();
                    inside.fetch_sub(1, Ordering::SeqCst);
                }
            }
        };
        let other = hub(3, work.clone());
        greenlets(3, move |_| work());
        other.join().unwrap();
    });
}

#[test]
fn a_job_for_the_pool_is_never_missed_however_its_lock_is_contended() {
    patched_with_locks("a_job_for_the_pool_is_never_missed_however_its_lock_is_contended", || {
        let work = || {
            for number in 0..200 {
                assert_eq!(sward::offload(move || number), number);
            }
        };
        [hub(20, work), hub(20, work)].into_iter().for_each(|hub| hub.join().unwrap());
    });
}

#[test]
fn a_channel_of_sward_works_under_patch() {
    patched_with_locks("a_channel_of_sward_works_under_patch", || {
        let (sender, receiver) = sward::sync::channel::bounded(2);
        let theirs = sender.clone();
        let senders = [
            hub(10, move || (0..200).for_each(|item: usize| theirs.send(item).unwrap())),
            thread::spawn(move || (0..200).for_each(|item| sender.send(item).unwrap())),
        ];
        let sums = greenlets(5, move |_| receiver.iter().sum::<usize>());
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        assert_eq!(sums.into_iter().sum::<usize>(), 11 * (0..200).sum::<usize>());
    });
}
