//! The example `sward_audit` finds what bypassed the hooks, and nothing else.

#[path = "support/example.rs"]
mod example;
#[path = "support/own_process.rs"]
mod own_process;
mod support;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;

use example::example;
use own_process::in_own_process_under;
use support::{ms, patched};

/// A call of libc's that no hook sees: it goes by the number.
#[inline(never)]
fn sleeps_past_the_hooks() {
    let time = libc::timespec { tv_sec: 0, tv_nsec: 30_000_000 };
    // SAFETY: a time, and nothing is written.
    assert_eq!(unsafe { libc::syscall(libc::SYS_nanosleep, &raw const time, 0) }, 0);
}

#[test]
fn the_audit_shows_what_bypassed_the_hooks_not_under_asan() {
    let test = "the_audit_shows_what_bypassed_the_hooks_not_under_asan";
    let outcome = in_own_process_under(
        || Command::new(example("sward_audit")),
        test,
        || {
            patched(test, || {
                let (mut a, mut b) = UnixStream::pair().unwrap();
                let green = sward::spawn(move || {
                    thread::sleep(ms(50));
                    a.write_all(b"x").unwrap();
                });
                let reader = sward::spawn(move || b.read_exact(&mut [0; 1]).unwrap());
                let blunt: Vec<_> = (0..3).map(|_| sward::spawn(sleeps_past_the_hooks)).collect();
                assert!(sward::join_all(blunt.into_iter().chain([green, reader])).iter().all(Result::is_ok));
            });
        },
    );
    let Some(output) = outcome else { return };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let table = text.split_once("called by").unwrap_or_else(|| panic!("{text}")).1;
    let rows: Vec<_> = table.lines().filter(|line| !line.is_empty()).collect();
    assert!(rows.len() == 1 && rows[0].contains("nanosleep"), "{text}");
    assert!(rows[0].trim_start().starts_with("3 ") && rows[0].contains("syscall"), "{text}");
}
