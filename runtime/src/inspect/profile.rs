//! Where the time goes: what the threads of all hubs are at, looked at again and again.

use std::collections::{HashMap, HashSet};
use std::io;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::hubs::{HubInfo, remotes};
#[cfg(target_os = "linux")]
use super::sample;
use crate::calls::Stack;
use crate::fork::generation;
use crate::join::GreenletId;
use crate::offload::offload_to;
use crate::remote::Remote;
use crate::threads::ThreadPool;

/// The shortest time between two looks.
const SHORTEST: Duration = Duration::from_millis(1);
/// After so long it is seen whether somebody still waits for a profile.
const LONGEST: Duration = Duration::from_millis(100);

/// Looks at the hubs; it does not look up names, which takes its time.
static THREADS: ThreadPool = ThreadPool::new("sward-profile", 2);

/// What a hub's thread was at when it was looked at; from [`profile`] and [`HubInfo::sample`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Sample {
    /// The number of the hub.
    pub hub: u64,
    /// The greenlet that ran, which may be the root; `None` if the hub was at work between two of them.
    pub greenlet: Option<GreenletId>,
    /// Its name, or the first 64 bytes of it; `None` for the root too.
    pub name: Option<String>,
    /// Where it was spawned; `None` for the root.
    pub spawned_at: Option<&'static Location<'static>>,
    /// The calls that it was in; none if no greenlet ran.
    pub stack: Stack,
    /// How often a greenlet that was spawned there was found in these calls: the others are of the first time.
    pub count: u64,
}

/// Looks at the threads of all hubs of this process, once in each `period` for a time of `length`, and counts what they
/// are at if they are on a processor, or wait for one. Blocks the greenlet. Of calls that block a thread the watchdog
/// tells ([`watch`](super::watch)).
///
/// The threads are looked at as [`watch`](super::watch) does: by `SIGURG`, here also where nobody keeps others waiting.
/// If the greenlet is killed, the looking ends too.
///
/// # Errors
///
/// `ErrorKind::ResourceBusy` if it is done for somebody else just now, `ErrorKind::Unsupported` where there is no Linux.
///
/// # Panics
///
/// If no thread can be made for it.
///
/// ```
/// use std::time::Duration;
/// let samples = sward::inspect::profile(Duration::from_millis(50), Duration::from_millis(10))?;
/// println!("found a thread at work {} times", samples.iter().map(|sample| sample.count).sum::<u64>());
/// # std::io::Result::Ok(())
/// ```
pub fn profile(length: Duration, period: Duration) -> io::Result<Vec<Sample>> {
    if cfg!(not(target_os = "linux")) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let turn = Turn::begin()?;
    prepare();
    let wanted = Arc::new(());
    let theirs = Arc::downgrade(&wanted);
    Ok(offload_to(&THREADS, "inspect::profile", move || {
        let _turn = turn;
        collect(length, period, &theirs)
    }))
}

impl HubInfo {
    /// Who has its thread just now, also if it does not answer; by `SIGURG`, as [`watch`](super::watch) does. `None` if
    /// the thread does not say within a second, as one that blocks this signal, and where there is no Linux. Blocks the
    /// greenlet.
    ///
    /// # Panics
    ///
    /// If no thread can be made for it.
    ///
    /// ```
    /// use std::time::Duration;
    /// for hub in sward::inspect::hubs(Duration::from_secs(1)) {
    ///     if let (None, Some(sample)) = (hub.stats, hub.sample()) {
    ///         println!("hub {} is kept by {:?} {:?}", hub.id, sample.greenlet, sample.name);
    ///     }
    /// }
    /// ```
    pub fn sample(&self) -> Option<Sample> {
        prepare();
        let remote = self.remote.clone();
        offload_to(&THREADS, "inspect::sample", move || look(&remote).filter(|sample| sample.hub == remote.hub()))
    }
}

/// The right to be the one who profiles.
struct Turn;

/// Who profiles: the process's generation, plus one; 0 for nobody. A fork's child has not inherited its parent's thread.
static PROFILES: AtomicU64 = AtomicU64::new(0);

impl Turn {
    /// Takes it, if it is free.
    fn begin() -> io::Result<Turn> {
        let ours = generation() + 1;
        if PROFILES.swap(ours, Ordering::Acquire) == ours {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "a profile is being made already"));
        }
        Ok(Turn)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        PROFILES.store(0, Ordering::Release);
    }
}

/// Does the looking, as long as somebody wants it.
fn collect(length: Duration, period: Duration, wanted: &Weak<()>) -> Vec<Sample> {
    let (begin, mut next, mut silent) = (Instant::now(), Duration::ZERO, HashSet::new());
    let mut found = HashMap::<_, Sample>::new();
    loop {
        for remote in remotes() {
            if silent.contains(&remote.hub()) || !is_on_processor(&remote) {
                continue;
            }
            match look(&remote) {
                // Another thread has its number by now.
                Some(sample) if sample.hub != remote.hub() => {}
                Some(sample) => {
                    let key = (sample.hub, sample.greenlet.is_some(), sample.spawned_at, sample.stack.clone());
                    found.entry(key).and_modify(|known| known.count += 1).or_insert(sample);
                }
                // It would take a second each time.
                None => _ = silent.insert(remote.hub()),
            }
        }
        // If that took too long it is not made up for.
        next = next.saturating_add(period).max(begin.elapsed() + SHORTEST).min(length);
        // However long it is, it ends at once if nobody waits for it any more.
        while begin.elapsed() < next && wanted.strong_count() > 0 {
            thread::sleep(next.saturating_sub(begin.elapsed()).min(LONGEST));
        }
        if begin.elapsed() >= length || wanted.strong_count() == 0 {
            return found.into_values().collect();
        }
    }
}

/// Has the threads answer from now on.
fn prepare() {
    #[cfg(target_os = "linux")]
    sample::install();
}

/// What a hub's thread is at.
#[cfg(target_os = "linux")]
fn look(remote: &Remote) -> Option<Sample> {
    let sample::Sample { hub, calls, id, name, spawned_at, .. } = sample::take(remote.thread())?;
    let name = Some(name).filter(|name| !name.is_empty());
    Some(Sample { hub, greenlet: id.map(GreenletId), name, spawned_at, stack: Stack::running(calls), count: 1 })
}

/// What a hub's thread is at.
#[cfg(not(target_os = "linux"))]
fn look(_: &Remote) -> Option<Sample> {
    None
}

/// Whether the hub's thread computes, or would if there were a processor for it.
#[cfg(target_os = "linux")]
fn is_on_processor(remote: &Remote) -> bool {
    // Of `proc_pid_stat(5)`: "number (name) state", and the name may have anything in it.
    let stat = std::fs::read(format!("/proc/self/task/{}/stat", remote.thread())).unwrap_or_default();
    stat.iter().rposition(|byte| *byte == b')').is_some_and(|at| stat[at..].starts_with(b") R"))
}

/// Whether the hub's thread computes, or would if there were a processor for it.
#[cfg(not(target_os = "linux"))]
fn is_on_processor(_: &Remote) -> bool {
    false
}
