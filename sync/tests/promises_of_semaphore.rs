//! What `Semaphore` promises.

mod support;

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;
use support::{EVER, Log, SOON, in_unwinding, limited, settle, started};
use sward::Greenlet;
use sward::sync::Semaphore;

/// A greenlet that takes a permit, says so, and keeps it until it is killed.
fn holder(semaphore: &Rc<Semaphore>, log: &Log, name: &'static str) -> Greenlet<()> {
    let (semaphore, log) = (semaphore.clone(), log.clone());
    started(move || {
        let _permit = semaphore.acquire();
        log.add(name);
        sward::sleep(EVER);
    })
}

#[test]
fn permits_go_to_waiters_in_order_and_nobody_barges_in() {
    limited(|| {
        let (semaphore, log) = (Rc::new(Semaphore::new(0)), Log::default());
        let _waiters = ["a", "b", "c"].map(|name| holder(&semaphore, &log, name));
        semaphore.add_permits(2);
        assert!(semaphore.try_acquire().is_none(), "both permits have an owner already");
        settle();
        assert_eq!(log.take(), ["a", "b"]);
        semaphore.add_permits(3);
        assert_eq!(semaphore.available_permits(), 2);
        settle();
        assert_eq!(log.take(), ["c"]);
    });
}

#[test]
fn a_killed_or_timed_out_waiter_is_skipped() {
    limited(|| {
        let (semaphore, log) = (Rc::new(Semaphore::new(0)), Log::default());
        let first = holder(&semaphore, &log, "first");
        let second = started({
            let semaphore = semaphore.clone();
            move || semaphore.acquire_timeout(SOON).is_some()
        });
        let _third = holder(&semaphore, &log, "third");
        first.kill();
        assert!(!second.join().unwrap());
        semaphore.add_permits(1);
        settle();
        assert_eq!(log.take(), ["third"]);
        assert_eq!(semaphore.available_permits(), 0);
    });
}

#[test]
fn a_waiter_killed_after_it_got_a_permit_gives_it_back_when_it_unwinds() {
    limited(|| {
        let (semaphore, log) = (Rc::new(Semaphore::new(0)), Log::default());
        let waiter = holder(&semaphore, &log, "has it");
        semaphore.add_permits(1);
        waiter.kill();
        assert!(waiter.join().unwrap_err().is_killed());
        assert_eq!(log.take(), ["has it"]);
        assert_eq!(semaphore.available_permits(), 1);
    });
}

#[test]
fn a_killed_holder_gives_its_permit_to_the_next() {
    limited(|| {
        let (semaphore, log) = (Rc::new(Semaphore::new(1)), Log::default());
        let holder_of_it = holder(&semaphore, &log, "holder");
        let _next = holder(&semaphore, &log, "next");
        holder_of_it.kill();
        settle();
        assert_eq!(log.take(), ["holder", "next"]);
    });
}

#[test]
fn forgotten_permits_are_gone_and_owned_ones_outlive_the_variable() {
    let semaphore = Rc::new(Semaphore::new(3));
    semaphore.acquire().forget();
    let owned = semaphore.acquire_owned();
    semaphore.try_acquire_owned().unwrap().forget();
    assert_eq!(semaphore.available_permits(), 0);
    let weak = Rc::downgrade(&semaphore);
    drop(semaphore);
    assert_eq!(weak.upgrade().unwrap().available_permits(), 0);
    drop(owned);
    assert!(weak.upgrade().is_none(), "a forgotten permit keeps nothing alive");
}

#[test]
fn a_permit_released_in_the_turn_of_the_limit_counts() {
    limited(|| {
        let semaphore = Rc::new(Semaphore::new(0));
        let limit = Duration::from_millis(3);
        let _giver = sward::spawn({
            let semaphore = semaphore.clone();
            move || {
                sward::sleep(limit);
                semaphore.add_permits(1);
            }
        });
        let taker = sward::spawn({
            let semaphore = semaphore.clone();
            move || semaphore.acquire_timeout(limit).is_some()
        });
        sward::yield_now();
        std::thread::sleep(2 * limit);
        assert!(taker.join().unwrap());
        assert_eq!(semaphore.available_permits(), 1);
    });
}

