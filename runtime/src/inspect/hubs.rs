//! All hubs of a process.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::dump::{TRACED, write_tree};
use super::survey::{Answer, Question, Survey};
use super::trace::Traces;
use super::{GreenletInfo, State, Stats};
use crate::hub::{existing, hub};
use crate::per_process::PerProcess;
use crate::remote::Remote;
use crate::scheduler::{GreenletKey, Hub};

/// Hubs that have begun and not ended, by their numbers. Not counted as handles: that they can be asked is no reason to
/// believe that somebody will wake them.
static HUBS: PerProcess<Mutex<BTreeMap<u64, Arc<Remote>>>> = PerProcess::new();

/// Calls `f` with the hubs of this process.
fn with<T>(f: impl FnOnce(&mut BTreeMap<u64, Arc<Remote>>) -> T) -> Option<T> {
    let hubs = HUBS.get(Mutex::default)?;
    Some(f(&mut hubs.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// The hubs of this process.
pub(super) fn remotes() -> Vec<Arc<Remote>> {
    with(|hubs| hubs.values().cloned().collect()).unwrap_or_default()
}

/// The hub has begun, and will call [`ends`].
pub(crate) fn begins(hub: &'static Hub) {
    with(|hubs| hubs.insert(hub.serial, hub.remote.clone()));
}

/// The hub ends.
pub(super) fn ends(hub: &'static Hub) {
    with(|hubs| hubs.remove(&hub.serial));
}

/// A hub at one moment; from [`hubs`].
///
/// ```
/// use std::time::Duration;
/// for hub in sward::inspect::hubs(Duration::from_secs(1)) {
///     match hub.stats {
///         Some(stats) => println!("hub {} has {} greenlets", hub.id, stats.greenlets),
///         None => println!("hub {} does not answer: somebody keeps its thread", hub.id),
///     }
/// }
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct HubInfo {
    /// Its number; no other hub of this process has or had it.
    pub id: u64,
    /// The name of its thread, on Linux, where the system keeps 15 bytes of it.
    pub thread: Option<String>,
    /// Its counters; `None` if it did not answer in time.
    pub stats: Option<Stats>,
    /// Its greenlets, as in [`snapshot`](super::snapshot), and its root; none if it did not answer in time.
    pub greenlets: Vec<GreenletInfo>,
    /// What other threads see of it.
    pub(super) remote: Arc<Remote>,
}

/// All hubs of this process, in the order in which they began, each with its greenlets and counters. Blocks the greenlet
/// until all have answered, at most for `limit`.
///
/// A hub answers between two switches, which takes it some milliseconds for 100,000 greenlets. It does not while a
/// greenlet or the root keeps its thread to itself: one that computes, or that waits in a call that is not green. So a
/// thread that has used its hub once and waits in a `std::thread::JoinHandle` since then never answers. In a destructor
/// that runs in an unwinding, which cannot wait, nobody is asked.
///
/// # Panics
///
/// Never on its own account; an interrupt is raised.
///
/// ```
/// use std::time::Duration;
/// let g = sward::Builder::new().name("reader").spawn(|| sward::sleep(Duration::from_secs(9)))?;
/// let hubs = sward::inspect::hubs(Duration::from_secs(1));
/// assert!(hubs.iter().flat_map(|hub| &hub.greenlets).any(|row| row.id == g.id()));
/// # std::io::Result::Ok(())
/// ```
pub fn hubs(limit: Duration) -> Vec<HubInfo> {
    // A hub of this thread, if only to wait on.
    let hub = hub();
    let busy = hub.busy();
    let remotes = remotes();
    drop(busy);
    let questions = remotes.iter().map(|remote| (remote, Question::Rows)).collect();
    let answers = Survey::of(questions, "inspect::hubs", Some(limit));
    let hubs = remotes.iter().zip(answers);
    hubs.map(|(remote, answer)| HubInfo::new(remote.clone(), answer)).collect()
}

impl HubInfo {
    /// What a hub has answered.
    fn new(remote: Arc<Remote>, answer: Option<Answer>) -> HubInfo {
        let (stats, mut greenlets) = match answer {
            Some(Answer::Rows(stats, rows)) => (Some(stats), rows),
            _ => (None, Vec::new()),
        };
        greenlets.sort_unstable_by_key(|row| row.id);
        HubInfo { id: remote.hub(), thread: remote.thread_name(), stats, greenlets, remote }
    }

    /// Whether this is the hub of the calling thread.
    ///
    /// ```
    /// use std::time::Duration;
    /// let hubs = sward::inspect::hubs(Duration::from_secs(1));
    /// assert_eq!(hubs.iter().filter(|hub| hub.is_current()).count(), 1);
    /// ```
    pub fn is_current(&self) -> bool {
        existing().is_some_and(|hub| hub.serial == self.id)
    }

    /// The calls that those of its [`greenlets`](HubInfo::greenlets) which were parked are in now, in that order; to ask
    /// for some of them only, remove the others there. Nothing of one that has ended since, and nothing more if the hub
    /// does not answer for `patience`: it looks at some greenlets at a time, between two switches. Blocks the greenlet.
    ///
    /// ```
    /// use std::time::Duration;
    /// let g = sward::spawn(|| sward::sleep(Duration::from_secs(9)));
    /// sward::yield_now();
    /// for hub in sward::inspect::hubs(Duration::from_secs(1)) {
    ///     for trace in hub.traces(Duration::from_secs(1)) {
    ///         println!("{} is {} calls deep", trace.greenlet.id, trace.stack.len());
    ///     }
    /// }
    /// # g.kill();
    /// ```
    pub fn traces(&self, patience: Duration) -> Traces {
        let is_parked = |row: &&GreenletInfo| row.state == State::Parked && row.parent.is_some();
        let key = |row: &GreenletInfo| GreenletKey { hub: self.id, slot: row.slot, id: row.id.0 };
        Traces::new(self.remote.clone(), self.greenlets.iter().filter(is_parked).map(key).collect(), Some(patience))
    }

    /// As [`dump`](super::dump), of this hub; `patience` as for [`traces`](HubInfo::traces). Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// The writer's.
    ///
    /// # Panics
    ///
    /// As `dump`.
    ///
    /// ```
    /// use std::time::Duration;
    /// for hub in sward::inspect::hubs(Duration::from_secs(1)) {
    ///     println!("hub {} ({})", hub.id, hub.thread.as_deref().unwrap_or("its thread has no name"));
    ///     hub.dump(std::io::stdout(), Duration::from_secs(1))?;
    /// }
    /// # std::io::Result::Ok(())
    /// ```
    pub fn dump(&self, out: impl Write, patience: Duration) -> io::Result<()> {
        let traces = self.traces(patience).take(TRACED).collect();
        write_tree(out, self.greenlets.clone(), traces, Instant::now())
    }
}

impl fmt::Debug for HubInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("HubInfo");
        debug.field("id", &self.id).field("thread", &self.thread).field("stats", &self.stats);
        debug.field("greenlets", &self.greenlets).finish_non_exhaustive()
    }
}

impl Remote {
    /// The name of the hub's thread.
    #[cfg(target_os = "linux")]
    fn thread_name(&self) -> Option<String> {
        let name = std::fs::read(format!("/proc/self/task/{}/comm", self.thread())).ok()?;
        Some(String::from_utf8_lossy(name.trim_ascii_end()).into_owned())
    }

    /// The name of the hub's thread.
    #[cfg(not(target_os = "linux"))]
    fn thread_name(&self) -> Option<String> {
        None
    }
}
