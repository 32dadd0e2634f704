//! A value that each process of a family of forks has for itself.
//!
//! The child of a fork has none of its parent's other threads, and inherits their mutexes as they were at that moment,
//! perhaps locked by a thread that is not there to unlock them. So each generation of processes has a value of its own,
//! and never touches its ancestors':
//!
//! ```text
//! berths  [owner 1 │ value]  [owner 2 │ value]  [owner 4 │ value]  [free]  ..
//!          grandparent        parent: forked     this process
//!                             into 3, who never
//!                             asked for it
//! ```
//!
//! A berth is claimed by an atomic and belongs to its owner for good. Even a value that was only half made when its
//! process forked harms nobody: it is in a berth where the child does not look. What is in ancestors' values is never
//! dropped in the child.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Berths in a row; a process with more ancestors that had values finds more rows behind them.
const ROW: usize = 4;

/// A value for each process, made on first use; meant for a `static`.
pub(crate) struct PerProcess<T>([Berth<T>; ROW]);

/// A place for one process's value.
struct Berth<T> {
    /// The fork generation that it belongs to, plus one; 0 as long as it belongs to no one.
    owner: AtomicU64,
    /// What is there, made by its owner on first use.
    place: OnceLock<Box<Place<T>>>,
}

/// What a process has.
struct Place<T> {
    /// Its value.
    value: T,
    /// Where descendants' values go once the row that this one is in is full.
    further: PerProcess<T>,
}

impl<T> PerProcess<T> {
    /// Nothing yet.
    pub(crate) const fn new() -> PerProcess<T> {
        PerProcess([const { Berth { owner: AtomicU64::new(0), place: OnceLock::new() } }; ROW])
    }

    /// This process's value, which `make` makes if there is none. `None` if no berth is left, for which `ROW` ancestors
    /// in a row must have forked in the middle of the instant in which another thread made their value.
    pub(crate) fn get(&'static self, make: fn() -> T) -> Option<&'static T> {
        self.get_in(crate::fork::generation(), make)
    }

    /// `get` in the process of the given fork generation.
    pub(crate) fn get_in(&'static self, generation: u64, make: fn() -> T) -> Option<&'static T> {
        let mut row = &self.0;
        loop {
            if let Some(berth) = row.iter().find(|berth| berth.claim(generation + 1)) {
                let new = || Box::new(Place { value: make(), further: PerProcess::new() });
                return Some(&berth.place.get_or_init(new).value);
            }
            // Every berth here is an ancestor's, where nothing changes any more: all threads of
            // this process find the same way on.
            row = &row.iter().rev().find_map(|berth| berth.place.get())?.further.0;
        }
    }
}

impl<T> Berth<T> {
    /// Takes the berth if it is free; true if it is, or was already, `owner`'s.
    fn claim(&self, owner: u64) -> bool {
        // Relaxed: `place` does its own ordering, the claim itself is all there is to agree on.
        match self.owner.load(Ordering::Relaxed) {
            0 => match self.owner.compare_exchange(0, owner, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => true,
                Err(other) => other == owner,
            },
            other => other == owner,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that is not there yet, and lives as long as a static.
    fn nothing() -> &'static PerProcess<u32> {
        Box::leak(Box::new(PerProcess::new()))
    }

    #[test]
    fn a_process_finds_its_own_value_again_and_no_ancestors() {
        let values = nothing();
        for generation in 0..50 {
            let value = values.get_in(generation, || 7).unwrap();
            assert!(std::ptr::eq(value, values.get_in(generation, || 8).unwrap()));
            assert!((0..generation).all(|older| !std::ptr::eq(value, values.get_in(older, || 9).unwrap())));
        }
    }

    #[test]
    fn a_value_that_was_half_made_at_the_fork_is_stepped_over() {
        let values = nothing();
        assert!(values.0[0].claim(1));
        assert!(values.0[1].claim(3));
        values.get_in(3, || 0).unwrap();
        assert!(values.0[3].claim(5));
        let further = values.get_in(5 + 1, || 0).unwrap();
        let child = values.0[2].place.get().unwrap();
        assert!(std::ptr::eq(further, &child.further.0[0].place.get().unwrap().value));
    }

    #[test]
    fn with_all_berths_half_made_there_is_none() {
        let values = nothing();
        (1..).zip(&values.0).for_each(|(owner, berth)| assert!(berth.claim(owner)));
        assert!(values.get_in(ROW as u64, || 0).is_none());
    }
}
