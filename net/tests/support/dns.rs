//! A name server.

#![allow(unreachable_pub)] // each test file is a crate of its own

use std::io;

use sward::net::UdpSocket;

/// Answers queries until it fails.
pub fn answer_all(socket: &UdpSocket) -> io::Result<()> {
    let mut buf = [0; 1500];
    loop {
        let (n, peer) = socket.recv_from(&mut buf)?;
        if let Some(answer) = answer(&buf[..n]) {
            socket.send_to(&answer, peer)?;
        }
    }
}

/// The answer to a query: every name has the address 10.0.0.(length of its first label), and no other record.
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let mut end = 12;
    while *query.get(end)? != 0 {
        end += 1 + usize::from(query[end]);
    }
    let question = query.get(12..end + 5)?;
    let is_for_address = query[end + 1..end + 3] == [0, 1];
    let mut answer = query[..2].to_vec();
    answer.extend([0x85, 0x80, 0, 1, 0, u8::from(is_for_address), 0, 0, 0, 0]); // a final answer to one question
    answer.extend(question);
    if is_for_address {
        answer.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, query[12]]); // that name, A, IN, 60 s
    }
    Some(answer)
}
