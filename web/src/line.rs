//! A connection that speaks HTTP: one turn of hyper after the other, and the times of the connection.
//!
//! ```text
//!   a turn, in a poller's greenlet (see `polling`)      the connection's greenlet
//!   poll hyper ──▶ what it says is collected            parks until
//!   flush      ──▶ one write for all of it                the connection is over,
//!   remind     ──▶ of the limit that passes next          a limit has passed (a reminder comes),
//!                                                         or the server stops
//! ```

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sward_runtime::lowlevel::{fetch_ahead, park, trim_stack};

use crate::driver::{Driver, Signal};
use crate::polling::Polled;
use crate::shared::{Phase, Shared};
use crate::wire::Wire;

/// How long a connection that was told to close may take for that.
const CLOSING: Duration = Duration::from_secs(5);

/// hyper's side of a connection, HTTP/1.1 or HTTP/2.
pub(crate) trait Engine {
    /// Goes on as far as it can.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>>;
    /// No more requests after those that are being answered.
    fn close(&mut self);
    /// Whether each request begins with a head that has a time limit of its own.
    fn has_heads(&self) -> bool;
    /// What it has read and not used.
    fn into_rest(self) -> Bytes;
}

/// Why a connection is over.
#[derive(Debug)]
pub(crate) enum End {
    /// hyper is done with it.
    Done(Result<(), hyper::Error>),
    /// hyper was left in the middle of something.
    CutOff,
    /// The socket failed.
    Broken(io::Error),
    /// The client did not send a whole request in time.
    HeadTimedOut,
    /// The client did not do something else in time.
    TimedOut(&'static str),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Done(Ok(())) => f.write_str("the connection has ended"),
            End::Done(Err(error)) => error.fmt(f),
            End::CutOff => f.write_str("a body or its connection was killed, or has panicked"),
            End::Broken(error) => error.fmt(f),
            End::HeadTimedOut => f.write_str("the client does not send its request"),
            End::TimedOut(what) => write!(f, "the client {what}"),
        }
    }
}

/// A connection that speaks HTTP.
pub(crate) struct Line<E> {
    /// hyper's side, from the first turn on. Boxed, so that it is on the stack of who polls, where it is made, and on
    /// no other.
    engine: RefCell<Option<Box<E>>>,
    /// Makes it.
    make: fn(&Rc<Wire>, &Rc<Shared>) -> E,
    /// The socket's.
    wire: Rc<Wire>,
    /// What its requests know.
    shared: Rc<Shared>,
    /// Behind the waker.
    signal: Arc<Signal>,
    /// The waker.
    waker: Waker,
    /// Who polls it at the moment.
    poller: Cell<Option<usize>>,
    /// Whether it was to be polled by another one meanwhile.
    again: Cell<bool>,
    /// Since when it is to end.
    closing: Cell<Option<Instant>>,
    /// Whether hyper does not know that yet.
    untold: Cell<bool>,
    /// How it ended.
    end: Cell<Option<End>>,
}

