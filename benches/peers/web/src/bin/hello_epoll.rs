//! "hello world" by hand: one loop over epoll that knows no more of HTTP than where a request ends. What the
//! operating system alone costs.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant, SystemTime};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

/// The token of the listener.
const LISTENER: Token = Token(usize::MAX);
/// How a request ends; what comes before it does not matter here.
const END: &[u8] = b"\r\n\r\n";

/// A connection, and what was read of a request that is not whole.
struct Connection {
    /// The socket.
    stream: TcpStream,
    /// The beginning of a request.
    rest: Vec<u8>,
}

fn main() -> std::io::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or("127.0.0.1:0".into());
    let mut listener = TcpListener::bind(addr.parse().expect("an address and a port"))?;
    println!("{}", listener.local_addr()?);
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut answer = Answer { text: Vec::new(), made: None };
    let mut events = Events::with_capacity(1024);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() != LISTENER {
                let place = &mut connections[event.token().0];
                if place.as_mut().is_some_and(|connection| serve(connection, answer.current()).is_err()) {
                    *place = None; // its token is not used again, which a benchmark can afford
                }
                continue;
            }
            while let Ok((mut stream, _)) = listener.accept() {
                stream.set_nodelay(true)?;
                poll.registry().register(&mut stream, Token(connections.len()), Interest::READABLE)?;
                connections.push(Some(Connection { stream, rest: Vec::new() }));
            }
        }
    }
}

/// Answers what has come; an error ends the connection.
fn serve(connection: &mut Connection, answer: &[u8]) -> std::io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        let n = match connection.stream.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut out = Vec::new();
        let mut input = &buffer[..n];
        if !connection.rest.is_empty() {
            connection.rest.extend_from_slice(input);
            input = &connection.rest;
        }
        while let Some(end) = input.windows(END.len()).position(|window| window == END) {
            input = &input[end + END.len()..];
            out.extend_from_slice(answer);
        }
        connection.rest = input.to_vec();
        connection.stream.write_all(&out)?; // fits into the socket's buffer, since clients here wait for answers
        if n < buffer.len() {
            return Ok(());
        }
    }
}

/// The answer with the date of this second.
struct Answer {
    /// All of it.
    text: Vec<u8>,
    /// When it was made.
    made: Option<Instant>,
}

impl Answer {
    /// What to send now.
    fn current(&mut self) -> &[u8] {
        if self.made.is_none_or(|made| made.elapsed() > Duration::from_secs(1)) {
            let date = httpdate::fmt_http_date(SystemTime::now());
            self.text = format!("HTTP/1.1 200 OK\r\ncontent-length: 13\r\ndate: {date}\r\n\r\nHello, world!").into();
            self.made = Some(Instant::now());
        }
        &self.text
    }
}
