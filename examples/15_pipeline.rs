//! Child processes: a pipeline, and commands with a limit. `cargo run --release --example 15_pipeline`.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::time::Duration;

use lexopt::prelude::*;
use sward::process::{Command, Stdio};

const HELP: &str = "\
Runs shell commands at the same time, each with a limit; without any, feeds a pipeline of two programs.

Usage: 15_pipeline [--limit SECONDS] [COMMAND]...

  --limit S   how long a command may take  [5]
  -h, --help  this text
";

fn main() -> Result<(), Box<dyn Error>> {
    let (mut limit, mut commands) = (5.0, Vec::new());
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("limit") => limit = arguments.value()?.parse()?,
            Value(command) => commands.push(command.string()?),
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(());
            }
            _ => return Err(argument.unexpected().into()),
        }
    }
    if commands.is_empty() {
        return Ok(pipeline()?);
    }
    let limit = Duration::from_secs_f64(limit);
    let running: Vec<_> = commands.into_iter().map(|command| sward::spawn(move || run(&command, limit))).collect();
    for result in sward::join_all(running) {
        println!("{}", result??);
    }
    Ok(())
}

/// One command, for at most `limit`. In a process group of its own, so that what the shell has started ends with it.
fn run(command: &str, limit: Duration) -> io::Result<String> {
    let mut child = Command::new("sh").args(["-c", command]).process_group(0).spawn()?;
    Ok(match child.wait_timeout(limit)? {
        Some(status) => format!("{command}: {status}"),
        None => {
            Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]).status()?;
            format!("{command}: took longer than {limit:?}, killed: {}", child.wait()?)
        }
    })
}

/// Writes to the first of two programs while it reads from the second.
fn pipeline() -> io::Result<()> {
    let mut sort = Command::new("sort").arg("-n").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (input, middle) = (sort.stdin.take(), sort.stdout.take());
    let (Some(mut input), Some(middle)) = (input, middle) else { return Ok(()) };
    let mut uniq = Command::new("uniq").arg("-c").stdin(middle).stdout(Stdio::piped()).spawn()?;
    let writing = sward::spawn(move || (0..10_000).try_for_each(|i| writeln!(input, "{}", i * i % 7)));
    if let Some(output) = uniq.stdout.take() {
        BufReader::new(output).lines().try_for_each(|line| line.map(|line| println!("{line}")))?;
    }
    writing.join().map_err(io::Error::other)??;
    println!("sort: {}, uniq: {}", sort.wait()?, uniq.wait()?);
    Ok(())
}
