//! A server that behaves like a telephony event socket: it answers commands, and sends events on the same socket.
//!
//! `cargo run --release --example fssim`, then `esl_client` or `nc 127.0.0.1 8021` against it. The chapter is
//! `docs/guide/fssim.md`.

use std::error::Error;
use std::process::ExitCode;

use lexopt::prelude::*;
use sward::net::TcpListener;

#[path = "esl/server.rs"]
mod server;

const HELP: &str = "\
Answers each line X with `Response: YOU SENT X` and an empty line. From the first command of a connection on it also
sends `Event: <n>`, `Data: dummy` and an empty line at random intervals of up to one second. Runs until it is stopped.

Usage: fssim [--addr A]

  --addr A    where to listen, port 0 for any free one  [127.0.0.1:8021]
  -h, --help  this text
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fssim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut addr = "127.0.0.1:8021".to_owned();
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("addr") => addr = arguments.value()?.string()?,
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(());
            }
            _ => return Err(argument.unexpected().into()),
        }
    }
    let listener = TcpListener::bind(&*addr).map_err(|error| format!("cannot listen on {addr}: {error}"))?;
    println!("listening on {}", listener.local_addr()?);
    server::serve(&listener).map_err(|error| format!("cannot accept: {error}"))?;
    Ok(())
}
