//! What `Group` and `Pool` promise.

mod support;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use support::{EVER, Log, SOON, in_unwinding, limited, settle, started};
use sward::sync::{Event, Group, Pool, Queue};

#[test]
fn a_group_joins_its_members() {
    limited(|| {
        let group = Group::new();
        group.join();
        assert!(group.join_timeout(SOON));
        let members: Vec<_> = (0..3).map(|n| group.spawn(move || (0..n).for_each(|_| sward::yield_now()))).collect();
        assert_eq!(group.len(), 3);
        group.join();
        assert!(group.is_empty() && members.iter().all(|member| member.is_finished()));
        let _stays = group.spawn(|| sward::sleep(EVER));
        assert!(!group.join_timeout(SOON));
        assert!(format!("{group:?}").contains("len: 1"), "{group:?}");
    });
}

#[test]
fn a_panic_of_a_member_is_its_own() {
    limited(|| {
        let group = Group::new();
        let bad = group.spawn(|| std::panic::resume_unwind(Box::new("on purpose")));
        let good = group.spawn(|| 1);
        group.join();
        assert!(bad.join().map(|()| 0).unwrap_err().is_panic());
        assert_eq!(good.join().unwrap(), 1);
    });
}

#[test]
fn kill_reaches_each_member_once_also_those_added_meanwhile() {
    limited(|| {
        let (group, log) = (Rc::new(Group::new()), Log::default());
        let spawner = started({
            let (group, log) = (group.clone(), log.clone());
            let inner = group.clone();
            move || {
                let member = group.spawn(move || {
                    let result = catch_unwind(AssertUnwindSafe(|| sward::sleep(EVER)));
                    assert!(result.is_err());
                    // Swallowed: raised again where it blocks next. Until then more members come.
                    let log2 = log.clone();
                    inner.spawn(move || log2.add("never runs"));
                    log.add("spawned one more");
                    sward::yield_now();
                });
                member.wait();
            }
        });
        let never = group.spawn(|| unreachable!("killed before it started"));
        group.kill();
        assert!(group.is_empty());
        spawner.join().unwrap();
        assert_eq!(log.take(), ["spawned one more"]);
        assert!(never.join().map(|()| 0).unwrap_err().is_killed());
        group.kill();
    });
}

#[test]
fn a_member_that_kills_its_group_dies_too() {
    limited(|| {
        let group = Rc::new(Group::new());
        let other = group.spawn(|| sward::sleep(EVER));
        let killer = group.spawn({
            let group = group.clone();
            move || group.kill()
        });
        assert!(killer.join().unwrap_err().is_killed());
        assert!(other.join().unwrap_err().is_killed());
        assert!(group.is_empty());
    });
}

#[test]
fn in_a_destructor_kill_does_not_wait() {
    limited(|| {
        let group = Rc::new(Group::new());
        let member = started({
            let group = group.clone();
            move || group.spawn(|| sward::sleep(EVER))
        });
        let inner = group.clone();
        in_unwinding(move || inner.kill());
        group.join();
        assert!(member.join().unwrap().join().unwrap_err().is_killed());
    });
}

#[test]
fn a_dropped_group_detaches() {
    limited(|| {
        let group = Group::new();
        let member = group.spawn(|| {
            sward::yield_now();
            7
        });
        drop(group);
        assert_eq!(member.join().unwrap(), 7);
    });
}

/// Counts how many run at the same time.
#[derive(Clone, Default)]
struct Gauge(Rc<(Cell<usize>, Cell<usize>)>);

impl Gauge {
    /// Something that takes a while.
    fn run(&self) {
        let (now, most) = (&self.0.0, &self.0.1);
        now.set(now.get() + 1);
        most.set(most.get().max(now.get()));
        sward::yield_now();
        sward::yield_now();
        now.set(now.get() - 1);
    }

    fn most(&self) -> usize {
        self.0.1.get()
    }
}

#[test]
fn no_more_than_size_run() {
    limited(|| {
        let (pool, gauge) = (Pool::new(3), Gauge::default());
        for _ in 0..10 {
            let gauge = gauge.clone();
            pool.spawn(move || gauge.run());
        }
        pool.wait_available();
        assert!(pool.free_count() > 0);
        pool.join();
        assert_eq!((gauge.most(), pool.free_count(), pool.len()), (3, 3, 0));
    });
}

#[test]
fn a_killed_member_gives_its_slot_back_started_or_not() {
    limited(|| {
        let pool = Pool::new(1);
        let member = pool.spawn(|| ());
        member.kill();
        pool.spawn(|| sward::sleep(EVER));
        settle();
        pool.kill();
        assert_eq!(pool.free_count(), 1);
        assert_eq!(pool.map([1], |n| n), [1]);
    });
}

