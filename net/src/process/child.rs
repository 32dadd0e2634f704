//! A child process that runs.

use std::io::{self, Read};
use std::process::{ExitStatus, Output};
use std::time::{Duration, Instant};

use sward_runtime::scope;

use crate::io::deadline;
use crate::process::reap;
use crate::process::{ChildStderr, ChildStdin, ChildStdout};

/// A child process, as [`std::process::Child`]. As there, dropping it neither kills nor reaps it.
///
/// # Differences from `std::process::Child`
///
/// Waits and pipes block the greenlet, not the thread. There is [`wait_timeout`](Child::wait_timeout).
///
/// ```
/// use std::time::Duration;
/// use sward::process::Command;
///
/// let mut child = Command::new("sleep").arg("1000").spawn()?;
/// if child.wait_timeout(Duration::from_millis(10))?.is_none() {
///     child.kill()?;
/// }
/// assert!(!child.wait()?.success());
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct Child {
    /// The pipe to its standard input, if it was set to [`Stdio::piped`](std::process::Stdio::piped).
    pub stdin: Option<ChildStdin>,
    /// The pipe from its standard output.
    pub stdout: Option<ChildStdout>,
    /// The pipe from its standard error.
    pub stderr: Option<ChildStderr>,
    /// std's, without the pipes.
    inner: std::process::Child,
}

impl Child {
    /// Its process id.
    ///
    /// ```
    /// let mut child = sward::process::Command::new("true").spawn()?;
    /// assert_ne!(child.id(), 0);
    /// child.wait()?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn id(&self) -> u32 {
        self.inner.id()
    }

    /// Kills it with SIGKILL; nothing happens if it has been waited for.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// let mut child = sward::process::Command::new("sleep").arg("1000").spawn()?;
    /// child.kill()?;
    /// assert!(!child.wait()?.success());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn kill(&mut self) -> io::Result<()> {
        self.inner.kill()
    }

    /// Closes its standard input and waits until it has ended. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// let mut child = sward::process::Command::new("true").spawn()?;
    /// assert!(child.wait()?.success());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        loop {
            if let Some(status) = self.wait_until(None)? {
                return Ok(status);
            }
        }
    }

    /// Waits until it has ended, for at most `limit`; `None` if it still runs. Does not close its
    /// standard input. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// As [`wait`](Child::wait).
    ///
    /// ```
    /// use std::time::Duration;
    /// let mut child = sward::process::Command::new("sleep").arg("1000").spawn()?;
    /// assert!(child.wait_timeout(Duration::from_millis(1))?.is_none());
    /// child.kill()?;
    /// assert!(child.wait_timeout(Duration::from_secs(60))?.is_some());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn wait_timeout(&mut self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        self.wait_until(deadline(Some(limit)))
    }

    /// Its status if it has ended.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// let mut child = sward::process::Command::new("sleep").arg("1000").spawn()?;
    /// assert!(child.try_wait()?.is_none());
    /// # child.kill()?;
    /// # child.wait()?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.inner.try_wait()
    }

    /// Closes its standard input, reads what it writes (both pipes at once, so that it never waits
    /// for its reader), and waits until it has ended. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// use sward::process::{Command, Stdio};
    /// let child = Command::new("echo").arg("hi").stdout(Stdio::piped()).spawn()?;
    /// assert_eq!(child.wait_with_output()?.stdout, b"hi\n");
    /// # std::io::Result::Ok(())
    /// ```
    pub fn wait_with_output(mut self) -> io::Result<Output> {
        drop(self.stdin.take());
        let (mut stdout, out, err) = (Vec::new(), self.stdout.take(), self.stderr.take());
        scope(|scope| {
            let errors = err.map(|mut pipe| {
                scope.spawn(move || {
                    let mut stderr = Vec::new();
                    pipe.read_to_end(&mut stderr).map(|_| stderr)
                })
            });
            if let Some(mut pipe) = out {
                pipe.read_to_end(&mut stdout)?;
            }
            let stderr = match errors.map(|errors| errors.join()) {
                None => Vec::new(),
                Some(Ok(result)) => result?,
                Some(Err(error)) => return Err(io::Error::other(error)),
            };
            Ok(Output { status: self.wait()?, stdout, stderr })
        })
    }

    /// The body of the waits.
    fn wait_until(&mut self, deadline: Option<Instant>) -> io::Result<Option<ExitStatus>> {
        // It may have been reaped: then its process id may be another's by now.
        if let Some(status) = self.inner.try_wait()? {
            return Ok(Some(status));
        }
        match reap::wait(self.inner.id(), deadline) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
            result => result?,
        }
        self.inner.try_wait()
    }
}

impl From<std::process::Child> for Child {
    fn from(mut inner: std::process::Child) -> Child {
        Child {
            stdin: inner.stdin.take().map(ChildStdin::from),
            stdout: inner.stdout.take().map(ChildStdout::from),
            stderr: inner.stderr.take().map(ChildStderr::from),
            inner,
        }
    }
}
