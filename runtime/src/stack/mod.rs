//! Stacks: where they come from, where they go, and what happens when one is too small.
//!
//! A stack from `mmap` with a guard from `mprotect` costs 6 µs and two maps of the 65,530 that a
//! process may have. Ours cost nanoseconds when they are used again, a few microseconds the first
//! time, and no map of their own:
//!
//! ```text
//!  low                          a region: one map, many slots                              high
//!  ┌──────────────────┬──────────────────┬──────────────────┬─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ┐
//!  │ slot 0           │ slot 1           │ slot 2           │  slots without a guard yet       │
//!  └──────────────────┴──────────────────┴──────────────────┴─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ┘
//!                    ╱                    ╲
//!   ┌───────────────┬──────────────────────────────────────────────────────┬───────────┐
//!   │ guard, 64 KiB │ usable, 256 KiB     ◀── grows down                   │ colour    │
//!   │ never backed  │ backed by memory as it is touched                    │ ≤ 1920 B  │
//!   └───────────────┴──────────────────────────────────────────────────────┴───────────┘
//!   ▲ limit         ▲ limit + GUARD                                        ▲ base
//! ```
//!
//! A slot has one page more than guard and usable size: room for the colour, which staggers the
//! starts of neighbouring stacks over different cache lines, and it makes the number of pages odd,
//! which does the same for the TLB (see `size`).
//!
//! Once `widen_guards` was called, new stacks have a guard of 256 KiB, and never less usable bytes than the
//! default. Those that are out keep what they have, and are given up when they come back.
//!
//! - `StackPool` is what a hub has; one `class` in it for each size.
//! - `region` maps memory and carves it; `guard` makes guards; `os` is `linux` or `portable`.
//! - `overflow` reports the greenlet that ran into its guard, and aborts.

mod class;
mod guard;
#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "portable.rs")]
mod os;
pub(crate) mod overflow;
#[cfg(test)]
mod own_process;
mod region;
mod size;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::io;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use corosensei::stack::StackPointer;

use class::{Class, Marks};
use guard::Guards;
pub(crate) use os::page_size;
pub(crate) use size::UNIT;
use size::{GUARD, Layout, WIDE_GUARD};

/// Ranges that one system call is told about; also how many stacks change state at a time.
const BATCH: usize = 64;

/// Bytes of the largest page there is, and more than those from the usable bytes to the end of a slot.
pub(crate) const LARGEST_PAGE: usize = 64 << 10;

/// Bytes of the guards that every pool of this process is to make from now on.
static GUARD_WANTED: AtomicUsize = AtomicUsize::new(GUARD);

/// From now on greenlets that are spawned have the widest guards, and stacks of the default size at least.
pub(crate) fn widen_guards() {
    GUARD_WANTED.store(WIDE_GUARD, Ordering::Relaxed);
}

/// Where a stack's region is in its `kind`.
const REGION_SHIFT: u32 = 32;
/// Where the bytes of a page are.
const PAGE_SHIFT: u32 = 48;
/// Where the bytes of the guard are.
const GUARD_SHIFT: u32 = 56;

/// What the stacks of a layout have in common: `Stack::kind` without the region.
fn kind(layout: &Layout) -> u64 {
    (layout.usable / UNIT) as u64
        | u64::from(layout.page.ilog2()) << PAGE_SHIFT
        | u64::from(layout.guard.ilog2()) << GUARD_SHIFT
}

/// A stack, on loan from a [`StackPool`].
///
/// Dropping it instead of giving it back leaks it: its memory is never used again and stays mapped,
/// which is what a greenlet that could not be unwound needs.
///
/// Two words, so that it travels in registers; its other addresses are computed from `base`.
#[derive(Debug)]
pub(crate) struct Stack {
    /// The address above its first byte; a multiple of 16, in the top page of its slot.
    base: NonZeroUsize,
    /// From the lowest bits: the bytes promised in units of `UNIT` (32 bits), which region of its class it is from (16),
    /// and the bytes of a page and of the guard, both as a power of two (8 and 8). One word, so that it is written and
    /// read as one: reading what was written in pieces makes the processor wait.
    kind: u64,
    /// Goes back to the pool of its own thread.
    not_send: PhantomData<*const ()>,
}

impl Stack {
    /// The stack in the slot that ends at `top`, starting `offset` bytes below that.
    fn new(layout: &Layout, top: usize, offset: usize, region: u16) -> Stack {
        Stack {
            base: NonZeroUsize::new(top - offset).expect("nothing is mapped at address 0"),
            kind: kind(layout) | u64::from(region) << REGION_SHIFT,
            not_send: PhantomData,
        }
    }

    /// The bytes that a greenlet may use; at least what was asked for.
    #[inline]
    pub(crate) fn usable(&self) -> usize {
        self.kind as u32 as usize * UNIT
    }

    /// The addresses below the usable ones, where every access faults.
    #[inline]
    pub(crate) fn guard(&self) -> Range<usize> {
        let end = self.top_page().start - self.usable();
        end - self.guard_len()..end
    }

    /// Which region of its class it is from.
    fn region(&self) -> usize {
        usize::from((self.kind >> REGION_SHIFT) as u16)
    }

