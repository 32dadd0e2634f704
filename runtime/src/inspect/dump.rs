//! The greenlets of a hub as a tree, for people.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::time::Instant;

use super::trace::{Trace, Traces};
use super::{GreenletInfo, State, occupied, snapshot};
use crate::calls::{Call, Names, Stack};
use crate::hub::hub;
use crate::join::GreenletId;
use crate::offload::offload_to;
use crate::scheduler::GreenletKey;
use crate::slot::Slot;
use crate::threads::ThreadPool;

/// Greenlets whose calls are written; of the others only the line.
pub(super) const TRACED: usize = 1000;
/// Characters of a name.
const NAME: usize = 200;
/// From this depth on the lines of a tree are not moved further to the right.
const DEEPEST: usize = 32;

/// Looks up names, one dump at a time. Not the threads of `offload`: that all of those are blocked may be what is to be
/// found out.
static THREADS: ThreadPool = ThreadPool::new("sward-inspect", 1);

/// Writes the greenlets of this thread's hub as a tree, children below who spawned them, and with each parked one the
/// calls that it is in. Blocks the greenlet: the hub looks at the calls between two switches, some greenlets at a time,
/// and their names are looked up on another thread. What others do meanwhile may be seen or not; the line of a greenlet
/// and its calls fit together. One that is spawned meanwhile may have a line without calls.
///
/// Calls have names and lines as far as the program has them (`debug = "line-tables-only"` is enough); those of the
/// 1000 greenlets that were spawned first are written, and none of a greenlet that has less than 24 KiB of its stack left. Names
/// are cut after 200 characters. Below 32 levels the tree is not moved further to the right: there each line names the parent.
///
/// # Errors
///
/// The writer's.
///
/// # Panics
///
/// If that thread cannot be made.
///
/// ```
/// let event = std::rc::Rc::new(sward::sync::Event::new());
/// let theirs = event.clone();
/// sward::Builder::new().name("waiting").spawn(move || theirs.wait())?;
/// sward::yield_now();
/// let mut text = Vec::new();
/// sward::inspect::dump(&mut text)?;
/// let text = String::from_utf8(text).unwrap();
/// assert!(text.contains("\"waiting\"") && text.contains("waits in Event"), "{text}");
/// # std::io::Result::Ok(())
/// ```
pub fn dump(out: impl Write) -> io::Result<()> {
    let hub = hub();
    let is_other = |slot: &&Slot| !slot.is_root() && slot.id != hub.current().id;
    let key = |slot: &Slot| GreenletKey { hub: hub.serial, slot: slot.index, id: slot.id.get() };
    let mut others: Vec<_> = occupied(hub).filter(is_other).map(key).collect();
    others.sort_unstable_by_key(|key| key.id);
    others.truncate(TRACED);
    let traces = Traces::new(hub.remote.clone(), others, None).collect();
    write_tree(out, snapshot(), traces, Instant::now())
}

/// Writes the rows, which were made at `now` and are in order, as a tree, with the calls of those that have some.
pub(super) fn write_tree(
    mut out: impl Write,
    rows: Vec<GreenletInfo>,
    traces: Vec<Trace>,
    now: Instant,
) -> io::Result<()> {
    let mut rows: Vec<_> = rows.into_iter().map(|greenlet| Trace { greenlet, stack: Stack::default() }).collect();
    // Rows that were made together with the calls: a greenlet may have gone on since, and parked, or parked elsewhere.
    for trace in traces {
        if let Ok(at) = rows.binary_search_by_key(&trace.greenlet.id, |row| row.greenlet.id) {
            rows[at] = trace;
        }
    }
    // To look up names may take seconds.
    let text = offload_to(&THREADS, "inspect::dump", move || tree(&rows, now));
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Looks up the functions in stacks, on a thread of its own: that may take seconds the first time. Blocks the greenlet.
///
/// Of a greenlet's calls there are those down to its own function, not how that is called, nor how the runtime parks it.
///
/// # Panics
///
/// If that thread cannot be made.
///
/// ```
/// use std::time::Duration;
/// let g = sward::spawn(|| sward::sleep(Duration::from_secs(9)));
/// sward::yield_now();
/// for hub in sward::inspect::hubs(Duration::from_secs(1)) {
///     let stacks = hub.traces(Duration::from_secs(1)).map(|trace| trace.stack).collect();
///     for call in sward::inspect::resolve(stacks).iter().flatten() {
///         println!("{:#x} is in {:?}", call.address, call.functions);
///     }
/// }
/// # g.kill();
/// ```
pub fn resolve(stacks: Vec<Stack>) -> Vec<Vec<Call>> {
    offload_to(&THREADS, "inspect::resolve", move || {
        let mut names = Names::default();
        stacks.iter().map(|stack| stack.own(&mut names)).collect()
    })
}

/// The rows, which were made at `now`, as a tree.
fn tree(rows: &[Trace], now: Instant) -> String {
    let mut children = BTreeMap::<Option<GreenletId>, Vec<&Trace>>::new();
    for trace in rows.iter().rev() {
        let is_there = |parent: &GreenletId| rows.binary_search_by_key(parent, |row| row.greenlet.id).is_ok();
        // The children of one that has ended are the root's, if that is there.
        let parent = trace.greenlet.parent.and_then(|parent| [parent, GreenletId(0)].into_iter().find(is_there));
        children.entry(parent).or_default().push(trace);
    }
    let (mut text, mut names) = (String::new(), Names::default());
    // Depth first, without recursion: a chain of spawns may be longer than this stack.
    let mut left: Vec<_> = children.remove(&None).into_iter().flatten().map(|trace| (0, trace)).collect();
    while let Some((depth, Trace { greenlet, stack })) = left.pop() {
        let margin = "  ".repeat(depth.min(DEEPEST));
        text.push_str(&margin);
        // Writing to a string cannot fail.
        let _ = write_row(&mut text, greenlet, now, depth > DEEPEST);
        let _ = stack.write(&mut text, &mut names, &margin);
        left.extend(children.remove(&Some(greenlet.id)).into_iter().flatten().map(|child| (depth + 1, child)));
    }
    text
}

/// Writes a greenlet's line, which names its parent if the margin does not show it.
fn write_row(text: &mut String, row: &GreenletInfo, now: Instant, names_parent: bool) -> fmt::Result {
    write!(text, "{}", row.id)?;
    if let Some(name) = &row.name {
        let end = name.char_indices().nth(NAME).map_or(name.len(), |(end, _)| end);
        write!(text, " {:?}{}", &name[..end], if end < name.len() { "…" } else { "" })?;
    }
    if let Some(site) = row.spawned_at {
        write!(text, " (spawned at {}:{})", site.file(), site.line())?;
    }
    if let Some(parent) = row.parent.filter(|_| names_parent) {
        write!(text, ", child of {parent},")?;
    }
    match row.state {
        State::Running => text.push_str(" runs"),
        State::Ready => text.push_str(" is ready"),
        State::Parked => {
            let waited = row.waits_since.map(|since| now.saturating_duration_since(since)).unwrap_or_default();
            write!(text, " waits in {} for {} ms", row.waits_for.unwrap_or_default(), waited.as_millis())?;
        }
    }
    write!(text, ", resumed {} times", row.switches)?;
    if let Some(time) = row.cpu_time {
        write!(text, ", ran for {} ms", time.as_millis())?;
    }
    text.push('\n');
    Ok(())
}
