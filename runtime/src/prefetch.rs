//! Fetching memory before it is needed: a hint to the processor, which goes on with its work meanwhile.

use crate::greenlet::prefetch_stack;
use crate::scheduler::Hub;

/// Greenlets whose memory is fetched at a time, which divides the switches of a turn. One at a time, each would wait
/// for the look-up of its pages, which takes long if there are many, above all in a virtual machine; the processor makes
/// several look-ups at once.
const FETCHED_AHEAD: u32 = 16;

/// Bytes that the processor fetches at once.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;

/// Asks the processor to fetch the `len` bytes at `start`, which may be any address; changes nothing.
#[inline]
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
pub(crate) fn prefetch(start: *const u8, len: usize) {
    #[cfg(target_arch = "x86_64")]
    for at in (0..len).step_by(LINE) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch is a hint: it does not read as far as the program can tell, and cannot fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(at).cast()) };
    }
}

/// Asks the processor to fetch `value`, and the counts that stand before it if it is in an `Rc`: it will be used soon, but
/// first there is something else to do. Changes nothing.
///
/// ```
/// let objects: Vec<Box<[u8; 100]>> = (0..100).map(|n| Box::new([n; 100])).collect();
/// let mut sum = 0;
/// for at in 0..objects.len() {
///     if let Some(later) = objects.get(at + 2) {
///         sward::lowlevel::fetch_ahead(&**later);
///     }
///     sum += usize::from(objects[at][50]);
/// }
/// assert_eq!(sum, 4950);
/// ```
#[inline]
pub fn fetch_ahead<T: ?Sized>(value: &T) {
    const COUNTS: usize = 2 * size_of::<usize>();
    prefetch((&raw const *value).cast::<u8>().wrapping_sub(COUNTS), COUNTS + size_of_val(value));
}

impl Hub {
    /// Fetches the memory of those that run next, as many as run until this does so again: called by a greenlet that was
    /// woken by an event, before its system call.
    #[inline(always)]
    pub(crate) fn prefetch_next(&self) {
        if self.budget.get().is_multiple_of(FETCHED_AHEAD) {
            self.prefetch_first();
        }
    }

    /// Fetches the memory of the first greenlets in the ready queue.
    #[inline(never)]
    pub(crate) fn prefetch_first(&self) {
        let mut next = self.head.get();
        for _ in 0..FETCHED_AHEAD {
            let Some(slot) = next else { return };
            prefetch_stack(slot);
            next = slot.next.get();
        }
    }
}
