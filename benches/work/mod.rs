//! The work that is measured, once for criterion (`operations`) and once for the table (`table`): each function
//! does its operation so many times and tells how long all of them took together.

use std::hint::black_box;
use std::time::{Duration, Instant};

use corosensei::{Coroutine, CoroutineResult};
use sward::{join_all, scope, spawn, timeout, yield_now};

/// One operation.
pub(crate) struct Work {
    /// What the table calls it; its first word is what `cargo bench -- WORD` selects by.
    pub(crate) name: &'static str,
    /// Does it so many times.
    pub(crate) run: fn(u64) -> Duration,
}

/// The baseline (R), by which the others are divided.
pub(crate) const BARE: Work = Work { name: "bare resume + suspend (R)", run: bare };

/// All operations but the baseline.
pub(crate) const WORK: &[Work] = &[
    Work { name: "yield, 2 greenlets", run: |count| yields(2, count) },
    Work { name: "yield, 1000 greenlets", run: |count| yields(1000, count) },
    Work { name: "spawn+join, one at a time", run: spawn_join },
    Work { name: "spawn 1000, join 1000", run: spawn_join_1000 },
    Work { name: "timeout(1 s, f), f empty", run: empty_timeout },
];

/// corosensei alone: into a suspended closure and back.
fn bare(count: u64) -> Duration {
    let mut there = Coroutine::<(), (), ()>::new(move |yielder, ()| {
        for _ in 0..=count {
            yielder.suspend(());
        }
    });
    there.resume(()); // the first touch of its stack
    let start = Instant::now();
    for _ in 0..count {
        black_box(there.resume(()));
    }
    let elapsed = start.elapsed();
    assert!(matches!(there.resume(()), CoroutineResult::Return(())));
    elapsed
}

/// `count` yields, shared by so many greenlets; the root only waits.
fn yields(greenlets: u64, count: u64) -> Duration {
    let each = count.div_ceil(greenlets);
    let body = move || {
        for _ in 0..each {
            yield_now();
        }
    };
    let start = Instant::now();
    scope(|s| {
        for _ in 0..greenlets {
            s.spawn(body);
        }
    });
    start.elapsed()
}

/// A greenlet at a time.
fn spawn_join(count: u64) -> Duration {
    let start = Instant::now();
    for n in 0..count {
        assert_eq!(spawn(move || black_box(n)).join().unwrap(), n);
    }
    start.elapsed()
}

/// A thousand at a time.
fn spawn_join_1000(count: u64) -> Duration {
    let start = Instant::now();
    for _ in 0..count.div_ceil(1000) {
        let results = join_all((0..1000).map(|n| spawn(move || black_box(n))));
        assert_eq!(results.len(), 1000);
    }
    start.elapsed()
}

/// Set and cancelled, never fires: what a socket's read timeout is nearly always.
fn empty_timeout(count: u64) -> Duration {
    spawn(move || {
        let start = Instant::now();
        for n in 0..count {
            assert_eq!(timeout(Duration::from_secs(1), || black_box(n)), Ok(n));
        }
        start.elapsed()
    })
    .join()
    .unwrap()
}
