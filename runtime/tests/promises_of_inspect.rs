//! What is going on: rows, the tree with its calls, counters, and the watchdog.

mod support;

use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, Instant};

use support::{FOREVER, SHORT, in_child, patient, stderr_lines, watchdog};
use sward::inspect::{GreenletInfo, State, dump, snapshot, stats, watch};
use sward::lowlevel::{Unparker, WaitQueue, park};
use sward::{Builder, GreenletId, sleep, spawn, yield_now};

/// The row of one greenlet.
fn row(id: GreenletId) -> GreenletInfo {
    snapshot().into_iter().find(|row| row.id == id).expect("it has not finished")
}

/// What `dump` writes.
fn dumped() -> String {
    let mut text = Vec::new();
    dump(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}

/// Parks in a function whose name can be found in its calls.
#[inline(never)]
fn wait_in_here(queue: &WaitQueue) {
    black_box(queue.wait("the queue", (), None));
}

/// Keeps the thread.
#[inline(never)]
fn keep_the_thread(limit: Duration) {
    let start = Instant::now();
    while start.elapsed() < limit {
        black_box(());
    }
}

#[test]
fn a_row_tells_id_name_site_parent_state_and_wait() {
    let _watchdog = watchdog();
    let g = Builder::new().name("sleeper").spawn(|| sleep(FOREVER)).unwrap();
    let site = line!() - 1;
    assert_eq!(row(g.id()).state, State::Ready);
    assert_eq!(row(g.id()).waits_for, None);
    yield_now();
    let found = row(g.id());
    assert_eq!(found.name.as_deref(), Some("sleeper"));
    let spawned_at = found.spawned_at.unwrap();
    assert!(spawned_at.file().ends_with("promises_of_inspect.rs"));
    assert_eq!(spawned_at.line(), site);
    assert_eq!(found.parent, Some(sward::current().id()));
    assert_eq!((found.state, found.waits_for, found.switches), (State::Parked, Some("sleep"), 1));
    let root = &snapshot()[0];
    assert_eq!((root.id, root.name.as_deref()), (sward::current().id(), Some("root")));
    assert_eq!((root.spawned_at, root.parent, root.state), (None, None, State::Running));
    g.kill();
    g.wait();
    assert_eq!(snapshot().len(), 1);
}

#[test]
fn rows_are_in_the_order_of_spawning_and_name_the_parent() {
    let _watchdog = watchdog();
    let outer = spawn(|| {
        let first = spawn(|| sleep(FOREVER));
        let second = spawn(|| sleep(FOREVER));
        yield_now();
        let rows = snapshot();
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        let me = sward::current().id();
        assert_eq!(ids[1..], [me, first.id(), second.id()]);
        assert_eq!(rows[2].parent, Some(me));
        assert_eq!(rows[1].state, State::Running);
        first.kill();
        second.kill();
    });
    outer.join().unwrap();
}

#[test]
fn a_wait_is_as_old_as_it_is() {
    let _watchdog = watchdog();
    let before = Instant::now();
    let g = spawn(|| sleep(FOREVER));
    sleep(patient());
    let since = row(g.id()).waits_since.unwrap();
    // The hub's clock is a coarse one, which steps every 10 ms at the worst.
    assert!(since + Duration::from_millis(20) >= before, "{:?} too early", before - since);
    assert!(since.elapsed() + Duration::from_millis(20) >= patient(), "{:?} is too short", since.elapsed());
    // What parks after a long sleep of the hub did so then, and not before it.
    let late = spawn(|| sleep(FOREVER));
    yield_now();
    assert!(row(late.id()).waits_since.unwrap() > since);
    g.kill();
    late.kill();
}

#[test]
fn switches_are_counted_for_each_greenlet_and_its_slot_is_used_again_at_zero() {
    let _watchdog = watchdog();
    let before = stats();
    for _ in 0..2 {
        let g = spawn(|| {
            for _ in 0..9 {
                yield_now();
            }
            row(sward::current().id()).switches
        });
        assert_eq!(g.join().unwrap(), 10);
    }
    let after = stats();
    assert_eq!(after.spawned, before.spawned + 2);
    // The root was resumed too, at the end of each join.
    assert_eq!(after.switches, before.switches + 2 * (10 + 1));
    assert_eq!(after.greenlets, 0);
}

#[test]
fn timers_are_counted() {
    let _watchdog = watchdog();
    let before = stats().timers;
    let g = spawn(|| sward::timeout(FOREVER, || sleep(FOREVER)).is_ok());
    yield_now();
    assert_eq!(stats().timers, before + 2);
    g.kill();
    g.wait();
    assert_eq!(stats().timers, before);
}

#[test]
fn a_dump_is_a_tree_with_the_calls_of_who_waits() {
    let _watchdog = watchdog();
    let queue = Rc::new(WaitQueue::new());
    let (theirs, inner) = (queue.clone(), queue.clone());
    let outer = Builder::new().name("outer").spawn(move || {
        let inner = Builder::new().name("inner").spawn(move || wait_in_here(&inner)).unwrap();
        wait_in_here(&theirs);
        inner.join().unwrap();
    });
    let outer = outer.unwrap();
    yield_now();
    yield_now();
    let text = dumped();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("0 \"root\" runs"), "{text}");
    assert!(lines[1].starts_with("  1 \"outer\" (spawned at "), "{text}");
    assert!(lines[1].contains("waits in the queue"), "{text}");
    assert!(lines.iter().any(|line| line.starts_with("    2 \"inner\"")), "{text}");
    assert_eq!(text.matches("wait_in_here").count(), 2, "{text}");
    // How a greenlet is begun is of no interest, and neither are the hub's own frames.
    assert!(
        !text.contains("catch_unwind") && !text.contains("spawn.rs") && !text.contains("run_until_root_is_ready"),
        "{text}"
    );
    assert!(!text.contains("trace_here") && !text.contains("suspend"), "{text}");
    // They go on as if nobody had looked.
    queue.wake_all();
    outer.join().unwrap();
}

