//! Thread-locals of a greenlet's own.
//!
//! All greenlets of a thread use its thread-locals, unless somebody (`sward-patch`) knows how to
//! make more of them. Then each greenlet that is spawned from now on gets a block of its own, and
//! looks to libc and std like a thread of its own:
//!
//! ```text
//!   spawn ──▶ Spares::take ──▶ first resume ──▶ … ──▶ destroy ──▶ reset ──▶ retire: Spares::give
//!             a spare block,    HUB is set             on the greenlet, as
//!             or `make`         in the block           the end of a thread
//! ```
//!
//! What the greenlets of a hub share is therefore never in a thread-local but in the hub
//! (`HubLocal`), which the one thread-local that there is, `hub::HUB`, leads to.

use std::cell::RefCell;
use std::io;
use std::sync::OnceLock;

use crate::hub;
use crate::interrupt::shield;
use crate::scheduler::Hub;
use crate::slot::Slot;
use crate::thread_pointer::ThreadPointer;

/// Blocks that a hub keeps for greenlets to come.
const SPARES: usize = 1024;

/// Rounds of destructors at a greenlet's end; thread-locals that are made after that are forgotten.
const ROUNDS: usize = 4;

/// How blocks of thread-locals are made.
#[derive(Clone, Copy, Debug)]
pub struct Identities {
    /// Makes a block for greenlets of the thread whose own thread pointer is given.
    pub make: fn(ThreadPointer) -> io::Result<ThreadPointer>,
    /// Called on a greenlet as its first act.
    pub begin: fn(),
    /// Called on a greenlet at its end: destroys its thread-locals as the end of a thread does. May park.
    pub destroy: fn(),
    /// Called on a greenlet as its very last act: leaves its block as if it were new.
    pub reset: fn(),
    /// Frees a block that no greenlet uses.
    pub free: fn(ThreadPointer),
}

/// How blocks are made; empty until somebody knows.
static IDENTITIES: OnceLock<Identities> = OnceLock::new();

/// Gives each greenlet that is spawned from now on, in the whole process, thread-locals of its own.
/// The first call counts.
///
/// # Safety
///
/// `make` must return thread pointers that libc takes for those of threads, until `free`.
pub unsafe fn provide(identities: Identities) {
    let _ = IDENTITIES.set(identities);
}

/// Whether the running greenlet has thread-locals of its own.
#[inline]
pub fn has_identity() -> bool {
    hub::existing().is_some_and(|hub| hub.current().identity.get().is_some())
}

/// For code with a greenlet's own thread-locals: the thread pointer of the kernel's thread that it runs on. Unlike
/// [`has_identity`] also in the child of a fork that the greenlet made, where it is a greenlet of no hub any more.
#[inline]
pub fn home() -> Option<ThreadPointer> {
    hub::home()
}

/// The block of a hub's thread, and spare ones for its greenlets.
pub(crate) struct Spares {
    /// The thread's own thread pointer.
    own: ThreadPointer,
    /// Blocks that nobody uses, the one that was used last at the end.
    spare: RefCell<Vec<ThreadPointer>>,
}

impl Spares {
    /// For the calling thread.
    pub(crate) fn new() -> Spares {
        let own = home().unwrap_or_else(ThreadPointer::current);
        Spares { own, spare: RefCell::new(Vec::new()) }
    }

    /// The thread's own thread pointer.
    pub(crate) fn own(&self) -> ThreadPointer {
        self.own
    }

    /// A block for a new greenlet; `None` if greenlets share those of their thread.
    #[inline]
    pub(crate) fn take(&self) -> io::Result<Option<ThreadPointer>> {
        match IDENTITIES.get() {
            None => Ok(None),
            Some(identities) => self.take_or_make(identities).map(Some),
        }
    }

    /// A spare block, or a new one.
    fn take_or_make(&self, identities: &Identities) -> io::Result<ThreadPointer> {
        // The borrow ends before `make`, which allocates.
        let spare = self.spare.borrow_mut().pop();
        spare.map_or_else(|| (identities.make)(self.own), Ok)
    }

    /// Takes a block back that has been reset.
    #[cold]
    pub(crate) fn give(&self, block: ThreadPointer) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARES {
            return spare.push(block);
        }
        drop(spare);
        free(block);
    }

    /// Frees all spare blocks: the hub ends.
    pub(crate) fn clear(&self) {
        self.spare.take().into_iter().for_each(free);
    }
}

/// Frees a block that no greenlet uses.
pub(crate) fn free(block: ThreadPointer) {
    let identities = IDENTITIES.get().expect("blocks are made by it");
    (identities.free)(block);
}

/// The first act of a greenlet with thread-locals of its own: they know no hub yet.
#[inline]
pub(crate) fn begin(hub: &'static Hub, slot: &'static Slot) {
    if slot.identity.get().is_some() {
        hub::adopt(hub);
        (IDENTITIES.get().expect("blocks are made by it").begin)();
    }
}

/// Destroys a greenlet's thread-locals, which may park; no interrupt ends that, since destructors of
/// thread-locals must not unwind.
#[inline]
pub(crate) fn destroy(slot: &'static Slot) {
    if slot.identity.get().is_some() {
        destroy_now();
    }
}

/// The body of `destroy`.
#[cold]
fn destroy_now() {
    let identities = IDENTITIES.get().expect("blocks are made by it");
    shield(identities.destroy);
}

/// The last act of a greenlet: nothing on its stack uses a thread-local after this.
#[inline]
pub(crate) fn end(slot: &'static Slot) {
    // What ran since the values of `greenlet_local!` were dropped, and since `destroy` (the destructors of thread-locals,
    // and of a result that nobody wants), may have made more of both, which the slot's next greenlet must not find.
    if !slot.locals.is_empty() || slot.identity.get().is_some() {
        end_with_leftovers(slot);
    }
}

/// The body of `end`.
#[inline(never)]
fn end_with_leftovers(slot: &'static Slot) {
    if !slot.locals.is_empty() {
        let _ = slot.locals.clear();
    }
    if slot.identity.get().is_some() {
        for _ in 0..ROUNDS {
            destroy_now();
            if slot.locals.is_empty() {
                break;
            }
            let _ = slot.locals.clear();
        }
        (IDENTITIES.get().expect("blocks are made by it").reset)();
    }
}
