//! Destructors of `pthread_key_create`'s keys, which libc runs at the end of a thread and we at the end of a greenlet.
//!
//! libc does not tell them, so they are noted when the keys are made.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use libc::pthread_key_t;

use crate::table::real;

/// How many keys there can be (`PTHREAD_KEYS_MAX`).
const KEYS: usize = 1024;
/// How often all are run, if they set values again (`PTHREAD_DESTRUCTOR_ITERATIONS`).
const ROUNDS: usize = 4;

/// What is called with a thread's value at its end.
type Destructor = unsafe extern "C" fn(*mut c_void);

/// Each key's destructor; null if it has none.
static DESTRUCTORS: [AtomicPtr<c_void>; KEYS] = [const { AtomicPtr::new(ptr::null_mut()) }; KEYS];
/// One more than the highest key with a destructor.
static END: AtomicUsize = AtomicUsize::new(0);

/// As `pthread_key_create(3)`. On any thread, also before `main`.
pub(crate) unsafe fn create(key: *mut pthread_key_t, destructor: Option<Destructor>) -> c_int {
    // SAFETY: the caller's arguments.
    let result = unsafe { real::pthread_key_create(key, destructor) };
    if result == 0 {
        // SAFETY: libc has just written it.
        note(unsafe { *key }, destructor);
    }
    result
}

/// As `tss_create(3)`.
pub(crate) unsafe fn create_tss(key: *mut pthread_key_t, destructor: Option<Destructor>) -> c_int {
    // SAFETY: the caller's arguments.
    let result = unsafe { real::tss_create(key, destructor) };
    if result == 0 {
        // SAFETY: libc has just written it.
        note(unsafe { *key }, destructor);
    }
    result
}

/// As `pthread_key_delete(3)`: the next key of that number may be made where we do not see it.
pub(crate) unsafe fn delete(key: pthread_key_t) -> c_int {
    note(key, None);
    // SAFETY: the caller's argument.
    unsafe { real::pthread_key_delete(key) }
}

/// As `tss_delete(3)`.
pub(crate) unsafe fn delete_tss(key: pthread_key_t) {
    note(key, None);
    // SAFETY: the caller's argument.
    unsafe { real::tss_delete(key) }
}

/// Notes a key's destructor.
fn note(key: pthread_key_t, destructor: Option<Destructor>) {
    let Some(place) = DESTRUCTORS.get(key as usize) else { return };
    let address = destructor.map_or(ptr::null_mut(), |destructor| destructor as *mut c_void);
    place.store(address, Ordering::Release);
    if !address.is_null() {
        END.fetch_max(key as usize + 1, Ordering::Release);
    }
}

/// Runs the destructors of the calling greenlet's values; tells whether there were any.
pub(super) fn destroy() -> bool {
    (0..ROUNDS).filter(|_| destroy_once()).count() > 0
}

/// One round.
fn destroy_once() -> bool {
    let mut any = false;
    for (key, destructor) in DESTRUCTORS.iter().enumerate().take(END.load(Ordering::Acquire)) {
        let destructor = destructor.load(Ordering::Acquire);
        if destructor.is_null() {
            continue;
        }
        let key = key as pthread_key_t;
        // SAFETY: a key that is not there (any more) has no value.
        let value = unsafe { libc::pthread_getspecific(key) };
        if value.is_null() {
            continue;
        }
        any = true;
        // SAFETY: the key is there, since it has a value; its destructor is called as libc calls it.
        unsafe {
            libc::pthread_setspecific(key, ptr::null());
            std::mem::transmute::<*mut c_void, Destructor>(destructor)(value);
        }
    }
    any
}
