//! Runs a program under strace and shows which of its calls stopped a thread while a greenlet was making
//! them: those that bypassed the hooks (raw system calls, calls inside libc, files), or came before `all`.
//!
//! `cargo run -p sward-patch --example sward_audit -- PROGRAM [ARGUMENTS]`; needs the Debian package strace.
//! The program must not be stripped: calls are told apart by the functions on their stack. strace sees those only if the
//! program was linked by ld.bfd (`-C link-arg=-fuse-ld=bfd`), as the libunwind it uses does not understand what lld,
//! rustc's own linker, writes.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::{env, fs, io, process};

/// Calls that may wait.
const CALLS: &str = "trace=read,write,readv,writev,recvfrom,recvmsg,recvmmsg,sendto,sendmsg,sendmmsg,connect,accept,\
                     accept4,poll,ppoll,select,pselect6,epoll_wait,epoll_pwait,epoll_pwait2,nanosleep,clock_nanosleep,\
                     futex,wait4,waitid,flock,fsync,fdatasync";
/// Shorter ones stopped nobody: seconds.
const SHORTEST: f64 = 0.001;
/// The outermost functions of each greenlet: one of them is on its stack.
const GREENLET: [&str; 2] = ["coroutine_func", "stack_init_trampoline"];
/// Functions that are shown, from the call outwards; strace leaves some out where programs have no frame pointers.
const SHOWN: usize = 3;

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("usage: sward_audit PROGRAM [ARGUMENTS]");
        return ExitCode::FAILURE;
    };
    let folder = env::temp_dir().join(format!("sward-audit-{}", process::id()));
    let mut strace = Command::new("strace");
    strace.args(["-ff", "-T", "-k", "-qq", "-e", "signal=none", "-e", CALLS, "-o"]).arg(folder.join("of"));
    strace.arg(program).args(arguments);
    let found = fs::create_dir(&folder).and_then(|()| strace.status()).and_then(|status| {
        eprintln!("the program ended: {status}");
        audit(&folder)
    });
    let _ = fs::remove_dir_all(&folder);
    match found {
        Ok(found) => {
            show(&found);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("sward_audit: {strace:?}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What was found.
#[derive(Default)]
struct Found {
    /// How often and for how many seconds, by the call and who made it.
    calls: BTreeMap<(String, String), (u32, f64)>,
    /// Calls of which strace did not find out who made them.
    unknown: u32,
}

/// Reads what strace wrote: a file for each thread.
fn audit(folder: &Path) -> io::Result<Found> {
    let mut found = Found::default();
    for file in fs::read_dir(folder)? {
        let text = String::from_utf8_lossy(&fs::read(file?.path())?).into_owned();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let mut stack = Vec::new();
            while let Some(frame) = lines.next_if(|line| line.starts_with(" > ")) {
                stack.push(frame);
            }
            let (Some(name), Some(seconds)) = (line.split('(').next(), seconds(line)) else { continue };
            if seconds < SHORTEST {
                continue;
            }
            if !is_whole(&stack) {
                found.unknown += 1;
            } else if is_greenlet(&stack) {
                let entry = found.calls.entry((name.to_owned(), caller(&stack))).or_default();
                *entry = (entry.0 + 1, entry.1 + seconds);
            }
        }
    }
    Ok(found)
}

/// What stands in angle brackets at the end.
fn seconds(line: &str) -> Option<f64> {
    line.strip_suffix('>')?.rsplit_once('<')?.1.parse().ok()
}

/// Whether a greenlet made the call.
fn is_greenlet(stack: &[&str]) -> bool {
    stack.iter().any(|frame| GREENLET.iter().any(|name| frame.contains(name)))
}

/// Whether strace found all functions. Those of a thread end in the libc that started it, or where the process begins.
fn is_whole(stack: &[&str]) -> bool {
    let is_outermost =
        |frame: &&str| frame.contains("(_start+") || frame.contains("/libc.so") || frame.contains("/ld-");
    is_greenlet(stack) || stack.last().is_some_and(is_outermost)
}

/// The innermost functions on the stack, as far as strace found them.
fn caller(stack: &[&str]) -> String {
    // " > file(function+0x1f) [0x123]"
    let function = |frame: &&str| Some(frame.split_once('(')?.1.rsplit_once("+0x")?.0.to_owned());
    let names =
        stack.iter().filter_map(function).filter(|name| !GREENLET.iter().any(|outermost| name.contains(outermost)));
    names.take(SHOWN).collect::<Vec<_>>().join(" < ")
}

fn show(found: &Found) {
    if found.unknown > 0 {
        println!("{} calls stopped a thread, and strace does not tell who made them.", found.unknown);
        println!("It needs a program linked by ld.bfd: RUSTFLAGS='-C link-arg=-fuse-ld=bfd'");
    } else if found.calls.is_empty() {
        println!("no call of a greenlet stopped its thread for a millisecond or more");
    }
    if found.calls.is_empty() {
        return;
    }
    let mut calls: Vec<_> = found.calls.iter().collect();
    calls.sort_by(|(_, (_, a)), (_, (_, b))| b.total_cmp(a));
    println!("{:>6} {:>9}  {:16} called by", "calls", "ms", "call");
    for ((call, caller), (count, seconds)) in calls {
        println!("{count:6} {:9.1}  {call:16} {caller}", seconds * 1000.0);
    }
}
