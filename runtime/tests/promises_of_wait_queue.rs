//! What a `WaitQueue` says about those who wait in it.

mod support;

use std::rc::Rc;
use std::time::Duration;

use support::patient;
use sward::lowlevel::{WaitQueue, Waited};

/// Three greenlets that wait with the values 0, 1 and 2.
fn three() -> (Rc<WaitQueue<u32>>, Vec<sward::Greenlet<Waited<u32>>>) {
    let queue = Rc::new(WaitQueue::new());
    let waiters = (0..3).map(|n| {
        sward::spawn({
            let queue = queue.clone();
            move || queue.wait("test", n, None)
        })
    });
    let waiters = waiters.collect();
    sward::yield_now();
    (queue, waiters)
}

#[test]
fn with_first_changes_the_value_of_the_one_that_is_woken_next() {
    let (queue, waiters) = three();
    assert_eq!(queue.with_first(|n| std::mem::replace(n, 10)), Some(0));
    assert_eq!(queue.len(), 3);
    while queue.wake_one() {}
    let values: Vec<_> = sward::join_all(waiters).into_iter().map(Result::unwrap).collect();
    assert_eq!(values, [Waited::Woken(10), Waited::Woken(1), Waited::Woken(2)]);
    assert_eq!(queue.with_first(|_| ()), None);
}

#[test]
fn a_killed_waiter_does_not_wait_any_more() {
    let (queue, waiters) = three();
    waiters[0].kill();
    assert_eq!((queue.len(), queue.with_first(|n| *n)), (2, Some(1)));
    waiters[2].kill();
    assert_eq!(queue.len(), 1);
    waiters[1].kill();
    assert!(queue.is_empty());
    assert!(!queue.wake_one());
    assert!(sward::join_all(waiters).into_iter().all(|result| result.is_err()));
}

#[test]
fn one_that_has_timed_out_does_not_wait_any_more() {
    let queue = Rc::new(WaitQueue::new());
    let limit = std::time::Instant::now() + patient();
    // Both fall due in one turn; the first to run looks at the queue before the second has left it.
    let observer = sward::spawn({
        let queue = queue.clone();
        move || {
            sward::sleep_until(limit);
            queue.is_empty()
        }
    });
    let late = sward::spawn({
        let queue = queue.clone();
        move || queue.wait("test", (), Some(limit))
    });
    sward::yield_now();
    std::thread::sleep(patient() + Duration::from_millis(3));
    assert!(observer.join().unwrap());
    assert_eq!(late.join().unwrap(), Waited::TimedOut(()));
}
