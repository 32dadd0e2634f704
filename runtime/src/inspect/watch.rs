//! The watchdog: a thread that sees when a greenlet keeps a hub's thread to itself.
//!
//! ```text
//!   hub's thread                                    the watchdog, every quarter of the limit
//!   ────────────                                    ────────────────────────────────────────
//!   starts: pulse.since = now                       for each pulse: since when?
//!   …the greenlet runs…                                longer than the limit ──▶ sample: a signal, whose
//!   starts: the next; or                               handler looks at the calls; one report on stderr
//!   stops:  pulse.since = 0, the hub idles
//! ```
//!
//! As long as nobody watches, a switch pays one load and one branch for it.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::Duration;

#[cfg(target_os = "linux")]
use super::sample;
use crate::calls::{Names, Stack};
use crate::clock::{milliseconds, monotonic};
use crate::fork::generation;
use crate::hub::hub;
use crate::report;
use crate::scheduler::Hub;
use crate::slot::Slot;

/// Whether switches are told to the watchdog: it was started in this process.
static WATCHING: AtomicBool = AtomicBool::new(false);
/// What a greenlet may take, in nanoseconds.
static LIMIT: AtomicU64 = AtomicU64::new(u64::MAX);
/// Reports that were not written because too many were waiting.
static LEFT_OUT: AtomicU64 = AtomicU64::new(0);
/// The first of all pulses.
static FIRST: OnceLock<&'static Pulse> = OnceLock::new();

/// Reports, from now on, each greenlet of any hub in this process that has not switched for `limit`, with its calls: one
/// that computes, or that blocks its thread with a call that is not green. So the root, if other greenlets are there.
/// Once for each time that it does.
///
/// A report is written to stderr; if they come faster than that, some are left out. Called again, it changes the limit
/// within 100 ms; one too large for a clock means none. A hub that is there already is watched from its next switch on, and
/// a forked child is not. Switches that are watched cost a look at the clock more.
///
/// On Linux the calls are looked at by a handler of `SIGURG`, which the kernel ignores otherwise and which calls
/// the handler before it; a call of the system that is under way goes on, or fails with `EINTR` where `signal(7)`
/// says so. Elsewhere, and of a thread that blocks that signal, a report is without calls.
///
/// # Panics
///
/// If no threads can be made for the watchdog: one that looks, one that writes.
///
/// ```
/// use std::time::Duration;
/// sward::inspect::watch(Duration::from_millis(10));
/// let rude = sward::spawn(|| std::thread::sleep(Duration::from_millis(40))); // is reported on stderr
/// rude.join().unwrap();
/// ```
pub fn watch(limit: Duration) {
    static STARTED: AtomicU64 = AtomicU64::new(0);
    let limit = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
    LIMIT.store(limit, Ordering::Relaxed);
    // The thread of the process that this was forked from is not here.
    let started = generation() + 1;
    if STARTED.swap(started, Ordering::Relaxed) != started {
        #[cfg(target_os = "linux")]
        sample::install();
        if let Err(error) = start() {
            // The next call tries again.
            STARTED.store(0, Ordering::Relaxed);
            panic!("failed to make a thread for inspect::watch: {error}");
        }
    }
    WATCHING.store(true, Ordering::Relaxed);
    let hub = hub();
    starts(hub, hub.current());
}

/// Whether switches are to be told, by [`starts`].
#[inline(always)]
pub(crate) fn is_watching() -> bool {
    WATCHING.load(Ordering::Relaxed)
}

/// In a forked child: nobody watches.
pub(crate) fn abandon() {
    WATCHING.store(false, Ordering::Relaxed);
}

/// `slot` has its hub's thread from now on; who had it has not.
#[cold]
pub(crate) fn starts(hub: &'static Hub, slot: &'static Slot) {
    let pulse = hub.accounts.pulse.get_or_init(|| Pulse::of(hub.serial));
    let now = monotonic();
    charge(hub, pulse, now);
    hub.accounts.watched.set(Some(slot));
    pulse.greenlet.store(slot.id.get(), Ordering::Relaxed);
    pulse.since.store(now, Ordering::Release);
}

