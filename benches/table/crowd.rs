//! What many greenlets cost: CPU time when they sleep, memory when they are parked. Each part is the whole life of a
//! process, so that nothing that was done before makes it look cheaper or dearer.

use std::cell::Cell;
use std::fs;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use sward::lowlevel::park;
use sward::{join_all, sleep, spawn, yield_now};

/// A part.
pub(crate) struct Crowd {
    /// What its heading says.
    pub(crate) name: &'static str,
    /// What the process of its own is told to run it by.
    pub(crate) word: &'static str,
    /// Runs it and prints its rows.
    pub(crate) run: fn(),
}

/// The parts.
pub(crate) const CROWDS: [Crowd; 2] = [
    Crowd { name: "100,000 greenlets that sleep a random time of 0 to 1000 ms", word: "sleepers", run: sleepers },
    Crowd { name: "1,000,000 parked greenlets", word: "parked", run: parked },
];

/// How many sleep.
const SLEEPERS: u32 = 100_000;
/// How many are parked.
const PARKED: u32 = 1_000_000;

/// A row of a part's table.
fn row(what: &str, limit: f64, value: f64, unit: &str) {
    let limit_text = if limit.is_finite() { format!("≤ {limit} {unit}") } else { String::new() };
    let reached = match limit.is_finite() {
        true if value <= limit => "✓",
        true => "missed",
        false => "",
    };
    println!("| {what} | {limit_text} | {value:.2} {unit} | {reached} |");
}

/// The heading of a part's table.
fn heading() {
    println!("| what | must reach | is | |\n|---|---|---|---|");
}

/// The whole of spawning, sleeping, waking and joining, in a fresh process and once more on its warm stacks.
fn sleepers() {
    heading();
    for (what, limit) in [("CPU time each, fresh stacks", 2100.0), ("the same again, used stacks", f64::INFINITY)] {
        let before = cpu_time();
        join_all((0..SLEEPERS).map(|_| {
            let time = Duration::from_nanos(fastrand::u64(0..1_000_000_000));
            spawn(move || sleep(time))
        }));
        row(what, limit, (cpu_time() - before).as_nanos() as f64 / f64::from(SLEEPERS), "ns");
    }
}

/// Makes them, lets each run until it parks, and looks at what the kernel says of this process.
fn parked() {
    // What the first greenlet of a process brings with it is not the others' cost.
    spawn(|| ()).join().unwrap();
    let empty = Memory::now();
    let start = Instant::now();
    let woken = Rc::new(Cell::new(0_u32));
    for _ in 0..PARKED {
        let woken = woken.clone();
        spawn(move || {
            park(None);
            woken.set(woken.get() + 1);
        });
    }
    yield_now();
    let each = start.elapsed().as_nanos() as f64 / 1000.0 / f64::from(PARKED);
    let full = Memory::now();
    let per_greenlet = |full: u64, empty: u64| full.saturating_sub(empty) as f64 / f64::from(PARKED);
    let (resident, tables) = (per_greenlet(full.resident, empty.resident), per_greenlet(full.tables, empty.tables));
    heading();
    row("resident memory each", f64::INFINITY, resident, "KiB");
    row("page tables each", f64::INFINITY, tables, "KiB");
    row("both", 4.7, resident + tables, "KiB");
    row("time to make and park one", 5.0, each, "µs");
    row("memory maps of the process", 100.0, full.maps as f64, "maps");
}

/// CPU time of this process so far, in user and kernel mode.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What `/proc/self` says, in KiB.
struct Memory {
    /// Pages in memory.
    resident: u64,
    /// Page tables.
    tables: u64,
    /// Lines of `maps`.
    maps: usize,
}

impl Memory {
    /// As it is now.
    fn now() -> Memory {
        let status = fs::read_to_string("/proc/self/status").expect("Linux has /proc");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).expect("a field in KiB")
        };
        let maps = fs::read_to_string("/proc/self/maps").expect("Linux has /proc").lines().count();
        Memory { resident: field("VmRSS:"), tables: field("VmPTE:"), maps }
    }
}
