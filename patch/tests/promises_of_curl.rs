//! libcurl, as the distribution built it, against a server in the same thread that is std's.

#[path = "support/curl.rs"]
mod curl;
#[path = "support/dynamic.rs"]
mod dynamic;
#[path = "support/proof.rs"]
mod proof;
mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};

use curl::Curl;
use proof::proves;
use support::{ms, patched, takes};

/// A server that answers with the path of the request, 200 ms later.
fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    sward::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            sward::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let request = lines.next().unwrap().unwrap();
                lines.find(|line| line.as_ref().is_ok_and(String::is_empty));
                let path = request.split(' ').nth(1).unwrap();
                std::thread::sleep(ms(200));
                let len = path.len();
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n{path}").unwrap();
            });
        }
    });
    address
}

#[test]
fn fifty_requests_of_libcurl_take_as_long_as_one() {
    patched("fifty_requests_of_libcurl_take_as_long_as_one", || {
        let Some(curl) = Curl::load() else { return };
        let address = serve();
        proves("libcurl, http", 50, |_| (), move |number, ()| curl.get(&format!("http://{address}/{number}"), None));
    });
}

#[test]
fn a_kill_inside_libcurl_ends_the_request_and_the_greenlet() {
    patched("a_kill_inside_libcurl_ends_the_request_and_the_greenlet", || {
        let Some(curl) = Curl::load() else { return };
        // Accepts nobody: the backlog lets the client connect, and then it waits.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let g = sward::spawn(move || {
            let (code, _) = curl.get(&format!("http://{address}/"), None);
            assert_ne!(code, 0, "libcurl was told of an error");
            sward::yield_now();
        });
        sward::sleep(ms(30));
        g.kill();
        takes(ms(0), ms(1000), || assert!(g.join().unwrap_err().is_killed()));
    });
}
