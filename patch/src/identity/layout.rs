//! Where glibc keeps what a block must get right, found out at run time and checked.
//!
//! ```text
//!    low                                                                            high
//!   ┌───────────┬───────────────┬──────────────────┬───────────────────────────────┐
//!   │ surplus   │ libraries'    │ the program's    │ struct pthread                │
//!   │ for later │ thread-locals │ thread-locals    │ self, dtv, tid, keys, robust… │
//!   └───────────┴───────────────┴──────────────────┴───────────────────────────────┘
//!               ▲ libc's: errno, malloc, locale …  ▲ thread pointer (fs)
//! ```
//!
//! Sizes and offsets come from the symbols that glibc has for debuggers (`_thread_db_*`). The three
//! places in libc's own thread-locals that have no symbol are found by watching which word changes.

use std::ffi::{CStr, c_int, c_void};
use std::ptr;

use sward_runtime::lowlevel::hooks::ThreadPointer;

use super::block::Block;
use super::modules::{self, FindObject, Module};

/// Keys whose values `struct pthread` holds itself, and second-level blocks.
pub(super) const KEYS_PER_BLOCK: usize = 32;
/// A key's value with its sequence number.
pub(super) const KEY_DATA: usize = 16;
/// Words of malloc that may be found: its cache and its arena.
const MALLOC_WORDS: usize = 4;

/// `_dl_allocate_tls` and `_dl_deallocate_tls`.
pub(super) type Allocate = unsafe extern "C" fn(*mut c_void) -> *mut c_void;
/// `_dl_deallocate_tls`.
pub(super) type Deallocate = unsafe extern "C" fn(*mut c_void, bool);

/// Offsets from the thread pointer, in bytes.
#[derive(Debug)]
pub(super) struct Layout {
    /// Bytes of `struct pthread`.
    pub(super) pthread: usize,
    /// Bytes of static thread-locals, `struct pthread` included.
    pub(super) size: usize,
    /// What the thread pointer is a multiple of.
    pub(super) align: usize,
    /// The thread's number.
    pub(super) tid: usize,
    /// Its link in libc's list of threads.
    pub(super) list: usize,
    /// Pointers to blocks of keys' values; the first block is right before them.
    pub(super) keys: usize,
    /// The list of robust mutexes that it holds.
    pub(super) robust: Option<usize>,
    /// The kernel's restartable sequences.
    pub(super) rseq: Option<isize>,
    /// libc's own thread-locals.
    pub(super) libc: Module,
    /// The list of destructors of thread-locals.
    pub(super) destructors: isize,
    /// Words of malloc: shared with the hub's thread, on which they are used.
    pub(super) malloc: [Option<isize>; MALLOC_WORDS],
    /// The resolver's state: likewise.
    pub(super) resolver: isize,
    /// In a library's description (`struct link_map`): how far below the thread pointer its thread-locals are.
    pub(super) tls_offset_in_map: usize,
    /// Finds the description of a library without a lock, where libc can.
    pub(super) find_object: Option<FindObject>,
    /// Completes a block.
    pub(super) allocate: Allocate,
    /// Frees what it has allocated.
    pub(super) deallocate: Deallocate,
}

/// Why greenlets cannot have thread-locals of their own.
pub(super) type Why = &'static str;

impl Layout {
    /// Finds out and checks.
    pub(super) fn find() -> Result<Layout, Why> {
        let own = ThreadPointer::current();
        let mut layout = Layout::from_symbols(own)?;
        layout.check(own)?;
        layout.robust = robust_list(own).filter(|robust| robust + 24 <= layout.pthread);
        layout.watch(own)?;
        Ok(layout)
    }

