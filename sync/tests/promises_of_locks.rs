//! What `Mutex`, `ReentrantLock` and `RwLock` promise.

mod support;

use std::cell::Cell;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;
use std::{env, fmt};

use proptest::prelude::*;
use support::{EVER, Log, SOON, in_unwinding, limited, settle, started};
use sward::Greenlet;
use sward::sync::{Mutex, ReentrantLock, RwLock};

#[test]
fn a_mutex_goes_to_its_waiters_in_order() {
    limited(|| {
        let mutex = Rc::new(Mutex::new(Vec::new()));
        let guard = mutex.lock();
        let waiters: Vec<_> = (0..5)
            .map(|n| {
                let mutex = mutex.clone();
                started(move || mutex.lock().push(n))
            })
            .collect();
        waiters[2].kill();
        drop(guard);
        assert!(mutex.try_lock().is_none(), "it is handed over: nobody barges in");
        sward::join_all(waiters);
        assert_eq!(*mutex.lock(), [0, 1, 3, 4]);
    });
}

#[test]
fn a_guard_unlocks_however_its_greenlet_ends() {
    limited(|| {
        let mutex = Rc::new(Mutex::new(0));
        let killed = started({
            let mutex = mutex.clone();
            move || {
                let _guard = mutex.lock();
                sward::sleep(EVER);
            }
        });
        assert!(mutex.lock_timeout(SOON).is_none());
        killed.kill();
        *mutex.lock() += 1;
        let panicked = started({
            let mutex = mutex.clone();
            move || {
                let _guard = mutex.lock();
                std::panic::resume_unwind(Box::new("on purpose"));
            }
        });
        assert!(panicked.join().is_err());
        assert_eq!(*mutex.lock(), 1, "no poison");
    });
}

/// A value whose `Debug` blocks.
struct Slow;

impl fmt::Debug for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        sward::sleep(SOON);
        f.write_str("Slow")
    }
}

#[test]
fn who_wants_a_lock_waits_while_a_debug_of_its_value_blocks() {
    limited(|| {
        let (mutex, lock) = (Rc::new(Mutex::new(Slow)), Rc::new(RwLock::new(Slow)));
        let shower = started({
            let (mutex, lock) = (mutex.clone(), lock.clone());
            move || (format!("{mutex:?}"), format!("{lock:?}"))
        });
        assert!(mutex.try_lock().is_none());
        drop(mutex.lock());
        settle(); // now it shows the other
        assert!(lock.try_write().is_none() && lock.try_read().is_some());
        drop(lock.write());
        let (first, second) = shower.join().unwrap();
        assert_eq!(first, "Mutex { value: Slow, locked: false, waiters: 0 }");
        assert_eq!(second, "RwLock { value: Slow, readers: 0, writing: false, waiters: 0 }");
    });
}

