//! The hub's clock: nanoseconds since the hub was made, and a coarse tick that costs next to nothing.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::hub::hub;

/// The time, at most some milliseconds ago (4 on Linux), for less than [`Instant::now`] takes: for what happens often, as
/// the use of a connection that is closed when it was idle for long. Never runs backwards.
///
/// ```
/// use std::time::{Duration, Instant};
/// let start = sward::lowlevel::recent_time();
/// std::thread::sleep(Duration::from_millis(20));
/// assert!(start < sward::lowlevel::recent_time());
/// assert!(sward::lowlevel::recent_time() <= Instant::now());
/// ```
#[inline]
pub fn recent_time() -> Instant {
    hub().clock.recent()
}

/// Nanoseconds since the hub was made; `Instant`s in eight bytes.
pub(crate) struct Clock {
    /// The zero of this clock.
    base: Instant,
    /// The zero of this clock on `monotonic`. Read after `base`: so `now` is behind `at`, if anything, and a deadline
    /// that was given as an `Instant` is never early.
    zero: u64,
    /// A tick of the coarse clock, and what time it was when that was first seen.
    recent: Cell<(u64, Instant)>,
}

impl Clock {
    /// A clock that begins now.
    pub(crate) fn new() -> Clock {
        let base = Instant::now();
        Clock { base, zero: monotonic(), recent: Cell::new((0, base)) }
    }

    /// The time now. Reads the operating system's clock at each call, so that a sleep is never
    /// measured from a time that is already past.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        monotonic().saturating_sub(self.zero)
    }

    /// The time at `instant`; 0 if it was before the hub was made.
    #[inline]
    pub(crate) fn at(&self, instant: Instant) -> u64 {
        nanoseconds(instant.saturating_duration_since(self.base))
    }

    /// The time at the last tick of the coarse clock, or after it.
    #[inline]
    fn recent(&self) -> Instant {
        let tick = coarse_tick();
        let (last, time) = self.recent.get();
        if tick == last {
            return time;
        }
        let now = Instant::now();
        self.recent.set((tick, now));
        now
    }

    /// The time `limit` from now; `None` if that is further away than anybody waits (584 years).
    #[inline]
    pub(crate) fn after(&self, limit: Duration) -> Option<u64> {
        let nanoseconds = limit.as_secs().checked_mul(NANOSECONDS)?.checked_add(u64::from(limit.subsec_nanos()))?;
        self.now().checked_add(nanoseconds)
    }
}

/// Nanoseconds in a second.
const NANOSECONDS: u64 = 1_000_000_000;

/// A duration in nanoseconds; 584 years at most.
#[inline]
fn nanoseconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(NANOSECONDS).saturating_add(u64::from(duration.subsec_nanos()))
}

/// The clock of `Instant` in nanoseconds, without the detour of `Instant`'s arithmetic, which a `timeout` that does not
/// expire would feel.
#[cfg(target_os = "linux")]
#[inline]
pub(crate) fn monotonic() -> u64 {
    nanoseconds_of(rustix::time::clock_gettime(rustix::time::ClockId::Monotonic))
}

/// What a monotonic clock shows, in nanoseconds.
#[cfg(target_os = "linux")]
#[inline]
fn nanoseconds_of(time: rustix::time::Timespec) -> u64 {
    // Neither is ever negative, nor the whole too large for a machine that runs for less than 584 years.
    time.tv_sec as u64 * NANOSECONDS + time.tv_nsec as u64
}

/// `Instant` in nanoseconds since this was first called.
#[cfg(not(target_os = "linux"))]
pub(crate) fn monotonic() -> u64 {
    use std::sync::OnceLock;

    static START: OnceLock<Instant> = OnceLock::new();
    nanoseconds(START.get_or_init(Instant::now).elapsed())
}

/// A clock that steps every few milliseconds and is read in a few nanoseconds (`clock_gettime(2)`,
/// `CLOCK_MONOTONIC_COARSE`); only that it has stepped is of interest. Where the kernel ticks too
/// slowly for the promise of 5 ms (100 Hz), the ordinary clock, of which the milliseconds step. In nanoseconds.
#[cfg(target_os = "linux")]
#[inline]
pub(crate) fn coarse_tick() -> u64 {
    use rustix::time::{ClockId, clock_getres, clock_gettime};
    use std::sync::atomic::{AtomicU8, Ordering};

    /// Not looked yet, or whether it ticks fast enough. Not a `OnceLock`, for which a forked child would wait for ever if
    /// another thread was at it.
    static FAST_ENOUGH: AtomicU8 = AtomicU8::new(UNKNOWN);
    const UNKNOWN: u8 = 2;
    let mut fast_enough = FAST_ENOUGH.load(Ordering::Relaxed);
    if fast_enough == UNKNOWN {
        let tick = clock_getres(ClockId::MonotonicCoarse);
        fast_enough = u8::from(tick.tv_sec == 0 && tick.tv_nsec <= 4_100_000);
        FAST_ENOUGH.store(fast_enough, Ordering::Relaxed);
    }
    if fast_enough != 0 { nanoseconds_of(clock_gettime(ClockId::MonotonicCoarse)) } else { whole_milliseconds() }
}

/// Where there is no coarse clock.
#[cfg(not(target_os = "linux"))]
pub(crate) fn coarse_tick() -> u64 {
    whole_milliseconds()
}

/// The ordinary clock in nanoseconds, whole milliseconds of it.
#[cold]
fn whole_milliseconds() -> u64 {
    monotonic() / NANOSECONDS_IN_A_MILLISECOND * NANOSECONDS_IN_A_MILLISECOND
}

/// Nanoseconds in a millisecond.
const NANOSECONDS_IN_A_MILLISECOND: u64 = 1_000_000;

/// A tick in milliseconds, which wrap around after 49 days.
#[inline]
pub(crate) fn milliseconds(tick: u64) -> u32 {
    (tick / NANOSECONDS_IN_A_MILLISECOND) as u32
}
