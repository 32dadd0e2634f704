//! Many names looked up, ten at a time, each with a limit: `cargo run --release --example 16_resolve -- --help`.

use std::error::Error;
use std::time::Duration;

use lexopt::prelude::*;
use sward::net::ToSocketAddrs;
use sward::sync::Pool;

const HELP: &str = "\
Looks names up, some at a time, each within a limit; prints each answer when it is there.

Usage: 16_resolve [--pool N] [--limit SECONDS] [NAME]...

  NAME        host names; without any, those that are read from standard input, one on each line
  --pool N    how many at a time; more than 16 wait for a thread  [10]
  --limit S   how long each may take  [5]
  -h, --help  this text
";

fn main() -> Result<(), Box<dyn Error>> {
    let (mut size, mut limit, mut names) = (10, 5.0, Vec::new());
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("pool") => size = arguments.value()?.parse()?,
            Long("limit") => limit = arguments.value()?.parse()?,
            Value(name) => names.push(name.string()?),
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(());
            }
            _ => return Err(argument.unexpected().into()),
        }
    }
    let limit = Duration::from_secs_f64(limit);
    let names: Box<dyn Iterator<Item = std::io::Result<String>>> = match names.is_empty() {
        true => Box::new(sward::io::stdin().lines()), // other greenlets look up meanwhile
        false => Box::new(names.into_iter().map(Ok)),
    };
    let pool = Pool::new(size);
    for name in names {
        let name = name?;
        pool.spawn(move || println!("{}", look_up(&name, limit))); // blocks while the pool is full
    }
    pool.join();
    Ok(())
}

/// One name, as a line of text.
fn look_up(name: &str, limit: Duration) -> String {
    match sward::timeout(limit, || (name, 0).to_socket_addrs()) {
        Ok(Ok(addrs)) => format!("{name}: {:?}", addrs.map(|addr| addr.ip()).collect::<Vec<_>>()),
        Ok(Err(error)) => format!("{name}: {error}"),
        Err(_elapsed) => format!("{name}: no answer within {limit:?}"),
    }
}
