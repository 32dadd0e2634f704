//! A file descriptor that greenlets wait on.
//!
//! ```text
//!            try the call ──ok──▶ done
//!               ▲   │ WouldBlock: ready = false
//!               │   ▼
//!   event: ready = true ◀── wait (registered once, edge-triggered)
//! ```
//!
//! What is known between the calls, and who waits, is in `readiness.rs`.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::hub::{self, hub};
use crate::park::can_park;
use crate::reactor::Reactor;
use crate::readiness::{Direction, Readiness, Side, Turn};
use crate::scheduler::Hub;
use crate::slot::Reason;
use crate::wait_queue::Waited;

/// I/O calls in a row that may succeed at once before the greenlet lets others run.
const STREAK: u32 = 128;

/// A source's place in the poller of one hub.
#[derive(Clone, Copy)]
struct Place {
    /// The hub.
    hub: u64,
    /// The reactor's key.
    key: usize,
}

/// The registration of a file descriptor; made at the first wait, undone when dropped.
struct Registration {
    /// The file descriptor.
    fd: RawFd,
    /// What is known of it.
    readiness: Rc<Readiness>,
    /// Where it is registered. A forked child registers with its own hub.
    place: Cell<Option<Place>>,
}

impl Registration {
    /// Registers unless that is done.
    #[inline]
    fn ensure(&self) -> io::Result<()> {
        let hub = hub();
        match self.place.get() {
            Some(place) if place.hub == hub.serial => Ok(()),
            _ => self.register(hub),
        }
    }

    /// Registers with this thread's hub.
    #[cold]
    fn register(&self, hub: &'static Hub) -> io::Result<()> {
        let _busy = hub.busy();
        let mut reactor = hub.reactor.borrow_mut();
        let reactor = Reactor::get_or_make(&mut reactor, &hub.remote)?;
        let key = reactor.register(self.fd, self.readiness.clone())?;
        self.place.set(Some(Place { hub: hub.serial, key }));
        Ok(())
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let (Some(place), Some(hub)) = (self.place.get(), hub::existing())
            && place.hub == hub.serial
            && let Some(reactor) = hub.reactor.borrow_mut().as_mut()
        {
            reactor.deregister(self.fd, place.key);
        }
        for direction in [Direction::Read, Direction::Write] {
            self.readiness.side(direction).close();
        }
    }
}

/// An object with a file descriptor in non-blocking mode, and the hub's knowledge of it.
///
/// [`read_with`](Source::read_with) and [`write_with`](Source::write_with) run one system call in a
/// retry loop; that is all that a green driver needs:
///
/// ```
/// use std::io::{Read, Write};
/// use std::os::unix::net::UnixStream;
/// use sward::lowlevel::Source;
///
/// let (a, b) = UnixStream::pair()?;
/// a.set_nonblocking(true)?;
/// let a = Source::new(a);
/// let reader = sward::spawn(move || {
///     let mut buffer = [0; 5];
///     a.read_with("my_read", None, |mut stream| stream.read(&mut buffer)).map(|n| buffer[..n].to_vec())
/// });
/// sward::yield_now(); // the reader waits
/// (&b).write_all(b"hello")?;
/// assert_eq!(reader.join().unwrap()?, b"hello");
/// # std::io::Result::Ok(())
/// ```
pub struct Source<T: AsFd> {
    /// Dropped before `io`: deregistered before its descriptor closes (invariant 9).
    registration: Registration,
    /// The object.
    io: T,
}

impl<T: AsFd> Source<T> {
    /// Wraps `io`, which must be in non-blocking mode. Makes no system call: the descriptor is
    /// registered when a call on it would block for the first time.
    pub fn new(io: T) -> Source<T> {
        let registration =
            Registration { fd: io.as_fd().as_raw_fd(), readiness: Rc::new(Readiness::new()), place: Cell::new(None) };
        Source { registration, io }
    }

    /// The object.
    pub fn get_ref(&self) -> &T {
        &self.io
    }

    /// Deregisters the descriptor and gives the object back.
    pub fn into_inner(self) -> T {
        drop(self.registration);
        self.io
    }

