//! Sleeps and talks over TCP in std, and sleeps and reads in an archive of C, in greenlets; then looks
//! whether the hooks were reached. Prints one line, and fails if it was not so.

use std::ffi::{c_int, c_long};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[cfg(target_feature = "crt-static")]
mod names;

unsafe extern "C" {
    safe fn archive_sleep(milliseconds: c_int) -> c_int;
    fn archive_read(fd: c_int, length: c_int) -> c_long;
}

/// How long each sleeps, a client once and its server once.
const SLEEP: Duration = Duration::from_millis(50);
/// How many talk over TCP.
const CLIENTS: usize = 50;

fn main() -> ExitCode {
    // SAFETY: nothing here relies on a call not running other greenlets.
    let report = unsafe { sward::patch::all() };
    let start = Instant::now();
    let in_std = (0..20).map(|_| sward::spawn(|| std::thread::sleep(SLEEP)));
    let in_c = (0..20).map(|_| sward::spawn(|| assert_eq!(archive_sleep(SLEEP.as_millis() as c_int), 0)));
    let sleepers: Vec<_> = in_std.chain(in_c).collect();
    let echo = sward::spawn(echo);
    let good = sward::join_all(sleepers).iter().all(Result::is_ok) && matches!(echo.join(), Ok(Ok(())));
    let taken = start.elapsed();

    let stats = sward::patch::stats();
    let parks = |names: &[&str]| names.iter().map(|name| stats.of(name).parks).sum::<u64>();
    let (std_sleeps, c_sleeps) = (parks(&["clock_nanosleep"]), parks(&["nanosleep"]));
    // std sleeps with the one or the other.
    let sleeps = std_sleeps + c_sleeps;
    let (sockets, polls) = (parks(&["recv", "accept4"]), parks(&["poll", "__poll_chk"]));
    let reads = stats.of("__read_chk").calls as usize;
    println!("{sleeps} sleeps, {sockets} on sockets, {polls} polls parked; {reads} checked reads; {taken:.0?}");
    // One after the other, the clients alone would take five seconds.
    let reached = sleeps >= 40 && sockets as usize >= CLIENTS && polls >= 1 && reads >= CLIENTS && taken < 40 * SLEEP;
    if good && reached && report.blocking_calls() && has_the_rest(&report) {
        return ExitCode::SUCCESS;
    }
    println!("{report}");
    ExitCode::FAILURE
}

/// Clients and servers in this thread; the servers read in C.
fn echo() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let clients: Vec<_> = (0..CLIENTS).map(|_| sward::spawn(move || client(address))).collect();
    let serve = |_| listener.accept().map(|(stream, _)| sward::spawn(|| server(stream)));
    let servers = (0..CLIENTS).map(serve).collect::<std::io::Result<Vec<_>>>()?;
    clients.into_iter().chain(servers).try_for_each(|greenlet| greenlet.join().expect("no panic"))
}

fn client(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    std::thread::sleep(SLEEP);
    stream.write_all(b"four")?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    assert_eq!(&answer, b"five");
    Ok(())
}

fn server(mut stream: TcpStream) -> std::io::Result<()> {
    // SAFETY: an open socket, and a length that C has room for.
    assert_eq!(unsafe { archive_read(stream.as_raw_fd(), 4) }, 4);
    std::thread::sleep(SLEEP);
    stream.write_all(b"five")
}

/// Whether everything has a hook, and greenlets have thread-locals and locks of their own.
#[cfg(not(target_feature = "crt-static"))]
fn has_the_rest(report: &sward::patch::Report) -> bool {
    report.missing().is_empty() && report.thread_identity() && report.locks()
}

/// Whether the report says what a statically linked program cannot have, and names work all the same.
#[cfg(target_feature = "crt-static")]
fn has_the_rest(report: &sward::patch::Report) -> bool {
    let says = |function: &str| report.missing().iter().any(|one| one.function == function && !one.why.is_empty());
    let is_honest = says("getaddrinfo") && says("pthread_mutex_lock") && !says("read");
    is_honest && !report.thread_identity() && !report.locks() && names::work()
}
