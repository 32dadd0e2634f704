//! The greenlets of a hub as a tree, for people.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::time::Instant;

use super::{GreenletInfo, State, Traces, snapshot};
use crate::calls;
use crate::join::GreenletId;
use crate::offload::offload;

/// Greenlets whose calls are written; of the others only the line.
const TRACED: usize = 1000;

/// Writes the greenlets of this thread's hub as a tree, children below who spawned them, and with each parked one the
/// calls that it is in. Blocks the greenlet: the hub looks at the calls between two switches, and their names are looked
/// up on another thread.
///
/// Calls have names and lines as far as the program has them (`debug = "line-tables-only"` is enough); those of at most
/// 1000 greenlets are written, and none of a greenlet that has less than 24 KiB of its stack left.
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
pub fn dump(mut out: impl Write) -> io::Result<()> {
    let (traces, rows, now) = (Traces::of_parked(TRACED), snapshot(), Instant::now());
    // To look up names may take seconds.
    let text = offload(move || tree(&rows, &traces.into_iter().collect(), now));
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// The rows, which were made at `now`, as a tree, with the calls of those that have some.
fn tree(rows: &[GreenletInfo], traces: &HashMap<u64, Vec<usize>>, now: Instant) -> String {
    let mut children = BTreeMap::<Option<GreenletId>, Vec<&GreenletInfo>>::new();
    for row in rows.iter().rev() {
        let is_there = |parent: &GreenletId| rows.binary_search_by_key(parent, |row| row.id).is_ok();
        // The children of one that has ended are the root's.
        let parent = row.parent.map(|parent| Some(parent).filter(is_there).unwrap_or(GreenletId(0)));
        children.entry(parent).or_default().push(row);
    }
    let mut text = String::new();
    // Depth first, without recursion: a chain of spawns may be longer than this stack.
    let mut left: Vec<_> = children.remove(&None).into_iter().flatten().map(|row| (0, row)).collect();
    while let Some((depth, row)) = left.pop() {
        let calls = traces.get(&row.id.0).map(Vec::as_slice).unwrap_or_default();
        let margin = "  ".repeat(depth);
        text.push_str(&margin);
        // Writing to a string cannot fail.
        let _ = write_row(&mut text, row, now);
        let _ = calls::write_parked(&mut text, &margin, calls);
        left.extend(children.remove(&Some(row.id)).into_iter().flatten().map(|child| (depth + 1, child)));
    }
    text
}

/// Writes a greenlet's line.
fn write_row(text: &mut String, row: &GreenletInfo, now: Instant) -> fmt::Result {
    write!(text, "{}", row.id)?;
    if let Some(name) = &row.name {
        write!(text, " {name:?}")?;
    }
    if let Some(site) = row.spawned_at {
        write!(text, " (spawned at {}:{})", site.file(), site.line())?;
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
