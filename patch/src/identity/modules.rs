//! The thread-locals of the program and of each library: what they are at first, and where a block has them.
//!
//! Libraries come and go. Everything that reads what belongs to one happens in a callback of
//! `dl_iterate_phdr`, during which none can go.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use libc::{PT_TLS, dl_phdr_info, size_t};
use sward_runtime::lowlevel::hooks::ThreadPointer;

use super::layout::{Layout, Why, offset};

/// Asks `dladdr1` for the object's description.
const RTLD_DL_LINKMAP: c_int = 2;

/// Thread-locals at a fixed distance from the thread pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Module {
    /// Where they begin.
    offset: isize,
    /// Their first values.
    image: *const u8,
    /// How many bytes those are; the rest is zero at first.
    filled: usize,
    /// How many bytes they are in all.
    len: usize,
}

// SAFETY: the image is only read, and only in a callback of `dl_iterate_phdr`.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Sync for Module {}

impl Module {
    /// Whether a word at `offset` is among them.
    pub(super) fn covers(&self, offset: isize) -> bool {
        offset >= self.offset && offset + 8 <= self.offset + self.len as isize
    }

    /// How many whole words they are.
    pub(super) fn words(&self) -> usize {
        self.len / 8
    }

    /// The offset of a word.
    pub(super) fn word(&self, at: usize) -> isize {
        self.offset + (at * 8) as isize
    }

    /// Reads them. The vector must have room.
    pub(super) fn read(&self, block: ThreadPointer, words: &mut Vec<usize>) {
        // SAFETY: `offset` is where the block has them.
        let first = unsafe { block.address().as_ptr().offset(self.offset).cast::<usize>() };
        // SAFETY: as above.
        words.extend((0..self.words()).map(|at| unsafe { first.add(at).read_volatile() }));
    }

    /// Sets a block's to what they are at first.
    ///
    /// # Safety
    ///
    /// The block must be one, nobody may use these thread-locals of it, and the library must be loaded.
    pub(super) unsafe fn renew(&self, block: ThreadPointer) {
        // SAFETY: the caller vouches for it.
        unsafe { renew(block.address().as_ptr().offset(self.offset), self.image, self.filled, self.len) };
    }
}

/// Writes first values.
///
/// # Safety
///
/// All must be as their names say.
unsafe fn renew(place: *mut u8, image: *const u8, filled: usize, len: usize) {
    // SAFETY: the caller vouches for it.
    unsafe {
        ptr::copy_nonoverlapping(image, place, filled);
        ptr::write_bytes(place.add(filled), 0, len - filled);
    }
}

/// What was loaded at one time.
#[derive(Debug)]
pub(super) struct Loaded {
    /// How many objects had been loaded, and unloaded, until then.
    generation: (u64, u64),
    /// Those whose thread-locals have a fixed place, but for libc's.
    fixed: Vec<Module>,
    /// Whether there are others: those of which a thread gets a copy when it first uses one.
    has_others: bool,
}

/// What was loaded when somebody last looked; never freed, since it may be in use.
static LOADED: AtomicPtr<Loaded> = AtomicPtr::new(ptr::null_mut());

impl Loaded {
    /// What is loaded now.
    pub(super) fn now(layout: &Layout) -> &'static Loaded {
        loop {
            if let Some(known) = Loaded::known()
                && known.generation == generation()
            {
                return known;
            }
            let (mut seen, mut modules) = ((0, 0), Vec::new());
            visit(&mut |info| {
                seen = (info.dlpi_adds, info.dlpi_subs);
                modules.extend(find(info));
                false
            });
            let places: Vec<_> = modules.iter().map(|module| module.place(layout)).collect();
            if generation() != seen {
                continue;
            }
            let mut loaded = Loaded { generation: seen, fixed: Vec::new(), has_others: false };
            for (module, place) in modules.into_iter().zip(places) {
                match place {
                    // libc's stay as they are.
                    Some(offset) if offset == layout.libc.offset => {}
                    Some(offset) => loaded.fixed.push(Module { offset, ..module }),
                    None => loaded.has_others = true,
                }
            }
            LOADED.store(Box::into_raw(Box::new(loaded)), Ordering::Release);
        }
    }

    /// What was loaded when somebody last looked.
    fn known() -> Option<&'static Loaded> {
        // SAFETY: null, or leaked.
        unsafe { LOADED.load(Ordering::Acquire).as_ref() }
    }

    /// Whether it is the same.
    pub(super) fn is(&self, other: &Loaded) -> bool {
        self.generation == other.generation
    }

    /// Those that are not in `before`, given to `f` while they are loaded.
    pub(super) fn since(&self, before: &Loaded, f: &mut dyn FnMut(&Module)) {
        visit(&mut |info| {
            if self.generation == (info.dlpi_adds, info.dlpi_subs) {
                self.fixed.iter().filter(|module| !before.fixed.contains(module)).for_each(&mut *f);
            }
            true
        });
    }

    /// Sets the thread-locals of the calling greenlet to what they are at first; false if something
    /// was loaded meanwhile. Does not allocate.
    ///
    /// # Safety
    ///
    /// They are its own, and it uses none any more.
    pub(super) unsafe fn renew(&self, layout: &Layout) -> bool {
        let own = ThreadPointer::current();
        let base = own.address().as_ptr().addr();
        let fixed = base - (layout.size - layout.pthread)..base;
        let (mut first, mut same) = (true, true);
        visit(&mut |info| {
            if std::mem::take(&mut first) {
                same = self.generation == (info.dlpi_adds, info.dlpi_subs);
                if same {
                    // SAFETY: the caller vouches for the block; they are loaded, as nothing has changed.
                    self.fixed.iter().for_each(|module| unsafe { module.renew(own) });
                }
                if !same || !self.has_others {
                    return true;
                }
            }
            if let Some(module) = find(info)
                && !info.dlpi_tls_data.is_null()
                && !fixed.contains(&info.dlpi_tls_data.addr())
            {
                // SAFETY: this thread's copy, as libc says.
                unsafe { renew(info.dlpi_tls_data.cast(), module.image, module.filled, module.len) };
            }
            false
        });
        same
    }
}

