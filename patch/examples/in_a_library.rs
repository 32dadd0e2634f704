//! sward inside a shared library, as a plugin has it: symbol resolution found libc's functions for the
//! host program long before this was loaded. `tests/promises_of_plugins.rs` loads it into Python.

use std::time::{Duration, Instant};

/// Sleeps 20 times 50 ms side by side, and returns how many milliseconds that took; -1 if the report
/// does not say that everything but libc itself is covered.
#[unsafe(no_mangle)]
pub extern "C" fn sleep_side_by_side() -> i32 {
    // SAFETY: the greenlets only sleep.
    let report = unsafe { sward::patch::all() };
    println!("{report}");
    let uncovered = report.objects().iter().any(|object| {
        let libc = object.name.contains("libc.so") || object.name.contains("ld-linux");
        !libc && matches!(object.coverage, sward::patch::Coverage::NotReached(_))
    });
    if uncovered {
        return -1;
    }
    let start = Instant::now();
    let sleepers = (0..20).map(|_| sward::spawn(|| std::thread::sleep(Duration::from_millis(50))));
    sward::join_all(sleepers);
    start.elapsed().as_millis() as i32
}

/// Calls a function of the host in 20 greenlets side by side; milliseconds.
///
/// # Safety
///
/// `call` must be safe to call in greenlets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn call_side_by_side(call: extern "C" fn(u32) -> i32, argument: u32) -> i32 {
    let start = Instant::now();
    sward::join_all((0..20).map(|_| sward::spawn(move || call(argument))));
    start.elapsed().as_millis() as i32
}
