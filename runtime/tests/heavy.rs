//! Promises about large numbers; only there in a release build, where they take seconds. See the feature `heavy`.

#![cfg(not(debug_assertions))]

mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

use support::{FOREVER, watchdog};
use sward::inspect::{HubInfo, hubs};
use sward::lowlevel::{RemoteUnparker, WaitQueue, park};

/// The tests measure the memory of the process, so they run one after another.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Kilobytes of memory in use (`VmRSS`) or another line of /proc/self/status.
fn status(line: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let value = status.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(':')).unwrap();
    value.split_whitespace().next().unwrap().parse().unwrap()
}

/// Mappings and open file descriptors.
fn maps_and_fds() -> (usize, usize) {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    (maps, std::fs::read_dir("/proc/self/fd").unwrap().count())
}

/// Fails if memory, mappings or file descriptors have grown since the first measurement.
struct Growth {
    memory: usize,
    maps: usize,
    fds: usize,
}

impl Growth {
    /// Measures.
    fn begin() -> Growth {
        let (maps, fds) = maps_and_fds();
        Growth { memory: status("VmRSS"), maps, fds }
    }

    /// Measures again; `slack` is in kilobytes.
    fn check(&self, slack: usize) {
        let (maps, fds) = maps_and_fds();
        let memory = status("VmRSS");
        assert!(memory <= self.memory + slack, "{} kB have become {memory}", self.memory);
        assert!(maps <= self.maps + 8, "{} maps have become {maps}", self.maps);
        assert!(fds <= self.fds, "{} descriptors have become {fds}", self.fds);
    }
}

/// Whether guards cost no mapping each (`MADV_GUARD_INSTALL`, Linux 6.13).
fn cheap_guards() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut parts = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next(), parts.next()) >= (Some(6), Some(13))
}

#[test]
fn a_million_greenlets_park_at_once_are_woken_and_give_their_memory_back() {
    let _one = ONE_AT_A_TIME.lock();
    let _watchdog = watchdog();
    // Where each guard is a mapping of its own, the kernel's limit comes first.
    let count = if cheap_guards() { 1_000_000 } else { 30_000 };
    sward::spawn(|| ()).join().unwrap();
    let before = Growth::begin();
    let (queue, woken) = (Rc::new(WaitQueue::<()>::new()), Rc::new(Cell::new(0)));
    for _ in 0..count {
        let (queue, woken) = (queue.clone(), woken.clone());
        drop(sward::spawn(move || {
            queue.wait("heavy", (), None);
            woken.set(woken.get() + 1);
        }));
    }
    sward::yield_now();
    assert_eq!(queue.len(), count);
    let (maps, _) = maps_and_fds();
    let each = (status("VmRSS") + status("VmPTE") - before.memory) * 1024 / count;
    println!("{count} parked greenlets: {each} bytes each, {maps} maps");
    if cheap_guards() {
        assert!(maps < 100, "{maps} maps");
        assert!(each < 6000, "{each} bytes per parked greenlet");
    }
    assert_eq!(queue.wake_all(), count);
    sward::yield_now();
    assert_eq!(woken.get(), count);
    // What is kept is a pool of warm stacks, not a million of them.
    sward::sleep(std::time::Duration::from_millis(10));
    let left = status("VmRSS") - before.memory;
    println!("left: {left} kB");
    assert!(left * 1024 < count * 1000, "{left} kB are left of {count} greenlets");
}

#[test]
fn a_million_spawns_and_joins_in_a_row_grow_nothing() {
    let _one = ONE_AT_A_TIME.lock();
    let _watchdog = watchdog();
    let round = |count: usize| {
        for n in 0..count {
            assert_eq!(sward::spawn(move || n).join().unwrap(), n);
        }
    };
    round(10_000);
    let before = Growth::begin();
    round(1_000_000);
    before.check(512);
}

