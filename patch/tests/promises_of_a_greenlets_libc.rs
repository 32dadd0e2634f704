//! What libc keeps for a thread, and what it asks a thread's number for, when the thread is a greenlet.
#![cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]

mod support;

use std::cell::Cell;
use std::ffi::c_void;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use support::{ms, patched, takes};
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

#[test]
fn a_child_process_can_change_whose_it_is() {
    use std::os::unix::process::CommandExt;
    patched("a_child_process_can_change_whose_it_is", || {
        // SAFETY: take nothing.
        let (uid, gid) = unsafe { (libc::getuid(), libc::getgid()) };
        // Forks, since it needs more than `posix_spawn` can do.
        let run = move || std::process::Command::new("true").gid(gid).uid(uid).status();
        assert!(spawn(run).join().unwrap().unwrap().success());
        let forks = move || {
            // SAFETY: the child only does what is said below, and ends.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // A hub of its own, and a greenlet with thread-locals of its own there.
                // SAFETY: takes a number.
                let set = move || unsafe { libc::setuid(uid) };
                let result = std::panic::catch_unwind(|| set() + spawn(set).join().unwrap());
                // SAFETY: ends the child.
                unsafe { libc::_exit(result.unwrap_or(1)) };
            }
            let mut status = 0;
            // SAFETY: a place for the status.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0);
        };
        spawn(forks).join().unwrap();
    });
}

#[test]
fn a_child_process_is_the_thread_that_libc_takes_it_for() {
    /// What a child asks of libc about itself; how many of the answers are errors.
    fn errors() -> i32 {
        // SAFETY: places for the results, of the calling thread, and no signal.
        unsafe {
            let (mut attributes, mut set, mut policy) = (std::mem::zeroed(), std::mem::zeroed(), 0);
            let mut parameters = std::mem::zeroed();
            let me = libc::pthread_self();
            let results = [
                libc::pthread_getattr_np(me, &raw mut attributes),
                libc::pthread_getaffinity_np(me, size_of_val(&set), &raw mut set),
                libc::pthread_getschedparam(me, &raw mut policy, &raw mut parameters),
                libc::pthread_kill(me, 0),
            ];
            results.iter().filter(|result| **result != 0).count() as i32
        }
    }
    patched("a_child_process_is_the_thread_that_libc_takes_it_for", || {
        let status = spawn(|| {
            // SAFETY: the child only asks, and ends.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // SAFETY: ends the child.
                unsafe { libc::_exit(errors()) };
            }
            let mut status = 0;
            // SAFETY: a place for the status.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            status
        });
        assert_eq!(status.join().unwrap(), 0);
    });
}

#[test]
fn greenlet_locals_that_destructors_make_are_not_the_next_greenlets() {
    sward::greenlet_local! {
        static COUNT: Cell<u32> = Cell::new(0);
    }
    struct Counts;
    impl Drop for Counts {
        fn drop(&mut self) {
            COUNT.with(|count| count.set(count.get() + 1));
        }
    }
    thread_local!(static COUNTS: Counts = const { Counts });
    patched("greenlet_locals_that_destructors_make_are_not_the_next_greenlets", || {
        spawn(|| COUNTS.with(|_| ())).join().unwrap();
        assert_eq!(spawn(|| COUNT.with(Cell::get)).join().unwrap(), 0);
    });
}

#[test]
fn a_greenlet_becomes_a_daemon() {
    unsafe extern "C" {
        /// As `daemon(3)` says.
        fn daemon(keep_directory: i32, keep_streams: i32) -> i32;
    }
    patched("a_greenlet_becomes_a_daemon", || {
        let mut pipe = [0; 2];
        // SAFETY: a place for two descriptors.
        assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
        let [read, write] = pipe;
        spawn(move || {
            // SAFETY: the children only do what is said below, and end.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let result = std::panic::catch_unwind(|| {
                    let becomes = move || {
                        // SAFETY: take numbers.
                        unsafe { assert_eq!((daemon(1, 1), libc::setuid(libc::getuid())), (0, 0)) };
                        assert_eq!(thread::spawn(|| 7).join().unwrap(), 7);
                        // SAFETY: lends a byte.
                        assert_eq!(unsafe { libc::write(write, [42_u8].as_ptr().cast(), 1) }, 1);
                    };
                    spawn(becomes).join().unwrap();
                });
                // SAFETY: ends the child.
                unsafe { libc::_exit(i32::from(result.is_err())) };
            }
            let (mut status, mut byte) = (0, 0_u8);
            // SAFETY: places for the results; opened above.
            unsafe {
                assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
                assert_eq!((status, libc::close(write)), (0, 0));
                assert_eq!((libc::read(read, (&raw mut byte).cast(), 1), byte, libc::close(read)), (1, 42, 0));
            }
        })
        .join()
        .unwrap();
    });
}

