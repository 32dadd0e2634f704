//! How many system calls things cost, counted by strace. Behind the feature `real`, since it must be installed.

mod support;

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{ms, watched};
use sward::net::{Server, TcpStream};
use sward::sync::Barrier;
use sward::{join_all, sleep, spawn};

/// Set in the process that strace watches.
const WATCHED: &str = "SWARD_TEST_WATCHED";

/// Connections, all of which have a request in flight at the same time.
const CONNECTIONS: usize = 50;

/// Requests on each connection.
const ROUNDS: usize = 40;

/// What strace has seen: system calls, with their arguments and results.
struct Calls(String);

impl Calls {
    /// Runs the test of that name again, in a process that strace watches; `names` are separated by commas.
    fn of(test: &str, names: &str) -> Calls {
        let log = std::env::temp_dir().join(format!("sward-strace-{test}-{}", std::process::id()));
        let mut strace = Command::new("strace");
        // Of every thread: the watchdog's makes none of these.
        // Stopped at these calls only, so that it runs at its own pace otherwise.
        strace.args(["-f", "--seccomp-bpf", "-e", &format!("trace={names}"), "-e", "signal=none", "-o"]).arg(&log);
        strace.arg(std::env::current_exe().unwrap()).args([test, "--exact", "--test-threads=1"]);
        strace.env(WATCHED, "1").stdout(Stdio::null());
        assert!(strace.status().expect("strace is installed").success());
        let text = std::fs::read_to_string(&log).unwrap();
        let _ = std::fs::remove_file(&log);
        Calls(text)
    }

    /// The arguments and the result of each call of that name. One that another thread's cuts in two is in two lines,
    /// of which the second one has the result.
    fn named(&self, name: &str) -> impl Iterator<Item = (&str, &str)> {
        let (whole, resumed) = (format!(" {name}("), format!("<... {name} resumed>"));
        let lines = self.0.lines().filter(move |line| line.contains(&whole) || line.contains(&resumed));
        lines.filter_map(|line| line.rsplit_once(" = ").map(|(call, result)| (call.trim_end(), result)))
    }

    /// How many.
    fn count(&self, name: &str) -> usize {
        self.named(name).count()
    }
}

#[test]
fn a_request_is_one_read_and_one_write_and_a_batch_one_epoll_wait() {
    if std::env::var_os(WATCHED).is_some() {
        return talk();
    }
    let test = "a_request_is_one_read_and_one_write_and_a_batch_one_epoll_wait";
    let calls = Calls::of(test, "sendto,recvfrom");
    // The client is in the same process and on the same hub, so every request is two reads and two writes of ours.
    let both = 2 * CONNECTIONS * ROUNDS;
    assert_eq!(calls.count("sendto"), both);
    // In addition at most: the try before each side's first wait, and the end of the stream.
    let reads = calls.count("recvfrom");
    assert!((both..=both + 3 * CONNECTIONS).contains(&reads), "{reads} reads for {both}");
    // All requests of a round are one batch, all answers another.
    let batches = 2 * ROUNDS;
    // Now and then the hub looks without waiting, once in 256 switches or 5 ms: it may find a part of a batch early. On
    // a busy machine 5 ms may pass again and again, but not in each of several runs.
    let runs = (0..5).map(|_| Calls::of(test, "epoll_ctl,epoll_wait")).map(|calls| {
        let (looks, waits): (Vec<_>, Vec<_>) = calls.named("epoll_wait").partition(|(call, _)| call.ends_with(", 0)"));
        let (looks, waits) = (looks.len(), waits.len());
        println!("{waits} waits for {batches} batches, and {looks} looks");
        (looks <= batches && waits <= batches + batches / 10).then_some(calls)
    });
    let calls = runs.flatten().next().expect("one wait for a batch, and a look at most");
    // Registered once each, on both sides; and the listener, the waker, the alarm.
    let registrations = calls.count("epoll_ctl");
    assert!(registrations <= 4 * CONNECTIONS + 4, "{registrations} registrations");
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

#[test]
fn a_server_without_room_does_not_accept_and_one_without_descriptors_backs_off() {
    if std::env::var_os(WATCHED).is_some() {
        return exhaust();
    }
    let test = "a_server_without_room_does_not_accept_and_one_without_descriptors_backs_off";
    let calls = Calls::of(test, "accept4,epoll_wait");
    let results = |word: &str| calls.named("accept4").filter(|(_, result)| result.contains(word)).count();
    let (all, would_block, exhausted) = (calls.count("accept4"), results("EAGAIN"), results("EMFILE"));
    println!("{all} accept4, {would_block} EAGAIN, {exhausted} EMFILE; {} epoll_wait", calls.count("epoll_wait"));
    assert_eq!(all - would_block - exhausted, CLIENTS + 1, "each connection is accepted once");
    // One more, whenever all that were there have been accepted.
    assert!(would_block <= 2 * CLIENTS, "{would_block} in vain");
    // After 0, 10, 30, 70 and 150 ms, then every 100 ms, and for all of `SHORTAGE`.
    let most = 5 + SHORTAGE.as_millis() as usize / 100;
    assert!((2..=most).contains(&exhausted), "{exhausted} attempts without a descriptor, at most {most}");
    // Who sleeps is woken once, and so is who waits for a connection.
    let waits = calls.count("epoll_wait");
    assert!(waits <= 3 * all + 20, "{waits} waits");
}

/// Clients of a server with room for one.
const CLIENTS: usize = 5;

/// How long there are no descriptors.
const SHORTAGE: Duration = Duration::from_millis(400);

/// A full pool for a while, then no descriptors for a while.
fn exhaust() {
    watched(|| {
        let server = Server::bind("127.0.0.1:0")?.pool(1);
        let (addr, handle) = (server.local_addr()?, server.handle());
        spawn(move || server.serve(|mut stream, _peer| stream.read(&mut [0; 1])));
        let mut clients = (0..CLIENTS).map(|_| TcpStream::connect(addr)).collect::<Result<Vec<_>, _>>()?;
        sleep(ms(200)); // the pool is full
        for client in &mut clients {
            client.write_all(b"x")?;
            assert_eq!(client.read(&mut [0; 1])?, 0); // handled
        }
        let mut late = TcpStream::connect(addr)?; // without a switch: nobody has accepted it yet
        let before = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(3), maximum: before.maximum })?;
        sleep(SHORTAGE);
        setrlimit(Resource::Nofile, before)?;
        late.write_all(b"x")?;
        assert_eq!(late.read(&mut [0; 1])?, 0);
        handle.stop();
        Ok(())
    });
}
