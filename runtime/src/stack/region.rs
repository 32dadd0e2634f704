//! A region: one large map that stacks are carved from, from its low end to its high end.

use std::io;
use std::mem;
#[cfg(test)]
use std::ops::Range;
use std::ptr;

use corosensei::stack::valgrind::ValgrindStackRegistration;

use super::guard::{self, Guards};
use super::os;
use super::size::{COLOUR, COLOURS, Layout};
use super::{BATCH, Stack};

/// One map. Dropping a region does not unmap it: only `unmap` does, when no stack is out.
pub(super) struct Region {
    /// Lowest address.
    start: usize,
    /// Stacks that it has room for.
    slots: u32,
    /// Stacks handed out so far. The slots above have never been used.
    used: u32,
    /// Slots that have their guard; at least `used`.
    guarded: u32,
    /// Guards among them that are made by protection.
    protected: u32,
    /// Used slots that are idle and have given all of their pages back.
    cold: Vec<u32>,
}

impl Region {
    /// Maps room for `wanted` stacks, or for fewer if the system refuses so many at once.
    ///
    /// # Errors
    ///
    /// The system's, if it has no room for a single stack.
    pub(super) fn map(layout: &Layout, wanted: u32) -> io::Result<Region> {
        let mut slots = wanted;
        loop {
            match map(layout.slot.saturating_mul(slots as usize)) {
                Ok(start) => return Ok(Region { start, slots, used: 0, guarded: 0, protected: 0, cold: Vec::new() }),
                Err(_) if slots > 1 => slots /= 2,
                Err(error) => {
                    let message = format!("cannot map a greenlet stack of {} bytes: {error}", layout.usable);
                    return Err(io::Error::new(error.kind(), message));
                }
            }
        }
    }

    /// Stacks that it has room for.
    pub(super) fn slots(&self) -> u32 {
        self.slots
    }

    /// Stacks handed out so far.
    pub(super) fn used(&self) -> u32 {
        self.used
    }

    /// Idle stacks without any page.
    pub(super) fn cold(&self) -> u32 {
        self.cold.len() as u32
    }

    /// Whether no stack is out, when `with_pages` idle ones are not cold.
    pub(super) fn is_idle(&self, with_pages: usize) -> bool {
        self.cold.len() + with_pages == self.used as usize
    }

    /// Whether every slot has been used.
    pub(super) fn is_full(&self) -> bool {
        self.used == self.slots
    }

    /// Hands out a slot that has never been used; there must be one. `number` is this region's place
    /// in its class. Guards are made for up to `ahead` slots at a time.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` if no guard could be made.
    pub(super) fn carve(
        &mut self,
        layout: &Layout,
        number: u16,
        guards: &mut Guards,
        ahead: usize,
    ) -> io::Result<Stack> {
        debug_assert!(!self.is_full());
        if self.used == self.guarded {
            self.guard(layout, guards, ahead.min(BATCH))?;
        }
        let stack = self.stack(layout, number, self.used);
        self.used += 1;
        let memory = stack.memory();
        // A no-op but under Valgrind, which keeps the newest of overlapping registrations: it need
        // not be told when the region is unmapped.
        mem::forget(ValgrindStackRegistration::new(memory.start as *mut u8, memory.len()));
        Ok(stack)
    }

    /// Keeps a stack whose pages have all been given back.
    pub(super) fn put_cold(&mut self, layout: &Layout, stack: Stack) {
        self.cold.push(((stack.guard().start - self.start) / layout.slot) as u32);
    }

    /// Hands out a stack that `put_cold` kept.
    pub(super) fn take_cold(&mut self, layout: &Layout, number: u16) -> Option<Stack> {
        let slot = self.cold.pop()?;
        Some(self.stack(layout, number, slot))
    }

    /// The stack in a slot that has its guard.
    fn stack(&self, layout: &Layout, number: u16, slot: u32) -> Stack {
        let index = slot as usize;
        let top = self.start + (index + 1) * layout.slot;
        Stack::new(layout, top, index % COLOURS * COLOUR, number)
    }

    /// Makes guards for the next slots: for `ahead` of them if there are so many and all goes well.
    #[cold]
    fn guard(&mut self, layout: &Layout, guards: &mut Guards, ahead: usize) -> io::Result<()> {
        let mut ranges = [const { 0..0 }; BATCH];
        let count = ahead.min((self.slots - self.guarded) as usize);
        for (i, range) in ranges.iter_mut().enumerate().take(count) {
            let bottom = self.start + (self.guarded as usize + i) * layout.slot;
            *range = bottom..bottom + layout.guard;
        }
        // SAFETY: these are the lowest pages of slots of this region that no stack was made of yet.
        let made = unsafe { guards.install(&ranges[..count]) }? as u32;
        self.guarded += made;
        if *guards == Guards::Protection {
            self.protected += made;
        }
        Ok(())
    }

    /// Unmaps the region.
    ///
    /// # Safety
    ///
    /// Every stack that was handed out has been given back and will not be handed out again.
    pub(super) unsafe fn unmap(self, layout: &Layout) {
        let length = layout.slot * self.slots as usize;
        // SAFETY: this map is ours, and by the caller's promise nothing is in it any more. Where the
        // kernel refuses (no map left to split a merged one) the address space stays taken.
        if unsafe { libc::munmap(self.start as *mut _, length) } == 0 {
            guard::forget_protected(self.protected as usize);
        }
    }

    /// The addresses of the region.
    #[cfg(test)]
    pub(super) fn range(&self, layout: &Layout) -> Range<usize> {
        self.start..self.start + layout.slot * self.slots as usize
    }
}

/// Maps `length` bytes of memory that costs nothing until it is touched; its lowest address.
fn map(length: usize) -> io::Result<usize> {
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_NORESERVE;
    // SAFETY: a new map at an address of the kernel's choice touches no memory of ours.
    let start = unsafe { libc::mmap(ptr::null_mut(), length, rights, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let start = start as usize;
    os::refuse_huge_pages(start..start + length);
    Ok(start)
}
