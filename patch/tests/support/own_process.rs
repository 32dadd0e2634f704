//! Tests that end their process, or change it for good, run in one of their own.

#![allow(dead_code, reason = "each test file uses a part")]

use std::process::{Command, Output};

/// In the environment of such a process: the test it is for.
const CHILD: &str = "SWARD_TEST_CHILD";

/// Runs `body`, which belongs to the test called `test`, in a process of its own that lives a minute at
/// most, and gives what it wrote and how it ended; `None` in that process itself.
pub(crate) fn in_own_process(test: &str, body: impl FnOnce()) -> Option<Output> {
    in_own_process_with(test, &[], body)
}

/// The same with `variables` in its environment.
pub(crate) fn in_own_process_with(test: &str, variables: &[(&str, &str)], body: impl FnOnce()) -> Option<Output> {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.envs(variables.iter().copied());
    in_child(test, child, body)
}

/// The same with network and mount namespaces of its own, where it is root.
pub(crate) fn in_own_namespaces(test: &str, body: impl FnOnce()) -> Option<Output> {
    let mut unshare = Command::new("unshare");
    // SAFETY: takes nothing.
    if unsafe { libc::geteuid() } != 0 {
        unshare.arg("--map-root-user");
    }
    unshare.args(["--net", "--mount"]).arg(std::env::current_exe().unwrap());
    in_child(test, unshare, body)
}

fn in_child(test: &str, mut command: Command, body: impl FnOnce()) -> Option<Output> {
    if is_child(test) {
        // SAFETY: takes numbers; no core files of aborts that are meant.
        unsafe {
            libc::alarm(60);
            libc::setrlimit(libc::RLIMIT_CORE, &libc::rlimit { rlim_cur: 0, rlim_max: 0 });
        }
        body();
        return None;
    }
    Some(command.args(["--exact", test, "--nocapture"]).env(CHILD, test).output().unwrap())
}

/// Whether this is the process that was made for the test.
fn is_child(test: &str) -> bool {
    std::env::var_os(CHILD).is_some_and(|child| child == test)
}