#[test]
fn many_look_at_once_and_from_greenlets() {
    let _watchdog = watchdog();
    let queue = Rc::new(WaitQueue::new());
    let waiters: Vec<_> = (0..100)
        .map(|n| {
            let queue = queue.clone();
            spawn(move || {
                wait_in_here(&queue);
                n
            })
        })
        .collect();
    let lookers: Vec<_> = (0..5).map(|_| spawn(dumped)).collect();
    for text in sward::join_all(lookers) {
        assert_eq!(text.unwrap().matches("wait_in_here").count(), 100);
    }
    queue.wake_all();
    let results: Vec<_> = sward::join_all(waiters).into_iter().map(Result::unwrap).collect();
    assert_eq!(results, (0..100).collect::<Vec<_>>());
}

/// Waits with `USED` bytes of its stack used up.
#[inline(never)]
fn wait_deep_down<const USED: usize>(queue: &WaitQueue) {
    let mut used = [0u8; USED];
    black_box(&mut used);
    wait_in_here(queue);
    black_box(&used);
}

#[test]
fn a_greenlet_with_little_stack_left_is_not_walked() {
    let _watchdog = watchdog();
    let queue = Rc::new(WaitQueue::new());
    let (little, enough) = (queue.clone(), queue.clone());
    let builder = Builder::new().stack_size(64 << 10);
    let little = builder.clone().spawn(move || wait_deep_down::<{ 45 << 10 }>(&little)).unwrap();
    let enough = builder.spawn(move || wait_deep_down::<{ 37 << 10 }>(&enough)).unwrap();
    yield_now();
    let text = dumped();
    assert_eq!(text.matches("waits in the queue").count(), 2, "{text}");
    assert_eq!(text.matches("wait_in_here").count(), 1, "{text}");
    queue.wake_all();
    little.join().unwrap();
    enough.join().unwrap();
}

#[test]
fn a_line_and_its_calls_fit_together() {
    let _watchdog = watchdog();
    let queue = Rc::new(WaitQueue::new());
    let (theirs, ours) = (queue.clone(), queue.clone());
    // One that always waits in the same place, and one that wakes it every other time that it has its turn.
    let waiter = spawn(move || {
        loop {
            wait_in_here(&theirs);
        }
    });
    let waker = spawn(move || {
        loop {
            ours.wake_all();
            yield_now();
            yield_now();
        }
    });
    let (mut dumps, mut waiting) = (0, 0);
    // It may take many to see it waiting once: when the hub looks depends on the other thread.
    while dumps < 30 || waiting == 0 {
        (0..dumps % 3).for_each(|_| yield_now());
        let text = dumped();
        let waits = text.matches("waits in the queue").count();
        assert_eq!(text.matches("wait_in_here").count(), waits, "{text}");
        waiting += waits;
        dumps += 1;
    }
    waiter.kill();
    waker.kill();
}

#[test]
fn of_many_some_are_looked_at_at_a_time() {
    let _watchdog = watchdog();
    let queue = Rc::new(WaitQueue::new());
    let waiters: Vec<_> = (0..200)
        .map(|_| {
            let queue = queue.clone();
            spawn(move || wait_in_here(&queue))
        })
        .collect();
    yield_now();
    let before = snapshot()[0].switches;
    let text = dumped();
    assert_eq!(text.matches("wait_in_here").count(), 200);
    let waits = snapshot()[0].switches - before;
    assert!(waits > 5, "all in {waits} waits");
    queue.wake_all();
    sward::join_all(waiters).into_iter().for_each(|waiter| waiter.unwrap());
}

