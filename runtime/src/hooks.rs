//! What `sward-patch` needs of the hub: waits that report an interrupt instead of raising it,
//! because nothing may unwind through a frame that is not Rust (invariant 6).

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Instant;

use crate::hub::{self, hub};
use crate::offload::Job;
use crate::park::can_park;
use crate::reactor::Reactor;
use crate::scheduler::{Hub, WaitKey};
use crate::slot::{Mode, Reason, Slot, State};
use crate::stack;
use crate::threads::ThreadPool;

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It may have what it waited for: try again.
    Ready,
    /// The deadline passed.
    TimedOut,
    /// A kill or a timeout came. The next native blocking call raises it.
    Interrupted,
    /// This descriptor was closed while the greenlet waited for it; its number must not be used.
    Closed(RawFd),
}

/// Whether the caller is a greenlet that may park: not the root, not the hub's own loop, not a
/// destructor in an unwinding, not a signal handler on its own stack.
#[inline]
pub fn on_greenlet() -> bool {
    hub::existing().is_some_and(|hub| {
        let slot = hub.current();
        !slot.is_root() && slot.greenlet.is_on_stack() && can_park() && !hub.busy.get()
    })
}

/// Whether the caller is a thread's root, outside the hub's own loop, and may wait: greenlets then run.
pub fn on_root() -> bool {
    hub::existing().is_some_and(|hub| {
        let slot = hub.current();
        slot.is_root() && slot.state.get() == State::Running && can_park() && !hub.busy.get()
    })
}

/// Whether a greenlet runs on this thread: what is needed, but not all, for [`on_greenlet`]. Calls nothing.
#[inline(always)]
pub fn runs_greenlet() -> bool {
    hub::existing().is_some_and(|hub| hub.runs_greenlet())
}

/// Whether this thread has a hub, whoever runs on it.
#[inline]
pub fn on_hub() -> bool {
    hub::existing().is_some()
}

/// From now on greenlets of any hub that are spawned have at least 256 KiB of stack, and a guard of 256 KiB
/// below it: C code has no stack probes. Greenlets that there are keep their stacks.
pub fn widen_guards() {
    stack::widen_guards();
}

/// The addresses of the running greenlet's stack; `None` on the root.
pub fn stack() -> Option<Range<usize>> {
    let slot = hub::existing()?.current();
    (!slot.is_root()).then(|| slot.greenlet.addresses())
}

/// Forgets this thread's hub for the calling greenlet, in the child of a fork.
pub fn abandon() {
    hub::abandon();
}

/// Lets every other ready greenlet run once, without raising an interrupt.
pub fn yield_now() {
    let hub = hub();
    let slot = hub.current();
    hub.push_ready(slot);
    // A greenlet's switch is never a deadlock, only the root's.
    let _ = hub.switch(slot);
}

/// Parks until `deadline`; `call` names the wait in reports.
pub fn sleep(call: &'static str, deadline: Option<Instant>) -> Ended {
    let hub = hub();
    let slot = hub.current();
    if interrupted(slot) {
        return Ended::Interrupted;
    }
    ended(hub.wait(slot, Mode::Keyed.while_panicking(), call, deadline.map(|instant| hub.clock.at(instant))))
}

/// Parks until one of `fds` has what is asked for (in bits of `epoll_ctl(2)`), or until `deadline`.
/// An empty list only waits for the deadline. A kill or a timeout ends it only if `interruptible`.
///
/// # Errors
///
/// What `epoll_ctl(2)` says of a descriptor that cannot be waited for.
pub fn wait_fds(
    call: &'static str,
    interruptible: bool,
    fds: &[(RawFd, u32)],
    deadline: Option<Instant>,
) -> io::Result<Ended> {
    let hub = hub();
    let slot = hub.current();
    if interruptible && interrupted(slot) {
        return Ok(Ended::Interrupted);
    }
    let mut places = Places { hub, key: hub.next_wait(), fds, armed: 0, copies: Vec::new() };
    places.arm()?;
    let mode = if interruptible { Mode::Keyed.while_panicking() } else { Mode::Uninterruptible };
    let reason = hub.wait(slot, mode, call, deadline.map(|instant| hub.clock.at(instant)));
    Ok(match places.leave() {
        Some(fd) => Ended::Closed(fd),
        None => ended(reason),
    })
}

/// Names the next wait of the running greenlet.
#[derive(Clone, Copy, Debug)]
pub struct Key(WaitKey);

/// The key of the wait that the running greenlet begins next. Not outside greenlets.
pub fn next_wait() -> Key {
    Key(hub().next_wait())
}

/// Ends the wait that `key` names if the greenlet is this thread's and still in it. Only queues.
pub fn wake(key: Key) {
    hub::wake(key.0, Reason::Unparked);
}

/// As [`wake`], and that greenlet runs before all others, the caller after it. The caller must be a greenlet.
pub fn wake_and_let_run(key: Key) {
    hub().wake_and_let_run(key.0);
}

