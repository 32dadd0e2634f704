//! `scope`: greenlets that borrow from a stack that is there until they have ended.

mod support;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

use support::{CountDrop, FOREVER, Log, OnDrop, SHORT, message, watchdog};

#[test]
fn children_may_borrow_and_are_joined() {
    let _watchdog = watchdog();
    let mut numbers = [1, 2, 3];
    let sum = Cell::new(0);
    sward::scope(|scope| {
        for number in &mut numbers {
            let sum = &sum;
            scope.spawn(move || {
                sward::yield_now();
                *number *= 10;
                sum.set(sum.get() + *number);
            });
        }
    });
    assert_eq!((numbers, sum.get()), ([10, 20, 30], 60));
}

#[test]
fn children_may_spawn_children() {
    let _watchdog = watchdog();
    let count = Cell::new(0);
    sward::scope(|scope| {
        let count = &count;
        scope.spawn(move || {
            sward::yield_now();
            scope.spawn(move || {
                sward::sleep(SHORT);
                scope.spawn(move || count.set(count.get() + 1));
            });
        });
    });
    assert_eq!(count.get(), 1);
}

#[test]
fn a_result_may_borrow_and_is_dropped_before_the_scope_ends() {
    let _watchdog = watchdog();
    let log = Log::new();
    let text = String::from("borrowed");
    let kept = sward::scope(|scope| {
        scope.spawn(|| OnDrop(|| log.add(&text)));
        scope.spawn(|| text.as_str()).join().unwrap().len()
    });
    assert_eq!(kept, 8);
    assert_eq!(log.take(), "borrowed");
}

#[test]
fn a_panicked_child_that_nobody_joined_fails_its_scope() {
    let _watchdog = watchdog();
    let caught = catch_unwind(|| sward::scope(|scope| drop(scope.spawn(|| panic!("unseen")))));
    assert!(message(&*caught.unwrap_err()).contains("scoped greenlet panicked"));
    let joined = sward::scope(|scope| scope.spawn(|| panic!("seen")).join().is_err());
    assert!(joined, "a joined panic is the joiner's");
}

#[test]
fn a_killed_child_does_not_fail_its_scope() {
    let _watchdog = watchdog();
    sward::scope(|scope| {
        scope.spawn(|| sward::sleep(FOREVER)).kill();
        let other = scope.spawn(|| sward::sleep(FOREVER));
        sward::yield_now();
        other.kill();
        assert!(other.wait_timeout(FOREVER));
    });
}

#[test]
fn a_panic_in_the_scope_kills_and_joins_the_children() {
    let _watchdog = watchdog();
    let (drops, borrowed) = (Arc::new(AtomicUsize::new(0)), [1; 100]);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        sward::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let _counter = CountDrop(drops.clone());
                    sward::sleep(FOREVER);
                    std::hint::black_box(borrowed);
                });
            }
            sward::yield_now();
            scope.spawn(|| unreachable!("never started"));
            panic!("the scope's own");
        })
    }));
    assert_eq!(message(&*caught.unwrap_err()), "the scope's own");
    assert_eq!(drops.load(SeqCst), 3);
}

#[test]
fn a_parent_killed_inside_a_scope_outlives_the_children_that_borrow_its_stack() {
    let _watchdog = watchdog();
    let log = Log::new();
    let theirs = log.clone();
    let parent = sward::spawn(move || {
        let _parent = OnDrop(|| theirs.add("parent"));
        let on_the_stack = [7_u8; 64];
        sward::scope(|scope| {
            for child in 0..2 {
                let (theirs, borrowed) = (&theirs, &on_the_stack);
                scope.spawn(move || {
                    let _child = OnDrop(|| theirs.add(format_args!("child{child}:{}", borrowed[63])));
                    sward::sleep(FOREVER);
                });
            }
            sward::sleep(FOREVER);
        });
    });
    sward::yield_now();
    sward::yield_now();
    parent.kill();
    assert!(parent.join().unwrap_err().is_killed());
    assert_eq!(log.take(), "child0:7 child1:7 parent");
}

