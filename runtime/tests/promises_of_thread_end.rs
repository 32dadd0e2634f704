//! A hub on a thread that ends: leftovers are killed if that is safe there, and nothing is used after it was freed.

mod support;

use std::cell::RefCell;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use support::{CountDrop, FOREVER, OnDrop, watchdog};
use sward::lowlevel::{self, RemoteUnparker, Source};

#[test]
fn parked_and_ready_greenlets_are_killed_and_their_destructors_run() {
    let _watchdog = watchdog();
    let drops = Arc::new(AtomicUsize::new(0));
    let theirs = drops.clone();
    std::thread::spawn(move || {
        for blocked in [true, false] {
            let counter = CountDrop(theirs.clone());
            sward::spawn(move || {
                let _counter = counter;
                sward::sleep(FOREVER);
            });
            if blocked {
                sward::yield_now();
            }
        }
    })
    .join()
    .unwrap();
    assert_eq!(drops.load(SeqCst), 2);
}

#[test]
fn sockets_of_parked_greenlets_are_closed() {
    let _watchdog = watchdog();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    std::thread::spawn(move || {
        ours.set_nonblocking(true).unwrap();
        sward::spawn(move || {
            let source = Source::new(ours);
            let _ = source.read_with("test", None, |mut stream| stream.read(&mut [0; 8]));
        });
        sward::yield_now();
    })
    .join()
    .unwrap();
    assert_eq!(theirs.read(&mut [0; 8]).unwrap(), 0, "end of file");
}

#[test]
fn a_greenlet_that_cannot_be_unwound_is_leaked_with_all_that_it_borrows() {
    let _watchdog = watchdog();
    let drops = Arc::new(AtomicUsize::new(0));
    let counter = CountDrop(drops.clone());
    std::thread::spawn(move || {
        sward::spawn(move || {
            let _counter = counter;
            sward::shield(|| sward::lowlevel::park(None));
        });
        sward::yield_now();
    })
    .join()
    .unwrap();
    assert_eq!(drops.load(SeqCst), 0);
}

#[test]
fn who_joins_a_remote_greenlet_that_is_leaked_hears_that_it_is_gone() {
    let _watchdog = watchdog();
    for panics in [false, true] {
        let (send, receive) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            send.send((sward::handle(), RemoteUnparker::current())).unwrap();
            lowlevel::park(None);
            if panics {
                panic!("the thread's own");
            }
        });
        let (handle, end) = receive.recv().unwrap();
        let (started, starts) = std::sync::mpsc::channel();
        let leaked = [started.clone(), started].map(|started| {
            handle.spawn(move || {
                started.send(()).unwrap();
                sward::shield(|| sward::sleep(FOREVER));
            })
        });
        starts.iter().take(2).for_each(drop);
        let [before, after] = leaked;
        let joiner = sward::spawn(move || before.join());
        sward::yield_now(); // waits when the thread ends
        end.unpark();
        assert!(joiner.join().unwrap().unwrap_err().is_killed());
        assert_eq!(thread.join().is_err(), panics);
        assert!(after.is_finished());
        assert!(after.join().unwrap_err().is_killed());
    }
}

#[test]
fn destructors_that_block_spawn_or_kill_end_with_the_thread() {
    let _watchdog = watchdog();
    let drops = Arc::new(AtomicUsize::new(0));
    let theirs = drops.clone();
    std::thread::spawn(move || {
        let victim = std::rc::Rc::new(sward::spawn(|| sward::sleep(FOREVER)));
        sward::spawn(move || {
            let _last_words = OnDrop(move || {
                victim.kill();
                let counter = CountDrop(theirs.clone());
                sward::spawn(move || {
                    let _counter = counter;
                    sward::sleep(FOREVER);
                });
                sward::sleep(std::time::Duration::from_micros(10));
            });
            sward::sleep(FOREVER);
        });
        sward::yield_now();
    })
    .join()
    .unwrap();
    assert_eq!(drops.load(SeqCst), 1);
}

#[test]
fn a_thread_that_panics_ends_its_hub_too() {
    let _watchdog = watchdog();
    let drops = Arc::new(AtomicUsize::new(0));
    let counter = CountDrop(drops.clone());
    let thread = std::thread::spawn(move || {
        sward::spawn(move || {
            let _counter = counter;
            sward::sleep(FOREVER);
        });
        sward::yield_now();
        panic!("the thread's own");
    });
    assert!(thread.join().is_err());
    assert_eq!(drops.load(SeqCst), 1);
}

#[test]
fn destructors_of_thread_locals_may_use_the_hub_before_and_after_its_end() {
    thread_local! {
        static KEPT: RefCell<Option<Box<dyn std::any::Any>>> = const { RefCell::new(None) };
    }
    let _watchdog = watchdog();
    for before in [true, false] {
        let runs = Arc::new(AtomicUsize::new(0));
        let theirs = runs.clone();
        std::thread::spawn(move || {
            if before {
                // Registered first, so destroyed last.
                KEPT.with(|_| ());
            }
            sward::yield_now();
            let keep = OnDrop(move || {
                let value = sward::spawn(|| 20).join().unwrap();
                sward::sleep(std::time::Duration::from_micros(10));
                theirs.fetch_add(value + sward::timeout(FOREVER, || 1).unwrap(), SeqCst);
            });
            KEPT.with(|kept| kept.replace(Some(Box::new(keep))));
        })
        .join()
        .unwrap();
        assert_eq!(runs.load(SeqCst), 21);
    }
}

#[test]
fn a_hub_first_used_in_a_thread_locals_destructor_works() {
    thread_local! {
        static LATE: RefCell<Option<Box<dyn std::any::Any>>> = const { RefCell::new(None) };
    }
    let _watchdog = watchdog();
    let runs = Arc::new(AtomicUsize::new(0));
    let theirs = runs.clone();
    std::thread::spawn(move || {
        let keep = OnDrop(move || {
            theirs.fetch_add(sward::spawn(|| 1).join().unwrap(), SeqCst);
        });
        LATE.with(|late| late.replace(Some(Box::new(keep))));
    })
    .join()
    .unwrap();
    assert_eq!(runs.load(SeqCst), 1);
}

#[test]
fn the_process_may_exit_from_a_greenlet_of_any_thread() {
    // The test harness runs this body on a thread that is not the main one.
    let output = support::in_child("the_process_may_exit_from_a_greenlet_of_any_thread", || {
        std::thread::spawn(|| {
            sward::spawn(|| sward::sleep(FOREVER));
            let _ = sward::spawn(|| std::process::exit(7)).join();
        })
        .join()
        .unwrap();
    });
    assert_eq!(output.status.code(), Some(7), "{:?}", support::stderr_lines(&output));
}

#[test]
fn hubs_that_come_and_go_leave_no_file_descriptors() {
    let _watchdog = watchdog();
    if !cfg!(target_os = "linux") {
        return;
    }
    let rounds = || {
        for _ in 0..50 {
            std::thread::spawn(|| sward::sleep(std::time::Duration::from_micros(100))).join().unwrap();
        }
    };
    // Other tests of this process open some of their own, so the bound is not exact.
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    rounds();
    let before = count();
    rounds();
    assert!(count() < before + 50);
}
