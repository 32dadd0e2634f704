//! Fetches pages with libcurl: a C library as the distribution built it, in greenlets of one thread.
//!
//! `cargo run --features patch --example c_library`; the chapter is `docs/guide/c_library.md`.

use std::ffi::{CString, c_char, c_int, c_long, c_void};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::{Duration, Instant};

// From curl.h.
type Init = unsafe extern "C" fn() -> *mut c_void;
type SetOption = unsafe extern "C" fn(*mut c_void, c_int, ...) -> c_int;
type Perform = unsafe extern "C" fn(*mut c_void) -> c_int;
type Cleanup = unsafe extern "C" fn(*mut c_void);
const NO_SIGNAL: c_int = 99;
const WRITE_DATA: c_int = 10_001;
const URL: c_int = 10_002;
const WRITE_FUNCTION: c_int = 20_011;

fn main() -> ExitCode {
    // SAFETY: libcurl without TLS keeps nothing in thread-locals, and its locks are not held over a wait.
    let report = unsafe { sward::patch::all() };
    let Some(curl) = Curl::load() else {
        println!("this program needs libcurl.so.4 (Debian: apt-get install libcurl4)");
        return ExitCode::SUCCESS;
    };
    println!("{report}");
    let server = match serve() {
        Ok(server) => server,
        Err(error) => {
            eprintln!("c_library: no server: {error}");
            return ExitCode::FAILURE;
        }
    };
    let start = Instant::now();
    let requests: Vec<_> = (0..50).map(|n| sward::spawn(move || curl.get(&format!("http://{server}/{n}")))).collect();
    let (good, bad): (Vec<_>, Vec<_>) = sward::join_all(requests).into_iter().partition(|got| matches!(got, Ok(Ok(_))));
    println!("{} pages in {} ms, {} failures", good.len(), start.elapsed().as_millis(), bad.len());
    print!("{}", sward::patch::stats());
    if bad.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The functions of libcurl that are used here.
#[derive(Clone, Copy)]
struct Curl {
    init: Init,
    set_option: SetOption,
    perform: Perform,
    cleanup: Cleanup,
}

impl Curl {
    /// Loads the library at run time: building this example needs nothing of it.
    fn load() -> Option<Curl> {
        // SAFETY: the types are those of curl.h, and the library is never unloaded.
        unsafe {
            let library = libc::dlopen(c"libcurl.so.4".as_ptr(), libc::RTLD_NOW);
            if library.is_null() {
                return None;
            }
            let find = |name: &std::ffi::CStr| Some(libc::dlsym(library, name.as_ptr())).filter(|f| !f.is_null());
            Some(Curl {
                init: std::mem::transmute::<*mut c_void, Init>(find(c"curl_easy_init")?),
                set_option: std::mem::transmute::<*mut c_void, SetOption>(find(c"curl_easy_setopt")?),
                perform: std::mem::transmute::<*mut c_void, Perform>(find(c"curl_easy_perform")?),
                cleanup: std::mem::transmute::<*mut c_void, Cleanup>(find(c"curl_easy_cleanup")?),
            })
        }
    }

    /// The page, or libcurl's error code.
    fn get(self, url: &str) -> Result<Vec<u8>, c_int> {
        let Ok(url) = CString::new(url) else { return Err(3) };
        let mut page = Vec::<u8>::new();
        // SAFETY: a handle of its own; the options have the types that curl.h says, and outlive it.
        let code = unsafe {
            let handle = (self.init)();
            (self.set_option)(handle, URL, url.as_ptr());
            (self.set_option)(handle, NO_SIGNAL, 1 as c_long);
            (self.set_option)(handle, WRITE_FUNCTION, append as *const c_void);
            (self.set_option)(handle, WRITE_DATA, (&raw mut page).cast::<c_void>());
            let code = (self.perform)(handle); // blocks: here the greenlet parks
            (self.cleanup)(handle);
            code
        };
        if code == 0 { Ok(page) } else { Err(code) }
    }
}

/// Called by libcurl with each piece of a page.
unsafe extern "C" fn append(data: *const c_char, size: usize, count: usize, page: *mut c_void) -> usize {
    // SAFETY: libcurl's buffer, and the page that was given as `WRITE_DATA`.
    unsafe { (*page.cast::<Vec<u8>>()).extend_from_slice(std::slice::from_raw_parts(data.cast(), size * count)) };
    size * count
}

/// A server on std's sockets that takes 200 ms for each page, in the same thread.
fn serve() -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    sward::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            sward::spawn(move || -> std::io::Result<()> {
                let mut lines = BufReader::new(stream.try_clone()?).lines();
                while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
                std::thread::sleep(Duration::from_millis(200));
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\npage\n")
            });
        }
    });
    Ok(address)
}