#[test]
fn a_key_that_was_deleted_leaves_no_destructor() {
    use std::ffi::c_void;
    use std::sync::atomic::{AtomicUsize, Ordering};
    static WRONG: AtomicUsize = AtomicUsize::new(0);
    unsafe extern "C" fn wrong(_: *mut c_void) {
        WRONG.fetch_add(1, Ordering::Relaxed);
    }
    patched("a_key_that_was_deleted_leaves_no_destructor", || {
        let (mut first, mut second) = (0, 0);
        // Made past the hooks, as within libc: by an address that was looked up in it.
        // SAFETY: C strings; the type is that of the function.
        let create = unsafe {
            let libc = libc::dlopen(c"libc.so.6".as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD);
            type Create =
                unsafe extern "C" fn(*mut libc::pthread_key_t, Option<unsafe extern "C" fn(*mut c_void)>) -> i32;
            std::mem::transmute::<*mut c_void, Create>(libc::dlsym(libc, c"pthread_key_create".as_ptr()))
        };
        // SAFETY: places for the keys.
        unsafe {
            assert_eq!(libc::pthread_key_create(&raw mut first, Some(wrong)), 0);
            assert_eq!(libc::pthread_key_delete(first), 0);
            assert_eq!(create(&raw mut second, None), 0);
        }
        assert_eq!(first, second, "libc gives numbers again");
        // SAFETY: a live key, whose values are not looked at.
        let set = move || unsafe { libc::pthread_setspecific(second, std::ptr::without_provenance(8)) };
        assert_eq!(spawn(set).join().unwrap(), 0);
        assert_eq!(WRONG.load(Ordering::Relaxed), 0, "another key's destructor was called");
        // SAFETY: a live key.
        assert_eq!(unsafe { libc::pthread_key_delete(second) }, 0);
    });
}

#[test]
fn a_greenlet_begins_with_the_processs_locale() {
    unsafe extern "C" {
        /// Where the calling thread's classes of characters are.
        fn __ctype_b_loc() -> *const *const u16;
    }
    patched("a_greenlet_begins_with_the_processs_locale", || {
        // SAFETY: always a pointer.
        let classes = || unsafe { *__ctype_b_loc() }.addr();
        // Leaves a block behind.
        assert_eq!(spawn(classes).join().unwrap(), classes());
        let before = classes();
        // SAFETY: a C string; no other test looks at the locale.
        assert!(!unsafe { libc::setlocale(libc::LC_CTYPE, c"C.UTF-8".as_ptr()) }.is_null());
        assert_ne!(classes(), before);
        let seen = spawn(classes).join().unwrap();
        let expected = classes();
        // SAFETY: as above.
        unsafe { libc::setlocale(libc::LC_CTYPE, c"C".as_ptr()) };
        assert_eq!(seen, expected);
    });
}

#[test]
fn a_timeout_that_begins_in_an_unwinding_stops_nothing() {
    patched("a_timeout_that_begins_in_an_unwinding_stops_nothing", || {
        struct Limits(Rc<Cell<Option<Result<(), sward::Elapsed>>>>);
        impl Drop for Limits {
            fn drop(&mut self) {
                let never = sward::sync::Event::new();
                takes(ms(60), ms(5000), || {
                    assert!(!never.wait_timeout(ms(20)), "a limit of the call's own holds");
                    self.0.set(Some(sward::timeout(ms(5), || sward::sleep(ms(40)))));
                });
            }
        }
        let result = Rc::new(Cell::new(None));
        let limits = Limits(result.clone());
        let killed = sward::spawn(move || {
            let _limits = limits;
            sward::sleep(Duration::from_secs(60));
        });
        sward::yield_now();
        killed.kill();
        assert!(killed.join().unwrap_err().is_killed());
        assert_eq!(result.get(), Some(Ok(())));
    });
}

#[test]
fn who_looks_at_what_is_loaded_does_not_park_while_libc_has_the_list_locked() {
    type Each = unsafe extern "C-unwind" fn(*mut libc::dl_phdr_info, usize, *mut c_void) -> i32;
    unsafe extern "C-unwind" {
        fn dl_iterate_phdr(each: Each, data: *mut c_void) -> i32;
    }
    unsafe extern "C-unwind" fn sleeps(_: *mut libc::dl_phdr_info, _: usize, throws: *mut c_void) -> i32 {
        thread::sleep(ms(1));
        if throws.is_null() { 7 } else { std::panic::resume_unwind(Box::new(8)) }
    }
    patched("who_looks_at_what_is_loaded_does_not_park_while_libc_has_the_list_locked", || {
        let looks = |throws| {
            spawn(move || {
                // SAFETY: the function only compares its argument.
                let result = std::panic::catch_unwind(|| unsafe { dl_iterate_phdr(sleeps, throws as *mut c_void) });
                // Afterwards it parks as ever.
                let ran = Rc::new(Cell::new(false));
                spawn({
                    let ran = ran.clone();
                    move || ran.set(true)
                });
                thread::sleep(ms(1));
                assert!(ran.get());
                result.map_err(|thrown| *thrown.downcast::<i32>().unwrap())
            })
        };
        for (throws, expected) in [(0, Ok(7)), (1, Err(8))] {
            let looks = looks(throws);
            // At their ends they look too.
            let ends: Vec<_> = (0..3).map(|_| spawn(|| ())).collect();
            sward::join_all(ends).into_iter().for_each(|result| result.unwrap());
            assert_eq!(looks.join().unwrap(), expected);
        }
    });
}
