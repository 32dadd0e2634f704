//! Deadlock is an error, not a hang; and what can still be woken is no deadlock.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use support::{FOREVER, SHORT, message, watchdog};
use sward::lowlevel::{RemoteUnparker, Unparker, WaitQueue, park};

/// The message of the deadlock that `f` runs into.
fn deadlock(f: impl FnOnce()) -> String {
    let caught = catch_unwind(AssertUnwindSafe(f)).unwrap_err();
    assert!(caught.is::<String>(), "a String, as promised");
    let text = message(&*caught);
    assert!(text.contains("deadlock"), "{text}");
    text
}

/// Parks until nothing can wake it.
fn park_for_ever() {
    park(None);
}

#[test]
fn the_report_names_every_parked_greenlet_its_spawn_site_and_what_it_waits_for() {
    let _watchdog = watchdog();
    let queue = Rc::new(WaitQueue::<()>::new());
    let (one, two) = (queue.clone(), queue.clone());
    let line = line!() + 1;
    let first = sward::spawn(move || one.wait("Event::wait", (), None));
    let named = sward::Builder::new().name("the reader").spawn(move || two.wait("Queue::get", (), None)).unwrap();
    let text = deadlock(|| named.wait());
    assert!(text.contains(&format!("{}:{line}", file!())), "{text}");
    assert!(text.contains(&format!("{}:{}", file!(), line + 1)), "{text}");
    for part in ["Event::wait", "Queue::get", "\"the reader\"", "Greenlet::wait"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert_eq!(text.lines().count(), 3, "an entry each: {text}");
    assert!(!first.is_finished() && !named.is_finished(), "they stay parked");
    assert_eq!(queue.wake_all(), 2);
    first.join().unwrap();
    named.join().unwrap();
}

#[test]
fn the_hub_stays_usable_and_finds_the_next_one() {
    let _watchdog = watchdog();
    for _ in 0..3 {
        deadlock(park_for_ever);
        assert_eq!(sward::spawn(|| 1).join().unwrap(), 1);
        sward::sleep(SHORT);
    }
}

#[test]
fn a_ready_greenlet_a_timer_and_an_offloaded_job_are_no_deadlock() {
    let _watchdog = watchdog();
    let me = Unparker::current();
    let theirs = me.clone();
    sward::spawn(move || theirs.unpark());
    park(None);
    let theirs = me.clone();
    sward::spawn_later(SHORT, move || theirs.unpark());
    park(None);
    sward::spawn(move || {
        sward::offload(|| std::thread::sleep(SHORT));
        me.unpark();
    });
    park(None);
}

#[test]
fn a_wait_without_an_end_is_no_timer() {
    let _watchdog = watchdog();
    let sleeper = sward::spawn(|| sward::sleep(Duration::MAX));
    let late = sward::spawn_later(Duration::MAX, || ());
    let text = deadlock(|| sleeper.wait());
    assert!(text.contains("waits in sleep") && text.contains("waits in spawn_later"), "{text}");
    deadlock(|| assert!(!late.wait_timeout(Duration::MAX)));
    deadlock(|| sward::sleep(Duration::MAX));
    for greenlet in [sleeper, late] {
        greenlet.kill();
        assert!(greenlet.join().unwrap_err().is_killed());
    }
}

#[test]
fn a_live_handle_waker_or_remote_greenlet_is_no_deadlock_and_dropping_the_last_one_is() {
    let _watchdog = watchdog();
    fn drop_later<T: Send + 'static>(value: T) -> std::thread::JoinHandle<()> {
        std::thread::spawn(move || {
            std::thread::sleep(SHORT);
            drop(value);
        })
    }
    let droppers = [
        || drop_later(sward::handle()),
        || drop_later((sward::handle(), sward::handle().clone())),
        || drop_later(RemoteUnparker::current()),
    ];
    for dropper in droppers {
        let thread = dropper();
        deadlock(park_for_ever);
        thread.join().unwrap();
    }
    let remote = sward::handle().spawn(|| ());
    sward::sleep(SHORT);
    let thread = drop_later(remote);
    deadlock(park_for_ever);
    thread.join().unwrap();
}

