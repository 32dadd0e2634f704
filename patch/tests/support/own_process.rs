//! Tests that end their process, or change it for good, run in one of their own.

use std::process::{Command, Output};

/// In the environment of such a process: the test it is for.
const CHILD: &str = "SWARD_TEST_CHILD";

/// Runs `body`, which belongs to the test called `test`, in a process of its own that lives a minute at
/// most, and gives what it wrote and how it ended; `None` in that process itself.
pub(crate) fn in_own_process(test: &str, body: impl FnOnce()) -> Option<Output> {
    if std::env::var_os(CHILD).is_some_and(|child| child == test) {
        // SAFETY: takes numbers; no core files of aborts that are meant.
        unsafe {
            libc::alarm(60);
            libc::setrlimit(libc::RLIMIT_CORE, &libc::rlimit { rlim_cur: 0, rlim_max: 0 });
        }
        body();
        return None;
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    Some(child.args(["--exact", test, "--nocapture"]).env(CHILD, test).output().unwrap())
}
