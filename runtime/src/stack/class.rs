//! A size class: all stacks of one size, and what becomes of the idle ones.
//!
//! ```text
//!          take                                          oldest first, a batch at a time
//!   ◀──── warm ◀─ give        all pages kept                     │
//!          │  └─ more than `marks.warm`: give back all but the top page ──▶ cool
//!   ◀──── cool                the top page kept: no fault on reuse │
//!          │     └─ more than `marks.cool`: give back that one too ──▶ cold
//!   ◀──── cold                guard and address space kept       │
//!          │         └─ every stack of a region idle, and plenty left: unmap the region
//!   ◀──── never used          carved from a region, guards made a batch at a time
//! ```
//!
//! A program that has had many greenlets will have many again soon, more often than not: so the marks count
//! only for stacks that have been idle for a second, unless there are very many of them. Then `give` moves them
//! down, or the hub, a slice at a time, when it has nothing else to do (`tidy`).
//!
//! `take` tries the sources from the top down. A stack moves down one step at a time and only
//! upwards by being used, so its pages are given back once for each use at most. Cold stacks are not
//! the end because page tables are memory too: 648 bytes for each slot, which only unmapping returns.
//!
//! The top page of a fresh stack is left to fault in when it is first touched: filling in a batch of
//! them ahead (`MADV_POPULATE_WRITE`) took as long per page as the faults do.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::guard::Guards;
use super::region::Region;
use super::size::Layout;
use super::{BATCH, Stack, kind, os};

/// Slots in a class's first region; a few greenlets shall be cheap.
const FIRST_REGION: u32 = 16;
/// The most slots in a region: with 256 KiB stacks a million of them is some forty maps.
const LARGEST_REGION: u32 = 32_768;
/// The most bytes that a region is given, unless a single stack needs more.
const LARGEST_REGION_BYTES: usize = if usize::BITS >= 64 { 12 << 30 } else { 64 << 20 };
/// Guards made at first, when nobody knows yet how many greenlets there will be.
const FIRST_GUARDS: usize = 4;

/// How long idle stacks may be above the marks.
const PATIENCE: Duration = Duration::from_secs(1);
/// Stacks that an idle hub moves down before it looks at the outside again: about a millisecond.
const SLICE: usize = 1024;

/// How many idle stacks keep what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marks {
    /// Stacks that keep all of their pages.
    pub(super) warm: usize,
    /// Stacks beyond those that keep their top page.
    pub(super) cool: usize,
    /// Idle stacks up to which `PATIENCE` is had.
    pub(super) patient: usize,
}

impl Marks {
    /// The marks for stacks of `usable` bytes: at most 256 MiB in warm stacks, and 64 MiB of top pages.
    pub(super) fn of(usable: usize) -> Marks {
        Marks { warm: ((256 << 20) / usable).clamp(16, 1024), cool: 16_384, patient: 0 }
    }

    /// The same, for the size that most greenlets have.
    pub(super) fn patient(usable: usize) -> Marks {
        Marks { patient: 128 << 10, ..Marks::of(usable) }
    }
}

/// All stacks of one size. Dropping it unmaps the regions that no stack is out of.
pub(super) struct Class {
    /// How slots are divided.
    pub(super) layout: Layout,
    /// What its stacks have in common.
    kind: u64,
    /// How guards are made.
    guards: Guards,
    /// How many idle stacks keep what.
    marks: Marks,
    /// Idle stacks with all pages, last in first out.
    warm: Vec<Stack>,
    /// `warm` grows to this length before somebody looks whether it is too long.
    warm_limit: usize,
    /// Since when `warm` has been above its mark, if somebody has noticed.
    excess_since: Option<Instant>,
    /// Idle stacks with their top page only, the longest idle first.
    cool: VecDeque<Stack>,
    /// The maps; a stack names its own by the index. `None` was unmapped.
    pub(super) regions: Vec<Option<Region>>,
    /// The region that never used slots come from.
    carving: Option<u16>,
    /// Unmapping waits until no more stacks than this are in use.
    unmap_at: usize,
}

impl Class {
    /// A class without a map.
    pub(super) fn new(layout: Layout, guards: Guards, marks: Marks) -> Class {
        Class {
            layout,
            kind: kind(&layout),
            guards,
            marks,
            warm: Vec::new(),
            warm_limit: marks.warm,
            excess_since: None,
            cool: VecDeque::new(),
            regions: Vec::new(),
            carving: None,
            unmap_at: usize::MAX,
        }
    }

