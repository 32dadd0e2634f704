//! What the tests of the runtime share: a watchdog, counters of drops, and bodies that run in a process of their own.

#![allow(dead_code, reason = "each test file uses its part")]

use std::cell::{Cell, RefCell};
use std::panic::Location;
use std::process::{Command, Output};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

/// For waits that must not end by themselves.
pub(crate) const FOREVER: Duration = Duration::from_secs(24 * 3600);

/// For waits that end by a deadline: short, and every promise about them is a lower bound.
pub(crate) const SHORT: Duration = Duration::from_millis(5);

/// For deadlines that must lie ahead until a few greenlets have started and parked.
pub(crate) fn patient() -> Duration {
    Duration::from_millis(if std::env::var_os("SWARD_SLOW").is_some() { 2000 } else { 100 })
}

/// A time in which a loaded machine, or one that runs this under a checker, gets anything done.
pub(crate) fn generous() -> Duration {
    Duration::from_secs(if std::env::var_os("SWARD_SLOW").is_some() { 900 } else { 60 })
}

/// Aborts the process, with the name of the test, if it is not dropped in time.
pub(crate) struct Watchdog(#[allow(dead_code, reason = "its drop ends the thread")] Sender<()>);

/// Watches the test that calls it.
#[track_caller]
#[must_use]
pub(crate) fn watchdog() -> Watchdog {
    let site = Location::caller();
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        if receiver.recv_timeout(generous()) == Err(RecvTimeoutError::Timeout) {
            eprintln!("test {test} ({site}) has hung; aborting");
            std::process::abort();
        }
    });
    Watchdog(sender)
}

/// Counts in the given counter when it is dropped.
pub(crate) struct CountDrop(pub(crate) Arc<AtomicUsize>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// Calls a function when it is dropped.
pub(crate) struct OnDrop<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// What happened, in order; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    /// Empty.
    pub(crate) fn new() -> Log {
        Log::default()
    }

    /// Something happened.
    pub(crate) fn add(&self, what: impl ToString) {
        self.0.borrow_mut().push(what.to_string());
    }

    /// All of it, joined by spaces; empties the log.
    pub(crate) fn take(&self) -> String {
        self.0.borrow_mut().drain(..).collect::<Vec<_>>().join(" ")
    }
}

/// A flag that clones share.
#[derive(Clone, Default)]
pub(crate) struct Flag(Rc<Cell<bool>>);

impl Flag {
    /// Not raised.
    pub(crate) fn new() -> Flag {
        Flag::default()
    }

    /// Raises it.
    pub(crate) fn raise(&self) {
        self.0.set(true);
    }

    /// Whether it is raised.
    pub(crate) fn is_raised(&self) -> bool {
        self.0.get()
    }
}

/// Names, in the environment of a child, the test that it runs.
const CHILD: &str = "SWARD_TEST_CHILD";

/// Runs `body` in a process of its own, for what ends the process or is written to stderr. `test` is the name of the
/// test that calls this: the child runs that test alone.
pub(crate) fn in_child(test: &str, body: impl FnOnce()) -> Output {
    if std::env::var_os(CHILD).is_some_and(|name| name == test) {
        let _watchdog = watchdog();
        body();
        std::process::exit(0);
    }
    child_with(test, (CHILD, test))
}

/// Runs this test binary again, with one test and one more variable in its environment.
pub(crate) fn child_with(test: &str, variable: (&str, &str)) -> Output {
    child_command(test, variable).output().expect("the test runs once more")
}

/// The command that [`child_with`] runs.
pub(crate) fn child_command(test: &str, variable: (&str, &str)) -> Command {
    let binary = std::env::current_exe().expect("the test's own path");
    let mut command = Command::new(binary);
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    command.env(CHILD, test).env(variable.0, variable.1).env("RUST_BACKTRACE", "0");
    command
}

/// The lines that a child wrote to stderr.
pub(crate) fn stderr_lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned).collect()
}

/// The lines of sward's own that a child wrote to stderr.
pub(crate) fn our_lines(output: &Output) -> Vec<String> {
    stderr_lines(output).into_iter().filter(|line| line.contains("sward:")).collect()
}

/// The message of a panic, if it is text.
pub(crate) fn message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default()
}
