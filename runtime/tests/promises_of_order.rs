//! Order is deterministic: ready greenlets run first in, first out, and nothing switches that need not.

mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use support::{Log, SHORT, watchdog};
use sward::lowlevel::{Killer, Unparker, WaitQueue, Waited, Wake, park, spawn_now, spawn_now_then, spawn_then};

#[test]
fn spawn_never_runs_the_greenlet_before_the_caller_blocks() {
    let _watchdog = watchdog();
    let log = Log::new();
    let greenlets: Vec<_> = (0..3)
        .map(|n| {
            let theirs = log.clone();
            let greenlet = sward::spawn(move || theirs.add(n));
            log.add("spawned");
            greenlet
        })
        .collect();
    for greenlet in greenlets {
        greenlet.join().unwrap();
    }
    assert_eq!(log.take(), "spawned spawned spawned 0 1 2");
}

#[test]
fn ready_greenlets_run_first_in_first_out() {
    let _watchdog = watchdog();
    let log = Log::new();
    let greenlets: Vec<_> = (0..3)
        .map(|n| {
            let log = log.clone();
            sward::spawn(move || {
                for round in 0..3 {
                    log.add(format_args!("{n}{round}"));
                    sward::yield_now();
                }
            })
        })
        .collect();
    sward::join_all(greenlets);
    assert_eq!(log.take(), "00 10 20 01 11 21 02 12 22");
}

#[test]
fn greenlets_spawned_by_a_greenlet_run_after_those_that_were_ready() {
    let _watchdog = watchdog();
    let log = Log::new();
    let (first, second) = (log.clone(), log.clone());
    let one = sward::spawn(move || {
        let child = first.clone();
        first.add("parent");
        sward::spawn(move || child.add("child"));
    });
    let two = sward::spawn(move || second.add("sibling"));
    two.join().unwrap();
    one.join().unwrap();
    sward::yield_now();
    assert_eq!(log.take(), "parent sibling child");
}

#[test]
fn spawn_now_runs_the_greenlet_until_it_blocks_and_then_the_caller() {
    let _watchdog = watchdog();
    let log = Log::new();
    let (first, second) = (log.clone(), log.clone());
    let ready = sward::spawn(move || first.add("ready"));
    let caller = sward::spawn(move || {
        let (inner, innermost) = (second.clone(), second.clone());
        let blocked = spawn_now(move || {
            inner.add("started");
            spawn_now(move || innermost.add("nested")).unwrap();
            sward::yield_now();
            inner.add("went on");
        });
        second.add("caller");
        assert!(!blocked.as_ref().unwrap().is_finished());
        blocked.unwrap().join().unwrap();
        second.add("joined");
    });
    let last = log.clone();
    spawn_now(move || last.add("now")).unwrap();
    sward::join_all([ready, caller]);
    assert_eq!(log.take(), "now ready started nested caller went on joined");
}

#[test]
fn what_has_no_handle_tells_its_end_to_a_function() {
    let _watchdog = watchdog();
    let log = Log::new();
    let tell = || {
        let log = log.clone();
        move |result: Result<&str, sward::JoinError>| match result {
            Ok(text) => log.add(text),
            Err(error) if error.is_killed() => log.add("killed"),
            Err(error) => log.add(error.into_panic().downcast::<&str>().unwrap()),
        }
    };
    spawn_now_then(|| "finished", tell()).unwrap();
    spawn_now_then(|| panic!("panicked"), tell()).unwrap();
    let yields = || {
        sward::yield_now();
        "went on"
    };
    spawn_now_then(yields, tell()).unwrap();
    let blocked = spawn_now_then(
        || {
            park(None);
            "unparked"
        },
        tell(),
    )
    .unwrap();
    spawn_then(|| "had its turn", tell()).unwrap();
    let never = spawn_then(|| "started", tell()).unwrap();
    assert_eq!(log.take(), "finished panicked");
    let id = sward::spawn(|| ()).id();
    assert!(blocked.id() < never.id() && never.id() < id);
    blocked.kill();
    never.kill();
    sward::yield_now();
    assert_eq!(log.take(), "went on had its turn killed killed");
    // What panics there harms nobody.
    spawn_now_then(|| (), |_| panic!("in the end")).unwrap();
    assert_eq!(sward::spawn(|| 1).join().unwrap(), 1);
}

/// Also in each other, and beside greenlets that are woken meanwhile, no matter on whose stack they were begun.
#[test]
fn greenlets_that_were_run_at_once_go_on_as_all_others() {
    let _watchdog = watchdog();
    fn nest(depth: usize, log: &Log) {
        let (theirs, unparker) = (log.clone(), Unparker::current());
        if depth > 0 {
            spawn_now(move || {
                nest(depth - 1, &theirs);
                unparker.unpark();
            })
            .unwrap();
            park(None);
        }
        log.add(depth);
        sward::yield_now();
        log.add(depth + 10);
    }
    let log = Log::new();
    let theirs = log.clone();
    sward::spawn(move || nest(3, &theirs)).join().unwrap();
    assert_eq!(log.take(), "0 10 1 11 2 12 3 13");
    nest(2, &log); // and from the root's stack
    assert_eq!(log.take(), "0 10 1 11 2 12");
}

