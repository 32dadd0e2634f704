//! The server's side: answers each line, and sends events at random moments on the same socket.

use std::io::{self, BufRead, BufReader, Write};
use std::time::Duration;

use sward::net::{TcpListener, TcpStream};
use sward::sync::ReentrantLock;

/// The longest pause between two events.
const LONGEST_PAUSE_MS: u64 = 1000;

/// Serves each connection in a greenlet of its own, until accepting fails.
pub(crate) fn serve(listener: &TcpListener) -> io::Result<()> {
    loop {
        let (stream, peer) = listener.accept()?;
        sward::spawn(move || match serve_connection(&stream) {
            Ok(()) => {}
            Err(error) => eprintln!("fssim: connection from {peer}: {error}"),
        });
    }
}

/// Answers the lines of one connection until the client closes it; its events end with it.
fn serve_connection(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let output = Output { stream, lock: ReentrantLock::new(()) };
    sward::scope(|scope| {
        let mut events = None;
        let result = answer_lines(stream, &output, || {
            events.get_or_insert_with(|| scope.spawn(|| send_events(&output)));
        });
        if let Some(events) = events {
            events.kill();
        }
        result
    })
}

/// One answer for each line. Answers to lines that came together leave together: one system call, not one each.
fn answer_lines(stream: &TcpStream, output: &Output<'_>, mut on_command: impl FnMut()) -> io::Result<()> {
    let mut input = BufReader::new(stream);
    let mut line = Vec::new();
    let mut answers = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        on_command();
        answers.extend_from_slice(b"Response: YOU SENT ");
        answers.extend_from_slice(line.trim_ascii_end());
        answers.extend_from_slice(b"\n\n");
        line.clear();
        if !input.buffer().contains(&b'\n') {
            output.send(&answers)?;
            answers.clear();
        }
    }
    Ok(())
}

/// An event now and then, until the connection fails or this greenlet is killed.
fn send_events(output: &Output<'_>) {
    for number in 0.. {
        sward::sleep(Duration::from_millis(fastrand::u64(0..=LONGEST_PAUSE_MS)));
        let event = format!("Event: {number}\nData: dummy\n\n");
        if output.send(event.as_bytes()).is_err() {
            return; // whoever reads the commands sees the same error, and reports it
        }
    }
}

/// Where answers and events go: whole messages only, however many greenlets send.
struct Output<'a> {
    /// The connection.
    stream: &'a TcpStream,
    /// Held while a message is written: a write that finds the socket full parks its greenlet in the middle.
    lock: ReentrantLock<()>,
}

impl Output<'_> {
    /// Writes all of `messages` with nothing in between. Blocks the greenlet.
    fn send(&self, messages: &[u8]) -> io::Result<()> {
        let _guard = self.lock.lock();
        let mut stream = self.stream;
        stream.write_all(messages)
    }
}
