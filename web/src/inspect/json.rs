//! For programs.

use serde_json::{Value, json};
use sward_runtime::inspect::{GreenletInfo, HubInfo, Stats};

use super::look::{Group, Keeper, Look, Total, clip, place, state};

/// All hubs, with so many rows of each.
pub(super) fn write(look: &Look, limit: usize) -> String {
    let hubs: Vec<_> = look.hubs.iter().map(|hub| describe(look, hub, limit)).collect();
    json!({ "hubs": hubs }).to_string()
}

/// A hub.
fn describe(look: &Look, hub: &HubInfo, limit: usize) -> Value {
    let mut value = json!({
        "hub": hub.id,
        "thread": hub.thread,
        "current": look.current == Some(hub.id),
        "answers": hub.stats.is_some(),
    });
    let Some(Stats { greenlets, spawned, switches, timers, .. }) = hub.stats else {
        value["kept_by"] = look.keepers.get(&hub.id).map(keeper).into();
        return value;
    };
    value["greenlets"] = greenlets.into();
    value["spawned"] = spawned.into();
    value["switches"] = switches.into();
    value["timers"] = timers.into();
    value["groups"] = look.groups(hub).into_iter().map(group).collect();
    value["rows"] = hub.greenlets.iter().take(limit).map(|greenlet| row(look, greenlet)).collect();
    value["left_out"] = hub.greenlets.len().saturating_sub(limit).into();
    value
}

/// A row.
fn row(look: &Look, row: &GreenletInfo) -> Value {
    json!({
        "id": number(row.id),
        "name": row.name.as_deref().map(clip),
        "parent": row.parent.map(number),
        "spawned_at": row.spawned_at.map(place),
        "state": state(row.state),
        "waits_for": row.waits_for,
        "waited_seconds": look.waited(row).map(|waited| waited.as_secs_f64()),
        "cpu_seconds": row.cpu_time.map(|time| time.as_secs_f64()),
        "switches": row.switches,
    })
}

/// A group.
fn group((Group { spawned_at, state, waits_for }, Total { count, longest }): (Group, Total)) -> Value {
    let longest = waits_for.map(|_| longest.as_secs_f64());
    json!({
        "spawned_at": spawned_at,
        "state": state,
        "waits_for": waits_for,
        "count": count,
        "longest_wait_seconds": longest,
    })
}

/// Who keeps a hub.
fn keeper(Keeper { sample, calls }: &Keeper) -> Value {
    let functions = calls.iter().flat_map(|call| &call.functions).map(|function| {
        let (file, line) = function.place.as_ref().map(|(file, line)| (file.to_string_lossy(), line)).unzip();
        json!({ "function": function.name, "file": file, "line": line })
    });
    json!({
        "id": sample.greenlet.map(number),
        "name": sample.name.as_deref().map(clip),
        "spawned_at": sample.spawned_at.map(place),
        "calls": functions.collect::<Vec<_>>(),
    })
}

/// An id as a number.
fn number(id: sward_runtime::GreenletId) -> Value {
    id.to_string().parse::<u64>().ok().into()
}
