//! What `sward::io::stdin` promises: in processes of its own, each with another kind of standard input.

mod support;

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use support::{ms, watched};
use sward::{sleep, spawn};

/// Set in the processes that read; says what they do.
const CHILD: &str = "SWARD_TEST_STDIN";

/// The lines that a child says.
type Says = Box<dyn Iterator<Item = io::Result<String>>>;

/// Runs this test file's `reads` with that standard input.
fn child(what: &str, stdin: impl Into<Stdio>) -> io::Result<(Child, Says)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["reads", "--exact", "--ignored", "--nocapture", "--test-threads=1"]).env(CHILD, what);
    let mut child = command.stdin(stdin).stdout(Stdio::piped()).spawn()?;
    let says = BufReader::new(child.stdout.take().unwrap()).lines();
    let is_ours = |line: &io::Result<String>| line.as_ref().is_ok_and(|line| line.starts_with(": "));
    Ok((child, Box::new(says.filter(is_ours))))
}

/// The next line that the child says.
fn next(says: &mut Says) -> io::Result<String> {
    says.next().unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))
}

#[test]
#[ignore = "not a test of its own: what the children of the others do"]
fn reads() {
    let what = std::env::var_os(CHILD).expect("run by another test");
    watched(|| if what == "lines" { lines() } else { killed() });
}

/// How often another greenlet runs until a line has been waited for.
const WAIT: u32 = 6;

/// Says each line and whether another greenlet could run while it waited, and when the first one has been waited for.
fn lines() -> io::Result<()> {
    let ticks = Rc::new(Cell::new(0));
    let ticker = spawn({
        let ticks = ticks.clone();
        move || {
            for tick in 1.. {
                sleep(ms(1));
                ticks.set(ticks.get() + 1);
                if tick == WAIT && ticks.get() == WAIT {
                    say("waits").unwrap();
                }
            }
        }
    });
    say("ready")?;
    for line in sward::io::stdin().lines() {
        say(&format!("{:?} after {}", line?, if ticks.get() >= WAIT { "a wait" } else { "no wait" }))?;
        ticks.set(0);
    }
    ticker.kill();
    say("the end")
}

/// A greenlet that waits for input is killed, another one times out: what comes then is there for the next.
fn killed() -> io::Result<()> {
    let reader = spawn(|| sward::io::stdin().read_line(&mut String::new()));
    sleep(ms(5));
    reader.kill();
    assert!(reader.join().unwrap_err().is_killed());
    assert!(sward::timeout(ms(5), || sward::io::stdin().read_line(&mut String::new())).is_err());
    // One holds the lock, one waits for it and is killed.
    let lock = sward::io::stdin().lock();
    let waiter = spawn(|| drop(sward::io::stdin().lock()));
    sleep(ms(1));
    waiter.kill();
    assert!(waiter.join().unwrap_err().is_killed());
    drop(lock);
    say("ready")?;
    let mut stdin = sward::io::stdin();
    let mut byte = [0];
    stdin.read_exact(&mut byte)?;
    let mut rest = String::new();
    stdin.read_to_string(&mut rest)?;
    say(&format!("{byte:?} {rest:?}"))
}

/// A line for the parent, past the test harness.
fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout();
    write!(out, "\n: {text}\n")?;
    out.flush()
}

#[test]
fn a_pipe_is_waited_for_and_ends() {
    watched(|| {
        let (mut child, mut says) = child("lines", Stdio::piped())?;
        let mut stdin = child.stdin.take().unwrap();
        assert_eq!(next(&mut says)?, ": ready");
        assert_eq!(next(&mut says)?, ": waits");
        stdin.write_all(b"half a l")?;
        std::thread::sleep(ms(20));
        stdin.write_all(b"ine\r\nanother\nwithout an end")?;
        assert_eq!(next(&mut says)?, ": \"half a line\" after a wait");
        assert_eq!(next(&mut says)?, ": \"another\" after no wait");
        drop(stdin);
        assert!(next(&mut says)?.starts_with(": \"without an end\""));
        assert_eq!(next(&mut says)?, ": the end");
        assert!(child.wait()?.success());
        Ok(())
    });
}

#[test]
fn a_file_is_read_to_its_end() {
    watched(|| {
        let path = std::env::temp_dir().join(format!("sward-stdin-{}", std::process::id()));
        std::fs::write(&path, "one\ntwo\n")?;
        let (mut child, says) = child("lines", File::open(&path)?)?;
        let all = says.collect::<io::Result<Vec<_>>>()?;
        assert_eq!(all, [": ready", ": \"one\" after no wait", ": \"two\" after no wait", ": the end"]);
        assert!(child.wait()?.success());
        std::fs::remove_file(path)
    });
}

#[test]
fn a_terminal_gives_lines_and_its_end() {
    watched(|| {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let name = ptsname(&ours, Vec::new())?.into_string().map_err(io::Error::other)?;
        let (mut child, mut says) = child("lines", File::options().read(true).write(true).open(name)?)?;
        let mut ours = File::from(ours);
        assert_eq!(next(&mut says)?, ": ready");
        assert_eq!(next(&mut says)?, ": waits");
        ours.write_all(b"typed\n")?;
        assert_eq!(next(&mut says)?, ": \"typed\" after a wait");
        ours.write_all(b"\x04")?; // Control-D: the end
        assert_eq!(next(&mut says)?, ": the end");
        assert!(child.wait()?.success());
        Ok(())
    });
}

#[test]
fn killed_and_timed_out_reads_lose_nothing() {
    watched(|| {
        let (mut child, mut says) = child("killed", Stdio::piped())?;
        assert_eq!(next(&mut says)?, ": ready");
        child.stdin.take().unwrap().write_all(b"all of it")?;
        assert_eq!(next(&mut says)?, ": [97] \"ll of it\"");
        assert!(child.wait()?.success());
        Ok(())
    });
}
