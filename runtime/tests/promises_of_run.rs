//! `run`: a hub with a definite end.

mod support;

use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use support::{CountDrop, FOREVER, Log, OnDrop, SHORT, message, watchdog};

#[test]
fn every_greenlet_has_ended_when_it_returns() {
    let _watchdog = watchdog();
    let drops = Arc::new(AtomicUsize::new(0));
    let spawn = |drops: &Arc<AtomicUsize>| {
        let counter = CountDrop(drops.clone());
        drop(sward::spawn(move || {
            let _counter = counter;
            sward::sleep(FOREVER);
        }));
    };
    spawn(&drops);
    sward::yield_now();
    let answer = sward::run(|| {
        spawn(&drops);
        sward::yield_now();
        spawn(&drops);
        42
    });
    assert_eq!((answer, drops.load(SeqCst)), (42, 3));
}

#[test]
fn a_panic_passes_through_after_the_end() {
    let _watchdog = watchdog();
    let drops = Arc::new(AtomicUsize::new(0));
    let counter = CountDrop(drops.clone());
    let caught = catch_unwind(std::panic::AssertUnwindSafe(|| {
        sward::run(|| {
            sward::spawn(move || {
                let _counter = counter;
                sward::sleep(FOREVER);
            });
            sward::yield_now();
            panic!("out of run");
        })
    }));
    assert_eq!(message(&*caught.unwrap_err()), "out of run");
    assert_eq!(drops.load(SeqCst), 1);
}

#[test]
fn what_destructors_and_links_spawn_ends_too() {
    let _watchdog = watchdog();
    let drops = Arc::new(AtomicUsize::new(0));
    let theirs = drops.clone();
    sward::run(|| {
        let greenlet = sward::spawn(move || {
            let _last_words = OnDrop(move || {
                let counter = CountDrop(theirs.clone());
                sward::spawn(move || {
                    let _counter = counter;
                    sward::sleep(FOREVER);
                });
            });
            sward::sleep(FOREVER);
        });
        greenlet.link(|_| sward::sleep(FOREVER));
        sward::yield_now();
    });
    assert_eq!(drops.load(SeqCst), 1);
}

#[test]
fn links_of_what_is_left_have_their_turn() {
    let _watchdog = watchdog();
    let log = Log::new();
    let sleeper = |started: bool| {
        let greenlet = sward::spawn(|| sward::sleep(FOREVER));
        for n in 0..2 {
            let log = log.clone();
            greenlet.link(move |result| log.add(format_args!("{started}:{n}:{}", result.is_err())));
        }
    };
    sleeper(true);
    sward::yield_now();
    let result = sward::timeout(SHORT, || {
        sward::run(|| {
            sleeper(false);
            std::thread::sleep(SHORT * 2);
        });
    });
    assert!(result.is_ok(), "an interrupt that comes meanwhile waits for the next blocking call");
    let mut lines = log.take().split(' ').map(String::from).collect::<Vec<_>>();
    lines.sort();
    assert_eq!(lines, ["false:0:true", "false:1:true", "true:0:true", "true:1:true"]);
}

#[test]
fn it_panics_inside_a_greenlet() {
    let _watchdog = watchdog();
    let error = sward::spawn(|| sward::run(|| ())).join().unwrap_err();
    assert!(error.to_string().contains("sward::run"));
}

#[test]
fn it_waits_for_shielded_greenlets() {
    let _watchdog = watchdog();
    let drops = Arc::new(AtomicUsize::new(0));
    let counter = CountDrop(drops.clone());
    sward::run(|| {
        sward::spawn(move || {
            let _counter = counter;
            sward::shield(|| sward::sleep(SHORT));
        });
        sward::yield_now();
    });
    assert_eq!(drops.load(SeqCst), 1);
}

#[test]
fn runs_nest_and_follow_one_another() {
    let _watchdog = watchdog();
    let answer = sward::run(|| {
        let outer = sward::spawn(|| sward::sleep(FOREVER));
        let inner = sward::run(|| sward::spawn(|| 1).join().unwrap());
        assert!(outer.join().unwrap_err().is_killed(), "every greenlet of the thread");
        inner
    });
    assert_eq!(answer + sward::run(|| 1), 2);
    assert_eq!(sward::timeout(FOREVER, || sward::run(|| 3)), Ok(3));
}
