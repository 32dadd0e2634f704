//! The table of slots: stable addresses, looked up by index, grown without moving anything.
//!
//! ```text
//!  chunks  [0]──▶ 32 slots      a chunk is made when the first of its slots is needed and is
//!          [1]──▶ 64 slots      twice as large as the one before it; an index is found by its
//!          [2]──▶ 128 slots     highest bit, without a loop and without a lock
//!           …
//! ```

use std::cell::{Cell, OnceCell};

use crate::slot::Slot;

/// Slots in the first chunk; a power of two.
const FIRST: u32 = 32;
/// Chunks enough for every `u32` index.
const CHUNKS: usize = 27;

/// All slots of a hub.
pub(crate) struct Table {
    /// The chunks made so far.
    chunks: [OnceCell<Box<[Slot]>>; CHUNKS],
    /// How many slots were ever handed out; those below have been used.
    used: Cell<u32>,
    /// Slots to use again, last in first out, linked through `Slot::next`.
    vacant: Cell<Option<&'static Slot>>,
}

impl Table {
    /// A table without a slot.
    pub(crate) fn new() -> Table {
        Table { chunks: [const { OnceCell::new() }; CHUNKS], used: Cell::new(0), vacant: Cell::new(None) }
    }

    /// The slot at `index`, if it was ever handed out.
    #[inline]
    pub(crate) fn get(&'static self, index: u32) -> Option<&'static Slot> {
        if index >= self.used.get() {
            return None;
        }
        let (chunk, offset) = place(index);
        self.chunks[chunk].get()?.get(offset)
    }

    /// A vacant slot, for a new greenlet.
    #[inline]
    pub(crate) fn take(&'static self) -> &'static Slot {
        match self.vacant.get() {
            Some(slot) => {
                self.vacant.set(slot.next.take());
                slot
            }
            None => self.grow(),
        }
    }

    /// Gives a slot back.
    #[inline]
    pub(crate) fn give(&'static self, slot: &'static Slot) {
        slot.next.set(self.vacant.get());
        self.vacant.set(Some(slot));
    }

    /// Every slot that was ever handed out, vacant ones among them.
    pub(crate) fn iter(&'static self) -> impl Iterator<Item = &'static Slot> {
        (0..self.used.get()).filter_map(move |index| self.get(index))
    }

    /// Hands out a slot that was never used.
    #[cold]
    fn grow(&'static self) -> &'static Slot {
        let index = self.used.get();
        let (chunk, offset) = place(index);
        let slots = self.chunks[chunk].get_or_init(|| {
            let len = FIRST << chunk;
            (index..index + len).map(Slot::new).collect()
        });
        self.used.set(index + 1);
        &slots[offset]
    }
}

/// Chunk and offset of an index.
#[inline]
fn place(index: u32) -> (usize, usize) {
    let shifted = u64::from(index) + u64::from(FIRST);
    let chunk = shifted.ilog2() - FIRST.ilog2();
    (chunk as usize, (shifted - (u64::from(FIRST) << chunk)) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_has_its_own_place() {
        let mut expected = (0, 0);
        for index in 0..100_000 {
            assert_eq!(place(index), expected, "index {index}");
            expected.1 += 1;
            if expected.1 == (FIRST as usize) << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
        assert!(place(u32::MAX).0 < CHUNKS + 1);
    }

    #[test]
    fn slots_are_used_again_last_in_first_out() {
        let table: &'static Table = Box::leak(Box::new(Table::new()));
        let slots: Vec<_> = (0..100).map(|_| table.take()).collect();
        assert!(slots.iter().enumerate().all(|(i, slot)| slot.index as usize == i));
        assert!(table.get(100).is_none());
        table.give(slots[3]);
        table.give(slots[70]);
        assert_eq!((table.take().index, table.take().index, table.take().index), (70, 3, 100));
    }
}
