//! Names in a statically linked program: libc's resolver has no hook of its own there, but some of its reads come to
//! one, and must not park.

use std::ffi::{CString, c_char, c_int};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

unsafe extern "C" {
    fn archive_ask(name: *const c_char, port: c_int) -> c_int;
}

/// How many ask.
const ASKERS: u8 = 10;

/// Whether several greenlets get the addresses that they ask for.
pub(crate) fn work() -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| _ = answer(stream)));
    let ask = move |number| {
        let name = CString::new(format!("host{number}.test")).expect("no zero byte");
        // SAFETY: a C string.
        unsafe { archive_ask(name.as_ptr(), port.into()) }
    };
    let askers: Vec<_> = (0..ASKERS).map(|number| sward::spawn(move || ask(number))).collect();
    let answers: Vec<_> = askers.into_iter().map(|asker| asker.join().expect("no panic")).collect();
    let expected: Vec<_> = (0..ASKERS).map(c_int::from).collect();
    println!("addresses end with {answers:?}");
    answers == expected
}

/// Answers one question, late, with 10.0.0.N for hostN.test.
fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message)?;
    // Behind the header is the name: its first part with its length, which ends with the number.
    let label = &message[13..13 + usize::from(message[12])];
    let number = label.iter().filter(|byte| byte.is_ascii_digit()).fold(0, |sum, digit| sum * 10 + digit - b'0');
    // A response, recursion available, one answer, nothing else.
    message[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    let end = message[12..].iter().position(|&byte| byte == 0).expect("a name ends") + 12 + 5;
    message.truncate(end);
    // The name in the question, A, IN, a minute, four bytes.
    message.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, number]);
    std::thread::sleep(Duration::from_millis(20));
    stream.write_all(&(message.len() as u16).to_be_bytes())?;
    stream.write_all(&message)
}
