//! One libc function: its name, the hook, and where the real one is.

use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// A libc function that has a hook.
pub(crate) struct Function {
    /// Its name.
    symbol: &'static CStr,
    /// The hook.
    hook: Address,
    /// The symbol of that name that this crate exports; another object's if that one is found first.
    exported: Address,
    /// The real function; until it is first needed, `first`.
    real: AtomicPtr<c_void>,
    /// Looks the real function up and calls it; in a statically linked program it is the real one, for good.
    first: Address,
    /// Calls that greenlets made.
    pub(crate) calls: AtomicU64,
    /// How often those parked.
    pub(crate) parks: AtomicU64,
}

/// A function's address.
struct Address(*const c_void);

// SAFETY: code may be called from any thread; the pointer is only compared and stored.
unsafe impl Sync for Address {}

impl Function {
    /// The function called `symbol` and its hook; `first` has its type and calls what [`Function::find`] gives.
    pub(crate) const fn new(
        symbol: &'static [u8],
        hook: *const c_void,
        exported: *const c_void,
        first: *const c_void,
    ) -> Function {
        let Ok(symbol) = CStr::from_bytes_with_nul(symbol) else { panic!("the name ends with a zero byte") };
        let (hook, exported) = (Address(hook), Address(exported));
        let (real, calls, parks) = (AtomicPtr::new(first.cast_mut()), AtomicU64::new(0), AtomicU64::new(0));
        Function { symbol, hook, exported, real, first: Address(first), calls, parks }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &'static str {
        self.symbol.to_str().unwrap_or("?")
    }

    /// Its name, as in C.
    pub(crate) fn symbol(&self) -> &'static CStr {
        self.symbol
    }

    /// Whether a call to this address comes to the hook.
    pub(crate) fn is_ours(&self, address: usize) -> bool {
        address == self.hook.0.addr() || (address == self.exported.0.addr() && address != self.resolve_once())
    }

    /// The hook's address.
    pub(crate) fn hook(&self) -> *const c_void {
        self.hook.0
    }

    /// What to call for the real function: itself, or the one that looks it up first. No test stands
    /// before the call, which so can be a jump.
    #[inline(always)]
    pub(crate) fn real(&self) -> *mut c_void {
        self.real.load(Ordering::Relaxed)
    }

    /// The real function's address; 0 if this libc has none.
    pub(crate) fn resolve_once(&self) -> usize {
        let real = self.real();
        if ptr::eq(real, self.first.0) { self.resolve().addr() } else { real.addr() }
    }

    /// What stands for the real function.
    #[cfg(not(shared_libc))]
    fn resolve(&self) -> *mut c_void {
        self.real()
    }

    /// Looks the real function up; null if this libc has none.
    #[cfg(shared_libc)]
    #[cold]
    fn resolve(&self) -> *mut c_void {
        let mut real = ptr::null_mut();
        let has_two =
            [&b"pthread_cond_wait"[..], b"pthread_cond_timedwait", b"pthread_cond_signal", b"pthread_cond_broadcast"];
        if cfg!(target_arch = "x86_64") && has_two.contains(&self.symbol.to_bytes()) {
            // One is for programs from before 2003, and until version 2.36 of libc the lookup without a version
            // found that.
            // SAFETY: two C strings, and as below.
            real = unsafe { libc::dlvsym(libc::RTLD_NEXT, self.symbol.as_ptr(), c"GLIBC_2.3.2".as_ptr()) };
        }
        if real.is_null() {
            // SAFETY: `symbol` is a C string. The one after this object in the order of lookup is
            // libc's, or that of a sanitizer, which calls libc's.
            real = unsafe { libc::dlsym(libc::RTLD_NEXT, self.symbol.as_ptr()) };
        }
        if real.is_null() {
            // This code is in a library that was loaded after libc.
            // SAFETY: as above; libc is there already, so nothing is loaded and nothing initialised.
            unsafe {
                let libc = libc::dlopen(c"libc.so.6".as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD);
                if !libc.is_null() {
                    real = libc::dlsym(libc, self.symbol.as_ptr());
                }
            }
        }
        if ptr::eq(real, self.hook.0) {
            real = ptr::null_mut();
        }
        if !real.is_null() {
            self.real.store(real, Ordering::Relaxed);
        }
        real
    }

    /// As `resolve`; a program that calls what its libc does not have would not have started.
    #[cfg(shared_libc)]
    #[cold]
    pub(crate) fn find(&self) -> *mut c_void {
        let real = self.resolve();
        if real.is_null() {
            let message = b"sward-patch: a hooked function is not in this program's libc: ";
            for text in [&message[..], self.symbol.to_bytes(), b"\n"] {
                // SAFETY: plain bytes to standard error, by the system call: `write` is hooked too.
                unsafe { libc::syscall(libc::SYS_write, 2, text.as_ptr(), text.len()) };
            }
            std::process::abort();
        }
        real
    }
}
