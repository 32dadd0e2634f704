//! `dlopen`: a library that comes late gives its thread-locals first values on all threads of libc's
//! list, which greenlets are not on.
//!
//! ```text
//!   dlopen ──▶ destination ──▶ open: on the hub's thread pointer, where constructors find the
//!                   │                library's thread-locals; then all blocks get their first values
//!                   └────────▶ libc's dlopen, as if the caller had called it
//! ```
//!
//! The second way is for a library that opens another one by its bare name: libc looks at who calls, and
//! searches where that one was told to (`DT_RUNPATH`).

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem;

use sward_runtime::lowlevel::hooks;

use super::block::Block;
use super::modules::Loaded;
use super::{KNOWN, known, on_hub};
use crate::function::Function;
use crate::spin::Spin;

/// As `dlopen(3)`.
///
/// # Safety
///
/// As `dlopen(3)`.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void {
    // The arguments and the return address are as they came when it jumps.
    std::arch::naked_asm!(
        "mov rdx, [rsp]",
        "push rdi",
        "push rsi",
        "sub rsp, 8",
        "call {destination}",
        "add rsp, 8",
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
extern "C" fn destination(file: *const c_char, _: c_int, caller: *const c_void) -> Open {
    // SAFETY: null, or the caller's string.
    let has_place = || file.is_null() || unsafe { CStr::from_ptr(file) }.to_bytes().contains(&b'/');
    let is_ours = || object_of(caller).is_some_and(|object| Some(object) == object_of(destination as *const c_void));
    if KNOWN.get().is_some() && (has_place() || is_ours()) { open } else { real() }
}

/// Opens a library, and gives greenlets its thread-locals.
unsafe extern "C" fn open(file: *const c_char, flags: c_int) -> *mut c_void {
    // SAFETY: the caller's arguments.
    let mut library = on_hub(|| unsafe { real()(file, flags) });
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

/// Gives all blocks first values of thread-locals that have come to be since the last time.
pub(super) fn catch_up() {
    /// What was loaded then.
    static SEEN: Spin<Option<&'static Loaded>> = Spin::new(None);
    let layout = &known().layout;
    // Before the lock: it may allocate.
    let now = Loaded::now(layout);
    let mut seen = SEEN.lock();
    if let Some(before) = seen.filter(|before| !before.is(now)) {
        // SAFETY: they are loaded while `since` visits them. A thread that uses them in a greenlet already did not
        // wait for the end of `dlopen`.
        now.since(before, &mut |module| unsafe { Block::renew_all(layout, module) });
    }
    *seen = Some(now);
}

/// Where the object that has this address begins.
fn object_of(address: *const c_void) -> Option<*const c_void> {
    // SAFETY: all zeros is one; any address may be asked for.
    unsafe {
        let mut place = mem::zeroed::<libc::Dl_info>();
        (libc::dladdr(address, &raw mut place) != 0).then_some(place.dli_fbase.cast_const())
    }
}
