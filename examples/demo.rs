//! What greenlets are good for, in about six seconds and without a server: `cargo run --release --example demo`.
//!
//! Part one runs `fssim` and `esl_client` in this process, on this one OS thread: 1000 greenlets send commands through
//! one connection as fast as they can. Part two lets 10,000 greenlets sleep one second each. The chapter is
//! `docs/guide/demo.md`.

use std::cell::Cell;
use std::error::Error;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use lexopt::prelude::*;
use sward::net::TcpListener;

use client::{Client, CommandError, Event};

#[path = "esl/client.rs"]
mod client;
#[path = "esl/server.rs"]
mod server;

const HELP: &str = "\
Runs the server of fssim and the client of esl_client in one process and on one OS thread, then many sleeping greenlets.

Usage: demo [--commanders 1000] [--seconds 4] [--sleepers 10000]

  --commanders N  greenlets that send commands through one connection  [1000]
  --seconds N     for how long  [4]
  --sleepers N    greenlets that sleep one second each  [10000]
  -h, --help      this text
";

const ONE_SECOND: Duration = Duration::from_secs(1);

/// What the command line says.
struct Options {
    commanders: u64,
    seconds: u64,
    sleepers: u32,
}

fn main() -> ExitCode {
    match options().and_then(|options| options.map_or(Ok(()), |options| run(&options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the command line; `None` if only help was asked for.
fn options() -> Result<Option<Options>, Box<dyn Error>> {
    let mut options = Options { commanders: 1000, seconds: 4, sleepers: 10_000 };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("commanders") => options.commanders = arguments.value()?.parse()?,
            Long("seconds") => options.seconds = arguments.value()?.parse()?,
            Long("sleepers") => options.sleepers = arguments.value()?.parse()?,
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(None);
            }
            _ => return Err(argument.unexpected().into()),
        }
    }
    Ok(Some(options))
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    // Taken before the first greenlet exists, so that part two counts everything that greenlets made the process grow.
    let memory_before = resident_kib();
    commands_and_events(options)?;
    println!();
    sleepers(options.sleepers, memory_before)
}

/// Part one: many commanders, one connection, commands and events on it.
fn commands_and_events(options: &Options) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?.to_string();
    let server = sward::spawn(move || server::serve(&listener));
    let events = Rc::new(Cell::new(0_u64));
    let count_event = {
        let events = Rc::clone(&events);
        move |event: Event| {
            let in_order = event.number == events.get() && event.data == "dummy";
            assert!(in_order, "after {} events came {event:?}", events.get());
            events.set(events.get() + 1);
        }
    };
    let client = Client::connect(&addr, count_event)?;
    println!(
        "{} greenlets send commands through one connection for {} s:",
        thousands(options.commanders),
        options.seconds
    );

    let start = Instant::now();
    let end = start + Duration::from_secs(options.seconds);
    let results: Vec<_> = sward::scope(|scope| {
        let commanders: Vec<_> = (0..options.commanders)
            .map(|k| {
                let client = &client;
                scope.spawn(move || commander(client, k, end))
            })
            .collect();
        commanders.into_iter().map(|commander| commander.join()).collect()
    });
    let elapsed = start.elapsed();
    let mut commands = 0;
    for result in results {
        commands += result??;
    }
    drop(client);
    server.kill();

    println!("  {} commands per second", thousands((commands as f64 / elapsed.as_secs_f64()) as u64));
    println!("  {} responses, every one matched its command", thousands(commands));
    println!("  {} events arrived in between, each handled by a greenlet of its own", thousands(events.get()));
    Ok(())
}

/// Sends commands without a pause until `end`, and says how many were answered.
fn commander(client: &Client, k: u64, end: Instant) -> Result<u64, CommandError> {
    let mut answered = 0;
    while Instant::now() < end {
        client.command(k * 1000 + answered % 1000)?;
        answered += 1;
    }
    Ok(answered)
}

/// Part two: many greenlets that do nothing but sleep.
fn sleepers(count: u32, memory_before: Option<u64>) -> Result<(), Box<dyn Error>> {
    println!("{} greenlets sleep one second each:", thousands(count.into()));
    let start = Instant::now();
    let greenlets: Vec<_> = (0..count).map(|_| sward::spawn(|| sward::sleep(ONE_SECOND))).collect();
    sward::sleep(ONE_SECOND / 2); // by now all of them sleep
    let memory = resident_kib();
    for result in sward::join_all(greenlets) {
        result?;
    }
    println!("  {:.3} s from the first spawn to the last join", start.elapsed().as_secs_f64());
    if let (Some(before), Some(during)) = (memory_before, memory) {
        let each = during.saturating_sub(before) as f64 / f64::from(count.max(1));
        println!("  {each:.1} KiB of memory per greenlet: all that the process has grown since it began");
    }
    Ok(())
}

/// The physical memory of this process in KiB, where the system says it.
///
/// `status` and not `statm`: it counts in KiB, so the size of a page need not be known.
fn resident_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// `1234567` as `1,234,567`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
