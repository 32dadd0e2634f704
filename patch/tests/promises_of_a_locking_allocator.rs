//! An allocator that takes a lock of libc's which another thread holds: wherever in the runtime that happens, the hub is in
//! the middle of something.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::os::fd::FromRawFd;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use support::locks::Shared;
use support::{ms, patched_with_locks};

/// What the allocator takes.
static LOCK: Shared<libc::pthread_mutex_t> = Shared(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));
/// How many allocations of the thread go by until one takes it; 0: none does.
static LEFT: AtomicUsize = AtomicUsize::new(0);
/// The thread, by the kernel's number.
static THREAD: AtomicI64 = AtomicI64::new(0);
/// Whether another thread has it.
static HELD: AtomicBool = AtomicBool::new(false);
/// Whether one waits for it.
static WAITS: AtomicBool = AtomicBool::new(false);

/// libc's, with a lock.
struct Locking;

#[global_allocator]
static ALLOCATOR: Locking = Locking;

/// The calling thread.
fn me() -> i64 {
    // SAFETY: takes nothing.
    unsafe { libc::syscall(libc::SYS_gettid) }
}

/// Takes the lock for a moment, when it is time to.
fn pass() {
    if LEFT.load(Ordering::Relaxed) != 0
        && THREAD.load(Ordering::Relaxed) == me()
        && LEFT.fetch_sub(1, Ordering::Relaxed) == 1
    {
        while !HELD.load(Ordering::SeqCst) {
            std::hint::spin_loop();
        }
        WAITS.store(true, Ordering::SeqCst);
        // SAFETY: a live mutex.
        unsafe {
            assert_eq!(libc::pthread_mutex_lock(LOCK.get()), 0);
            assert_eq!(libc::pthread_mutex_unlock(LOCK.get()), 0);
        }
        WAITS.store(false, Ordering::SeqCst);
    }
}

// SAFETY: as `System`, to which all is passed on.
unsafe impl GlobalAlloc for Locking {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        pass();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        pass();
        // SAFETY: the caller's promise.
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        pass();
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(place, layout) }
    }
}

/// Some of all that a hub does, on descriptors and timers that it has not seen.
fn work() {
    let base = 500;
    let waits = (0..3).map(|at| {
        sward::spawn(move || {
            let mut pipe = [0; 2];
            // SAFETY: a place for two descriptors, which are this greenlet's; and a number that nobody uses.
            let (reads, writes) = unsafe {
                assert_eq!(libc::pipe(pipe.as_mut_ptr()), 0);
                assert_eq!(libc::dup2(pipe[0], base + at * 200), base + at * 200);
                libc::close(pipe[0]);
                (std::fs::File::from_raw_fd(base + at * 200), std::fs::File::from_raw_fd(pipe[1]))
            };
            let writer = sward::spawn(move || {
                thread::sleep(Duration::from_micros(100));
                std::io::Write::write_all(&mut &writes, b"x").unwrap();
            });
            let mut byte = [0];
            let read = sward::timeout(ms(5000), || std::io::Read::read(&mut &reads, &mut byte).unwrap());
            assert_eq!(read, Ok(1));
            writer.join().unwrap();
        })
    });
    let sleeps = (0..5).map(|at| {
        sward::spawn(move || {
            let killed = sward::spawn(|| sward::sleep(Duration::from_secs(60)));
            sward::sleep(Duration::from_micros(10 * at));
            killed.kill();
            killed.join().unwrap_err();
        })
    });
    let event = std::rc::Rc::new(sward::sync::Event::new());
    let crowd = (0..6).map(|_| {
        let event = event.clone();
        sward::spawn(move || event.wait())
    });
    let mut all: Vec<_> = waits.chain(sleeps).chain(crowd).collect();
    for greenlet in &all {
        greenlet.link(|_| ());
        greenlet.link(|_| ());
    }
    all.push(sward::spawn(move || {
        sward::yield_now();
        event.set();
    }));
    sward::join_all(all).into_iter().for_each(|result| result.unwrap());
}

#[test]
fn an_allocator_that_waits_for_a_lock_parks_nobody_in_the_middle_of_the_hubs_work() {
    let holder = thread::spawn(|| {
        loop {
            // SAFETY: a live mutex.
            assert_eq!(unsafe { libc::pthread_mutex_lock(LOCK.get()) }, 0);
            HELD.store(true, Ordering::SeqCst);
            while !WAITS.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_micros(50));
            }
            thread::sleep(ms(1));
            HELD.store(false, Ordering::SeqCst);
            // SAFETY: locked above.
            assert_eq!(unsafe { libc::pthread_mutex_unlock(LOCK.get()) }, 0);
            // libc's lock is not fair: now it is the other's turn.
            while WAITS.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_micros(50));
            }
        }
    });
    patched_with_locks("an_allocator_that_waits_for_a_lock_parks_nobody_in_the_middle_of_the_hubs_work", || {
        for number in 1..2000 {
            // A hub of its own each time: what has grown once need not grow again.
            let one = thread::spawn(move || {
                THREAD.store(me(), Ordering::SeqCst);
                LEFT.store(number, Ordering::SeqCst);
                // Waits for the greenlets of links too.
                sward::run(work);
                LEFT.swap(0, Ordering::SeqCst)
            });
            if one.join().unwrap() != 0 {
                break;
            }
        }
    });
    drop(holder);
}
