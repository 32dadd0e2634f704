//! Waiting for one descriptor, as the blocking call would have.

use std::mem;
use std::time::{Duration, Instant};

use libc::{EAGAIN, EBADF, ECANCELED, F_GETFL, O_NONBLOCK, SOL_SOCKET, c_int, socklen_t, ssize_t, timeval};
use sward_runtime::lowlevel::hooks::Ended;

use crate::gate::{Inside, errno, set_errno};
use crate::table::real;

/// How often something is looked at that cannot be waited for.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// What a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Something to read, a connection to accept.
    Read,
    /// Room to write, a connection made.
    Write,
}

impl Direction {
    /// In bits of `epoll_ctl(2)`.
    pub(crate) fn bits(self) -> u32 {
        match self {
            Direction::Read => (libc::EPOLLIN | libc::EPOLLRDHUP) as u32,
            Direction::Write => libc::EPOLLOUT as u32,
        }
    }

    /// In bits of `poll(2)`.
    fn events(self) -> i16 {
        match self {
            Direction::Read => libc::POLLIN,
            Direction::Write => libc::POLLOUT,
        }
    }
}

/// Until when a call may wait; asked of the kernel when it first has to.
#[derive(Clone, Copy, Default)]
pub(crate) struct Limit(Option<Option<Instant>>);

/// Runs `call` until it returns something else than `EAGAIN`, and parks in between. `call` must not
/// block; `never` says that the caller did not want to wait at all.
pub(crate) fn retry(
    inside: &Inside,
    fd: c_int,
    direction: Direction,
    never: bool,
    limit: &mut Limit,
    mut call: impl FnMut() -> ssize_t,
) -> ssize_t {
    loop {
        let result = call();
        if result >= 0 || errno() != EAGAIN || never {
            return result;
        }
        if !block(inside, fd, direction, limit) {
            return -1;
        }
    }
}

/// Parks because a call on `fd` said `EAGAIN`. True: try again; false: the call fails, errno is set.
pub(crate) fn block(inside: &Inside, fd: c_int, direction: Direction, limit: &mut Limit) -> bool {
    let deadline = match limit.0 {
        Some(deadline) => deadline,
        None if is_nonblocking(fd) => {
            set_errno(EAGAIN);
            return false;
        }
        None => *limit.0.insert(socket_limit(fd, direction)),
    };
    let ended = inside.wait(&[(fd, direction.bits())], deadline).unwrap_or_else(|_| tick(inside, deadline));
    match ended {
        Ended::Ready => return true,
        Ended::TimedOut => set_errno(EAGAIN),
        Ended::Interrupted => set_errno(ECANCELED),
        Ended::Closed(_) => set_errno(EBADF),
    }
    false
}

/// Waits a little for what epoll refuses: a device, or when descriptors have run out.
pub(crate) fn tick(inside: &Inside, deadline: Option<Instant>) -> Ended {
    let next = Instant::now() + TICK;
    match deadline {
        Some(deadline) if deadline <= next => inside.sleep(Some(deadline)),
        _ => match inside.sleep(Some(next)) {
            Ended::TimedOut => Ended::Ready,
            ended => ended,
        },
    }
}

/// Waits until `fd`, which is not a socket, can be read from or written to without blocking. What is
/// never waited for (regular files, terminals, standard streams, non-blocking descriptors) is ready
/// at once. False: the call fails, errno is set.
pub(crate) fn other_is_ready(inside: &Inside, fd: c_int, direction: Direction) -> bool {
    let mut limit = Limit(Some(None));
    loop {
        if fd <= 2 || looks_ready(fd, direction) || is_nonblocking(fd) || !can_be_waited_for(fd) {
            return true;
        }
        if !block(inside, fd, direction, &mut limit) {
            return false;
        }
    }
}

/// What `poll(2)` says now; errors and hang-ups count, since the call will report them.
pub(crate) fn looks_ready(fd: c_int, direction: Direction) -> bool {
    let mut poll = libc::pollfd { fd, events: direction.events(), revents: 0 };
    // SAFETY: one live entry.
    unsafe { real::poll(&raw mut poll, 1, 0) != 0 }
}

/// Whether the caller has made `fd` non-blocking. A descriptor that is not open is not.
pub(crate) fn is_nonblocking(fd: c_int) -> bool {
    // SAFETY: takes numbers only.
    let flags = unsafe { libc::fcntl(fd, F_GETFL) };
    flags >= 0 && flags & O_NONBLOCK != 0
}

/// The kind of file, as in `st_mode & S_IFMT`; 0 for an eventfd and its like.
pub(crate) fn kind(fd: c_int) -> libc::mode_t {
    // SAFETY: all zeros is a `stat`.
    let mut stat: libc::stat = unsafe { mem::zeroed() };
    // SAFETY: `stat` is writable.
    match unsafe { libc::fstat(fd, &raw mut stat) } {
        0 => stat.st_mode & libc::S_IFMT,
        _ => libc::S_IFREG,
    }
}

/// False for files on disk and for terminals, which are read and written in place.
fn can_be_waited_for(fd: c_int) -> bool {
    match kind(fd) {
        libc::S_IFREG | libc::S_IFDIR | libc::S_IFBLK => false,
        // SAFETY: takes a number only.
        libc::S_IFCHR => unsafe { libc::isatty(fd) == 0 },
        _ => true,
    }
}

/// The deadline that `SO_RCVTIMEO` or `SO_SNDTIMEO` sets for a call that begins now.
fn socket_limit(fd: c_int, direction: Direction) -> Option<Instant> {
    let option = match direction {
        Direction::Read => libc::SO_RCVTIMEO,
        Direction::Write => libc::SO_SNDTIMEO,
    };
    let mut value = timeval { tv_sec: 0, tv_usec: 0 };
    if !socket_option(fd, option, &mut value) || (value.tv_sec == 0 && value.tv_usec == 0) {
        return None;
    }
    Instant::now().checked_add(Duration::new(value.tv_sec as u64, value.tv_usec as u32 * 1000))
}

/// Reads an option of the socket itself; false if `fd` has none.
pub(crate) fn socket_option<T: Copy>(fd: c_int, option: c_int, value: &mut T) -> bool {
    let mut len = size_of::<T>() as socklen_t;
    // SAFETY: `value` is writable for `len` bytes, and the callers' types are the options'.
    unsafe { libc::getsockopt(fd, SOL_SOCKET, option, (&raw mut *value).cast(), &raw mut len) == 0 }
}

/// Whether `fd` is a stream socket, on which a part of what was asked for may come.
pub(crate) fn is_stream(fd: c_int) -> bool {
    let mut kind: c_int = 0;
    socket_option(fd, libc::SO_TYPE, &mut kind) && kind == libc::SOCK_STREAM
}

/// How long a `timespec` is; `None` if it is not valid, or longer than an `Instant` holds.
pub(crate) fn duration(time: libc::timespec) -> Option<Duration> {
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanos = u32::try_from(time.tv_nsec).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(seconds, nanos))
}