    /// Waits until the descriptor is readable, or until `deadline`. Blocks the greenlet.
    ///
    /// Returns at once if it is readable already. One event ends the waits of all who call this; so call it in a loop, as
    /// another may have read by the time that the greenlet runs. As with `poll(2)`, the end of the stream and an error
    /// count as readable.
    ///
    /// ```
    /// use std::io::{ErrorKind, Write};
    /// use std::os::unix::net::UnixStream;
    /// use std::time::Instant;
    /// use sward::lowlevel::Source;
    ///
    /// let (a, mut b) = UnixStream::pair()?;
    /// let a = Source::new(a);
    /// assert_eq!(a.wait_readable(Some(Instant::now())).unwrap_err().kind(), ErrorKind::TimedOut);
    /// b.write_all(b"x")?;
    /// a.wait_readable(None)?;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    ///
    /// `ErrorKind::TimedOut` when the deadline passes; what `epoll_ctl(2)` says of a descriptor that
    /// cannot be waited on (a regular file: `PermissionDenied`).
    pub fn wait_readable(&self, deadline: Option<Instant>) -> io::Result<()> {
        self.wait(Direction::Read, "Source::wait_readable", deadline)
    }

    /// As [`wait_readable`](Source::wait_readable), for writing.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn wait_writable(&self, deadline: Option<Instant>) -> io::Result<()> {
        self.wait(Direction::Write, "Source::wait_writable", deadline)
    }

    /// Runs `call` until it returns something else than `WouldBlock` (an `Interrupted` is tried
    /// again), and waits in between until the descriptor is readable or `deadline` has passed.
    /// Blocks the greenlet. `name` names the call in reports.
    ///
    /// # Errors
    ///
    /// Those of `call`; `ErrorKind::TimedOut` when the deadline passes.
    pub fn read_with<R>(
        &self,
        name: &'static str,
        deadline: Option<Instant>,
        call: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        self.retry(Direction::Read, name, deadline, call)
    }

    /// As [`read_with`](Source::read_with), for writing.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn write_with<R>(
        &self,
        name: &'static str,
        deadline: Option<Instant>,
        call: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        self.retry(Direction::Write, name, deadline, call)
    }

    /// The two calls above for a future: makes `call`, unless it is known that it would block, and if
    /// it would, leaves the task's waker for the next event. Never switches greenlets, so that it may be
    /// called with a lock held. One future may wait in each direction, beside any greenlets: the last
    /// one polled.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::os::unix::net::UnixStream;
    /// use sward::lowlevel::{Direction, Source};
    ///
    /// let (a, b) = UnixStream::pair()?;
    /// a.set_nonblocking(true)?;
    /// let a = Source::new(a);
    /// let reader = sward::spawn(move || {
    ///     let mut buffer = [0; 5];
    ///     let read = std::future::poll_fn(|context| {
    ///         a.poll_with(Direction::Read, context, |mut stream| stream.read(&mut buffer))
    ///     });
    ///     sward::block_on(read)
    /// });
    /// sward::yield_now(); // the reader waits
    /// (&b).write_all(b"hello")?;
    /// assert_eq!(reader.join().unwrap()?, 5);
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `call`; what `epoll_ctl(2)` says of a descriptor that cannot be waited on.
    #[inline(always)]
    pub fn poll_with<R>(
        &self,
        direction: Direction,
        context: &mut Context<'_>,
        mut call: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let side = self.registration.readiness.side(direction);
        if side.state.ready.get()
            && let Some(result) = attempt(side, || call(&self.io))
        {
            return Poll::Ready(result);
        }
        // Registering reports what came since the attempt as an event.
        self.registration.ensure()?;
        side.set_waker(context.waker());
        Poll::Pending
    }

    /// Tells that a call has just moved less than it could have (a short read or write of a
    /// stream): the kernel has no more now, and the next call waits without trying.
    #[inline]
    pub fn used_up(&self, direction: Direction) {
        let side = self.registration.readiness.side(direction);
        if !side.state.hung_up.get() && self.registration.place.get().is_some() {
            side.state.ready.set(false);
        }
    }

    /// The retry loop.
    fn retry<R>(
        &self,
        direction: Direction,
        name: &'static str,
        deadline: Option<Instant>,
        mut call: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        count_call();
        let side = self.registration.readiness.side(direction);
        let turn = if side.state.taken.get() {
            if !can_park() {
                return self.block_thread(direction, deadline, call);
            }
            Turn::wait(side, name, deadline)?
        } else {
            if side.state.ready.get()
                && let Some(result) = attempt(side, || call(&self.io))
            {
                return result;
            }
            if !can_park() {
                return self.block_thread(direction, deadline, call);
            }
            Turn::take(side)
        };
        let mut may_succeed = side.state.ready.get();
        loop {
            if may_succeed && let Some(result) = attempt(side, || call(&self.io)) {
                return result;
            }
            self.registration.ensure()?;
            let hub = hub();
            hub.current().source.set(Rc::as_ptr(&self.registration.readiness).cast());
            if turn.wait_for_event(hub, name, deadline) == Reason::TimedOut {
                // Data that came in the same turn beats the timeout.
                return attempt(side, || call(&self.io)).unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()));
            }
            hub.prefetch_next();
            may_succeed = true;
        }
    }

    /// The body of `wait_readable` and `wait_writable`.
    fn wait(&self, direction: Direction, name: &'static str, deadline: Option<Instant>) -> io::Result<()> {
        count_call();
        if !can_park() {
            return poll_thread(&self.io, direction, deadline);
        }
        // Before the look: what comes after it is then an event.
        self.registration.ensure()?;
        if is_ready(&self.io, direction)? {
            return Ok(());
        }
        match self.registration.readiness.side(direction).wait(name, deadline) {
            // Data that came in the same turn beats the timeout.
            Waited::TimedOut(()) if !is_ready(&self.io, direction)? => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }

    /// The retry loop of a destructor that runs in an unwinding: blocks the OS thread.
    #[cold]
    fn block_thread<R>(
        &self,
        direction: Direction,
        deadline: Option<Instant>,
        mut call: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        loop {
            match call(&self.io) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => poll_thread(&self.io, direction, deadline)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

impl<T: AsFd + fmt::Debug> fmt::Debug for Source<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("io", &self.io).finish_non_exhaustive()
    }
}

impl<T: AsFd> UnwindSafe for Source<T> {}
impl<T: AsFd> RefUnwindSafe for Source<T> {}

/// Makes the call; `None`, and the direction is not ready, if it would block.
#[inline(always)]
fn attempt<R>(side: Side<'_>, mut call: impl FnMut() -> io::Result<R>) -> Option<io::Result<R>> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                side.state.ready.set(false);
                return None;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return Some(result),
        }
    }
}

