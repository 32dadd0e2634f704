//! A global allocator in whose calls no greenlet parks.
//!
//! Whoever allocates takes it for granted that nobody else runs meanwhile: `cell.borrow_mut().push(value)`. An allocator
//! that waits for a lock of std's or libc's would break that, and no hook can tell its lock from another one.

use std::alloc::{GlobalAlloc, Layout};

#[cfg(hooks)]
use crate::gate;

/// An allocator in whose calls hooks are off: a lock that it waits for blocks the thread, for the moment that another thread
/// needs to allocate, and never parks the greenlet.
///
/// For a `#[global_allocator]` that takes locks of libc's or std's, or waits on the futex, in a program that calls
/// [`all`](crate::all). Without it another greenlet may run in the middle of `cell.borrow_mut().push(value)`, and find the
/// cell borrowed. The system's allocator does not need it.
///
/// ```
/// use std::alloc::System;
///
/// // In place of `System`: the allocator of your choice.
/// #[global_allocator]
/// static ALLOCATOR: sward::patch::Allocator<System> = sward::patch::Allocator::new(System);
///
/// assert_eq!(vec![1; 3].len(), 3);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Allocator<A>(A);

impl<A> Allocator<A> {
    /// Lets `allocator` do the work.
    ///
    /// # Panics
    ///
    /// Never.
    ///
    /// ```
    /// # use std::alloc::System;
    /// static ALLOCATOR: sward::patch::Allocator<System> = sward::patch::Allocator::new(System);
    /// ```
    pub const fn new(allocator: A) -> Allocator<A> {
        Allocator(allocator)
    }
}

// SAFETY: all is passed on to an allocator.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Allocator<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        in_place(|| unsafe { self.0.alloc(layout) })
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        in_place(|| unsafe { self.0.alloc_zeroed(layout) })
    }

    #[inline]
    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        in_place(|| unsafe { self.0.realloc(place, layout, size) })
    }

    #[inline]
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        in_place(|| unsafe { self.0.dealloc(place, layout) });
    }
}

/// Calls `f`, which does not unwind, with hooks off. Whoever holds a lock that it waits for has them off too, so does not
/// park, and lets go of it.
#[cfg(hooks)]
#[inline(always)]
fn in_place<T>(f: impl FnOnce() -> T) -> T {
    let was = gate::bar();
    let result = f();
    gate::lift(was);
    result
}

/// Calls `f`: there are no hooks.
#[cfg(not(hooks))]
#[inline(always)]
fn in_place<T>(f: impl FnOnce() -> T) -> T {
    f()
}
