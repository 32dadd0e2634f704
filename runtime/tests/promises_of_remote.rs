//! Handles, remote greenlets and remote unparkers: what works from any thread.

mod support;

use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use support::{CountDrop, FOREVER, SHORT, message, watchdog};
use sward::lowlevel::{RemoteUnparker, Wake, park};
use sward::{Handle, RemoteGreenlet, handle};

fn is_send<T: Send>() {}
fn is_sync<T: Sync>() {}

#[test]
fn what_may_cross_threads_says_so() {
    is_send::<Handle>();
    is_sync::<Handle>();
    is_send::<RemoteGreenlet<u8>>();
    is_send::<RemoteUnparker>();
    is_send::<sward::JoinError>();
    is_sync::<sward::JoinError>();
}

#[test]
fn a_greenlet_spawned_from_a_thread_runs_on_the_handles_hub() {
    let _watchdog = watchdog();
    let (handle, here) = (handle(), std::thread::current().id());
    let thread = std::thread::spawn(move || handle.spawn(|| std::thread::current().id()).join().unwrap());
    assert_eq!(sward::offload(|| thread.join()).unwrap(), here);
}

#[test]
fn spawns_from_one_thread_keep_their_order() {
    let _watchdog = watchdog();
    let (handle, order) = (handle(), Arc::new(std::sync::Mutex::new(Vec::new())));
    let theirs = order.clone();
    let thread = std::thread::spawn(move || {
        for n in 0..3000 {
            let order = theirs.clone();
            handle.spawn(move || order.lock().unwrap().push(n));
        }
        handle.spawn(|| ())
    });
    thread.join().unwrap().join().unwrap();
    assert!(order.lock().unwrap().iter().copied().eq(0..3000));
}

#[test]
fn a_panic_reaches_the_remote_joiner() {
    let _watchdog = watchdog();
    let greenlet = handle().spawn(|| panic!("far away"));
    assert_eq!(message(&*greenlet.join().unwrap_err().into_panic()), "far away");
}

#[test]
fn is_finished_comes_after_the_result() {
    let _watchdog = watchdog();
    let greenlet = handle().spawn(|| 5);
    assert!(!greenlet.is_finished());
    while !greenlet.is_finished() {
        sward::sleep(SHORT);
    }
    assert_eq!(greenlet.join().unwrap(), 5);
}

#[test]
fn a_detached_remote_panic_is_one_line_of_ours() {
    let output = support::in_child("a_detached_remote_panic_is_one_line_of_ours", || {
        drop(handle().spawn(|| panic!("unseen")));
        sward::sleep(SHORT);
        let joined = handle().spawn(|| panic!("seen"));
        assert!(joined.join().is_err());
    });
    assert!(output.status.success());
    let lines = support::our_lines(&output);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("greenlet") && lines[0].contains("promises_of_remote.rs"), "{lines:?}");
}

#[test]
fn a_join_from_another_hub_parks_only_its_greenlet() {
    let _watchdog = watchdog();
    let (there, to_here) = (handle(), mpsc::channel());
    let thread = std::thread::spawn(move || {
        let sibling = sward::spawn(|| 1);
        let remote = there.spawn(|| sward::sleep(SHORT));
        let joiner = sward::spawn(move || remote.join().is_ok());
        assert_eq!(sibling.join().unwrap(), 1);
        to_here.0.send(joiner.join().unwrap()).unwrap();
    });
    assert!(sward::offload(move || to_here.1.recv()).unwrap());
    thread.join().unwrap();
}

#[test]
fn a_killed_joiner_leaves_no_waker_behind() {
    let _watchdog = watchdog();
    let (handle, receiver) = another_hub();
    let endless = handle.spawn(|| sward::sleep(FOREVER));
    assert!(sward::timeout(SHORT, || endless.join()).is_err());
    // The remote greenlet lives on; nothing here waits for it any more.
    let caught = catch_unwind(|| park(None)).unwrap_err();
    assert!(message(&*caught).contains("deadlock"));
    drop((handle, receiver));
}

/// A hub on a thread of its own that serves until the sender is dropped.
fn another_hub() -> (Handle, mpsc::Sender<()>) {
    let (give, take) = mpsc::channel();
    let (keep, wait) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        give.send(handle()).unwrap();
        let _ = sward::offload(move || wait.recv());
    });
    (take.recv().unwrap(), keep)
}

#[test]
fn a_hub_that_ended_answers_with_errors() {
    let _watchdog = watchdog();
    let drops = Arc::new(AtomicUsize::new(0));
    let counter = CountDrop(drops.clone());
    let (handle, running, unparker) = std::thread::spawn(|| {
        let handle = handle();
        let running = handle.spawn(|| sward::sleep(FOREVER));
        let _ = running.is_finished();
        let unparker = RemoteUnparker::current();
        sward::sleep(SHORT);
        (handle, running, unparker)
    })
    .join()
    .unwrap();
    unparker.unpark();
    running.kill();
    assert!(running.join().unwrap_err().is_killed());
    let late = handle.spawn(move || drop(counter));
    assert!(late.is_finished());
    late.kill();
    assert!(late.join().unwrap_err().is_killed());
    assert_eq!(drops.load(SeqCst), 1);
    let again = handle.clone();
    assert!(again.spawn(|| ()).join().is_err());
}

