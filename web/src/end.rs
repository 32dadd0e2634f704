//! Why a connection ends, and which limit on its client's patience, or on ours, comes next.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use crate::shared::{Phase, Shared};

/// How long a connection that was told to close may take for that.
const CLOSING: Duration = Duration::from_secs(5);

/// Why a connection is over.
#[derive(Debug)]
pub(crate) enum End {
    /// The client has left before it has sent anything.
    Unused,
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
    /// All that there was to say is sent.
    Closed,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Unused | End::Done(Ok(())) | End::Closed => f.write_str("the connection has ended"),
            End::Done(Err(error)) => error.fmt(f),
            End::CutOff => f.write_str("a body or its connection was killed, or has panicked"),
            End::Broken(error) => error.fmt(f),
            End::HeadTimedOut => f.write_str("the client does not send its request"),
            End::TimedOut(what) => write!(f, "the client {what}"),
        }
    }
}

/// What is late when a limit has passed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Late {
    /// The rest of a request's head.
    Head,
    /// The next request.
    Idle,
    /// The client's end of a connection that was told to close.
    Closing,
    /// The client's reading of an answer.
    Writing,
    /// A look at the streams of HTTP/2, which have windows of their own.
    Streams,
}

impl Late {
    /// How the connection ends; none: it does not, but something is to be done.
    pub(crate) fn end(self) -> Option<End> {
        match self {
            Late::Head => Some(End::HeadTimedOut),
            Late::Idle | Late::Streams => None,
            Late::Closing => Some(End::TimedOut("does not close its connection")),
            Late::Writing => Some(End::TimedOut("does not read its answer")),
        }
    }

    /// The limit of a connection that passes first, and what is late then. It may be `closing`, and its socket `stalled`,
    /// since then.
    #[inline]
    pub(crate) fn next(shared: &Shared, closing: Option<Instant>, stalled: Option<Instant>) -> Option<(Instant, Late)> {
        let settings = &shared.settings;
        let limit = match shared.phase.get() {
            Phase::Head(since) => after(since, settings.head_timeout).map(|at| (at, Late::Head)),
            Phase::Busy => {
                let half = settings.write_timeout.map(|limit| limit / 2);
                shared.streams_checked.get().and_then(|since| after(since, half)).map(|at| (at, Late::Streams))
            }
            // The last answer is under way still.
            Phase::Idle(_) if stalled.is_some() => None,
            Phase::Idle(since) => match closing {
                None => after(since, settings.keep_alive).map(|at| (at, Late::Idle)),
                Some(begun) => after(begun.max(since), Some(CLOSING)).map(|at| (at, Late::Closing)),
            },
            Phase::Ending(at) => at.map(|at| (at, Late::Closing)),
        };
        let Some(stalled) = stalled.and_then(|since| after(since, settings.write_timeout)) else {
            return limit;
        };
        match limit {
            Some((at, late)) if at <= stalled => Some((at, late)),
            _ => Some((stalled, Late::Writing)),
        }
    }
}

/// When `limit` after `since` has passed.
#[inline]
fn after(since: Instant, limit: Option<Duration>) -> Option<Instant> {
    since.checked_add(limit?)
}
