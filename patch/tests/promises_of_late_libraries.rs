//! Libraries that come and go while greenlets run: each test in a process of its own, since what is loaded is the
//! process's.

#[path = "support/dynamic.rs"]
mod dynamic;
#[path = "support/own_process.rs"]
mod own_process;
mod support;

use std::cell::Cell;
use std::ffi::{CString, c_char, c_long, c_void};
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use dynamic::{Dynamic, compile};
use own_process::in_own_process;
use support::{ms, patched_with_locks};

/// Runs `body` in a process of its own, and looks how that has ended.
#[track_caller]
fn alone(test: &'static str, body: impl FnOnce() + Send + 'static) {
    if let Some(output) = in_own_process(test, || patched_with_locks(test, body)) {
        assert!(output.status.success(), "{output:?}");
    }
}

/// A file's name, as C wants it.
fn name(file: &Path) -> CString {
    CString::new(file.to_str().unwrap()).unwrap()
}

/// Lets the constructors of `hook.c` call `f`.
fn set_hook(f: extern "C" fn()) {
    let address = CString::new(format!("{:x}", f as *const () as usize)).unwrap();
    // SAFETY: two C strings; nobody else looks at the environment.
    unsafe { libc::setenv(c"SWARD_TEST_HOOK".as_ptr(), address.as_ptr(), 1) };
}

/// `library_open` of `opens.c`, told to search the folder of the test's libraries.
fn opener() -> Option<unsafe extern "C" fn(*const c_char) -> *mut c_void> {
    let folder = format!("-Wl,-rpath,{}", std::env::temp_dir().display());
    let file = compile("opens", "opens", &[&folder])?;
    let library = Dynamic::open(&file, libc::RTLD_NOW);
    std::fs::remove_file(file).unwrap();
    // SAFETY: the function's type.
    Some(unsafe { library.function(c"library_open") })
}

#[test]
fn a_constructor_does_not_park_while_the_loader_is_locked() {
    alone("a_constructor_does_not_park_while_the_loader_is_locked", || {
        extern "C" fn sleeps() {
            thread::sleep(ms(50));
        }
        let (Some(open), Some(file)) = (opener(), compile("hook", "late-hook", &[])) else { return };
        set_hook(sleeps);
        let bare = CString::new(file.file_name().unwrap().to_str().unwrap()).unwrap();
        let opens = sward::spawn(move || {
            // SAFETY: a C string.
            assert!(!unsafe { open(bare.as_ptr()) }.is_null(), "it is searched where the caller says");
        });
        let looks = sward::spawn(|| {
            // SAFETY: a C string. Waits for the loader's lock.
            assert!(!unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"getpid".as_ptr()) }.is_null());
        });
        looks.join().unwrap();
        opens.join().unwrap();
        std::fs::remove_file(file).unwrap();
    });
}

#[test]
fn a_library_that_a_library_opens_by_its_bare_name_brings_its_thread_locals() {
    alone("a_library_that_a_library_opens_by_its_bare_name_brings_its_thread_locals", || {
        let model = "-DTLS_MODEL=\"initial-exec\"";
        let (Some(open), Some(file)) = (opener(), compile("thread_locals", "late-locals", &[model])) else { return };
        let bare = CString::new(file.file_name().unwrap().to_str().unwrap()).unwrap();
        let found = Rc::new(Cell::new(None::<unsafe extern "C" fn() -> c_long>));
        let theirs = found.clone();
        let older = sward::spawn(move || {
            sward::yield_now();
            // SAFETY: the function's type.
            assert_eq!(unsafe { (theirs.get().unwrap())() }, 5);
        });
        sward::yield_now();
        // SAFETY: a C string, and the function's type.
        unsafe {
            let library = open(bare.as_ptr());
            assert!(!library.is_null());
            let count = libc::dlsym(library, c"locals_count".as_ptr());
            found.set(Some(std::mem::transmute::<*mut c_void, unsafe extern "C" fn() -> c_long>(count)));
        }
        older.join().unwrap();
        std::fs::remove_file(file).unwrap();
    });
}

#[test]
fn thread_locals_are_new_when_a_library_goes_and_comes_again() {
    alone("thread_locals_are_new_when_a_library_goes_and_comes_again", || {
        let Some(file) = compile("thread_locals", "again", &["-DTLS_MODEL=\"initial-exec\""]) else { return };
        let file_name = name(&file);
        // SAFETY: C strings, the function's type, and the library is not used once it was closed.
        let open = move || unsafe {
            let library = libc::dlopen(file_name.as_ptr(), libc::RTLD_NOW);
            assert!(!library.is_null());
            let count = libc::dlsym(library, c"locals_count".as_ptr());
            (library, std::mem::transmute::<*mut c_void, unsafe extern "C" fn() -> c_long>(count))
        };
        let (library, count) = open();
        let current = Rc::new(Cell::new(count));
        let theirs = current.clone();
        let greenlet = sward::spawn(move || {
            // SAFETY: the function of the library that is loaded.
            let counts = || unsafe { [(theirs.get())(), (theirs.get())()] };
            assert_eq!(counts(), [5, 6]);
            sward::yield_now();
            assert_eq!(counts(), [5, 6], "as on a thread");
        });
        sward::yield_now();
        // SAFETY: opened above, and its functions are not called any more.
        assert_eq!(unsafe { libc::dlclose(library) }, 0);
        let (_, count) = open();
        current.set(count);
        greenlet.join().unwrap();
        std::fs::remove_file(file).unwrap();
    });
}

#[test]
fn greenlets_end_while_a_constructor_runs() {
    /// How many have ended, and whether the constructor has seen that.
    static ENDED: AtomicUsize = AtomicUsize::new(0);
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn waits() {
        let before = ENDED.load(Ordering::SeqCst);
        while ENDED.load(Ordering::SeqCst) < before + 10 {
            // SAFETY: takes nothing.
            unsafe { libc::sched_yield() };
        }
        SEEN.store(1, Ordering::SeqCst);
    }
    alone("greenlets_end_while_a_constructor_runs", || {
        let Some(file) = compile("hook", "late-waits", &[]) else { return };
        let hub = thread::spawn(|| {
            while SEEN.load(Ordering::SeqCst) == 0 {
                sward::spawn(sward::yield_now).join().unwrap();
                ENDED.fetch_add(1, Ordering::SeqCst);
            }
        });
        while ENDED.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        set_hook(waits);
        Dynamic::open(&file, libc::RTLD_NOW);
        hub.join().unwrap();
        std::fs::remove_file(file).unwrap();
    });
}

#[test]
fn a_library_that_comes_and_goes_leaves_nothing_behind() {
    alone("a_library_that_comes_and_goes_leaves_nothing_behind", || {
        let Some(file) = compile("library", "comes-and-goes", &[]) else { return };
        let file_name = name(&file);
        let round = move || {
            let file_name = file_name.clone();
            // SAFETY: a C string, and a library that nobody uses.
            let greenlet = sward::spawn(move || unsafe {
                let library = libc::dlopen(file_name.as_ptr(), libc::RTLD_NOW);
                assert!(!library.is_null());
                sward::spawn(|| ()).join().unwrap();
                assert_eq!(libc::dlclose(library), 0);
            });
            greenlet.join().unwrap();
        };
        // SAFETY: takes nothing.
        let in_use = || unsafe { libc::mallinfo2() }.uordblks;
        (0..100).for_each(|_| round());
        let before = in_use();
        (0..1000).for_each(|_| round());
        let grown = in_use().saturating_sub(before);
        assert!(grown < 20_000, "{grown} bytes for 1000 rounds");
        std::fs::remove_file(file).unwrap();
    });
}
