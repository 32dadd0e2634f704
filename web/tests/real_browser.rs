//! A browser loads a page with a WebSocket and an event stream, and says what it sees. Behind the feature `real`,
//! since Chromium must be installed.

mod support;

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use support::{ms, start, watched_for};
use sward::process::{Child, Command, Stdio};
use sward::sync::AsyncResult;
use sward::web::{self, Body, Reply, Request, Response};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

/// Writes what comes into the page, and posts that back when both have come to their end.
const PAGE: &str = r#"<!doctype html><title>test</title><p id=socket></p><p id=events></p><script>
const at = id => document.getElementById(id);
let open = 2;
function done() {
    if (--open == 0)
        fetch("/report", {method: "POST", body: at("socket").textContent + "|" + at("events").textContent});
}
const socket = new WebSocket("ws://" + location.host + "/socket");
socket.onopen = () => { for (const text of ["a", "b", "c"]) socket.send(text); };
socket.onmessage = message => {
    at("socket").textContent += message.data;
    if (message.data == "C") socket.close(1000, "enough");
};
socket.onclose = event => { at("socket").textContent += ` ${event.wasClean} ${event.code}`; done(); };
const events = new EventSource("/events");
events.addEventListener("tick", event => { at("events").textContent += event.data; });
events.addEventListener("end", event => { at("events").textContent += event.lastEventId; events.close(); done(); });
</script>"#;

/// A browser with a profile of its own; gone when dropped.
struct Browser {
    child: Child,
    profile: PathBuf,
}

impl Browser {
    fn open(addr: SocketAddr) -> io::Result<Browser> {
        let profile = std::env::temp_dir().join(format!("sward-web-browser-{}", std::process::id()));
        std::fs::create_dir(&profile)?;
        let child = Command::new("chromium")
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--disable-dev-shm-usage", "--remote-debugging-port=0"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(format!("http://{addr}/"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Browser { child, profile })
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // SIGTERM, so that the processes of its own end with it.
        let id = rustix::process::Pid::from_raw(self.child.id() as i32).expect("no process has the id 0");
        _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        if !matches!(self.child.wait_timeout(Duration::from_secs(10)), Ok(Some(_))) {
            _ = self.child.kill();
            _ = self.child.wait();
        }
        _ = std::fs::remove_dir_all(&self.profile);
    }
}

/// What the page wants, and what it says in the end.
fn app(mut request: Request<Body>, report: &AsyncResult<String>) -> io::Result<Response<Reply>> {
    let html = Response::builder().header("content-type", "text/html");
    let response = match request.uri().path() {
        "/" => html.body(PAGE.into()),
        "/socket" => {
            web::upgrade(|stream| {
                let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
                // Until the browser has closed it.
                while let Ok(message) = socket.read() {
                    if let Message::Text(text) = message {
                        socket.send(Message::text(text.to_uppercase())).unwrap();
                    }
                }
            })?;
            let accept = derive_accept_key(request.headers()["sec-websocket-key"].as_bytes());
            let response = Response::builder().status(101).header("connection", "upgrade");
            response.header("upgrade", "websocket").header("sec-websocket-accept", accept).body(Reply::default())
        }
        "/events" => {
            let body = Reply::from_writer(|writer| {
                for n in 1..=3 {
                    write!(writer, "event: tick\ndata: {n}\n\n")?;
                    sward::sleep(ms(20));
                }
                write!(writer, "event: end\nid: last\ndata:\n\n")?;
                // The browser closes it.
                loop {
                    sward::sleep(ms(20));
                    write!(writer, ": still there\n\n")?;
                }
            });
            Response::builder().header("content-type", "text/event-stream").body(body)
        }
        "/report" => {
            let mut text = String::new();
            request.body_mut().read_to_string(&mut text)?;
            _ = report.set(text);
            html.body(Reply::default())
        }
        _ => html.status(404).body(Reply::default()),
    };
    Ok(response.unwrap())
}

#[test]
fn a_browser_sees_a_websocket_and_an_event_stream() {
    watched_for(Duration::from_secs(120), || {
        let report = Rc::new(AsyncResult::new());
        let server = start({
            let report = report.clone();
            move |request| app(request, &report)
        })?;
        let browser = Browser::open(server.addr)?;
        assert_eq!(report.get(), "ABC true 1000|123last");
        drop(browser);
        server.stop()
    });
}