/// Parks until [`wake`] with the wait's key, or until `deadline`; `call` names it in reports. A kill or
/// a timeout ends it only if `interruptible`.
pub fn wait(call: &'static str, interruptible: bool, deadline: Option<Instant>) -> Ended {
    let hub = hub();
    let slot = hub.current();
    if interruptible && interrupted(slot) {
        return Ended::Interrupted;
    }
    let mode = if interruptible { Mode::Keyed.while_panicking() } else { Mode::Uninterruptible };
    ended(hub.wait(slot, mode, call, deadline.map(|instant| hub.clock.at(instant))))
}

/// Tells who waits on this thread for one of the descriptors `first..=last` that they are closed.
pub fn closed(first: RawFd, last: RawFd) {
    if let Some(hub) = hub::existing()
        && let Ok(mut reactor) = hub.reactor.try_borrow_mut()
        && let Some(reactor) = reactor.as_mut()
    {
        reactor.oneshots().close(first, last);
    }
}

/// Runs `f` on `threads` and parks until it has returned; `None` if it was interrupted before
/// (never if `to_the_end`): then `f` goes on without anybody waiting for it, unless it has not
/// started, and its result is dropped.
///
/// # Errors
///
/// If no thread can be made: `f` has not run.
pub fn offload<F, T>(threads: &'static ThreadPool, call: &'static str, to_the_end: bool, f: F) -> io::Result<Option<T>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let hub = hub();
    let slot = hub.current();
    if !to_the_end && interrupted(slot) {
        return Ok(None);
    }
    let job = Job::start(hub, threads, f)?;
    let mode = if to_the_end { Mode::Uninterruptible } else { Mode::Keyed.while_panicking() };
    hub.wait(slot, mode, call, None);
    Ok(job.take().and_then(Result::ok))
}

/// Whether an interrupt is due. Code that ignores the errors of its calls would spin, so each such
/// call lets the others run once.
fn interrupted(slot: &'static Slot) -> bool {
    let due = slot.interrupts.due() && !std::thread::panicking();
    if due {
        yield_now();
    }
    due
}

/// The reason in the words of this module.
fn ended(reason: Reason) -> Ended {
    match reason {
        Reason::Unparked => Ended::Ready,
        Reason::TimedOut => Ended::TimedOut,
        Reason::Interrupted => Ended::Interrupted,
    }
}

/// A greenlet's places with the descriptors that it waits for; given up when dropped (invariant 3).
struct Places<'a> {
    /// Its hub.
    hub: &'static Hub,
    /// The wait.
    key: WaitKey,
    /// The descriptors and what is wanted of each.
    fds: &'a [(RawFd, u32)],
    /// How many of them are armed, from the first.
    armed: usize,
    /// Duplicates, by index in `fds`, of those that a source has registered: the poller keeps one
    /// entry for each number.
    copies: Vec<(usize, OwnedFd)>,
}

impl Places<'_> {
    /// Arms all.
    fn arm(&mut self) -> io::Result<()> {
        let _busy = self.hub.busy();
        let mut reactor = self.hub.reactor.borrow_mut();
        let reactor = Reactor::get_or_make(&mut reactor, &self.hub.remote)?;
        for (index, &(fd, interest)) in self.fds.iter().enumerate() {
            match reactor.oneshots().arm(fd, interest, self.key) {
                Ok(()) => {}
                Err(libc::EEXIST) => {
                    let copy = duplicate(fd)?;
                    let armed = reactor.oneshots().arm(copy.as_raw_fd(), interest, self.key);
                    armed.map_err(io::Error::from_raw_os_error)?;
                    self.copies.push((index, copy));
                }
                Err(errno) => return Err(io::Error::from_raw_os_error(errno)),
            }
            self.armed = index + 1;
        }
        Ok(())
    }

    /// Gives all up; a descriptor that was closed meanwhile, if there is one.
    fn leave(mut self) -> Option<RawFd> {
        self.give_up()
    }

    /// The body of `leave` and of the destructor.
    fn give_up(&mut self) -> Option<RawFd> {
        let mut closed = None;
        let mut reactor = self.hub.reactor.borrow_mut();
        // The hub may have closed its poller: then nothing is left to be given up.
        let reactor = reactor.as_mut()?;
        for (index, &(fd, _)) in self.fds[..std::mem::take(&mut self.armed)].iter().enumerate() {
            let copy = self.copies.iter().find(|(of, _)| *of == index).map(|(_, copy)| copy.as_raw_fd());
            if reactor.oneshots().leave(copy.unwrap_or(fd), self.key) {
                closed = Some(fd);
            }
            if let Some(copy) = copy {
                reactor.oneshots().evict(copy);
            }
        }
        closed
    }
}

impl Drop for Places<'_> {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// Another number for the same file.
fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: epoll has just said that `fd` is open (EEXIST), and no code but this runs on this
    // thread until the call is done; should another thread close it, the kernel says EBADF.
    unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()
}
