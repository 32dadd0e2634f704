//! For people: a page that needs nothing but itself.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use sward_runtime::GreenletId;
use sward_runtime::inspect::{GreenletInfo, HubInfo, Stats};

use super::look::{Group, Look, Total, clip, kept_by, place, state, write_plainly};
use super::typed;

/// Groups of a hub.
const GROUPS: usize = 100;
/// From this depth on rows are not moved further to the right.
const DEEPEST: usize = 32;

/// What comes before the hubs.
const HEAD: &str = r#"<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>sward: what is going on</title>
<style>
body { font: 14px/1.4 sans-serif; margin: 1em; }
table { border-collapse: collapse; margin: .5em 0 1.5em; }
th, td { text-align: left; padding: .1em .8em .1em 0; vertical-align: top; white-space: nowrap; }
th { border-bottom: 1px solid #888; }
td.n, th.n { text-align: right; }
.silent { color: #b00; }
</style>
<h1>What is going on</h1>
<p>Also: <a href="calls">the tree with calls</a>; for programs <a href="json">JSON</a> and
<a href="metrics">metrics</a>; for pprof <a href="greenlets">what greenlets wait in</a> and
<a href="profile?seconds=10">10 seconds of where the time goes</a>.</p>
"#;

/// Nothing but the style in the page itself is to be loaded or run, whatever a greenlet is called.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The page, with so many rows of each hub.
pub(super) fn answer(look: &Look, limit: usize) -> Response<Bytes> {
    let mut text = HEAD.to_owned();
    for hub in &look.hubs {
        // Writing to a string cannot fail.
        let _ = write_hub(&mut text, look, hub, limit);
    }
    let mut response = typed("text/html; charset=utf-8", text);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

/// A hub.
fn write_hub(out: &mut String, look: &Look, hub: &HubInfo, limit: usize) -> fmt::Result {
    let this = if look.current == Some(hub.id) { ", which answers this" } else { "" };
    writeln!(out, "<h2>Hub {}: {}{this}</h2>", hub.id, Escaped(hub.thread.as_deref().unwrap_or("no name")))?;
    let Some(Stats { greenlets, spawned, switches, timers, .. }) = hub.stats else {
        return write_silence(out, look, hub);
    };
    writeln!(out, "<p>{greenlets} greenlets, {spawned} spawned so far, {switches} switches, {timers} timers</p>")?;
    write_groups(out, look, hub)?;
    write_rows(out, look, hub, limit)
}

/// A hub that does not answer.
fn write_silence(out: &mut String, look: &Look, hub: &HubInfo) -> fmt::Result {
    let keeper = look.keepers.get(&hub.id);
    writeln!(out, "<p class=silent>It does not answer: its thread is kept by {}</p>", Escaped(&kept_by(keeper)))?;
    let mut calls = Vec::new();
    let _ = write_plainly(&mut calls, keeper);
    writeln!(out, "<pre>{}</pre>", Escaped(&String::from_utf8_lossy(&calls)))
}

/// A hub's greenlets, counted.
fn write_groups(out: &mut String, look: &Look, hub: &HubInfo) -> fmt::Result {
    let groups = look.groups(hub);
    if groups.is_empty() {
        return Ok(());
    }
    out.push_str("<table><tr><th class=n>greenlets<th>spawned at<th>state<th>waits in<th class=n>longest\n");
    for (Group { spawned_at, state, waits_for }, Total { count, longest }) in groups.iter().take(GROUPS) {
        write!(out, "<tr><td class=n>{count}<td>{}<td>{state}", Escaped(spawned_at))?;
        let longest = Time(waits_for.map(|_| *longest));
        writeln!(out, "<td>{}<td class=n>{longest}", Escaped(waits_for.unwrap_or_default()))?;
    }
    out.push_str("</table>\n");
    let left_out = groups.iter().skip(GROUPS).map(|(_, total)| total.count).sum::<usize>();
    if left_out > 0 {
        writeln!(out, "<p>{left_out} greenlets of other places are left out here.</p>")?;
    }
    Ok(())
}

/// A hub's greenlets as a tree.
fn write_rows(out: &mut String, look: &Look, hub: &HubInfo, limit: usize) -> fmt::Result {
    out.push_str("<table><tr><th>greenlet<th>name<th>spawned at<th>state<th>waits in<th class=n>for");
    out.push_str("<th class=n>ran<th class=n>switches<th>\n");
    let shown = &hub.greenlets[..limit.min(hub.greenlets.len())];
    for (depth, row) in tree(shown) {
        write_row(out, look, hub.id, depth, row)?;
    }
    out.push_str("</table>\n");
    let left_out = hub.greenlets.len() - shown.len();
    if left_out > 0 {
        let all = hub.greenlets.len();
        writeln!(out, "<p>{left_out} more are left out; <a href=\"?limit={all}\">show them too</a>.</p>")?;
    }
    Ok(())
}

/// A greenlet.
fn write_row(out: &mut String, look: &Look, hub: u64, depth: usize, row: &GreenletInfo) -> fmt::Result {
    let name = row.name.as_deref().map(clip).unwrap_or_default();
    let site = row.spawned_at.map(place).unwrap_or_default();
    write!(out, "<tr><td style=\"padding-left:{}em\">{}", depth.min(DEEPEST), row.id)?;
    write!(out, "<td>{}<td>{}", Escaped(&name), Escaped(&site))?;
    write!(out, "<td>{}<td>{}", state(row.state), Escaped(row.waits_for.unwrap_or_default()))?;
    write!(out, "<td class=n>{}<td class=n>{}", Time(look.waited(row)), Time(row.cpu_time))?;
    write!(out, "<td class=n>{}<td>", row.switches)?;
    // The root's stack is the hub's.
    if row.waits_for.is_some() && row.parent.is_some() {
        write!(out, "<a href=\"calls?hub={hub}&amp;greenlet={}\">calls</a>", row.id)?;
    }
    out.push('\n');
    Ok(())
}

/// The rows, which are in order, depth first, children below who spawned them.
fn tree(rows: &[GreenletInfo]) -> Vec<(usize, &GreenletInfo)> {
    let mut children = BTreeMap::<Option<GreenletId>, Vec<&GreenletInfo>>::new();
    let root = rows.first().map(|row| row.id);
    for row in rows.iter().rev() {
        let is_there = |parent: &GreenletId| rows.binary_search_by_key(parent, |row| row.id).is_ok();
        // The children of one that has ended are the root's.
        let parent = row.parent.and_then(|parent| Some(parent).filter(is_there).or(root));
        children.entry(parent).or_default().push(row);
    }
    let mut ordered = Vec::with_capacity(rows.len());
    // Without recursion: a chain of spawns may be longer than this stack.
    let mut left: Vec<_> = children.remove(&None).into_iter().flatten().map(|row| (0, row)).collect();
    while let Some((depth, row)) = left.pop() {
        ordered.push((depth, row));
        left.extend(children.remove(&Some(row.id)).into_iter().flatten().map(|child| (depth + 1, child)));
    }
    ordered
}

/// A time; nothing if there is none.
struct Time(Option<Duration>);

impl Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => Ok(()),
            Some(time) if time < Duration::from_secs(10) => write!(f, "{} ms", time.as_millis()),
            Some(time) => write!(f, "{} s", time.as_secs()),
        }
    }
}

/// Text that has no meaning in HTML, and shows what has none on a page.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            '\n' => f.write_char(c),
            // Control characters, and those that write backwards.
            c if c.is_control()
                || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                write!(f, "{}", c.escape_unicode())
            }
            c => f.write_char(c),
        })
    }
}
