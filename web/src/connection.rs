//! A connection, from its first byte to its last. It has no greenlet: whatever it does is a turn of a poller's.
//!
//! ```text
//!   a turn, in a poller's greenlet (see `polling`)
//!   poll       ──▶ Undecided ──▶ Http1 ──────────┬──▶ Closing ──▶ gone
//!                      └───────▶ Http2 ──────────┤
//!                                                └──▶ gone, and a greenlet has the stream (`upgrade`)
//!   flush      ──▶ one write for all that hyper has said
//!   remind     ──▶ of the limit that passes next
//! ```

mod limits;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use httpdate::HttpDate;
use sward_net::Permit;
use sward_runtime::lowlevel::fetch_ahead;
use sward_runtime::{GreenletId, timeout};

use crate::end::End;
use crate::engine::{Http1, Http2};
use crate::hold::{Ends, Hold};
use crate::polling::Turned;
use crate::shared::{Phase, Shared};
use crate::signal::Signal;
use crate::site::Site;
use crate::stream::{Peer, Stream};
use crate::upgrade::{UpgradeTo, Upgraded};
use crate::wait::wait_for;
use crate::wire::{Dialect, Wire};

/// How long a closed connection takes what the client is still sending, so that the client reads the
/// answer instead of a reset.
const LINGER: Duration = Duration::from_secs(2);

/// What a client gets that does not send its request; its date comes behind, as hyper's.
const TIMED_OUT: &str = "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\ndate: ";

/// What a connection is at.
enum Stage {
    /// Too little has come to tell what is spoken.
    Undecided,
    /// HTTP/1.0 or HTTP/1.1. Boxed, as is the other: until something has come, neither is needed.
    Http1(Box<Http1>),
    /// HTTP/2.
    Http2(Box<Http2>),
    /// What there is to say is being sent; then what the client still sends may be taken.
    Closing {
        /// Whether it is.
        lingers: bool,
        /// Since then: whether the server was stopping when that began.
        shut: Option<bool>,
    },
    /// Nothing is left to be done.
    Over,
}

/// An open connection.
pub(crate) struct Connection {
    /// What it is at. Borrowed while it is polled: what may run code of users leaves nothing else borrowed.
    stage: RefCell<Stage>,
    /// The socket.
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
    /// Whether a turn did not come to its end.
    cut_off: Cell<bool>,
    /// Since when it is to end.
    closing: Cell<Option<Instant>>,
    /// Whether hyper does not know that yet.
    untold: Cell<bool>,
    /// When it will be reminded, that or earlier than it asked for.
    reminder: Cell<Option<Instant>>,
    /// Whether it was.
    reminded: Cell<bool>,
    /// Dropped last, when the socket is closed.
    ends: Ends,
}

/// Begins a connection. Does not block.
pub(crate) fn open(stream: Stream, peer: Peer, permit: Permit, site: &Rc<Site>) -> io::Result<()> {
    #[cfg(feature = "tls")]
    let stream = match &site.settings.tls {
        None => stream,
        Some(config) => match crate::tls::Tls::new(stream, config.clone()) {
            Ok(tls) => Stream::Tls(Box::new(tls)),
            Err(error) => {
                log::error!(target: "sward_web", "{peer}: {error}");
                return Ok(());
            }
        },
    };
    let (shared, wire) = (Shared::new(site, peer, permit), Wire::new(stream));
    let connection = site.add(|place| Connection::new(place, wire, shared))?;
    let (shared, weak) = (connection.shared.clone(), Rc::downgrade(&connection));
    connection.shared.held_by(Rc::new(Hold { connection: weak, shared }));
    connection.signal.ring();
    Ok(())
}

impl Connection {
    /// At its place.
    fn new(place: usize, wire: Rc<Wire>, shared: Rc<Shared>) -> Rc<Connection> {
        let signal = Signal::new(place, shared.site.polling.bell().clone());
        Rc::new(Connection {
            stage: RefCell::new(Stage::Undecided),
            wire,
            waker: Waker::from(signal.clone()),
            signal,
            poller: Cell::new(None),
            again: Cell::new(false),
            cut_off: Cell::new(false),
            closing: Cell::new(None),
            untold: Cell::new(false),
            reminder: Cell::new(None),
            reminded: Cell::new(false),
            ends: Ends { shared: shared.clone(), killed: Cell::new(false) },
            shared,
        })
    }

