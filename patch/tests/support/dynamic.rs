//! C libraries that are built or loaded when a test runs, so that building the tests needs none of them.
#![allow(dead_code, reason = "each test file uses a part")]

use std::ffi::{CStr, CString, c_int, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A loaded library; never unloaded.
#[derive(Clone, Copy)]
pub(crate) struct Dynamic(*mut c_void);

impl Dynamic {
    /// Loads it. Without it a test fails: it is behind the feature `real`.
    pub(crate) fn load(name: &CStr) -> Option<Dynamic> {
        let found = Dynamic::find(name);
        if found.is_none() {
            if cfg!(feature = "real") {
                panic!("{name:?} is missing");
            }
            eprintln!("skipped: no {name:?}");
        }
        found
    }

    /// Loads it, if it is there.
    pub(crate) fn find(name: &CStr) -> Option<Dynamic> {
        // SAFETY: the constructors of the libraries named in these tests ask for nothing.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
        (!handle.is_null()).then_some(Dynamic(handle))
    }

    /// Loads what `compile` made.
    pub(crate) fn open(file: &Path, flags: c_int) -> Dynamic {
        let path = CString::new(file.to_str().unwrap()).unwrap();
        // SAFETY: the tests' own libraries have no constructors; a message is valid until the next call.
        unsafe {
            let handle = libc::dlopen(path.as_ptr(), flags);
            assert!(!handle.is_null(), "{:?}", CStr::from_ptr(libc::dlerror()));
            Dynamic(handle)
        }
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

/// Makes a shared library of `tests/c/{source}.c`, in a file of its own; `None` without a C compiler.
pub(crate) fn compile(source: &str, name: &str, flags: &[&str]) -> Option<PathBuf> {
    let file = std::env::temp_dir().join(format!("libsward-{name}-{}.so", std::process::id()));
    let source = format!("{}/tests/c/{source}.c", env!("CARGO_MANIFEST_DIR"));
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o"]).arg(&file).arg(source).args(flags);
    match cc.status() {
        Ok(status) => assert!(status.success(), "{cc:?}: {status}"),
        Err(_) if !cfg!(feature = "real") => {
            eprintln!("skipped: no cc");
            return None;
        }
        Err(error) => panic!("{cc:?}: {error}"),
    }
    Some(file)
}
