//! One connection that many greenlets send commands through.
//!
//! ```text
//!  commander ─┐                                             ┌─> its AsyncResult ─> commander wakes
//!  commander ─┼─ lock: push to `pending`, send ─> socket ─> reader greenlet ─┤
//!  commander ─┘                                             └─> an event: a new greenlet runs `on_event`
//! ```
//!
//! Answers carry no number: the n-th answer belongs to the n-th command. So the entry in `pending` and the bytes on the
//! socket must be in the same order, and that is what the lock is for.

use std::cell::{OnceCell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;

use sward::Greenlet;
use sward::net::TcpStream;
use sward::sync::{AsyncResult, ReentrantLock};

use self::message::{Message, Splitter};

pub(crate) use self::message::Event;

pub(crate) mod message;

/// Why a command has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CommandError {
    /// The connection ended, before the command was sent or while it waited for its answer.
    ConnectionLost {
        /// The server.
        peer: SocketAddr,
        /// What ended it.
        why: String,
    },
    /// The answer to this command belongs to another one: the two ends are out of step.
    WrongAnswer {
        /// The line that was sent.
        sent: String,
        /// The line that was answered.
        answered: String,
    },
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConnectionLost { peer, why } => write!(f, "connection to {peer} lost: {why}"),
            Self::WrongAnswer { sent, answered } => {
                write!(f, "sent {sent:?}, but the answer is for {answered:?}")
            }
        }
    }
}

impl std::error::Error for CommandError {}

/// A connection to the server. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Client {
    /// What commanders and the reader share.
    connection: Rc<Connection>,
    /// Splits the stream into messages, until the connection ends.
    reader: Greenlet<()>,
}

impl Client {
    /// Connects, and from then on runs `on_event` in a greenlet of its own for each event. Blocks the greenlet.
    pub(crate) fn connect(addr: &str, on_event: impl Fn(Event) + 'static) -> io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        let connection = Rc::new(Connection {
            peer: stream.peer_addr()?,
            stream,
            sending: ReentrantLock::new(()),
            pending: RefCell::default(),
            lost: OnceCell::new(),
        });
        let reader = sward::spawn({
            let connection = Rc::clone(&connection);
            let on_event = Rc::new(on_event);
            move || {
                let why = connection.read_messages(&on_event);
                connection.lose(&why);
            }
        });
        Ok(Self { connection, reader })
    }

    /// Sends `CMD - <id>` and waits for its answer. Blocks the greenlet.
    pub(crate) fn command(&self, id: u64) -> Result<(), CommandError> {
        self.connection.command(id)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connection.lose("closed by this client");
        self.reader.kill();
    }
}

/// The connection as the commanders and the reader see it.
#[derive(Debug)]
struct Connection {
    /// Commanders write to it, the reader reads from it.
    stream: TcpStream,
    /// For error messages.
    peer: SocketAddr,
    /// Held while an entry is pushed and its command sent.
    ///
    /// The reader never takes it: a commander may hold it while it waits for room in the socket, and room comes only
    /// if the reader goes on reading.
    sending: ReentrantLock<()>,
    /// The commands that wait for their answers, oldest first.
    pending: RefCell<VecDeque<Pending>>,
    /// Why the connection ended, once it has.
    lost: OnceCell<CommandError>,
}

/// A command that waits for its answer.
#[derive(Debug)]
struct Pending {
    /// The number in `CMD - <id>`.
    id: u64,
    /// What the commander blocks on.
    answer: Rc<AsyncResult<Result<(), CommandError>>>,
}

impl Connection {
    /// See [`Client::command`].
    fn command(&self, id: u64) -> Result<(), CommandError> {
        let answer = Rc::new(AsyncResult::new());
        {
            let _guard = self.sending.lock();
            if let Some(error) = self.lost.get() {
                return Err(error.clone());
            }
            self.pending.borrow_mut().push_back(Pending { id, answer: Rc::clone(&answer) });
            // A kill or timeout in the middle of the write would leave half a line before the next commander's.
            let sent = sward::shield(|| (&self.stream).write_all(format!("{}\n", line(id)).as_bytes()));
            if let Err(error) = sent {
                self.lose(&format!("sending {:?} failed: {error}", line(id))); // answers this command too
            }
        }
        answer.get().clone()
    }

    /// Handles messages until the connection ends, and says why it did.
    fn read_messages(&self, on_event: &Rc<impl Fn(Event) + 'static>) -> String {
        let mut splitter = Splitter::default();
        let mut chunk = [0; 4096];
        loop {
            match (&self.stream).read(&mut chunk) {
                Ok(0) if splitter.is_between_messages() => {
                    return "the server closed it".to_owned();
                }
                Ok(0) => return "the server closed it in the middle of a message".to_owned(),
                Ok(length) => splitter.feed(&chunk[..length]),
                Err(error) => return format!("reading failed: {error}"),
            }
            loop {
                match splitter.take_message() {
                    Ok(None) => break,
                    Ok(Some(Message::Response { sent })) => {
                        if let Err(why) = self.answer_oldest(sent) {
                            return why;
                        }
                    }
                    Ok(Some(Message::Event(event))) => {
                        let on_event = Rc::clone(on_event);
                        sward::spawn(move || on_event(event));
                    }
                    Err(error) => return format!("received {error}"),
                }
            }
        }
    }

    /// Gives the oldest waiting commander its answer; an answer for another command ends the connection.
    fn answer_oldest(&self, answered: String) -> Result<(), String> {
        let Some(oldest) = self.pending.borrow_mut().pop_front() else {
            return Err(format!("an answer to {answered:?}, which nobody waits for"));
        };
        let sent = line(oldest.id);
        if sent == answered {
            oldest.settle(Ok(()));
            return Ok(());
        }
        let error = CommandError::WrongAnswer { sent, answered };
        let why = format!("out of step: {error}");
        oldest.settle(Err(error));
        Err(why)
    }

    /// Ends the connection: every waiting commander, and every later one, gets the reason. The first reason stays.
    fn lose(&self, why: &str) {
        let error = self.lost.get_or_init(|| CommandError::ConnectionLost { peer: self.peer, why: why.to_owned() });
        for pending in self.pending.take() {
            pending.settle(Err(error.clone()));
        }
        // Wakes the reader, and tells the server. An error here means that the connection is gone already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Pending {
    /// Wakes the commander with its result. Only the holder of the entry calls this, so it cannot have been set before.
    fn settle(self, result: Result<(), CommandError>) {
        let already = self.answer.set(result).is_err();
        assert!(!already, "command {} was answered twice", self.id);
    }
}

/// The line that is sent for a command, without its end.
fn line(id: u64) -> String {
    format!("CMD - {id}")
}
