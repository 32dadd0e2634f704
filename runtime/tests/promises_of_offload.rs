//! `offload` and `block_on`: what runs elsewhere, and what is polled here.

mod support;

use std::future::poll_fn;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Poll, Waker};

use support::{CountDrop, FOREVER, Flag, SHORT, message, watchdog};

#[test]
fn a_job_runs_on_another_thread_while_greenlets_run_here() {
    let _watchdog = watchdog();
    let (go, wait) = mpsc::channel();
    let sender = sward::spawn(move || go.send(std::thread::current().id()).unwrap());
    let (root, job) = sward::offload(move || (wait.recv().unwrap(), std::thread::current().id()));
    assert_eq!(root, std::thread::current().id());
    assert_ne!(job, root);
    sender.join().unwrap();
}

#[test]
fn a_panic_resumes_in_the_caller_with_its_payload() {
    let _watchdog = watchdog();
    let caught = catch_unwind(|| sward::offload(|| panic!("in the pool"))).unwrap_err();
    assert_eq!(message(&*caught), "in the pool");
    let error = sward::spawn(|| sward::offload(|| std::panic::panic_any(3_u8))).join().unwrap_err();
    assert_eq!(error.into_panic().downcast_ref(), Some(&3_u8));
}

#[test]
fn more_jobs_than_threads_all_end() {
    let _watchdog = watchdog();
    let jobs = (0..300).map(|n| sward::spawn(move || sward::offload(move || n)));
    assert!(sward::join_all(jobs).into_iter().map(Result::unwrap).eq(0..300));
}

#[test]
fn an_interrupted_wait_leaves_the_job_to_itself_and_drops_its_result_once() {
    let _watchdog = watchdog();
    let drops = Arc::new(AtomicUsize::new(0));
    let (go, wait) = mpsc::channel::<()>();
    let result = CountDrop(drops.clone());
    let outcome = sward::timeout(SHORT, || {
        sward::offload(move || {
            let _ = wait.recv();
            result
        })
    });
    assert!(outcome.is_err());
    assert_eq!(drops.load(SeqCst), 0);
    go.send(()).unwrap();
    while drops.load(SeqCst) == 0 {
        sward::sleep(SHORT);
    }
    // The late wake-up reaches nobody's next wait.
    assert!(sward::timeout(SHORT, || sward::sleep(FOREVER)).is_err());
    assert_eq!(drops.load(SeqCst), 1);
}

#[test]
fn a_killed_greenlet_offloads_nothing_more() {
    let _watchdog = watchdog();
    let ran = Arc::new(AtomicUsize::new(0));
    for _ in 0..100 {
        let theirs = ran.clone();
        let greenlet = sward::spawn(move || {
            sward::current().kill();
            sward::offload(move || theirs.fetch_add(1, SeqCst));
        });
        assert!(greenlet.join().unwrap_err().is_killed());
    }
    sward::offload(|| std::thread::sleep(SHORT));
    assert_eq!(ran.load(SeqCst), 0);
}

#[test]
fn jobs_may_use_hubs_of_their_own() {
    let _watchdog = watchdog();
    let answer = sward::offload(|| {
        let child = sward::spawn(|| {
            sward::sleep(SHORT);
            sward::offload(|| 4)
        });
        child.join().unwrap()
    });
    assert_eq!(answer, 4);
}

/// A future that is ready when its waker was woken.
fn until_woken(slot: Arc<Mutex<Option<Waker>>>) -> impl Future<Output = usize> {
    let mut polls = 0;
    poll_fn(move |context| {
        polls += 1;
        if polls > 1 {
            return Poll::Ready(polls);
        }
        *slot.lock().unwrap() = Some(context.waker().clone());
        Poll::Pending
    })
}

#[test]
fn a_waker_works_from_its_own_thread_and_from_others() {
    let _watchdog = watchdog();
    for remote in [true, false] {
        let slot = Arc::new(Mutex::new(None));
        let theirs = slot.clone();
        let wake = move || theirs.lock().unwrap().take().map(Waker::wake).is_some();
        let other = if remote {
            sward::spawn(move || sward::offload(move || assert!(wake())))
        } else {
            sward::spawn(move || assert!(wake()))
        };
        assert_eq!(sward::block_on(until_woken(slot)), 2);
        other.join().unwrap();
    }
}

#[test]
fn a_future_that_wakes_itself_is_polled_again_without_starving_others() {
    let _watchdog = watchdog();
    let ran = Flag::new();
    let theirs = ran.clone();
    drop(sward::spawn(move || theirs.raise()));
    let mut polls = 0;
    sward::block_on(poll_fn(|context| {
        polls += 1;
        context.waker().wake_by_ref();
        if polls < 100 { Poll::Pending } else { Poll::Ready(()) }
    }));
    sward::yield_now();
    assert!(ran.is_raised());
}

#[test]
fn a_future_may_block_and_calls_nest() {
    let _watchdog = watchdog();
    let (outer, inner) = (Arc::new(Mutex::new(None::<Waker>)), Arc::new(Mutex::new(None::<Waker>)));
    let (one, two) = (outer.clone(), inner.clone());
    let waker = sward::spawn(move || {
        while two.lock().unwrap().is_none() {
            sward::yield_now();
        }
        // The outer one is woken while only the inner one is waited for.
        one.lock().unwrap().take().unwrap().wake();
        sward::sleep(SHORT);
        two.lock().unwrap().take().unwrap().wake();
    });
    let mut polls = 0;
    let order = sward::block_on(poll_fn(|context| {
        polls += 1;
        if polls == 1 {
            *outer.lock().unwrap() = Some(context.waker().clone());
            sward::sleep(SHORT);
            assert_eq!(sward::block_on(until_woken(inner.clone())), 2);
            return Poll::Pending;
        }
        Poll::Ready(polls)
    }));
    assert_eq!(order, 2);
    waker.join().unwrap();
}

#[test]
fn a_waker_that_outlives_its_hub_is_harmless() {
    let _watchdog = watchdog();
    let slot = Arc::new(Mutex::new(None::<Waker>));
    let theirs = slot.clone();
    std::thread::spawn(move || {
        assert!(sward::timeout(SHORT, || sward::block_on(until_woken(theirs))).is_err());
    })
    .join()
    .unwrap();
    let waker = slot.lock().unwrap().take().unwrap();
    waker.wake_by_ref();
    waker.wake();
}

#[test]
fn a_panicking_future_is_the_callers() {
    let _watchdog = watchdog();
    let caught = catch_unwind(|| sward::block_on(async { panic!("polled") })).unwrap_err();
    assert_eq!(message(&*caught), "polled");
}
