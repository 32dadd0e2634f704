//! Fetches a URL many times at once: one greenlet for each request, in the order that a loop starts them.
//!
//! `cargo run --release --example load_client -- http://127.0.0.1:8080/hello/ 1000`. The chapter is
//! `docs/guide/load_client.md`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use lexopt::prelude::*;
use sward::net::TcpStream;

const HELP: &str = "\
Fetches a URL (http, no TLS) N times at once, then shows how long that took.

Usage: load_client URL N
";

/// Up to so many requests have a line each.
const FEW: usize = 20;
/// Columns of the progress bar.
const BAR: usize = 50;

fn main() -> ExitCode {
    match run(std::env::args_os().skip(1), &mut std::io::stdout()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("load_client: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What a URL says: `http://HOST[:PORT][/PATH]`.
struct Target {
    /// The name or number of the host.
    host: String,
    /// Its port.
    port: u16,
    /// What to ask it for.
    path: String,
}

impl Target {
    /// Takes a URL apart.
    fn parse(url: &str) -> Result<Target, String> {
        let rest = url.strip_prefix("http://").ok_or_else(|| format!("{url} does not begin with http://"))?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| format!("{port} is not a port"))?)
            }
            _ => (authority, 80),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Target { host, port, path: format!("/{path}") })
    }

    /// One request on a connection of its own: the answer's status and the length of its body.
    fn fetch(&self) -> Result<(u16, usize), Box<dyn Error>> {
        let mut stream = TcpStream::connect((&*self.host, self.port))?;
        let Target { host, path, .. } = self;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let status = answer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or("the answer has no end of its head")?;
        Ok((status.ok_or("the answer has no status")?, answer.len() - head - 4))
    }
}

/// Fetches, and says so; true if all went well.
pub(crate) fn run(
    arguments: impl IntoIterator<Item = OsString>,
    output: &mut dyn Write,
) -> Result<bool, Box<dyn Error>> {
    let Some((target, n)) = parse(arguments)? else {
        write!(output, "{HELP}")?;
        return Ok(true);
    };
    allow_many_sockets();
    let start = Instant::now();
    let report = Report::new(output);
    let mut times = sward::scope(|scope| {
        let requests: Vec<_> = (0..n)
            .map(|i| {
                let (target, report) = (&target, &report);
                scope.spawn(move || {
                    let result = target.fetch().map_err(|error| error.to_string());
                    let time = start.elapsed();
                    report.add(i, n, result, time).map(|()| time)
                })
            })
            .collect();
        requests.into_iter().map(|request| request.join().unwrap()).collect::<std::io::Result<Vec<Duration>>>()
    })?;
    let total = start.elapsed();
    times.sort();
    let Report { output, outcomes, failed, .. } = report;
    let output = output.into_inner();
    writeln!(output, "{n} requests in {total:.3?}")?;
    for (what, times) in outcomes.into_inner() {
        writeln!(output, "{times:>7} x {what}")?;
    }
    for (name, percent) in [("first", 0), ("50 %", 50), ("90 %", 90), ("99 %", 99), ("last", 100)] {
        if let Some(time) = times.get((times.len() * percent / 100).min(times.len().saturating_sub(1))) {
            writeln!(output, "{name:>9} after {time:.3?}")?;
        }
    }
    Ok(failed.get() == 0)
}

/// What has come so far.
struct Report<'a> {
    /// Where it is said.
    output: RefCell<&'a mut dyn Write>,
    /// How many answers, or errors.
    done: Cell<usize>,
    /// How many of them are no success.
    failed: Cell<usize>,
    /// How often each status, or error.
    outcomes: RefCell<BTreeMap<String, usize>>,
}

impl<'a> Report<'a> {
    /// Nothing yet.
    fn new(output: &'a mut dyn Write) -> Report<'a> {
        let (done, failed, outcomes) = (Cell::default(), Cell::default(), RefCell::default());
        Report { output: RefCell::new(output), done, failed, outcomes }
    }

    /// Request `i` of `n` has ended: a line if they are few, a longer bar if they are many.
    fn add(&self, i: usize, n: usize, result: Result<(u16, usize), String>, time: Duration) -> std::io::Result<()> {
        self.done.set(self.done.get() + 1);
        if !matches!(result, Ok((200..=299, _))) {
            self.failed.set(self.failed.get() + 1);
        }
        if n <= FEW {
            let line = match &result {
                Ok((status, len)) => format!("{i}: {status}, {len} bytes, after {time:.3?}\n"),
                Err(error) => format!("{i}: {error}, after {time:.3?}\n"),
            };
            self.output.borrow_mut().write_all(line.as_bytes())?;
        } else if std::io::stderr().is_terminal()
            && (self.done.get().is_multiple_of(n.div_ceil(BAR)) || self.done.get() == n)
        {
            eprint!("\r[{:BAR$}]", "#".repeat(self.done.get() * BAR / n));
            if self.done.get() == n {
                eprintln!();
            }
        }
        let outcome = result.map_or_else(|error| error, |(status, _)| status.to_string());
        *self.outcomes.borrow_mut().entry(outcome).or_default() += 1;
        Ok(())
    }
}

/// A socket is a descriptor, and the usual limit is 1024 of them: asks for as many as may be had.
fn allow_many_sockets() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    // Refused, there are fewer.
    _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// The command line; none if it asks for help.
fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<(Target, usize)>, Box<dyn Error>> {
    let (mut target, mut n) = (None, None);
    let mut arguments = lexopt::Parser::from_args(arguments);
    while let Some(argument) = arguments.next()? {
        match argument {
            Value(value) if target.is_none() => target = Some(Target::parse(&value.string()?)?),
            Value(value) if n.is_none() => n = Some(value.parse::<usize>()?.max(1)),
            Short('h') | Long("help") => return Ok(None),
            _ => return Err(argument.unexpected().into()),
        }
    }
    Ok(target.zip(n))
}
