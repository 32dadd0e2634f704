//! Deadlines of a hub's parked greenlets.
//!
//! The timer that matters is the one that never fires: each socket timeout is set, the data comes,
//! and the timer is cancelled. Such a deadline lies later than nearly all others, so its place is
//! the end of a heap; in a heap of four children per entry it gets there with one comparison, and
//! leaves without any. A cancelled timer leaves at once (the heap is *indexed*: a key leads to its
//! place), so that no dead entries pile up under a busy server.
//!
//! ```text
//! TimerKey { slot: 2, order: 41 }
//!              │          └───────────── is it still the same timer? ─────────┐
//!              ▼                                                              ▼
//! slots   0:{place 1}  1:{free, next 3}  2:{place 4, target}  3:{free}   order == 41?
//!                                                 │                           ▲
//!                                                 ▼                           │
//! heap    [0 ..]  [1 slot 0]  [2 ..]  [3 ..]  [4 {deadline, order 41, slot 2}]┘
//!          parent of 1 to 4
//! ```
//!
//! `order` counts insertions and is never used twice. It orders equal deadlines, and it is what
//! makes a stale key harmless: the timer of a key lives exactly as long as an entry with the key's
//! `order` is in the heap. A free slot therefore needs no mark of its own: whatever number it
//! holds, the entry there (if any) has another `order`.
//!
//! Nothing here reads a clock: `now` is handed in, in nanoseconds on the hub's clock.

use std::num::NonZeroU64;

/// Children per entry. Four make the heap half as deep as two, and lie in two cache lines.
const ARITY: usize = 4;

/// Entries whose memory is kept for good; a heap that had more gives memory back when it empties.
const KEEP: usize = 1024;

/// The end of the list of free slots. No slot has this number.
const NO_SLOT: u32 = u32::MAX;

/// The timers of one hub, each with a `target` that is told when it expires.
pub(crate) struct Timers<T: Copy> {
    /// A min-heap by deadline, then by order of insertion; entry 0 is the next to expire.
    heap: Vec<Entry>,
    /// Where each timer's entry is in `heap`; keys hold indices of this.
    slots: Vec<Slot<T>>,
    /// The first free slot, or `NO_SLOT`. Last in, first out: the slot freed just now is in the
    /// cache.
    free: u32,
    /// How many timers were ever inserted.
    inserted: u64,
    /// With fewer timers than this, giving memory back is worth a try; 0 while there is too little
    /// to give.
    shrink_below: usize,
}

/// Names one inserted timer. After the timer fired or was removed, its key is stale and names
/// nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerKey {
    /// Which insertion this was, counted from 1; 64 bits, since 32 of them wrap within half a
    /// minute of set-and-cancel.
    order: NonZeroU64,
    /// The slot that knows the timer's place in the heap.
    slot: u32,
}

/// One timer's place in the order of expiry.
#[derive(Clone, Copy)]
struct Entry {
    /// When it expires, in nanoseconds on the hub's clock.
    deadline: u64,
    /// Which insertion this was: breaks ties of `deadline`, and tells this timer from earlier ones
    /// of its slot.
    order: NonZeroU64,
    /// The slot that points back here.
    slot: u32,
}

/// What a key leads to.
struct Slot<T> {
    /// In use: the index in `heap`. Free: the next free slot, or `NO_SLOT`.
    place: u32,
    /// What is handed out on expiry; left over from the last timer while the slot is free.
    target: T,
}

impl<T: Copy> Timers<T> {
    /// No timers, and no memory yet.
    pub(crate) const fn new() -> Timers<T> {
        Timers { heap: Vec::new(), slots: Vec::new(), free: NO_SLOT, inserted: 0, shrink_below: 0 }
    }

    /// Sets a timer that hands out `target` once `deadline` (nanoseconds on the hub's clock) is
    /// reached.
    pub(crate) fn insert(&mut self, deadline: u64, target: T) -> TimerKey {
        let order = NonZeroU64::MIN.saturating_add(self.inserted);
        self.inserted += 1;
        let slot = self.take_slot(target);
        let entry = Entry { deadline, order, slot };
        self.heap.push(entry);
        self.sift_up(self.heap.len() - 1, entry);
        TimerKey { order, slot }
    }

    /// Cancels a timer; false if it has fired or was removed already.
    pub(crate) fn remove(&mut self, key: TimerKey) -> bool {
        let Some(slot) = self.slots.get(key.slot as usize) else {
            return false;
        };
        let place = slot.place as usize;
        match self.heap.get(place) {
            Some(entry) if entry.order == key.order => {
                self.remove_at(place);
                true
            }
            _ => false,
        }
    }

