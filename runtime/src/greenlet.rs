//! A greenlet's execution: a closure on a stack of its own, resumed by the hub and suspended by
//! itself. This file and `stack` are the only ones that know corosensei.
//!
//! ```text
//!   hub (root stack)                     greenlet (its own stack)
//!   ────────────────                     ────────────────────────
//!   resume() ──────────────────────────▶ main() begins
//!            ◀────────────────────────── suspend()         parked or yielding
//!   resume() ──────────────────────────▶ suspend() returns
//!            ◀────────────────────────── main() returned   the stack comes back
//! ```
//!
//! The closure is written to the top of its own stack, so that a spawn needs no box for it.

use std::cell::{Cell, UnsafeCell};
use std::ops::Range;
use std::{mem, ptr};

use corosensei::{Coroutine, CoroutineResult, Yielder};

use crate::inspect;
use crate::prefetch::prefetch;
use crate::report;
use crate::scope::Scope;
use crate::slot::Slot;
use crate::spawn::{Ending, Main};
use crate::stack::{self, Stack, UNIT};
use crate::thread_pointer::ThreadPointer;

/// A greenlet's main function is boxed if it is larger than this: corosensei puts at most 1 KiB on a
/// stack, itself included.
const LARGEST_ON_STACK: usize = 960;

/// Stacks begin up to this many bytes above their usable size; the next one's guard is no smaller.
const LARGEST_COLOUR: usize = 64 << 10;

/// A suspended closure and its stack.
type Suspended = Coroutine<Errand, (), (), Stack>;

/// What a suspended greenlet is resumed for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errand {
    /// To go on.
    Run,
    /// To look at its own calls (`inspect::trace`), and suspend itself again.
    Trace,
}

/// The execution of one greenlet; empty for a vacant slot and for the root. In this order: see `Slot`.
#[repr(C)]
pub(crate) struct Execution {
    /// corosensei's handle to suspend by, on the greenlet's own stack; set when it first runs.
    yielder: Cell<*const Yielder<Errand, ()>>,
    /// The closure on its stack. Touched by `start` and `resume` only.
    suspended: UnsafeCell<Option<Suspended>>,
    /// First address above the guard.
    bottom: Cell<usize>,
    /// The stack's usable size and the guard's, in units of `UNIT`.
    sizes: Cell<(u32, u32)>,
}

/// Bytes of a suspended stack that are fetched ahead: the frame of `Source`'s retry loop, where its socket is likely to be
/// and the saved registers, which are this far below.
const FETCHED: usize = 576;
/// Bytes from the lowest of those to `Slot::frame`.
const BELOW_FRAME: usize = 64;

/// Bytes of what is known of a source that are fetched ahead.
const FETCHED_OF_SOURCE: usize = 128;

/// Asks the processor to fetch what the resuming of a greenlet will touch; changes nothing.
#[inline]
pub(crate) fn prefetch_stack(slot: &Slot) {
    prefetch(slot.frame.get().wrapping_sub(BELOW_FRAME), FETCHED);
    // Where the hub writes the way back to it, at the top of the stack.
    prefetch(slot.greenlet.yielder.get().cast(), 1);
    prefetch(slot.source.get(), FETCHED_OF_SOURCE);
}

impl Execution {
    /// No execution.
    pub(crate) fn new() -> Execution {
        Execution {
            suspended: UnsafeCell::new(None),
            yielder: Cell::new(ptr::null()),
            bottom: Cell::new(0),
            sizes: Cell::new((0, 0)),
        }
    }

    /// Puts `main` on `stack`, to run at the first `resume`. `main` must not unwind.
    ///
    /// # Safety
    ///
    /// What `main` borrows must stay valid until `main` has returned, however long that takes: the
    /// caller waits for it (`scope`) or `main` borrows nothing. This execution must be empty.
    #[inline]
    pub(crate) unsafe fn start<F: FnOnce()>(&'static self, stack: Stack, main: F) {
        let guard = stack.guard();
        self.bottom.set(guard.end);
        self.sizes.set(((stack.usable() / UNIT) as u32, (guard.len() / UNIT) as u32));
        let first = move |yielder: &Yielder<Errand, ()>, _: Errand| {
            self.yielder.set(yielder);
            let end = End;
            main();
            mem::forget(end);
        };
        // SAFETY: the caller vouches for what `main` borrows; the coroutine is never dropped
        // before it has returned (`Drop` below leaks it), and then its stack is never reused.
        let suspended = unsafe { Coroutine::with_stack_unchecked(stack, first) };
        // SAFETY: the slot is vacant, so no reference into the cell exists: `resume` makes the
        // only other ones, and only for a slot that has been started. For the same reason the cell
        // holds nothing that the write would have to drop.
        unsafe { self.suspended.get().write(Some(suspended)) };
    }

    /// Runs the greenlet until it suspends itself (`None`) or has returned (its stack).
    ///
    /// On the root stack only, for a slot in state `Ready` (called by `scheduler::Hub::resume`) or `Parked`, to be traced
    /// (`inspect::trace`); and on the stack of who runs for a greenlet that is new (`run_within_caller`). So never for one
    /// that already runs (invariant 1).
    #[inline]
    pub(crate) fn resume(&self, errand: Errand) -> Option<Stack> {
        // SAFETY: this is the only reference into the cell while the greenlet runs: a greenlet is resumed once and again
        // only after it has left, when this one is gone (the loop takes each from the ready queue, where it is once and
        // only if it does not run; a new one is in no queue). `start` writes to vacant slots only and nothing else
        // touches the cell. That the resumer may be a greenlet itself changes nothing: it is in no queue meanwhile, so
        // its frame stays until this greenlet has left.
        let cell = unsafe { &mut *self.suspended.get() };
        match cell.as_mut().map(|suspended| suspended.resume(errand)) {
            Some(CoroutineResult::Yield(())) => None,
            Some(CoroutineResult::Return(())) => cell.take().map(Coroutine::into_stack),
            None => unreachable!("a slot in the ready queue has an execution"),
        }
    }