    /// Its place.
    pub(crate) fn place(&self) -> usize {
        self.signal.place()
    }

    /// Whether it is to have another turn.
    pub(crate) fn is_woken(&self) -> bool {
        self.signal.is_woken()
    }

    /// Reads what its turn will ask for; `poller` is who polls.
    #[inline(always)]
    pub(crate) fn read_ahead(&self, poller: usize) {
        if self.poller.get().is_none()
            && let (Stage::Http1(_), Phase::Idle(_)) = (&*self.stage.borrow(), self.shared.phase.get())
        {
            // A turn too, for another one must not begin meanwhile: TLS may log something, and who logs may block.
            let turn = Turn::begin(self, poller);
            self.wire.read_ahead(&mut Context::from_waker(&self.waker));
            turn.end();
        }
    }

    /// Goes on as far as it can; `poller` is who polls.
    #[inline]
    pub(crate) fn turn(&self, poller: usize) -> Turned {
        if self.poller.get().is_some() {
            self.again.set(true);
            return Turned::Waits;
        }
        let turn = Turn::begin(self, poller);
        let mut end = if self.cut_off.get() | self.ends.killed.get() { self.was_cut_off() } else { self.poll() };
        let turned = match (end.is_none() && self.wire.has_output(), self.shared.spawned.take()) {
            (true, false) => Turned::Writes,
            // A stream may be answered, or a body begun, at once: then all of that is one write.
            (true, true) => Turned::Spawned,
            (false, _) => Turned::Waits,
        };
        if end.is_none() && turned == Turned::Waits {
            end = self.settle();
        }
        if let Some(end) = end {
            self.end(end);
        }
        turn.end();
        turned
    }

    /// Writes what there is to write; `poller` is who polls.
    #[inline(always)]
    pub(crate) fn flush(&self, poller: usize) {
        if self.poller.get().is_some() {
            // It has another turn already, in which a body may block. A failure is found again.
            if !self.wire.is_in_use() {
                _ = self.wire.poll_flush(&mut Context::from_waker(&self.waker));
            }
            return;
        }
        let turn = Turn::begin(self, poller);
        if let Some(end) = self.settle() {
            self.end(end);
        }
        turn.end();
    }

    /// Asks the processor to fetch what a turn needs.
    pub(crate) fn fetch_ahead(&self) {
        if let Ok(stage) = self.stage.try_borrow()
            && let Stage::Http1(engine) = &*stage
        {
            fetch_ahead(&**engine);
        }
        fetch_ahead(&*self.shared);
        fetch_ahead(&*self.wire);
        fetch_ahead(&*self.signal);
    }

    /// Whether this greenlet polls it, and may run a body of it.
    pub(crate) fn is_polled_in(&self, greenlet: GreenletId) -> bool {
        self.poller.get().is_some_and(|poller| self.shared.site.polling.runs_in(poller, greenlet))
    }

    /// Ends it at once. Does not block.
    pub(crate) fn kill(&self) {
        self.ends.killed.set(true);
        if let Some(poller) = self.poller.get() {
            // A body of it blocks who polls, and may go on doing so.
            self.shared.give_permit_up();
            self.shared.site.polling.kill(poller);
        }
        self.signal.ring();
    }

    /// Lets it end: no more requests.
    fn close(&self) {
        self.closing.set(Some(Instant::now()));
        self.untold.set(true);
        self.signal.ring();
    }
}