    /// What all stacks of its class have in common; see `kind`.
    #[inline]
    fn class(&self) -> u64 {
        self.kind & !(u64::from(u16::MAX) << REGION_SHIFT)
    }

    /// How many addresses those are.
    #[inline]
    fn guard_len(&self) -> usize {
        1 << (self.kind >> GUARD_SHIFT)
    }

    /// The page that every use touches first.
    #[inline]
    fn top_page(&self) -> Range<usize> {
        let page = 1 << (self.kind >> PAGE_SHIFT) as u8;
        let start = (self.base.get() - 1) & !(page - 1);
        start..start + page
    }

    /// The addresses that may be used.
    fn memory(&self) -> Range<usize> {
        self.guard().end..self.base.get()
    }

    /// All pages but the top one.
    fn below_top_page(&self) -> Range<usize> {
        self.guard().end..self.top_page().start
    }
}

// SAFETY: the pool makes a `Stack` only of a slot whose guard is in place, hands each slot out once
// at a time, and keeps it mapped while it is out; `MINIMUM` is more than corosensei's.
unsafe impl corosensei::stack::Stack for Stack {
    #[inline]
    fn base(&self) -> StackPointer {
        self.base
    }

    #[inline]
    fn limit(&self) -> StackPointer {
        StackPointer::new(self.guard().start).expect("nothing is mapped at address 0")
    }
}

/// The stacks of one hub.
///
/// Nothing is mapped until the first one is taken. Dropping the pool unmaps every region that no
/// stack is out of; the others stay for ever.
pub(crate) struct StackPool {
    /// Stacks of the default size.
    default: RefCell<Class>,
    /// Stacks of other sizes, or with other guards; few programs have more than two.
    custom: RefCell<Vec<Class>>,
    /// Bytes of the guards that new stacks have.
    guard: Cell<usize>,
    /// How guards are made.
    guards: Guards,
}

impl StackPool {
    /// A pool without any stack.
    pub(crate) fn new() -> StackPool {
        StackPool::with(Guards::preferred(), Marks::patient(size::DEFAULT))
    }

    /// A pool with a choice of guards, and marks for the stacks of the default size.
    fn with(guards: Guards, marks: Marks) -> StackPool {
        let layout = Layout::of(size::DEFAULT, os::page_size(), GUARD).expect("the default size is possible");
        StackPool {
            default: RefCell::new(Class::new(layout, guards, marks)),
            custom: RefCell::new(Vec::new()),
            guard: Cell::new(GUARD),
            guards,
        }
    }

    /// A stack of at least `usable` bytes, 256 KiB by default: the one that was given last, if any.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if no stack can be so large; `OutOfMemory` if there is no address space left,
    /// or no map for a guard.
    #[inline]
    pub(crate) fn take(&self, usable: Option<usize>) -> io::Result<Stack> {
        if usable.is_none()
            && self.guard.get() >= GUARD_WANTED.load(Ordering::Relaxed)
            && let Some(stack) = self.default.borrow_mut().take_warm()
        {
            return Ok(stack);
        }
        self.take_other(usable)
    }

    /// Takes a stack back, of whose frames none is left (invariant 8).
    #[inline]
    pub(crate) fn give(&self, stack: Stack) {
        let mut default = self.default.borrow_mut();
        if default.owns(&stack) {
            default.give(stack);
        } else {
            drop(default);
            self.give_custom(stack);
        }
    }

    /// Gives back a part of the memory of stacks that have been idle for a second. How long until there is more
    /// to be given back; `None` if there is none.
    pub(crate) fn tidy(&self) -> Option<Duration> {
        self.default.borrow_mut().tidy()
    }

    /// A stack of another size, or of the default one when none is warm.
    #[cold]
    fn take_other(&self, usable: Option<usize>) -> io::Result<Stack> {
        let guard = GUARD_WANTED.load(Ordering::Relaxed);
        if self.guard.get() < guard {
            self.widen(guard);
        }
        let Some(requested) = usable else {
            return self.default.borrow_mut().take();
        };
        let layout = Layout::of(requested, os::page_size(), self.guard.get())?;
        if layout.usable == size::DEFAULT {
            return self.default.borrow_mut().take();
        }
        let mut custom = self.custom.borrow_mut();
        if let Some(class) = custom.iter_mut().find(|class| class.layout == layout) {
            return class.take();
        }
        custom.push(Class::new(layout, self.guards, Marks::of(layout.usable)));
        custom.last_mut().expect("just pushed").take()
    }

    /// From now on stacks have guards of `guard` bytes.
    fn widen(&self, guard: usize) {
        self.guard.set(guard);
        let layout = Layout::of(size::DEFAULT, os::page_size(), guard).expect("the default size is possible");
        let class = Class::new(layout, self.guards, Marks::patient(layout.usable));
        let mut custom = self.custom.borrow_mut();
        custom.push(self.default.replace(class));
        custom.iter_mut().for_each(Class::retire);
    }

    /// Takes a stack of another size back.
    #[cold]
    fn give_custom(&self, stack: Stack) {
        let mut custom = self.custom.borrow_mut();
        let class = custom.iter_mut().find(|class| class.owns(&stack));
        class.expect("a stack comes back to the pool that it came from").give(stack);
    }
}