/// Lets others run when this greenlet has made many calls in a row without waiting.
#[inline(always)]
fn count_call() {
    let hub = hub();
    let streak = hub.streak.get() + 1;
    hub.streak.set(streak);
    if streak > STREAK {
        let_others_run(hub);
    }
}

/// The rare part of `count_call`.
#[cold]
#[inline(never)]
fn let_others_run(hub: &'static Hub) {
    hub.yield_now();
}

/// Whether the descriptor is ready now.
fn is_ready(io: &impl AsFd, direction: Direction) -> io::Result<bool> {
    match poll(&mut [PollFd::new(io, flags(direction))], Some(&Timespec::default())) {
        Ok(n) => Ok(n > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Waits for one descriptor with `poll(2)`, blocking the OS thread.
#[cold]
fn poll_thread(io: &impl AsFd, direction: Direction, deadline: Option<Instant>) -> io::Result<()> {
    let limit = deadline.map(|deadline| {
        let left = deadline.saturating_duration_since(Instant::now());
        Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() }
    });
    match poll(&mut [PollFd::new(io, flags(direction))], limit.as_ref()) {
        Ok(0) => Err(io::ErrorKind::TimedOut.into()),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What `poll(2)` calls it.
fn flags(direction: Direction) -> PollFlags {
    match direction {
        Direction::Read => PollFlags::IN,
        Direction::Write => PollFlags::OUT,
    }
}
