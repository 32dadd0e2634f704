//! A block of thread-locals for one greenlet at a time.
//!
//! ```text
//!    memory                                thread pointer
//!   ┌─────────────────────────────────────┬────────────────┬───────────┐
//!   │ thread-locals with a fixed place    │ struct pthread │ links     │
//!   └─────────────────────────────────────┴────────────────┴───────────┘
//! ```

use std::alloc;
use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};

use sward_runtime::lowlevel::hooks::ThreadPointer;

use super::layout::{KEY_DATA, KEYS_PER_BLOCK, Layout};
use super::modules::Module;
use crate::spin::Spin;

/// The number of the first greenlet that is a thread to libc: more than Linux gives threads.
const FIRST_NUMBER: u32 = 1 << 22;
/// How many numbers there are; a mutex keeps 30 bits of its owner's.
const NUMBERS: u32 = (1 << 30) - FIRST_NUMBER;

/// A block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block(ThreadPointer);

/// What stands behind a block: its neighbours in the list of all.
struct Links {
    /// The block after it.
    next: Option<Block>,
    /// The block before it.
    previous: Option<Block>,
    /// The thread pointer of the thread whose greenlets use it.
    home: ThreadPointer,
    /// Which list it is in.
    list: u32,
}

/// The list of all blocks.
struct All {
    /// The first.
    first: Option<Block>,
    /// How many lists were given up before this one.
    number: u32,
}

// SAFETY: the blocks of the list, and their links, are touched by who holds the list's lock.
unsafe impl Send for All {}

/// All blocks that there are.
static ALL: Spin<All> = Spin::new(All { first: None, number: 0 });

impl Block {
    /// A block for greenlets of the thread that `own` is of; `None` if there is no memory.
    pub(super) fn new(layout: &Layout, own: ThreadPointer) -> Option<Block> {
        let block = Block::bare(layout, own)?;
        block.share_malloc(layout, own);
        block.reset_locale();
        let mut all = ALL.lock();
        let first = all.first.replace(block);
        // SAFETY: room was made for the links, and the lock is held.
        unsafe {
            block.links(layout).write(Links { next: first, previous: None, home: own, list: all.number });
            if let Some(first) = first {
                (*first.links(layout)).previous = Some(block);
            }
        }
        Some(block)
    }

    /// Takes the block out of the list and frees it.
    pub(super) fn drop_listed(self, layout: &Layout) {
        let mut all = ALL.lock();
        // SAFETY: the lock is held, and the block was listed when it was made; so are its neighbours, if its list is there.
        unsafe {
            let Links { next, previous, list, .. } = self.links(layout).read();
            if list == all.number {
                match previous {
                    Some(previous) => (*previous.links(layout)).next = next,
                    None => all.first = next,
                }
                if let Some(next) = next {
                    (*next.links(layout)).previous = previous;
                }
            }
        }
        drop(all);
        self.free(layout);
    }

    /// Gives all blocks first values for thread-locals that have just come to be.
    ///
    /// # Safety
    ///
    /// Nobody uses them yet, and their object is loaded.
    pub(super) unsafe fn renew_all(layout: &Layout, module: &Module) {
        let all = ALL.lock();
        let mut next = all.first;
        while let Some(block) = next {
            // SAFETY: the caller vouches for it; the lock is held, so the block is there.
            unsafe {
                module.renew(block.0);
                next = (*block.links(layout)).next;
            }
        }
    }

    /// In a fork's child: whoever held the list is not there, and may have left it half changed. Then a new one begins, for
    /// blocks that are made from now on.
    pub(super) fn after_fork() {
        if ALL.break_open() {
            let mut all = ALL.lock();
            *all = All { first: None, number: all.number + 1 };
        }
    }

