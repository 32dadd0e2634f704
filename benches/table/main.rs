//! Prints the table of `docs/benchmarks.md`: `cargo bench --bench table`.
//!
//! What other programs on the machine do to one operation they do to its neighbours, so the operations take turns in
//! short rounds, the baseline among them, and what is printed is the median of the rounds. The two rows about many
//! greenlets run in a process of their own each, since what they cost depends on what the process did before.

use std::env;
use std::process::Command;
use std::time::Duration;

use work::{BARE, WORK, Work};

mod crowd;
#[path = "../work/mod.rs"]
mod work;

/// Rounds in which each operation has its turn.
const ROUNDS: usize = 41;
/// How long a turn takes, about.
const TURN: Duration = Duration::from_millis(10);

/// What an operation must reach.
enum Target {
    /// So many times the baseline.
    Ratio(f64),
    /// So many nanoseconds.
    Nanoseconds(f64),
}

/// The targets, in the order of [`WORK`].
const TARGETS: [Target; 5] = [
    Target::Ratio(4.0),
    Target::Nanoseconds(12.0),
    Target::Nanoseconds(45.0),
    Target::Nanoseconds(60.0),
    Target::Nanoseconds(50.0),
];

fn main() {
    // cargo adds `--bench`.
    let words: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if let Some(crowd) = crowd::CROWDS.iter().find(|crowd| words == [crowd.word]) {
        return (crowd.run)();
    }
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    if words.is_empty() || WORK.iter().any(|work| wanted(work.name)) {
        operations(wanted);
    }
    for crowd in crowd::CROWDS.iter().filter(|crowd| wanted(crowd.name)) {
        println!("\n{}:\n", crowd.name);
        let program = env::current_exe().expect("this program has a path");
        let status = Command::new(program).arg(crowd.word).status().expect("this program runs");
        assert!(status.success(), "{}: {status}", crowd.name);
    }
}

/// The rows of the operations.
fn operations(wanted: impl Fn(&str) -> bool) {
    let works: Vec<(&Work, &Target)> = WORK.iter().zip(&TARGETS).filter(|(work, _)| wanted(work.name)).collect();
    let baseline = Turn::new(&BARE);
    let turns: Vec<Turn> = works.iter().map(|(work, _)| Turn::new(work)).collect();
    let mut bare = Vec::new();
    let mut times = vec![Vec::new(); works.len()];
    for _ in 0..ROUNDS {
        bare.push(baseline.nanoseconds());
        for (turn, times) in turns.iter().zip(&mut times) {
            times.push(turn.nanoseconds());
        }
    }
    println!("| what | must reach | ns | in units of R | |\n|---|---|---|---|---|");
    println!("| {} | | {:.1} | 1.0 | |", BARE.name, median(bare.clone()));
    for ((work, target), times) in works.iter().zip(times) {
        // A median of ratios: whatever slowed a round down slowed both of its turns.
        let ratio = median(times.iter().zip(&bare).map(|(time, bare)| time / bare).collect());
        let time = median(times);
        let (must, reached) = match target {
            Target::Ratio(limit) => (format!("≤ {limit} R"), ratio <= *limit),
            Target::Nanoseconds(limit) => (format!("≤ {limit} ns"), time <= *limit),
        };
        println!("| {} | {must} | {time:.1} | {ratio:.1} | {} |", work.name, if reached { "✓" } else { "missed" });
    }
}

/// One operation's turn in each round.
struct Turn {
    /// The operation.
    run: fn(u64) -> Duration,
    /// How often a turn does it.
    count: u64,
}

impl Turn {
    /// Finds out how often fits in, which also warms up.
    fn new(work: &Work) -> Turn {
        let mut count = 10_000;
        while (work.run)(count) < TURN {
            count *= 2;
        }
        Turn { run: work.run, count }
    }

    /// Takes the turn: nanoseconds for one operation.
    fn nanoseconds(&self) -> f64 {
        (self.run)(self.count).as_nanos() as f64 / self.count as f64
    }
}

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
