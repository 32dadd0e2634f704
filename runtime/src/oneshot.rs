//! Waiting for file descriptors that somebody else owns: a C library, std, another crate.
//!
//! A [`Source`](crate::source::Source) owns its descriptor and is registered once. Nothing of that
//! holds for a descriptor that only passes by as a number: it may be closed unseen (by `fclose`,
//! inside libc) and its number given to another file a moment later. So each wait arms it anew:
//!
//! ```text
//!   wait ──▶ MOD, one-shot ──▶ park ──▶ event: disarmed by the kernel, wake ──▶ try the call again
//!              │ ENOENT: new, or closed unseen since
//!              └──▶ ADD
//! ```
//!
//! The kernel never says more than was asked for once, and an entry that has outlived its file does
//! nothing but wake somebody in vain.

use std::os::fd::RawFd;

use crate::hub;
use crate::scheduler::WaitKey;
use crate::slot::Reason;

/// Bits of `epoll_ctl(2)` that ask for something to read.
const READ: u32 = (libc::EPOLLIN | libc::EPOLLPRI | libc::EPOLLRDHUP) as u32;
/// The bit that asks for room to write.
const WRITE: u32 = libc::EPOLLOUT as u32;
/// Tokens with this bit are those of armed descriptors; the rest of the token is the number.
const MARK: usize = 1 << (usize::BITS - 2);

/// The token of `fd`.
fn token(fd: RawFd) -> usize {
    MARK | fd as usize
}

/// The descriptor that a token is for, unless it is a source's.
pub(crate) fn from_token(token: usize) -> Option<RawFd> {
    let fd = token & !MARK;
    (token & MARK != 0 && fd <= RawFd::MAX as usize).then_some(fd as RawFd)
}

/// What the poller says of a descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct News {
    /// Something to read.
    pub(crate) readable: bool,
    /// Room to write.
    pub(crate) writable: bool,
    /// Something that concerns everybody: an error, a hang-up.
    pub(crate) all: bool,
}

/// One greenlet's wait for one descriptor.
struct Waiter {
    /// Whom to wake, for which wait.
    key: WaitKey,
    /// For what, in bits of `epoll_ctl(2)`.
    interest: u32,
    /// The descriptor was closed meanwhile: its number must not be used again.
    closed: bool,
}

/// What is known of one descriptor.
#[derive(Default)]
struct Fd {
    /// Whether the poller knew it when it was last armed.
    known: bool,
    /// Who waits for it, first come first.
    waiters: Vec<Waiter>,
}

impl Fd {
    /// What all who wait want to hear of.
    fn interest(&self) -> u32 {
        self.waiters.iter().filter(|waiter| !waiter.closed).fold(0, |all, waiter| all | waiter.interest)
    }

    /// Tells everybody that the descriptor is gone.
    fn close(&mut self) {
        self.known = false;
        for waiter in &mut self.waiters {
            waiter.closed = true;
            hub::wake(waiter.key, Reason::Unparked);
        }
    }

    /// Wakes the first whose interest is in `bits`, and forgets those that had been woken already.
    fn wake_first(&mut self, bits: u32) {
        let mut index = 0;
        while let Some(waiter) = self.waiters.get(index) {
            if waiter.closed || waiter.interest & bits == 0 {
                index += 1;
            } else if hub::wake(self.waiters.remove(index).key, Reason::Unparked) {
                return;
            }
        }
    }
}

/// The descriptors that greenlets wait for without owning them.
pub(crate) struct OneShots {
    /// The poller's epoll descriptor.
    epoll: RawFd,
    /// By number, up to the largest that was ever waited for.
    fds: Vec<Fd>,
    /// Waits under way.
    waiting: usize,
    /// The process that all this is about.
    process: u32,
}

impl OneShots {
    /// For the poller with this descriptor, which must stay open as long as this value lives.
    pub(crate) fn new(epoll: RawFd) -> OneShots {
        OneShots { epoll, fds: Vec::new(), waiting: 0, process: std::process::id() }
    }

    /// Whether anybody waits.
    #[inline]
    pub(crate) fn any(&self) -> bool {
        self.waiting != 0
    }

