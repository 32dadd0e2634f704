//! For Prometheus: its text format, version 0.0.4.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};

use sward_runtime::inspect::{HubInfo, Stats};

use super::look::{Look, Total};

/// All metrics.
pub(super) fn write(look: &Look) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_all(&mut text, look);
    text
}

/// All metrics, each with what it is.
fn write_all(out: &mut String, look: &Look) -> fmt::Result {
    let hubs = &look.hubs;
    begin(out, "sward_hub_info", "gauge", "A hub and the name of its thread.")?;
    for hub in hubs {
        let thread = Escaped(hub.thread.as_deref().unwrap_or_default());
        writeln!(out, "sward_hub_info{{hub=\"{}\",thread=\"{thread}\"}} 1", hub.id)?;
    }
    begin(out, "sward_hub_up", "gauge", "Whether a hub answers: 0 if somebody keeps its thread.")?;
    for hub in hubs {
        writeln!(out, "sward_hub_up{{hub=\"{}\"}} {}", hub.id, u8::from(hub.stats.is_some()))?;
    }
    let totals: Vec<_> = hubs.iter().map(|hub| (hub.id, totals(look, hub))).collect();
    begin(out, "sward_greenlets", "gauge", "Greenlets that have not finished.")?;
    for (hub, ((state, waits_for), Total { count, .. })) in flat(&totals) {
        let waits_for = Escaped(waits_for);
        writeln!(out, "sward_greenlets{{hub=\"{hub}\",state=\"{state}\",waits_for=\"{waits_for}\"}} {count}")?;
    }
    begin(out, "sward_longest_wait_seconds", "gauge", "For how long a greenlet waits, at most.")?;
    for (hub, ((_, waits_for), Total { longest, .. })) in
        flat(&totals).filter(|(_, ((state, _), _))| *state == "parked")
    {
        let (waits_for, longest) = (Escaped(waits_for), longest.as_secs_f64());
        writeln!(out, "sward_longest_wait_seconds{{hub=\"{hub}\",waits_for=\"{waits_for}\"}} {longest}")?;
    }
    let counters: [(_, _, _, Value); 3] = [
        ("sward_greenlets_spawned_total", "counter", "Greenlets spawned.", |stats| stats.spawned),
        ("sward_switches_total", "counter", "Times that a greenlet, or the root, was resumed.", |stats| stats.switches),
        ("sward_timers", "gauge", "Limits of waits that run.", |stats| stats.timers as u64),
    ];
    for (name, kind, help, value) in counters {
        begin(out, name, kind, help)?;
        for (hub, stats) in hubs.iter().filter_map(|hub| Some((hub.id, hub.stats.as_ref()?))) {
            writeln!(out, "{name}{{hub=\"{hub}\"}} {}", value(stats))?;
        }
    }
    Ok(())
}

/// What a metric tells.
type Value = fn(&Stats) -> u64;

/// By state and wait.
type Totals = BTreeMap<(&'static str, &'static str), Total>;

/// How many greenlets of a hub are in which state.
fn totals(look: &Look, hub: &HubInfo) -> Totals {
    let mut totals = Totals::new();
    for (group, part) in look.groups(hub) {
        let total = totals.entry((group.state, group.waits_for.unwrap_or_default())).or_default();
        total.count += part.count;
        total.longest = total.longest.max(part.longest);
    }
    totals
}

/// Those of all hubs, one by one.
fn flat(totals: &[(u64, Totals)]) -> impl Iterator<Item = (u64, (&(&'static str, &'static str), &Total))> {
    totals.iter().flat_map(|(hub, totals)| totals.iter().map(|total| (*hub, total)))
}

/// Says what a metric is.
fn begin(out: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

/// The value of a label.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            c => f.write_char(c),
        })
    }
}
