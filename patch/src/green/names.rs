//! Names and addresses: libc asks files and servers by calls of its own, which no hook reaches. They
//! run on a pool, with copies of the arguments: a caller that was interrupted goes on, and its frame
//! may be gone when the answer comes.

use std::ffi::{CStr, CString, c_char, c_int};
use std::net::IpAddr;
use std::ptr;

use libc::{EAI_MEMORY, EAI_SYSTEM, ECANCELED, addrinfo, sockaddr, socklen_t};

use crate::gate::{Inside, errno, fail, set_errno};
use crate::table::real;

/// The largest answer to a name query.
const LARGEST_ANSWER: usize = 65_536;

/// As `getaddrinfo(3)`.
pub(crate) unsafe fn getaddrinfo(
    inside: &Inside,
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    found: *mut *mut addrinfo,
) -> c_int {
    // SAFETY: the caller's arguments.
    let in_place = || unsafe { real::getaddrinfo(node, service, hints, found) };
    // SAFETY: null, or the caller's string.
    let Some(name) = (unsafe { copy(node) }) else { return in_place() };
    // SAFETY: null, or the caller's.
    let hints = unsafe { hints.as_ref() }.map(Hints::of);
    let numeric = hints.as_ref().is_some_and(|hints| hints.flags & libc::AI_NUMERICHOST != 0);
    if numeric || name.to_str().is_ok_and(|name| name.parse::<IpAddr>().is_ok()) {
        return in_place();
    }
    // SAFETY: null, or the caller's string.
    let service = unsafe { copy(service) };
    let job = move || {
        let hints = hints.as_ref().map(Hints::to_addrinfo);
        let mut list = List(ptr::null_mut());
        // SAFETY: all arguments are ours and outlive the call.
        let result = unsafe {
            real::getaddrinfo(
                name.as_ptr(),
                service.as_ref().map_or(ptr::null(), |service| service.as_ptr()),
                hints.as_ref().map_or(ptr::null(), ptr::from_ref),
                &raw mut list.0,
            )
        };
        (result, errno(), list)
    };
    match inside.offload(false, job) {
        Ok(Some((0, _, list))) => {
            // SAFETY: where the caller wants the result.
            unsafe { *found = list.into_raw() };
            0
        }
        Ok(Some((error, system, _))) => {
            set_errno(system);
            error
        }
        Ok(None) => {
            set_errno(ECANCELED);
            EAI_SYSTEM
        }
        Err(_) => EAI_MEMORY,
    }
}

/// As `getnameinfo(3)`.
#[expect(clippy::too_many_arguments, reason = "as in C")]
pub(crate) unsafe fn getnameinfo(
    inside: &Inside,
    address: *const sockaddr,
    len: socklen_t,
    host: *mut c_char,
    host_len: socklen_t,
    service: *mut c_char,
    service_len: socklen_t,
    flags: c_int,
) -> c_int {
    let numeric = flags & libc::NI_NUMERICHOST != 0 || host.is_null() || host_len == 0;
    if numeric || len as usize > size_of::<libc::sockaddr_storage>() {
        // SAFETY: the caller's arguments.
        return unsafe { real::getnameinfo(address, len, host, host_len, service, service_len, flags) };
    }
    // SAFETY: all zeros is an address storage, which is at least `len` bytes, as is the address.
    let address = unsafe {
        let mut copy: libc::sockaddr_storage = std::mem::zeroed();
        ptr::copy_nonoverlapping(address.cast::<u8>(), (&raw mut copy).cast::<u8>(), len as usize);
        copy
    };
    let wanted = [host_len as usize, if service.is_null() { 0 } else { service_len as usize }];
    let job = move || {
        let mut buffers = wanted.map(|len| vec![0u8; len]);
        let [host, service] = buffers.each_mut().map(|buffer| match buffer.len() {
            0 => ptr::null_mut(),
            _ => buffer.as_mut_ptr().cast::<c_char>(),
        });
        let [host_len, service_len] = wanted.map(|len| len as socklen_t);
        let address = (&raw const address).cast();
        // SAFETY: all arguments are ours and outlive the call.
        let result = unsafe { real::getnameinfo(address, len, host, host_len, service, service_len, flags) };
        (result, errno(), buffers)
    };
    match inside.offload(false, job) {
        Ok(Some((result, system, buffers))) => {
            if result == 0 {
                for (buffer, to) in buffers.iter().zip([host, service]) {
                    let end = buffer.iter().position(|byte| *byte == 0).map_or(0, |end| end + 1);
                    // SAFETY: the caller's buffer is as long as ours, and null if ours is empty.
                    unsafe { ptr::copy_nonoverlapping(buffer.as_ptr().cast(), to, end) };
                }
            }
            set_errno(system);
            result
        }
        Ok(None) => {
            set_errno(ECANCELED);
            EAI_SYSTEM
        }
        Err(_) => EAI_MEMORY,
    }
}

