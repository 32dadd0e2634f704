//! The poller: tells which registered file descriptors have changed. The only file that touches
//! `mio::Poll`.
//!
//! A source is registered once, edge-triggered, in both directions, and taken out before its file
//! descriptor closes (invariant 9). An event sets flags on the source and wakes who waits there.

use std::collections::VecDeque;
use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::task;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;

use crate::alarm::Alarm;
#[cfg(target_os = "linux")]
use crate::oneshot::{self, News, OneShots};
use crate::readiness::Readiness;
use crate::remote::Remote;

/// The token of the waker that other threads use.
const WAKER: Token = Token(usize::MAX);
/// The token of the alarm.
const ALARM: Token = Token(usize::MAX - 1);
/// Events taken from the operating system at once. Few enough that what taking one touches is in a near cache still
/// when its greenlet runs, however many sockets are busy.
const EVENTS: usize = 64;
/// What is asked for, at most, by `turn_often`, in units of `EVENTS`.
const BATCHES: usize = 16;

/// The poller and what is registered with it.
pub(crate) struct Reactor {
    /// epoll or kqueue.
    poll: Poll,
    /// Where the operating system puts the events of one turn.
    events: Events,
    /// Everything registered; the index is the token.
    sources: Slab<Rc<Readiness>>,
    /// Wakes the poller at a deadline, more precisely than its own timeout does.
    alarm: Alarm,
    /// Wakers of the futures that events came for, in that order.
    woken: VecDeque<task::Waker>,
    /// Descriptors that somebody else owns, armed for one event each.
    #[cfg(target_os = "linux")]
    oneshots: OneShots,
}

impl Reactor {
    /// The one at `place`; made, for `remote` to wake, if there is none.
    pub(crate) fn get_or_make<'a>(place: &'a mut Option<Reactor>, remote: &Remote) -> io::Result<&'a mut Reactor> {
        if place.is_none() {
            Reactor::make(place, remote)?;
        }
        Ok(place.as_mut().expect("it was made"))
    }

    /// Not inlined: the frame of whoever comes second, on a greenlet's stack, is to have no room for a reactor.
    #[cold]
    #[inline(never)]
    fn make(place: &mut Option<Reactor>, remote: &Remote) -> io::Result<()> {
        *place = Some(Reactor::new(remote)?);
        Ok(())
    }

    /// A poller that `remote` can wake.
    fn new(remote: &Remote) -> io::Result<Reactor> {
        let poll = Poll::new()?;
        let alarm = Alarm::new(poll.registry(), ALARM)?;
        // Last: it can be given away only once, and nothing may fail after that.
        remote.set_waker(Waker::new(poll.registry(), WAKER)?);
        Ok(Reactor {
            #[cfg(target_os = "linux")]
            oneshots: OneShots::new(poll.as_raw_fd()),
            poll,
            events: Events::with_capacity(EVENTS),
            sources: Slab::new(),
            alarm,
            woken: VecDeque::new(),
        })
    }

    /// Whether any file descriptor is registered or armed.
    #[inline]
    pub(crate) fn has_sources(&self) -> bool {
        #[cfg(target_os = "linux")]
        if self.oneshots.any() {
            return true;
        }
        !self.sources.is_empty()
    }

    /// The descriptors that somebody else owns.
    #[cfg(target_os = "linux")]
    pub(crate) fn oneshots(&mut self) -> &mut OneShots {
        &mut self.oneshots
    }

    /// Registers `fd`; events go to `readiness`. Returns the key for `deregister`.
    pub(crate) fn register(&mut self, fd: RawFd, readiness: Rc<Readiness>) -> io::Result<usize> {
        #[cfg(target_os = "linux")]
        self.oneshots.evict(fd);
        let entry = self.sources.vacant_entry();
        let key = entry.key();
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut SourceFd(&fd), Token(key), interest)?;
        entry.insert(readiness);
        Ok(key)
    }

    /// Undoes `register`.
    pub(crate) fn deregister(&mut self, fd: RawFd, key: usize) {
        // Fails only if `fd` was closed behind our back, and then there is nothing to undo.
        let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
        self.sources.try_remove(key);
    }

    /// The next future to be woken: by the hub, when the reactor is not borrowed.
    pub(crate) fn pop_woken(&mut self) -> Option<task::Waker> {
        self.woken.pop_front()
    }

    /// Takes events for at most `limit` (`None`: until there is one) and wakes those concerned;
    /// `pop_woken` gives the futures among them. Tells whether there may be more.
    pub(crate) fn turn(&mut self, limit: Option<Duration>) -> bool {
        let timeout = self.alarm.arm(limit);
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            // A signal handler ran; whoever it was for will be found at the next turn.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return false,
            Err(error) => panic!("sward: the poller failed: {error}"),
        }
        for event in &self.events {
            if let Some(readiness) = self.sources.get(event.token().0) {
                readiness.prefetch();
            }
        }
        let mut taken = 0;
        for event in &self.events {
            taken += 1;
            match event.token() {
                WAKER => {}
                ALARM => self.alarm.rang(),
                Token(key) => {
                    if let Some(readiness) = self.sources.get(key) {
                        readiness.on_event(event, &mut self.woken);
                        continue;
                    }
                    #[cfg(target_os = "linux")]
                    if let Some(fd) = oneshot::from_token(key) {
                        let all = event.is_error() || event.is_read_closed() || event.is_write_closed();
                        let (readable, writable) = (event.is_readable(), event.is_writable());
                        self.oneshots.on_event(fd, News { readable, writable, all });
                    }
                }
            }
        }
        taken == EVENTS
    }

    /// Takes the events that are there already, also if they are many.
    pub(crate) fn turn_often(&mut self) {
        for _ in 0..BATCHES {
            if !self.turn(Some(Duration::ZERO)) {
                break;
            }
        }
    }
}
