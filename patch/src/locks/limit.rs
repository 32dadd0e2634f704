//! Until when a wait for a lock may last.

use std::time::{Duration, Instant};

use libc::{CLOCK_MONOTONIC, CLOCK_REALTIME, clockid_t, timespec};

use crate::green::wait::duration;

/// The longest wait by the wall clock, which may be set meanwhile, before it is read again.
const LONGEST: Duration = Duration::from_secs(1);

/// Until when a wait may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// For ever.
    Never,
    /// Until a clock says so.
    At(clockid_t, Duration),
}

impl Limit {
    /// A time on a clock; null: never. `None` if that is nothing one could wait for.
    ///
    /// # Safety
    ///
    /// Null, or readable.
    pub(super) unsafe fn at(clock: clockid_t, time: *const timespec) -> Option<Limit> {
        // SAFETY: the caller vouches for it.
        let Some(time) = (unsafe { time.as_ref() }) else { return Some(Limit::Never) };
        if !matches!(clock, CLOCK_MONOTONIC | CLOCK_REALTIME) {
            return None;
        }
        // Before the beginning of time: passed.
        if time.tv_sec < 0 && (0..1_000_000_000).contains(&time.tv_nsec) {
            return Some(Limit::At(clock, Duration::ZERO));
        }
        Some(Limit::At(clock, duration(*time)?))
    }

    /// So long from now; null: never. `None` if that is no time.
    ///
    /// # Safety
    ///
    /// Null, or readable.
    pub(super) unsafe fn after(time: *const timespec) -> Option<Limit> {
        // SAFETY: the caller vouches for it.
        let Some(time) = (unsafe { time.as_ref() }) else { return Some(Limit::Never) };
        let until = now(CLOCK_MONOTONIC).checked_add(duration(*time)?);
        Some(until.map_or(Limit::Never, |until| Limit::At(CLOCK_MONOTONIC, until)))
    }

    /// When to stop waiting and look, at the latest: at the limit, and each tick if there is one. `Err` if
    /// the limit has passed.
    pub(super) fn next(self, tick: Option<Duration>) -> Result<Option<Instant>, Passed> {
        let mut step = tick;
        if let Limit::At(clock, _) = self {
            let mut left = self.left();
            if left.is_zero() {
                return Err(Passed);
            }
            if clock == CLOCK_REALTIME {
                left = left.min(LONGEST);
            }
            step = Some(step.map_or(left, |step| step.min(left)));
        }
        Ok(step.and_then(|step| Instant::now().checked_add(step)))
    }

    /// How much is left.
    pub(super) fn left(self) -> Duration {
        match self {
            Limit::Never => Duration::MAX,
            Limit::At(clock, until) => until.saturating_sub(now(clock)),
        }
    }

    /// Whether it has passed.
    pub(super) fn passed(self) -> bool {
        self.left().is_zero()
    }
}

/// A limit has passed.
#[derive(Debug)]
pub(super) struct Passed;

/// What the clock says.
fn now(clock: clockid_t) -> Duration {
    let mut time = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    duration(time).unwrap_or_default()
}
