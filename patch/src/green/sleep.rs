//! Sleeping and yielding. A sleep that is interrupted returns 0, as if it had ended.

use std::time::{Duration, Instant};

use libc::{
    CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_TAI, EINTR, TIMER_ABSTIME, c_int, c_uint, clockid_t,
    timespec, useconds_t,
};
use sward_runtime::lowlevel::hooks::Ended;

use super::wait::duration;
use crate::gate::Inside;
use crate::table::real;

/// The longest sleep by another clock than the monotonic one, which may be set meanwhile, before it is read again.
const LONGEST: Duration = Duration::from_secs(1);

/// As `nanosleep(2)`.
pub(crate) unsafe fn nanosleep(inside: &Inside, time: *const timespec, left: *mut timespec) -> c_int {
    // SAFETY: null, which is an error, or the caller's.
    let Some(time_left) = unsafe { time.as_ref() }.and_then(|time| duration(*time)) else {
        // SAFETY: refused by the kernel.
        return unsafe { real::nanosleep(time, left) };
    };
    pause(inside, time_left);
    0
}

/// As `clock_nanosleep(2)`.
pub(crate) unsafe fn clock_nanosleep(
    inside: &Inside,
    clock: clockid_t,
    flags: c_int,
    time: *const timespec,
    left: *mut timespec,
) -> c_int {
    // SAFETY: null, which is an error, or the caller's.
    let wanted = unsafe { time.as_ref() }.and_then(|time| duration(*time));
    let is_ours = matches!(clock, CLOCK_MONOTONIC | CLOCK_REALTIME | CLOCK_BOOTTIME | CLOCK_TAI);
    let Some(wanted) = wanted.filter(|_| is_ours) else {
        // An error, or a clock that counts processor time or wakes the machine.
        // SAFETY: the caller's arguments.
        return unsafe { real::clock_nanosleep(clock, flags, time, left) };
    };
    if flags & TIMER_ABSTIME == 0 {
        pause(inside, wanted);
        return 0;
    }
    loop {
        let left = wanted.saturating_sub(now(clock));
        if left.is_zero() {
            return 0;
        }
        let step = if clock == CLOCK_MONOTONIC { left } else { left.min(LONGEST) };
        if inside.sleep(Instant::now().checked_add(step)) == Ended::Interrupted {
            return 0;
        }
    }
}

/// As `usleep(3)`.
pub(crate) unsafe fn usleep(inside: &Inside, micros: useconds_t) -> c_int {
    pause(inside, Duration::from_micros(micros.into()));
    0
}

/// As `sleep(3)`.
pub(crate) unsafe fn sleep(inside: &Inside, seconds: c_uint) -> c_uint {
    pause(inside, Duration::from_secs(seconds.into()));
    0
}

/// As `sched_yield(2)`.
pub(crate) unsafe fn sched_yield(inside: &Inside) -> c_int {
    inside.yield_now();
    0
}

/// As `thrd_sleep(3)`, which tells signals from other failures.
pub(crate) unsafe fn thrd_sleep(inside: &Inside, time: *const timespec, left: *mut timespec) -> c_int {
    // SAFETY: the caller's times.
    match unsafe { clock_nanosleep(inside, CLOCK_REALTIME, 0, time, left) } {
        0 => 0,
        EINTR => -1,
        _ => -2,
    }
}

/// As `thrd_yield(3)`.
pub(crate) unsafe fn thrd_yield(inside: &Inside) {
    inside.yield_now();
}

/// Parks for `time`; none at all lets the others run, as `sward::sleep` does.
fn pause(inside: &Inside, time: Duration) {
    if time.is_zero() {
        return inside.yield_now();
    }
    inside.sleep(Instant::now().checked_add(time));
}

/// What the clock says.
fn now(clock: clockid_t) -> Duration {
    let mut time = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    duration(time).unwrap_or_default()
}