/// As `res_query(3)`.
pub(crate) unsafe fn res_query(
    inside: &Inside,
    name: *const c_char,
    class: c_int,
    kind: c_int,
    answer: *mut u8,
    len: c_int,
) -> c_int {
    // SAFETY: the caller's arguments.
    unsafe { resolve(inside, real::res_query, name, class, kind, answer, len) }
}

/// As `res_search(3)`.
pub(crate) unsafe fn res_search(
    inside: &Inside,
    name: *const c_char,
    class: c_int,
    kind: c_int,
    answer: *mut u8,
    len: c_int,
) -> c_int {
    // SAFETY: the caller's arguments.
    unsafe { resolve(inside, real::res_search, name, class, kind, answer, len) }
}

/// Both kinds of query.
///
/// # Safety
///
/// As for `call`.
unsafe fn resolve(
    inside: &Inside,
    call: unsafe fn(*const c_char, c_int, c_int, *mut u8, c_int) -> c_int,
    name: *const c_char,
    class: c_int,
    kind: c_int,
    answer: *mut u8,
    len: c_int,
) -> c_int {
    // SAFETY: null, or the caller's string.
    let (Some(name), Ok(room)) = (unsafe { copy(name) }, usize::try_from(len)) else {
        // SAFETY: the caller's arguments.
        return unsafe { call(name, class, kind, answer, len) };
    };
    let job = move || {
        let mut buffer = vec![0; room.min(LARGEST_ANSWER)];
        // SAFETY: all arguments are ours and outlive the call.
        let got = unsafe { call(name.as_ptr(), class, kind, buffer.as_mut_ptr(), buffer.len() as c_int) };
        (got, errno(), resolver_error(), buffer)
    };
    match inside.offload(false, job) {
        Ok(Some((got, system, error, buffer))) => {
            // More may have come than there was room for.
            let filled = usize::try_from(got).unwrap_or(0).min(buffer.len());
            // SAFETY: the caller's buffer is no shorter than ours.
            unsafe { ptr::copy_nonoverlapping(buffer.as_ptr(), answer, filled) };
            set_resolver_error(error);
            set_errno(system);
            got
        }
        Ok(None) => {
            set_resolver_error(TRY_AGAIN);
            fail(ECANCELED)
        }
        Err(error) => fail(error.raw_os_error().unwrap_or(libc::ENOMEM)),
    }
}

/// `h_errno`: no answer for now.
pub(super) const TRY_AGAIN: c_int = 2;

/// The calling thread's `h_errno`.
pub(super) fn resolver_error() -> c_int {
    // SAFETY: the pointer is to this thread's `h_errno`, which lives as long as the thread.
    unsafe { *__h_errno_location() }
}

/// Sets it.
pub(super) fn set_resolver_error(error: c_int) {
    // SAFETY: as above.
    unsafe { *__h_errno_location() = error };
}

unsafe extern "C" {
    /// `h_errno` of the calling thread.
    safe fn __h_errno_location() -> *mut c_int;
}

/// A copy of a string; `None` of null.
///
/// # Safety
///
/// Null or a C string.
pub(super) unsafe fn copy(string: *const c_char) -> Option<CString> {
    // SAFETY: the caller vouches for it.
    (!string.is_null()).then(|| unsafe { CStr::from_ptr(string) }.to_owned())
}

/// A list of addresses from libc, freed when dropped: nobody may be waiting for it any more.
struct List(*mut addrinfo);

// SAFETY: plain memory from `malloc`; whoever has the pointer is the only one to have it.
unsafe impl Send for List {}

impl List {
    /// Gives it away.
    fn into_raw(self) -> *mut addrinfo {
        let list = self.0;
        std::mem::forget(self);
        list
    }
}

impl Drop for List {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: it came from `getaddrinfo` and was given to nobody.
            unsafe { libc::freeaddrinfo(self.0) };
        }
    }
}

/// What `getaddrinfo` reads of its hints.
struct Hints {
    /// `ai_flags`.
    flags: c_int,
    /// `ai_family`.
    family: c_int,
    /// `ai_socktype`.
    socktype: c_int,
    /// `ai_protocol`.
    protocol: c_int,
}

impl Hints {
    /// Those of the caller.
    fn of(hints: &addrinfo) -> Hints {
        let addrinfo { ai_flags: flags, ai_family: family, ai_socktype: socktype, ai_protocol: protocol, .. } = *hints;
        Hints { flags, family, socktype, protocol }
    }

    /// In libc's form.
    fn to_addrinfo(&self) -> addrinfo {
        // SAFETY: all zeros are hints that ask for nothing.
        let empty: addrinfo = unsafe { std::mem::zeroed() };
        let Hints { flags, family, socktype, protocol } = *self;
        addrinfo { ai_flags: flags, ai_family: family, ai_socktype: socktype, ai_protocol: protocol, ..empty }
    }
}