#[test]
fn what_was_sent_to_a_hub_that_ends_is_dropped_once_and_its_joiner_wakes() {
    let _watchdog = watchdog();
    for _ in 0..50 {
        let drops = Arc::new(AtomicUsize::new(0));
        let handle = std::thread::spawn(handle);
        let handle = handle.join().unwrap();
        let (give, take) = mpsc::channel();
        let hub = std::thread::spawn(move || {
            give.send(sward::handle()).unwrap();
            sward::yield_now();
        });
        let live = take.recv().unwrap();
        let results: Vec<_> = [handle, live]
            .into_iter()
            .map(|handle| {
                let counter = CountDrop(drops.clone());
                handle.spawn(move || drop(counter))
            })
            .collect();
        for result in results {
            let _ = result.join();
        }
        hub.join().unwrap();
        assert_eq!(drops.load(SeqCst), 2);
    }
}

#[test]
fn a_result_that_nobody_wants_is_never_dropped_in_the_hub() {
    let _watchdog = watchdog();
    struct Sleeper(Arc<AtomicUsize>);
    impl Drop for Sleeper {
        fn drop(&mut self) {
            sward::sleep(SHORT);
            self.0.fetch_add(1, SeqCst);
        }
    }
    let drops = Arc::new(AtomicUsize::new(0));
    let (value, begin) = (Sleeper(drops.clone()), Instant::now());
    let greenlet = handle().spawn(move || value);
    while !greenlet.is_finished() {
        sward::sleep(SHORT);
    }
    greenlet.kill();
    drop(greenlet); // the kill is on its way still
    assert_eq!(drops.load(SeqCst), 1, "dropped with the last handle");
    sward::sleep(SHORT * 10);
    assert!(begin.elapsed() >= SHORT * 10, "a sleep inside the hub's loop would have ended this one early");
}

#[test]
fn captures_are_dropped_before_the_join_of_a_killed_greenlet_returns() {
    let _watchdog = watchdog();
    struct Slow(Arc<AtomicBool>);
    impl Drop for Slow {
        fn drop(&mut self) {
            assert_ne!(sward::current().id().to_string(), "0", "dropped in the greenlet, where it may block");
            std::thread::sleep(SHORT);
            self.0.store(true, SeqCst);
        }
    }
    let dropped = Arc::new(AtomicBool::new(false));
    let captured = Slow(dropped.clone());
    let (handle, theirs) = (handle(), dropped.clone());
    let (give, take) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let greenlet = handle.spawn(move || drop(captured));
        greenlet.kill();
        give.send(()).unwrap();
        assert!(greenlet.join().unwrap_err().is_killed());
        theirs.load(SeqCst)
    });
    // The hub sees both messages at once, while the thread joins.
    take.recv().unwrap();
    assert!(sward::offload(|| thread.join()).unwrap());
}

#[test]
fn an_unpark_from_a_thread_ends_a_park_with_and_without_a_deadline() {
    let _watchdog = watchdog();
    for deadline in [None, Some(Instant::now() + FOREVER)] {
        let unparker = RemoteUnparker::current();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(SHORT);
            unparker.unpark();
        });
        assert_eq!(park(deadline), Wake::Unparked);
        thread.join().unwrap();
    }
}

#[test]
fn a_wake_up_from_a_thread_is_never_lost() {
    let _watchdog = watchdog();
    let rounds = if std::env::var_os("SWARD_SLOW").is_some() { 500 } else { 5000 };
    let (turn, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let unparker = RemoteUnparker::current();
    let (theirs, end) = (turn.clone(), stop.clone());
    let thread = std::thread::spawn(move || {
        while !end.load(SeqCst) {
            if theirs.load(SeqCst) % 2 == 1 {
                theirs.fetch_add(1, SeqCst);
                unparker.unpark();
            } else {
                std::thread::yield_now();
            }
        }
    });
    for round in 0..rounds {
        turn.fetch_add(1, SeqCst);
        while turn.load(SeqCst) != 2 * (round + 1) {
            park(None);
        }
    }
    stop.store(true, SeqCst);
    thread.join().unwrap();
}

#[test]
fn a_flood_from_a_thread_starves_neither_timers_nor_greenlets() {
    let _watchdog = watchdog();
    let stop = Arc::new(AtomicBool::new(false));
    let (handle, end) = (handle(), stop.clone());
    let thread = std::thread::spawn(move || {
        while !end.load(SeqCst) {
            handle.spawn(|| ());
            std::thread::sleep(Duration::from_micros(1));
        }
    });
    for _ in 0..5 {
        sward::sleep(SHORT);
        sward::yield_now();
    }
    stop.store(true, SeqCst);
    thread.join().unwrap();
}
