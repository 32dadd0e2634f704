//! Shared libraries in C: linked to nothing of ours, loaded after patching.

#[path = "support/dynamic.rs"]
mod dynamic;
mod support;

use std::cell::OnceCell;
use std::ffi::{c_int, c_long};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

use dynamic::{Dynamic, compile};
use support::{greenlets, ms, patched, takes};
use sward::patch::Coverage;
use sward::sync::Event;

/// `all` looks at every library of the process: one test at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The library's functions.
#[derive(Clone, Copy)]
struct Library {
    sleep: unsafe extern "C" fn(c_int) -> c_int,
    echo: unsafe extern "C" fn(c_int) -> c_long,
    read: unsafe extern "C" fn(c_int, c_int) -> c_long,
}

impl Library {
    /// Builds it under a name of its own and loads it; `None` without a C compiler.
    fn load(name: &str, compiler_flags: &[&str], dlopen_flags: c_int) -> Option<(Library, PathBuf)> {
        let file = compile("library", name, compiler_flags)?;
        let library = Dynamic::open(&file, dlopen_flags);
        // SAFETY: its functions have these types.
        let library = unsafe {
            Library {
                sleep: library.function(c"library_sleep"),
                echo: library.function(c"library_echo"),
                read: library.function(c"library_read"),
            }
        };
        Some((library, file))
    }

    /// Sleeps and echoes in many greenlets at once.
    fn works(self) {
        // SAFETY: takes a number.
        takes(ms(200), ms(600), || greenlets(50, move |_| assert_eq!(unsafe { (self.sleep)(200) }, 0)));
        let (mut a, b) = UnixStream::pair().unwrap();
        // SAFETY: an open socket.
        let echo = sward::spawn(move || unsafe { (self.echo)(b.as_raw_fd()) });
        let client = sward::spawn(move || {
            for round in 0..10u8 {
                let mut byte = [0];
                a.write_all(&[round]).unwrap();
                a.read_exact(&mut byte).unwrap();
                assert_eq!(byte, [round]);
            }
        });
        client.join().unwrap();
        assert_eq!(echo.join().unwrap(), 10);
        let (mut a, b) = UnixStream::pair().unwrap();
        // SAFETY: an open socket, and the buffer is longer.
        let reader = sward::spawn(move || unsafe { (self.read)(b.into_raw_fd(), 4) });
        sward::sleep(ms(5));
        a.write_all(b"four").unwrap();
        assert_eq!(reader.join().unwrap(), 4);
    }
}

#[test]
fn a_library_that_is_loaded_later_is_covered() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    patched("a_library_that_is_loaded_later_is_covered", || {
        let Some((library, file)) = Library::load("plain", &[], libc::RTLD_NOW) else { return };
        library.works();
        // SAFETY: as everywhere in these tests.
        assert_eq!(coverage(&unsafe { sward::patch::all() }, &file), Coverage::Resolved);
        std::fs::remove_file(file).unwrap();
    });
}

#[test]
fn a_lazily_bound_library_is_covered() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    patched("a_lazily_bound_library_is_covered", || {
        let Some((library, file)) = Library::load("lazy", &["-Wl,-z,lazy"], libc::RTLD_LAZY) else { return };
        library.works();
        std::fs::remove_file(file).unwrap();
    });
}

#[test]
fn checked_calls_park_too() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    patched("checked_calls_park_too", || {
        let flags = ["-O2", "-D_FORTIFY_SOURCE=2"];
        let Some((library, file)) = Library::load("fortified", &flags, libc::RTLD_NOW) else { return };
        let before = sward::patch::stats().of("__read_chk").calls;
        library.works();
        assert!(sward::patch::stats().of("__read_chk").calls > before, "{}", sward::patch::stats());
        std::fs::remove_file(file).unwrap();
    });
}

