//! Waking the poller at a deadline with better than its own precision: mio rounds a timeout up to
//! whole milliseconds, a sleep of 100 µs must not take one.

use std::time::Duration;

/// Deadlines closer than this are kept together: one wake-up serves them all. The kernel's own
/// timer slack for an ordinary thread (`prctl(2)`, `PR_SET_TIMERSLACK`) is the same 50 µs.
const SLACK: Duration = Duration::from_micros(50);

#[cfg(not(target_os = "linux"))]
pub(crate) use portable::Alarm;
#[cfg(target_os = "linux")]
pub(crate) use timerfd::Alarm;

/// `timerfd_create(2)`: a timer as a file descriptor, in nanoseconds.
#[cfg(target_os = "linux")]
mod timerfd {
    use std::io;
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::time::{Duration, Instant};

    use mio::unix::SourceFd;
    use mio::{Interest, Registry, Token};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
    };

    use super::SLACK;

    /// Two times that are closer than this were computed from the same deadline.
    const SAME: Duration = Duration::from_micros(2);

    /// A timer that the poller watches.
    pub(crate) struct Alarm {
        /// The timer. Edge-triggered, so it is set anew without ever being read.
        fd: OwnedFd,
        /// When it will ring on its own account; none if it has, or was switched off.
        armed: Option<Instant>,
    }

    impl Alarm {
        /// An alarm that is not set.
        pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Alarm> {
            let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
            registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
            Ok(Alarm { fd, armed: None })
        }

        /// Sets the alarm for `limit` from now and returns the timeout to give to the poller.
        pub(crate) fn arm(&mut self, limit: Option<Duration>) -> Option<Duration> {
            let limit = match limit {
                Some(limit) if !limit.is_zero() => limit.max(SLACK),
                Some(_) => return limit,
                None => {
                    // A ring for a deadline that was cancelled would wake an idle hub once.
                    if self.armed.take().is_some() {
                        self.set(Duration::ZERO);
                    }
                    return None;
                }
            };
            let Some(at) = Instant::now().checked_add(limit) else { return Some(limit) };
            // A server's next limit is far away and the same at most turns: that needs no system call.
            if self.armed.is_some_and(|armed| armed <= at + SAME && armed + SAME >= at) {
                return None;
            }
            self.armed = self.set(limit).then_some(at);
            // Without a timer (the kernel refused) the poller's own timeout must do.
            if self.armed.is_some() { None } else { Some(limit) }
        }

        /// It rang.
        pub(crate) fn rang(&mut self) {
            self.armed = None;
        }

        /// Sets the timer; zero switches it off.
        fn set(&self, limit: Duration) -> bool {
            let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
            // 68 years are enough for a wait that begins anew when it ends.
            let seconds = limit.as_secs().min(i32::MAX as u64) as i64;
            let value = Timespec { tv_sec: seconds, tv_nsec: limit.subsec_nanos().into() };
            let new = Itimerspec { it_interval: zero, it_value: value };
            timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &new).is_ok()
        }
    }
}

/// The poller's own timeout.
#[cfg(not(target_os = "linux"))]
mod portable {
    use std::io;
    use std::time::Duration;

    use mio::{Registry, Token};

    use super::SLACK;

    /// Nothing of its own.
    pub(crate) struct Alarm;

    impl Alarm {
        /// An alarm.
        pub(crate) fn new(_: &Registry, _: Token) -> io::Result<Alarm> {
            Ok(Alarm)
        }

        /// The timeout to give to the poller.
        pub(crate) fn arm(&mut self, limit: Option<Duration>) -> Option<Duration> {
            limit.map(|limit| if limit.is_zero() { limit } else { limit.max(SLACK) })
        }

        /// It rang.
        pub(crate) fn rang(&mut self) {}
    }
}
