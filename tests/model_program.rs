//! The promises of the model program: commands and events over one socket, between real sockets on loopback.

#![forbid(unsafe_code)]

use std::io::{BufRead, BufReader, Write};
use std::rc::Rc;
use std::time::Duration;

use client::{Client, CommandError};
use sward::net::{TcpListener, TcpStream};
use sward::sync::AsyncResult;

#[path = "../examples/esl/client.rs"]
mod client;
#[path = "../examples/esl/server.rs"]
mod server;

/// Longer than anything here takes; a test that reaches it has hung.
const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn every_response_reaches_the_commander_that_sent_its_command() {
    let addr = listen(|listener| server::serve(&listener).unwrap());
    let client = Client::connect(&addr, |_| {}).unwrap();
    sward::scope(|scope| {
        for k in 0..100 {
            let client = &client;
            scope.spawn(move || {
                for i in 0..20 {
                    assert_eq!(client.command(k * 1000 + i), Ok(()));
                }
            });
        }
    });
}

#[test]
fn events_begin_with_the_first_command_and_count_up() {
    let addr = listen(|listener| server::serve(&listener).unwrap());
    let (first, second) = (Rc::new(AsyncResult::new()), Rc::new(AsyncResult::new()));
    let client = Client::connect(&addr, {
        let (first, second) = (Rc::clone(&first), Rc::clone(&second));
        move |event| {
            assert_eq!(event.data, "dummy");
            match event.number {
                0 => first.set(()).unwrap(),
                1 => second.set(first.is_set()).unwrap(),
                _ => {}
            }
        }
    });
    let client = client.unwrap();
    client.command(1).unwrap();
    assert!(second.get_timeout(LIMIT).is_ok_and(|in_order| *in_order));
}

#[test]
fn a_dropped_connection_ends_every_waiting_commander() {
    // Takes all three commands, answers none.
    let addr = listen(|listener| drop(read_lines(&listener, 3)));
    let client = Client::connect(&addr, |_| {}).unwrap();
    for result in command_all(&client, [1, 2, 3]) {
        let error = result.unwrap_err().to_string();
        assert_eq!(error, format!("connection to {addr} lost: the server closed it"));
    }
    assert!(matches!(client.command(4), Err(CommandError::ConnectionLost { .. })), "nor does a later one hang");
}

#[test]
fn a_wrong_response_is_an_error_and_ends_the_connection() {
    let addr = listen(|listener| {
        let stream = read_lines(&listener, 2);
        (&stream).write_all(b"Response: YOU SENT CMD - 2\n\nResponse: YOU SENT CMD - 1\n\n").unwrap();
        sward::sleep(LIMIT); // it is the client that ends the connection
    });
    let client = Client::connect(&addr, |_| {}).unwrap();
    let results = command_all(&client, [1, 2]);
    let wrong = CommandError::WrongAnswer { sent: "CMD - 1".into(), answered: "CMD - 2".into() };
    assert_eq!(results[0], Err(wrong));
    let Err(CommandError::ConnectionLost { why, .. }) = &results[1] else { panic!("{results:?}") };
    assert_eq!(why, r#"out of step: sent "CMD - 1", but the answer is for "CMD - 2""#);
}

#[test]
fn bytes_that_are_no_message_end_every_waiting_commander() {
    let addr = listen(|listener| {
        let stream = read_lines(&listener, 1);
        (&stream).write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        sward::sleep(LIMIT);
    });
    let client = Client::connect(&addr, |_| {}).unwrap();
    let error = client.command(1).unwrap_err().to_string();
    assert!(error.contains("not understood") && error.contains("400 Bad Request"), "{error}");
}

#[test]
fn a_commander_that_gives_up_does_not_disturb_the_others() {
    let hurry = Rc::new(AsyncResult::new());
    let addr = listen({
        let hurry = Rc::clone(&hurry);
        move |listener| {
            let stream = read_lines(&listener, 2);
            hurry.get();
            (&stream).write_all(b"Response: YOU SENT CMD - 1\n\nResponse: YOU SENT CMD - 2\n\n").unwrap();
            sward::sleep(LIMIT);
        }
    });
    let client = Client::connect(&addr, |_| {}).unwrap();
    sward::scope(|scope| {
        let first = scope.spawn(|| sward::timeout(Duration::from_millis(50), || client.command(1)));
        let second = scope.spawn(|| client.command(2));
        assert!(first.join().unwrap().is_err(), "the first one's limit expired");
        hurry.set(()).unwrap();
        assert_eq!(second.join().unwrap(), Ok(()));
    });
}

/// Runs `server` in a greenlet, with a listener on a free port whose address is returned.
fn listen(server: impl FnOnce(TcpListener) + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    sward::spawn(move || server(listener));
    addr
}

/// Accepts one connection and reads that many lines from it.
fn read_lines(listener: &TcpListener, count: usize) -> TcpStream {
    let (stream, _peer) = listener.accept().unwrap();
    let lines = BufReader::new(&stream).lines().take(count).filter(Result::is_ok).count();
    assert_eq!(lines, count);
    stream
}

/// Sends one command from each of as many greenlets, in this order, and waits for all of them.
fn command_all<const N: usize>(client: &Client, ids: [u64; N]) -> [Result<(), CommandError>; N] {
    sward::scope(|scope| {
        let commanders = ids.map(|id| scope.spawn(move || client.command(id)));
        commanders.map(|commander| commander.join().unwrap())
    })
}
