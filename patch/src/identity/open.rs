//! `dlopen`: a library that comes late gives its thread-locals first values on all threads of libc's
//! list, which greenlets are not on.
//!
//! ```text
//!   dlopen ──▶ patched? ──yes──▶ open: on the hub's thread pointer, where constructors find the library's
//!                   │            thread-locals, and do not park; then all blocks get their first values
//!                   └────no────▶ libc's dlopen, as if the caller had called it
//! ```
//!
//! libc looks at who calls: a library that opens another one by its bare name may say itself where to search
//! (`DT_RUNPATH`). Once patched it is always this code that calls, so it searches there for the caller.

use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::{mem, ptr};

use sward_runtime::lowlevel::hooks;

use super::late::catch_up;
use super::modules::map_of_slowly;
use super::{KNOWN, on_hub};
use crate::function::Function;
use crate::table;

/// As `dlopen(3)`.
///
/// # Safety
///
/// As `dlopen(3)`.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void {
    // The arguments and the return address are as they came when it jumps; the third one tells `open` who called.
    std::arch::naked_asm!(
        "mov rdx, [rsp]",
        "push rdi",
        "push rsi",
        "push rdx",
        "call {destination}",
        "pop rdx",
        "pop rsi",
        "pop rdi",
        "jmp rax",
        destination = sym destination,
    )
}

/// Its type.
type Open = unsafe extern "C" fn(*const c_char, c_int) -> *mut c_void;

/// libc's.
static DLOPEN: Function = Function::new(b"dlopen\0", open as *const c_void, dlopen as *const c_void, std::ptr::null());

/// libc's.
fn real() -> Open {
    // Not by way of a function that looks it up: libc asks who calls.
    // SAFETY: the address was looked up under this name, and the type is the C one.
    unsafe { mem::transmute::<*mut c_void, Open>(DLOPEN.resolve_once() as *mut c_void) }
}

/// Where a call goes on.
extern "C" fn destination() -> *const c_void {
    if KNOWN.get().is_some() { open as *const c_void } else { real() as *const c_void }
}

/// Opens a library for the code at `caller`, and gives greenlets its thread-locals.
unsafe extern "C" fn open(file: *const c_char, flags: c_int, caller: *const c_void) -> *mut c_void {
    // SAFETY: null, or the caller's string.
    let name = (!file.is_null()).then(|| unsafe { CStr::from_ptr(file) });
    let found = name.and_then(|name| search(name, caller));
    // SAFETY: the caller's arguments, or what was found.
    let open = |file: *const c_char| on_hub(|| unsafe { real()(file, flags) });
    let mut library = found.map_or(ptr::null_mut(), |found| open(found.as_ptr()));
    if library.is_null() {
        library = open(file);
    }
    if library.is_null() && hooks::has_identity() {
        // Once more, for the message: `dlerror` is a thread's own.
        // SAFETY: as above.
        library = unsafe { real()(file, flags) };
    }
    if !library.is_null() {
        catch_up();
    }
    library
}

/// Where libc would find the library of that name for the code at `caller`, and not for this code.
fn search(name: &CStr, caller: *const c_void) -> Option<CString> {
    if name.to_bytes().contains(&b'/') {
        return None;
    }
    let (own, callers) = (map_of_slowly(destination as *const c_void), map_of_slowly(caller));
    if callers.is_null() || callers == own || !has_search_path(callers) {
        return None;
    }
    // SAFETY: a C string; one that is loaded already has that name for everybody.
    unsafe {
        let loaded = real()(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD);
        if !loaded.is_null() {
            table::real::dlclose(loaded);
            return None;
        }
    }
    let own = directories(own);
    for directory in directories(callers) {
        let file = directory.join(OsStr::from_bytes(name.to_bytes()));
        if file.is_file() {
            return if own.contains(&directory) { None } else { CString::new(file.into_os_string().as_bytes()).ok() };
        }
    }
    None
}

/// What of an object's description is public: `struct link_map`.
#[repr(C)]
struct Map {
    /// The difference between its addresses and those in its file.
    base: usize,
    /// Its file.
    name: *const c_char,
    /// Its dynamic section, which ends with a tag of 0.
    dynamic: *const [usize; 2],
}

/// Whether the object says itself where libraries are searched that it opens.
fn has_search_path(map: *const c_void) -> bool {
    /// `DT_RPATH` and `DT_RUNPATH`.
    const TAGS: [usize; 2] = [15, 29];
    // SAFETY: libc's description of an object that is there, since its code calls.
    let first = unsafe { (*map.cast::<Map>()).dynamic };
    // SAFETY: as above; up to the end.
    let tags = (0..).map(|at| unsafe { (*first.add(at))[0] });
    tags.take_while(|tag| *tag != 0).any(|tag| TAGS.contains(&tag))
}

/// Where libc searches for libraries that the object opens: as `dlinfo(3)` tells.
fn directories(map: *const c_void) -> Vec<PathBuf> {
    /// `Dl_serinfo`, before its entries.
    #[repr(C)]
    struct Head {
        /// Bytes of all.
        size: usize,
        /// How many entries follow.
        count: u32,
    }
    /// `Dl_serpath`.
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Entry {
        /// The directory.
        name: *const c_char,
        /// Where it was told.
        _flags: u32,
    }
    let mut head = Head { size: 0, count: 0 };
    // SAFETY: a description is what `dlopen` returns; a place for the size.
    if unsafe { libc::dlinfo(map.cast_mut(), libc::RTLD_DI_SERINFOSIZE, (&raw mut head).cast()) } != 0 {
        return Vec::new();
    }
    let mut all = vec![0_usize; head.size.div_ceil(size_of::<usize>()) + 1];
    // SAFETY: as above, with room for all; libc wants the head to be filled in by the first call.
    unsafe {
        let place = all.as_mut_ptr();
        libc::dlinfo(map.cast_mut(), libc::RTLD_DI_SERINFOSIZE, place.cast());
        if libc::dlinfo(map.cast_mut(), libc::RTLD_DI_SERINFO, place.cast()) != 0 {
            return Vec::new();
        }
        let count = (*place.cast::<Head>()).count as usize;
        let entries = std::slice::from_raw_parts(place.byte_add(size_of::<Head>()).cast::<Entry>(), count);
        let directory = |entry: &Entry| PathBuf::from(OsStr::from_bytes(CStr::from_ptr(entry.name).to_bytes()));
        entries.iter().map(directory).filter(|directory| directory != Path::new("")).collect()
    }
}
