//! One server under one load, in a fresh process.

use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use crate::servers::{Server, programs};

/// Connections of which each has been served once and then waits.
const IDLE: usize = 9_900;
/// What wrk does.
pub struct Load {
    /// Open connections.
    pub connections: usize,
    /// How long.
    pub seconds: u32,
    /// Sixteen requests at a time instead of one.
    pub pipelined: bool,
}

/// What was seen.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Requests a second.
    pub throughput: f64,
    /// Median latency in milliseconds.
    pub p50: f64,
    /// The latency in milliseconds that one of a hundred requests exceeds.
    pub p99: f64,
    /// Microseconds of the server's processor time for a request, accepting the connections included.
    pub cpu: f64,
    /// The server's largest resident memory in MiB.
    pub memory: f64,
}

/// The middle one; none of none.
pub fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    quartiles(values).map(|[_, median, _]| median)
}

/// A quarter of the values is below the first, half of them below the second, three quarters below the third.
pub fn quartiles(values: impl Iterator<Item = f64>) -> Option<[f64; 3]> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    // Between two of them where it falls between them.
    Some([1, 2, 3].map(|quarter| (values[last * quarter / 4] + values[(last * quarter).div_ceil(4)]) / 2.0))
}

/// A running server, stopped when dropped.
struct Running {
    /// The process.
    process: Child,
    /// Where it listens.
    addr: String,
}

impl Running {
    /// Starts a server and waits until it listens.
    fn start(server: &Server) -> io::Result<Running> {
        for port in free_ports().take(5) {
            let addr = format!("127.0.0.1:{port}");
            let mut running = Running { process: server.command(&addr).spawn()?, addr };
            let begun = Instant::now();
            // One that has ended found its port taken meanwhile.
            while running.process.try_wait()?.is_none() && begun.elapsed() < Duration::from_secs(10) {
                if TcpStream::connect(&running.addr).is_ok() {
                    return Ok(running);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Err(io::Error::other(format!("{} does not listen", server.name)))
    }

    /// Seconds of processor time so far, of all threads that live.
    fn cpu(&self) -> io::Result<f64> {
        let mut nanoseconds = 0.0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            // In clock ticks, as `stat` has it, a second is known to a hundredth.
            let text = fs::read_to_string(thread?.path().join("schedstat"))?;
            nanoseconds += text.split(' ').next().and_then(|number| number.parse::<f64>().ok()).unwrap_or(f64::NAN);
        }
        Ok(nanoseconds / 1e9)
    }

    /// The largest resident memory so far, in MiB.
    fn memory(&self) -> io::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
        Ok(kib.unwrap_or(f64::NAN) / 1024.0)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// Ports that nobody listens on, below those that clients are given.
fn free_ports() -> impl Iterator<Item = u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + (std::process::id() % 8000) as u16;
    std::iter::repeat_with(move || first + NEXT.fetch_add(1, Ordering::Relaxed) % 4000)
        .filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
}

/// Loads a server; none, with a message, if wrk failed.
pub fn run(server: &Server, load: &Load) -> io::Result<Option<Sample>> {
    let running = Running::start(server)?;
    let url = format!("http://{}/", running.addr);
    let mut wrk = Command::new("taskset");
    wrk.args(["-c", "1", "wrk", "-t1", "--latency", "--timeout", "30s"]);
    wrk.arg(format!("-c{}", load.connections)).arg(format!("-d{}s", load.seconds));
    if load.pipelined {
        wrk.args(["-s", "pipeline.lua"]);
    }
    let before = running.cpu()?;
    let output = wrk.arg(url).output()?;
    let cpu = running.cpu()? - before;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let sample = read(&text, cpu, running.memory()?);
    if sample.is_none() {
        let errors = String::from_utf8_lossy(&output.stderr);
        eprintln!("{} with {} connections: wrk says {text} {errors}", server.name, load.connections);
    }
    Ok(sample)
}

/// What wrk has printed.
fn read(text: &str, cpu: f64, memory: f64) -> Option<Sample> {
    let after = |label: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(label))?;
        Some(line.trim().to_owned())
    };
    let requests: f64 = text.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok())?;
    if requests == 0.0 {
        return None;
    }
    Some(Sample {
        throughput: after("Requests/sec:")?.parse().ok()?,
        p50: milliseconds(&after("50%")?)?,
        p99: milliseconds(&after("99%")?)?,
        cpu: cpu * 1e6 / requests,
        memory,
    })
}

/// A duration as wrk writes it.
fn milliseconds(text: &str) -> Option<f64> {
    let units = [("us", 0.001), ("ms", 1.0), ("s", 1000.0), ("m", 60_000.0)];
    let (number, factor) = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    Some(number.parse::<f64>().ok()? * factor)
}

/// KiB of resident memory for each of many idle connections.
pub fn idle(server: &Server) -> io::Result<Option<f64>> {
    let running = Running::start(server)?;
    let mut burst = Command::new(programs().join("burst"));
    burst.args([&running.addr, "/", &IDLE.to_string(), &running.process.id().to_string()]);
    let output = burst.output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let kib = text.split_once(" KiB each idle").and_then(|(before, _)| before.rsplit(' ').next()?.parse().ok());
    if kib.is_none() {
        eprintln!("{} with {IDLE} idle connections: {text} {}", server.name, String::from_utf8_lossy(&output.stderr));
    }
    Ok(kib)
}
