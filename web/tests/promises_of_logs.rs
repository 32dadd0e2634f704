//! What the documentation says about the logs: one line for a request, and enough of a failed one.

mod support;

use std::io::{self, Write};
use std::sync::Mutex;

use support::client::Client;
use support::{start, watched};
use sward::web::{Reply, Response};

/// All lines so far.
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Keeps the lines of the server.
struct Keeper;

impl log::Log for Keeper {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.level() <= log::Level::Info {
            let line = format!("{} {} {}", record.target(), record.level(), record.args());
            LINES.lock().unwrap().push(line);
        }
    }

    fn flush(&self) {}
}

/// The one line that was written since the last call.
fn line() -> String {
    let lines = std::mem::take(&mut *LINES.lock().unwrap());
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.into_iter().next().unwrap()
}

#[test]
fn requests_are_logged() {
    watched(|| {
        log::set_logger(&Keeper).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
        let server = start(|request| match request.uri().path() {
            "/panic" => panic!("part of the test"),
            "/error" => Err(io::Error::other("bad luck")),
            "/stream" => Ok(Response::new(Reply::from_writer(|writer| writer.write_all(b"1234567")))),
            "/half" => Ok(Response::new(Reply::from_writer(|writer| {
                writer.write_all(b"1234567")?;
                panic!("part of the test too")
            }))),
            "/body" => io::read_to_string(request.into_body()).map(|text| Response::new(text.into())),
            _ => Ok(Response::new("hello".into())),
        })?;

        server.send("GET /path?query=1 HTTP/1.1\r\nhost: a\r\n\r\n")?;
        let (before, after) = (line(), "\"GET /path?query=1 HTTP/1.1\" 200 5");
        let (prefix, date) = ("sward_web::access INFO 127.0.0.1 - - [", "01/Jan/2026:00:00:00 +0000] ");
        assert!(before.starts_with(prefix) && before.ends_with(after), "{before}");
        assert_eq!(before.len(), prefix.len() + date.len() + after.len(), "{before}");

        server.send("GET /stream HTTP/1.1\r\nhost: a\r\n\r\n")?;
        assert!(line().ends_with("] \"GET /stream HTTP/1.1\" 200 7"));

        server.send("GET /\"-200-5\\ HTTP/1.1\r\nhost: a\r\n\r\n")?;
        assert!(line().ends_with(r#"] "GET /\"-200-5\\ HTTP/1.1" 200 5"#));

        let client = Client::connect(server.addr)?;
        client.send("/two", None)?;
        assert!(line().ends_with("] \"GET /two HTTP/2.0\" 200 5"));
        drop(client);

        server.send("GET /panic HTTP/1.1\r\nhost: a\r\n\r\n")?;
        let lines = std::mem::take(&mut *LINES.lock().unwrap());
        assert!(lines[0].starts_with("sward_web ERROR GET /panic from 127.0.0.1:"), "{lines:?}");
        assert!(lines[0].contains(": greenlet ") && lines[0].ends_with(": part of the test"), "{lines:?}");
        assert!(lines[1].ends_with("] \"GET /panic HTTP/1.1\" 500 0"), "{lines:?}");

        server.send("GET /error?x=1 HTTP/1.1\r\nhost: a\r\n\r\n")?;
        let lines = std::mem::take(&mut *LINES.lock().unwrap());
        assert!(lines[0].starts_with("sward_web ERROR GET /error?x=1 from 127.0.0.1:"), "{lines:?}");
        assert!(lines[0].contains(": greenlet ") && lines[0].ends_with(": bad luck"), "{lines:?}");
        assert_eq!(lines.len(), 2, "{lines:?}");

        // The client is to blame: only the access log has it.
        server.send("POST /body HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nshort")?;
        assert!(line().ends_with("] \"POST /body HTTP/1.1\" 400 0"));
        server.send("GET / HTTP/1.1\r\n\r\n")?;
        assert!(line().ends_with("] \"GET / HTTP/1.1\" 400 0"));

        // A body that fails half-way: which request it was, and why.
        server.send("GET /half HTTP/1.1\r\nhost: a\r\n\r\n")?;
        let lines = std::mem::take(&mut *LINES.lock().unwrap());
        assert!(lines[0].starts_with("sward_web ERROR GET /half from 127.0.0.1:"), "{lines:?}");
        assert!(lines[0].contains(": greenlet ") && lines[0].ends_with("part of the test too"), "{lines:?}");
        server.stop()
    });
}
