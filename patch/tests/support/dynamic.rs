//! C libraries that are loaded when a test runs, so that building the tests needs none of them.

use std::ffi::{CStr, c_void};

/// A loaded library; never unloaded.
#[derive(Clone, Copy)]
pub(crate) struct Dynamic(*mut c_void);

impl Dynamic {
    /// Loads it. Without it a test is skipped, but fails where `./test` has installed everything.
    pub(crate) fn load(name: &CStr) -> Option<Dynamic> {
        // SAFETY: the constructors of the libraries named in these tests ask for nothing.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
        if handle.is_null() {
            assert!(std::env::var_os("SWARD_REQUIRE_TOOLS").is_none(), "{name:?} is missing");
            eprintln!("skipped: no {name:?}");
            return None;
        }
        Some(Dynamic(handle))
    }

    /// One of its functions.
    ///
    /// # Safety
    ///
    /// `F` must be the function's type.
    pub(crate) unsafe fn function<F: Copy>(self, name: &CStr) -> F {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        // SAFETY: the handle is never closed.
        let found = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        assert!(!found.is_null(), "no function {name:?}");
        // SAFETY: the caller vouches for the type, which is a function pointer's.
        unsafe { std::mem::transmute_copy(&found) }
    }
}