    /// When the next timer expires, in nanoseconds on the hub's clock.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.heap.first().map(|entry| entry.deadline)
    }

    /// Takes out one timer whose deadline is not later than `now`: the earliest, and of equal ones
    /// the first inserted.
    pub(crate) fn pop_expired(&mut self, now: u64) -> Option<T> {
        let first = self.heap.first()?;
        if first.deadline > now {
            return None;
        }
        let target = self.slots[first.slot as usize].target;
        self.remove_at(0);
        Some(target)
    }

    /// How many timers are set.
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether no timer is set.
    pub(crate) fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// A slot for a new timer; its place is written when its entry is.
    fn take_slot(&mut self, target: T) -> u32 {
        let number = self.free;
        if let Some(slot) = self.slots.get_mut(number as usize) {
            self.free = slot.place;
            slot.target = target;
            return number;
        }
        self.new_slot(target)
    }

    /// One slot more, for there is no free one.
    #[cold]
    fn new_slot(&mut self, target: T) -> u32 {
        let number = u32::try_from(self.slots.len()).unwrap_or(NO_SLOT);
        assert!(number != NO_SLOT, "sward: 4,294,967,295 timers on one hub");
        let place = NO_SLOT;
        self.slots.push(Slot { place, target });
        if self.slots.capacity() > KEEP {
            self.shrink_below = self.slots.capacity() / 8;
        }
        number
    }

    /// Takes out the entry at `place`; the heap's last entry fills the gap.
    fn remove_at(&mut self, place: usize) {
        let Some(last) = self.heap.pop() else { return };
        let removed = if place == self.heap.len() { last } else { self.replace(place, last) };
        self.slots[removed.slot as usize].place = self.free;
        self.free = removed.slot;
        if self.heap.len() < self.shrink_below {
            self.shrink();
        }
    }

    /// Puts `entry` where it belongs once the entry at `place` is out, which is returned.
    fn replace(&mut self, place: usize, entry: Entry) -> Entry {
        let removed = self.heap[place];
        if place > 0 && entry.is_before(&self.heap[(place - 1) / ARITY]) {
            self.sift_up(place, entry);
        } else {
            self.sift_down(place, entry);
        }
        removed
    }

    /// Puts `entry` at `place` or above, moving later parents down.
    fn sift_up(&mut self, mut place: usize, entry: Entry) {
        while place > 0 {
            let above = (place - 1) / ARITY;
            let parent = self.heap[above];
            if !entry.is_before(&parent) {
                break;
            }
            self.put(place, parent);
            place = above;
        }
        self.put(place, entry);
    }

    /// Puts `entry` at `place` or below, moving earlier children up.
    fn sift_down(&mut self, mut place: usize, entry: Entry) {
        loop {
            let first = place * ARITY + 1;
            let end = (first + ARITY).min(self.heap.len());
            let Some(children) = self.heap.get(first..end) else {
                break;
            };
            let Some(mut child) = children.first().copied() else {
                break;
            };
            let mut below = first;
            for (i, other) in children.iter().enumerate().skip(1) {
                if other.is_before(&child) {
                    child = *other;
                    below = first + i;
                }
            }
            if !child.is_before(&entry) {
                break;
            }
            self.put(place, child);
            place = below;
        }
        self.put(place, entry);
    }

    /// Writes `entry` at `place` and tells its slot.
    fn put(&mut self, place: usize, entry: Entry) {
        self.heap[place] = entry;
        // Never cut off: there are at least as many slots as entries, and their numbers fit.
        self.slots[entry.slot as usize].place = place as u32;
    }

    /// Gives memory back after a burst. Half of the timers have to go before the next try, and a
    /// list that was cut has to fill again before it can grow, so each step here is paid for by an
    /// insertion or a removal.
    #[cold]
    fn shrink(&mut self) {
        self.heap.shrink_to((self.heap.len() * 4).max(KEEP));
        // Keys hold slot numbers, so only what lies above the highest slot in use can go.
        let used = self.heap.iter().map(|entry| entry.slot as usize + 1).max().unwrap_or(0);
        if used <= self.slots.len() / 2 {
            self.cut_slots(used);
        }
        self.shrink_below = if self.slots.capacity() > KEEP { self.heap.len() / 2 + 1 } else { 0 };
    }

    /// Drops the slots from number `used` on, all of which are free.
    fn cut_slots(&mut self, used: usize) {
        self.slots.truncate(used);
        self.slots.shrink_to(used.max(KEEP));
        // The list of free slots may have led through the ones cut off: thread it anew, lowest
        // first.
        self.free = NO_SLOT;
        for number in (0..used).rev() {
            let slot = &mut self.slots[number];
            let entry = self.heap.get(slot.place as usize);
            if entry.is_none_or(|entry| entry.slot as usize != number) {
                slot.place = self.free;
                self.free = number as u32;
            }
        }
    }
}

impl Entry {
    /// Whether this timer expires before the other one.
    fn is_before(&self, other: &Entry) -> bool {
        (self.deadline, self.order) < (other.deadline, other.order)
    }
}

impl<T: Copy> std::fmt::Debug for Timers<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timers").field("len", &self.len()).field("next_deadline", &self.next_deadline()).finish()
    }
}

#[cfg(test)]
mod tests;