/// Nobody has the hub's thread: it idles.
#[inline]
pub(crate) fn stops(hub: &'static Hub) {
    if let Some(pulse) = hub.accounts.pulse.get() {
        charge(hub, pulse, monotonic());
        pulse.since.store(0, Ordering::Relaxed);
    }
}

/// Counts the time for who had the thread until `now`, if it has not finished.
fn charge(hub: &'static Hub, pulse: &Pulse, now: u64) {
    let is_there = |slot: &&Slot| slot.id.get() == pulse.greenlet.load(Ordering::Relaxed);
    if let Some(slot) = hub.accounts.watched.take().filter(is_there) {
        slot.ran.set(slot.ran.get() + now.saturating_sub(pulse.since.load(Ordering::Relaxed)));
        // If it has parked it did so now. What it wrote down itself is when the hub's clock was read last.
        slot.parked_at.set(milliseconds(now));
    }
}

/// The hub ends: nobody looks at it any more.
pub(super) fn ends(hub: &'static Hub) {
    if let Some(pulse) = hub.accounts.pulse.get() {
        pulse.since.store(0, Ordering::Relaxed);
        pulse.hub.store(0, Ordering::Release);
    }
}

/// What the watchdog sees of a hub. Never freed, but used again for another hub.
#[derive(Debug)]
pub(crate) struct Pulse {
    /// The hub's number; 0 if there is none.
    hub: AtomicU64,
    /// In which process: see `fork::generation`.
    generation: u64,
    /// The hub's thread, for the kernel.
    #[cfg(target_os = "linux")]
    thread: AtomicU64,
    /// Since when the running greenlet runs, on the monotonic clock in nanoseconds; 0: none does.
    since: AtomicU64,
    /// Which one that is.
    greenlet: AtomicU64,
    /// The watchdog's: since when the one ran that it has looked at already.
    looked_at: AtomicU64,
    /// The watchdog's: when it looks at that one again, if it did not report it.
    again: AtomicU64,
    /// The next pulse.
    next: OnceLock<&'static Pulse>,
}

impl Pulse {
    /// A pulse for this thread's hub.
    fn of(hub: u64) -> &'static Pulse {
        let used_again = Pulse::all().find(|pulse| {
            pulse.generation == generation()
                && pulse.hub.compare_exchange(0, hub, Ordering::Acquire, Ordering::Relaxed).is_ok()
        });
        let pulse = used_again.unwrap_or_else(|| Pulse::append(hub));
        #[cfg(target_os = "linux")]
        pulse.thread.store(sample::this_thread(), Ordering::Release);
        pulse
    }

    /// A new pulse, at the end of all.
    fn append(hub: u64) -> &'static Pulse {
        let pulse: &'static Pulse = Box::leak(Box::new(Pulse {
            hub: AtomicU64::new(hub),
            generation: generation(),
            #[cfg(target_os = "linux")]
            thread: AtomicU64::new(0),
            since: AtomicU64::new(0),
            greenlet: AtomicU64::new(0),
            looked_at: AtomicU64::new(0),
            again: AtomicU64::new(0),
            next: OnceLock::new(),
        }));
        let mut place = &FIRST;
        while place.set(pulse).is_err() {
            place = &place.get().expect("it was not to be set because it is").next;
        }
        pulse
    }

    /// All pulses.
    fn all() -> impl Iterator<Item = &'static Pulse> {
        std::iter::successors(FIRST.get().copied(), |pulse| pulse.next.get().copied())
    }

    /// Reports the greenlet that runs if it has run for `limit`, once.
    fn look(&self, limit: u64, reports: &SyncSender<Report>) {
        let (since, now) = (self.since.load(Ordering::Acquire), monotonic());
        let ran = now.saturating_sub(since);
        let is_seen = self.looked_at.load(Ordering::Relaxed) == since && now < self.again.load(Ordering::Relaxed);
        if since == 0 || ran < limit || is_seen || self.generation != generation() {
            return;
        }
        self.looked_at.store(since, Ordering::Relaxed);
        let was_reported = self.report(since, reports);
        // The root alone, as it computes, is nobody's concern yet: but not to be sent a signal all the time either.
        self.again.store(if was_reported { u64::MAX } else { now.saturating_add(ran) }, Ordering::Relaxed);
    }

    /// Reports the greenlet that has run since `since`; false if that is the root without any greenlets.
    #[cfg(target_os = "linux")]
    fn report(&self, since: u64, reports: &SyncSender<Report>) -> bool {
        let sample = sample::take(self.thread.load(Ordering::Acquire));
        if self.since.load(Ordering::Relaxed) != since {
            return true;
        }
        let hub = self.hub.load(Ordering::Relaxed);
        let sample = sample.filter(|sample| sample.hub == hub);
        let id = self.greenlet.load(Ordering::Relaxed);
        let ran = Duration::from_nanos(monotonic().saturating_sub(since));
        let (who, calls) = match sample {
            Some(sample) if id == 0 && sample.others == 0 => return false,
            Some(sample) if sample.id == Some(id) => (sample.description(), Stack::running(sample.calls)),
            // It has parked just now, or what the hub does since then takes its time.
            Some(_) => (format!("{}, or its hub after it,", name_of(id)), Stack::default()),
            None => (name_of(id), Stack::default()),
        };
        Report { who, ran, calls }.send(reports);
        true
    }

    /// Reports the greenlet that has run since `since`; false if that is the root, perhaps without any greenlets.
    #[cfg(not(target_os = "linux"))]
    fn report(&self, since: u64, reports: &SyncSender<Report>) -> bool {
        let id = self.greenlet.load(Ordering::Relaxed);
        if id != 0 {
            let ran = Duration::from_nanos(monotonic().saturating_sub(since));
            Report { who: name_of(id), ran, calls: Stack::default() }.send(reports);
        }
        id != 0
    }
}