    /// What symbols tell.
    fn from_symbols(own: ThreadPointer) -> Result<Layout, Why> {
        let allocate = symbol(c"_dl_allocate_tls").ok_or("this libc has no _dl_allocate_tls")?;
        let deallocate = symbol(c"_dl_deallocate_tls").ok_or("this libc has no _dl_deallocate_tls")?;
        let info = symbol(c"_dl_get_tls_static_info").ok_or("this libc has no _dl_get_tls_static_info")?;
        // SAFETY: the types that glibc's headers give these functions, since 2.4 at the latest.
        let (allocate, deallocate, info) = unsafe {
            (
                std::mem::transmute::<*mut c_void, Allocate>(allocate),
                std::mem::transmute::<*mut c_void, Deallocate>(deallocate),
                std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut usize, *mut usize)>(info),
            )
        };
        let (mut size, mut align) = (0, 0);
        // SAFETY: two places for the results.
        unsafe { info(&raw mut size, &raw mut align) };
        let pthread = symbol(c"_thread_db_sizeof_pthread").ok_or("this libc does not tell the size of a thread")?;
        let resolver = symbol(c"__resp").ok_or("this libc has no __resp")?;
        Ok(Layout {
            // SAFETY: a constant of that type.
            pthread: unsafe { *pthread.cast::<u32>() } as usize,
            size,
            align,
            tid: field(c"_thread_db_pthread_tid", 32)?,
            list: field(c"_thread_db_pthread_list", 128)?,
            keys: field(c"_thread_db_pthread_specific", 64 * KEYS_PER_BLOCK as u32)?,
            robust: None,
            // SAFETY: a constant of that type.
            rseq: symbol(c"__rseq_offset").map(|offset| unsafe { *offset.cast::<isize>() }),
            libc: modules::of_libc(own)?,
            destructors: 0,
            malloc: [None; MALLOC_WORDS],
            resolver: offset(own, resolver.addr()),
            tls_offset_in_map: field(c"_thread_db_link_map_l_tls_offset", 64)?,
            // SAFETY: the type that glibc's headers give it.
            find_object: symbol(c"_dl_find_object")
                .map(|find| unsafe { std::mem::transmute::<*mut c_void, FindObject>(find) }),
            allocate,
            deallocate,
        })
    }

    /// Compares it with the calling thread.
    fn check(&self, own: ThreadPointer) -> Result<(), Why> {
        let base = own.address().as_ptr();
        let word = |offset: usize| {
            // SAFETY: below `pthread`, the size of what the thread pointer points to.
            unsafe { base.add(offset).cast::<usize>().read() }
        };
        let inside = |offset: usize, len: usize| offset.checked_add(len).is_some_and(|end| end <= self.pthread);
        let is_sane = (1024..65536).contains(&self.pthread)
            && (self.pthread..1 << 20).contains(&self.size)
            && self.align.is_power_of_two()
            && inside(self.tid, 4)
            && inside(self.list, 16)
            && self.keys >= KEYS_PER_BLOCK * KEY_DATA
            && inside(self.keys, KEYS_PER_BLOCK * 8);
        if !is_sane {
            return Err("this libc's description of a thread has sizes that make no sense");
        }
        // SAFETY: takes nothing.
        let (me, tid) = unsafe { (libc::pthread_self() as usize, libc::syscall(libc::SYS_gettid)) };
        // SAFETY: inside, as was just checked.
        let seen = unsafe { base.add(self.tid).cast::<i32>().read() };
        let first = word(self.keys);
        let is_ours = word(0) == base.addr()
            && word(16) == base.addr()
            && me == base.addr()
            && i64::from(seen) == tid
            && (first == 0 || first == base.addr() + self.keys - KEYS_PER_BLOCK * KEY_DATA);
        // SAFETY: takes nothing.
        let errno = offset(own, unsafe { libc::__errno_location() }.addr());
        if is_ours && self.libc.covers(errno) && self.libc.covers(self.resolver) {
            Ok(())
        } else {
            Err("this libc's description of a thread is not what this thread looks like")
        }
    }

    /// Watches libc's thread-locals change.
    fn watch(&mut self, own: ThreadPointer) -> Result<(), Why> {
        let block = Block::bare(self, own).ok_or("out of memory")?;
        let mut watched = Watched { libc: self.libc, seen: [const { Vec::new() }; 4], calls: Calls::find()? };
        for seen in &mut watched.seen {
            seen.reserve(self.libc.words());
        }
        // SAFETY: the block is complete, but for what is being found out; `look` neither unwinds nor parks.
        unsafe { block.call(look, (&raw mut watched).cast()) };
        block.free(self);
        let [fresh, allocated, registered, called] = &watched.seen;
        let mut malloc = (0..fresh.len()).filter(|&at| fresh[at] != allocated[at]).map(|at| self.libc.word(at));
        self.malloc.fill_with(|| malloc.next());
        if malloc.next().is_some() {
            return Err("malloc has more thread-locals than are known");
        }
        let of_destructors = |at: &usize| allocated[*at] == 0 && registered[*at] != 0 && called[*at] == 0;
        let mut destructors = (0..fresh.len()).filter(of_destructors);
        match (destructors.next(), destructors.next()) {
            (Some(at), None) => self.destructors = self.libc.word(at),
            _ => return Err("the list of destructors of thread-locals was not found"),
        }
        Ok(())
    }
}

