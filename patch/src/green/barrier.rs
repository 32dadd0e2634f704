//! `pthread_barrier_wait`. A barrier counts those who wait, so each greenlet is waited for by a thread of a pool.

use libc::{c_int, pthread_barrier_t};
use sward_runtime::lowlevel::ThreadPool;

use crate::gate::Inside;
use crate::table::real;

/// As many greenlets can wait in barriers at a time; if there are more, those of another barrier hold them up.
const MOST: usize = 1024;

/// The threads that wait. They do nothing else.
static THREADS: ThreadPool = ThreadPool::new("sward-barrier", MOST);

/// A barrier of the caller's.
struct Barrier(*mut pthread_barrier_t);

// SAFETY: it is made for threads.
unsafe impl Send for Barrier {}

/// As `pthread_barrier_wait(3)`. Not interrupted: others count on who has come.
pub(crate) unsafe fn wait(inside: &Inside, barrier: *mut pthread_barrier_t) -> c_int {
    let theirs = Barrier(barrier);
    let job = move || {
        let Barrier(barrier) = { theirs };
        // SAFETY: the caller waits for us.
        unsafe { real::pthread_barrier_wait(barrier) }
    };
    match inside.offload_to(&THREADS, true, job) {
        Ok(Some(result)) => result,
        // No thread to be had: this one waits.
        // SAFETY: the caller's barrier.
        _ => unsafe { real::pthread_barrier_wait(barrier) },
    }
}
