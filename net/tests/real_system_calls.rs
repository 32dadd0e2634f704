//! How many system calls a request costs, counted by strace. Behind the feature `real`, since it must be installed.

mod support;

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use support::watched;
use sward::net::{Server, TcpStream};
use sward::sync::Barrier;
use sward::{join_all, spawn};

/// Set in the process that strace watches.
const WATCHED: &str = "SWARD_TEST_WATCHED";

/// Connections, all of which have a request in flight at the same time.
const CONNECTIONS: usize = 50;

/// Requests on each connection.
const ROUNDS: usize = 40;

#[test]
fn a_request_is_one_read_and_one_write_and_a_batch_one_epoll_wait() {
    if std::env::var_os(WATCHED).is_some() {
        return talk();
    }
    let log = std::env::temp_dir().join(format!("sward-strace-net-{}", std::process::id()));
    let mut strace = Command::new("strace");
    // Of every thread: the watchdog's makes none of these.
    strace.args(["-f", "-c", "-o"]).arg(&log).arg(std::env::current_exe().unwrap());
    strace.args(["a_request_is_one_read_and_one_write_and_a_batch_one_epoll_wait", "--exact", "--test-threads=1"]);
    strace.env(WATCHED, "1").stdout(Stdio::null());
    assert!(strace.status().expect("strace is installed").success());
    let table = std::fs::read_to_string(&log).unwrap();
    let _ = std::fs::remove_file(&log);
    println!("{table}");
    // The columns: % time, seconds, usecs/call, calls, [errors], syscall.
    let calls = |name: &str| -> usize {
        let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        rows.find(|row| row.last() == Some(&name)).map_or(0, |row| row[3].parse().unwrap())
    };
    // The client is in the same process and on the same hub, so every request is two reads and two writes of ours.
    let both = 2 * CONNECTIONS * ROUNDS;
    assert_eq!(calls("sendto"), both, "{table}");
    // In addition at most: the try before each side's first wait, and the end of the stream.
    let reads = calls("recvfrom");
    assert!((both..=both + 5 * CONNECTIONS).contains(&reads), "{reads} reads for {both}: {table}");
    // All requests of a round are one batch, all answers another; and one look in 256 switches, or 5 ms.
    let (waits, batches) = (calls("epoll_wait"), 2 * ROUNDS);
    assert!(waits <= batches * 2 + 40, "{waits} waits for {batches} batches: {table}");
    // Registered once each, on both sides; and the listener, the waker, the alarm.
    let registrations = calls("epoll_ctl");
    assert!(registrations <= 4 * CONNECTIONS + 10, "{registrations} registrations: {table}");
}

/// The server and its clients, in step.
fn talk() {
    watched(|| {
        let server = Server::bind("127.0.0.1:0")?;
        let (addr, handle) = (server.local_addr()?, server.handle());
        spawn(move || {
            server.serve(|mut stream, _peer| -> std::io::Result<()> {
                let mut buf = [0; 1024];
                loop {
                    let n = stream.read(&mut buf)?;
                    if n == 0 {
                        return Ok(());
                    }
                    stream.write_all(&buf[..n])?;
                }
            })
        });
        let together = std::rc::Rc::new(Barrier::new(CONNECTIONS));
        let clients = (0..CONNECTIONS).map(|_| {
            let together = together.clone();
            spawn(move || -> std::io::Result<()> {
                let mut stream = TcpStream::connect(addr)?;
                let mut buf = [0; 1024];
                for _ in 0..ROUNDS {
                    together.wait();
                    stream.write_all(&[7; 64])?;
                    assert_eq!(stream.read(&mut buf)?, 64);
                }
                Ok(())
            })
        });
        for client in join_all(clients) {
            client.unwrap()?;
        }
        handle.stop();
        Ok(())
    });
}
