//! What `Server::stop_on_signal` promises: in processes of its own, which are sent the signals.

mod support;

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use support::{ms, watched};
use sward::net::Server;

/// Set in the processes that serve; says how.
const CHILD: &str = "SWARD_TEST_STOPS";

/// A server that echoes; the handler of a client that says "stay" ends only by being killed.
#[test]
#[ignore = "not a test of its own: what the children of the others do"]
fn serves() {
    let how = std::env::var(CHILD).expect("run by another test");
    watched(|| {
        let (limit, threads) = how.split_once(' ').expect("a limit and a number");
        let server = Server::bind("127.0.0.1:0")?.stop_on_signal(ms(limit.parse().unwrap()));
        println!("\nserving {}", server.local_addr()?);
        io::stdout().flush()?;
        server.threads(threads.parse().unwrap()).serve(|mut stream, _peer| -> io::Result<()> {
            let mut buf = [0; 16];
            loop {
                let n = stream.read(&mut buf)?;
                if n == 0 {
                    return Ok(());
                }
                stream.write_all(&buf[..n])?;
                if &buf[..n] == b"stay" {
                    sward::sleep(Duration::from_secs(3600));
                }
            }
        })?;
        println!("\nserved");
        io::stdout().flush()
    });
}

/// A server with that limit on so many hubs, and what it says.
fn start(limit: u64, threads: u32) -> io::Result<(Child, String, impl Iterator<Item = io::Result<String>>)> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["serves", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(CHILD, format!("{limit} {threads}"));
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut says = BufReader::new(child.stdout.take().unwrap()).lines();
    let addr = loop {
        let line = says.next().expect("it says where it serves")?;
        if let Some(addr) = line.strip_prefix("serving ") {
            break addr.to_owned();
        }
    };
    Ok((child, addr, says))
}

/// Sends a signal.
fn signal(child: &Child, signal: Signal) -> io::Result<()> {
    Ok(kill_process(Pid::from_child(child), signal)?)
}

/// A connection that has been served.
fn connect(addr: &str, word: &[u8]) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(ms(20_000)))?;
    talk(&mut stream, word)?;
    Ok(stream)
}

/// Says a word and hears it.
fn talk(stream: &mut TcpStream, word: &[u8]) -> io::Result<()> {
    stream.write_all(word)?;
    let mut answer = vec![0; word.len()];
    stream.read_exact(&mut answer)?;
    assert_eq!(answer, word);
    Ok(())
}

/// Until nobody listens any more.
fn wait_until_refused(addr: &str) {
    while TcpStream::connect(addr).is_ok() {
        std::thread::sleep(ms(2));
    }
}

#[test]
fn connections_may_end_and_new_ones_are_refused() {
    watched(|| {
        for (which, threads) in [(Signal::TERM, 1), (Signal::INT, 1), (Signal::TERM, 2)] {
            let (mut child, addr, mut says) = start(20_000, threads)?;
            let mut streams = (0..4).map(|_| connect(&addr, b"hello")).collect::<io::Result<Vec<_>>>()?;
            signal(&child, which)?;
            wait_until_refused(&addr);
            for stream in &mut streams {
                talk(stream, b"after the signal")?;
            }
            assert!(child.try_wait()?.is_none(), "it waits for its connections");
            drop(streams);
            assert!(says.any(|line| line.is_ok_and(|line| line == "served")));
            assert!(child.wait()?.success());
        }
        Ok(())
    });
}

#[test]
fn those_that_stay_are_cut_off_at_the_limit() {
    watched(|| {
        for threads in [1, 2] {
            let (mut child, addr, mut says) = start(200, threads)?;
            let mut streams = (0..4).map(|_| connect(&addr, b"stay")).collect::<io::Result<Vec<_>>>()?;
            let start = Instant::now();
            signal(&child, Signal::TERM)?;
            signal(&child, Signal::TERM)?; // an impatient operator changes nothing
            for stream in &mut streams {
                match stream.read(&mut [0; 16]) {
                    Ok(n) => assert_eq!(n, 0),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
                }
            }
            assert!(start.elapsed() >= ms(200), "cut off after {:?}", start.elapsed());
            assert!(says.any(|line| line.is_ok_and(|line| line == "served")));
            assert!(child.wait()?.success());
        }
        Ok(())
    });
}