#[test]
fn wait_any_sees_a_free_permit_and_does_not_take_it() {
    limited(|| {
        let semaphore = Rc::new(Semaphore::new(0));
        let watcher = started({
            let semaphore = semaphore.clone();
            move || sward::wait_any(&[&semaphore])
        });
        let waiter = started({
            let semaphore = semaphore.clone();
            move || semaphore.acquire().forget()
        });
        semaphore.add_permits(1);
        waiter.join().unwrap();
        assert!(!watcher.is_finished(), "that permit went to the one who waits to take it");
        semaphore.add_permits(1);
        assert_eq!(watcher.join().unwrap(), 0);
        assert_eq!(semaphore.available_permits(), 1);
    });
}

#[test]
fn in_a_destructor_it_gives_up() {
    limited(|| {
        assert!(in_unwinding(|| Semaphore::new(0).acquire_timeout(EVER).is_none()));
        assert!(in_unwinding(|| Semaphore::new(1).acquire_timeout(EVER).is_some()));
        in_unwinding(|| Rc::new(Semaphore::new(1)).acquire_owned().forget());
    });
}

/// What may happen to a semaphore.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Somebody asks for a permit.
    Acquire,
    /// Permits are added.
    Add(usize),
    /// The nth of those who asked is killed.
    Kill(usize),
    /// Everybody runs until he waits.
    Run,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Acquire),
        2 => (0..3_usize).prop_map(Step::Add),
        2 => (0..8_usize).prop_map(Step::Kill),
        2 => Just(Step::Run),
    ];
    proptest::collection::vec(step, 1..60)
}

/// Somebody in the model.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    /// Has not run yet.
    New,
    Waits,
    /// Has a permit, perhaps without having run since.
    Holds,
    Gone,
}

/// What the semaphore is to do, in words that one sees to be right.
#[derive(Default)]
struct Model {
    free: usize,
    line: VecDeque<usize>,
    stages: Vec<Stage>,
}

impl Model {
    fn give(&mut self, n: usize) {
        for _ in 0..n {
            match self.line.pop_front() {
                Some(next) => self.stages[next] = Stage::Holds,
                None => self.free += 1,
            }
        }
    }

    /// `unwound`: those who hold a permit and were killed run now, and give it back.
    fn run(&mut self, killed: &[usize]) {
        for n in 0..self.stages.len() {
            if self.stages[n] == Stage::New {
                self.stages[n] = if self.free > 0 {
                    self.free -= 1;
                    Stage::Holds
                } else {
                    self.line.push_back(n);
                    Stage::Waits
                };
            }
        }
        for &n in killed {
            if self.stages[n] == Stage::Holds {
                self.stages[n] = Stage::Gone;
                self.give(1);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn it_does_what_the_model_does(steps in steps()) {
        let semaphore = Rc::new(Semaphore::new(0));
        let mut model = Model::default();
        let mut people: Vec<Greenlet<()>> = Vec::new();
        let mut killed: Vec<usize> = Vec::new();
        for step in steps {
            match step {
                Step::Acquire => {
                    let semaphore = semaphore.clone();
                    people.push(sward::spawn(move || {
                        let _permit = semaphore.acquire();
                        sward::sleep(EVER);
                    }));
                    model.stages.push(Stage::New);
                    // Runs at once, so that the order of arrival is that of asking.
                    settle();
                    model.run(&killed);
                    killed.clear();
                }
                Step::Add(n) => {
                    semaphore.add_permits(n);
                    model.give(n);
                }
                Step::Kill(n) if n < people.len() && model.stages[n] != Stage::Gone => {
                    people[n].kill();
                    if model.stages[n] == Stage::Waits {
                        model.line.retain(|waiter| *waiter != n);
                        model.stages[n] = Stage::Gone;
                    } else if !killed.contains(&n) {
                        killed.push(n);
                    }
                }
                Step::Kill(_) => {}
                Step::Run => {
                    settle();
                    model.run(&killed);
                    killed.clear();
                }
            }
            prop_assert_eq!(semaphore.available_permits(), model.free);
        }
        settle();
        model.run(&killed);
        prop_assert_eq!(semaphore.available_permits(), model.free);
        for (person, stage) in people.iter().zip(&model.stages) {
            prop_assert_eq!(person.is_finished(), *stage == Stage::Gone);
            person.kill();
        }
        settle();
    }
}
