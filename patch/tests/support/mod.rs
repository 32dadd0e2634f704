//! What the tests share.
#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod locks;

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// As [`patched`], and sure that locks park.
#[track_caller]
pub(crate) fn patched_with_locks(name: &'static str, f: impl FnOnce() + Send + 'static) {
    patched(name, move || {
        // SAFETY: as there.
        let report = unsafe { sward::patch::all() };
        assert!(report.locks(), "{report}");
        f();
    });
}

/// Runs `f` on a thread of its own, patched; aborts, with the test's name, if it takes too long.
#[track_caller]
pub(crate) fn patched(name: &'static str, f: impl FnOnce() + Send + 'static) {
    // SAFETY: the tests rely on no call leaving other greenlets alone.
    let report = unsafe { sward::patch::all() };
    assert!(report.blocking_calls(), "{report}");
    let (done, is_done) = mpsc::channel::<()>();
    let watchdog = thread::spawn(move || {
        let limit = Duration::from_secs(if slow() { 300 } else { 30 });
        if is_done.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("{name}: hangs; aborting");
            std::process::abort();
        }
    });
    let result = thread::Builder::new().name(name.into()).spawn(f).unwrap().join();
    drop(done);
    watchdog.join().unwrap();
    if let Err(payload) = result {
        std::panic::resume_unwind(payload);
    }
}

/// libc's own function.
///
/// # Safety
///
/// `F` must be its type.
pub(crate) unsafe fn past_the_hooks<F: Copy>(name: &std::ffi::CStr) -> F {
    const { assert!(size_of::<F>() == size_of::<*mut std::ffi::c_void>()) };
    // SAFETY: libc is loaded; the caller vouches for the type.
    unsafe {
        let libc = libc::dlopen(c"libc.so.6".as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD);
        let found = libc::dlsym(libc, name.as_ptr());
        assert!(!found.is_null());
        std::mem::transmute_copy(&found)
    }
}

/// Whether the machine is slowed down: valgrind, a sanitizer.
pub(crate) fn slow() -> bool {
    std::env::var_os("SWARD_SLOW").is_some()
}

/// Asserts that `f` takes at least `least` and, unless the machine is slow, less than `most`.
#[track_caller]
pub(crate) fn takes<T>(least: Duration, most: Duration, f: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let value = f();
    let taken = start.elapsed();
    assert!(taken >= least, "took {taken:?}, at least {least:?} expected");
    assert!(slow() || taken < most, "took {taken:?}, less than {most:?} expected");
    value
}

/// Runs `f` in `count` greenlets and gives their results in order.
#[track_caller]
pub(crate) fn greenlets<T: 'static>(count: usize, f: impl Fn(usize) -> T + 'static) -> Vec<T> {
    let f = std::rc::Rc::new(f);
    let all: Vec<_> = (0..count)
        .map(|number| {
            let f = f.clone();
            sward::spawn(move || f(number))
        })
        .collect();
    sward::join_all(all).into_iter().map(|result| result.expect("no greenlet fails")).collect()
}

/// Milliseconds.
pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