    /// The stack that was given last, if it is warm.
    #[inline]
    pub(super) fn take_warm(&mut self) -> Option<Stack> {
        self.warm.pop()
    }

    /// Keeps a stack of this class for the next one who asks.
    #[inline]
    pub(super) fn give(&mut self, stack: Stack) {
        self.warm.push(stack);
        if self.warm.len() > self.warm_limit {
            self.look();
        }
    }

    /// Whether `stack` comes from here.
    #[inline]
    pub(super) fn owns(&self, stack: &Stack) -> bool {
        self.kind == stack.class()
    }

    /// No stack of this class will be taken any more: gives all memory back as the last stacks come in.
    #[cold]
    pub(super) fn retire(&mut self) {
        self.marks = Marks { warm: 0, cool: 0, patient: 0 };
        self.unmap_at = usize::MAX;
        self.settle();
        // The next stack that comes in is looked at, and after that half of those that are out, and so on.
        self.warm_limit = 0;
    }

    /// A stack from the first source that has one.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` if there is no address space, or no map for a guard.
    #[cold]
    pub(super) fn take(&mut self) -> io::Result<Stack> {
        if let Some(stack) = self.warm.pop().or_else(|| self.cool.pop_back()) {
            return Ok(stack);
        }
        // The demand has grown: what was kept after the last peak may be given up after this one.
        self.unmap_at = usize::MAX;
        for (number, region) in (0..).zip(&mut self.regions) {
            if let Some(stack) = region.as_mut().and_then(|region| region.take_cold(&self.layout, number)) {
                return Ok(stack);
            }
        }
        self.carve()
    }

    /// A stack that has never been used.
    fn carve(&mut self) -> io::Result<Stack> {
        let used = self.used();
        let number = match self.carving {
            Some(number) => number,
            None => self.map()?,
        };
        let region = self.regions[number as usize].as_mut().expect("the region that is carved is mapped");
        let stack = region.carve(&self.layout, number, &mut self.guards, used.max(FIRST_GUARDS))?;
        self.carving = Some(number).filter(|_| !region.is_full());
        Ok(stack)
    }

    /// Maps a region as large as all others together; its number.
    fn map(&mut self) -> io::Result<u16> {
        let slots: u32 = self.regions.iter().flatten().map(Region::slots).sum();
        let most = (LARGEST_REGION_BYTES / self.layout.slot).clamp(1, LARGEST_REGION as usize) as u32;
        let vacant = self.regions.iter().position(Option::is_none).unwrap_or(self.regions.len());
        let number = u16::try_from(vacant).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let region = Some(Region::map(&self.layout, slots.clamp(FIRST_REGION.min(most), most))?);
        match self.regions.get_mut(vacant) {
            Some(place) => *place = region,
            None => self.regions.push(region),
        }
        self.carving = Some(number);
        Ok(number)
    }

    /// Has patience with stacks above the mark, or not.
    #[cold]
    fn look(&mut self) {
        let since = *self.excess_since.get_or_insert_with(Instant::now);
        if self.idle() <= self.marks.patient && since.elapsed() < PATIENCE {
            self.warm_limit = self.warm.len() + BATCH;
        } else {
            self.settle();
        }
    }

    /// Moves stacks down that have been above the mark for long enough, a slice of them. How long until there is
    /// something to be done again; `None` if there is nothing.
    pub(super) fn tidy(&mut self) -> Option<Duration> {
        let left = PATIENCE.saturating_sub(self.excess_since?.elapsed());
        if left.is_zero() {
            self.cool_down(SLICE);
            self.freeze();
            if self.warm.len() <= self.marks.warm {
                self.settle();
            }
        }
        self.excess_since.map(|_| left)
    }

    /// Moves what is above the marks down, unmaps what nobody will need soon, and decides when to
    /// look again.
    #[cold]
    fn settle(&mut self) {
        self.cool_down(usize::MAX);
        self.freeze();
        self.excess_since = None;
        let idle = self.idle();
        let out = self.used() - idle;
        if idle <= self.marks.warm + self.marks.cool {
            self.warm_limit = self.marks.warm + BATCH;
            return;
        }
        if out <= self.unmap_at {
            self.unmap_at = out / 2;
            self.unmap_idle_regions();
        }
        // Early enough, lest the last of a million come back without anybody looking.
        self.warm_limit = self.warm.len() + (out / 2).min(BATCH);
    }