    /// Makes an event on `fd` wake the wait `key`, once. What `epoll_ctl(2)` refuses is returned as
    /// its errno; `EEXIST` means that a source has registered this very descriptor.
    pub(crate) fn arm(&mut self, fd: RawFd, interest: u32, key: WaitKey) -> Result<(), i32> {
        let index = usize::try_from(fd).map_err(|_| libc::EBADF)?;
        if index >= self.fds.len() {
            self.fds.resize_with(index + 1, Fd::default);
        }
        let entry = &mut self.fds[index];
        let wanted = entry.interest() | interest;
        let mut result = Err(libc::ENOENT);
        if entry.known {
            result = control(self.epoll, libc::EPOLL_CTL_MOD, fd, wanted);
        }
        if result == Err(libc::ENOENT) {
            // Whoever still waits does so for a file that was closed unseen.
            if entry.known {
                entry.close();
            }
            result = control(self.epoll, libc::EPOLL_CTL_ADD, fd, interest);
        }
        result?;
        entry.known = true;
        entry.waiters.push(Waiter { key, interest, closed: false });
        self.waiting += 1;
        Ok(())
    }

    /// Ends what `arm` began; true if the descriptor was closed meanwhile.
    pub(crate) fn leave(&mut self, fd: RawFd, key: WaitKey) -> bool {
        self.waiting -= 1;
        let waiters = &mut self.fds[fd as usize].waiters;
        match waiters.iter().position(|waiter| waiter.key == key) {
            Some(index) => waiters.remove(index).closed,
            None => false,
        }
    }

    /// Takes an event: wakes the first in each direction, and arms again for the others. Wakes, so
    /// it only queues (invariant 2).
    pub(crate) fn on_event(&mut self, fd: RawFd, news: News) {
        let Some(entry) = self.fds.get_mut(fd as usize) else { return };
        if news.all || !(news.readable || news.writable) {
            for waiter in entry.waiters.extract_if(.., |waiter| !waiter.closed) {
                hub::wake(waiter.key, Reason::Unparked);
            }
        }
        if news.readable {
            entry.wake_first(READ);
        }
        if news.writable {
            entry.wake_first(WRITE);
        }
        // Also for those that asked for nothing, and so hear of errors and hang-ups only.
        let waited_for = entry.waiters.iter().any(|waiter| !waiter.closed);
        if waited_for && control(self.epoll, libc::EPOLL_CTL_MOD, fd, entry.interest()).is_err() {
            entry.close();
        }
    }

    /// The descriptors in `first..=last` were closed: who waits for one hears so.
    pub(crate) fn close(&mut self, first: RawFd, last: RawFd) {
        let end = self.fds.len().min((last as usize).saturating_add(1));
        let Some(fds) = self.fds.get_mut(first as usize..end) else { return };
        // The child of a `vfork` has descriptors of its own, but this memory.
        if !fds.iter().any(|entry| entry.known) || std::process::id() != self.process {
            return;
        }
        for entry in fds.iter_mut().filter(|entry| entry.known) {
            entry.close();
        }
    }

    /// Takes a descriptor out, since a source is about to register it, or it will be closed while its
    /// file stays open. Who still waits for it looks again.
    pub(crate) fn evict(&mut self, fd: RawFd) {
        let Some(entry) = self.fds.get_mut(fd as usize).filter(|entry| entry.known) else { return };
        entry.known = false;
        // Fails if it was closed unseen; then it is out already.
        let _ = control(self.epoll, libc::EPOLL_CTL_DEL, fd, 0);
        for waiter in entry.waiters.extract_if(.., |waiter| !waiter.closed) {
            hub::wake(waiter.key, Reason::Unparked);
        }
    }
}

/// `epoll_ctl(2)`, one-shot and level-triggered; the error is the errno.
fn control(epoll: RawFd, operation: i32, fd: RawFd, interest: u32) -> Result<(), i32> {
    let events = interest | libc::EPOLLONESHOT as u32;
    let mut event = libc::epoll_event { events, u64: token(fd) as u64 };
    // SAFETY: `event` lives through the call, and the kernel checks both numbers: of a descriptor
    // that is not open, or not to be waited for, it says so in errno. It is told a number that
    // somebody else owns, but changes nothing about that file (invariant 10).
    match unsafe { libc::epoll_ctl(epoll, operation, fd, &raw mut event) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL)),
    }
}
