//! Waiting for any file descriptor.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sward_runtime::lowlevel::Source;

use crate::io::deadline;

/// Waits until a descriptor is readable: a pipe, an eventfd, inotify, a timerfd, another epoll, a
/// terminal, a socket. Blocks the greenlet, for at most `limit`.
///
/// It does not matter whether the descriptor is in non-blocking mode. As with `poll(2)`, the end of
/// the stream and an error count as readable.
///
/// # Errors
///
/// `ErrorKind::TimedOut` when the limit passes. `ErrorKind::PermissionDenied` for a regular file or a
/// directory, which `epoll(7)` refuses because they are always ready: read them with `sward::fs`.
///
/// ```
/// use std::io::Write;
/// use std::time::Duration;
///
/// let (reader, mut writer) = std::io::pipe()?;
/// let limit = Some(Duration::from_millis(1));
/// assert_eq!(sward::net::wait_readable(&reader, limit).unwrap_err().kind(), std::io::ErrorKind::TimedOut);
/// writer.write_all(b"x")?;
/// sward::net::wait_readable(&reader, limit)?;
/// # std::io::Result::Ok(())
/// ```
pub fn wait_readable(fd: impl AsFd, limit: Option<Duration>) -> io::Result<()> {
    wait(&fd, PollFlags::IN, limit, Source::wait_readable)
}

/// As [`wait_readable`], until a descriptor is writable. Blocks the greenlet.
///
/// # Errors
///
/// The same.
///
/// ```
/// let (_reader, writer) = std::io::pipe()?;
/// sward::net::wait_writable(&writer, None)?;
/// # std::io::Result::Ok(())
/// ```
pub fn wait_writable(fd: impl AsFd, limit: Option<Duration>) -> io::Result<()> {
    wait(&fd, PollFlags::OUT, limit, Source::wait_writable)
}

/// The body of both.
fn wait<'a, F: AsFd>(
    fd: &'a F,
    flags: PollFlags,
    limit: Option<Duration>,
    wait_source: fn(&Source<&'a F>, Option<Instant>) -> io::Result<()>,
) -> io::Result<()> {
    let deadline = deadline(limit);
    let source = Source::new(fd);
    loop {
        match wait_source(&source, deadline) {
            // This very descriptor is registered: a socket of ours, or another greenlet waits for it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let twin = fd.as_fd().try_clone_to_owned()?;
                let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
                return match flags == PollFlags::IN {
                    true => wait_readable(twin, left),
                    false => wait_writable(twin, left),
                };
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let what = "this descriptor cannot be waited for: regular files and directories are always ready, \
                            use sward::fs";
                return Err(io::Error::new(error.kind(), what));
            }
            Ok(()) if is_ready(fd, flags)? => return Ok(()),
            // Another greenlet has read it by now.
            Ok(()) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether the descriptor is ready now.
fn is_ready(fd: &impl AsFd, flags: PollFlags) -> io::Result<bool> {
    match poll(&mut [PollFd::new(fd, flags)], Some(&Timespec::default())) {
        Ok(n) => Ok(n > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
