//! Where the members of an `imap` come from: an input, a function and a slot for each.

use std::panic::Location;
use std::rc::Rc;

use sward_runtime::Greenlet;

use super::Shared;
use crate::semaphore::OwnedPermit;

/// Inputs, and what is to be done with each.
pub(super) struct Feed<I: Iterator, F> {
    /// The pool.
    pool: Rc<Shared>,
    /// Where it was called for.
    site: &'static Location<'static>,
    /// The inputs.
    source: I,
    /// Whether the source has ended; then it is not asked again.
    exhausted: bool,
    /// An input that was taken and has no slot yet.
    pending: Option<I::Item>,
    /// What is called with each.
    f: Rc<F>,
}

/// The slot that an input is to run in.
pub(super) enum Slot {
    /// One of its own.
    Own(OwnedPermit),
    /// That of the caller, who must wait for it.
    Callers,
}

impl<I: Iterator, F> Feed<I, F> {
    /// All of the inputs are left.
    #[track_caller]
    pub(super) fn new(pool: Rc<Shared>, source: I, f: F) -> Feed<I, F> {
        Feed { pool, site: Location::caller(), source, exhausted: false, pending: None, f: Rc::new(f) }
    }

    /// Takes the next input and finds a slot for it; `None` if there is no input left, or if some of
    /// those that run have to end first. `running` is how many do, or have results that nobody has seen.
    ///
    /// An interrupt in here (in the source, or while waiting for a slot) loses nothing.
    pub(super) fn slot(&mut self, running: usize) -> Option<Slot> {
        if running >= self.pool.size.max(1) {
            return None;
        }
        if self.pending.is_none() && !self.exhausted {
            self.pending = self.source.next();
            self.exhausted = self.pending.is_none();
        }
        self.pending.as_ref()?;
        if let Some(permit) = self.pool.slots.try_acquire_owned() {
            return Some(Slot::Own(permit));
        }
        if running > 0 {
            return None;
        }
        if self.pool.has_current() {
            return Some(Slot::Callers);
        }
        Some(Slot::Own(self.pool.slots.acquire_owned_for("Pool::map")))
    }

    /// Starts what `slot` was found for; `end` is dropped when it has ended.
    pub(super) fn start<R, E>(&mut self, slot: Slot, end: E) -> Option<Greenlet<R>>
    where
        I::Item: 'static,
        F: Fn(I::Item) -> R + 'static,
        R: 'static,
        E: 'static,
    {
        let permit = match slot {
            Slot::Own(permit) => Some(permit),
            Slot::Callers => None,
        };
        let call = Call { input: self.pending.take()?, f: self.f.clone(), _end: end };
        Some(self.pool.spawn(self.site, permit, move || call.run()))
    }
}

/// One call. Its fields are dropped in this order, also if it never runs.
struct Call<T, F, E> {
    /// The input.
    input: T,
    /// The function.
    f: Rc<F>,
    /// Says that the call has ended.
    _end: E,
}

impl<T, F, E, R> Call<T, F, E>
where
    F: Fn(T) -> R,
{
    /// Does it.
    fn run(self) -> R {
        let Call { input, f, _end } = self;
        f(input)
    }
}
