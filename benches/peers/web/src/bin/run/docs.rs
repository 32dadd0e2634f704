//! The section of `docs/benchmarks.md`, between two marks, and its plots.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use crate::measure::{Sample, median, quartiles};
use crate::plot::{Line, plot};
use crate::servers::Server;
use crate::{CONNECTIONS, PAIRS, Results};

/// The page, from this folder.
const PAGE: &str = "../../../docs/benchmarks.md";
/// Where the section begins.
const BEGIN: &str = "<!-- web: begin; written by benches/peers/web/run -->";
/// Where it ends.
const END: &str = "<!-- web: end -->";

/// What is plotted: the file, the title, and the value.
type Plot = (&'static str, &'static str, fn(&Sample) -> f64);

/// The plots.
const PLOTS: [Plot; 4] = [
    ("web-cpu.svg", "Processor time for a request (µs, less is better)", |sample| sample.cpu),
    ("web-throughput.svg", "Requests a second (more is better)", |sample| sample.throughput),
    ("web-latency.svg", "99th percentile of the latency (ms, less is better)", |sample| sample.p99),
    ("web-memory.svg", "Resident memory of the server (MiB, less is better)", |sample| sample.memory),
];

/// Where, when and how this runs.
pub fn about(quick: bool, rounds: usize, seconds: u32, pairs: usize) -> String {
    let command = |name: &str, arg: &str| {
        let output = Command::new(name).arg(arg).output().map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&output).trim().to_owned()
    };
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?").to_owned();
    let flag = if quick { " --quick" } else { "" };
    let (date, cores) = (command("date", "+%F"), command("nproc", "--all"));
    // The first two numbers: the rest is the machine's own.
    let linux = command("uname", "-r").split('.').take(2).collect::<Vec<_>>().join(".");
    let kind = command("uname", "-m");
    format!(
        "`benches/peers/web/run{flag}` on {date}, Linux {linux}, {cores} shared {kind} cores, load average {load} at the \
         start:\nmedians of {rounds} rounds of {seconds} s ({pairs} of 1 s for the ratios), in which the servers take turns."
    )
}

/// Everything that is printed.
pub fn section(about: &str, servers: &[Server], results: &Results) -> String {
    let mut text = format!("{about}\n\n");
    comparison(&mut text, servers, results);
    for connections in CONNECTIONS {
        table(&mut text, servers, results, connections);
    }
    text.truncate(text.trim_end().len());
    text
}

/// Processor time at 64 connections, and memory.
fn comparison(text: &mut String, servers: &[Server], results: &Results) {
    _ = writeln!(
        text,
        "{PAIRS} connections, processor time of the server for each request, one at a time and sixteen at a time. Of \
         the ratios in the same round\nthe median, and where the middle half of them lies.\n\n\
         | server | µs | ratio | pipelined, µs | ratio | KiB for an idle connection |\n|---|---|---|---|---|---|"
    );
    for (index, server) in servers.iter().enumerate() {
        let rival = servers.iter().position(|other| Some(other.name) == server.rival);
        let cell = |samples: &std::collections::BTreeMap<usize, Vec<Sample>>| {
            let mine = samples.get(&index)?;
            let cpu = median(mine.iter().map(|sample| sample.cpu))?;
            let ratio = rival.and_then(|rival| {
                let theirs = samples.get(&rival)?;
                quartiles(mine.iter().zip(theirs).map(|(mine, theirs)| mine.cpu / theirs.cpu))
            });
            let ratio = ratio.zip(server.rival).map_or(String::new(), |([low, middle, high], rival)| {
                format!("{middle:.3} ({low:.2} to {high:.2}) of {rival}")
            });
            Some(format!("{cpu:.1} | {ratio}"))
        };
        let empty = || " | ".to_owned();
        let idle = results.idle.get(&index).map_or(String::new(), |kib| format!("{kib:.1}"));
        let (single, pipelined) = (cell(&results.single), cell(&results.pipelined));
        let (single, pipelined) = (single.unwrap_or_else(empty), pipelined.unwrap_or_else(empty));
        _ = writeln!(text, "| {} | {single} | {pipelined} | {idle} |", server.name);
    }
    text.push('\n');
}

/// All of it at a number of connections.
fn table(text: &mut String, servers: &[Server], results: &Results, connections: usize) {
    _ = writeln!(
        text,
        "{connections} connections:\n\n\
         | server | requests/s | p50, ms | p99, ms | CPU µs for a request | memory, MiB |\n|---|---|---|---|---|---|"
    );
    for (index, server) in servers.iter().enumerate() {
        let at = |what: fn(&Sample) -> f64, digits: usize| {
            results.at(connections, index, what).map_or("–".to_owned(), |value| format!("{value:.digits$}"))
        };
        _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            server.name,
            at(|sample| sample.throughput, 0),
            at(|sample| sample.p50, 2),
            at(|sample| sample.p99, 2),
            at(|sample| sample.cpu, 1),
            at(|sample| sample.memory, 1),
        );
    }
    text.push('\n');
}

/// Puts section and plots into the documentation.
pub fn write(section: &str, servers: &[Server], results: &Results) -> io::Result<()> {
    let page = Path::new(PAGE);
    let folder = page.parent().expect("the page is in a folder");
    let mut images = String::new();
    for (file, title, what) in PLOTS {
        let lines: Vec<_> = servers
            .iter()
            .enumerate()
            .map(|(index, server)| {
                let point = |&n: &usize| Some((n as f64, results.at(n, index, what).filter(|y| *y > 0.0)?));
                Line {
                    name: server.name,
                    colour: server.colour,
                    points: CONNECTIONS.iter().filter_map(point).collect(),
                }
            })
            .collect();
        let ticks = CONNECTIONS.map(|n| n as f64);
        fs::write(folder.join(file), plot(title, "open connections", &ticks, &lines))?;
        _ = writeln!(images, "![{title}]({file})\n");
    }
    let old = fs::read_to_string(page)?;
    let marks = || io::Error::other(format!("{PAGE} has no section between {BEGIN} and {END}"));
    let (before, rest) = old.split_once(BEGIN).ok_or_else(marks)?;
    let (_, after) = rest.split_once(END).ok_or_else(marks)?;
    fs::write(page, format!("{before}{BEGIN}\n\n{section}\n\n{images}{END}{after}"))
}