#[test]
fn a_lock_that_a_destructor_cannot_have_while_it_unwinds_aborts_with_the_calls_name() {
    const CHILD: &str = "SWARD_TEST_CHILD";
    const SIGABRT: i32 = 6;
    const NAME: &str = "a_lock_that_a_destructor_cannot_have_while_it_unwinds_aborts_with_the_calls_name";
    if let Ok(call) = env::var(CHILD) {
        let (mutex, lock) = (Rc::new(Mutex::new(0)), Rc::new(RwLock::new(0)));
        let owner = started({
            let (mutex, lock) = (mutex.clone(), lock.clone());
            move || {
                let _guards = (mutex.lock(), lock.write());
                sward::sleep(EVER);
            }
        });
        in_unwinding(move || match call.as_str() {
            "Mutex::lock" => drop(mutex.lock()),
            "RwLock::read" => drop(lock.read()),
            _ => drop(lock.write()),
        });
        owner.kill();
        return;
    }
    for call in ["Mutex::lock", "RwLock::read", "RwLock::write"] {
        let mut child = Command::new(env::current_exe().unwrap());
        child.args([NAME, "--exact", "--nocapture"]).env(CHILD, call);
        let output = child.output().unwrap();
        assert_eq!(output.status.signal(), Some(SIGABRT), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said.lines().find(|line| line.contains("in a destructor")).unwrap_or_else(|| panic!("{said}"));
        assert!(line.contains(&format!("{call} in a destructor")) && line.contains("greenlet"), "{line}");
    }
}

#[test]
fn a_killed_new_owner_passes_the_lock_on() {
    limited(|| {
        let mutex = Rc::new(Mutex::new(()));
        let guard = mutex.lock();
        let log = Log::default();
        let [first, second] = ["first", "second"].map(|name| {
            let (mutex, log) = (mutex.clone(), log.clone());
            started(move || {
                let _guard = mutex.lock();
                log.add(name);
                sward::yield_now();
                log.add(format!("{name} went on"));
            })
        });
        drop(guard);
        first.kill(); // it has the lock already
        assert!(first.join().unwrap_err().is_killed());
        second.join().unwrap();
        assert_eq!(log.take(), ["first", "second", "second went on"]);
    });
}

#[test]
fn a_mutex_works_for_unsized_values_and_shows_its_state() {
    let mutex: Rc<Mutex<[u8]>> = Rc::new(Mutex::new([1, 2, 3]));
    mutex.lock()[0] = 9;
    assert_eq!(format!("{mutex:?}"), "Mutex { value: [9, 2, 3], locked: false, waiters: 0 }");
    let guard = mutex.lock();
    assert_eq!(format!("{mutex:?}"), "Mutex { value: <locked>, locked: true, waiters: 0 }");
    assert_eq!(format!("{guard:?}"), "[9, 2, 3]");
}

#[test]
fn a_forgotten_guard_leaves_the_value_reachable() {
    let mut mutex = Mutex::new(1);
    std::mem::forget(mutex.lock());
    assert!(mutex.try_lock().is_none());
    *mutex.get_mut() = 2;
    assert_eq!(mutex.into_inner(), 2);
}

#[test]
fn locks_give_up_in_destructors() {
    limited(|| {
        let mutex = Rc::new((Mutex::new(0), RwLock::new(0), ReentrantLock::new(0)));
        let _guards = (mutex.0.lock(), mutex.1.write(), mutex.2.lock());
        let mutex = mutex.clone();
        assert!(in_unwinding(move || {
            mutex.0.lock_timeout(EVER).is_none()
                && mutex.1.read_timeout(EVER).is_none()
                && mutex.2.lock_timeout(EVER).is_none()
        }));
    });
}

#[test]
fn a_reentrant_lock_is_free_with_its_last_guard() {
    limited(|| {
        let lock = Rc::new(ReentrantLock::new(Cell::new(0)));
        let outer = lock.lock();
        let inner = lock.lock();
        let other = started({
            let lock = lock.clone();
            move || {
                assert!(lock.try_lock().is_none());
                lock.lock().set(1);
            }
        });
        drop(outer);
        settle();
        assert_eq!(inner.get(), 0);
        drop(inner);
        assert!(lock.try_lock().is_none(), "it is the other's already");
        other.join().unwrap();
        assert_eq!(lock.lock().get(), 1);
        assert!(format!("{lock:?}").contains("owner: None"), "{lock:?}");
    });
}

#[test]
fn a_reentrant_lock_skips_the_killed_and_serves_the_rest() {
    limited(|| {
        let (lock, log) = (Rc::new(ReentrantLock::new(())), Log::default());
        let guard = lock.lock();
        let waiters: Vec<_> = (0..3)
            .map(|n| {
                let (lock, log) = (lock.clone(), log.clone());
                started(move || {
                    let _one = lock.lock();
                    let _two = lock.lock();
                    sward::yield_now();
                    log.add(n.to_string());
                })
            })
            .collect();
        waiters[0].kill();
        drop(guard);
        sward::join_all(waiters);
        assert_eq!(log.take(), ["1", "2"]);
    });
}

#[test]
fn a_waiting_writer_is_not_overtaken_by_later_readers() {
    limited(|| {
        let (lock, log) = (Rc::new(RwLock::new(0)), Log::default());
        let reader = lock.read();
        let person = |name: &'static str, writes: bool| {
            let (lock, log) = (lock.clone(), log.clone());
            started(move || {
                if writes {
                    *lock.write() += 1;
                } else {
                    let _guard = lock.read();
                }
                log.add(name);
            })
        };
        let people = [person("write", true), person("read 1", false), person("read 2", false), person("write 2", true)];
        assert!(lock.try_read().is_none(), "a writer waits");
        assert!(lock.read_timeout(SOON).is_none());
        drop(reader);
        people.into_iter().for_each(|person| person.join().unwrap());
        assert_eq!(log.take(), ["write", "read 1", "read 2", "write 2"]);
        assert_eq!(*lock.read(), 2);
    });
}

