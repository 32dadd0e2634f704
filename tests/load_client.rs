//! The example `load_client`, against a server that counts what it is asked for.

#[allow(dead_code, reason = "its main function")]
#[path = "../examples/load_client.rs"]
mod load_client;

use std::cell::Cell;
use std::io::{Read, Write};
use std::rc::Rc;
use std::time::Duration;

use sward::net::{Server, TcpStream};

/// Runs it for `n` requests. The server answers 404 to each third one that it gets, after all have come.
fn load(n: usize) -> (bool, String) {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let (addr, handle) = (server.local_addr().unwrap(), server.handle());
    let asked = Rc::new(Cell::new(0_usize));
    let serving = sward::spawn(move || {
        server.serve(move |mut stream: TcpStream, _| {
            let mut request = [0; 200];
            let len = stream.read(&mut request).unwrap();
            let wanted = "GET /path?query HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
            assert_eq!(String::from_utf8_lossy(&request[..len]), wanted);
            asked.set(asked.get() + 1);
            let status = if asked.get().is_multiple_of(3) { "404 Not Found" } else { "200 OK" };
            while asked.get() < n {
                sward::sleep(Duration::from_millis(1)); // only if all are there at once is any answered
            }
            write!(stream, "HTTP/1.1 {status}\r\nconnection: close\r\n\r\n12345").unwrap();
        })
    });
    let mut output = Vec::new();
    let arguments = [format!("http://{addr}/path?query"), n.to_string()].map(Into::into);
    let all_well = sward::timeout(Duration::from_secs(60), || load_client::run(arguments, &mut output));
    handle.stop();
    serving.join().unwrap().unwrap();
    (all_well.unwrap().unwrap(), String::from_utf8(output).unwrap())
}

#[test]
fn a_few_requests_have_a_line_each() {
    let (all_well, output) = load(2);
    assert!(all_well, "{output}");
    for i in 0..2 {
        assert!(output.contains(&format!("{i}: 200, 5 bytes, after ")), "{output}");
    }
    assert!(output.contains("\n2 requests in ") && output.contains("\n      2 x 200\n"), "{output}");
}

#[test]
fn many_requests_are_counted_by_how_they_ended() {
    let (all_well, output) = load(300);
    assert!(!all_well, "some were not found");
    assert!(output.starts_with("300 requests in "), "no line for each: {output}");
    assert!(output.contains("\n    200 x 200\n    100 x 404\n"), "{output}");
    for percentile in ["first", "50 %", "90 %", "99 %", "last"] {
        assert!(output.contains(&format!("{percentile} after ")), "{output}");
    }
}

#[test]
fn errors_are_counted_too() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut output = Vec::new();
    let arguments = [format!("http://{unused}/"), "3".into()].map(Into::into);
    assert!(!load_client::run(arguments, &mut output).unwrap());
    let output = String::from_utf8(output).unwrap();
    assert!(output.contains("      3 x ") && output.to_lowercase().contains("refused"), "{output}");
}
