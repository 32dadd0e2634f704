//! Sleeps and talks over TCP in std, and sleeps and reads in an archive of C, in greenlets; then looks
//! whether the hooks were reached. Prints one line, and fails if it was not so.

use std::ffi::{c_int, c_long};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

unsafe extern "C" {
    safe fn archive_sleep(milliseconds: c_int) -> c_int;
    fn archive_read(fd: c_int, length: c_int) -> c_long;
}

/// How long each sleeps.
const SLEEP: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    // SAFETY: nothing here relies on a call not running other greenlets.
    let report = unsafe { sward::patch::all() };
    if cfg!(feature = "static") {
        print!("{report}");
        let says_so = !report.blocking_calls() && report.to_string().contains("statically");
        return if says_so { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
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
    let reads = stats.of("__read_chk").calls;
    println!("{sleeps} sleeps, {sockets} on sockets, {polls} polls parked; {reads} checked reads; {taken:.0?}");
    let reached = sleeps >= 40 && sockets >= 2 && polls >= 1 && reads >= 1 && taken < 20 * SLEEP;
    if good && reached && report.blocking_calls() {
        return ExitCode::SUCCESS;
    }
    println!("{report}");
    ExitCode::FAILURE
}

/// A client and a server in this thread; the server reads in C.
fn echo() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let client = sward::spawn(move || -> std::io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        std::thread::sleep(SLEEP);
        stream.write_all(b"four")?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer)?;
        assert_eq!(&answer, b"five");
        Ok(())
    });
    let (mut stream, _) = listener.accept()?;
    // SAFETY: an open socket, and a length that C has room for.
    assert_eq!(unsafe { archive_read(stream.as_raw_fd(), 4) }, 4);
    std::thread::sleep(SLEEP);
    stream.write_all(b"five")?;
    client.join().expect("no panic")
}
