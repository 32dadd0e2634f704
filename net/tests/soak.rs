//! Connections that come, talk, stall, time out and are reset: no byte is lost, and descriptors, greenlets and memory
//! do not grow. 3 s with 200 at a time; `ci/soak` makes it 60 s with 2000. A file of its own, since it counts what
//! the process has open.

#[path = "support/echo.rs"]
mod echo;
#[path = "support/proxy.rs"]
mod proxy;
mod support;

use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

use echo::{Echo, LONG, talk, text};
use proxy::{Proxy, Trouble};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::SockRef;
use support::{Watchdog, ms};
use sward::net::{SocketAddr, TcpStream};
use sward::{join_all, sleep, spawn, timeout};

/// Where the proxy that resets does so.
const RESET_AFTER: usize = 200;

/// What the soak's clients do, in turn.
struct Places {
    /// An echo server with patience, and the ways to it that lose nothing.
    whole: [SocketAddr; 3],
    /// The way to it that resets.
    resets: SocketAddr,
    /// An echo server without patience.
    impatient: SocketAddr,
    /// The way to that one which goes silent.
    silent: SocketAddr,
}

impl Places {
    /// One connection.
    fn visit(&self, seed: usize) -> io::Result<()> {
        let sent = text(seed, 50 + seed % 1500);
        match seed % 7 {
            // Comes, talks and goes.
            way @ 0..3 => assert!(talk(self.whole[way], &sent)? == sent),
            // Is reset, unless it ends before.
            3 => assert_eq!(talk(self.resets, &sent).is_err(), sent.len() >= RESET_AFTER),
            // Stalls, until the server has had enough.
            4 => {
                let mut stream = TcpStream::connect(self.impatient)?;
                stream.write_all(&sent)?;
                let mut received = Vec::new();
                stream.read_to_end(&mut received)?;
                assert!(received == sent);
            }
            // Times out.
            5 => {
                let mut stream = TcpStream::connect(self.silent)?;
                stream.set_read_timeout(Some(ms(30)))?;
                stream.write_all(&sent)?;
                assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap_err().kind(), ErrorKind::TimedOut);
            }
            // Goes with a reset, in the middle.
            _ => {
                let mut stream = TcpStream::connect(self.whole[0])?;
                stream.write_all(&sent)?;
                SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
            }
        }
        Ok(())
    }
}

/// A number from the environment.
fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is {value:?}")))
}

/// Open file descriptors, and pages of memory in use.
fn in_use() -> (usize, usize) {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    (std::fs::read_dir("/proc/self/fd").unwrap().count(), statm.split(' ').nth(1).unwrap().parse().unwrap())
}

#[test]
fn soak() {
    let (seconds, connections) = (setting("SWARD_SOAK_SECONDS", 3), setting("SWARD_SOAK_CONNECTIONS", 200));
    let seconds = Duration::from_secs(seconds as u64);
    // Each round has its stragglers; on a machine under load they take longer than the round.
    let _watchdog = Watchdog::new("soak".into(), seconds * 4 + Duration::from_secs(60));
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let alive = Rc::new(());
    let patient = Echo::new(LONG, &alive).unwrap();
    let impatient = Echo::new(ms(50), &alive).unwrap();
    let proxy = |to: &Echo, trouble| Proxy::new(to.addr, trouble, &alive).unwrap();
    let delays = proxy(&patient, Trouble::Delay(ms(5)));
    let trickles = proxy(&patient, Trouble::OneByte);
    let resets = proxy(&patient, Trouble::Reset(RESET_AFTER));
    let silent = proxy(&impatient, Trouble::HalfOpen(10));
    let places = Rc::new(Places {
        whole: [patient.addr, delays.addr, trickles.addr],
        resets: resets.addr,
        impatient: impatient.addr,
        silent: silent.addr,
    });
    let idle = Rc::strong_count(&alive);
    let round = |length: Duration| {
        let until = Instant::now() + length;
        let visits = (0..connections).map(|client| {
            let places = places.clone();
            spawn(move || {
                let mut visits = 0;
                while visits == 0 || Instant::now() < until {
                    let seed = client + visits * 13;
                    places.visit(seed).unwrap_or_else(|error| panic!("client {seed}: {error}"));
                    visits += 1;
                }
                visits
            })
        });
        let visits: usize = join_all(visits).into_iter().map(Result::unwrap).sum();
        let ended = timeout(LONG, || {
            while Rc::strong_count(&alive) > idle {
                sleep(ms(5));
            }
        });
        assert!(ended.is_ok(), "{} greenlets are left", Rc::strong_count(&alive) - idle);
        visits
    };
    // The first round fills what is kept for reuse; after that nothing may grow.
    let mut visits = round(seconds / 3);
    let (fds, pages) = in_use();
    visits += round(seconds / 3);
    visits += round(seconds / 3);
    let (fds_after, pages_after) = in_use();
    println!("{visits} connections; {fds} descriptors, then {fds_after}; {pages} pages, then {pages_after}");
    assert!(fds_after <= fds + 5, "{fds} descriptors, then {fds_after}, after {visits} connections");
    assert!(pages_after <= pages + pages / 4 + 2048, "{pages} pages, then {pages_after}, after {visits} connections");
    // Where nobody resets, what went in came out.
    for [there, back] in [&delays.passed, &trickles.passed, &impatient.counts] {
        assert_eq!(there.get(), back.get());
    }
    assert_eq!(patient.ends.timed_out.get(), 0);
}
