//! `timeout` and `shield`: what ends a wait from outside, and what holds that back.

mod support;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

use support::{FOREVER, Flag, Log, SHORT, watchdog};
use sward::lowlevel::{Unparker, WaitQueue, Waited, Wake, park};
use sward::{Elapsed, shield, sleep, timeout, yield_now};

#[test]
fn it_works_on_the_root_and_in_a_greenlet() {
    let _watchdog = watchdog();
    fn go() {
        let begin = Instant::now();
        assert_eq!(timeout(SHORT, || sleep(FOREVER)), Err(Elapsed));
        assert!(begin.elapsed() >= SHORT);
        assert_eq!(timeout(FOREVER, || 1), Ok(1));
        yield_now();
    }
    go();
    sward::spawn(go).join().unwrap();
}

#[test]
fn a_limit_too_large_for_an_instant_is_none() {
    assert_eq!(timeout(Duration::MAX, || 1), Ok(1));
    let never = timeout(Duration::MAX, || timeout(SHORT, || sleep(Duration::MAX)));
    assert_eq!(never, Ok(Err(Elapsed)));
}

#[test]
fn only_its_own_expiry_becomes_an_error() {
    let _watchdog = watchdog();
    let log = Log::new();
    let outer = timeout(SHORT, || {
        let _unwound = support::OnDrop(|| log.add("unwound"));
        let inner = timeout(FOREVER, || sleep(FOREVER));
        log.add(format_args!("inner:{inner:?}"));
    });
    assert_eq!(outer, Err(Elapsed));
    assert_eq!(log.take(), "unwound");
    let outer = timeout(FOREVER, || timeout(SHORT, || sleep(FOREVER)));
    assert_eq!(outer, Ok(Err(Elapsed)));
}

#[test]
fn of_two_that_expire_in_the_same_turn_the_outer_one_wins() {
    let _watchdog = watchdog();
    let reached = Flag::new();
    let outer = timeout(SHORT, || {
        let inner = timeout(SHORT, || {
            std::thread::sleep(SHORT * 3);
            sleep(FOREVER);
        });
        reached.raise();
        inner
    });
    assert_eq!(outer, Err(Elapsed));
    assert!(!reached.is_raised());
    assert_eq!(timeout(FOREVER, || sleep(SHORT)), Ok(()), "nothing is left behind");
}

#[test]
fn what_returns_normally_after_its_limit_is_ok() {
    let _watchdog = watchdog();
    let value = timeout(Duration::from_millis(1), || {
        std::thread::sleep(SHORT);
        5
    });
    assert_eq!(value, Ok(5));
    let swallowed = timeout(SHORT, || {
        assert!(catch_unwind(|| sleep(FOREVER)).is_err());
        assert!(catch_unwind(yield_now).is_err(), "raised again at the next blocking call");
        6
    });
    assert_eq!(swallowed, Ok(6));
    yield_now();
    sleep(SHORT);
}

#[test]
fn a_panic_passes_through() {
    let _watchdog = watchdog();
    let caught = catch_unwind(|| timeout(FOREVER, || panic!("mine"))).unwrap_err();
    assert_eq!(support::message(&*caught), "mine");
    sleep(SHORT);
}

#[test]
fn a_loop_of_yields_ends() {
    let _watchdog = watchdog();
    fn go() -> Result<(), Elapsed> {
        timeout(Duration::from_millis(10), || {
            loop {
                yield_now();
            }
        })
    }
    assert_eq!(go(), Err(Elapsed));
    assert_eq!(sward::spawn(go).join().unwrap(), Err(Elapsed));
}

#[test]
fn a_kill_beats_a_timeout_and_ends_every_level() {
    let _watchdog = watchdog();
    let log = Log::new();
    let theirs = log.clone();
    let greenlet = sward::spawn(move || {
        let inner = timeout(Duration::from_millis(1), || {
            std::thread::sleep(SHORT);
            sward::current().kill();
            sleep(FOREVER);
        });
        theirs.add(format_args!("{inner:?}"));
    });
    assert!(greenlet.join().unwrap_err().is_killed());
    assert_eq!(log.take(), "");
}

#[test]
fn a_hand_over_beats_a_later_timeout() {
    let _watchdog = watchdog();
    let queue = Rc::new(WaitQueue::<u8>::new());
    let waiting = queue.clone();
    let greenlet = sward::spawn(move || {
        timeout(support::patient(), || {
            let waited = waiting.wait("test", 0, None);
            let next = catch_unwind(AssertUnwindSafe(|| sleep(FOREVER)));
            (waited, next.is_err())
        })
    });
    yield_now();
    std::thread::sleep(support::patient() + SHORT);
    // Due, but the hub has not looked.
    assert!(queue.wake_one_with(|given| *given = 1).is_some());
    assert_eq!(greenlet.join().unwrap(), Ok((Waited::Woken(1), true)));
}

#[test]
fn a_timed_out_waiter_is_skipped_and_leaves_the_queue() {
    let _watchdog = watchdog();
    let queue = Rc::new(WaitQueue::<u8>::new());
    assert_eq!(queue.wait("test", 4, Some(Instant::now() + SHORT)), Waited::TimedOut(4));
    assert!(timeout(SHORT, || queue.wait("test", 4, None)).is_err());
    assert!(queue.is_empty());
    assert!(!queue.wake_one());
}