/// What is to be reported.
struct Report {
    /// Who has not switched.
    who: String,
    /// For how long, so far.
    ran: Duration,
    /// The calls that it is in; none if they are not known.
    calls: Stack,
}

impl Report {
    /// Hands it to who writes.
    fn send(self, reports: &SyncSender<Report>) {
        // That one lives as long as the process.
        if reports.try_send(self).is_err() {
            LEFT_OUT.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes it: what matters at once, the calls when their names have been looked up.
    fn write(&self) {
        let Report { who, ran, calls } = self;
        let more = if calls.is_empty() { "" } else { "; its calls, the innermost first:" };
        report::line(format_args!(
            "{who} has not switched for {} ms, and keeps its thread from all others{more}",
            ran.as_millis()
        ));
        let mut text = String::new();
        // Writing to a string cannot fail, and if nobody reads stderr there is nobody to tell.
        let _ = calls.write(&mut text, &mut Names::default(), "");
        let _ = io::stderr().write_all(text.as_bytes());
        let left_out = LEFT_OUT.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            report::line(format_args!(
                "{left_out} more such reports were left out: they came faster than they are written"
            ));
        }
    }
}

/// Starts the watchdog: a thread that looks, and one that writes, because to look up the names in a first report may take
/// seconds.
fn start() -> io::Result<()> {
    /// Reports that may wait to be written.
    const QUEUED: usize = 64;
    let (sender, reports) = mpsc::sync_channel::<Report>(QUEUED);
    let new = |name: &str| thread::Builder::new().name(name.to_owned());
    new("sward-reports").spawn(move || reports.into_iter().for_each(|report| report.write()))?;
    new("sward-watch").spawn(move || look(&sender))?;
    Ok(())
}

/// Looks at all pulses, time and again.
fn look(reports: &SyncSender<Report>) {
    /// Shortest and longest time between two looks; after the latter at most a new limit is seen.
    const PERIODS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));
    loop {
        let limit = LIMIT.load(Ordering::Relaxed);
        thread::sleep(Duration::from_nanos(limit / 4).clamp(PERIODS.0, PERIODS.1));
        Pulse::all().for_each(|pulse| pulse.look(LIMIT.load(Ordering::Relaxed), reports));
    }
}

/// What to call a greenlet of which only the id is known.
fn name_of(id: u64) -> String {
    if id == 0 { "the root".to_owned() } else { format!("greenlet {id}") }
}
