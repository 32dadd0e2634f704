//! What passes next of a connection's limits, and what is done when it has.

use std::time::Instant;

use super::{Connection, Stage};
use crate::end::{End, Late};

impl Connection {
    /// Whether it will be reminded at that time.
    pub(crate) fn expects_reminder(&self, at: Instant) -> bool {
        self.reminder.get() == Some(at)
    }

    /// Has it look at its limits, when it has been polled: what has come in time counts.
    pub(crate) fn remind(&self) {
        self.reminder.set(None);
        self.reminded.set(true);
        self.signal.ring();
    }

    /// Asks to be reminded of the limit that passes next.
    #[inline(always)]
    pub(super) fn ask_reminder(&self) {
        if let Some((at, _)) = self.next_limit()
            && self.reminder.get().is_none_or(|reminder| reminder > at)
        {
            self.reminder.set(Some(at));
            self.shared.site.remind(self.place(), at);
        }
    }

    /// It was reminded, or the server stops.
    #[cold]
    pub(super) fn hear(&self) -> Option<End> {
        if self.shared.is_stopping() && self.closing.get().is_none() {
            match &*self.stage.borrow() {
                Stage::Undecided => return Some(End::HeadTimedOut),
                Stage::Http1(_) | Stage::Http2(_) => self.close(),
                Stage::Closing { .. } | Stage::Over => {}
            }
        }
        if self.signal.is_woken() || !self.reminded.take() {
            return None; // in the first case it has another turn, and hears then
        }
        let now = Instant::now();
        let (_, late) = self.next_limit().filter(|(at, _)| *at <= now)?;
        match late {
            Late::Idle => self.close(),
            Late::Streams => self.reset_streams(now),
            _ => {}
        }
        late.end()
    }

    /// Resets the streams of HTTP/2 whose client does not take what it is sent.
    fn reset_streams(&self, now: Instant) {
        self.shared.streams_checked.set(Some(now));
        let then = self.shared.settings.write_timeout.and_then(|limit| now.checked_sub(limit));
        let left = match (&mut *self.stage.borrow_mut(), then) {
            (Stage::Http2(engine), Some(then)) => engine.take_left_since(then),
            _ => return,
        };
        if !left.is_empty() {
            log::debug!(target: "sward_web", "{}: the client does not read {} answers", self.shared.peer, left.len());
            // Without a borrow: bodies are the user's.
            drop(left);
            self.signal.ring();
        }
    }

    /// The limit that passes first, and what is late then.
    #[inline]
    fn next_limit(&self) -> Option<(Instant, Late)> {
        Late::next(&self.shared, self.closing.get(), self.wire.stalled_since())
    }
}