    /// Turns the longest idle warm stacks into cool ones, `most` of them.
    fn cool_down(&mut self, most: usize) {
        let excess = self.warm.len().saturating_sub(self.marks.warm).min(most);
        for batch in self.warm[..excess].chunks(BATCH) {
            // SAFETY: idle stacks hold nothing.
            unsafe { give_back(batch.iter().map(Stack::below_top_page)) };
        }
        self.cool.extend(self.warm.drain(..excess));
    }

    /// Turns the longest idle cool stacks into cold ones.
    fn freeze(&mut self) {
        let excess = self.cool.len().saturating_sub(self.marks.cool);
        for first in (0..excess).step_by(BATCH) {
            let batch = self.cool.range(first..excess.min(first + BATCH));
            // SAFETY: idle stacks hold nothing.
            unsafe { give_back(batch.map(Stack::top_page)) };
        }
        for stack in self.cool.drain(..excess) {
            if let Some(region) = &mut self.regions[stack.region()] {
                region.put_cold(&self.layout, stack);
            }
        }
    }

    /// Unmaps regions of which every stack is idle, as long as enough idle stacks to fill the marks
    /// remain. Those with few warm and cool stacks go first.
    fn unmap_idle_regions(&mut self) {
        let pages = self.with_pages_by_region();
        let mut order: Vec<usize> = (0..self.regions.len()).collect();
        order.sort_unstable_by_key(|&number| pages[number]);
        let mut doomed = vec![false; self.regions.len()];
        let mut spare = self.idle() - self.marks.warm - self.marks.cool;
        for number in order {
            let Some(region) = self.regions[number].as_ref().filter(|region| region.is_idle(pages[number])) else {
                continue;
            };
            match spare.checked_sub(region.used() as usize) {
                Some(rest) => spare = rest,
                None => break,
            }
            doomed[number] = true;
        }
        if !doomed.contains(&true) {
            return;
        }
        self.warm.retain(|stack| !doomed[stack.region()]);
        self.cool.retain(|stack| !doomed[stack.region()]);
        self.carving = self.carving.filter(|&number| !doomed[number as usize]);
        for (region, _) in self.regions.iter_mut().zip(doomed).filter(|(_, doomed)| *doomed) {
            if let Some(region) = region.take() {
                // SAFETY: as many of its stacks were idle as were ever handed out, so none is out,
                // and no list names one any more.
                unsafe { region.unmap(&self.layout) };
            }
        }
    }

    /// Stacks handed out so far, from regions that are still mapped.
    pub(super) fn used(&self) -> usize {
        self.regions.iter().flatten().map(|region| region.used() as usize).sum()
    }

    /// Stacks that came back and were not taken again.
    pub(super) fn idle(&self) -> usize {
        self.warm.len() + self.cool.len() + self.cold()
    }

    /// Idle stacks without any page.
    pub(super) fn cold(&self) -> usize {
        self.regions.iter().flatten().map(|region| region.cold() as usize).sum()
    }

    /// How many warm and cool stacks each region has.
    fn with_pages_by_region(&self) -> Vec<usize> {
        let mut pages = vec![0; self.regions.len()];
        for stack in self.warm.iter().chain(&self.cool) {
            pages[stack.region()] += 1;
        }
        pages
    }
}

impl Drop for Class {
    fn drop(&mut self) {
        let pages = self.with_pages_by_region();
        for (region, pages) in self.regions.drain(..).zip(pages) {
            if let Some(region) = region.filter(|region| region.is_idle(pages)) {
                // SAFETY: as many of its stacks are idle as were ever handed out, so none is out, and
                // the lists that name them are dropped with the class.
                unsafe { region.unmap(&self.layout) };
            }
        }
    }
}

/// Gives a batch of ranges back.
///
/// # Safety
///
/// As for `os::give_back`.
unsafe fn give_back(ranges: impl Iterator<Item = Range<usize>>) {
    let mut batch = [const { 0..0 }; BATCH];
    let mut count = 0;
    for (place, range) in batch.iter_mut().zip(ranges) {
        *place = range;
        count += 1;
    }
    // SAFETY: the caller's promise.
    unsafe { os::give_back(&batch[..count]) };
}