#[test]
fn spawn_now_raises_no_interrupt_of_the_caller() {
    let _watchdog = watchdog();
    let (went_on, theirs) = (support::Flag::new(), Rc::new(Cell::new(None::<Killer>)));
    let (flag, killer) = (went_on.clone(), theirs.clone());
    let victim = sward::spawn(move || {
        spawn_now(move || killer.get().unwrap().kill()).unwrap().join().unwrap();
        flag.raise();
        sward::yield_now();
        unreachable!("killed at its next blocking call");
    });
    theirs.set(Some(Killer::of(&victim)));
    assert!(victim.join().unwrap_err().is_killed());
    assert!(went_on.is_raised());
}

#[test]
fn unpark_only_queues() {
    let _watchdog = watchdog();
    let log = Log::new();
    let theirs = log.clone();
    let unparker = Rc::new(Cell::new(None));
    let out = unparker.clone();
    let sleeper = sward::spawn(move || {
        out.set(Some(Unparker::current()));
        park(None);
        theirs.add("woken");
    });
    sward::yield_now();
    unparker.take().unwrap().unpark();
    log.add("unparked");
    sleeper.join().unwrap();
    assert_eq!(log.take(), "unparked woken");
}

#[test]
fn a_finish_a_kill_and_a_hand_over_only_queue_too() {
    let _watchdog = watchdog();
    let log = Log::new();
    let queue = Rc::new(WaitQueue::<()>::new());
    let (waiting, theirs) = (queue.clone(), log.clone());
    let waiter = sward::spawn(move || {
        waiting.wait("test", (), None);
        theirs.add("waiter");
    });
    let theirs = log.clone();
    let victim = sward::spawn(move || {
        let _guard = support::OnDrop(|| theirs.add("victim"));
        sward::sleep(support::FOREVER);
    });
    sward::yield_now();
    assert!(queue.wake_one());
    victim.kill();
    log.add("root");
    waiter.join().unwrap();
    assert!(victim.join().unwrap_err().is_killed());
    assert_eq!(log.take(), "root waiter victim");
}

#[test]
fn an_unpark_that_comes_first_makes_the_next_park_return_at_once() {
    let _watchdog = watchdog();
    let ran = support::Flag::new();
    let theirs = ran.clone();
    let other = sward::spawn(move || theirs.raise());
    let me = Unparker::current();
    me.unpark();
    me.unpark();
    assert_eq!(park(None), Wake::Unparked);
    assert!(!ran.is_raised(), "a park with a token does not switch");
    assert_eq!(park(Some(Instant::now() + SHORT)), Wake::TimedOut, "several unparks count as one");
    other.join().unwrap();
}

#[test]
fn an_unpark_does_not_end_a_wait_of_another_kind() {
    let _watchdog = watchdog();
    let queue = Rc::new(WaitQueue::<u8>::new());
    let unparker = Rc::new(Cell::new(None));
    let (waiting, out) = (queue.clone(), unparker.clone());
    let waiter = sward::spawn(move || {
        out.set(Some(Unparker::current()));
        let waited = waiting.wait("test", 0, None);
        (waited, park(Some(Instant::now() + support::FOREVER)))
    });
    sward::yield_now();
    unparker.take().unwrap().unpark();
    sward::yield_now();
    assert!(!waiter.is_finished());
    queue.wake_one_with(|given| *given = 7);
    assert_eq!(waiter.join().unwrap(), (Waited::Woken(7), Wake::Unparked), "the token waits for the next park");
}

#[test]
fn waiters_are_woken_first_in_first_out() {
    let _watchdog = watchdog();
    let (log, queue) = (Log::new(), Rc::new(WaitQueue::<usize>::new()));
    let waiters: Vec<_> = (0..4)
        .map(|n| {
            let (log, queue) = (log.clone(), queue.clone());
            sward::spawn(move || {
                let Waited::Woken(given) = queue.wait("test", 0, None) else { panic!("no deadline") };
                log.add(format_args!("{n}:{given}"));
            })
        })
        .collect();
    sward::yield_now();
    assert_eq!(queue.len(), 4);
    for given in 10..14 {
        queue.wake_one_with(|value| *value = given);
    }
    assert!(!queue.wake_one(), "nobody is left");
    sward::join_all(waiters);
    assert_eq!(log.take(), "0:10 1:11 2:12 3:13");
}

#[test]
fn an_unpark_of_a_finished_greenlet_does_not_reach_the_next_one_in_its_slot() {
    let _watchdog = watchdog();
    let first = sward::spawn(|| {
        // A token that is not used up.
        Unparker::current().unpark();
        Unparker::current()
    });
    let first = first.join().unwrap();
    let second = sward::spawn(|| park(Some(Instant::now() + SHORT)));
    first.unpark();
    sward::yield_now();
    first.unpark();
    assert_eq!(second.join().unwrap(), Wake::TimedOut);
}

#[test]
fn what_can_succeed_at_once_does_not_switch() {
    let _watchdog = watchdog();
    let ran = support::Flag::new();
    let done = sward::spawn(|| 5);
    done.wait();
    let theirs = ran.clone();
    let other = sward::spawn(move || theirs.raise());
    done.wait();
    assert!(done.wait_timeout(SHORT));
    assert_eq!(sward::wait_any(&[&other, &done]), 1);
    assert_eq!(done.join().unwrap(), 5);
    assert_eq!(sward::block_on(async { 1 }), 1);
    assert_eq!(sward::timeout(SHORT, || 2), Ok(2));
    assert_eq!(sward::shield(|| 3), 3);
    assert_eq!(sward::scope(|_| 4), 4);
    assert!(!ran.is_raised());
    sward::yield_now();
    assert!(ran.is_raised(), "yield_now always switches");
    other.join().unwrap();
}
