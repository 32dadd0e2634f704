//! The client's side of the protocol, pure: bytes in, messages out.
//!
//! A message is some `Key: value` lines and then an empty line. Lines end with `\n`, or `\r\n`.

use std::fmt;

/// The longest message that is accepted, in bytes: a peer that never sends an empty line must not fill the memory.
pub(crate) const MAX_MESSAGE: usize = 64 * 1024;

/// What the server sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// The answer to one command.
    Response {
        /// The text after `YOU SENT`: the line that the server received.
        sent: String,
    },
    /// Something that happened by itself.
    Event(Event),
}

/// What the server tells without being asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// Counts up from 0 on each connection.
    pub(crate) number: u64,
    /// The text after `Data:`.
    pub(crate) data: String,
}

/// Bytes that are not a message of this protocol. Nothing that follows them can be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MessageError {
    /// More than [`MAX_MESSAGE`] bytes without an empty line.
    TooLong,
    /// A whole message that does not say what it is; the text, cut to what fits a log line.
    NotUnderstood(String),
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "a message of more than {MAX_MESSAGE} bytes"),
            Self::NotUnderstood(text) => write!(f, "a message that is not understood: {text:?}"),
        }
    }
}

impl std::error::Error for MessageError {}

/// Cuts a stream of bytes into messages, wherever the chunks happen to begin and end.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    /// What has been fed and not yet taken: `buffer[taken..]`.
    buffer: Vec<u8>,
    /// How much of `buffer` has been taken. Removed at the next `feed`, so that taking does not move bytes.
    taken: usize,
    /// The end of what is known to hold no end of a message; always at the beginning of a line, and `>= taken`.
    scanned: usize,
}

impl Splitter {
    /// Appends what was read.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken);
        self.scanned -= self.taken;
        self.taken = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, or `None` if its end has not been fed yet.
    pub(crate) fn take_message(&mut self) -> Result<Option<Message>, MessageError> {
        while let Some(length) = self.buffer[self.scanned..].iter().position(|&byte| byte == b'\n') {
            let line = &self.buffer[self.scanned..self.scanned + length];
            let end_of_message = matches!(line, b"" | b"\r");
            let end = self.scanned;
            self.scanned += length + 1;
            if end_of_message {
                let start = std::mem::replace(&mut self.taken, self.scanned);
                if start == end {
                    continue; // an empty line between messages
                }
                return parse(&self.buffer[start..end]).map(Some);
            }
        }
        if self.buffer.len() - self.taken > MAX_MESSAGE {
            return Err(MessageError::TooLong);
        }
        Ok(None)
    }

    /// Whether the stream may end here: nothing is left but whole messages.
    pub(crate) fn is_between_messages(&self) -> bool {
        self.taken == self.buffer.len()
    }
}

/// Reads the lines of one message, without its empty line.
fn parse(message: &[u8]) -> Result<Message, MessageError> {
    let text = String::from_utf8_lossy(message);
    let not_understood = || MessageError::NotUnderstood(text.chars().take(200).collect());
    let mut lines = text.lines();
    let (key, value) = lines.next().and_then(|line| line.split_once(": ")).ok_or_else(not_understood)?;
    match key {
        "Response" => {
            let sent = value.strip_prefix("YOU SENT ").ok_or_else(not_understood)?;
            Ok(Message::Response { sent: sent.to_owned() })
        }
        "Event" => {
            let number = value.parse().map_err(|_| not_understood())?;
            let data = lines.find_map(|line| line.strip_prefix("Data: ")).ok_or_else(not_understood)?;
            Ok(Message::Event(Event { number, data: data.to_owned() }))
        }
        _ => Err(not_understood()),
    }
}
