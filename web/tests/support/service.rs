//! The example `web_service` as a process of its own: the test program, called once more.

#![allow(dead_code, unreachable_pub)] // no test file uses all of it

use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use sward::net::TcpStream;
use sward::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

#[path = "../../examples/web_service.rs"]
pub mod web_service;

/// The variable that has the service's command line, one argument a line, in the process that is the service.
const ARGUMENTS: &str = "SWARD_WEB_SERVICE";

/// A running `web_service`; killed when dropped.
pub struct Service {
    child: Child,
    out: BufReader<ChildStdout>,
    /// What it says it listens on, without `http://`.
    pub place: String,
}

/// Is the service, if this process was started to be one. The first thing that the test named in [`Service::start`]
/// does.
pub fn serve_if_asked() -> bool {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return false };
    if let Err(error) = web_service::run(arguments.lines().map(Into::into)) {
        println!("web_service: {error}");
        std::process::exit(1);
    }
    true
}

impl Service {
    /// Starts it and waits until it listens. `test` is the test of this program that calls [`serve_if_asked`].
    pub fn start(test: &str, arguments: &[&str]) -> io::Result<Service> {
        Service::start_with(test, arguments, Stdio::inherit())
    }

    /// As `start`, with this for its stderr.
    pub fn start_with(test: &str, arguments: &[&str], stderr: impl Into<Stdio>) -> io::Result<Service> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--exact", test, "--nocapture"])
            .env(ARGUMENTS, arguments.join("\n"))
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()?;
        let mut out = BufReader::new(child.stdout.take().expect("a pipe was asked for"));
        let mut said = String::new();
        let place = loop {
            let from = said.len();
            if out.read_line(&mut said)? == 0 {
                _ = child.wait();
                return Err(io::Error::other(said));
            }
            if let Some((_, place)) = said[from..].trim_end().split_once("listening on ") {
                break place.trim_start_matches("http://").trim_start_matches("https://").to_owned();
            }
        };
        Ok(Service { child, out, place })
    }

    /// On a free port.
    pub fn on_tcp(test: &str, arguments: &[&str]) -> io::Result<Service> {
        Service::start(test, &[&["--addr", "127.0.0.1:0"], arguments].concat())
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.place.parse().expect("it listens on TCP")
    }

    /// A connection.
    pub fn connect(&self) -> io::Result<TcpStream> {
        TcpStream::connect(self.addr())
    }

    /// Sends it SIGTERM; how it ended, and what it said after it had begun to listen.
    pub fn stop(mut self) -> io::Result<(ExitStatus, String)> {
        self.terminate();
        let mut said = String::new();
        self.out.read_to_string(&mut said)?;
        Ok((self.child.wait()?, said))
    }

    /// Sends it SIGTERM.
    pub fn terminate(&self) {
        let id = Pid::from_raw(self.child.id() as i32).expect("no process has the id 0");
        _ = kill_process(id, Signal::TERM);
    }

    /// The memory that it has in use, in bytes.
    pub fn memory(&self) -> io::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes.map(|n| n * 1024).ok_or_else(|| io::Error::other("no VmRSS"))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Allows this process, and those that it starts, so many descriptors.
pub fn allow_descriptors(n: u64) {
    let limit = getrlimit(Resource::Nofile);
    assert!(limit.maximum.is_none_or(|most| most >= n), "ulimit -Hn must be at least {n}: {limit:?}");
    if limit.current.is_some_and(|current| current < n) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(n), maximum: limit.maximum }).unwrap();
    }
}