impl Module {
    /// Where threads have the object's thread-locals, if that is the same place for all. Not in a callback of
    /// `dl_iterate_phdr`, whose lock comes after that of `dladdr1`: the caller looks afterwards whether the object was
    /// there all the time.
    fn place(&self, layout: &Layout) -> Option<isize> {
        // SAFETY: all zeros is one.
        let mut place = unsafe { std::mem::zeroed::<libc::Dl_info>() };
        let mut map = ptr::null_mut::<c_void>();
        // SAFETY: any address may be asked for; two places for the results.
        let found = unsafe { dladdr1(self.image.cast(), &raw mut place, &raw mut map, RTLD_DL_LINKMAP) };
        if found == 0 || map.is_null() {
            return None;
        }
        // SAFETY: the object's description, and libc's word on where the field is. Should the object be unloaded right
        // now, the memory is still the heap's, and what was read is not used.
        let below = unsafe { map.byte_add(layout.tls_offset_in_map).cast::<isize>().read_volatile() };
        // 0 and -1 say that there is no such place.
        (below > 0).then_some(-below)
    }
}

unsafe extern "C" {
    /// As `dladdr(3)` says.
    fn dladdr1(address: *const c_void, place: *mut libc::Dl_info, extra: *mut *mut c_void, flags: c_int) -> c_int;
}

/// libc's own thread-locals.
pub(super) fn of_libc(own: ThreadPointer) -> Result<Module, Why> {
    // SAFETY: takes nothing.
    let errno = offset(own, unsafe { libc::__errno_location() }.addr());
    let mut libc = Err("libc's thread-locals were not found");
    visit(&mut |info| {
        if let Some(module) = find(info)
            && !info.dlpi_tls_data.is_null()
        {
            let module = Module { offset: offset(own, info.dlpi_tls_data.addr()), ..module };
            if errno >= module.offset && errno < module.offset + module.len as isize {
                libc = Ok(module);
            }
        }
        libc.is_ok()
    });
    libc
}

/// How many objects have been loaded, and unloaded, so far.
fn generation() -> (u64, u64) {
    let mut generation = (0, 0);
    visit(&mut |info| {
        generation = (info.dlpi_adds, info.dlpi_subs);
        true
    });
    generation
}

/// An object's thread-locals, if it has any; their place is left open.
fn find(info: &dl_phdr_info) -> Option<Module> {
    // SAFETY: libc's own list.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let header = headers.iter().find(|header| header.p_type == PT_TLS)?;
    let image = ptr::with_exposed_provenance(info.dlpi_addr.wrapping_add(header.p_vaddr) as usize);
    Some(Module { offset: 0, image, filled: header.p_filesz as usize, len: header.p_memsz as usize })
}

/// Calls `f` for each object, until it says true. It must not unwind.
fn visit(f: &mut dyn FnMut(&dl_phdr_info) -> bool) {
    unsafe extern "C" fn each(info: *mut dl_phdr_info, _: size_t, f: *mut c_void) -> c_int {
        // SAFETY: the two pointers are libc's and ours, for the time of this call.
        let (info, f) = unsafe { (&*info, &mut *f.cast::<&mut dyn FnMut(&dl_phdr_info) -> bool>()) };
        c_int::from(f(info))
    }
    let mut f = f;
    // SAFETY: `each` is called with our pointer before this returns.
    unsafe { libc::dl_iterate_phdr(Some(each), (&raw mut f).cast()) };
}