impl<E: Engine + 'static> Line<E> {
    /// Between hyper and the wire.
    pub(crate) fn new(
        make: fn(&Rc<Wire>, &Rc<Shared>) -> E,
        wire: &Rc<Wire>,
        shared: &Rc<Shared>,
        driver: &Driver,
    ) -> Rc<Line<E>> {
        Rc::new(Line {
            engine: RefCell::new(None),
            make,
            wire: wire.clone(),
            shared: shared.clone(),
            signal: driver.signal.clone(),
            waker: driver.waker.clone(),
            poller: Cell::new(None),
            again: Cell::new(false),
            closing: Cell::new(None),
            untold: Cell::new(false),
            end: Cell::new(None),
        })
    }

    /// hyper's side, at the end.
    pub(crate) fn into_engine(self) -> Option<Box<E>> {
        self.engine.into_inner()
    }

    /// Speaks HTTP until one side has had enough. Blocks the greenlet, which is the connection's.
    #[inline(never)]
    pub(crate) fn run(self: &Rc<Self>) -> End {
        let seat = match self.shared.site.polling.add(self.clone()) {
            Ok(seat) => seat,
            Err(error) => return End::Broken(error),
        };
        self.signal.point_at(Some(seat.place));
        self.signal.ring();
        // What came before this, and who had this stack before, may have called much more deeply.
        if self.shared.site.has_many_connections() {
            trim_stack();
        }
        let mut waited = false;
        let end = loop {
            if let Some(end) = self.end.take() {
                break end;
            }
            if self.shared.is_stopping() && self.closing.get().is_none() {
                self.close();
            }
            let mut deadline = None;
            // What has come in time counts, so while it is polled, or is to be, there is no limit.
            if !self.signal.is_woken()
                && self.poller.get().is_none()
                && let Some((at, late)) = self.next_limit()
            {
                match late.end() {
                    _ if !waited || at > Instant::now() => deadline = self.shared.remind(at),
                    Some(end) => break end,
                    None => self.close(),
                }
            }
            park(deadline);
            self.shared.forget_reminder();
            waited = true;
        };
        self.signal.point_at(None);
        end
    }

    /// Lets the connection end: no more requests.
    fn close(&self) {
        self.closing.set(Some(Instant::now()));
        self.untold.set(true);
        self.signal.ring();
    }

    /// Polls hyper. None: it waits.
    #[inline(always)]
    fn poll(&self) -> Option<End> {
        let mut place = self.engine.borrow_mut();
        let engine = place.get_or_insert_with(|| Box::new((self.make)(&self.wire, &self.shared)));
        if self.untold.take() {
            engine.close();
        }
        self.signal.clear();
        self.wire.begin_turn();
        let (received, begun, phase) = (self.wire.received(), self.shared.begun(), self.shared.phase.get());
        if let Poll::Ready(result) = engine.poll(&mut Context::from_waker(&self.waker)) {
            // HTTP/1's side calls itself done when it has put all that it has to say into a buffer of its own.
            let owes = result.is_ok() && engine.has_heads() && self.wire.hyper_owes();
            return (!owes).then_some(End::Done(result));
        }
        if let (Phase::Idle(_), Phase::Idle(_)) = (phase, self.shared.phase.get())
            && engine.has_heads()
            && self.wire.received() > received
            && self.shared.begun() == begun
        {
            self.shared.phase.set(Phase::Head(Instant::now()));
        }
        if self.shared.copies.get() && self.shared.site.sends_large.get() && self.is_between_requests() {
            let outgrown = place.take();
            drop(place);
            // At the next turn there is another one.
            outgrown.into_iter().for_each(|engine| self.wire.give_back(&engine.into_rest()));
        }
        None
    }

    /// Whether hyper knows nothing that another one would have to know: it has sent what it was given, and received what
    /// belongs to the last request.
    fn is_between_requests(&self) -> bool {
        matches!(self.shared.phase.get(), Phase::Idle(_))
            && !self.shared.has_body.get()
            && !self.wire.hyper_owes()
            && self.closing.get().is_none()
    }

    /// Writes what there is to write, and asks to be reminded of what passes next.
    #[inline(always)]
    fn settle(&self) -> Option<End> {
        if let Poll::Ready(Err(error)) = self.wire.poll_flush(&mut Context::from_waker(&self.waker)) {
            return Some(End::Broken(error));
        }
        if let Some((at, _)) = self.next_limit()
            && self.shared.remind(at).is_some()
        {
            // There is nobody to remind it: it watches the time itself.
            self.shared.unpark();
        }
        None
    }

    /// The connection is over.
    fn finish(&self, end: Option<End>) {
        if end.is_some() {
            self.end.set(end);
            self.shared.unpark();
        }
    }

    /// The limit that passes first, and what is late then.
    #[inline]
    fn next_limit(&self) -> Option<(Instant, Late)> {
        let settings = &self.shared.settings;
        let limit = match self.shared.phase.get() {
            Phase::Head(since) => after(since, settings.head_timeout).map(|at| (at, Late::Head)),
            Phase::Busy => None,
            Phase::Idle(since) => match self.closing.get() {
                None => after(since, settings.keep_alive).map(|at| (at, Late::Idle)),
                Some(begun) => after(begun.max(since), Some(CLOSING)).map(|at| (at, Late::Closing)),
            },
        };
        let Some(stalled) = self.wire.stalled_since().and_then(|since| after(since, settings.write_timeout)) else {
            return limit;
        };
        match limit {
            Some((at, late)) if at <= stalled => Some((at, late)),
            _ => Some((stalled, Late::Writing)),
        }
    }
}

impl<E: Engine + 'static> Polled for Line<E> {
    fn turn(&self, poller: usize) -> bool {
        if self.poller.get().is_some() {
            self.again.set(true);
            return false;
        }
        self.poller.set(Some(poller));
        let turn = Turn(self);
        let mut end = self.poll();
        // A stream may be answered, or a body begun, at once: then all of that is one write.
        let spawned = end.is_none() && self.shared.spawned.take() && self.wire.has_output();
        if end.is_none() && !spawned {
            end = self.settle();
        }
        std::mem::forget(turn);
        self.poller.set(None);
        self.finish(end);
        if self.again.take() {
            self.signal.ring();
        }
        spawned
    }

    fn fetch_ahead(&self) {
        if let Ok(engine) = self.engine.try_borrow()
            && let Some(engine) = &*engine
        {
            fetch_ahead(&**engine);
        }
        fetch_ahead(&*self.shared);
        fetch_ahead(&*self.wire);
        fetch_ahead(&*self.signal);
    }

    fn flush(&self) {
        // Otherwise it has its turn soon.
        if !self.signal.is_woken() && self.poller.get().is_none() {
            self.finish(self.settle());
        }
    }

    fn poller(&self) -> Option<usize> {
        self.poller.get()
    }
}

/// A turn that does not come to its end: who polls was killed, because the connection was, or has panicked.
struct Turn<'a, E: Engine + 'static>(&'a Line<E>);

impl<E: Engine + 'static> Drop for Turn<'_, E> {
    fn drop(&mut self) {
        self.0.poller.set(None);
        self.0.finish(Some(End::CutOff));
    }
}

/// What is late when a limit has passed.
#[derive(Clone, Copy, Debug)]
enum Late {
    /// The rest of a request's head.
    Head,
    /// The next request.
    Idle,
    /// The client's end of a connection that was told to close.
    Closing,
    /// The client's reading of an answer.
    Writing,
}

impl Late {
    /// How the connection ends; none: it is idle, and closes.
    fn end(self) -> Option<End> {
        match self {
            Late::Head => Some(End::HeadTimedOut),
            Late::Idle => None,
            Late::Closing => Some(End::TimedOut("does not close its idle connection")),
            Late::Writing => Some(End::TimedOut("does not read its answer")),
        }
    }
}

/// When `limit` after `since` has passed.
fn after(since: Instant, limit: Option<Duration>) -> Option<Instant> {
    since.checked_add(limit?)
}
