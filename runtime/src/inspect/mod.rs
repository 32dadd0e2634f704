//! What is going on: the greenlets of a hub, what they wait for, and who keeps the others waiting.
//!
//! | ask | answer |
//! |---|---|
//! | [`snapshot`] | a row for each greenlet of this hub |
//! | [`dump`] | the same as a tree for people, with the calls that each parked greenlet is in |
//! | [`stats`] | counters of this hub |
//! | [`hubs`] | the same of each hub of the process, and the calls of their parked greenlets |
//! | [`profile`] | where the threads of all hubs are found at work |
//! | [`watch`] | from then on, a line on stderr for each greenlet, of any hub, that keeps its thread for too long |
//! | `sward::web::inspect`, feature `web` | all of it over HTTP: a page, JSON, Prometheus, pprof |
//!
//! The first three are about the hub of the calling thread. What is told is kept anyway, so that asking now does not
//! make earlier work slower; only the time that greenlets run is counted from the first [`watch`] on.
//!
//! ```
//! let waiting = sward::Builder::new().name("reader").spawn(|| sward::sleep(std::time::Duration::from_secs(9)))?;
//! sward::yield_now();
//! let rows = sward::inspect::snapshot();
//! let reader = rows.iter().find(|row| row.id == waiting.id()).unwrap();
//! assert_eq!(reader.waits_for, Some("sleep"));
//! # std::io::Result::Ok(())
//! ```

mod accounts;
mod dump;
mod hubs;
mod profile;
#[cfg(target_os = "linux")]
mod sample;
mod survey;
mod trace;
mod watch;

use std::panic::Location;
use std::time::{Duration, Instant};

pub(crate) use self::accounts::Accounts;
pub use self::dump::{dump, resolve};
pub(crate) use self::hubs::begins;
pub use self::hubs::{HubInfo, hubs};
pub use self::profile::{Sample, profile};
#[cfg(target_os = "linux")]
pub(crate) use self::sample::this_thread;
pub(crate) use self::survey::Asked;
pub(crate) use self::trace::trace_here;
pub use self::trace::{Trace, Traces};
pub use self::watch::watch;
pub(crate) use self::watch::{abandon, is_watching, starts, stops};
pub use crate::calls::{Call, Function, Stack};
use crate::clock::{coarse_tick, milliseconds};
use crate::hub::hub;
use crate::join::GreenletId;
use crate::scheduler::Hub;
use crate::slot::{self, Slot, VACANT};

/// A greenlet at one moment; from [`snapshot`].
///
/// ```
/// let row = sward::inspect::snapshot().swap_remove(0);
/// println!("greenlet {} is {:?} and was resumed {} times", row.id, row.state, row.switches);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GreenletInfo {
    /// Its id; the root's is 0.
    pub id: GreenletId,
    /// The name given to `Builder::name`; the root's is "root".
    pub name: Option<String>,
    /// Where it was spawned; `None` for the root.
    pub spawned_at: Option<&'static Location<'static>>,
    /// Who spawned it, and may have finished since; the root for what another thread spawned. `None` for the root.
    pub parent: Option<GreenletId>,
    /// Whether it runs, could run, or waits.
    pub state: State,
    /// What it waits for if it is parked: a type, as `Event` or `Queue`, or a call, as `sleep`.
    pub waits_for: Option<&'static str>,
    /// Since when, to some milliseconds; as long as nobody called [`watch`], the time for which it had its thread just
    /// before may be counted too.
    pub waits_since: Option<Instant>,
    /// For how long it had its thread, until it was switched from last: what it computed, and what the system took of
    /// that. Counted from the first [`watch`] on; `None` before.
    pub cpu_time: Option<Duration>,
    /// How often it was resumed.
    pub switches: u64,
    /// Where its hub has it.
    pub(crate) slot: u32,
}

/// Where in its life a greenlet is.
///
/// ```
/// assert_eq!(sward::inspect::snapshot()[0].state, sward::inspect::State::Running);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// It waits for its turn: it is new, was woken, or has yielded.
    Ready,
    /// It is the caller.
    Running,
    /// It waits for something.
    Parked,
}

