//! An echo server in five lines, and its client: `cargo run --release --example 11_echo`.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use lexopt::prelude::*;
use sward::net::{Server, TcpStream};

const HELP: &str = "\
Sends back what it receives, until SIGINT or SIGTERM; then gives connections 5 s to end.

Usage: 11_echo [--addr A] [--threads N] [--once]

  --addr A     where to listen, port 0 for any free one  [127.0.0.1:7000]
  --threads N  hubs, one OS thread each  [1]
  --once       connect to itself, talk once, and end
  -h, --help   this text
";

fn main() -> Result<(), Box<dyn Error>> {
    let (mut addr, mut threads, mut once) = ("127.0.0.1:7000".to_owned(), 1, false);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("addr") => addr = arguments.value()?.string()?,
            Long("threads") => threads = arguments.value()?.parse()?,
            Long("once") => once = true,
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(());
            }
            _ => return Err(argument.unexpected().into()),
        }
    }
    let server = Server::bind(&addr)?.stop_on_signal(Duration::from_secs(5));
    let (addr, handle) = (server.local_addr()?, server.handle());
    println!("listening on {addr}");
    if once {
        sward::spawn(move || {
            let answer = talk(addr);
            println!("sent hello, got back {answer:?}");
            handle.stop();
        });
    }
    server.threads(threads).serve(|stream, _peer| io::copy(&mut &stream, &mut &stream))?;
    Ok(())
}

/// The client: one connection, one word.
fn talk(addr: std::net::SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(addr)?;
    stream.write_all(b"hello")?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
