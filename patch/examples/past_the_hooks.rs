//! Waits in greenlets, by calls that park them and by some that no hook sees: for `sward_audit` to find.
//!
//! `cargo build -p sward-patch --examples`, then `sward_audit past_the_hooks` in `target/debug/examples`.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

/// A call of libc's that no hook sees: it goes by the number.
#[inline(never)]
fn sleeps_past_the_hooks() -> io::Result<()> {
    let time = libc::timespec { tv_sec: 0, tv_nsec: 30_000_000 };
    // SAFETY: a time, and nothing is written.
    match unsafe { libc::syscall(libc::SYS_nanosleep, &raw const time, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn main() -> io::Result<()> {
    // SAFETY: nothing here relies on a call of libc leaving other greenlets alone.
    let report = unsafe { sward::patch::all() };
    println!("{report}");
    let (mut a, mut b) = UnixStream::pair()?;
    let writer = sward::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        a.write_all(b"x")
    });
    let reader = sward::spawn(move || b.read_exact(&mut [0; 1]));
    let blunt = (0..3).map(|_| sward::spawn(sleeps_past_the_hooks));
    let ended = sward::join_all(blunt.chain([writer, reader]));
    ended.into_iter().try_for_each(|result| result.map_err(io::Error::other)?)
}
