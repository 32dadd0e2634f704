//! `gethostbyname` and its relatives, on the pool as the other names, in a buffer of the pool's own
//! that is then moved to the caller's: the pointers in it move along.

use std::cell::RefCell;
use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use libc::{EAGAIN, ECANCELED, ERANGE, hostent, size_t, socklen_t};

use super::names::{TRY_AGAIN, copy, set_resolver_error};
use crate::gate::{Inside, set_errno};
use crate::table::real;

/// The smallest buffer that `gethostbyname` tries; it doubles.
const FIRST: usize = 1024;
/// The largest.
const LARGEST: usize = 1 << 20;

thread_local! {
    /// What the last `gethostbyname` of this thread returned; valid until the next, as documented.
    static LAST: RefCell<Option<Answer>> = const { RefCell::new(None) };
}

/// As `gethostbyname(3)`.
pub(crate) unsafe fn gethostbyname(inside: &Inside, name: *const c_char) -> *mut hostent {
    // SAFETY: null, or the caller's string.
    let Some(name) = (unsafe { copy(name) }) else {
        // SAFETY: as it came.
        return unsafe { real::gethostbyname(name) };
    };
    let job = move || {
        let mut len = FIRST;
        loop {
            // SAFETY: `name` and what `lookup` brings outlive the call.
            let answer = lookup(len, |host, buffer, len, found, error| unsafe {
                real::gethostbyname_r(name.as_ptr(), host, buffer, len, found, error)
            });
            if answer.result != ERANGE || len >= LARGEST {
                return answer;
            }
            len *= 2;
        }
    };
    let Some(answer) = run(inside, job) else { return ptr::null_mut() };
    set_resolver_error(answer.error);
    if !answer.found {
        return ptr::null_mut();
    }
    LAST.with_borrow_mut(|last| &raw mut last.insert(answer).host.0)
}

/// As `gethostbyname_r(3)`.
pub(crate) unsafe fn gethostbyname_r(
    inside: &Inside,
    name: *const c_char,
    host: *mut hostent,
    buffer: *mut c_char,
    len: size_t,
    found: *mut *mut hostent,
    error: *mut c_int,
) -> c_int {
    // SAFETY: null, or the caller's string.
    let Some(name) = (unsafe { copy(name) }) else {
        // SAFETY: the caller's arguments.
        return unsafe { real::gethostbyname_r(name, host, buffer, len, found, error) };
    };
    let room = usable(buffer, len);
    let answer = run(inside, move || {
        // SAFETY: `name` and what `lookup` brings outlive the call.
        lookup(room, |host, buffer, len, found, error| unsafe {
            real::gethostbyname_r(name.as_ptr(), host, buffer, len, found, error)
        })
    });
    // SAFETY: the caller's places for the answer.
    unsafe { deliver(answer, host, buffer, found, error) }
}

/// As `gethostbyaddr_r(3)`.
#[expect(clippy::too_many_arguments, reason = "as in C")]
pub(crate) unsafe fn gethostbyaddr_r(
    inside: &Inside,
    address: *const c_void,
    address_len: socklen_t,
    family: c_int,
    host: *mut hostent,
    buffer: *mut c_char,
    len: size_t,
    found: *mut *mut hostent,
    error: *mut c_int,
) -> c_int {
    // SAFETY: the caller's address.
    let address = unsafe { std::slice::from_raw_parts(address.cast::<u8>(), address_len as usize) }.to_vec();
    let room = usable(buffer, len);
    let answer = run(inside, move || {
        // SAFETY: `address` and what `lookup` brings outlive the call.
        lookup(room, |host, buffer, len, found, error| unsafe {
            real::gethostbyaddr_r(address.as_ptr().cast(), address_len, family, host, buffer, len, found, error)
        })
    });
    // SAFETY: the caller's places for the answer.
    unsafe { deliver(answer, host, buffer, found, error) }
}

