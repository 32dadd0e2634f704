//! How large stacks may be, and how a slot is divided. Pure arithmetic: no memory is touched here.

use std::io;

/// Usable bytes of a stack when nobody asks for a size.
pub(super) const DEFAULT: usize = 256 << 10;
/// Usable bytes of the smallest stack: enough for a panic to print its message and to unwind in a
/// debug build.
pub(super) const MINIMUM: usize = 32 << 10;
/// Usable bytes of the largest stack. More than that is a mistake in somebody's arithmetic.
pub(super) const MAXIMUM: usize = if usize::BITS >= 64 { 1 << 34 } else { 1 << 28 };

/// Bytes of a guard. Rust touches every page of a large frame in order; C does not, and may step
/// over a guard of one page.
pub(super) const GUARD: usize = 64 << 10;
/// Bytes of a guard where C code runs in greenlets without a look at what it needs: distributions build
/// libraries without stack probes, and frames of 128 KiB were found in them.
pub(super) const WIDE_GUARD: usize = 256 << 10;

/// Stack `i` starts `i % COLOURS` times this many bytes below the top of its slot. Without it the
/// hot ends of all stacks would have equal low address bits and compete for the same cache lines.
pub(super) const COLOUR: usize = 128;
/// Number of different starts. Each one more is a page more for every so many stacks whose greenlets use just less than
/// one: with 16, a connection that waits for a read took 6.13 KiB, with 15 it takes 5.93.
pub(super) const COLOURS: usize = 15;

/// The unit in which usable sizes are kept, and the smallest page there is.
pub(crate) const UNIT: usize = 4096;

/// How each slot of one size class is divided; all sizes are whole pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Bytes of a page.
    pub(super) page: usize,
    /// Bytes that each stack promises.
    pub(super) usable: usize,
    /// Bytes of the guard: a power of two.
    pub(super) guard: usize,
    /// Bytes from one slot to the next: guard, usable bytes and a page to colour in.
    pub(super) slot: usize,
}

impl Layout {
    /// The layout of the size class that `requested` usable bytes belong to.
    ///
    /// Below a wide guard stacks have the default size at least: code that needs the one needs the other.
    ///
    /// Requests are rounded up to `MINIMUM` and then to the next of four steps between one power of
    /// two and the next, so that a program that asks for many sizes has few classes. A step is an
    /// even number of pages and so a slot an odd one: with an even one the top pages of all stacks
    /// would compete for a few sets of the TLB.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if that is more than `MAXIMUM`.
    pub(super) fn of(requested: usize, page: usize, guard: usize) -> io::Result<Layout> {
        debug_assert!(guard.is_power_of_two() && guard >= GUARD);
        debug_assert!(page.is_power_of_two() && (UNIT..=GUARD).contains(&page));
        if requested > MAXIMUM {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a greenlet cannot have a stack of {requested} bytes; the most is {MAXIMUM} bytes"),
            ));
        }
        let wanted = requested.max(if guard == GUARD { MINIMUM } else { DEFAULT });
        let step = ((1 << wanted.ilog2()) / 4).max(2 * page);
        let usable = wanted.next_multiple_of(step);
        Ok(Layout { page, usable, guard, slot: guard + usable + page })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_rounded_up_and_never_by_more_than_a_quarter() {
        for page in [4096, 16384, 65536] {
            for requested in (0..4 << 20).step_by(1000).chain([MAXIMUM - 1, MAXIMUM]) {
                let Layout { usable, slot, .. } = Layout::of(requested, page, GUARD).unwrap();
                assert!(usable >= requested && usable >= MINIMUM);
                assert!(usable <= (requested.max(MINIMUM) * 5 / 4).max(requested.max(MINIMUM) + 2 * page));
                assert_eq!(usable % page, 0);
                assert_eq!(Layout::of(usable, page, GUARD).unwrap().usable, usable, "rounding is idempotent");
                assert!(slot >= usable + GUARD + COLOUR * COLOURS);
                assert_eq!(slot % page, 0);
            }
        }
    }

    #[test]
    fn slots_are_an_odd_number_of_small_pages() {
        for requested in (0..8 << 20).step_by(3000) {
            for guard in [GUARD, WIDE_GUARD] {
                assert_eq!(Layout::of(requested, 4096, guard).unwrap().slot / 4096 % 2, 1);
            }
        }
    }

    #[test]
    fn the_default_is_a_class_of_its_own_size() {
        for guard in [GUARD, WIDE_GUARD] {
            assert_eq!(Layout::of(DEFAULT, 4096, guard).unwrap().usable, DEFAULT);
        }
    }

    #[test]
    fn below_a_wide_guard_no_stack_is_small() {
        for requested in [0, MINIMUM, DEFAULT - 1, DEFAULT, DEFAULT + 1] {
            let layout = Layout::of(requested, 4096, WIDE_GUARD).unwrap();
            assert_eq!(layout.guard, WIDE_GUARD);
            assert!(layout.usable >= DEFAULT.max(requested), "{layout:?}");
            assert!(layout.slot >= WIDE_GUARD + layout.usable + COLOUR * COLOURS);
        }
    }

    #[test]
    fn impossible_sizes_are_refused_with_the_limit_in_the_message() {
        for requested in [MAXIMUM + 1, usize::MAX / 2, usize::MAX - 4095, usize::MAX] {
            let error = Layout::of(requested, 4096, GUARD).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains(&MAXIMUM.to_string()), "{error}");
        }
    }
}
