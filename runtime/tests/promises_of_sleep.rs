//! Sleeping, yielding, timers, and the bound on what a busy ready queue may delay.

mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use support::{Flag, Log, SHORT, watchdog};

#[test]
fn a_sleep_is_never_early() {
    let _watchdog = watchdog();
    for micros in [1, 50, 99, 100, 999, 1000, 1001, 4999] {
        let limit = Duration::from_micros(micros);
        let begin = Instant::now();
        sward::sleep(limit);
        assert!(begin.elapsed() >= limit, "{micros} µs");
        let deadline = Instant::now() + limit;
        sward::sleep_until(deadline);
        assert!(Instant::now() >= deadline);
    }
}

#[test]
fn a_sleep_is_measured_from_now_not_from_when_the_hub_last_looked() {
    let _watchdog = watchdog();
    sward::sleep(Duration::from_micros(1));
    std::thread::sleep(SHORT * 2);
    let begin = Instant::now();
    sward::sleep(SHORT);
    assert!(begin.elapsed() >= SHORT);
}

#[test]
fn sleepers_wake_in_the_order_of_their_deadlines_and_equal_ones_in_that_of_their_calls() {
    let _watchdog = watchdog();
    let (log, base) = (Log::new(), Instant::now() + support::patient());
    let greenlets: Vec<_> = [3, 1, 2, 1, 0]
        .into_iter()
        .enumerate()
        .map(|(n, step)| {
            let log = log.clone();
            sward::spawn(move || {
                sward::sleep_until(base + SHORT * step);
                log.add(format_args!("{step}{n}"));
            })
        })
        .collect();
    sward::join_all(greenlets);
    assert_eq!(log.take(), "04 11 13 22 30");
}

#[test]
fn nothing_and_the_past_are_a_yield() {
    let _watchdog = watchdog();
    let yields: [fn(); 3] = [|| sward::sleep(Duration::ZERO), || sward::sleep_until(Instant::now()), sward::yield_now];
    for yields in yields {
        let ran = Flag::new();
        let theirs = ran.clone();
        drop(sward::spawn(move || theirs.raise()));
        yields();
        assert!(ran.is_raised());
    }
}

#[test]
fn a_sleep_too_long_for_an_instant_lasts_until_it_is_killed() {
    let _watchdog = watchdog();
    let greenlet = sward::spawn(|| sward::sleep(Duration::MAX));
    assert!(!greenlet.wait_timeout(SHORT));
    greenlet.kill();
    assert!(greenlet.join().unwrap_err().is_killed());
}

#[test]
fn the_root_sleeps_while_others_run() {
    let _watchdog = watchdog();
    let count = Rc::new(Cell::new(0_u64));
    let theirs = count.clone();
    let busy = sward::spawn(move || {
        loop {
            theirs.set(theirs.get() + 1);
            sward::yield_now();
        }
    });
    while count.get() < 100 {
        sward::sleep(SHORT);
    }
    busy.kill();
    busy.wait();
}

/// Spawns greenlets that never stop being ready; each does `work` between two switches.
fn busy(count: usize, work: impl Fn() + Clone + 'static) -> Vec<sward::Greenlet<()>> {
    let spawn = |_| {
        let work = work.clone();
        sward::spawn(move || {
            loop {
                work();
                sward::yield_now();
            }
        })
    };
    (0..count).map(spawn).collect()
}

/// This thread's processor time: other programs do not make it longer.
fn processor_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// How much processor time passes at most between a deadline and the sleeper's run, while others are always ready and
/// compute for `slice` each.
fn worst_delay(others: usize, slice: Duration) -> Duration {
    let (deadline, overdue) = (Rc::new(Cell::new(None)), Rc::new(Cell::new(None)));
    let (due, since) = (deadline.clone(), overdue.clone());
    let crowd = busy(others, move || {
        let begin = processor_time();
        if since.get().is_none() && due.get().is_some_and(|due: Instant| Instant::now() >= due) {
            since.set(Some(begin));
        }
        while processor_time() - begin < slice {
            std::hint::spin_loop();
        }
    });
    let sleeper = sward::spawn(move || {
        let mut worst = Duration::ZERO;
        for n in 0..20 {
            let end = Instant::now() + SHORT * (1 + n % 3);
            deadline.set(Some(end));
            sward::sleep_until(end);
            // None: it ran before anybody else did.
            let late = overdue.take().map_or(Duration::ZERO, |since| processor_time() - since);
            worst = worst.max(late);
        }
        worst
    });
    let worst = sleeper.join().unwrap();
    crowd.iter().for_each(sward::Greenlet::kill);
    sward::join_all(crowd);
    worst
}

#[test]
fn a_busy_ready_queue_delays_timers_by_at_most_5_ms() {
    let _watchdog = watchdog();
    if std::env::var_os("SWARD_SLOW").is_some() {
        return; // a checker makes every switch slow
    }
    for (others, slice) in [(4, 0), (4, 100), (4, 1000), (1, 10_000)] {
        let slice = Duration::from_micros(slice);
        let worst = worst_delay(others, slice);
        // The one that runs when the time comes, and those who are ready before the sleeper, finish their turns.
        let bound = Duration::from_millis(5) + slice * (others as u32 + 1);
        assert!(worst <= bound, "{worst:?} among {others} with slices of {slice:?}");
    }
}

#[test]
fn ten_thousand_sleepers_of_one_time_wake_together() {
    let _watchdog = watchdog();
    let woken = Rc::new(RefCell::new(0));
    let begin = Instant::now();
    let greenlets: Vec<_> = (0..10_000)
        .map(|_| {
            let woken = woken.clone();
            sward::spawn(move || {
                sward::sleep(SHORT * 10);
                *woken.borrow_mut() += 1;
            })
        })
        .collect();
    sward::join_all(greenlets);
    assert!(begin.elapsed() >= SHORT * 10);
    assert_eq!(*woken.borrow(), 10_000);
}
