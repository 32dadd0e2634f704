//! The stack that a thread handles signals on.

use std::marker::PhantomData;
use std::{io, mem, ptr};

use libc::{c_void, stack_t};

use super::super::os;

/// Bytes of a signal stack. std's has a few pages, enough for its message; looking up the names in a
/// backtrace took 44 KiB in a debug build. Untouched memory costs nothing.
const SIZE: usize = 256 << 10;

/// A signal stack for this thread that is large enough for a report. Dropping it puts the former one
/// back in force.
pub(crate) struct AlternateStack {
    /// The lowest address of the map: that of the guard page.
    map: *mut c_void,
    /// Bytes in the guard page.
    guard: usize,
    /// The signal stack that was in force before: std's, as a rule.
    former: stack_t,
    /// It belongs to this thread.
    not_send: PhantomData<*const ()>,
}

impl AlternateStack {
    /// Puts a new signal stack in force.
    ///
    /// # Errors
    ///
    /// The system's, if there is no memory for it, or if the thread handles a signal just now.
    pub(crate) fn new() -> io::Result<AlternateStack> {
        let guard = os::page_size();
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_NORESERVE;
        // SAFETY: a new map at an address of the kernel's choice touches no memory of ours.
        let map = unsafe { libc::mmap(ptr::null_mut(), guard + SIZE, rights, flags, -1, 0) };
        if map == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mut new = AlternateStack { map, guard, former: no_stack(), not_send: PhantomData };
        // SAFETY: the page is the first of the map that was just made. Then the kernel is told of the
        // rest of it, which stays mapped until `drop` has made sure that it is not in force.
        let status = unsafe {
            match libc::mprotect(map, guard, libc::PROT_NONE) {
                0 => libc::sigaltstack(&new.stack(), &mut new.former),
                failed => failed,
            }
        };
        if status != 0 {
            let error = io::Error::last_os_error();
            mem::forget(new);
            // SAFETY: the map is ours, and the kernel was not told of it.
            unsafe { libc::munmap(map, guard + SIZE) };
            return Err(error);
        }
        Ok(new)
    }

    /// What the kernel is told.
    fn stack(&self) -> stack_t {
        stack_t { ss_sp: self.map.wrapping_byte_add(self.guard), ss_flags: 0, ss_size: SIZE }
    }
}

impl Drop for AlternateStack {
    fn drop(&mut self) {
        let mut current = no_stack();
        // SAFETY: asks for the stack in force, which is written to a valid place.
        unsafe { libc::sigaltstack(ptr::null(), &mut current) };
        let is_ours = current.ss_flags & libc::SS_DISABLE == 0 && current.ss_sp == self.stack().ss_sp;
        // Nobody's stack in force: std has taken its own down at the end of the thread, and whatever
        // was `former` is gone. Somebody else's: they may put ours back in force, so it must stay.
        let is_free = if is_ours {
            // SAFETY: the former stack was in force before ours; its owner did not take it down, for
            // that would have taken ours out of force.
            unsafe { libc::sigaltstack(&self.former, ptr::null_mut()) == 0 }
        } else {
            current.ss_flags & libc::SS_DISABLE != 0
        };
        if is_free {
            // SAFETY: the map is ours and the kernel does not use it any more.
            unsafe { libc::munmap(self.map, self.guard + SIZE) };
        }
    }
}

/// "No signal stack", in the kernel's words.
fn no_stack() -> stack_t {
    // SAFETY: all zeroes is a `stack_t`.
    let mut stack: stack_t = unsafe { mem::zeroed() };
    stack.ss_flags = libc::SS_DISABLE;
    // macOS looks at the size even of a stack that is not to be.
    stack.ss_size = libc::MINSIGSTKSZ;
    stack
}
