//! Waiting for a child's end.
//!
//! A pidfd becomes readable when its process has ended. Where there is none (an old kernel, a
//! sandbox) a thread of the pool waits with `waitid(2)`, which leaves the child to be reaped.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};
use sward_runtime::lowlevel::Source;
use sward_runtime::{Elapsed, offload, timeout};

/// Waits until the process has ended, or until `deadline`. It must not have been reaped. Blocks the
/// greenlet.
pub(super) fn wait(process: u32, deadline: Option<Instant>) -> io::Result<()> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw).ok_or_else(invalid)?;
    match pidfd_open(pid, PidfdFlags::NONBLOCK) {
        Ok(fd) => wait_for_pidfd(fd, pid, deadline),
        Err(_) => wait_on_a_thread(pid, deadline),
    }
}

/// By a pidfd.
fn wait_for_pidfd(fd: OwnedFd, pid: Pid, deadline: Option<Instant>) -> io::Result<()> {
    Source::new(fd).read_with("Child::wait", deadline, |_| {
        match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG)? {
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    })
}

/// By a thread.
fn wait_on_a_thread(pid: Pid, deadline: Option<Instant>) -> io::Result<()> {
    let wait = || {
        offload(move || {
            loop {
                match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
                    Err(rustix::io::Errno::INTR) => {}
                    result => return result.map(drop).map_err(io::Error::from),
                }
            }
        })
    };
    match deadline {
        None => wait(),
        Some(deadline) => {
            let left = deadline.saturating_duration_since(Instant::now());
            timeout(left, wait).unwrap_or_else(|Elapsed| Err(io::ErrorKind::TimedOut.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_thread_waits_as_a_pidfd_does() {
        let mut child = std::process::Command::new("sleep").arg("0.05").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let soon = Some(Instant::now() + Duration::from_millis(5));
        assert_eq!(wait_on_a_thread(pid, soon).unwrap_err().kind(), io::ErrorKind::TimedOut);
        wait_on_a_thread(pid, None).unwrap();
        assert!(child.try_wait().unwrap().is_some_and(|status| status.success()));
    }
}
