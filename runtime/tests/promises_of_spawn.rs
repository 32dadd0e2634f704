//! Spawning: closures of every shape, names, ids, sizes, late starts.

mod support;

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use support::{CountDrop, Flag, SHORT, watchdog};
use sward::Builder;

#[test]
fn a_greenlet_may_hold_what_is_not_send() {
    let _watchdog = watchdog();
    let shared = Rc::new(5);
    let theirs = shared.clone();
    assert_eq!(*sward::spawn(move || theirs).join().unwrap(), 5);
    assert_eq!(Rc::strong_count(&shared), 1);
}

#[test]
fn captures_and_results_of_every_size_arrive_and_are_dropped_once() {
    let _watchdog = watchdog();
    fn go<const N: usize>() {
        let drops = Arc::new(AtomicUsize::new(0));
        let captured = ([7_u8; N], CountDrop(drops.clone()));
        let greenlet = sward::spawn(move || {
            let captured = captured;
            assert!(captured.0.iter().all(|byte| *byte == 7));
            captured
        });
        let (bytes, counter) = greenlet.join().unwrap();
        assert!(bytes.iter().all(|byte| *byte == 7));
        assert_eq!(drops.load(SeqCst), 0);
        drop(counter);
        assert_eq!(drops.load(SeqCst), 1);
    }
    go::<0>();
    go::<1>();
    go::<900>();
    go::<1000>();
    go::<2000>();
    go::<2048>();
    go::<4096>();
    go::<8192>();
}

#[test]
fn over_aligned_captures_are_aligned() {
    #[repr(align(256))]
    struct Aligned(u8);
    let _watchdog = watchdog();
    /// Captures nothing, but is a page large.
    #[repr(align(4096))]
    #[derive(Clone, Copy)]
    struct FarAligned;
    let far = FarAligned;
    let address = sward::spawn(move || std::ptr::from_ref(std::hint::black_box(&far)).addr());
    assert_eq!(address.join().unwrap() % 4096, 0);
    for _ in 0..20 {
        let value = Aligned(3);
        let greenlet = sward::spawn(move || (std::ptr::from_ref(&value).addr() % 256, value.0));
        assert_eq!(greenlet.join().unwrap(), (0, 3));
    }
}

#[test]
fn zero_sized_closures_and_results_work() {
    let _watchdog = watchdog();
    fn nothing() {}
    assert_eq!(sward::join_all((0..100).map(|_| sward::spawn(nothing))).len(), 100);
}

#[test]
fn a_closure_killed_before_its_start_is_dropped_once_whatever_its_size() {
    let _watchdog = watchdog();
    fn go<const N: usize>() {
        let drops = Arc::new(AtomicUsize::new(0));
        let captured = ([0_u8; N], CountDrop(drops.clone()));
        let greenlet = sward::spawn(move || drop(captured));
        greenlet.kill();
        assert_eq!(drops.load(SeqCst), 0, "kill only queues");
        assert!(greenlet.join().unwrap_err().is_killed());
        assert_eq!(drops.load(SeqCst), 1);
    }
    go::<0>();
    go::<10_000>();
}

#[test]
fn ids_are_never_used_again() {
    let _watchdog = watchdog();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..1000 {
        let greenlet = sward::spawn(|| sward::current().id());
        let id = greenlet.id();
        assert_eq!(greenlet.join().unwrap(), id);
        assert!(seen.insert(id), "{id} came twice");
        assert_ne!(id.to_string(), "0");
    }
}

#[test]
fn the_root_has_id_0_and_a_name() {
    let root = sward::current();
    assert_eq!((root.id().to_string(), root.name()), ("0".to_owned(), Some("root")));
}

#[test]
fn killing_the_root_panics() {
    let caught = std::panic::catch_unwind(|| sward::current().kill()).unwrap_err();
    assert!(support::message(&*caught).contains("root"));
}

#[test]
fn names_are_seen_from_both_sides() {
    let _watchdog = watchdog();
    let greenlet = Builder::new().name("reader").spawn(|| sward::current().name().map(str::to_owned)).unwrap();
    assert_eq!(greenlet.name(), Some("reader"));
    assert!(format!("{greenlet:?}").contains("reader"));
    assert_eq!(greenlet.join().unwrap().as_deref(), Some("reader"));
    let unnamed = sward::spawn(|| sward::current().name().map(str::to_owned));
    assert_eq!(unnamed.name(), None);
    assert_eq!(unnamed.join().unwrap(), None, "a name does not stay in the slot");
}

