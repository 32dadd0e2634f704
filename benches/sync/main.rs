//! What waiting for each other costs: `cargo bench --bench sync`, or `-- WORD` for the rows that have it.
//!
//! Rows that are compared with crossbeam-channel take turns with it in short rounds, since what other programs on the
//! machine do to one they do to its neighbour; printed are the medians of the rounds.

use std::env;
use std::time::Duration;

mod across;
mod local;

/// Rounds in which each row has its turn.
const ROUNDS: usize = 15;

/// A row: does its operation so many times and tells how long all of them took together.
type Run = fn(u64) -> Duration;

/// One thread: name, operations in a round, what it must reach in nanoseconds.
const LOCAL: &[(&str, Run, u64, f64)] = &[
    ("mutex: lock + unlock, nobody waits", local::mutex, 2_000_000, 3.0),
    ("semaphore: acquire + release, nobody waits", local::semaphore, 2_000_000, 3.0),
    ("mutex held over a yield, 100 greenlets", local::held_mutex, 200_000, 40.0),
    ("queue: ping-pong, a round trip", local::ping_pong, 200_000, 70.0),
    ("queue: bounded(1024), an item", local::stream, 1_000_000, 20.0),
    ("event: wakes 1000 waiters, each", local::event, 200_000, 30.0),
    ("rwlock: read + unlock, nobody waits", local::rwlock, 2_000_000, 6.0),
    ("pool: spawn + end of a member", local::pool, 100_000, 300.0),
];

/// Two threads: name, ours, crossbeam's, operations in a round.
const ACROSS: &[(&str, Run, Run, u64)] = &[
    ("channel: unbounded, an item", across::ours_unbounded, across::theirs_unbounded, 500_000),
    ("channel: bounded(1024), an item", across::ours_bounded, across::theirs_bounded, 500_000),
    ("channel: bounded(1), ping-pong", across::ours_ping_pong, across::theirs_ping_pong, 20_000),
    ("channel: rendezvous, an item", across::ours_rendezvous, across::theirs_rendezvous, 20_000),
];

fn main() {
    // cargo adds `--bench`.
    let words: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    println!("| what | must reach | ns | |\n|---|---|---|---|");
    for (name, run, count, limit) in LOCAL.iter().filter(|row| wanted(row.0)) {
        let time = median((0..ROUNDS).map(|_| each(*run, *count)).collect());
        println!("| {name} | ≤ {limit} ns | {time:.1} | {} |", mark(time <= *limit));
    }
    println!("\n| what | must reach | ns | crossbeam-channel, ns | ratio | |\n|---|---|---|---|---|---|");
    for (name, ours, theirs, count) in ACROSS.iter().filter(|row| wanted(row.0)) {
        let rounds: Vec<_> = (0..ROUNDS).map(|_| (each(*ours, *count), each(*theirs, *count))).collect();
        let ratio = median(rounds.iter().map(|(ours, theirs)| ours / theirs).collect());
        let ours = median(rounds.iter().map(|round| round.0).collect());
        let theirs = median(rounds.iter().map(|round| round.1).collect());
        println!("| {name} | ≤ 1.5 × | {ours:.0} | {theirs:.0} | {ratio:.2} | {} |", mark(ratio <= 1.5));
    }
}

/// Nanoseconds for one operation.
fn each(run: Run, count: u64) -> f64 {
    run(count).as_nanos() as f64 / count as f64
}

/// Whether a target was reached.
fn mark(reached: bool) -> &'static str {
    if reached { "✓" } else { "missed" }
}

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
