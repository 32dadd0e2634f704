//! An allocator that takes a lock of libc's which another thread holds.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::support::locks::Shared;
use super::support::{ms, patched_with_locks};

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
pub(crate) struct Locking;

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

/// Runs `work` again and again on a hub of its own, patched: each time another one of its allocations waits for the lock.
#[track_caller]
pub(crate) fn each_allocation_waits(name: &'static str, work: fn()) {
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
    patched_with_locks(name, move || {
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
