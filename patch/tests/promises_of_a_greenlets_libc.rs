//! What libc keeps for a thread, and what it asks a thread's number for, when the thread is a greenlet.
#![cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]

mod support;

use support::patched;
use sward::{spawn, yield_now};

#[test]
fn what_libc_keeps_for_a_thread_is_not_shared_nor_left_behind() {
    /// A message that libc makes in a buffer of the thread's own.
    fn message(number: i32) -> *const std::ffi::c_char {
        // SAFETY: takes a number.
        unsafe { libc::strerror(number) }
    }
    fn says(message: *const std::ffi::c_char, number: i32) {
        // SAFETY: valid until this thread's next call.
        let text = unsafe { std::ffi::CStr::from_ptr(message) };
        assert!(text.to_str().unwrap().ends_with(&number.to_string()), "{text:?} is not about {number}");
    }
    patched("what_libc_keeps_for_a_thread_is_not_shared_nor_left_behind", || {
        message(90_000);
        let greenlets = (1..=3).map(|i| {
            spawn(move || {
                let own = message(90_000 + i);
                yield_now();
                says(own, 90_000 + i);
            })
        });
        let greenlets: Vec<_> = greenlets.collect();
        yield_now();
        let own = message(99_999);
        sward::join_all(greenlets).into_iter().for_each(|result| result.unwrap());
        says(own, 99_999);
        // SAFETY: a C string that names no file.
        let fails = || unsafe { libc::dlopen(c"/no/such/library".as_ptr(), libc::RTLD_NOW) };
        assert!(spawn(fails).join().unwrap().is_null());
        // SAFETY: takes nothing.
        assert!(spawn(|| unsafe { libc::dlerror() }).join().unwrap().is_null(), "another greenlet's error");
    });
}
