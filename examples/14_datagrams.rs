//! Two greenlets that talk by UDP and by a Unix socket: `cargo run --release --example 14_datagrams`.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::time::Duration;

use lexopt::prelude::*;
use sward::net::{UdpSocket, UnixStream};

const HELP: &str = "\
Sends questions by UDP and over a pair of Unix sockets; a second greenlet answers.

Usage: 14_datagrams [--count N]

  --count N   questions on each way  [3]
  -h, --help  this text
";

fn main() -> Result<(), Box<dyn Error>> {
    let mut count = 3;
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("count") => count = arguments.value()?.parse()?,
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(());
            }
            _ => return Err(argument.unexpected().into()),
        }
    }
    udp(count)?;
    unix(count)?;
    Ok(())
}

/// Datagrams may get lost: each question has a limit, and is asked again.
fn udp(count: u32) -> io::Result<()> {
    let (asker, answerer) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    asker.connect(answerer.local_addr()?)?;
    asker.set_read_timeout(Some(Duration::from_millis(500)))?;
    let answering = sward::spawn(move || -> io::Result<()> {
        let mut buf = [0; 1500];
        loop {
            let (n, from) = answerer.recv_from(&mut buf)?;
            answerer.send_to(&buf[..n].to_ascii_uppercase(), from)?;
        }
    });
    let mut buf = [0; 1500];
    for i in 0..count {
        let n = loop {
            asker.send(format!("udp question {i}").as_bytes())?;
            match asker.recv(&mut buf) {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                result => break result?,
            }
        };
        println!("{}", String::from_utf8_lossy(&buf[..n]));
    }
    answering.kill();
    Ok(())
}

/// A stream: lines, and an end.
fn unix(count: u32) -> io::Result<()> {
    let (mut asker, answerer) = UnixStream::pair()?;
    let answering = sward::spawn(move || -> io::Result<()> {
        for line in BufReader::new(&answerer).lines() {
            writeln!(&answerer, "{}", line?.to_ascii_uppercase())?;
        }
        Ok(())
    });
    let mut answers = BufReader::new(asker.try_clone()?).lines();
    for i in 0..count {
        writeln!(asker, "unix question {i}")?;
        println!("{}", answers.next().transpose()?.unwrap_or_default());
    }
    asker.shutdown(std::net::Shutdown::Write)?;
    answering.join().map_err(io::Error::other)?
}