    /// A block that is in no list, as a new thread's, with the description of the thread that `own` is of.
    pub(super) fn bare(layout: &Layout, own: ThreadPointer) -> Option<Block> {
        let (memory, below) = memory(layout);
        // SAFETY: the size is not zero.
        let start = NonNull::new(unsafe { alloc::alloc_zeroed(memory) })?;
        // SAFETY: inside of what was allocated.
        let base = unsafe { start.add(below) };
        // SAFETY: libc fills what is below `base` with first values, and makes a vector of modules, to which
        // the second word at `base` will point.
        if unsafe { (layout.allocate)(base.as_ptr().cast()) }.is_null() {
            // SAFETY: allocated above.
            unsafe { alloc::dealloc(start.as_ptr(), memory) };
            return None;
        }
        let block = Block(ThreadPointer::new(base));
        block.describe(layout, own);
        Some(block)
    }

    /// Frees a block that no greenlet uses, with the copies of thread-locals that have no fixed place.
    pub(super) fn free(self, layout: &Layout) {
        for level in 1..KEYS_PER_BLOCK {
            // SAFETY: null, or from libc's `calloc`.
            unsafe { libc::free(self.word(layout.keys + 8 * level).read() as *mut c_void) };
        }
        let (memory, below) = memory(layout);
        let base = self.0.address().as_ptr();
        // SAFETY: made in `bare`; libc frees what it has made there.
        unsafe {
            (layout.deallocate)(base.cast(), false);
            alloc::dealloc(base.sub(below), memory);
        }
    }

    /// The thread pointer of the thread that a greenlet is on, if `pointer` is a greenlet's: that of a thread, or of a
    /// greenlet, which has not ended. From any thread, also in a signal handler.
    pub(super) fn home_of(pointer: ThreadPointer, layout: &Layout) -> Option<ThreadPointer> {
        let block = Block(pointer);
        // SAFETY: threads and greenlets have a number at the same place, and only greenlets one so high. Their blocks are
        // in the list, with a home that never changes.
        unsafe {
            let number = pointer.address().as_ptr().add(layout.tid).cast::<u32>().read_volatile();
            (FIRST_NUMBER..FIRST_NUMBER + NUMBERS).contains(&number).then(|| (*block.links(layout)).home)
        }
    }

    /// The block of a thread pointer that `thread_pointer` gave.
    pub(super) fn of(pointer: ThreadPointer) -> Block {
        Block(pointer)
    }

    /// Its thread pointer.
    pub(super) fn thread_pointer(self) -> ThreadPointer {
        self.0
    }

    /// Calls `f(data)` with this block's thread-locals.
    ///
    /// # Safety
    ///
    /// `f` must neither unwind nor park.
    pub(super) unsafe fn call(self, f: extern "C" fn(*mut c_void), data: *mut c_void) {
        // SAFETY: a block is what libc takes for a thread; the processor was asked (see `start`).
        unsafe { self.0.call(f, data) };
    }

    /// Describes a new thread. Only the beginning of `struct pthread` is as that of the one that `own` is of: the guards
    /// of stack and pointers, which the whole process shares. What follows is a thread's alone (buffers that it frees,
    /// the way out of it, locks), and all zeros for a new one.
    fn describe(self, layout: &Layout, own: ThreadPointer) {
        let base = self.0.address().as_ptr();
        // SAFETY: all places are inside of `struct pthread`, as `layout` has checked, which both have.
        unsafe {
            let modules = self.word(8).read();
            ptr::copy_nonoverlapping(own.address().as_ptr(), base, layout.list);
            self.word(0).write(base.addr());
            self.word(8).write(modules);
            self.word(16).write(base.addr());
            // "There are several threads": then libc leaves out no lock.
            base.add(24).cast::<i32>().write(1);
            // A list of itself alone: libc's list of threads does not have it.
            self.word(layout.list).write(base.addr() + layout.list);
            self.word(layout.list + 8).write(base.addr() + layout.list);
            if let Some(rseq) = layout.rseq {
                // "Not registered": the kernel writes to the hub's thread's.
                base.offset(rseq + 4).cast::<i32>().write(-1);
            }
        }
        self.renew_keys(layout);
        self.renew_number(layout);
        self.forget_robust(layout);
    }

