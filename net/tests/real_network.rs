//! Trouble made for real, by the kernel, in a network namespace of the test's own: delay and loss, resets, connections
//! that are half open. Behind the feature `real`: it needs `unshare`, `ip`, `nft` and `tc`, and the right to use them.
//!
//! Without the test harness, which would print "ok" for what could not be done here: each line says what was done by
//! what, or why not. `promises_under_trouble.rs` has the same troubles made by a proxy, everywhere.

#[path = "support/dns.rs"]
mod dns;
#[path = "support/echo.rs"]
mod echo;
mod support;

use std::io::{self, ErrorKind, Read, Write};
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use echo::{Echo, LONG, talk, text};
use socket2::{SockRef, TcpKeepalive};
use support::{Watchdog, ms, tcp_pair};
use sward::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use sward::{join_all, scope, sleep, spawn};

/// Set in the process that is in the namespace.
const INSIDE: &str = "SWARD_TEST_IN_NAMESPACE";

/// How long all of it may take.
const LIMIT: Duration = Duration::from_secs(120);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // What cargo and people ask of test programs: a list, or tests with a word in their name.
    if arguments.iter().any(|argument| argument == "--list") {
        return println!("real_network: test");
    }
    if arguments.iter().any(|word| !word.starts_with('-') && !"real_network".contains(word.as_str())) {
        return;
    }
    if std::env::var_os(INSIDE).is_some() {
        let _watchdog = Watchdog::new("real_network".into(), LIMIT);
        return inside();
    }
    if let Err(reason) = run(unshare().arg("true")) {
        return println!(
            "NOT DONE: real_network: no network namespace to be had ({reason}); see promises_under_trouble"
        );
    }
    let mut unshare = unshare();
    unshare.arg(std::env::current_exe().unwrap()).env(INSIDE, "1");
    let status = unshare.status().unwrap();
    assert!(status.success(), "in the namespace: {status}");
}

/// Runs a program in a network namespace of its own, and one of mounts, for the resolver's configuration.
fn unshare() -> Command {
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.args(["--net", "--mount"]);
    unshare
}

/// Everything, in the namespace.
fn inside() {
    run(Command::new("ip").args(["link", "set", "lo", "up"])).expect("the namespace is ours");
    let tc = |words: &str| run(Command::new("tc").args(words.split(' ')));
    let netem = "qdisc replace dev lo root netem delay 5ms 2ms";
    report("delay", "tc netem", tc(netem), || everything_arrives(20, 50_000));
    report("delay and loss", "tc netem", tc(&format!("{netem} loss 2%")), || everything_arrives(20, 50_000));
    let _ = tc("qdisc del dev lo root");
    report("a slow link", "tc tbf", tc("qdisc replace dev lo root tbf rate 20mbit burst 70kb latency 1s"), || {
        everything_arrives(10, 30_000)
    });
    let _ = tc("qdisc del dev lo root");
    // Each packet takes its time: 4 ms for 1000 bytes, whoever waits behind it.
    let _ = run(Command::new("ip").args(["link", "set", "lo", "mtu", "1500"]));
    report("delay", "tc tbf", tc("qdisc replace dev lo root tbf rate 2mbit burst 1600 latency 10s"), || {
        round_trips(4, 10, ms(8))
    });
    let _ = tc("qdisc del dev lo root");
    report("a name server that does not answer", "mount", mount_resolver(), look_ups);
    // Of packets that come in; the rule at the end, if there is one, makes the trouble.
    let table =
        nft("add table inet t").and_then(|()| nft("add chain inet t in { type filter hook input priority 0; }"));
    let rule = |what: &str| table.clone().and_then(|()| nft(&format!("add rule inet t in meta l4proto tcp {what}")));
    report("loss", "nft", rule("numgen random mod 100 < 3 drop"), || everything_arrives(20, 50_000));
    let calm = || nft("flush chain inet t in").expect("what was added can be removed");
    if table.is_ok() {
        calm();
    }
    report("reset", "nft", table.clone(), || {
        reset_in_the_middle(|port| rule(&format!("tcp dport {port} reject with tcp reset")))
    });
    if table.is_ok() {
        calm();
    }
    report("half open", "nft", table.clone(), || half_open(|port| rule(&format!("tcp dport {port} drop"))));
}

/// Does what a trouble is for, if it could be made, and says so.
fn report(trouble: &str, by: &str, made: Result<(), String>, test: impl FnOnce() -> io::Result<()>) {
    match made {
        Err(reason) => println!("NOT DONE: {trouble} by {by}: {reason}"),
        Ok(()) => {
            let start = Instant::now();
            test().unwrap_or_else(|error| panic!("{trouble} by {by}: {error}"));
            println!("done: {trouble} by {by}, in {:.1?}", start.elapsed());
        }
    }
}

/// Runs a command; what it says if it fails.
fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// A command of nftables.
fn nft(command: &str) -> Result<(), String> {
    run(Command::new("nft").arg(command))
}

/// Many clients at once; every byte is accounted for.
fn everything_arrives(clients: usize, len: usize) -> io::Result<()> {
    let alive = Rc::new(());
    let server = Echo::new(LONG, &alive)?;
    let addr = server.addr;
    let clients_run = (0..clients).map(|seed| {
        spawn(move || {
            let sent = text(seed, len);
            assert!(talk(addr, &sent).unwrap() == sent);
        })
    });
    for client in join_all(clients_run) {
        client.unwrap();
    }
    assert_eq!(server.counts.each_ref().map(|count| count.get()), [clients * len; 2]);
    Ok(())
}