#[test]
fn a_spawn_that_is_killed_while_it_waits_leaves_nothing() {
    limited(|| {
        let pool = Rc::new(Pool::new(1));
        let busy = pool.spawn(|| sward::sleep(EVER));
        let waiting = started({
            let pool = pool.clone();
            move || drop(pool.spawn(|| unreachable!()))
        });
        waiting.kill();
        busy.kill();
        pool.join();
        assert!(waiting.join().unwrap_err().is_killed());
        assert_eq!((pool.free_count(), pool.len()), (1, 0));
    });
}

#[test]
fn map_keeps_the_order_of_the_inputs() {
    limited(|| {
        let (pool, gauge) = (Pool::new(4), Gauge::default());
        let inner = gauge.clone();
        let results = pool.map(0..20_u64, move |n| {
            (0..n * 7 % 5).for_each(|_| sward::yield_now());
            inner.run();
            n * n
        });
        assert_eq!(results, (0..20).map(|n| n * n).collect::<Vec<_>>());
        assert!((2..=4).contains(&gauge.most()));
        assert!(pool.map(std::iter::empty::<u8>(), |n| n).is_empty());
    });
}

#[test]
fn a_panic_in_map_resumes_after_all_have_ended() {
    limited(|| {
        let (pool, log) = (Pool::new(2), Log::default());
        let inner = log.clone();
        let panic = catch_unwind(AssertUnwindSafe(|| {
            pool.map(0..4, move |n| {
                if n == 1 || n == 2 {
                    std::panic::resume_unwind(Box::new(n));
                }
                sward::yield_now();
                inner.add(n.to_string());
            })
        }));
        assert_eq!(*panic.unwrap_err().downcast::<i32>().unwrap(), 1, "the first input's");
        assert_eq!(log.take(), ["0", "3"]);
        assert!(pool.is_empty());
    });
}

#[test]
fn a_member_that_maps_on_its_own_pool_does_not_deadlock() {
    fn sum(pool: &Rc<Pool>, gauge: &Gauge, depth: u32) -> u32 {
        if depth == 0 {
            gauge.run();
            return 1;
        }
        let (pool2, gauge2) = (pool.clone(), gauge.clone());
        pool.map(0..3, move |_| sum(&pool2, &gauge2, depth - 1)).into_iter().sum()
    }
    limited(|| {
        for size in [1, 2, 5] {
            let (pool, gauge) = (Rc::new(Pool::new(size)), Gauge::default());
            assert_eq!(sum(&pool, &gauge, 4), 81);
            assert!(gauge.most() <= size, "{} ran on {size} slots", gauge.most());
            assert_eq!((pool.free_count(), pool.len()), (size, 0));
        }
    });
}

#[test]
fn members_that_imap_on_their_own_pool_do_not_deadlock() {
    limited(|| {
        let pool = Rc::new(Pool::new(2));
        let inner = pool.clone();
        let sums = pool.map(0..6, move |n| {
            let ordered: i32 = inner.imap(0..n, |k| k).map(Result::unwrap).sum();
            let unordered: i32 = inner.imap_unordered(0..n, |k| k).map(Result::unwrap).sum();
            assert_eq!(ordered, unordered);
            ordered
        });
        assert_eq!(sums, [0, 0, 1, 3, 6, 10]);
        assert_eq!(pool.free_count(), 2);
    });
}

#[test]
fn imap_delivers_an_error_at_its_place_and_goes_on() {
    limited(|| {
        let pool = Pool::new(2);
        let results: Vec<_> = pool
            .imap(0..4, |n| {
                (0..4 - n).for_each(|_| sward::yield_now());
                if n == 1 {
                    std::panic::resume_unwind(Box::new("on purpose"));
                }
                n
            })
            .map(Result::ok)
            .collect();
        assert_eq!(results, [Some(0), None, Some(2), Some(3)]);
    });
}

#[test]
fn imap_is_lazy_and_takes_at_most_size_inputs_ahead() {
    limited(|| {
        for unordered in [false, true] {
            let (pool, taken) = (Pool::new(3), Rc::new(Cell::new(0)));
            let inputs = (0..10).inspect(|_| taken.set(taken.get() + 1));
            let mut results: Box<dyn Iterator<Item = _>> = if unordered {
                Box::new(pool.imap_unordered(inputs, |n| n))
            } else {
                Box::new(pool.imap(inputs, |n| n))
            };
            assert_eq!(taken.get(), 0);
            for delivered in 0..10 {
                results.next().unwrap().unwrap();
                assert!(taken.get() <= delivered + 3, "{} taken, {delivered} delivered", taken.get());
            }
            assert!(results.next().is_none());
            assert!(results.next().is_none());
        }
    });
}

