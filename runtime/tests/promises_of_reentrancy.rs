//! The user's code may call back into whatever is running it: no cell of the hub is borrowed meanwhile.

mod support;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Instant;

use support::{FOREVER, Flag, Log, OnDrop, SHORT, message, watchdog};
use sward::lowlevel::{Unparker, WaitQueue, Waited, park};

/// Uses its queue, and the hub, when it is dropped.
struct Nosy {
    queue: Rc<WaitQueue<Option<Nosy>>>,
    log: Log,
}

impl Drop for Nosy {
    fn drop(&mut self) {
        self.log.add(format_args!("dropped with {} waiting", self.queue.len()));
        self.queue.wake_one();
        drop(sward::spawn(|| ()));
    }
}

#[test]
fn a_waiters_value_may_use_its_queue_when_it_is_dropped() {
    let _watchdog = watchdog();
    let (queue, log) = (Rc::new(WaitQueue::new()), Log::new());
    let spawn = |limit: Option<Instant>| {
        let (queue, log) = (queue.clone(), log.clone());
        sward::spawn(move || {
            let nosy = Nosy { queue: queue.clone(), log };
            drop(queue.wait("test", Some(nosy), limit));
        })
    };
    let (killed, other) = (spawn(None), spawn(None));
    sward::yield_now();
    killed.kill();
    assert!(killed.join().unwrap_err().is_killed());
    other.join().unwrap();
    spawn(Some(Instant::now() + SHORT)).join().unwrap();
    assert_eq!(log.take(), "dropped with 1 waiting dropped with 0 waiting dropped with 0 waiting");
    assert!(queue.is_empty());
}

#[test]
fn a_hand_over_that_panics_has_woken_its_waiter() {
    let _watchdog = watchdog();
    let queue = Rc::new(WaitQueue::<u8>::new());
    let waiting = queue.clone();
    let waiter = sward::spawn(move || waiting.wait("test", 5, None));
    sward::yield_now();
    assert!(catch_unwind(AssertUnwindSafe(|| queue.wake_one_with(|_| panic!("in the hand-over")))).is_err());
    assert_eq!(waiter.join().unwrap(), Waited::Woken(5));
    assert!(queue.is_empty());
}

#[test]
fn destructors_of_a_killed_greenlet_may_kill_spawn_unpark_wake_and_link() {
    let _watchdog = watchdog();
    let (log, queue) = (Log::new(), Rc::new(WaitQueue::<()>::new()));
    let second = Rc::new(sward::spawn(|| sward::sleep(FOREVER)));
    let (waiting, unparker) = (queue.clone(), Rc::new(Cell::new(None)));
    let waiter = sward::spawn(move || waiting.wait("test", (), None));
    let out = unparker.clone();
    let parked = sward::spawn(move || {
        out.set(Some(Unparker::current()));
        park(None)
    });
    let (victim, wakes, theirs) = (second.clone(), queue.clone(), log.clone());
    let first = sward::spawn(move || {
        let _last = OnDrop(|| {
            victim.kill();
            victim.link({
                let log = theirs.clone();
                move |result| log.add(format_args!("link:{}", result.is_err()))
            });
            wakes.wake_all();
            unparker.take().unwrap().unpark();
            sward::current().kill();
            let log = theirs.clone();
            drop(sward::spawn(move || log.add("spawned")));
        });
        sward::sleep(FOREVER);
    });
    sward::yield_now();
    first.kill();
    assert!(first.join().unwrap_err().is_killed());
    waiter.join().unwrap();
    parked.join().unwrap();
    second.wait();
    sward::yield_now();
    assert_eq!(log.take(), "spawned link:true");
}

#[test]
fn a_destructor_that_panics_while_a_kill_unwinds_aborts_as_rust_does() {
    let output = support::in_child("a_destructor_that_panics_while_a_kill_unwinds_aborts_as_rust_does", || {
        let greenlet = sward::spawn(|| {
            let _bomb = OnDrop(|| panic!("while unwinding"));
            sward::sleep(FOREVER);
        });
        sward::yield_now();
        greenlet.kill();
        let _ = greenlet.join();
    });
    assert!(!output.status.success());
    let lines = support::stderr_lines(&output).join("\n");
    assert!(lines.contains("while unwinding") && lines.contains("destructor during cleanup"), "{lines}");
}

#[test]
fn the_last_reference_to_a_greenlet_may_be_its_own() {
    let _watchdog = watchdog();
    let holder = Rc::new(RefCell::new(None::<sward::Greenlet<u8>>));
    let (theirs, seen) = (holder.clone(), Flag::new());
    let raise = seen.clone();
    let greenlet = sward::spawn(move || {
        let own = theirs.borrow_mut().take().unwrap();
        assert_eq!(own.id(), sward::current().id());
        assert!(!own.is_finished());
        own.kill();
        assert!(catch_unwind(AssertUnwindSafe(|| own.join())).is_err(), "killed before it joins itself");
        raise.raise();
        3
    });
    holder.replace(Some(greenlet));
    sward::yield_now();
    assert!(seen.is_raised());
}

#[test]
fn handles_that_hold_one_another_in_a_ring_end() {
    let _watchdog = watchdog();
    let ended = Rc::new(Cell::new(0));
    for _ in 0..10 {
        let ring = Rc::new(RefCell::new(Vec::new()));
        for _ in 0..2 {
            let (inside, count) = (ring.clone(), ended.clone());
            let greenlet = sward::spawn(move || {
                let _end = OnDrop(|| count.set(count.get() + 1));
                sward::yield_now();
                drop(inside);
            });
            ring.borrow_mut().push(greenlet);
        }
    }
    (0..3).for_each(|_| sward::yield_now());
    assert_eq!(ended.get(), 20);
}

#[test]
fn a_panic_hook_may_use_the_hub() {
    let output = support::in_child("a_panic_hook_may_use_the_hub", || {
        std::panic::set_hook(Box::new(|_| {
            assert!(sward::current().id().to_string() != "x");
            sward::yield_now();
            drop(sward::spawn(|| println!("spawned by the hook")));
            sward::sleep(SHORT);
        }));
        assert!(sward::spawn(|| panic!("hooked")).join().is_err());
        sward::yield_now();
    });
    assert!(output.status.success(), "{:?}", support::stderr_lines(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("spawned by the hook"));
}

#[test]
fn a_poll_a_try_and_an_initialiser_may_use_the_hub() {
    let _watchdog = watchdog();
    let log = Log::new();
    let value = sward::block_on(std::future::poll_fn(|_| {
        std::task::Poll::Ready(sward::spawn(|| sward::block_on(async { sward::offload(|| 4) })).join().unwrap())
    }));
    log.add(value);
    let outcome = sward::timeout(FOREVER, || {
        sward::shield(|| sward::scope(|scope| scope.spawn(|| sward::timeout(SHORT, || park(None))).join().unwrap()))
    });
    assert!(outcome.unwrap().is_err());
    assert_eq!(log.take(), "4");
}

#[test]
fn the_iterator_of_join_all_may_block_and_panic() {
    let _watchdog = watchdog();
    let ran = Flag::new();
    let theirs = ran.clone();
    let mut first = Some(sward::spawn(move || {
        sward::yield_now();
        theirs.raise();
    }));
    let caught = catch_unwind(AssertUnwindSafe(|| {
        sward::join_all(std::iter::from_fn(|| {
            sward::yield_now();
            Some(first.take().expect("only one"))
        }))
    }));
    assert!(message(&*caught.unwrap_err()).contains("only one"));
    sward::yield_now();
    assert!(ran.is_raised(), "what it had taken is detached");
}