#[test]
fn readers_behind_a_writer_that_gives_up_enter_at_once() {
    limited(|| {
        for kill in [true, false] {
            let lock = Rc::new(RwLock::new(0));
            let _reader = lock.read();
            let writer = started({
                let lock = lock.clone();
                move || lock.write_timeout(if kill { EVER } else { SOON }).is_some()
            });
            let second = started({
                let lock = lock.clone();
                move || *lock.read()
            });
            if kill {
                writer.kill();
                assert!(lock.try_read().is_some(), "the line is only the dead's");
                assert!(writer.join().is_err());
            } else {
                assert!(!writer.join().unwrap());
            }
            assert_eq!(second.join().unwrap(), 0);
        }
    });
}

/// What may happen to a lock.
#[derive(Clone, Copy, Debug)]
enum Step {
    Read,
    Write,
    /// The nth person ends his wait, or gives up what he has.
    Kill(usize),
}

/// What somebody is at.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Waits,
    Inside,
    Gone,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// The model: those in line enter from its head as long as they fit.
    #[test]
    fn a_rwlock_does_what_the_model_does(
        steps in proptest::collection::vec(
            prop_oneof![Just(Step::Read), Just(Step::Write), (0..10_usize).prop_map(Step::Kill)], 1..60)
    ) {
        let lock = Rc::new(RwLock::new(()));
        let mut people: Vec<(Greenlet<()>, bool, Rc<Cell<bool>>)> = Vec::new();
        let mut model: Vec<Stage> = Vec::new();
        for step in steps {
            match step {
                Step::Read | Step::Write => {
                    let writes = matches!(step, Step::Write);
                    let inside = Rc::new(Cell::new(false));
                    let (lock, flag) = (lock.clone(), inside.clone());
                    let person = started(move || {
                        if writes {
                            let _guard = lock.write();
                            flag.set(true);
                            sward::sleep(EVER);
                        } else {
                            let _guard = lock.read();
                            flag.set(true);
                            sward::sleep(EVER);
                        }
                    });
                    people.push((person, writes, inside));
                    model.push(Stage::Waits);
                }
                Step::Kill(n) if n < people.len() => {
                    people[n].0.kill();
                    model[n] = Stage::Gone;
                    settle();
                    settle();
                }
                Step::Kill(_) => {}
            }
            for n in 0..people.len() {
                let is_inside = |writers: bool| (0..people.len())
                    .any(|m| model[m] == Stage::Inside && (people[m].1 || !writers));
                match model[n] {
                    Stage::Waits if people[n].1 && !is_inside(false) => model[n] = Stage::Inside,
                    Stage::Waits if !people[n].1 && !is_inside(true) => model[n] = Stage::Inside,
                    Stage::Waits => break, // nobody overtakes
                    _ => {}
                }
            }
            for (n, (person, _, inside)) in people.iter().enumerate() {
                prop_assert_eq!(person.is_finished(), model[n] == Stage::Gone, "{}", n);
                if model[n] != Stage::Gone {
                    prop_assert_eq!(inside.get(), model[n] == Stage::Inside, "{}: {:?}", n, model);
                }
            }
        }
        people.iter().for_each(|person| person.0.kill());
        settle();
        settle();
        prop_assert!(lock.try_write().is_some());
    }
}

#[test]
fn a_lock_freed_in_the_turn_of_the_limit_counts() {
    limited(|| {
        let (lock, limit) = (Rc::new(Mutex::new(())), Duration::from_millis(3));
        let holder = started({
            let lock = lock.clone();
            move || {
                let _guard = lock.lock();
                sward::sleep(limit);
            }
        });
        let taker = started({
            let lock = lock.clone();
            move || lock.lock_timeout(limit).is_some()
        });
        std::thread::sleep(2 * limit);
        holder.join().unwrap();
        assert!(taker.join().unwrap());
        assert!(lock.try_lock().is_some());
    });
}
