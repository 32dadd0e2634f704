//! A slot: what the hub knows about one greenlet.
//!
//! ```text
//!            spawn                resume              park
//!  Vacant ─────────▶ Ready ───────────────▶ Running ─────────▶ Parked
//!     ▲               ▲                        │                 │
//!     │               └──────── yield ─────────┤                 │
//!     │               └──────── wake (first reason wins) ────────┘
//!     └──────────────────────── finish ────────┘
//! ```
//!
//! Slots live in the hub's [`Table`](crate::table::Table), never move, and are used again. What is
//! stored outside the hub (in a queue, with another thread) is a key that names the slot *and* the
//! greenlet or the wait it was made for, so that a late wake-up finds that out and is dropped.

use std::cell::{Cell, RefCell};
use std::mem::offset_of;
use std::panic::Location;
use std::rc::Rc;

use crate::greenlet::Execution;
use crate::interrupt::Interrupts;
use crate::local::Locals;
use crate::scheduler::{GreenletKey, Hub};
use crate::thread_pointer::ThreadPointer;

/// The id of a slot that no greenlet occupies.
pub(crate) const VACANT: u64 = u64::MAX;

/// Where a greenlet is in its life; see the drawing above.
///
/// `Running` is set on the greenlet's own stack, at its beginning and after each switch to it, and what follows it is
/// set there before the switch away: whoever finds the current greenlet in that state (a signal handler) knows that the
/// thread is not in the middle of a switch, where no unwinder finds its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// No greenlet here, or one that has done everything but return.
    Vacant,
    /// In the ready queue: new, woken, or after a yield. Or out of it, as the hub switches to it.
    Ready,
    /// The one that runs.
    Running,
    /// Waits; nothing but [`Hub::wake`](crate::scheduler::Hub::wake) makes it ready again.
    Parked,
}

/// Why a parked greenlet was made ready. The first reason wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// What it waited for happened (and may have been handed over).
    Unparked,
    /// The deadline of the wait passed.
    TimedOut,
    /// A kill or a timeout came; the wait unwinds.
    Interrupted,
}

/// How a greenlet waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Woken by its key only; kill and timeout end the wait.
    Keyed,
    /// As `Keyed`, and nothing interrupts it (the joins of `scope` and `run`).
    Uninterruptible,
    /// Woken by an unpark token too (`lowlevel::park`).
    Token,
    /// As `Token`, and nothing interrupts it (`lowlevel::park` while the greenlet unwinds).
    UninterruptibleToken,
}

impl Mode {
    /// Whether an unpark token ends the wait.
    #[inline]
    pub(crate) fn takes_token(self) -> bool {
        matches!(self, Mode::Token | Mode::UninterruptibleToken)
    }

    /// Whether kill and timeout end the wait.
    #[inline]
    pub(crate) fn is_interruptible(self) -> bool {
        matches!(self, Mode::Keyed | Mode::Token)
    }

    /// For a greenlet that unwinds: it must not be made to unwind from within one of its destructors.
    #[inline(always)]
    pub(crate) fn while_panicking(self) -> Mode {
        if !std::thread::panicking() { self } else { self.uninterruptible() }
    }

    /// The same without interrupts.
    #[cold]
    fn uninterruptible(self) -> Mode {
        if self.takes_token() { Mode::UninterruptibleToken } else { Mode::Uninterruptible }
    }
}

