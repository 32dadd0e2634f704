//! Runs the servers of this folder beside each other and prints what `docs/benchmarks.md` shows. Started by `run`.

mod docs;
mod measure;
mod plot;
mod servers;

use std::collections::BTreeMap;

use measure::{Load, Sample, median};
use servers::Server;

/// How many connections are open.
const CONNECTIONS: [usize; 4] = [10, 100, 1000, 10_000];
/// How many are in the comparison of pairs.
const PAIRS: usize = 64;
/// How often pairs are compared, for a second each: their ratios are near one, and differ from round to round.
const PAIR_ROUNDS: usize = 25;
/// How often the others are measured beside them, and all of them with sixteen requests at a time.
const OTHER_ROUNDS: usize = 5;

/// What was measured: the samples of each server at each load, one from each round.
#[derive(Default)]
struct Results {
    /// By the number of connections.
    by_connections: BTreeMap<(usize, usize), Vec<Sample>>,
    /// At 64 connections, one request at a time.
    single: BTreeMap<usize, Vec<Sample>>,
    /// The same with sixteen at a time.
    pipelined: BTreeMap<usize, Vec<Sample>>,
    /// KiB for each idle connection.
    idle: BTreeMap<usize, f64>,
}

impl Results {
    /// The median, over the rounds, of something about a server at a number of connections.
    fn at(&self, connections: usize, server: usize, what: impl Fn(&Sample) -> f64) -> Option<f64> {
        let samples = self.by_connections.get(&(connections, server))?;
        median(samples.iter().map(what))
    }
}

fn main() -> std::io::Result<()> {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let (rounds, seconds) = if quick { (2, 1) } else { (5, 5) };
    let about = docs::about(quick, rounds, seconds, PAIR_ROUNDS);
    let servers = servers::all();
    let mut results = Results::default();
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        // Turns: what else the machine does meets all of them.
        for connections in CONNECTIONS {
            each(&servers, round, |index, server| {
                // wrk itself takes seconds to open thousands of connections, more on a busy machine.
                let seconds = if connections < 10_000 { seconds } else { seconds.max(8) };
                let load = Load { connections, seconds, pipelined: false };
                if let Some(sample) = measure::run(server, &load)? {
                    results.by_connections.entry((connections, index)).or_default().push(sample);
                }
                Ok(())
            })?;
        }
    }
    for round in 0..PAIR_ROUNDS {
        eprintln!("pairs, round {} of {PAIR_ROUNDS}", round + 1);
        for pipelined in [false, true] {
            each(&servers, round, |index, server| {
                let is_compared =
                    server.rival.is_some() || servers.iter().any(|other| other.rival == Some(server.name));
                if round >= OTHER_ROUNDS && (pipelined || !is_compared) {
                    return Ok(());
                }
                let load = Load { connections: PAIRS, seconds: 1, pipelined };
                let kind = if pipelined { &mut results.pipelined } else { &mut results.single };
                if let Some(sample) = measure::run(server, &load)? {
                    kind.entry(index).or_default().push(sample);
                }
                Ok(())
            })?;
        }
    }
    each(&servers, 0, |index, server| {
        if let Some(kib) = measure::idle(server)? {
            results.idle.insert(index, kib);
        }
        Ok(())
    })?;
    let section = docs::section(&about, &servers, &results);
    println!("{section}");
    docs::write(&section, &servers, &results)
}

/// Calls `f` for each server, in turns that begin with another one in each round.
fn each(
    servers: &[Server],
    round: usize,
    mut f: impl FnMut(usize, &Server) -> std::io::Result<()>,
) -> std::io::Result<()> {
    for turn in 0..servers.len() {
        let index = (turn + round) % servers.len();
        f(index, &servers[index])?;
    }
    Ok(())
}
