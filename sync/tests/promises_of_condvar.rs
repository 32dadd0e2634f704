//! What `Condvar` and `Barrier` promise.

mod support;

use std::rc::Rc;

use support::{EVER, Log, SOON, in_unwinding, limited, settle, started};
use sward::sync::{Barrier, Condvar, Mutex};

#[test]
fn three_notify_one_wake_exactly_three_who_queue_for_the_lock() {
    limited(|| {
        let shared = Rc::new((Mutex::new(()), Condvar::new()));
        let log = Log::default();
        let waiters: Vec<_> = (0..5)
            .map(|n| {
                let (shared, log) = (shared.clone(), log.clone());
                started(move || {
                    let guard = shared.1.wait(shared.0.lock());
                    log.add(n.to_string());
                    sward::yield_now(); // with the lock
                    log.add(format!("{n} done"));
                    drop(guard);
                })
            })
            .collect();
        let guard = shared.0.lock();
        (0..3).for_each(|_| shared.1.notify_one());
        settle();
        assert_eq!(log.take(), [""; 0], "they need the lock");
        drop(guard);
        settle();
        settle();
        assert_eq!(log.take(), ["0", "0 done", "1", "1 done", "2", "2 done"]);
        shared.1.notify_all();
        sward::join_all(waiters);
        assert_eq!(log.take(), ["3", "3 done", "4", "4 done"]);
    });
}

#[test]
fn a_killed_wait_has_the_lock_again_when_it_unwinds() {
    limited(|| {
        let shared = Rc::new((Mutex::new(()), Condvar::new()));
        let waiter = started({
            let shared = shared.clone();
            move || drop(shared.1.wait(shared.0.lock()))
        });
        let guard = shared.0.lock();
        waiter.kill();
        settle();
        assert!(!waiter.is_finished(), "it waits for the lock, which nothing interrupts");
        waiter.kill();
        settle();
        assert!(!waiter.is_finished());
        drop(guard);
        assert!(waiter.join().unwrap_err().is_killed());
        assert!(shared.0.try_lock().is_some());
    });
}

#[test]
fn a_timeout_around_a_wait_is_its_timeout() {
    limited(|| {
        let (mutex, condvar) = (Mutex::new(0), Condvar::new());
        let result = sward::timeout(SOON, || *condvar.wait(mutex.lock()));
        assert_eq!(result, Err(sward::Elapsed));
        let (guard, result) = condvar.wait_timeout(mutex.lock(), SOON);
        assert!(result.timed_out());
        drop(guard);
        let (guard, result) = condvar.wait_timeout_while(mutex.lock(), EVER, |n| *n > 0);
        assert!(!result.timed_out());
        assert!(mutex.try_lock().is_none());
        drop(guard);
        assert!(in_unwinding(|| {
            let (mutex, condvar) = (Mutex::new(()), Condvar::new());
            let (_guard, result) = condvar.wait_timeout(mutex.lock(), EVER);
            result.timed_out()
        }));
    });
}

#[test]
fn a_condition_that_panics_unlocks() {
    limited(|| {
        let shared = Rc::new((Mutex::new(()), Condvar::new()));
        let other = shared.clone();
        let waiter = sward::spawn(move || {
            let _guard = shared.1.wait_while(shared.0.lock(), |()| std::panic::resume_unwind(Box::new("on purpose")));
        });
        assert!(waiter.join().unwrap_err().is_panic());
        assert!(other.0.try_lock().is_some());
    });
}

#[test]
fn a_barrier_has_one_leader_each_time() {
    limited(|| {
        let barrier = Rc::new(Barrier::new(3));
        for _ in 0..3 {
            let all = (0..3).map(|_| {
                let barrier = barrier.clone();
                sward::spawn(move || barrier.wait().is_leader())
            });
            let leaders: Vec<bool> = sward::join_all(all).into_iter().map(Result::unwrap).collect();
            assert_eq!(leaders, [false, false, true], "the last to arrive");
        }
        assert!(Barrier::new(1).wait().is_leader());
        assert!(Barrier::new(0).wait().is_leader());
    });
}

#[test]
fn a_killed_greenlet_has_not_arrived_at_the_barrier() {
    limited(|| {
        let barrier = Rc::new(Barrier::new(3));
        let arrive = || {
            let barrier = barrier.clone();
            started(move || barrier.wait().is_leader())
        };
        let (first, killed) = (arrive(), arrive());
        killed.kill();
        let third = arrive();
        assert!(killed.join().is_err());
        settle();
        assert!(!first.is_finished() && !third.is_finished());
        assert!(barrier.wait().is_leader());
        assert!(!first.join().unwrap());
        assert!(!third.join().unwrap());
    });
}
