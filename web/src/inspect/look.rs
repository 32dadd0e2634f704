//! What all that is told is made of: one look at all hubs.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::panic::Location;
use std::time::{Duration, Instant};

use sward_runtime::inspect::{Call, GreenletInfo, HubInfo, Sample, State, hubs, resolve};

/// How long a hub may take to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// Hubs that do not answer and are asked by a signal who keeps them.
const SAMPLED: usize = 16;
/// Characters of a name.
const NAME: usize = 200;

/// All hubs at one moment.
pub(super) struct Look {
    /// The hubs.
    pub(super) hubs: Vec<HubInfo>,
    /// Who keeps those that do not answer, as far as it is known.
    pub(super) keepers: BTreeMap<u64, Keeper>,
    /// When that was.
    pub(super) now: Instant,
    /// The hub that gives the answer.
    pub(super) current: Option<u64>,
}

/// Who keeps a hub's thread.
pub(super) struct Keeper {
    /// The greenlet.
    pub(super) sample: Sample,
    /// Its calls.
    pub(super) calls: Vec<Call>,
}

/// Greenlets that were spawned at one place and are at the same thing.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Group {
    /// Where they were spawned.
    pub(super) spawned_at: String,
    /// What they are at.
    pub(super) state: &'static str,
    /// What they wait for.
    pub(super) waits_for: Option<&'static str>,
}

/// How many they are.
#[derive(Clone, Copy, Default)]
pub(super) struct Total {
    /// How many.
    pub(super) count: usize,
    /// How long the one waits that waits the longest.
    pub(super) longest: Duration,
}

impl Look {
    /// Asks the hubs. Blocks the greenlet.
    pub(super) fn quickly() -> Look {
        let hubs = hubs(PATIENCE);
        let current = hubs.iter().find(|hub| hub.is_current()).map(|hub| hub.id);
        Look { hubs, keepers: BTreeMap::new(), now: Instant::now(), current }
    }

    /// As `quickly`; and looks who keeps those that do not answer.
    pub(super) fn closely() -> Look {
        let mut look = Look::quickly();
        let silent = look.hubs.iter().filter(|hub| hub.stats.is_none()).take(SAMPLED);
        let samples: Vec<_> = silent.filter_map(HubInfo::sample).collect();
        if !samples.is_empty() {
            let calls = resolve(samples.iter().map(|sample| sample.stack.clone()).collect());
            let keepers = samples.into_iter().zip(calls).map(|(sample, calls)| Keeper { sample, calls });
            look.keepers = keepers.map(|keeper| (keeper.sample.hub, keeper)).collect();
        }
        look
    }

    /// For how long a greenlet waits.
    pub(super) fn waited(&self, row: &GreenletInfo) -> Option<Duration> {
        row.waits_since.map(|since| self.now.saturating_duration_since(since))
    }

    /// A hub's greenlets, without the root, in groups; the largest first.
    pub(super) fn groups(&self, hub: &HubInfo) -> Vec<(Group, Total)> {
        let mut groups = HashMap::<_, Total>::new();
        for row in hub.greenlets.iter().filter(|row| row.parent.is_some()) {
            let total = groups.entry((row.spawned_at, state(row.state), row.waits_for)).or_default();
            total.count += 1;
            total.longest = total.longest.max(self.waited(row).unwrap_or_default());
        }
        let named = groups.into_iter().map(|((site, state, waits_for), total)| {
            let spawned_at = site.map(place).unwrap_or_default();
            (Group { spawned_at, state, waits_for }, total)
        });
        let mut groups: Vec<_> = named.collect();
        groups
            .sort_by(|(one, a), (other, b)| b.count.cmp(&a.count).then_with(|| one.spawned_at.cmp(&other.spawned_at)));
        groups
    }

    /// Writes each hub as a tree with the calls of parked greenlets, `limit` of each hub. Blocks the greenlet.
    pub(super) fn write_calls(&mut self, out: &mut impl Write, limit: usize) -> io::Result<()> {
        for hub in &mut self.hubs {
            let left_out = hub.greenlets.len().saturating_sub(limit);
            hub.greenlets.truncate(limit);
            write!(out, "hub {}", hub.id)?;
            if let Some(thread) = &hub.thread {
                write!(out, " {thread:?}")?;
            }
            match hub.stats {
                Some(stats) => {
                    writeln!(out, ", {} greenlets:\n", stats.greenlets)?;
                    hub.dump(&mut *out, PATIENCE)?;
                }
                None => {
                    writeln!(out, " does not answer: its thread is kept by {}", kept_by(self.keepers.get(&hub.id)))?;
                    write_plainly(out, self.keepers.get(&hub.id))?;
                }
            }
            if left_out > 0 {
                writeln!(out, "{left_out} more are left out; ?limit={} has them too", left_out + limit)?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

/// Who keeps a hub, in words.
pub(super) fn kept_by(keeper: Option<&Keeper>) -> String {
    let Some(Keeper { sample, .. }) = keeper else { return "somebody who does not say".to_owned() };
    match (sample.greenlet, sample.spawned_at) {
        (None, _) => "the hub itself, between two greenlets".to_owned(),
        (Some(_), None) => "its root".to_owned(),
        (Some(id), Some(site)) => {
            let name = sample.name.as_ref().map(|name| format!(" {:?}", clip(name))).unwrap_or_default();
            format!("greenlet {id}{name} (spawned at {})", place(site))
        }
    }
}

/// Writes the calls of who keeps a hub, a line for each function.
pub(super) fn write_plainly(out: &mut impl Write, keeper: Option<&Keeper>) -> io::Result<()> {
    let functions = keeper.iter().flat_map(|keeper| &keeper.calls).flat_map(|call| &call.functions);
    for function in functions {
        writeln!(out, "      {}", function.name)?;
        if let Some((file, line)) = &function.place {
            writeln!(out, "             at {}:{line}", file.display())?;
        }
    }
    Ok(())
}

/// A place as people and tools know it.
pub(super) fn place(site: &Location<'_>) -> String {
    format!("{}:{}", site.file(), site.line())
}

/// A state as tools know it.
pub(super) fn state(state: State) -> &'static str {
    match state {
        State::Ready => "ready",
        State::Running => "running",
        State::Parked => "parked",
        // There is no other; the runtime may get one.
        _ => "other",
    }
}

/// The beginning of a name.
pub(super) fn clip(name: &str) -> String {
    let mut chars = name.chars();
    let mut clipped: String = chars.by_ref().take(NAME).collect();
    if chars.next().is_some() {
        clipped.push('…');
    }
    clipped
}