#[test]
fn the_last_handle_dropped_at_any_moment_wakes_the_hub() {
    let _watchdog = watchdog();
    let rounds = if std::env::var_os("SWARD_SLOW").is_some() { 200 } else { 3000 };
    let go = Arc::new(AtomicBool::new(false));
    for round in 0..rounds {
        let (handle, theirs) = (sward::handle(), go.clone());
        let thread = std::thread::spawn(move || {
            while !theirs.load(SeqCst) {
                std::hint::spin_loop();
            }
            for _ in 0..round % 97 * 4 {
                std::hint::spin_loop();
            }
            drop(handle);
        });
        go.store(true, SeqCst);
        let caught = catch_unwind(|| park(None)).unwrap_err();
        assert!(message(&*caught).contains("deadlock"));
        thread.join().unwrap();
        go.store(false, SeqCst);
    }
}

#[test]
fn stale_messages_do_not_hide_the_one_that_counts() {
    let _watchdog = watchdog();
    let stale = sward::spawn(RemoteUnparker::current).join().unwrap();
    let me = RemoteUnparker::current();
    let thread = std::thread::spawn(move || {
        (0..5000).for_each(|_| stale.unpark());
        me.unpark();
    });
    thread.join().unwrap();
    // Every handle is gone, but not every message was looked at.
    park(None);
}

#[test]
fn a_root_in_offload_or_block_on_or_a_remote_join_holds_a_waker() {
    let _watchdog = watchdog();
    assert_eq!(sward::offload(|| 1), 1);
    let shared = Arc::new(std::sync::Mutex::new(None::<std::task::Waker>));
    let theirs = shared.clone();
    let thread = std::thread::spawn(move || {
        while theirs.lock().unwrap().is_none() {
            std::thread::yield_now();
        }
        std::thread::sleep(SHORT);
        theirs.lock().unwrap().take().unwrap().wake();
    });
    let mut polled = false;
    sward::block_on(std::future::poll_fn(|context| {
        if std::mem::replace(&mut polled, true) {
            return std::task::Poll::Ready(());
        }
        *shared.lock().unwrap() = Some(context.waker().clone());
        std::task::Poll::Pending
    }));
    thread.join().unwrap();
}

#[test]
fn a_greenlet_that_waits_for_ever_is_no_error_while_the_root_does_not() {
    let _watchdog = watchdog();
    let parked = sward::spawn(|| park(None));
    sward::sleep(SHORT);
    assert!(!parked.is_finished());
    assert!(!parked.wait_timeout(SHORT), "a deadline is no deadlock");
    assert!(sward::timeout(SHORT, || parked.wait()).is_err());
    let endless = sward::spawn(|| sward::sleep(FOREVER));
    assert!(!endless.wait_timeout(Duration::ZERO));
    endless.kill();
    endless.wait();
    deadlock(|| parked.wait());
    parked.kill();
    assert!(parked.join().unwrap_err().is_killed());
}

#[test]
fn a_ring_of_joins_is_reported() {
    let _watchdog = watchdog();
    let own = Rc::new(std::cell::RefCell::new(None::<sward::Greenlet<()>>));
    let theirs = own.clone();
    let greenlet = sward::spawn(move || {
        if let Some(me) = &*theirs.borrow() {
            me.wait();
        }
    });
    own.replace(Some(greenlet));
    let held = own.borrow();
    let text = deadlock(|| held.as_ref().unwrap().wait());
    assert_eq!(text.matches("Greenlet::wait").count(), 2, "{text}");
    held.as_ref().unwrap().kill();
    held.as_ref().unwrap().wait();
}

#[test]
fn a_source_that_is_gone_hides_no_deadlock() {
    let _watchdog = watchdog();
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    // A copy keeps the file open, so the kernel does not forget it by itself.
    let _copy = ours.try_clone().unwrap();
    let source = sward::lowlevel::Source::new(ours);
    assert!(source.wait_readable(Some(std::time::Instant::now() + SHORT)).is_err());
    drop(source);
    drop(theirs);
    deadlock(park_for_ever);
}