/// Clients that wait for each answer, which takes at least so long.
fn round_trips(clients: usize, rounds: u32, at_least: Duration) -> io::Result<()> {
    let alive = Rc::new(());
    let server = Echo::new(LONG, &alive)?;
    let addr = server.addr;
    let clients_run = (0..clients).map(|seed| {
        spawn(move || -> io::Result<()> {
            let mut stream = TcpStream::connect(addr)?;
            let (sent, mut received) = (text(seed, 1000), vec![0; 1000]);
            stream.write_all(&sent)?; // the first one may find a link that has rested
            stream.read_exact(&mut received)?;
            let start = Instant::now();
            for _ in 0..rounds {
                stream.write_all(&sent)?;
                stream.read_exact(&mut received)?;
                assert!(sent == received);
            }
            assert!(start.elapsed() >= at_least * rounds, "{rounds} round trips in {:?}", start.elapsed());
            Ok(())
        })
    });
    join_all(clients_run).into_iter().try_for_each(Result::unwrap)
}

/// Where names are looked up: at a name server of this process's own.
fn mount_resolver() -> Result<(), String> {
    let file = std::env::temp_dir().join(format!("sward-resolv-{}", std::process::id()));
    std::fs::write(&file, "nameserver 127.0.0.1\noptions timeout:5 attempts:1\n").map_err(|error| error.to_string())?;
    let mounted = run(Command::new("mount").arg("--bind").arg(&file).arg("/etc/resolv.conf"));
    let _ = std::fs::remove_file(file);
    mounted
}

/// While a name server is silent only those wait who asked it, and no longer than they wanted.
fn look_ups() -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:53")?;
    let look_up = |name: &str| (name, 80).to_socket_addrs().map(|addrs| addrs.collect::<Vec<_>>());
    // As many as the pool has threads.
    let waiting: Vec<_> = (0..16)
        .map(|i| spawn(move || sward::timeout(ms(300), || look_up(&format!("silent-{i}.sward.test")))))
        .collect();
    let start = Instant::now();
    assert!(sward::timeout(ms(100), || look_up("silent.sward.test")).is_err());
    assert_eq!(TcpStream::connect(socket.local_addr()?).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert_eq!(sward::offload(|| 1), 1); // has threads of its own
    // The resolver itself would have waited for 5 s.
    assert!(start.elapsed() >= ms(100) && start.elapsed() < ms(4000), "{:?}", start.elapsed());
    for waiting in waiting {
        assert!(waiting.join().unwrap().is_err());
    }
    socket.set_read_timeout(Some(ms(1000)))?;
    socket.recv_from(&mut [0; 1500])?; // it was asked
    socket.set_read_timeout(None)?;
    let server = spawn(move || dns::answer_all(&socket));
    assert_eq!(look_up("four.sward.test")?, [([10, 0, 0, 4], 80).into()]);
    server.kill();
    Ok(())
}

/// A greenlet that reads and one that writes are both told of a reset that neither side has asked for.
fn reset_in_the_middle(make: impl Fn(u16) -> Result<(), String>) -> io::Result<()> {
    let (stream, peer) = tcp_pair()?;
    let port = peer.local_addr()?.port();
    scope(|s| {
        let reader = s.spawn(|| (&stream).read(&mut [0]));
        sleep(ms(1));
        make(port).map_err(io::Error::other)?;
        // Rejected: the answer is a reset.
        (&stream).write_all(b"x")?;
        assert_eq!(reader.join().unwrap().unwrap_err().kind(), ErrorKind::ConnectionReset);
        let written = (&stream).write_all(b"x").unwrap_err();
        assert!(matches!(written.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{written}");
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        make(listener.local_addr()?.port()).map_err(io::Error::other)?;
        assert_eq!(TcpStream::connect(listener.local_addr()?).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        Ok(())
    })
}

/// Nothing passes any more and nobody is told: every wait ends by its limit, and TCP's own limits are errors.
fn half_open(make: impl Fn(u16) -> Result<(), String>) -> io::Result<()> {
    let (stream, peer) = tcp_pair()?;
    let (limited, limited_peer) = tcp_pair()?;
    let (kept, kept_peer) = tcp_pair()?;
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(1)).with_interval(Duration::from_secs(1));
    SockRef::from(&kept).set_tcp_keepalive(&keepalive.with_retries(1))?;
    SockRef::from(&limited).set_tcp_user_timeout(Some(ms(500)))?;
    for it in [&peer, &limited_peer, &kept_peer] {
        make(it.local_addr()?.port()).map_err(io::Error::other)?;
    }
    stream.set_read_timeout(Some(ms(50)))?;
    stream.set_write_timeout(Some(ms(50)))?;
    (&stream).write_all(b"into the void")?;
    assert_eq!((&stream).read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!((&stream).write_all(&vec![0; 16 << 20]).unwrap_err().kind(), ErrorKind::TimedOut);
    // The kernel gives up by itself, and wakes who waits.
    scope(|s| {
        let user_timeout = s.spawn(|| {
            (&limited).write_all(b"into the void")?;
            (&limited).read(&mut [0])
        });
        let keepalive = s.spawn(|| (&kept).read(&mut [0]));
        assert_eq!(user_timeout.join().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(keepalive.join().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    });
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let addr = listener.local_addr()?;
    make(addr.port()).map_err(io::Error::other)?;
    let start = Instant::now();
    assert_eq!(TcpStream::connect_timeout(&addr, ms(50)).unwrap_err().kind(), ErrorKind::TimedOut);
    assert!(start.elapsed() >= ms(50));
    assert!(sward::timeout(ms(50), || TcpStream::connect(addr)).is_err());
    Ok(())
}
