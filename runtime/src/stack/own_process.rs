//! Tests that end their process, or that others must not disturb, run in a process of their own.

use std::env;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// In the environment of a process made by `in_own_process`: the test it is for.
const CHILD: &str = "SWARD_TEST_CHILD";

/// What became of a process.
pub(super) struct Outcome {
    /// The signal that ended it.
    pub(super) signal: Option<i32>,
    /// Its exit status, if no signal did.
    pub(super) code: Option<i32>,
    /// All that it wrote to stderr.
    pub(super) stderr: String,
}

impl Outcome {
    /// Checks that it was aborted with a report that has all of `parts`.
    pub(super) fn assert_reported(&self, parts: &[&str]) {
        assert_eq!(self.signal, Some(libc::SIGABRT), "{}", self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is missing in:\n{}", self.stderr);
        }
    }
}

/// Runs `body`, which belongs to the test of that path, in a process of its own, with `variables` in
/// its environment; `None` in that process itself. One that hangs is ended.
pub(super) fn in_own_process(test: &str, variables: &[(&str, &str)], body: impl FnOnce()) -> Option<Outcome> {
    if env::var_os(CHILD).is_some_and(|child| child == test) {
        // SAFETY: no core files from aborts that are meant.
        unsafe { libc::setrlimit(libc::RLIMIT_CORE, &libc::rlimit { rlim_cur: 0, rlim_max: 0 }) };
        body();
        return None;
    }
    let (_crate, path) = test.split_once("::").unwrap();
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", path, "--nocapture", "--include-ignored"])
        .env(CHILD, test)
        .envs(variables.iter().copied())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let watched = child.id();
    let (done, watch) = mpsc::channel::<()>();
    let watchdog = thread::spawn(move || {
        if watch.recv_timeout(Duration::from_secs(60)) == Err(RecvTimeoutError::Timeout) {
            // SAFETY: our own child, which nobody has waited for yet.
            unsafe { libc::kill(watched as i32, libc::SIGKILL) };
        }
    });
    let mut stderr = String::new();
    child.stderr.as_mut().unwrap().read_to_string(&mut stderr).unwrap();
    drop(done);
    watchdog.join().unwrap();
    let status = child.wait().unwrap();
    assert_ne!(status.signal(), Some(libc::SIGKILL), "it hung:\n{stderr}");
    Some(Outcome { signal: status.signal(), code: status.code(), stderr })
}