/// Counters of a hub; from [`stats`].
///
/// ```
/// let before = sward::inspect::stats();
/// sward::spawn(|| ()).join().unwrap();
/// assert_eq!(sward::inspect::stats().spawned, before.spawned + 1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Greenlets that have not finished.
    pub greenlets: usize,
    /// Greenlets spawned since the hub began.
    pub spawned: u64,
    /// How often a greenlet, or the root, was resumed.
    pub switches: u64,
    /// Limits of waits and of `timeout` calls that run.
    pub timers: usize,
}

/// All greenlets of this thread's hub that have not finished, and its root, in the order in which they were spawned.
///
/// # Panics
///
/// Never.
///
/// ```
/// let g = sward::spawn(|| ());
/// assert_eq!(sward::inspect::snapshot().len(), 2);
/// # g.join().unwrap();
/// ```
pub fn snapshot() -> Vec<GreenletInfo> {
    let mut rows = hub().rows();
    rows.sort_by_key(|row| row.id);
    rows
}

/// Counters of this thread's hub.
///
/// # Panics
///
/// Never.
///
/// ```
/// println!("{:?}", sward::inspect::stats());
/// ```
pub fn stats() -> Stats {
    hub().counters()
}

/// The hub ends.
pub(crate) fn ends(hub: &'static Hub) {
    hubs::ends(hub);
    watch::ends(hub);
}

impl Hub {
    /// Its greenlets and its root, in no order.
    fn rows(&'static self) -> Vec<GreenletInfo> {
        occupied(self).map(GreenletInfo::of).collect()
    }

    /// Its counters.
    fn counters(&'static self) -> Stats {
        let timers = self.timers.borrow().len();
        let switches = self.accounts.switches.get() + occupied(self).map(|slot| slot.switches.get()).sum::<u64>();
        Stats { greenlets: self.live.get(), spawned: self.accounts.spawned.get(), switches, timers }
    }
}

/// The slots with a greenlet, and the root's.
fn occupied(hub: &'static Hub) -> impl Iterator<Item = &'static Slot> {
    hub.table.iter().filter(|slot| slot.id.get() != VACANT)
}

impl GreenletInfo {
    /// What is in `slot`.
    fn of(slot: &'static Slot) -> GreenletInfo {
        let is_root = slot.is_root();
        let is_parked = slot.state.get() == slot::State::Parked;
        // Not a string while it is borrowed: to allocate may park, and another greenlet may end and give up its name.
        let name = slot.name.borrow().clone();
        let (id, parent, spawned_at) = (slot.id.get(), slot.parent.get(), slot.spawned_at.get());
        let row = GreenletInfo {
            id: GreenletId(id),
            name: None,
            spawned_at: (!is_root).then_some(spawned_at),
            parent: (!is_root).then_some(GreenletId(parent)),
            state: slot.state.get().into(),
            waits_for: is_parked.then(|| slot.waits_for.get()),
            waits_since: is_parked.then(|| at(slot.parked_at.get())),
            cpu_time: is_watching().then(|| Duration::from_nanos(slot.ran.get())),
            switches: slot.switches.get(),
            slot: slot.index,
        };
        let name = if is_root { Some("root".to_owned()) } else { name.as_deref().map(str::to_owned) };
        GreenletInfo { name, ..row }
    }
}

impl From<slot::State> for State {
    fn from(state: slot::State) -> State {
        match state {
            slot::State::Running => State::Running,
            slot::State::Parked => State::Parked,
            // A vacant slot has no row.
            slot::State::Ready | slot::State::Vacant => State::Ready,
        }
    }
}

/// The time at which the hub's clock showed `ticked`.
fn at(ticked: u32) -> Instant {
    let now = Instant::now();
    // The watchdog's clock is ahead of the coarse one: then it is now.
    let ago = Some(milliseconds(coarse_tick()).wrapping_sub(ticked)).filter(|ago| *ago <= u32::MAX / 2);
    now.checked_sub(Duration::from_millis(ago.unwrap_or(0).into())).unwrap_or(now)
}
