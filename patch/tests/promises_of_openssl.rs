//! OpenSSL keeps its errors in a queue of the thread's: here, of the greenlet's.

#[path = "support/dynamic.rs"]
mod dynamic;
mod support;

use std::ffi::{c_char, c_int, c_ulong};

use dynamic::Dynamic;
use support::{greenlets, ms, patched};

/// The functions of libcrypto that are used.
#[derive(Clone, Copy)]
struct Errors {
    new: unsafe extern "C" fn(),
    set: unsafe extern "C" fn(c_int, c_int, *const c_char, ...),
    get: unsafe extern "C" fn() -> c_ulong,
}

impl Errors {
    /// Queues an error of a program's own (`ERR_LIB_USER`).
    fn queue(self, reason: c_int) {
        // SAFETY: no text goes with it.
        unsafe {
            (self.new)();
            (self.set)(128, reason, std::ptr::null());
        }
    }

    /// Takes the reason of the first one; 0 if there is none.
    fn take(self) -> c_int {
        // SAFETY: takes nothing.
        (unsafe { (self.get)() } & 0x7f_ffff) as c_int
    }
}

#[test]
fn each_greenlet_has_its_own_queue_of_openssl_errors() {
    patched("each_greenlet_has_its_own_queue_of_openssl_errors", || {
        let Some(library) = Dynamic::load(c"libcrypto.so.3") else { return };
        // SAFETY: the types are those of err.h.
        let errors = unsafe {
            Errors {
                new: library.function(c"ERR_new"),
                set: library.function(c"ERR_set_error"),
                get: library.function(c"ERR_get_error"),
            }
        };
        errors.queue(1);
        greenlets(50, move |number| {
            assert_eq!(errors.take(), 0, "a new greenlet has none");
            errors.queue(100 + number as c_int);
            std::thread::sleep(ms(20));
            errors.queue(200 + number as c_int);
            std::thread::sleep(ms(20));
            assert_eq!(errors.take(), 100 + number as c_int);
            assert_eq!(errors.take(), 200 + number as c_int);
            assert_eq!(errors.take(), 0);
            errors.queue(300);
        });
        assert_eq!(errors.take(), 1, "the thread's own");
        assert_eq!(errors.take(), 0);
    });
}