/// What `look` does and sees.
struct Watched {
    /// libc's thread-locals.
    libc: Module,
    /// They as they are: at first, after malloc, with a destructor, after its call.
    seen: [Vec<usize>; 4],
    /// What it calls.
    calls: Calls,
}

/// `__cxa_thread_atexit_impl`.
type Register = unsafe extern "C" fn(extern "C" fn(*mut c_void), *mut c_void, *mut c_void) -> c_int;

/// Functions without a declaration.
#[derive(Clone, Copy)]
pub(super) struct Calls {
    /// `__cxa_thread_atexit_impl`.
    register: Register,
    /// `__call_tls_dtors`.
    pub(super) destroy: unsafe extern "C" fn(),
}

impl Calls {
    /// Looks them up.
    pub(super) fn find() -> Result<Calls, Why> {
        let register = symbol(c"__cxa_thread_atexit_impl").ok_or("this libc has no __cxa_thread_atexit_impl")?;
        let destroy = symbol(c"__call_tls_dtors").ok_or("this libc has no __call_tls_dtors")?;
        // SAFETY: the types of the C++ ABI, and of glibc.
        Ok(unsafe {
            Calls {
                register: std::mem::transmute::<*mut c_void, Register>(register),
                destroy: std::mem::transmute::<*mut c_void, unsafe extern "C" fn()>(destroy),
            }
        })
    }
}

/// Runs with the thread pointer of a block that nothing else uses.
extern "C" fn look(watched: *mut c_void) {
    extern "C" fn nothing(_: *mut c_void) {}
    // SAFETY: the one that `watch` lends for the call.
    let Watched { libc, seen, calls } = unsafe { &mut *watched.cast::<Watched>() };
    let own = ThreadPointer::current();
    let [fresh, allocated, registered, called] = seen;
    // The vectors are large enough: nothing but what is written here allocates.
    libc.read(own, fresh);
    // SAFETY: freed at once.
    unsafe { libc::free(std::hint::black_box(libc::malloc(40))) };
    libc.read(own, allocated);
    // SAFETY: the last argument is any address in the object that has the function.
    unsafe { (calls.register)(nothing, ptr::null_mut(), nothing as *mut c_void) };
    libc.read(own, registered);
    // SAFETY: takes nothing; calls `nothing`.
    unsafe { (calls.destroy)() };
    libc.read(own, called);
}

/// The offset of an address.
pub(super) fn offset(own: ThreadPointer, address: usize) -> isize {
    (address as isize).wrapping_sub(own.address().as_ptr().addr() as isize)
}

/// Where the kernel was told that this thread's robust mutexes are, if it holds none now.
fn robust_list(own: ThreadPointer) -> Option<usize> {
    let (mut head, mut len) = (ptr::null_mut::<usize>(), 0usize);
    // SAFETY: two places for the results.
    let result = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut len) };
    if result != 0 || head.is_null() {
        return None;
    }
    // SAFETY: libc's list, which begins with a pointer to the next, and has one to the previous before it.
    let is_empty = unsafe { *head == head.addr() && *head.sub(1) == head.addr() };
    is_empty.then(|| offset(own, head.addr())).and_then(|offset| usize::try_from(offset).ok())
}

/// A symbol's address.
pub(super) fn symbol(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: a C string.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!address.is_null()).then_some(address)
}

/// The offset of a field that glibc tells debuggers of, if it is as long as expected: size in bits, number, offset.
fn field(name: &CStr, bits: u32) -> Result<usize, Why> {
    let descriptor = symbol(name).ok_or("this libc does not tell where the parts of a thread are")?;
    // SAFETY: three words of 32 bits, in every glibc that has such symbols.
    let [size, _, offset] = unsafe { descriptor.cast::<[u32; 3]>().read() };
    if size == bits {
        Ok(offset as usize)
    } else {
        Err("a part of this libc's description of a thread has another size")
    }
}
