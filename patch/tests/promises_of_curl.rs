//! libcurl, as the distribution built it, against a server in the same thread that is std's.

#[path = "support/dynamic.rs"]
mod dynamic;
mod support;

use std::ffi::{CString, c_char, c_int, c_long, c_void};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};

use dynamic::Dynamic;
use support::{greenlets, ms, patched, takes};

/// The functions of libcurl that are used, and the numbers of its options from `curl.h`.
#[derive(Clone, Copy)]
struct Curl {
    init: unsafe extern "C" fn() -> *mut c_void,
    setopt: unsafe extern "C" fn(*mut c_void, c_int, ...) -> c_int,
    perform: unsafe extern "C" fn(*mut c_void) -> c_int,
    cleanup: unsafe extern "C" fn(*mut c_void),
}

const WRITEDATA: c_int = 10_001;
const URL: c_int = 10_002;
const WRITEFUNCTION: c_int = 20_011;
const NOSIGNAL: c_int = 99;

impl Curl {
    fn load() -> Option<Curl> {
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

    /// Fetches `url`: libcurl's code, and the body.
    fn get(self, url: &str) -> (c_int, String) {
        let (url, mut body) = (CString::new(url).unwrap(), Vec::<u8>::new());
        // SAFETY: a handle of its own, options of the right types, and what they name outlives it.
        let code = unsafe {
            let handle = (self.init)();
            (self.setopt)(handle, URL, url.as_ptr());
            (self.setopt)(handle, NOSIGNAL, 1 as c_long);
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

/// A server that answers with the path of the request, 200 ms later.
fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    sward::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            sward::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let request = lines.next().unwrap().unwrap();
                lines.find(|line| line.as_ref().is_ok_and(String::is_empty));
                let path = request.split(' ').nth(1).unwrap();
                std::thread::sleep(ms(200));
                let len = path.len();
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n{path}").unwrap();
            });
        }
    });
    address
}

#[test]
fn fifty_requests_of_libcurl_take_as_long_as_one() {
    patched("fifty_requests_of_libcurl_take_as_long_as_one", || {
        let Some(curl) = Curl::load() else { return };
        let address = serve();
        takes(ms(200), ms(1000), || {
            greenlets(50, move |number| {
                let expected = format!("/{number}");
                assert_eq!(curl.get(&format!("http://{address}{expected}")), (0, expected));
            })
        });
        println!("{}", sward::patch::stats());
    });
}

#[test]
fn a_kill_inside_libcurl_ends_the_request_and_the_greenlet() {
    patched("a_kill_inside_libcurl_ends_the_request_and_the_greenlet", || {
        let Some(curl) = Curl::load() else { return };
        // Accepts nobody: the backlog lets the client connect, and then it waits.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let g = sward::spawn(move || {
            let (code, _) = curl.get(&format!("http://{address}/"));
            assert_ne!(code, 0, "libcurl was told of an error");
            sward::yield_now();
        });
        sward::sleep(ms(30));
        g.kill();
        takes(ms(0), ms(1000), || assert!(g.join().unwrap_err().is_killed()));
    });
}
