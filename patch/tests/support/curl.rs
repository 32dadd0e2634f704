//! libcurl, as the distribution built it.

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_void};

use crate::dynamic::Dynamic;

/// The functions of libcurl that are used, and the numbers of its options from `curl.h`.
#[derive(Clone, Copy)]
pub(crate) struct Curl {
    init: unsafe extern "C" fn() -> *mut c_void,
    setopt: unsafe extern "C" fn(*mut c_void, c_int, ...) -> c_int,
    perform: unsafe extern "C" fn(*mut c_void) -> c_int,
    cleanup: unsafe extern "C" fn(*mut c_void),
}

const WRITEDATA: c_int = 10_001;
const URL: c_int = 10_002;
const WRITEFUNCTION: c_int = 20_011;
const CAINFO: c_int = 10_065;
const NOSIGNAL: c_int = 99;

impl Curl {
    /// Loads it and sets it up.
    pub(crate) fn load() -> Option<Curl> {
        let library = Dynamic::load(c"libcurl.so.4")?;
        // SAFETY: the types are those of curl.h; the global part is set up once, here.
        unsafe {
            let global: unsafe extern "C" fn(c_long) -> c_int = library.function(c"curl_global_init");
            assert_eq!(global(3), 0);
            Some(Curl {
                init: library.function(c"curl_easy_init"),
                setopt: library.function(c"curl_easy_setopt"),
                perform: library.function(c"curl_easy_perform"),
                cleanup: library.function(c"curl_easy_cleanup"),
            })
        }
    }

    /// Fetches `url`: libcurl's code, and the body. With https, `certificates` names the file of those to be trusted.
    pub(crate) fn get(self, url: &str, certificates: Option<&CStr>) -> (c_int, String) {
        let (url, mut body) = (CString::new(url).unwrap(), Vec::<u8>::new());
        // SAFETY: a handle of its own, options of the right types, and what they name outlives it.
        let code = unsafe {
            let handle = (self.init)();
            (self.setopt)(handle, URL, url.as_ptr());
            (self.setopt)(handle, NOSIGNAL, 1 as c_long);
            if let Some(certificates) = certificates {
                (self.setopt)(handle, CAINFO, certificates.as_ptr());
            }
            (self.setopt)(handle, WRITEFUNCTION, append as *const c_void);
            (self.setopt)(handle, WRITEDATA, (&raw mut body).cast::<c_void>());
            let code = (self.perform)(handle);
            (self.cleanup)(handle);
            code
        };
        (code, String::from_utf8(body).unwrap())
    }
}

unsafe extern "C" fn append(data: *const c_char, size: usize, count: usize, body: *mut c_void) -> usize {
    // SAFETY: libcurl's buffer, and the vector that was given as WRITEDATA.
    unsafe { (*body.cast::<Vec<u8>>()).extend_from_slice(std::slice::from_raw_parts(data.cast(), size * count)) };
    size * count
}
