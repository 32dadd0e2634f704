//! Promises that only other programs can check. See the feature `real`.

mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sward::lowlevel::Source;

/// Set in the child that strace watches.
const WATCHED: &str = "SWARD_TEST_WATCHED";

/// Seconds for which the child idles.
const IDLE: u64 = 1;

#[test]
fn an_idle_hub_makes_no_system_calls() {
    if std::env::var_os(WATCHED).is_some() {
        return idle();
    }
    let binary = std::env::current_exe().unwrap();
    let log = std::env::temp_dir().join(format!("sward-strace-{}", std::process::id()));
    let mut strace = Command::new("strace");
    strace.args(["-f", "-r", "-o"]).arg(&log).arg(binary);
    strace.args(["an_idle_hub_makes_no_system_calls", "--exact", "--test-threads=1"]);
    strace.env(WATCHED, "1").stdout(Stdio::null());
    assert!(strace.status().expect("strace is installed").success());
    let trace = std::fs::read_to_string(&log).unwrap();
    let _ = std::fs::remove_file(&log);
    // The idle second lies between two writes that only this test makes.
    let lines: Vec<_> = trace.lines().collect();
    let at =
        |mark: &str| lines.iter().position(|line| line.contains(mark)).unwrap_or_else(|| panic!("{mark}: {trace}"));
    let between = &lines[at("\"idle begins") + 1..at("\"idle ends")];
    println!("{}", between.join("\n"));
    // To set the alarm, to ask whether something is there, to sleep, to wake; not one per millisecond.
    assert!(between.len() <= 12, "{} system calls: {between:#?}", between.len());
}

/// A hub with a listener, a parked greenlet and a distant timer; nothing happens for a second.
fn idle() {
    use std::io::Read;
    let (ours, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let source = Source::new(ours);
    drop(sward::spawn(move || drop(source.read_with("test", None, |mut stream| stream.read(&mut [0; 8])))));
    drop(sward::spawn_later(support::FOREVER, || ()));
    sward::sleep(Duration::from_millis(1));
    mark("idle begins\n");
    let begin = Instant::now();
    sward::sleep(Duration::from_secs(IDLE));
    assert!(begin.elapsed() >= Duration::from_secs(IDLE));
    mark("idle ends\n");
}

/// Leaves a trace in strace's log.
fn mark(text: &str) {
    std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes()).unwrap();
}
