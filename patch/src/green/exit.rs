//! The end of the process. `exit` runs destructors of thread-locals, in which a greenlet may park: then others of its
//! thread run, and may want to end the process too. Who comes second has to wait (std does so by `pause`), but must
//! not stop the thread on which the first one is to go on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use libc::{ECANCELED, c_int};
use sward_runtime::lowlevel::hooks::{self, Ended};

use crate::function::Function;
use crate::gate::{self, fail};
use crate::table::real;

/// How long a wait without end is at a time: one that can end by itself is not in a deadlock.
const LONG: Duration = Duration::from_secs(3600);

/// Who ends the process, as `pthread_self` says; 0: nobody.
static ENDING: AtomicUsize = AtomicUsize::new(0);

/// As `exit(3)`.
pub(crate) unsafe fn exit(status: c_int) -> ! {
    // SAFETY: takes nothing.
    let me = unsafe { libc::pthread_self() } as usize;
    if ENDING.compare_exchange(0, me, Ordering::Relaxed, Ordering::Relaxed).is_err_and(|other| other != me) {
        while run_others() {}
    }
    // SAFETY: the caller's promise.
    unsafe { real::exit(status) }
}

/// As `pause(2)`; no signal ends it in a greenlet, which is not in the kernel.
pub(crate) unsafe fn pause(function: &'static Function) -> c_int {
    if !gate::is_shut()
        && let Some(inside) = gate::enter(function)
    {
        while inside.sleep(Instant::now().checked_add(LONG)) != Ended::Interrupted {}
        return fail(ECANCELED);
    }
    while ENDING.load(Ordering::Relaxed) != 0 && run_others() {}
    // SAFETY: takes nothing.
    unsafe { real::pause() }
}

/// Lets the thread's greenlets run instead of the caller, for long; false if it is not one of them, nor their root.
fn run_others() -> bool {
    let may_park = gate::is_open() && (hooks::on_greenlet() || hooks::on_root());
    if may_park {
        hooks::wait("exit", false, Instant::now().checked_add(LONG));
    }
    may_park
}
