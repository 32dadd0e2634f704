//! `greenlet_local!`: one value per greenlet.

mod support;

use std::cell::{Cell, RefCell};
use std::sync::Mutex;

use support::{FOREVER, Flag, watchdog};

sward::greenlet_local! {
    /// Counts.
    static COUNT: Cell<u32> = Cell::new(1);
    static TEXT: RefCell<String> = RefCell::new(String::from("fresh"));
}

#[test]
fn each_greenlet_and_the_root_has_its_own() {
    let _watchdog = watchdog();
    COUNT.with(|count| count.set(50));
    let greenlets = (0..10).map(|n| {
        sward::spawn(move || {
            COUNT.with(|count| count.set(count.get() + n));
            sward::yield_now();
            COUNT.with(Cell::get)
        })
    });
    let values: Vec<_> = sward::join_all(greenlets).into_iter().map(Result::unwrap).collect();
    assert_eq!(values, (1..=10).collect::<Vec<_>>());
    assert_eq!(COUNT.with(Cell::get), 50);
}

#[test]
fn a_value_is_dropped_when_its_greenlet_ends_and_does_not_reach_the_next_one() {
    let _watchdog = watchdog();
    for _ in 0..3 {
        let text = sward::spawn(|| TEXT.with(|text| std::mem::replace(&mut *text.borrow_mut(), "used".into())));
        assert_eq!(text.join().unwrap(), "fresh");
    }
    let killed = sward::spawn(|| {
        TEXT.with(|text| text.replace("used".into()));
        sward::sleep(FOREVER);
    });
    sward::yield_now();
    killed.kill();
    killed.wait();
    assert_eq!(sward::spawn(|| TEXT.with(|text| text.borrow().clone())).join().unwrap(), "fresh");
}

#[test]
fn an_initialiser_may_block_panic_and_use_other_values() {
    sward::greenlet_local! {
        static SLOW: u32 = { sward::yield_now(); COUNT.with(Cell::get) + 1 };
        static BROKEN: u32 = panic!("no value");
    }
    let _watchdog = watchdog();
    let greenlet = sward::spawn(|| {
        assert!(std::panic::catch_unwind(|| BROKEN.with(|_| ())).is_err());
        SLOW.with(|value| *value)
    });
    assert_eq!(greenlet.join().unwrap(), 2);
}

#[test]
fn an_initialiser_that_uses_its_own_static_keeps_the_first_value() {
    thread_local! {
        static DEPTH: Cell<u32> = const { Cell::new(0) };
    }
    sward::greenlet_local! {
        static RECURSIVE: u32 = {
            let depth = DEPTH.replace(DEPTH.get() + 1);
            if depth < 3 { RECURSIVE.with(|value| *value + 100) } else { depth }
        };
    }
    let _watchdog = watchdog();
    assert_eq!(sward::spawn(|| (RECURSIVE.with(|v| *v), RECURSIVE.with(|v| *v))).join().unwrap(), (3, 3));
}

/// Calls a function when dropped.
struct AtEnd(fn());

impl Drop for AtEnd {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn a_destructor_that_panics_does_not_leave_values_to_the_next_greenlet() {
    sward::greenlet_local! {
        static OLDEST: Cell<u32> = Cell::new(0);
        static BOMB: AtEnd = AtEnd(|| panic!("a local's destructor"));
    }
    let _watchdog = watchdog();
    let error = sward::spawn(|| {
        OLDEST.with(|value| value.set(7));
        BOMB.with(|_| ());
    });
    assert!(error.join().unwrap_err().is_panic());
    let next = sward::spawn(|| OLDEST.with(Cell::get));
    assert_eq!(next.join().unwrap(), 0);
}

#[test]
fn a_destructor_of_a_killed_greenlet_that_blocks_does_not_leave_values_either() {
    sward::greenlet_local! {
        static OLDEST: Cell<u32> = Cell::new(0);
        static BLOCKS: AtEnd = AtEnd(sward::yield_now);
    }
    let _watchdog = watchdog();
    let greenlet = sward::spawn(|| {
        OLDEST.with(|value| value.set(7));
        BLOCKS.with(|_| ());
        sward::sleep(FOREVER);
    });
    sward::yield_now();
    greenlet.kill();
    assert!(greenlet.join().unwrap_err().is_killed());
    assert_eq!(sward::spawn(|| OLDEST.with(Cell::get)).join().unwrap(), 0);
}

#[test]
fn destructors_run_newest_first_and_may_block_and_use_other_values() {
    static SEEN: Mutex<Vec<&str>> = Mutex::new(Vec::new());
    sward::greenlet_local! {
        static FIRST: AtEnd = AtEnd(|| SEEN.lock().unwrap().push("first"));
        static SECOND: AtEnd = AtEnd(|| {
            sward::yield_now();
            FIRST.with(|_| ());
            LATE.with(|_| ());
            SEEN.lock().unwrap().push("second");
        });
        static LATE: AtEnd = AtEnd(|| SEEN.lock().unwrap().push("late"));
    }
    let _watchdog = watchdog();
    let greenlet = sward::spawn(|| {
        FIRST.with(|_| ());
        SECOND.with(|_| ());
    });
    greenlet.join().unwrap();
    assert_eq!(*SEEN.lock().unwrap(), ["second", "late", "first"]);
}

#[test]
fn a_destructor_that_uses_its_own_static_does_not_make_it_anew_for_ever() {
    sward::greenlet_local! {
        static PHOENIX: AtEnd = AtEnd(|| PHOENIX.with(|_| ()));
    }
    let _watchdog = watchdog();
    let greenlet = sward::spawn(|| PHOENIX.with(|_| ()));
    assert!(greenlet.join().unwrap_err().to_string().contains("destroyed"));
}

#[test]
fn the_roots_values_are_dropped_with_their_thread() {
    static DROPPED: Mutex<bool> = Mutex::new(false);
    sward::greenlet_local! {
        static OF_ROOT: AtEnd = AtEnd(|| *DROPPED.lock().unwrap() = true);
    }
    let _watchdog = watchdog();
    std::thread::spawn(|| OF_ROOT.with(|_| ())).join().unwrap();
    assert!(*DROPPED.lock().unwrap());
}

#[test]
fn a_value_may_be_taken_out_while_its_greenlet_waits() {
    let _watchdog = watchdog();
    let seen = Flag::new();
    let theirs = seen.clone();
    let greenlet = sward::spawn(move || {
        COUNT.with(|count| {
            sward::yield_now();
            count.set(9);
        });
        assert_eq!(COUNT.with(Cell::get), 9);
        theirs.raise();
    });
    greenlet.join().unwrap();
    assert!(seen.is_raised());
}

#[test]
fn a_value_that_a_result_nobody_wants_makes_does_not_reach_the_next_greenlet() {
    struct Writes;
    impl Drop for Writes {
        fn drop(&mut self) {
            TEXT.with(|text| text.replace("used".into()));
        }
    }
    let _watchdog = watchdog();
    drop(sward::spawn(|| Writes));
    sward::yield_now();
    assert_eq!(sward::spawn(|| TEXT.with(|text| text.borrow().clone())).join().unwrap(), "fresh");
}
