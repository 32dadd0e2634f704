//! Questions to hubs, of any thread, that their loops answer between two switches.
//!
//! ```text
//!   who asks                                each hub that is asked, in its loop
//!   ────────                                ───────────────────────────────────
//!   Survey::of ── a message to each ──────▶ answer: rows and counters, or the calls of some greenlets
//!        parks, at most for the limit          and writes it down
//!            ◀──────────── wake ────────────   the last one
//! ```
//!
//! A hub whose thread is kept by somebody does not answer; it finds out later that nobody waits any more. So that such
//! questions do not pile up in its inbox, it is not asked again while many are there.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::trace::Trace;
use super::{GreenletInfo, Stats};
use crate::hub::hub;
use crate::park::can_park;
use crate::remote::{Link, Message, Remote};
use crate::scheduler::{GreenletKey, Hub, WaitKey};
use crate::slot::{Mode, Reason};

/// Questions that a hub may leave unanswered; with so many it is not asked any more.
const MOST_UNANSWERED: usize = 64;

/// What a hub is asked.
pub(super) enum Question {
    /// Its greenlets and its counters.
    Rows,
    /// What some greenlets are at.
    Calls(Vec<GreenletKey>),
}

/// What it says.
pub(super) enum Answer {
    /// Its counters, and its greenlets in no order.
    Rows(Stats, Vec<GreenletInfo>),
    /// Those greenlets that are still there.
    Calls(Vec<Trace>),
}

/// Some questions that are asked together.
pub(crate) struct Survey {
    /// The hub of who asks.
    link: Link,
    /// The wait of who asks.
    key: WaitKey,
    /// One for each hub that is asked.
    questions: Vec<Question>,
    /// How many of them have no answer yet.
    left: AtomicUsize,
    /// The answers.
    answers: Mutex<Vec<Option<Answer>>>,
}

/// One question of a survey, on its way to a hub.
pub(crate) struct Asked {
    /// The survey, as long as somebody waits for it.
    survey: Weak<Survey>,
    /// Which question.
    index: usize,
}

impl Survey {
    /// Asks hubs, and waits at most for `limit`; `call` names the wait in reports. `None` for one that has ended, or has
    /// not answered by then. Blocks the greenlet; in a destructor that runs in an unwinding, which cannot wait, nobody
    /// is asked.
    pub(super) fn of(
        asked: Vec<(&Arc<Remote>, Question)>,
        call: &'static str,
        limit: Option<Duration>,
    ) -> Vec<Option<Answer>> {
        let hub = hub();
        let (remotes, questions): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
        let none = || questions.iter().map(|_| None).collect();
        if questions.is_empty() || !can_park() {
            return none();
        }
        hub.raise_due(hub.current(), Mode::Keyed);
        let busy = hub.busy();
        let (link, left, answers) = (Link::new(), AtomicUsize::new(questions.len()), Mutex::new(none()));
        let survey = Arc::new(Survey { link, key: hub.next_wait(), questions, left, answers });
        let ask = |(index, remote): (usize, &&Arc<Remote>)| {
            let survey = Arc::downgrade(&survey);
            remote.ask(Asked { survey, index }, MOST_UNANSWERED)
        };
        let refused = remotes.iter().enumerate().filter(|asked| !ask(*asked)).count();
        // Who answers last wakes, so it must be waited for; unless that is us.
        let is_over = refused > 0 && survey.left.fetch_sub(refused, Ordering::AcqRel) == refused;
        drop(busy);
        if !is_over {
            hub.park(Mode::Keyed, call, limit.and_then(|limit| hub.clock.after(limit)));
        }
        std::mem::take(&mut *survey.answers())
    }

    /// The answers; nothing panics while they are locked.
    fn answers(&self) -> MutexGuard<'_, Vec<Option<Answer>>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked {
    /// Answers, in the hub's loop, unless nobody waits for it any more.
    pub(crate) fn answer(&self, hub: &'static Hub) {
        hub.remote.answered();
        let Some(survey) = self.survey.upgrade() else { return };
        let answer = match &survey.questions[self.index] {
            Question::Rows => Answer::Rows(hub.counters(), hub.rows()),
            Question::Calls(whose) => Answer::Calls(hub.traces(whose)),
        };
        // Too late, nobody looks there any more.
        if let Some(place) = survey.answers().get_mut(self.index) {
            *place = Some(answer);
        }
        if survey.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            match survey.key.hub == hub.serial {
                true => _ = hub.wake(survey.key, Reason::Unparked),
                false => survey.link.wake(survey.key),
            }
        }
    }
}

impl Remote {
    /// Asks the hub; false if it has ended, or has left `most` questions unanswered.
    fn ask(&self, asked: Asked, most: usize) -> bool {
        let more = |unanswered| (unanswered < most).then_some(unanswered + 1);
        let may_ask = self.unanswered.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        may_ask && self.send(Message::Ask(asked))
    }

    /// One of those questions was taken out of the inbox.
    fn answered(&self) {
        self.unanswered.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;

    use super::super::hubs;
    use super::*;

    #[test]
    fn questions_do_not_pile_up_at_a_hub_that_is_kept() {
        let (tell, told) = channel();
        let (end, ended) = channel::<()>();
        let kept = thread::spawn(move || {
            tell.send(hub().serial).unwrap();
            ended.recv().unwrap_err();
            // Looks into its inbox.
            crate::sleep(Duration::from_millis(1));
            hub().remote.unanswered.load(Ordering::Relaxed)
        });
        let serial = told.recv().unwrap();
        let unanswered = || {
            let found = hubs(Duration::ZERO).into_iter().find(|found| found.id == serial).unwrap();
            assert!(found.stats.is_none());
            found.remote.unanswered.load(Ordering::Relaxed)
        };
        assert!(unanswered() > 0);
        let most = (0..2 * MOST_UNANSWERED).map(|_| unanswered()).max();
        assert_eq!(most, Some(MOST_UNANSWERED));
        drop(end);
        // Other tests may ask it too.
        assert!(kept.join().unwrap() < MOST_UNANSWERED);
    }
}