#[test]
fn a_deepbound_library_is_repaired_not_under_asan() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    patched("a_deepbound_library_is_repaired_not_under_asan", || {
        for (name, relro) in [("deep", "-Wl,-z,now"), ("deep-norelro", "-Wl,-z,norelro")] {
            let flags = libc::RTLD_NOW | libc::RTLD_DEEPBIND;
            let Some((library, file)) = Library::load(name, &[relro], flags) else { return };
            // SAFETY: takes a number; and all() as everywhere in these tests.
            unsafe {
                takes(ms(90), ms(10_000), || greenlets(3, move |_| assert_eq!((library.sleep)(30), 0)));
                let found = coverage(&sward::patch::all(), &file);
                assert!(matches!(&found, Coverage::Repaired(names) if names.contains(&"nanosleep")), "{found:?}");
            }
            library.works();
            // SAFETY: as above.
            assert_eq!(coverage(&unsafe { sward::patch::all() }, &file), Coverage::Resolved);
            std::fs::remove_file(file).unwrap();
        }
    });
}

fn coverage(report: &sward::patch::Report, file: &std::path::Path) -> Coverage {
    let object = report.objects().iter().find(|object| object.name == file.to_str().unwrap());
    object.unwrap_or_else(|| panic!("{report}")).coverage.clone()
}

/// What the constructor saw, and a thread's count.
type Locals = [unsafe extern "C" fn() -> c_long; 2];

/// Loads a library with thread-locals of that kind; its functions.
fn thread_locals(model: &str) -> Option<Locals> {
    let define = format!("-DTLS_MODEL=\"{model}\"");
    let file = compile("thread_locals", &format!("locals-{model}"), &[&define])?;
    let library = Dynamic::open(&file, libc::RTLD_NOW);
    std::fs::remove_file(file).unwrap();
    // SAFETY: its functions have this type.
    Some(unsafe { [library.function(c"locals_seen_by_constructor"), library.function(c"locals_count")] })
}

#[test]
fn greenlets_have_the_thread_locals_of_a_library_that_comes_late() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    patched("greenlets_have_the_thread_locals_of_a_library_that_comes_late", || {
        for model in ["initial-exec", "global-dynamic"] {
            // Spares that are older than the library.
            greenlets(3, |_| sward::yield_now());
            let (library, loaded) = (Rc::new(OnceCell::<Option<Locals>>::new()), Rc::new(Event::new()));
            let (theirs, is_loaded) = (library.clone(), loaded.clone());
            let older = sward::spawn(move || {
                is_loaded.wait();
                let Some([_, count]) = *theirs.get().unwrap() else { return };
                // SAFETY: takes nothing.
                assert_eq!(unsafe { [count(), count()] }, [5, 6], "{model}");
            });
            let opener = sward::spawn(move || library.set(thread_locals(model)).map(|()| library));
            let library = opener.join().unwrap().unwrap();
            loaded.set();
            older.join().unwrap();
            let Some([seen, count]) = *library.get().unwrap() else { return };
            // SAFETY: takes nothing.
            assert_eq!(unsafe { seen() }, 5, "{model}");
            for _ in 0..2 {
                greenlets(10, move |_| {
                    // SAFETY: takes nothing.
                    assert_eq!(unsafe { count() }, 5, "{model}");
                    sward::yield_now();
                    // SAFETY: takes nothing.
                    assert_eq!(unsafe { count() }, 6, "{model}");
                });
            }
            // SAFETY: takes nothing.
            assert_eq!(unsafe { count() }, 5, "the root has its own");
        }
    });
}

#[test]
fn a_library_that_is_not_there_is_a_message_in_a_greenlet_too() {
    patched("a_library_that_is_not_there_is_a_message_in_a_greenlet_too", || {
        sward::spawn(|| {
            // SAFETY: C strings; the message is valid until the next call.
            let message = unsafe {
                assert!(libc::dlopen(c"/no/such/library.so".as_ptr(), libc::RTLD_NOW).is_null());
                std::ffi::CStr::from_ptr(libc::dlerror()).to_str().unwrap()
            };
            assert!(message.contains("/no/such/library.so"), "{message}");
        })
        .join()
        .unwrap();
    });
}
