//! In which order items come out again: first-in first-out, last-in first-out, smallest first.
//!
//! No code of the user's (a destructor, a comparison) runs while a `RefCell` here is borrowed.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::{BTreeSet, VecDeque};

/// Items that are in a queue.
pub(super) trait Store {
    /// What it holds.
    type Item;
    /// What tells where an item belongs that was taken out to be looked at.
    type Place: Copy;
    /// Whether `push` runs code of the user's, which compares items.
    const COMPARES: bool = false;

    /// Adds an item.
    fn push(&self, item: Self::Item);

    /// Takes out the item that comes next.
    fn pop(&self) -> Option<Self::Item> {
        self.lend().map(|(item, _)| item)
    }

    /// As `pop`, of an item that comes back.
    fn lend(&self) -> Option<(Self::Item, Self::Place)>;

    /// Puts an item back that was lent.
    fn put_back(&self, item: Self::Item, place: Self::Place);

    /// How many items it holds.
    fn len(&self) -> usize;
}

/// First in, first out.
pub(super) struct Fifo<T>(RefCell<VecDeque<T>>);

impl<T> Fifo<T> {
    /// Nothing.
    pub(super) const fn new() -> Self {
        Fifo(RefCell::new(VecDeque::new()))
    }
}

impl<T> Store for Fifo<T> {
    type Item = T;
    type Place = ();

    #[inline]
    fn push(&self, item: T) {
        self.0.borrow_mut().push_back(item);
    }

    #[inline]
    fn lend(&self) -> Option<(T, ())> {
        Some((self.0.borrow_mut().pop_front()?, ()))
    }

    fn put_back(&self, item: T, (): ()) {
        self.0.borrow_mut().push_front(item);
    }

    #[inline]
    fn len(&self) -> usize {
        self.0.borrow().len()
    }
}

/// Last in, first out.
pub(super) struct Lifo<T>(RefCell<Vec<T>>);

impl<T> Lifo<T> {
    /// Nothing.
    pub(super) const fn new() -> Self {
        Lifo(RefCell::new(Vec::new()))
    }
}

impl<T> Store for Lifo<T> {
    type Item = T;
    type Place = ();

    #[inline]
    fn push(&self, item: T) {
        self.0.borrow_mut().push(item);
    }

    #[inline]
    fn lend(&self) -> Option<(T, ())> {
        Some((self.0.borrow_mut().pop()?, ()))
    }

    fn put_back(&self, item: T, (): ()) {
        self.0.borrow_mut().push(item);
    }

    #[inline]
    fn len(&self) -> usize {
        self.0.borrow().len()
    }
}

/// Smallest first; equal ones in the order in which they were put.
///
/// `Ord::cmp` is the user's code: it may panic, use this queue, even switch greenlets. So the items
/// are *taken out* while it runs. What is added meanwhile is kept aside, and goes in with the next
/// operation.
pub(super) struct Sorted<T> {
    /// The items; empty while somebody compares them. A tree and not a heap, since taking the first
    /// out of a tree compares nothing: only `put` can meet a panic of `cmp`, and what is in stays in.
    items: RefCell<BTreeSet<Entry<T>>>,
    /// Items that were added while the others were out.
    aside: RefCell<Vec<Entry<T>>>,
    /// How many items are in both, and out.
    len: Cell<usize>,
    /// The number of the next item.
    next: Cell<u64>,
}

/// An item and when it was put.
struct Entry<T> {
    /// The item.
    item: T,
    /// Counts items.
    number: u64,
}

impl<T: Ord> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.item.cmp(&other.item).then(self.number.cmp(&other.number))
    }
}

impl<T: Ord> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Ord> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T: Ord> Eq for Entry<T> {}

impl<T> Sorted<T> {
    /// Nothing.
    pub(super) const fn new() -> Self {
        Sorted {
            items: RefCell::new(BTreeSet::new()),
            aside: RefCell::new(Vec::new()),
            len: Cell::new(0),
            next: Cell::new(0),
        }
    }
}

impl<T: Ord> Sorted<T> {
    /// Adds an entry.
    fn insert(&self, entry: Entry<T>) {
        self.len.set(self.len.get() + 1);
        self.aside.borrow_mut().push(entry);
        self.sort();
    }

    /// Moves what is aside to its place among the others.
    fn sort(&self) {
        if self.aside.borrow().is_empty() {
            return;
        }
        let mut out = TakenOut { items: self.items.take(), home: self };
        while let Some(entry) = out.home.next_aside() {
            // Lost if a comparison panics, or if entries that are not the same compare equal.
            let lost = Uncount { len: &self.len };
            if out.items.insert(entry) {
                std::mem::forget(lost);
            }
        }
    }

    /// Takes the first of what is aside.
    fn next_aside(&self) -> Option<Entry<T>> {
        let mut aside = self.aside.borrow_mut();
        (!aside.is_empty()).then(|| aside.remove(0))
    }
}

impl<T: Ord> Store for Sorted<T> {
    type Item = T;
    type Place = u64;
    const COMPARES: bool = true;

    fn push(&self, item: T) {
        let number = self.next.get();
        self.next.set(number + 1);
        self.insert(Entry { item, number });
    }

    fn lend(&self) -> Option<(T, u64)> {
        self.sort();
        let first = self.items.borrow_mut().pop_first()?;
        self.len.set(self.len.get() - 1);
        Some((first.item, first.number))
    }

    fn put_back(&self, item: T, number: u64) {
        self.insert(Entry { item, number });
    }

    fn len(&self) -> usize {
        self.len.get()
    }
}

/// The items of a [`Sorted`] while they are out; they go home when this is dropped.
struct TakenOut<'a, T: Ord> {
    /// The items.
    items: BTreeSet<Entry<T>>,
    /// Where they belong.
    home: &'a Sorted<T>,
}

impl<T: Ord> Drop for TakenOut<'_, T> {
    fn drop(&mut self) {
        let others = self.home.items.replace(std::mem::take(&mut self.items));
        // Sorted in meanwhile, by a comparison that used the queue.
        self.home.aside.borrow_mut().extend(others);
    }
}

/// Takes one off a length when dropped.
struct Uncount<'a> {
    /// The length.
    len: &'a Cell<usize>,
}

impl Drop for Uncount<'_> {
    fn drop(&mut self) {
        self.len.set(self.len.get() - 1);
    }
}