#[test]
fn a_hundred_thousand_spawns_and_kills_in_a_row_grow_nothing() {
    let _one = ONE_AT_A_TIME.lock();
    let _watchdog = watchdog();
    let round = |count: usize| {
        for n in 0..count {
            let greenlet = sward::spawn(|| {
                let _ = sward::timeout(FOREVER, || sward::sleep(FOREVER));
            });
            if n % 2 == 0 {
                sward::yield_now();
            }
            greenlet.kill();
            assert!(greenlet.join().unwrap_err().is_killed());
        }
    };
    round(5000);
    let before = Growth::begin();
    round(100_000);
    before.check(512);
}

#[test]
fn a_million_wake_ups_from_four_threads_none_lost() {
    let _one = ONE_AT_A_TIME.lock();
    let _watchdog = watchdog();
    const THREADS: usize = 4;
    const EACH: usize = 250_000;
    // Each thread wakes its own greenlet, and waits until it has answered: a lost wake-up hangs both.
    let answered: Vec<_> = (0..THREADS).map(|_| Arc::new(AtomicUsize::new(0))).collect();
    let threads: Vec<_> = answered
        .iter()
        .map(|answered| {
            let asked = Arc::new(AtomicUsize::new(0));
            let (theirs, ask, answer) = (asked.clone(), asked.clone(), answered.clone());
            sward::spawn(move || {
                let unparker = RemoteUnparker::current();
                let answers = answer.clone();
                let thread = std::thread::spawn(move || {
                    for round in 1..=EACH {
                        ask.store(round, SeqCst);
                        unparker.unpark();
                        while answers.load(SeqCst) != round {
                            std::thread::yield_now();
                        }
                    }
                });
                while answer.load(SeqCst) < EACH {
                    park(None);
                    let round = theirs.load(SeqCst);
                    answer.store(round, SeqCst);
                }
                thread
            })
        })
        .collect();
    for greenlet in threads {
        greenlet.join().unwrap().join().unwrap();
    }
    assert!(answered.iter().all(|answered| answered.load(SeqCst) == EACH));
}

#[test]
fn a_million_remote_spawns_from_four_threads_all_run_in_order() {
    let _one = ONE_AT_A_TIME.lock();
    let _watchdog = watchdog();
    const EACH: usize = 250_000;
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (handle, next) = (sward::handle(), Arc::new(AtomicUsize::new(0)));
            let ran = next.clone();
            let thread = std::thread::spawn(move || {
                for n in 0..EACH {
                    let theirs = ran.clone();
                    drop(handle.spawn(move || assert_eq!(theirs.fetch_add(1, SeqCst), n)));
                    // Not more in flight than there is memory for.
                    while n > ran.load(SeqCst) + 10_000 {
                        std::thread::yield_now();
                    }
                }
            });
            (thread, next)
        })
        .collect();
    for (thread, next) in threads {
        sward::offload(|| thread.join()).unwrap();
        while next.load(SeqCst) < EACH {
            sward::yield_now();
        }
        assert_eq!(next.load(SeqCst), EACH);
    }
}

#[test]
fn rows_of_a_hundred_thousand_greenlets_are_told() {
    let _one = ONE_AT_A_TIME.lock();
    let _watchdog = watchdog();
    const COUNT: usize = 100_000;
    let queue = Rc::new(WaitQueue::new());
    let greenlets: Vec<_> = (0..COUNT)
        .map(|n| {
            let queue = queue.clone();
            let named = sward::Builder::new().name(format!("greenlet {n}"));
            named.spawn(move || drop(queue.wait("heavy", (), None))).unwrap()
        })
        .collect();
    sward::yield_now();
    let begin = Instant::now();
    let hubs = hubs(FOREVER);
    println!("{COUNT} rows took {} ms", begin.elapsed().as_millis());
    let here = hubs.into_iter().find(HubInfo::is_current).unwrap();
    assert_eq!(here.greenlets.len(), COUNT + 1);
    let begin = Instant::now();
    assert_eq!(here.traces(FOREVER).filter(|trace| !trace.stack.is_empty()).count(), COUNT);
    println!("{COUNT} stacks took {} ms, between other switches", begin.elapsed().as_millis());
    queue.wake_all();
    sward::join_all(greenlets).into_iter().for_each(|end| end.unwrap());
}
