//! Joining, waiting and linking.

mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use support::{CountDrop, FOREVER, Flag, Log, SHORT, message, watchdog};
use sward::Greenlet;

#[test]
fn a_panic_reaches_the_joiner_with_its_payload() {
    let _watchdog = watchdog();
    let error = sward::spawn(|| panic!("broken {}", 1)).join().unwrap_err();
    assert!(error.is_panic() && !error.is_killed());
    assert_eq!(error.to_string(), "the greenlet panicked: broken 1");
    assert_eq!(message(&*error.into_panic()), "broken 1");
    let error = sward::spawn(|| std::panic::panic_any(17_u8)).join().unwrap_err();
    assert_eq!(error.try_into_panic().unwrap().downcast_ref(), Some(&17_u8));
}

#[test]
fn a_kill_has_no_payload() {
    let _watchdog = watchdog();
    let greenlet = sward::spawn(|| ());
    greenlet.kill();
    let error = greenlet.join().unwrap_err().try_into_panic().unwrap_err();
    assert!(error.is_killed());
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| error.into_panic()));
    assert!(message(&*caught.unwrap_err()).contains("killed"));
}

#[test]
fn a_panic_ends_one_greenlet_only() {
    let _watchdog = watchdog();
    let queue = Rc::new(sward::lowlevel::WaitQueue::<()>::new());
    let waiting = queue.clone();
    let parked = sward::spawn(move || waiting.wait("test", (), None));
    let broken = sward::spawn(|| panic!("only this one"));
    assert!(broken.join().unwrap_err().is_panic());
    assert!(!parked.is_finished());
    assert!(queue.wake_one());
    parked.join().unwrap();
}

#[test]
fn wait_does_not_take_the_result() {
    let _watchdog = watchdog();
    let greenlet = sward::spawn(|| {
        sward::yield_now();
        "result"
    });
    assert!(!greenlet.is_finished());
    greenlet.wait();
    greenlet.wait();
    assert!(greenlet.wait_timeout(FOREVER) && greenlet.is_finished());
    assert_eq!(greenlet.join().unwrap(), "result");
}

#[test]
fn wait_timeout_says_whether_it_finished() {
    let _watchdog = watchdog();
    let greenlet = sward::spawn(|| sward::sleep(FOREVER));
    assert!(!greenlet.wait_timeout(SHORT));
    greenlet.kill();
    assert!(greenlet.wait_timeout(FOREVER));
    assert!(!sward::spawn(|| sward::sleep(FOREVER)).wait_timeout(std::time::Duration::ZERO));
    assert!(sward::spawn(|| sward::sleep(SHORT)).wait_timeout(std::time::Duration::MAX), "too large means no limit");
}

#[test]
fn an_interrupted_join_detaches() {
    let _watchdog = watchdog();
    let done = Flag::new();
    let theirs = done.clone();
    let slow = sward::spawn(move || {
        sward::sleep(SHORT * 4);
        theirs.raise();
    });
    assert!(sward::timeout(SHORT, || slow.join()).is_err());
    while !done.is_raised() {
        sward::sleep(SHORT);
    }
}

#[test]
fn join_all_takes_its_input_before_it_waits_and_keeps_its_order() {
    let _watchdog = watchdog();
    let log = Log::new();
    let greenlets = (0..3_u32).map(|n| {
        log.add(format_args!("spawn{n}"));
        let log = log.clone();
        sward::spawn(move || {
            sward::sleep(SHORT / (n + 1));
            log.add("ran");
            n
        })
    });
    let results: Vec<_> = sward::join_all(greenlets).into_iter().map(Result::unwrap).collect();
    assert_eq!(results, [0, 1, 2]);
    assert_eq!(log.take(), "spawn0 spawn1 spawn2 ran ran ran");
}

#[test]
fn links_run_once_in_order_of_linking_and_join_returns_after_them() {
    let _watchdog = watchdog();
    let log = Log::new();
    let greenlet = sward::spawn(|| 5);
    for n in 0..3 {
        let log = log.clone();
        greenlet.link(move |result| {
            sward::yield_now();
            log.add(format_args!("{n}:{}", result.as_ref().unwrap()));
        });
    }
    greenlet.wait();
    let late = log.clone();
    greenlet.link(move |_| late.add("late"));
    assert_eq!(greenlet.join().unwrap(), 5);
    assert_eq!(log.take(), "0:5 1:5 2:5 late");
}

