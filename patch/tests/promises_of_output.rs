//! `println!` of several greenlets into something that is full: the lock of standard output is held meanwhile.

#[path = "support/own_process.rs"]
mod own_process;
mod support;

use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::Output;

use own_process::in_own_process;
use support::patched;

/// Lines that each greenlet prints: together more than any pipe has room for.
const LINES: usize = 2000;

/// Prints lines that say whose they are.
fn print(who: char) {
    for number in 0..LINES {
        println!("{who} {number:05} {}", who.to_string().repeat(100));
    }
}

/// Checks that each line is whole, that each greenlet's come in order, and that none is missing.
fn check(lines: impl Iterator<Item = String>) {
    let mut next = [0; 2];
    for line in lines {
        let who = line.chars().next().unwrap();
        let number = &mut next[who as usize - 'a' as usize];
        assert_eq!(line, format!("{who} {number:05} {}", who.to_string().repeat(100)));
        *number += 1;
    }
    assert_eq!(next, [LINES; 2]);
}

fn assert_good(output: &Output) {
    assert!(output.status.success(), "{}{}", output.status, String::from_utf8_lossy(&output.stderr));
}

#[test]
fn lines_of_two_greenlets_reach_a_full_pipe_whole() {
    let test = "lines_of_two_greenlets_reach_a_full_pipe_whole";
    let outcome = in_own_process(test, || {
        patched(test, || {
            let printers = ['a', 'b'].map(|who| sward::spawn(move || print(who)));
            printers.into_iter().for_each(|printer| printer.join().unwrap());
        });
    });
    // The pipe's reader is this process.
    let Some(output) = outcome else { return };
    assert_good(&output);
    let text = String::from_utf8(output.stdout).unwrap();
    let is_ours = |line: &&str| line.starts_with("a 0") || line.starts_with("b 0");
    check(text.lines().filter(is_ours).map(str::to_owned));
}

#[test]
fn lines_of_two_greenlets_reach_a_third_one_whole() {
    let test = "lines_of_two_greenlets_reach_a_third_one_whole";
    let outcome = in_own_process(test, || {
        patched(test, || {
            // A socket takes the place of standard output, and its reader is a greenlet of the same thread: a
            // printer parks in `write` and holds the lock, on which the other parks.
            let (output, input) = UnixStream::pair().unwrap();
            // SAFETY: takes numbers only.
            let former = unsafe { libc::dup(1) };
            // SAFETY: as above.
            unsafe { libc::dup2(output.as_raw_fd(), 1) };
            drop(output);
            let printers = ['a', 'b'].map(|who| sward::spawn(move || print(who)));
            let reader = sward::spawn(|| {
                check(BufReader::new(input).lines().map(Result::unwrap).take(2 * LINES));
            });
            printers.into_iter().for_each(|printer| printer.join().unwrap());
            reader.join().unwrap();
            // SAFETY: as above.
            unsafe { libc::dup2(former, 1) };
            let stats = sward::patch::stats();
            assert!(stats.of("write").parks > 0 && stats.of("syscall").parks > 0, "{stats}");
        });
    });
    let Some(output) = outcome else { return };
    assert_good(&output);
}
