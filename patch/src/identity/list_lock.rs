//! The lock of libc's list of what is loaded, which a fork may leave locked in the child.
//!
//! ```text
//!   thread A    dl_iterate_phdr ──▶ locked ──▶ the callback …
//!   thread B                                      fork ──▶ child: A is not there, and its lock is locked
//! ```
//!
//! Who goes through the list has it locked: to print a backtrace, to throw in C++, to end a greenlet; and so has who
//! changes it, in `dlopen` and `dlclose`. In the child nobody could ever do so again. libc makes the dynamic
//! linker's other locks new in each child, but not this one; so it is done here, and nobody has to wait for anybody
//! before a fork. What the list is then is as true as it is after libc's own part.
//!
//! The lock has no symbol. It is the one that the dynamic linker has locked once more while the list is gone through.
//!
//! And a greenlet that goes through the list does not park: its thread would wait for the lock at the end of the next
//! greenlet, and never run the one that has it.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

use libc::{dl_phdr_info, size_t};

use super::layout::symbol;
use super::modules::{symbol_size, visit};
use crate::function::Function;
use crate::gate;
use crate::table::real;

/// What is called for each object, while the list is locked: C++ throws out of it.
pub(crate) type Each = unsafe extern "C-unwind" fn(*mut dl_phdr_info, size_t, *mut c_void) -> c_int;

/// As `dl_iterate_phdr(3)`: hooks are off in it.
pub(crate) unsafe fn dl_iterate_phdr(function: &'static Function, each: Option<Each>, data: *mut c_void) -> c_int {
    let _inside = if gate::is_shut() { None } else { gate::enter(function) };
    // SAFETY: the caller's arguments.
    unsafe { real::dl_iterate_phdr(each, data) }
}

/// A `pthread_mutex_t`, as far as it is used.
#[repr(C)]
struct Mutex {
    /// Whether it is locked.
    lock: AtomicI32,
    /// How often its owner has locked it.
    count: AtomicI32,
    /// The number of the thread that has locked it.
    owner: AtomicI32,
    /// How many use it.
    users: AtomicI32,
    /// Its kind.
    kind: AtomicI32,
}

/// The kind of those that their owner may lock again (`PTHREAD_MUTEX_RECURSIVE_NP`).
const RECURSIVE: i32 = 1;

/// The lock; null if it was not found: then children are as libc leaves them.
static LOCK: AtomicPtr<Mutex> = AtomicPtr::new(ptr::null_mut());

/// Looks for it.
pub(super) fn find() {
    let Some(variables) = symbol(c"_rtld_global") else { return };
    let Some(words) = symbol_size(variables).map(|size| size / size_of::<AtomicI32>()) else { return };
    // SAFETY: the dynamic linker's variables, which are there for as long as the process is, aligned as all of that size.
    // Others change them meanwhile.
    let words = unsafe { std::slice::from_raw_parts(variables.cast::<AtomicI32>(), words) };
    // SAFETY: takes nothing.
    let me = unsafe { libc::syscall(libc::SYS_gettid) } as i32;
    let depth = |window: &[AtomicI32]| match window {
        [_, count, owner, _, kind] if load(owner) == me && load(kind) == RECURSIVE => load(count),
        _ => 0,
    };
    let windows = || words.windows(size_of::<Mutex>() / size_of::<AtomicI32>());
    let before: Vec<i32> = windows().map(depth).collect();
    let mut found = ptr::null_mut();
    visit(&mut |_| {
        let mut locked = windows().zip(&before).filter(|(window, before)| depth(window) == *before + 1);
        if let (Some((window, _)), None) = (locked.next(), locked.next()) {
            found = ptr::from_ref(window).cast::<Mutex>().cast_mut();
        }
        true
    });
    LOCK.store(found, Ordering::Release);
}

/// Unlocks it, in a child; should the thread that has forked have it locked itself, its unlock finds nothing to do.
pub(super) fn after_fork() {
    // SAFETY: null, or the dynamic linker's, and only changed by atomic operations here; no other thread is there.
    let Some(mutex) = (unsafe { LOCK.load(Ordering::Acquire).as_ref() }) else { return };
    for part in [&mutex.users, &mutex.owner, &mutex.count, &mutex.lock] {
        part.store(0, Ordering::Relaxed);
    }
}

/// A look at one.
fn load(word: &AtomicI32) -> i32 {
    word.load(Ordering::Relaxed)
}