#[test]
fn two_timers_an_event_and_a_kill_in_one_turn_end_one_wait_once() {
    let _watchdog = watchdog();
    for kill_first in [false, true] {
        let (queue, ended) = (Rc::new(WaitQueue::<u8>::new()), Rc::new(Cell::new(0)));
        let (waiting, theirs) = (queue.clone(), ended.clone());
        let greenlet = sward::spawn(move || {
            let _ended = support::OnDrop(|| theirs.set(theirs.get() + 1));
            timeout(support::patient(), || waiting.wait("test", 0, Some(Instant::now() + support::patient())))
        });
        yield_now();
        std::thread::sleep(support::patient() + SHORT);
        if kill_first {
            greenlet.kill();
            assert!(!queue.wake_one());
        } else {
            assert!(queue.wake_one_with(|given| *given = 1).is_some());
            greenlet.kill();
        }
        greenlet.wait();
        assert_eq!(ended.get(), 1);
        assert!(queue.is_empty());
        match greenlet.join() {
            Ok(given) => assert_eq!((given, kill_first), (Ok(Waited::Woken(1)), false)),
            Err(error) => assert!(error.is_killed() && kill_first),
        }
    }
}

#[test]
fn a_late_wake_up_does_not_reach_the_next_wait() {
    let _watchdog = watchdog();
    let (first, second) = (Rc::new(WaitQueue::<u8>::new()), Rc::new(WaitQueue::<u8>::new()));
    let (one, two) = (first.clone(), second.clone());
    let greenlet = sward::spawn(move || {
        let _ = timeout(SHORT, || one.wait("test", 0, None));
        two.wait("test", 0, None)
    });
    while second.is_empty() {
        sleep(SHORT);
    }
    assert_eq!(first.wake_all(), 0);
    assert!(!greenlet.is_finished());
    second.wake_one();
    greenlet.join().unwrap();
}

#[test]
fn an_expired_timeout_leaves_no_timer_behind() {
    let _watchdog = watchdog();
    let begin = Instant::now();
    for _ in 0..100 {
        let _ = timeout(FOREVER, || sward::spawn(|| ()).wait_timeout(FOREVER));
    }
    let caught = catch_unwind(|| park(None)).unwrap_err();
    assert!(support::message(&*caught).contains("deadlock"), "a timer that is left would let the root wait");
    assert!(begin.elapsed() < FOREVER);
}

#[test]
fn a_shield_holds_a_kill_back_until_the_first_blocking_call_behind_it() {
    let _watchdog = watchdog();
    let log = Log::new();
    let theirs = log.clone();
    let greenlet = sward::spawn(move || {
        shield(|| {
            sleep(SHORT);
            theirs.add("slept");
            shield(yield_now);
            yield_now();
            theirs.add("yielded");
        });
        theirs.add("behind");
        yield_now();
        theirs.add("never");
    });
    yield_now();
    greenlet.kill();
    assert!(greenlet.join().unwrap_err().is_killed());
    assert_eq!(log.take(), "slept yielded behind");
}

#[test]
fn a_shield_holds_outer_timeouts_back_and_lets_inner_ones_work() {
    let _watchdog = watchdog();
    let log = Log::new();
    let outer = timeout(SHORT, || {
        shield(|| {
            sleep(SHORT * 2);
            log.add("outer held back");
            assert_eq!(timeout(SHORT, || sleep(FOREVER)), Err(Elapsed));
            log.add("inner worked");
            let nested = timeout(SHORT, || {
                shield(|| sleep(SHORT * 2));
                log.add("both held back");
                yield_now();
                log.add("never");
            });
            assert_eq!(nested, Err(Elapsed));
        });
        log.add("behind");
        yield_now();
        log.add("never");
    });
    assert_eq!(outer, Err(Elapsed));
    assert_eq!(log.take(), "outer held back inner worked both held back behind");
}

#[test]
fn a_panic_out_of_a_shield_restores_what_was() {
    let _watchdog = watchdog();
    let greenlet = sward::spawn(|| {
        let caught = catch_unwind(|| {
            shield(|| {
                sward::current().kill();
                panic!("out of the shield")
            })
        });
        assert!(caught.is_err());
        yield_now();
        unreachable!("the kill is no longer held back")
    });
    assert!(greenlet.join().unwrap_err().is_killed());
}

#[test]
fn yield_and_sleep_raise_what_came_meanwhile() {
    let _watchdog = watchdog();
    for blocking in [yield_now as fn(), || sleep(SHORT), || shield(|| sleep(SHORT))] {
        let behind = Flag::new();
        let theirs = behind.clone();
        let greenlet = sward::spawn(move || {
            blocking();
            yield_now();
            theirs.raise();
        });
        yield_now();
        greenlet.kill();
        assert!(greenlet.join().unwrap_err().is_killed());
        assert!(!behind.is_raised());
    }
}

#[test]
fn an_interrupt_in_a_park_leaves_the_token_alone() {
    let _watchdog = watchdog();
    let me = Unparker::current();
    assert_eq!(timeout(SHORT, || park(None)), Err(Elapsed));
    me.unpark();
    assert_eq!(park(None), Wake::Unparked);
    assert_eq!(park(Some(Instant::now())), Wake::TimedOut);
}

#[test]
fn elapsed_becomes_an_io_error_of_the_kind_timed_out() {
    let error = std::io::Error::from(Elapsed);
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}
