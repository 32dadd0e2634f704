//! What `Event` and `AsyncResult` promise.

mod support;

use std::rc::Rc;
use std::time::{Duration, Instant};

use support::{EVER, Log, SOON, in_unwinding, limited, settle, started};
use sward::sync::{AsyncResult, Event};

#[test]
fn set_then_clear_without_a_switch_wakes_all_who_were_waiting() {
    limited(|| {
        let (event, log) = (Rc::new(Event::new()), Log::default());
        let waiters: Vec<_> = (0..3)
            .map(|n| {
                let (event, log) = (event.clone(), log.clone());
                started(move || {
                    event.wait();
                    log.add(n.to_string());
                })
            })
            .collect();
        event.set();
        event.clear();
        let late = started({
            let event = event.clone();
            move || event.wait()
        });
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert_eq!(log.take(), ["0", "1", "2"]);
        assert!(!late.is_finished(), "clear() holds for who comes after it");
        event.set();
        late.join().unwrap();
    });
}

#[test]
fn a_set_event_lets_through_without_a_switch() {
    let event = Event::new();
    event.set();
    let other = sward::spawn(|| ());
    event.wait();
    assert!(event.wait_timeout(Duration::ZERO));
    assert!(!other.is_finished());
}

#[test]
fn a_wait_ends_at_its_limit_and_not_before() {
    limited(|| {
        let event = Event::new();
        let start = Instant::now();
        assert!(!event.wait_timeout(Duration::from_millis(5)));
        assert!(start.elapsed() >= Duration::from_millis(5));
        assert!(!event.wait_timeout(Duration::ZERO));
    });
}

#[test]
fn a_set_in_the_turn_of_the_limit_counts() {
    limited(|| {
        let event = Rc::new(Event::new());
        let limit = Duration::from_millis(3);
        // Due at about the same time, the setter first: both are ready when the waiter runs.
        let setter = sward::spawn({
            let event = event.clone();
            move || {
                sward::sleep(limit);
                event.set();
            }
        });
        let waiter = sward::spawn({
            let event = event.clone();
            move || event.wait_timeout(limit)
        });
        sward::yield_now();
        std::thread::sleep(2 * limit);
        setter.join().unwrap();
        assert!(waiter.join().unwrap());
    });
}

#[test]
fn a_waiter_killed_after_the_set_still_returns() {
    limited(|| {
        let (event, log) = (Rc::new(Event::new()), Log::default());
        let waiter = started({
            let (event, log) = (event.clone(), log.clone());
            move || {
                event.wait();
                log.add("returned");
                sward::yield_now();
                log.add("not reached");
            }
        });
        event.set();
        waiter.kill();
        assert!(waiter.join().unwrap_err().is_killed());
        assert_eq!(log.take(), ["returned"]);
    });
}

#[test]
fn a_killed_waiter_leaves_the_event() {
    limited(|| {
        let event = Rc::new(Event::new());
        let waiter = started({
            let event = event.clone();
            move || event.wait()
        });
        assert!(format!("{event:?}").contains("waiters: 1"), "{event:?}");
        waiter.kill();
        assert!(waiter.join().unwrap_err().is_killed());
        assert!(format!("{event:?}").contains("waiters: 0"), "{event:?}");
    });
}

#[test]
fn in_a_destructor_a_wait_with_a_limit_gives_up() {
    limited(|| {
        assert!(!in_unwinding(|| Event::new().wait_timeout(EVER)));
        assert!(in_unwinding(|| AsyncResult::<u8>::new().get_timeout(EVER).is_err()));
    });
}

#[test]
fn a_limit_too_large_for_the_clock_is_none() {
    limited(|| {
        let event = Rc::new(Event::new());
        let waiter = started({
            let event = event.clone();
            move || event.wait_timeout(Duration::MAX)
        });
        event.set();
        assert!(waiter.join().unwrap());
    });
}

#[test]
fn wait_any_sees_events_and_results() {
    limited(|| {
        let (event, result) = (Rc::new(Event::new()), Rc::new(AsyncResult::<u8>::new()));
        let waiter = started({
            let (event, result) = (event.clone(), result.clone());
            move || sward::wait_any(&[&event, &result])
        });
        result.set(1).unwrap();
        event.set();
        assert_eq!(waiter.join().unwrap(), 1, "the first that became ready");
        assert_eq!(sward::wait_any(&[&*event, &*result]), 0, "the lowest of those that are");
    });
}

#[test]
fn nobody_can_set_it_is_a_deadlock_that_names_the_call() {
    limited(|| {
        let event = Rc::new(Event::new());
        let stuck = started({
            let event = event.clone();
            move || event.wait()
        });
        let result = AsyncResult::<u8>::new();
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| result.get())).unwrap_err();
        let message = panic.downcast::<String>().expect("a String");
        assert!(message.contains("deadlock") && message.contains("Event"), "{message}");
        event.set(); // the hub is usable
        stuck.join().unwrap();
    });
}

#[test]
fn a_result_is_set_once() {
    let result = AsyncResult::new();
    assert_eq!(result.try_get(), None);
    assert_eq!(result.set(String::from("first")), Ok(()));
    assert_eq!(result.set(String::from("second")), Err(String::from("second")));
    assert_eq!(result.get(), "first");
    assert_eq!(result.get_timeout(Duration::ZERO).unwrap(), "first");
    assert_eq!(result.into_inner().as_deref(), Some("first"));
}

#[test]
fn a_result_reaches_all_who_wait_in_their_order() {
    limited(|| {
        let (result, log) = (Rc::new(AsyncResult::new()), Log::default());
        let waiters: Vec<_> = (0..3)
            .map(|n| {
                let (result, log) = (result.clone(), log.clone());
                started(move || log.add(format!("{n}: {}", result.get())))
            })
            .collect();
        waiters[1].kill();
        result.set(7).unwrap();
        settle();
        assert_eq!(log.take(), ["0: 7", "2: 7"]);
        assert!(result.get_timeout(SOON).is_ok());
    });
}