/// Polling.
impl Connection {
    /// Polls what there is to poll. None: it waits.
    #[inline(always)]
    fn poll(&self) -> Option<End> {
        let mut stage = self.stage.borrow_mut();
        self.signal.clear();
        let Stage::Http1(engine) = &mut *stage else { return self.poll_rest(&mut stage) };
        if self.untold.take() {
            engine.close();
        }
        self.wire.begin_turn();
        let (received, begun, phase) = (self.wire.received(), self.shared.begun(), self.shared.phase.get());
        if let Poll::Ready(result) = engine.poll(&mut Context::from_waker(&self.waker)) {
            // hyper calls itself done when it has put all that it has to say into a buffer of its own.
            let owes = result.is_ok() && self.wire.hyper_owes();
            return (!owes).then_some(End::Done(result));
        }
        if let (Phase::Idle(_), Phase::Idle(_)) = (phase, self.shared.phase.get())
            && self.wire.received() > received
            && self.shared.begun() == begun
        {
            self.shared.phase.set(Phase::Head(Instant::now()));
        }
        if self.shared.copies.get() && self.shared.site.sends_large.get() && self.is_between_requests() {
            self.exchange_engine(&mut stage);
        }
        None
    }

    /// Instead of `poll`, if a turn did not come to its end, or none is to begin.
    #[cold]
    fn was_cut_off(&self) -> Option<End> {
        self.signal.clear(); // what it has to say may have to wait for the socket
        Some(End::CutOff)
    }

    /// As `poll`, for what is not HTTP/1.
    #[inline(never)]
    fn poll_rest(&self, stage: &mut Stage) -> Option<End> {
        let context = &mut Context::from_waker(&self.waker);
        match stage {
            Stage::Undecided => match self.wire.poll_dialect(context) {
                Poll::Ready(Ok(Some(dialect))) => {
                    self.decide(stage, dialect);
                    self.signal.ring();
                    None
                }
                Poll::Ready(Ok(None)) => Some(End::Unused),
                Poll::Ready(Err(error)) => Some(End::Broken(error)),
                Poll::Pending => None,
            },
            Stage::Http2(engine) => {
                if self.untold.take() {
                    engine.close();
                }
                self.wire.begin_turn();
                match engine.poll(context) {
                    Poll::Ready(result) => Some(End::Done(result)),
                    Poll::Pending => None,
                }
            }
            Stage::Closing { lingers, shut } => self.poll_closing(*lingers, shut),
            Stage::Http1(_) | Stage::Over => None,
        }
    }

    /// It is clear what is spoken.
    fn decide(&self, stage: &mut Stage, dialect: Dialect) {
        *stage = match dialect {
            Dialect::Http1 => Stage::Http1(Box::new(Http1::new(&self.wire, &self.shared))),
            Dialect::Http2 => {
                // A connection without requests is idle: it has no head that could be late.
                self.shared.phase.set(Phase::Idle(Instant::now()));
                self.shared.streams_checked.set(Some(Instant::now()));
                Stage::Http2(Box::new(Http2::new(&self.wire, &self.shared)))
            }
        };
    }

    /// Whether hyper knows nothing that another one would have to know: it has sent what it was given, and received what
    /// belongs to the last request.
    fn is_between_requests(&self) -> bool {
        matches!(self.shared.phase.get(), Phase::Idle(_))
            && !self.shared.has_body.get()
            && !self.wire.hyper_owes()
            && self.closing.get().is_none()
    }

    /// Puts another hyper in the place of one that does not know how large the server's answers are.
    #[cold]
    fn exchange_engine(&self, stage: &mut Stage) {
        if let Stage::Http1(outgrown) = std::mem::replace(stage, Stage::Undecided) {
            self.wire.give_back(&outgrown.into_rest());
        }
        self.decide(stage, Dialect::Http1);
    }

    /// Ends it so that the client gets all that was written.
    fn poll_closing(&self, lingers: bool, shut: &mut Option<bool>) -> Option<End> {
        let context = &mut Context::from_waker(&self.waker);
        if shut.is_none() {
            match self.wire.poll_shutdown(context) {
                Poll::Pending => return None,
                Poll::Ready(Ok(())) if lingers => {}
                Poll::Ready(_) => return Some(End::Closed),
            }
            *shut = Some(self.shared.is_stopping());
            self.shared.phase.set(Phase::Ending(Instant::now().checked_add(LINGER)));
        }
        let ends = *shut != Some(self.shared.is_stopping());
        (ends || self.wire.poll_discard(context).is_ready()).then_some(End::Closed)
    }