#[test]
fn a_timeout_ends_a_scope_and_its_children() {
    let _watchdog = watchdog();
    let drops = Arc::new(AtomicUsize::new(0));
    let result = sward::timeout(SHORT, || {
        sward::scope(|scope| {
            scope.spawn(|| {
                let _counter = CountDrop(drops.clone());
                sward::sleep(FOREVER);
            });
        })
    });
    assert!(result.is_err());
    assert_eq!(drops.load(SeqCst), 1);
}

#[test]
fn the_join_after_an_interrupt_cannot_be_interrupted() {
    let _watchdog = watchdog();
    let log = Log::new();
    let theirs = log.clone();
    let parent = sward::spawn(move || {
        sward::scope(|scope| {
            let log = &theirs;
            scope.spawn(move || {
                sward::shield(|| sward::sleep(SHORT * 4));
                log.add("child");
            });
            sward::sleep(FOREVER);
        });
    });
    sward::yield_now();
    sward::yield_now();
    parent.kill();
    sward::yield_now();
    parent.kill();
    sward::sleep(SHORT);
    assert!(!parent.is_finished(), "it waits for the child, killed or not");
    assert!(parent.join().unwrap_err().is_killed());
    assert_eq!(log.take(), "child");
}

#[test]
fn a_child_spawned_while_the_scope_dies_is_killed_too() {
    let _watchdog = watchdog();
    let begin = Instant::now();
    let caught = catch_unwind(AssertUnwindSafe(|| {
        sward::scope(|scope| {
            scope.spawn(|| {
                let _last_words = OnDrop(|| drop(scope.spawn(|| sward::sleep(FOREVER))));
                sward::sleep(FOREVER);
            });
            sward::yield_now();
            panic!("the scope's own");
        })
    }));
    assert!(caught.is_err());
    assert!(begin.elapsed() < FOREVER);
}

#[test]
fn a_deadlock_inside_a_scope_ends_its_children_before_the_panic_leaves_it() {
    let _watchdog = watchdog();
    let drops = Arc::new(AtomicUsize::new(0));
    let caught = catch_unwind(AssertUnwindSafe(|| {
        sward::scope(|scope| {
            scope.spawn(|| {
                let _counter = CountDrop(drops.clone());
                sward::lowlevel::park(None);
            });
        })
    }));
    assert!(message(&*caught.unwrap_err()).contains("deadlock"));
    assert_eq!(drops.load(SeqCst), 1);
}

#[test]
fn a_scope_that_cannot_end_aborts_instead_of_returning() {
    let output = support::in_child("a_scope_that_cannot_end_aborts_instead_of_returning", || {
        let _ = catch_unwind(|| {
            sward::scope(|scope| {
                scope.spawn(|| sward::shield(|| sward::lowlevel::park(None)));
            })
        });
    });
    assert!(!output.status.success());
    assert!(support::our_lines(&output)[0].contains("a scope cannot end"));
}

#[test]
fn scopes_nest_and_combine_with_timeout_shield_and_run() {
    let _watchdog = watchdog();
    let log = Log::new();
    let outcome = sward::run(|| {
        sward::timeout(SHORT, || {
            sward::scope(|outer| {
                let log = &log;
                outer.spawn(move || {
                    sward::shield(|| {
                        sward::scope(|inner| {
                            inner.spawn(|| {
                                sward::sleep(SHORT * 3);
                                log.add("inner");
                            });
                        })
                    });
                    log.add("behind");
                    sward::yield_now();
                    log.add("never");
                });
            })
        })
    });
    assert!(outcome.is_err());
    assert_eq!(log.take(), "inner behind");
}

#[test]
fn a_thousand_children_borrow_one_array() {
    let _watchdog = watchdog();
    let mut cells = vec![0_u32; 1000];
    sward::scope(|scope| {
        for (n, cell) in cells.iter_mut().enumerate() {
            scope.spawn(move || {
                if n % 3 == 0 {
                    sward::yield_now();
                }
                *cell = n as u32;
            });
        }
    });
    assert!(cells.iter().enumerate().all(|(n, cell)| *cell == n as u32));
}
