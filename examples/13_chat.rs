//! A chat server: every line goes to everybody else. `cargo run --release --example 13_chat`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use lexopt::prelude::*;
use sward::net::{Server, TcpStream};

const HELP: &str = "\
Passes each line that a client sends to all other clients.

Usage: 13_chat [--addr A]

  --addr A    where to listen, port 0 for any free one  [127.0.0.1:7002]
  -h, --help  this text
";

/// Who is there. Greenlets of one hub share it without a lock.
type Room = Rc<RefCell<BTreeMap<SocketAddr, Rc<TcpStream>>>>;

fn main() -> Result<(), Box<dyn Error>> {
    let mut addr = "127.0.0.1:7002".to_owned();
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
    let server = Server::bind(&addr)?.stop_on_signal(Duration::from_secs(1));
    println!("listening on {}", server.local_addr()?);
    let room = Room::default();
    server.serve(move |stream, peer| {
        let stream = Rc::new(stream);
        room.borrow_mut().insert(peer, stream.clone());
        let result = listen(&stream, peer, &room);
        room.borrow_mut().remove(&peer);
        tell_others(&room, peer, &format!("{peer} has left: {result:?}\n"));
    })?;
    Ok(())
}

/// Passes on what one client says, until it leaves.
fn listen(stream: &TcpStream, peer: SocketAddr, room: &Room) -> io::Result<()> {
    // A client that does not read must not hold up the others for ever.
    stream.set_write_timeout(Some(Duration::from_secs(2)))?;
    for line in BufReader::new(stream).lines() {
        tell_others(room, peer, &format!("{peer}: {}\n", line?));
    }
    Ok(())
}

/// Writes to everybody but `speaker`. The room is not borrowed while a write may park.
fn tell_others(room: &Room, speaker: SocketAddr, text: &str) {
    let others: Vec<_> = room.borrow().iter().filter(|(peer, _)| **peer != speaker).map(|(_, it)| it.clone()).collect();
    for other in others {
        if (&*other).write_all(text.as_bytes()).is_err() {
            let _ = other.shutdown(std::net::Shutdown::Both); // its own greenlet notices
        }
    }
}