#[test]
fn an_impossible_stack_size_is_an_error_that_costs_nothing() {
    let _watchdog = watchdog();
    let drops = Arc::new(AtomicUsize::new(0));
    let counter = CountDrop(drops.clone());
    assert!(Builder::new().stack_size(usize::MAX).spawn(move || drop(counter)).is_err());
    assert_eq!(drops.load(SeqCst), 1);
    assert!(Builder::new().stack_size(1 << 60).spawn(|| ()).is_err());
    sward::scope(|scope| {
        assert!(Builder::new().stack_size(usize::MAX).spawn_scoped(scope, || ()).is_err());
    });
    assert_eq!(sward::spawn(|| 1).join().unwrap(), 1);
}

#[test]
fn the_stack_is_as_large_as_was_asked_for() {
    let _watchdog = watchdog();
    #[inline(never)]
    fn recurse(depth: usize) -> usize {
        let frame = std::hint::black_box([depth as u8; 1024]);
        if depth == 0 { 0 } else { recurse(depth - 1) + usize::from(frame[0] == depth as u8) }
    }
    let deep = Builder::new().stack_size(8 << 20).spawn(|| recurse(3000)).unwrap();
    assert_eq!(deep.join().unwrap(), 3000);
    for bytes in [0, 1, 4096, 16 * 1024, 65_537] {
        assert_eq!(Builder::new().stack_size(bytes).spawn(|| 1).unwrap().join().unwrap(), 1);
    }
}

#[test]
fn a_late_start_is_never_early() {
    let _watchdog = watchdog();
    let begin = Instant::now();
    let greenlet = sward::spawn_later(SHORT, Instant::now);
    assert!(greenlet.join().unwrap() >= begin + SHORT);
}

#[test]
fn a_late_start_that_is_killed_never_runs_and_is_dropped_once() {
    let _watchdog = watchdog();
    for yields in 0..3 {
        let (drops, ran) = (Arc::new(AtomicUsize::new(0)), Flag::new());
        let (counter, theirs) = (CountDrop(drops.clone()), ran.clone());
        let greenlet = sward::spawn_later(support::FOREVER, move || {
            let _counter = counter;
            theirs.raise();
        });
        (0..yields).for_each(|_| sward::yield_now());
        greenlet.kill();
        assert!(greenlet.join().unwrap_err().is_killed());
        assert_eq!((drops.load(SeqCst), ran.is_raised()), (1, false));
    }
}

#[test]
fn a_late_start_that_is_killed_when_its_time_has_come_never_runs() {
    let _watchdog = watchdog();
    loop {
        let (ran, late) = (Flag::new(), Rc::new(OnceCell::<sward::Greenlet<()>>::new()));
        let victim = late.clone();
        let begin = Instant::now();
        let killer = sward::spawn(move || {
            sward::sleep(SHORT);
            victim.get().unwrap().kill();
        });
        sward::yield_now(); // the killer sleeps, and will be woken first
        let theirs = ran.clone();
        late.set(sward::spawn_later(SHORT, move || theirs.raise())).unwrap();
        sward::yield_now();
        let both_wait = begin.elapsed() < SHORT;
        std::thread::sleep(SHORT * 2); // both are due in the same turn
        killer.join().unwrap();
        late.get().unwrap().wait();
        if both_wait {
            assert!(!ran.is_raised());
            break;
        }
    }
}

#[test]
fn late_starts_run_in_the_order_of_their_times() {
    let _watchdog = watchdog();
    let log = support::Log::new();
    let greenlets: Vec<_> = [3, 1, 2]
        .into_iter()
        .map(|n| {
            let log = log.clone();
            sward::spawn_later(support::patient() * n, move || log.add(n))
        })
        .collect();
    sward::join_all(greenlets);
    assert_eq!(log.take(), "1 2 3");
}

#[test]
fn a_dropped_handle_detaches() {
    let _watchdog = watchdog();
    let ran = Flag::new();
    let theirs = ran.clone();
    drop(sward::spawn(move || {
        sward::yield_now();
        theirs.raise();
    }));
    while !ran.is_raised() {
        sward::yield_now();
    }
}

#[test]
fn many_hubs_at_once_do_not_disturb_one_another() {
    let _watchdog = watchdog();
    let threads: Vec<_> = (0..16_u64)
        .map(|n| {
            std::thread::spawn(move || {
                let greenlets = (0..50).map(|k| {
                    sward::spawn(move || {
                        sward::sleep(Duration::from_micros(100 * (k % 7)));
                        n * k
                    })
                });
                sward::join_all(greenlets).into_iter().map(Result::unwrap).sum::<u64>()
            })
        })
        .collect();
    for (n, thread) in threads.into_iter().enumerate() {
        assert_eq!(thread.join().unwrap(), n as u64 * (0..50).sum::<u64>());
    }
}
