//! A TCP port forwarder that ends gracefully: `cargo run --release --example 12_forwarder -- --help`.

use std::error::Error;
use std::io;
use std::net::Shutdown;
use std::time::Duration;

use lexopt::prelude::*;
use sward::net::{Server, TcpStream};

const HELP: &str = "\
Forwards each connection to another address. At SIGINT or SIGTERM it stops accepting and lets connections end.

Usage: 12_forwarder --to A [--addr A] [--pool N] [--drain SECONDS]

  --to A       where to connect to
  --addr A     where to listen  [127.0.0.1:7001]
  --pool N     the most connections at a time  [1000]
  --drain S    how long connections may take to end  [10]
  -h, --help   this text
";

fn main() -> Result<(), Box<dyn Error>> {
    let (mut addr, mut to, mut pool, mut drain) = ("127.0.0.1:7001".to_owned(), None, 1000, 10);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("to") => to = Some(arguments.value()?.string()?),
            Long("addr") => addr = arguments.value()?.string()?,
            Long("pool") => pool = arguments.value()?.parse()?,
            Long("drain") => drain = arguments.value()?.parse()?,
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(());
            }
            _ => return Err(argument.unexpected().into()),
        }
    }
    let to = to.ok_or("--to is missing; --help tells more")?;
    let server = Server::bind(&addr)?.pool(pool).stop_on_signal(Duration::from_secs(drain));
    println!("forwarding {} to {to}", server.local_addr()?);
    server.serve(move |client, peer| {
        if let Err(error) = forward(&client, &to) {
            eprintln!("{peer}: {error}");
        }
    })?;
    println!("all connections have ended");
    Ok(())
}

/// Both directions at once; each passes the end of its stream on.
fn forward(client: &TcpStream, to: &str) -> io::Result<()> {
    let server = &sward::timeout(Duration::from_secs(5), || TcpStream::connect(to))??;
    sward::scope(|scope| {
        let back = scope.spawn(|| pump(server, client));
        pump(client, server)?;
        back.join().map_err(io::Error::other)?
    })
}

/// One direction.
fn pump(mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
    io::copy(&mut from, &mut to)?;
    to.shutdown(Shutdown::Write)
}
