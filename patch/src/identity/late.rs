//! Libraries that come and go while there are greenlets: who has a block has their thread-locals too.

use std::ffi::{c_int, c_void};

use super::block::Block;
use super::modules::Loaded;
use super::{KNOWN, known, on_hub};
use crate::spin::Spin;
use crate::table::real;

/// As `dlclose(3)`: on the hub's thread pointer, as the library was opened. What was noted of its thread-locals is
/// forgotten: if it comes again, to the same place, they are new.
pub(crate) unsafe fn dlclose(library: *mut c_void) -> c_int {
    // SAFETY: the caller's argument.
    let result = on_hub(|| unsafe { real::dlclose(library) });
    if KNOWN.get().is_some() {
        catch_up();
    }
    result
}

/// What was loaded when blocks were given first values last.
static SEEN: Spin<Option<&'static Loaded>> = Spin::new(None);

/// In a fork's child: whoever held the lock is not there.
pub(super) fn after_fork() {
    SEEN.break_open();
}

/// Gives all blocks first values of thread-locals that have come to be since the last time.
pub(super) fn catch_up() {
    let layout = &known().layout;
    // Before the lock: it may allocate.
    let now = Loaded::now(layout);
    let mut seen = SEEN.lock();
    if let Some(before) = seen.filter(|before| !before.is(now)) {
        // SAFETY: they are loaded while `since` visits them. A thread that uses them in a greenlet already did not
        // wait for the end of `dlopen`.
        now.since(before, &mut |module| unsafe { Block::renew_all(layout, module) });
    }
    *seen = Some(now);
}