/// A host, whose pointers are into the buffer beside it.
struct Host(hostent);

// SAFETY: the pointers lead to the buffer that travels with it, and nowhere else.
unsafe impl Send for Host {}

/// What a lookup found.
struct Answer {
    /// What the function returned.
    result: c_int,
    /// `h_errno`.
    error: c_int,
    /// Whether there is a host.
    found: bool,
    /// The host.
    host: Host,
    /// What it points into; words, since it holds pointers.
    buffer: Vec<usize>,
}

/// Runs `call` with a buffer of `len` bytes.
fn lookup(
    len: usize,
    call: impl Fn(*mut hostent, *mut c_char, size_t, *mut *mut hostent, *mut c_int) -> c_int,
) -> Answer {
    // SAFETY: all zeros is a host without anything.
    let host = Host(unsafe { std::mem::zeroed() });
    let buffer = vec![0usize; len / size_of::<usize>()];
    let mut answer = Answer { result: 0, error: 0, found: false, host, buffer };
    let mut found = ptr::null_mut();
    let Answer { error, host, buffer, .. } = &mut answer;
    let room = size_of_val(buffer.as_slice());
    let result = call(&raw mut host.0, buffer.as_mut_ptr().cast(), room, &raw mut found, error);
    answer.result = result;
    answer.found = result == 0 && !found.is_null();
    answer
}

/// Runs a lookup on the pool; `None` if it was interrupted or could not begin: errors are set.
fn run(inside: &Inside, job: impl FnOnce() -> Answer + Send + 'static) -> Option<Answer> {
    let (error, answer) = match inside.offload(false, job) {
        Ok(Some(answer)) => return Some(answer),
        Ok(None) => (ECANCELED, None),
        Err(_) => (EAGAIN, None),
    };
    set_resolver_error(TRY_AGAIN);
    set_errno(error);
    answer
}

/// How much of the caller's buffer can be used: it begins at a multiple of a word.
fn usable(buffer: *mut c_char, len: size_t) -> usize {
    len.saturating_sub(buffer.align_offset(size_of::<usize>())).min(LARGEST)
}

/// Copies an answer to where the caller wants it.
///
/// # Safety
///
/// The places must be as `gethostbyname_r(3)` asks for, with a buffer of which as much is usable as
/// the answer's buffer is long.
unsafe fn deliver(
    answer: Option<Answer>,
    host: *mut hostent,
    buffer: *mut c_char,
    found: *mut *mut hostent,
    error: *mut c_int,
) -> c_int {
    // SAFETY: the caller's places.
    unsafe {
        *found = ptr::null_mut();
        let Some(mut answer) = answer else {
            *error = TRY_AGAIN;
            return ECANCELED;
        };
        *error = answer.error;
        if !answer.found {
            return answer.result;
        }
        let to = buffer.wrapping_add(buffer.align_offset(size_of::<usize>()));
        relocate(&mut answer.host.0, to.addr().wrapping_sub(answer.buffer.as_ptr().addr()));
        ptr::copy_nonoverlapping(answer.buffer.as_ptr().cast(), to, size_of_val(answer.buffer.as_slice()));
        *host = answer.host.0;
        *found = host;
        0
    }
}

/// Adds `distance` to all pointers of a host.
///
/// # Safety
///
/// The host must be whole, in the place where it was made.
unsafe fn relocate(host: &mut hostent, distance: usize) {
    // SAFETY: both lists end with a null pointer.
    unsafe {
        for list in [host.h_aliases, host.h_addr_list] {
            let mut entry = list;
            while !entry.is_null() && !(*entry).is_null() {
                *entry = (*entry).wrapping_byte_add(distance);
                entry = entry.add(1);
            }
        }
    }
    for list in [&mut host.h_aliases, &mut host.h_addr_list] {
        if !list.is_null() {
            *list = list.wrapping_byte_add(distance);
        }
    }
    host.h_name = host.h_name.wrapping_byte_add(distance);
}
