//! Monkey patching at the level of libc: after [`all`], blocking calls that anybody makes inside a
//! greenlet (std, C libraries, other crates) park that greenlet instead of its thread.
//!
//! Use the facade crate `sward` with its feature `patch`:
//!
//! ```no_run
//! // SAFETY: nothing here relies on a libc call not running other greenlets of the thread.
//! let report = unsafe { sward::patch::all() };
//! println!("{report}");
//! let sleepers: Vec<_> = (0..100)
//!     .map(|_| sward::spawn(|| std::thread::sleep(std::time::Duration::from_secs(1))))
//!     .collect();
//! sward::join_all(sleepers); // one second, one thread
//! ```
//!
//! # How it works
//!
//! This crate defines `read`, `recv`, `poll`, `nanosleep` and some hundred other symbols of libc. The
//! linker lets the program's own definitions win over libc's, for std, for C archives and for shared
//! libraries, also for those that are loaded later. Each definition looks whether it is called on a
//! greenlet's stack after [`all`]; if not, it calls libc's. If so, it makes the call in a form that
//! does not block, and parks where it would have blocked.
//!
//! # Each greenlet is a thread to others
//!
//! A greenlet that is spawned after [`all`] has thread-locals of its own, an `errno`, a `pthread_self`, a
//! `std::thread::current`, and destructors of thread-locals run at its end (x86-64 with glibc;
//! [`Report::thread_identity`] tells). So a destructor may block in an unwinding too, which it otherwise may not.
//! [`Builder::shared_tls`](sward_runtime::Builder::shared_tls) does without. What stays the thread's: its signal mask,
//! `gettid`, priorities, and what else the kernel keeps for a thread. The environment variable `SWARD_IDENTITY=off`
//! forbids it all.
//!
//! # Locks
//!
//! For such greenlets the locks that were made for threads park too: those of std (`Mutex`, `RwLock`, `Condvar`,
//! `Barrier`, `mpsc`, `thread::park` …), of libc (`pthread_mutex_lock`, `pthread_cond_wait`,
//! `pthread_rwlock_rdlock`, `pthread_once`, `sem_wait`, C11's `mtx_lock` and `cnd_wait` …), and what is built on them or on the futex (parking_lot,
//! crossbeam, r2d2). They work between greenlets of one thread, of several, and threads ([`Report::locks`] tells).
//!
//! A kill or a timeout does not end such a wait: nothing in it could say so, and its callers would wait again. It
//! takes effect at the next call that can. Only `sem_wait` fails, with `ECANCELED`. A deadlock among such waits is not
//! reported, as with threads.
//!
//! Nobody expects an allocation to park: a global allocator that takes such locks is to be put into [`Allocator`].
//!
//! # What it does not do
//!
//! - **The root's locks block its thread**, and so do those of greenlets without thread-locals of their own: for a
//!   lock that a parked greenlet of the same thread holds, such a wait never ends.
//! - Calls that do not go through libc's symbols are not reached: those inside glibc (`fread`,
//!   `printf`, `fclose`), raw system calls (rustix, Go, io_uring), and files on disk, terminals and
//!   standard streams, which are used in place.
//! - A signal handler that blocks must not be relied on to interrupt a call with `EINTR`: the greenlet
//!   is not in the kernel while it waits.
//!
//! [`Report`] tells what is on. Linux with glibc only; elsewhere [`all`] does nothing, and says so. In a program that
//! glibc is linked to statically, names, locks and thread-locals are as they were.
//!
//! # Stacks
//!
//! C code has no stack probes. Greenlets that are spawned after [`all`] have 256 KiB of stack or more,
//! and a guard of as much.
//!
//! # Kill and timeout
//!
//! `sward::timeout` and `kill` work on patched calls, but nothing may unwind through C. The call fails
//! with `ECANCELED`, a sleep ends early, each further call that would block fails too, and the next
//! native call of sward raises the interrupt. So a driver sees an error, cleans up in its own way, and
//! then the greenlet unwinds. A joined thread (`pthread_join`) is waited for to the end, and so are locks and
//! `epoll_wait`, whose callers (tokio, libev, libuv) have no answer to a failure but to panic or abort.

mod allocator;
#[cfg(hooks)]
mod function;
#[cfg(hooks)]
mod gate;
#[cfg(hooks)]
mod green;
#[cfg(shared_libc)]
mod identity;
#[cfg(hooks)]
mod loaded;
#[cfg(shared_libc)]
mod locks;
mod report;
#[cfg(shared_libc)]
mod spin;
mod stats;
#[cfg(hooks)]
mod switch;
#[cfg(all(hooks, not(shared_libc)))]
mod system;
#[cfg(hooks)]
mod table;
#[cfg(not(hooks))]
mod unsupported;

pub use allocator::Allocator;
pub use report::{Coverage, Missing, Object, Report};
pub use stats::{Calls, Stats};
#[cfg(hooks)]
use switch as how;
#[cfg(not(hooks))]
use unsupported as how;

/// Makes blocking libc calls inside greenlets park the greenlet, for the whole process and for good.
///
/// Threads without greenlets, and a thread's root, are not affected. Calling it again looks at the
/// libraries that were loaded since; [`Report`] tells what is covered.
///
/// # Safety
///
/// After this, a libc call in a greenlet may run other greenlets of the same thread before it returns.
/// The caller vouches that no code called inside greenlets relies on the contrary: on a thread-local
/// that it leaves in an intermediate state across a blocking call (where greenlets share those of their
/// thread: [`Report::thread_identity`] tells), on a lock held across one that
/// the thread's root takes (a deadlock), or on being the only user of an object that it
/// took to be safe because it never leaves its thread.
///
/// # Panics
///
/// Never.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// // SAFETY: the greenlets below only sleep.
/// unsafe { sward::patch::all() };
/// let start = Instant::now();
/// let sleepers = (0..10).map(|_| sward::spawn(|| std::thread::sleep(Duration::from_millis(50))));
/// sward::join_all(sleepers);
/// assert!(start.elapsed() < Duration::from_millis(400));
/// ```
pub unsafe fn all() -> Report {
    how::all()
}

/// Runs `f` with patching off for the calling greenlet: libc calls in `f` block the thread. Outside
/// greenlets it only runs `f`.
///
/// # Panics
///
/// Passes on a panic of `f`.
///
/// ```
/// // No other greenlet runs between the two calls.
/// sward::patch::without(|| std::thread::sleep(std::time::Duration::from_millis(1)));
/// ```
pub fn without<F, T>(f: F) -> T
where
    F: FnOnce() -> T,
{
    how::without(f)
}

/// Counts the calls that greenlets have made, by function.
///
/// # Panics
///
/// Never.
///
/// ```
/// println!("{}", sward::patch::stats());
/// ```
pub fn stats() -> Stats {
    how::stats()
}
