//! A lock for a few instructions, which never calls what is hooked.
//!
//! std's and libc's locks ask the kernel to wait through functions that this crate stands in for,
//! and so could park a greenlet where nothing may be switched. Whoever holds this one does not
//! allocate, park or call back.

use std::cell::UnsafeCell;
use std::hint;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};

/// Looks at the lock before the processor is given away: its holder may have lost it.
const SPINS: u32 = 100;

/// A value that one thread uses at a time.
pub(crate) struct Spin<T> {
    /// Whether somebody holds it.
    held: AtomicBool,
    /// The value.
    value: UnsafeCell<T>,
}

// SAFETY: a reference to the value exists only in a `Held`, of which there is one at a time.
unsafe impl<T: Send> Sync for Spin<T> {}

impl<T> Spin<T> {
    /// A free lock.
    pub(crate) const fn new(value: T) -> Spin<T> {
        Spin { held: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Takes the lock if it is free.
    fn try_lock(&self) -> Option<Held<'_, T>> {
        (!self.held.swap(true, Ordering::Acquire)).then(|| Held(self))
    }

    /// Waits for the lock and takes it.
    pub(crate) fn lock(&self) -> Held<'_, T> {
        let mut looks = 0;
        loop {
            if let Some(held) = self.try_lock() {
                return held;
            }
            looks += 1;
            if looks % SPINS == 0 {
                // SAFETY: takes nothing. By the system call: `sched_yield` is hooked.
                unsafe { libc::syscall(libc::SYS_sched_yield) };
            }
            hint::spin_loop();
        }
    }

    /// Takes it away from whoever holds it: in a fork's child, where that thread does not exist. Whether anybody did.
    pub(crate) fn break_open(&self) -> bool {
        self.held.swap(false, Ordering::AcqRel)
    }
}

/// The right to use the value.
pub(crate) struct Held<'a, T>(&'a Spin<T>);

impl<T> Deref for Held<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the lock is held, so nobody else has a reference.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Held<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Held<'_, T> {
    fn drop(&mut self) {
        self.0.held.store(false, Ordering::Release);
    }
}
