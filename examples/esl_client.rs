//! Many greenlets that send commands through one connection, while events arrive on it.
//!
//! `cargo run --release --example esl_client` with `fssim` running. The chapter is `docs/guide/esl_client.md`.

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use lexopt::prelude::*;

use client::{Client, CommandError};

#[path = "esl/client.rs"]
mod client;

const HELP: &str = "\
Opens one connection to fssim and sends commands through it from many greenlets. Each response is checked against the
command that it answers. Ends when all commands are answered, with an error if one is not.

Usage: esl_client [--addr A] [--greenlets 5] [--commands 500] [--pause-ms 1500]

  --addr A       the server  [127.0.0.1:8021]
  --greenlets N  how many greenlets send commands  [5]
  --commands N   how many commands each of them sends  [500]
  --pause-ms N   how long each waits after a command, in milliseconds  [1500]
  -h, --help     this text
";

/// What the command line says.
struct Options {
    addr: String,
    greenlets: u64,
    commands: u64,
    pause: Duration,
}

fn main() -> ExitCode {
    match options().and_then(|options| options.map_or(Ok(()), |options| run(&options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("esl_client: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the command line; `None` if only help was asked for.
fn options() -> Result<Option<Options>, Box<dyn Error>> {
    let mut options =
        Options { addr: "127.0.0.1:8021".to_owned(), greenlets: 5, commands: 500, pause: Duration::from_millis(1500) };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("addr") => options.addr = arguments.value()?.string()?,
            Long("greenlets") => options.greenlets = arguments.value()?.parse()?,
            Long("commands") => options.commands = arguments.value()?.parse()?,
            Long("pause-ms") => options.pause = Duration::from_millis(arguments.value()?.parse()?),
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
    let start = Instant::now();
    let client = Client::connect(&options.addr, |event| println!("event {}: {}", event.number, event.data))
        .map_err(|error| format!("cannot connect to {}: {error} (is fssim running?)", options.addr))?;
    let results: Vec<_> = sward::scope(|scope| {
        let commanders: Vec<_> = (0..options.greenlets)
            .map(|k| {
                scope.spawn({
                    let client = &client;
                    move || commander(client, k, options)
                })
            })
            .collect();
        commanders.into_iter().map(|commander| commander.join()).collect()
    });
    for (k, result) in results.into_iter().enumerate() {
        result?.map_err(|error| format!("commander {k}: {error}"))?;
    }
    println!(
        "{} commands answered in {:.1} s, every response matched",
        options.greenlets * options.commands,
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Sends its commands one after the other, each when the one before it is answered.
fn commander(client: &Client, k: u64, options: &Options) -> Result<(), CommandError> {
    for i in 0..options.commands {
        client.command(k * 1000 + i)?;
        sward::sleep(options.pause);
    }
    Ok(())
}