#[test]
fn a_dump_of_a_long_chain_of_spawns_is_not_large() {
    /// Greenlets, each of which has spawned the next.
    const LENGTH: usize = 2000;

    fn chain(left: usize, queue: &Rc<WaitQueue>) {
        if left > 0 {
            let theirs = queue.clone();
            Builder::new().stack_size(16 << 10).spawn(move || chain(left - 1, &theirs)).unwrap();
            wait_in_here(queue);
        }
    }

    let _watchdog = watchdog();
    let queue = Rc::new(WaitQueue::new());
    let first = queue.clone();
    spawn(move || chain(LENGTH, &first));
    while stats().spawned <= LENGTH as u64 {
        yield_now();
    }
    let text = dumped();
    assert_eq!(text.matches("waits in the queue").count(), LENGTH);
    let longest = text.lines().map(str::len).max().unwrap();
    assert!(longest < 300, "a line of {longest} bytes");
    let last = text.lines().rfind(|line| line.contains("waits in the queue")).unwrap();
    assert!(last.contains(&format!(", child of {},", LENGTH - 1)), "{last}");
    queue.wake_all();
}

#[test]
fn a_program_whose_offload_threads_are_all_blocked_can_be_looked_at() {
    let output = in_child("a_program_whose_offload_threads_are_all_blocked_can_be_looked_at", || {
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let receiver = std::sync::Arc::new(std::sync::Mutex::new(receiver));
        for _ in 0..64 {
            let receiver = receiver.clone();
            spawn(move || sward::offload(move || receiver.lock().unwrap().recv().is_ok()));
        }
        yield_now();
        let text = dumped();
        assert_eq!(text.matches("waits in offload").count(), 64, "{text}");
        drop(sender);
    });
    assert!(output.status.success(), "{:#?}", stderr_lines(&output));
}

#[test]
fn a_killed_greenlet_that_looks_ends() {
    let _watchdog = watchdog();
    let g = spawn(|| {
        sward::current().kill();
        dumped()
    });
    assert!(g.join().unwrap_err().is_killed());
}

#[test]
fn a_greenlet_that_was_looked_at_is_still_unparked_once() {
    let _watchdog = watchdog();
    let (sender, receiver) = std::sync::mpsc::channel();
    let g = spawn(move || {
        sender.send(Unparker::current()).unwrap();
        park(None);
        row(sward::current().id()).switches
    });
    yield_now();
    dumped();
    dumped();
    assert_eq!(row(g.id()).state, State::Parked);
    receiver.recv().unwrap().unpark();
    // To look is not to switch to it.
    assert_eq!(g.join().unwrap(), 2);
}

#[test]
fn time_of_one_that_has_finished_is_not_counted_for_another() {
    let output = in_child("time_of_one_that_has_finished_is_not_counted_for_another", || {
        watch(FOREVER);
        let handle = sward::handle();
        let g = spawn(move || {
            // The hub has the message before it has anybody else run, and this one's slot is free.
            std::thread::spawn(move || drop(handle.spawn(|| sleep(FOREVER)))).join().unwrap();
            keep_the_thread(patient());
        });
        g.join().unwrap();
        let rows = snapshot();
        assert_eq!(rows.len(), 2, "{rows:#?}");
        assert_eq!((rows[1].switches, rows[1].cpu_time), (0, Some(Duration::ZERO)));
    });
    assert!(output.status.success(), "{:#?}", stderr_lines(&output));
}

#[test]
fn time_is_counted_from_the_first_watch_on() {
    let output = in_child("time_is_counted_from_the_first_watch_on", || {
        assert_eq!(snapshot()[0].cpu_time, None);
        watch(FOREVER);
        let g = spawn(|| {
            keep_the_thread(SHORT);
            sleep(FOREVER);
        });
        yield_now();
        let ran = row(g.id()).cpu_time.unwrap();
        assert!(ran >= SHORT, "{ran:?}");
        sleep(SHORT);
        assert_eq!(row(g.id()).cpu_time, Some(ran));
        // And a wait is dated when it begins, not when the greenlet got its thread.
        let start = Instant::now();
        let late = spawn(|| {
            keep_the_thread(patient());
            sleep(FOREVER);
        });
        yield_now();
        let since = row(late.id()).waits_since.unwrap();
        assert!(since + Duration::from_millis(20) >= start + patient(), "{:?} early", start + patient() - since);
    });
    assert!(output.status.success(), "{:#?}", stderr_lines(&output));
}