#[test]
fn a_link_made_after_the_end_runs_too() {
    let _watchdog = watchdog();
    let seen = Flag::new();
    let greenlet = sward::spawn(|| panic!("seen by the link"));
    greenlet.wait();
    let theirs = seen.clone();
    greenlet.link(move |result| {
        assert!(result.as_ref().unwrap_err().is_panic());
        theirs.raise();
    });
    assert!(!seen.is_raised(), "in its own greenlet");
    assert!(greenlet.join().is_err());
    assert!(seen.is_raised());
}

#[test]
fn a_link_that_panics_blocks_or_links_disturbs_nobody() {
    let _watchdog = watchdog();
    let log = Log::new();
    let greenlet = Rc::new(RefCell::new(None::<Greenlet<u8>>));
    let spawned = sward::spawn(|| 1);
    spawned.link(|_| panic!("a link's own panic"));
    let (theirs, again) = (log.clone(), greenlet.clone());
    spawned.link(move |_| {
        theirs.add("second");
        let more = theirs.clone();
        if let Some(greenlet) = &*again.borrow() {
            greenlet.link(move |result| more.add(format_args!("third:{}", result.is_ok())));
        }
    });
    greenlet.replace(Some(spawned));
    greenlet.borrow().as_ref().unwrap().wait();
    sward::yield_now();
    sward::yield_now();
    assert_eq!(greenlet.take().unwrap().join().unwrap(), 1);
    assert_eq!(log.take(), "second third:true");
}

#[test]
fn the_last_handle_may_be_dropped_in_a_link() {
    let _watchdog = watchdog();
    let drops = Arc::new(AtomicUsize::new(0));
    let counter = CountDrop(drops.clone());
    let holder = Rc::new(Cell::new(None));
    let greenlet = sward::spawn(move || counter);
    let theirs = holder.clone();
    greenlet.link(move |_| drop(theirs.take()));
    holder.set(Some(greenlet));
    while drops.load(SeqCst) == 0 {
        sward::yield_now();
    }
    assert_eq!(drops.load(SeqCst), 1);
}

#[test]
fn handles_may_be_dropped_after_their_hub() {
    let _watchdog = watchdog();
    thread_local! {
        static KEPT: RefCell<Vec<Box<dyn std::any::Any>>> = const { RefCell::new(Vec::new()) };
    }
    let drops = Arc::new(AtomicUsize::new(0));
    let counter = CountDrop(drops.clone());
    let thread = std::thread::spawn(move || {
        // Made before the hub, so its destructor runs after the hub's.
        KEPT.with(|kept| kept.borrow_mut().push(Box::new(())));
        let finished = sward::spawn(move || counter);
        finished.wait();
        let parked = sward::spawn(|| sward::sleep(FOREVER));
        sward::yield_now();
        let current = sward::spawn(sward::current).join().unwrap();
        let late = support::OnDrop({
            let handle = sward::handle();
            let unparker = sward::lowlevel::Unparker::current();
            move || {
                unparker.unpark();
                current.kill();
                assert!(current.name().is_none());
                assert!(handle.spawn(|| ()).join().unwrap_err().is_killed());
            }
        });
        KEPT.with(|kept| {
            let mut kept = kept.borrow_mut();
            kept.push(Box::new(finished));
            kept.push(Box::new(parked));
            kept.push(Box::new(late));
        });
    });
    thread.join().unwrap();
    assert_eq!(drops.load(SeqCst), 1);
}

#[test]
fn a_result_whose_destructor_panics_ends_its_greenlet_only() {
    let _watchdog = watchdog();
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a destructor's panic");
        }
    }
    drop(sward::spawn(|| Bomb));
    sward::yield_now();
    assert_eq!(sward::spawn(|| 2).join().unwrap(), 2);
}

#[test]
fn greenlets_that_wait_for_one_another_in_a_ring_can_be_killed() {
    let _watchdog = watchdog();
    let ring = Rc::new(RefCell::new(Vec::<Rc<Greenlet<()>>>::new()));
    for n in 0..3 {
        let theirs = ring.clone();
        let greenlet = sward::spawn(move || {
            let next = theirs.borrow()[(n + 1) % 3].clone();
            next.wait();
        });
        ring.borrow_mut().push(Rc::new(greenlet));
    }
    sward::yield_now();
    let first = ring.borrow()[0].clone();
    first.kill();
    for greenlet in ring.take() {
        greenlet.wait();
    }
}
