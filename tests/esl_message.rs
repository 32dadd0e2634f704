//! The message splitter of `esl_client`: what the chunks are must not matter.

#![forbid(unsafe_code)]

use message::{Event, MAX_MESSAGE, Message, MessageError, Splitter};

#[path = "../examples/esl/message.rs"]
mod message;

/// Three messages, an empty line between messages, both kinds of line ends, and a character of several bytes.
const STREAM: &str = "Response: YOU SENT CMD - 7\n\n\nEvent: 0\nData: dümmy\n\nResponse: YOU SENT \r\n\r\n";

#[test]
fn messages_are_the_same_wherever_the_stream_is_cut() {
    let whole = split([STREAM.as_bytes()]);
    assert_eq!(whole, expected());
    for cut in 0..=STREAM.len() {
        let (first, second) = STREAM.as_bytes().split_at(cut);
        assert_eq!(split([first, second]), expected(), "cut at {cut}");
    }
    for size in 1..STREAM.len() {
        assert_eq!(split(STREAM.as_bytes().chunks(size)), expected(), "chunks of {size}");
    }
}

#[test]
fn random_chunks_of_a_long_stream() {
    fastrand::seed(7);
    let stream = STREAM.repeat(500);
    let mut rest = stream.as_bytes();
    let mut chunks = Vec::new();
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(fastrand::usize(1..=rest.len().min(300)));
        chunks.push(chunk);
        rest = after;
    }
    let expected: Vec<_> = std::iter::repeat_n(expected(), 500).flatten().collect();
    assert_eq!(split(chunks), expected);
}

#[test]
fn an_unfinished_message_waits_for_its_end() {
    let mut splitter = Splitter::default();
    assert!(splitter.is_between_messages());
    splitter.feed(b"Response: YOU SENT a\n");
    assert_eq!(splitter.take_message(), Ok(None));
    assert!(!splitter.is_between_messages());
    splitter.feed(b"\nEvent: 1\n");
    assert_eq!(splitter.take_message(), Ok(Some(response("a"))));
    assert_eq!(splitter.take_message(), Ok(None));
    assert!(!splitter.is_between_messages());
    splitter.feed(b"Data: b\n\n");
    assert_eq!(splitter.take_message(), Ok(Some(event(1, "b"))));
    assert!(splitter.is_between_messages());
}

#[test]
fn what_is_not_understood_is_an_error_that_shows_it() {
    for text in ["hello", "Response: CMD - 1", "Event: one\nData: x", "Event: 1", "Answer: YOU SENT x"] {
        let mut splitter = Splitter::default();
        splitter.feed(format!("{text}\n\n").as_bytes());
        let error = splitter.take_message().unwrap_err();
        assert_eq!(error, MessageError::NotUnderstood(format!("{text}\n")));
    }
}

#[test]
fn a_message_without_an_end_is_refused_before_it_fills_the_memory() {
    let mut splitter = Splitter::default();
    let line = [b'x'; 1023];
    for _ in 0..=MAX_MESSAGE / line.len() {
        assert!(matches!(splitter.take_message(), Ok(None)));
        splitter.feed(&line);
    }
    assert_eq!(splitter.take_message(), Err(MessageError::TooLong));
}

/// All messages of a stream that arrives in these chunks.
fn split<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Message> {
    let mut splitter = Splitter::default();
    let mut messages = Vec::new();
    for chunk in chunks {
        splitter.feed(chunk);
        while let Some(message) = splitter.take_message().expect("a stream without errors") {
            messages.push(message);
        }
    }
    assert!(splitter.is_between_messages());
    messages
}

fn expected() -> Vec<Message> {
    vec![response("CMD - 7"), event(0, "dümmy"), response("")]
}

fn response(sent: &str) -> Message {
    Message::Response { sent: sent.to_owned() }
}

fn event(number: u64, data: &str) -> Message {
    Message::Event(Event { number, data: data.to_owned() })
}