#[test]
fn imap_unordered_delivers_what_is_ready_first() {
    limited(|| {
        let pool = Pool::new(3);
        let results: Vec<_> = pool
            .imap_unordered([5, 1, 3], |n| {
                (0..n * 2).for_each(|_| sward::yield_now());
                n
            })
            .map(Result::unwrap)
            .collect();
        assert_eq!(results, [1, 3, 5]);
    });
}

#[test]
fn a_dropped_imap_kills_what_is_left() {
    limited(|| {
        for unordered in [false, true] {
            let (pool, log) = (Pool::new(3), Log::default());
            let work = {
                let log = log.clone();
                move |n: u32| {
                    if n > 0 {
                        sward::sleep(EVER);
                    }
                    log.add(n.to_string());
                }
            };
            if unordered {
                assert!(pool.imap_unordered(0..9, work).next().unwrap().is_ok());
            } else {
                assert!(pool.imap(0..9, work).next().unwrap().is_ok());
            }
            pool.join();
            assert_eq!(log.take(), ["0"]);
            assert_eq!(pool.free_count(), 3);
        }
    });
}

#[test]
fn a_source_may_block_borrow_and_panic() {
    limited(|| {
        let pool = Pool::new(2);
        let words = [String::from("a"), String::from("bc")];
        assert_eq!(pool.map(words.iter().map(String::len), |n| n), [1, 2]);

        let queue = Rc::new(Queue::bounded(0));
        let feeder = started({
            let queue = queue.clone();
            move || {
                (0..5).for_each(|n| queue.put(n).unwrap());
                queue.close();
            }
        });
        let results: Vec<_> = pool.imap(queue.iter(), |n| n * 2).map(Result::unwrap).collect();
        assert_eq!(results, [0, 2, 4, 6, 8]);
        feeder.join().unwrap();

        let mut calls = 0;
        let source = std::iter::from_fn(|| {
            calls += 1;
            match calls {
                2 => std::panic::resume_unwind(Box::new("on purpose")),
                4 => None,
                n => Some(n),
            }
        });
        let mut results = pool.imap(source, |n| n);
        assert!(catch_unwind(AssertUnwindSafe(|| results.next())).is_err());
        assert_eq!(results.next().unwrap().unwrap(), 1, "what was begun goes on");
        assert_eq!(results.next().unwrap().unwrap(), 3);
        assert!(results.next().is_none());
        drop(results);
        assert_eq!((pool.free_count(), pool.len()), (2, 0));
    });
}

#[test]
fn an_interrupted_next_loses_no_result() {
    limited(|| {
        for unordered in [false, true] {
            let (pool, gate) = (Pool::new(2), Rc::new(Event::new()));
            let inner = gate.clone();
            let work = move |n: u32| {
                inner.wait();
                n
            };
            let mut results: Box<dyn Iterator<Item = _>> =
                if unordered { Box::new(pool.imap_unordered(0..4, work)) } else { Box::new(pool.imap(0..4, work)) };
            assert!(sward::timeout(SOON, || results.next().is_some()).is_err());
            assert!(sward::timeout(SOON, || results.next().is_some()).is_err());
            gate.set();
            let mut all: Vec<_> = results.map(Result::unwrap).collect();
            all.sort();
            assert_eq!(all, [0, 1, 2, 3]);
        }
    });
}

#[test]
fn a_killed_map_kills_what_it_began() {
    limited(|| {
        let (pool, log) = (Rc::new(Pool::new(2)), Rc::new(RefCell::new(Vec::new())));
        let mapper = started({
            let (pool, log) = (pool.clone(), log.clone());
            move || {
                pool.map(0..4, move |n| {
                    sward::sleep(EVER);
                    log.borrow_mut().push(n);
                })
            }
        });
        assert_eq!(pool.len(), 2);
        mapper.kill();
        assert!(mapper.join().unwrap_err().is_killed());
        pool.join();
        assert!(log.borrow().is_empty());
        assert_eq!(pool.free_count(), 2);
    });
}

#[test]
fn a_member_is_spawned_where_the_pool_was_called() {
    limited(|| {
        let line_of_this_greenlet = || {
            let me = sward::current().id();
            let info = sward::inspect::snapshot().into_iter().find(|info| info.id == me).unwrap();
            info.spawned_at.filter(|site| site.file() == file!()).map(|site| site.line())
        };
        let (group, pool) = (Group::new(), Pool::new(2));
        let first = line!() + 1;
        let mut lines = vec![group.spawn(line_of_this_greenlet).join().unwrap()];
        lines.push(pool.spawn(line_of_this_greenlet).join().unwrap());
        lines.extend(pool.map([()], move |()| line_of_this_greenlet()));
        lines.extend(pool.imap([()], move |()| line_of_this_greenlet()).map(Result::unwrap));
        lines.extend(pool.imap_unordered([()], move |()| line_of_this_greenlet()).map(Result::unwrap));
        assert_eq!(lines, (first..first + 5).map(Some).collect::<Vec<_>>());
    });
}