    /// Holds no robust mutex. One that was not unlocked stays locked, as the kernel does not know of it.
    pub(super) fn forget_robust(self, layout: &Layout) {
        let Some(robust) = layout.robust else { return };
        let head = self.0.address().as_ptr().addr() + robust;
        // SAFETY: inside of `struct pthread`: the previous mutex, the next, and the one being locked.
        unsafe {
            self.word(robust - 8).write(head);
            self.word(robust).write(head);
            self.word(robust + 16).write(0);
        }
    }

    /// Another thread number.
    pub(super) fn renew_number(self, layout: &Layout) {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = FIRST_NUMBER + NEXT.fetch_add(1, Ordering::Relaxed) % NUMBERS;
        // SAFETY: inside of `struct pthread`.
        unsafe { self.0.address().as_ptr().add(layout.tid).cast::<u32>().write(number) };
    }

    /// No value under any key; second-level blocks stay.
    pub(super) fn renew_keys(self, layout: &Layout) {
        let len = KEYS_PER_BLOCK * KEY_DATA;
        // SAFETY: the first block is in `struct pthread`, before the pointers to all; the others have the same size.
        unsafe {
            let first = self.0.address().as_ptr().add(layout.keys - len);
            self.word(layout.keys).write(first.addr());
            for level in 0..KEYS_PER_BLOCK {
                let values = self.word(layout.keys + 8 * level).read() as *mut u8;
                if !values.is_null() {
                    ptr::write_bytes(values, 0, len);
                }
            }
        }
    }

    /// Lets the block use the malloc cache and the resolver of the thread that `own` is of, on which it runs.
    pub(super) fn share_malloc(self, layout: &Layout, own: ThreadPointer) {
        for offset in layout.malloc.into_iter().flatten().chain([layout.resolver]) {
            // SAFETY: in libc's thread-locals, which both have at the same place.
            unsafe {
                let word = own.address().as_ptr().offset(offset).cast::<usize>().read();
                self.0.address().as_ptr().offset(offset).cast::<usize>().write(word);
            }
        }
    }

    /// Whether a destructor of a thread-local is registered.
    pub(super) fn has_destructors(self, layout: &Layout) -> bool {
        // SAFETY: in libc's thread-locals.
        unsafe { self.0.address().as_ptr().offset(layout.destructors).cast::<usize>().read() != 0 }
    }

    /// Forgets destructors that were registered too late.
    pub(super) fn forget_destructors(self, layout: &Layout) {
        // SAFETY: as above.
        unsafe { self.0.address().as_ptr().offset(layout.destructors).cast::<usize>().write(0) };
    }

    /// The process's locale, as a new thread has.
    fn reset_locale(self) {
        // SAFETY: `reset_locale` neither unwinds nor parks.
        unsafe { self.call(reset_locale, ptr::null_mut()) };
    }

    /// A word of `struct pthread`.
    fn word(self, offset: usize) -> *mut usize {
        // SAFETY: the callers' offsets are inside.
        unsafe { self.0.address().as_ptr().add(offset).cast() }
    }

    /// Its neighbours.
    fn links(self, layout: &Layout) -> *mut Links {
        // SAFETY: behind `struct pthread`, where `memory` has made room.
        unsafe { self.0.address().as_ptr().add(layout.pthread.next_multiple_of(align_of::<Links>())).cast() }
    }
}

/// Sets the calling thread's locale to the process's.
pub(super) extern "C" fn reset_locale(_: *mut c_void) {
    /// `LC_GLOBAL_LOCALE`.
    const GLOBAL: libc::locale_t = ptr::without_provenance_mut(usize::MAX);
    // SAFETY: takes a constant.
    unsafe { libc::uselocale(GLOBAL) };
}

/// What a block is allocated as, and how many bytes of it are below the thread pointer.
fn memory(layout: &Layout) -> (alloc::Layout, usize) {
    let align = layout.align.max(64);
    let below = (layout.size - layout.pthread).next_multiple_of(align);
    let above = layout.pthread.next_multiple_of(align_of::<Links>()) + size_of::<Links>();
    let memory = alloc::Layout::from_size_align(below + above, align).expect("some kilobytes");
    (memory, below)
}