/// What the hub knows about one greenlet.
///
/// In this order, which puts what each park, wake and switch touches into two cache lines: from `index` to the first
/// of `interrupts`, and `identity` to `greenlet`. With a thousand greenlets no near cache holds them all, so each line is felt.
#[repr(C, align(64))]
pub(crate) struct Slot {
    /// Position in the table; 0 is the root.
    pub(crate) index: u32,
    /// Counts waits (also across greenlets): a wake-up for an earlier wait is dropped.
    pub(crate) epoch: Cell<u32>,
    /// Where its stack was when it was suspended, for `prefetch_stack`.
    pub(crate) frame: Cell<*const u8>,
    /// Link of the ready queue, or of the table's list of vacant slots.
    pub(crate) next: Cell<Option<&'static Slot>>,
    /// Where in its life the greenlet is.
    pub(crate) state: Cell<State>,
    /// Why the greenlet was woken from its current wait.
    pub(crate) reason: Cell<Option<Reason>>,
    /// How it waits.
    pub(crate) mode: Cell<Mode>,
    /// An unpark that came while the greenlet was not in `lowlevel::park`.
    pub(crate) token: Cell<bool>,
    /// When it parked last, by [`Hub::ticked`](crate::scheduler::Hub::ticked), for reports.
    pub(crate) parked_at: Cell<u32>,
    /// What it waits for, for reports: `Event`, `Queue`, `sleep` …
    pub(crate) waits_for: Cell<&'static str>,
    /// How often it was resumed, for reports.
    pub(crate) switches: Cell<u64>,
    /// Kill, timeouts and shields.
    pub(crate) interrupts: Interrupts,
    /// The name given to `Builder::name`.
    pub(crate) name: RefCell<Option<Rc<str>>>,
    /// The scope it was spawned in; 0 is none.
    pub(crate) scope: Cell<u64>,
    /// Where its own thread-locals are; `None` if it shares its thread's.
    pub(crate) identity: Cell<Option<ThreadPointer>>,
    /// What is known of the source that it has waited for last, for `prefetch_stack`. It may be gone.
    pub(crate) source: Cell<*const u8>,
    /// The stack with its suspended execution.
    pub(crate) greenlet: Execution,
    /// Values of `greenlet_local!`.
    pub(crate) locals: Locals,
    /// Where it was spawned.
    pub(crate) spawned_at: Cell<&'static Location<'static>>,
    /// The id of who spawned it.
    pub(crate) parent: Cell<u64>,
    /// Nanoseconds for which it had its thread, as far as they were counted.
    pub(crate) ran: Cell<u64>,
    /// The greenlet's id, [`VACANT`] if there is none.
    pub(crate) id: Cell<u64>,
}

// A new field must not push anything out of its cache line. (With the sanitizer a switch keeps more.)
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Slot>() == 4 * 64 || cfg!(sward_asan));
#[cfg(target_pointer_width = "64")]
const _: () = assert!(offset_of!(Slot, interrupts) + 8 == 64 && offset_of!(Slot, identity) == 2 * 64);

impl Slot {
    /// A vacant slot.
    #[track_caller]
    pub(crate) fn new(index: u32) -> Slot {
        Slot {
            greenlet: Execution::new(),
            index,
            epoch: Cell::new(0),
            frame: Cell::new(std::ptr::null()),
            id: Cell::new(VACANT),
            next: Cell::new(None),
            state: Cell::new(State::Vacant),
            reason: Cell::new(None),
            mode: Cell::new(Mode::Keyed),
            token: Cell::new(false),
            parked_at: Cell::new(0),
            switches: Cell::new(0),
            source: Cell::new(std::ptr::null()),
            parent: Cell::new(0),
            ran: Cell::new(0),
            interrupts: Interrupts::new(),
            waits_for: Cell::new(""),
            spawned_at: Cell::new(Location::caller()),
            name: RefCell::new(None),
            scope: Cell::new(0),
            identity: Cell::new(None),
            locals: Locals::new(),
        }
    }

    /// The key of the greenlet that is here now, one of `hub`.
    #[inline]
    pub(crate) fn key(&self, hub: &Hub) -> GreenletKey {
        GreenletKey { hub: hub.serial, slot: self.index, id: self.id.get() }
    }

    /// Whether this is the thread's own stack.
    #[inline]
    pub(crate) fn is_root(&self) -> bool {
        self.index == 0
    }
}