    /// As `resume`, for a greenlet with thread-locals of its own. Not inlined, and without a use of a thread-local:
    /// the compiler believes that those stay where they are for as long as a function runs.
    #[inline(never)]
    pub(crate) fn resume_as(&self, identity: ThreadPointer, errand: Errand) -> Option<Stack> {
        let hub = ThreadPointer::current();
        // SAFETY: `identity` is the slot's, made by who was given to `identity::provide`, and freed or given to another
        // greenlet only after this one has returned. The code that runs until `hub` is set back is on the greenlet's
        // stack, where this is the thread pointer whenever it runs.
        unsafe { identity.set() };
        let finished = self.resume(errand);
        // SAFETY: the hub's own, as it was before.
        unsafe { hub.set() };
        finished
    }

    /// Suspends the greenlet; returns when the hub resumes it.
    ///
    /// Called by `scheduler::Hub::switch` only, for the running greenlet, on its own stack. Resumed to be traced, it is
    /// suspended again before this returns.
    /// Leaves in `frame` where the stack was, for `prefetch_stack`.
    #[inline(always)]
    pub(crate) fn suspend(&self, frame: &Cell<*const u8>) {
        let here = 0;
        frame.set(&raw const here);
        // SAFETY: the caller runs on this greenlet's stack, above the frame that owns the yielder
        // (`first` in `start`), which lives until `main` has returned.
        let errand = unsafe { (*self.yielder.get()).suspend(()) };
        if errand == Errand::Trace {
            self.trace();
        }
    }

    /// The greenlet looks at its own calls, as often as it is asked to, before it goes on.
    #[cold]
    #[inline(never)]
    fn trace(&self) {
        let here = 0;
        loop {
            inspect::trace_here(&raw const here);
            // SAFETY: as in `suspend`, whose caller's frame is still there.
            if unsafe { (*self.yielder.get()).suspend(()) } == Errand::Run {
                return;
            }
        }
    }

    /// The addresses of the stack, all of its top page among them.
    pub(crate) fn addresses(&self) -> Range<usize> {
        let start = self.bottom.get();
        start..start + self.usable() + stack::page_size()
    }

    /// The addresses of the guard below the stack.
    pub(crate) fn guard(&self) -> Range<usize> {
        let end = self.bottom.get();
        end - self.sizes.get().1 as usize * UNIT..end
    }

    /// Whether the caller runs on this greenlet's stack, and not (a signal handler) on another.
    #[inline]
    pub(crate) fn is_on_stack(&self) -> bool {
        let here = 0u8;
        let distance = (&raw const here).addr().wrapping_sub(self.bottom.get());
        distance < self.usable() + LARGEST_COLOUR
    }

    /// The usable size of the stack, in bytes.
    #[inline]
    pub(crate) fn usable(&self) -> usize {
        self.sizes.get().0 as usize * UNIT
    }
}

/// Dropped only if a greenlet's main function unwinds, which must not reach the hub. It takes a
/// destructor that panics with a payload whose own destructor panics.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        report::line(format_args!("the payload of a panic panicked when it was dropped; aborting"));
        std::process::abort();
    }
}

impl Drop for Execution {
    fn drop(&mut self) {
        // A greenlet that could not be unwound keeps its stack for ever (invariant 8): its frames
        // may be borrowed from, and must neither be dropped here nor see their memory reused.
        if let Some(suspended) = self.suspended.get_mut().take() {
            mem::forget(suspended);
        }
    }
}

/// Puts a greenlet's main function on its stack.
#[inline]
pub(crate) fn launch<F, T, E>(slot: &'static Slot, stack: Stack, main: Main<F, T, E>)
where
    F: FnOnce() -> T + 'static,
    T: 'static,
    E: Ending<T> + 'static,
{
    // SAFETY: `main` borrows nothing that ends.
    unsafe { place(slot, stack, main) };
}

/// As `launch`, for a function that borrows from around its scope.
#[inline]
pub(crate) fn launch_scoped<'scope, F, T, E>(
    _scope: &'scope Scope<'scope, '_>,
    slot: &'static Slot,
    stack: Stack,
    main: Main<F, T, E>,
) where
    F: FnOnce() -> T + 'scope,
    T: 'scope,
    E: Ending<T> + 'scope,
{
    // SAFETY: a `&'scope Scope<'scope, '_>` exists only inside `scope()`, which neither returns nor
    // unwinds (it aborts instead) before `main` has returned: `Main::run` counts out of the scope
    // as its last act, after everything that `'scope` bounds (the function, its captures, its
    // result) has been dropped or handed to a `ScopedGreenlet`, which cannot outlive the scope.
    unsafe { place(slot, stack, main) };
}

/// # Safety
///
/// What `main` borrows must stay valid until it has returned.
#[inline]
unsafe fn place<F: FnOnce() -> T, T, E: Ending<T>>(slot: &'static Slot, stack: Stack, main: Main<F, T, E>) {
    // Of `Main`, not of `F`: one whose alignment is large is large, even if it captures nothing.
    if size_of::<Main<F, T, E>>() <= LARGEST_ON_STACK {
        // SAFETY: the caller vouches for the borrows, and a slot fresh from the table has no
        // execution.
        unsafe { slot.greenlet.start(stack, move || main.run()) };
    } else {
        let main = Box::new(main);
        // SAFETY: as above.
        unsafe { slot.greenlet.start(stack, move || main.run()) };
    }
}