    /// Writes what there is to write, looks at the limits, and asks to be reminded of the one that passes next.
    #[inline(always)]
    fn settle(&self) -> Option<End> {
        if let Poll::Ready(Err(error)) = self.wire.poll_flush(&mut Context::from_waker(&self.waker)) {
            return Some(End::Broken(error));
        }
        if let (Phase::Idle(_), Some(stalled)) = (self.shared.phase.get(), self.wire.stalled_since()) {
            self.shared.phase.set(Phase::Idle(stalled)); // not idle before the client has its answer
        }
        if (self.reminded.get() || self.shared.is_stopping())
            && let Some(end) = self.hear()
        {
            return Some(end);
        }
        self.ask_reminder();
        None
    }
}

/// Its end.
impl Connection {
    /// What it was at is over.
    #[inline(never)]
    fn end(&self, end: End) {
        if !matches!(end, End::Unused | End::Done(Ok(())) | End::Closed) {
            log::debug!(target: "sward_web", "{}: {end}", self.shared.peer);
        }
        let former = self.stage.replace(Stage::Closing { lingers: false, shut: None });
        self.cut_off.set(false);
        if let (End::Done(Ok(())), Stage::Http1(_)) = (&end, &former)
            && let Some(upgrade) = self.shared.upgrade.take()
        {
            self.hand_over(former, upgrade);
            return self.leave();
        }
        if self.ends.killed.get() {
            self.shared.give_permit_up();
        }
        // Lets go of bodies, which are the user's: may block, panic, or be killed.
        self.shared.site.polling.let_others_flush();
        drop(former);
        let (limit, lingers) = match &end {
            _ if self.ends.killed.get() => return self.leave(),
            End::Unused | End::Broken(_) | End::TimedOut(_) | End::Closed => return self.leave(),
            // Behind half an answer it would be taken for the rest of that.
            End::HeadTimedOut if self.wire.received() == 0 || self.wire.has_output() => return self.leave(),
            End::HeadTimedOut => {
                let date = HttpDate::from(SystemTime::now());
                self.wire.append(format!("{TIMED_OUT}{date}\r\n\r\n").as_bytes());
                (Some(LINGER), true)
            }
            End::Done(result) => {
                let malformed = result.as_ref().is_err_and(hyper::Error::is_parse);
                (self.shared.settings.write_timeout, malformed || self.shared.unread.get())
            }
            End::CutOff => (self.shared.settings.write_timeout, self.shared.unread.get()),
        };
        self.shared.phase.set(Phase::Ending(limit.and_then(|limit| Instant::now().checked_add(limit))));
        let mut shut = None;
        if self.poll_closing(lingers, &mut shut).is_some() {
            return self.leave();
        }
        self.stage.replace(Stage::Closing { lingers, shut });
        self.ask_reminder();
    }

    /// Gives the stream to `upgrade`, in a greenlet.
    fn hand_over(&self, former: Stage, upgrade: UpgradeTo) {
        let Stage::Http1(engine) = former else { return };
        let (wire, rest) = (self.wire.clone(), engine.into_rest());
        let limit = self.shared.settings.write_timeout.unwrap_or(Duration::MAX);
        let spawned = self.shared.spawn_successor(move || {
            _ = timeout(limit, || wait_for(|context| wire.poll_flush(context)));
            upgrade(Upgraded::new(wire, rest));
        });
        if let Err(error) = spawned {
            log::error!(target: "sward_web", "{}: no greenlet for an upgrade: {error}", self.shared.peer);
        }
    }

    /// Nothing is left to be done. Whoever polls it has it for some moments still.
    fn leave(&self) {
        self.stage.replace(Stage::Over);
        self.shared.site.remove(self.place());
    }
}

/// A turn. One that does not come to its end, because who polls was killed or has panicked, ends the connection.
struct Turn<'a>(&'a Connection);

impl<'a> Turn<'a> {
    /// By `poller`.
    #[inline]
    fn begin(connection: &'a Connection, poller: usize) -> Turn<'a> {
        connection.poller.set(Some(poller));
        Turn(connection)
    }

    /// It has come to its end.
    #[inline]
    fn end(self) {
        self.0.poller.set(None);
        if self.0.again.take() {
            self.0.signal.ring();
        }
        std::mem::forget(self);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.poller.set(None);
        self.0.cut_off.set(true);
        self.0.signal.ring();
    }
}
