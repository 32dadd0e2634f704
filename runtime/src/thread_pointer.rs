//! The processor's thread pointer: where the running thread's thread-locals are.
//!
//! On x86-64 Linux it is the base of the segment `fs`. Compilers take it for constant during a
//! function, and so it must be for every function that uses a thread-local: it changes together
//! with the stack, in `greenlet::Execution::resume_as`, and, for one call, in [`ThreadPointer::call`].

use std::ffi::c_void;
use std::ptr::NonNull;

/// The address that the thread-locals of a thread, or of a greenlet, are found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadPointer(NonNull<u8>);

/// A function that is called with another thread pointer.
type Call = extern "C" fn(*mut c_void);

impl ThreadPointer {
    /// From an address.
    pub fn new(address: NonNull<u8>) -> ThreadPointer {
        ThreadPointer(address)
    }

    /// Its address.
    pub fn address(self) -> NonNull<u8> {
        self.0
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
impl ThreadPointer {
    /// That of the code that runs.
    #[inline(always)]
    pub fn current() -> ThreadPointer {
        let address: usize;
        // SAFETY: the psABI keeps the thread pointer's own address in the word that it points to.
        unsafe {
            std::arch::asm!("mov {}, fs:[0]", out(reg) address, options(nostack, readonly, preserves_flags, pure));
        }
        ThreadPointer(NonNull::new(address as *mut u8).expect("a thread has thread-locals"))
    }

    /// Makes it the current one.
    ///
    /// # Safety
    ///
    /// It must be a thread pointer that libc takes for one, the kernel must have enabled the
    /// instruction, and the calling function must not use a thread-local until it has set back the
    /// one that was there before, nor be inlined into one that does.
    #[inline(always)]
    pub(crate) unsafe fn set(self) {
        // SAFETY: the caller vouches for it. The instruction changes nothing that the compiler
        // knows of but the addresses of thread-locals.
        unsafe { std::arch::asm!("wrfsbase {}", in(reg) self.0.as_ptr(), options(nostack, preserves_flags)) };
    }

    /// Calls `f(data)` with this thread pointer.
    ///
    /// # Safety
    ///
    /// As for `set`, and `f` must neither unwind nor park.
    #[inline(never)]
    pub unsafe fn call(self, f: Call, data: *mut c_void) {
        let before = ThreadPointer::current();
        // Hidden from the optimizer: inlined into this function, `f` could use thread-locals of before.
        let f = std::hint::black_box(f);
        // SAFETY: the caller vouches for `self`. This function is not inlined, and uses no
        // thread-local.
        unsafe { self.set() };
        f(data);
        // SAFETY: the one that was there before.
        unsafe { before.set() };
    }
}

/// Elsewhere nobody makes thread pointers, so nothing below is ever called.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu", target_pointer_width = "64")))]
impl ThreadPointer {
    /// That of the code that runs: not known on this system.
    pub fn current() -> ThreadPointer {
        ThreadPointer(NonNull::dangling())
    }

    /// Not possible on this system.
    ///
    /// # Safety
    ///
    /// None needed: it panics.
    pub(crate) unsafe fn set(self) {
        unreachable!("no thread pointer can be made on this system")
    }

    /// Not possible on this system.
    ///
    /// # Safety
    ///
    /// None needed: it panics.
    pub unsafe fn call(self, _: Call, _: *mut c_void) {
        unreachable!("no thread pointer can be made on this system")
    }
}
