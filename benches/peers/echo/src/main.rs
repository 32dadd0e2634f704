//! Echo servers beside each other: prints the table of `docs/benchmarks.md`.
//!
//! The servers run on the first core, one process each; the load on the second. In each round every server has its turn
//! with the same load, so what other programs do to one they do to all. What counts is the CPU time that a server's
//! process took, divided by the number of requests.

use std::io::{self, BufRead, BufReader, Lines, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rustix::thread::{CpuSet, sched_setaffinity};

mod load;
mod servers;

/// Bytes of a request.
const SIZES: [usize; 2] = [64, 4096];
/// Connections.
const CONNECTIONS: [usize; 3] = [1, 50, 1000];
/// Rounds in which each server has its turn.
const ROUNDS: usize = 31;
/// The length of a turn in milliseconds.
const TURN: usize = 200;

const HELP: &str = "\
Usage: peers-echo            the table
       peers-echo idle       memory of a server for each of 10,000 idle connections
       peers-echo SERVER     one server (epoll loop, sward or tokio); says where it listens. `SERVER small`: a buffer of 1 KiB
       peers-echo load       the load: orders on standard input, see src/load.rs
";

fn main() -> io::Result<()> {
    let word = std::env::args().nth(1);
    match word.as_deref() {
        None => table(),
        Some("idle") => idle(),
        Some("load") => load::follow_orders(),
        Some(word) => match servers::SERVERS.iter().find(|(name, ..)| *name == word) {
            Some((_, serve, with_small_buffer)) => {
                let serve = if std::env::args().nth(2).is_some() { with_small_buffer } else { serve };
                let listener = TcpListener::bind("127.0.0.1:0")?;
                rustix::net::listen(&listener, 4096)?;
                println!("{}", listener.local_addr()?);
                serve(listener)
            }
            None => {
                print!("{HELP}");
                Ok(())
            }
        },
    }
}

/// Measures everything and prints it.
fn table() -> io::Result<()> {
    let servers = servers::SERVERS.map(|(name, ..)| Peer::start(&[name], 0));
    let servers = servers.into_iter().collect::<io::Result<Vec<_>>>()?;
    let mut load = Peer::start(&["load"], 1)?;
    println!("| connections | bytes | epoll loop | sward | tokio | sward : loop | sward : tokio |");
    println!("|---|---|---|---|---|---|---|");
    for connections in CONNECTIONS {
        for size in SIZES {
            let mut times = vec![Vec::new(); servers.len()];
            for round in 0..ROUNDS {
                for turn in 0..servers.len() {
                    let at = (turn + round) % servers.len();
                    times[at].push(servers[at].turn(&mut load, size, connections)?);
                }
            }
            let [epoll, sward, tokio] = [0, 1, 2].map(|at| quartiles(times[at].clone())[1]);
            let [to_loop, to_tokio] = [0, 2].map(|other| {
                let ratios = times[1].iter().zip(&times[other]).map(|(ours, theirs)| ours / theirs);
                let [low, middle, high] = quartiles(ratios.collect());
                format!("{middle:.3} ({low:.2} to {high:.2})")
            });
            println!("| {connections} | {size} | {epoll:.2} | {sward:.2} | {tokio:.2} | {to_loop} | {to_tokio} |");
        }
    }
    println!(
        "\nµs of CPU time for each request, medians of {ROUNDS} rounds; of the rounds' ratios the median, and where the \
         middle half of them lies."
    );
    Ok(())
}

/// Memory of idle connections.
fn idle() -> io::Result<()> {
    const MANY: usize = 10_000;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let all = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, all)?;
    println!("| server | KiB for each of {MANY} idle connections that have been served once | page tables |");
    println!("|---|---|---|");
    for (name, ..) in servers::SERVERS {
        let server = Peer::start(&[name, "small"], 0)?;
        let mut load = Peer::start(&["load"], 1)?;
        // The first few make what is made once.
        server.turn(&mut load, 64, 1)?;
        let before = (server.status("VmRSS:"), server.status("VmPTE:"));
        load.order(&format!("{} 64 {MANY} 0", server.says))?;
        let after = (server.status("VmRSS:"), server.status("VmPTE:"));
        let each = |after: f64, before: f64| (after - before) / MANY as f64;
        println!("| {name} | {:.2} | {:.2} |", each(after.0, before.0), each(after.1, before.1));
    }
    Ok(())
}

/// A quarter of the values is below the first, half of them below the second, three quarters below the third.
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[values.len() * quarter / 4])
}

/// Another process of this program; killed when dropped.
struct Peer {
    process: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    /// Its first line: where a server listens.
    says: String,
}

impl Peer {
    /// Starts one on a core.
    fn start(words: &[&str], core: usize) -> io::Result<Peer> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let mut cores = CpuSet::new();
        cores.set(core);
        sched_setaffinity(Some(rustix::process::Pid::from_child(&process)), &cores)?;
        let (stdin, stdout) = (process.stdin.take(), process.stdout.take());
        let mut peer = Peer {
            stdin: stdin.expect("piped"),
            stdout: BufReader::new(stdout.expect("piped")).lines(),
            says: String::new(),
            process,
        };
        if words != ["load"] {
            peer.says = peer.line()?;
        }
        Ok(peer)
    }

    fn line(&mut self) -> io::Result<String> {
        self.stdout.next().unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))
    }

    /// Gives the load an order and waits until it is ready.
    fn order(&mut self, order: &str) -> io::Result<()> {
        writeln!(self.stdin, "{order}")?;
        self.line().map(drop)
    }

    /// Microseconds of CPU time for each request of one turn.
    fn turn(&self, load: &mut Peer, size: usize, connections: usize) -> io::Result<f64> {
        load.order(&format!("{} {size} {connections} {TURN}", self.says))?;
        let before = self.cpu_time()?;
        writeln!(load.stdin)?;
        let requests: f64 = load.line()?.parse().map_err(io::Error::other)?;
        Ok((self.cpu_time()? - before) / requests)
    }

    /// CPU time of its only thread so far, in microseconds.
    fn cpu_time(&self) -> io::Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/schedstat", self.process.id()))?;
        let nanoseconds: f64 = text.split(' ').next().unwrap_or_default().parse().map_err(io::Error::other)?;
        Ok(nanoseconds / 1000.0)
    }

    /// A line of `/proc/PID/status` in KiB.
    fn status(&self, name: &str) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0 kB");
        line.trim().trim_end_matches(" kB").parse().unwrap_or(0.0)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
