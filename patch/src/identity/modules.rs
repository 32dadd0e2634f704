//! The thread-locals of the program and of each library: what they are at first, and where a block has them.
//!
//! Libraries come and go. Everything that reads what belongs to one happens in a callback of
//! `dl_iterate_phdr`, during which none can go.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use libc::{Elf64_Sym, PT_LOAD, PT_TLS, dl_phdr_info, size_t};
use sward_runtime::lowlevel::hooks::ThreadPointer;

use super::layout::{Layout, Why, offset};
use crate::table::real;

/// Asks `dladdr1` for the symbol.
const RTLD_DL_SYMENT: c_int = 1;
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

/// A set of objects that were loaded at one time. Never freed, since it may be in use; one that was there before, as when
/// a library comes and goes, is used again.
#[derive(Debug)]
pub(super) struct Loaded {
    /// How many objects had been loaded and unloaded, together, when this was the set last.
    generation: AtomicU64,
    /// Those whose thread-locals have a fixed place, but for libc's.
    fixed: Vec<Module>,
    /// Whether there are others: those of which a thread gets a copy when it first uses one.
    has_others: bool,
    /// The one that was the last to be found before it.
    before: AtomicPtr<Loaded>,
}

/// What was loaded when somebody last looked.
static LOADED: AtomicPtr<Loaded> = AtomicPtr::new(ptr::null_mut());
/// The set that was found last; the others by way of it.
static SETS: AtomicPtr<Loaded> = AtomicPtr::new(ptr::null_mut());

/// How often a place is asked for that is not known yet.
const LOOKS: u32 = 1000;

impl Loaded {
    /// What is loaded now.
    pub(super) fn now(layout: &Layout) -> &'static Loaded {
        let (mut looks, mut room) = (0, 16);
        loop {
            if let Some(known) = Loaded::known()
                && known.is_current(generation())
            {
                return known;
            }
            // Nothing is allocated in a visit.
            let (mut seen, mut modules, mut fits) = (0, Vec::with_capacity(room), true);
            visit(&mut |info| {
                seen = generation_of(info);
                if let Some(module) = find(info) {
                    fits = modules.len() < modules.capacity();
                    if fits {
                        modules.push((module, start(info)));
                    }
                }
                !fits
            });
            if !fits {
                room *= 2;
                continue;
            }
            looks += 1;
            let places: Result<Vec<_>, Unknown> =
                modules.iter().map(|(module, start)| module.place(*start, layout, looks > LOOKS)).collect();
            let places = places.ok().filter(|_| generation() == seen);
            let Some(places) = places else {
                // Another thread loads something right now.
                // SAFETY: takes nothing. By the system call: `sched_yield` is hooked.
                unsafe { libc::syscall(libc::SYS_sched_yield) };
                continue;
            };
            let (mut fixed, mut has_others) = (Vec::new(), false);
            for ((module, _), place) in modules.into_iter().zip(places) {
                match place {
                    // libc's stay as they are.
                    Some(offset) if offset == layout.libc.offset => {}
                    Some(offset) => fixed.push(Module { offset, ..module }),
                    None => has_others = true,
                }
            }
            let loaded = Loaded::set(fixed, has_others);
            loaded.generation.fetch_max(seen, Ordering::Relaxed);
            LOADED.store(ptr::from_ref(loaded).cast_mut(), Ordering::Release);
        }
    }

    /// The set of these.
    fn set(fixed: Vec<Module>, has_others: bool) -> &'static Loaded {
        // SAFETY: null, or leaked; and so below.
        let mut next = unsafe { SETS.load(Ordering::Acquire).as_ref() };
        while let Some(set) = next {
            if set.fixed == fixed && set.has_others == has_others {
                return set;
            }
            // SAFETY: as above.
            next = unsafe { set.before.load(Ordering::Relaxed).as_ref() };
        }
        let before = AtomicPtr::new(ptr::null_mut());
        let set: &Loaded = Box::leak(Box::new(Loaded { generation: AtomicU64::new(0), fixed, has_others, before }));
        let mut last = SETS.load(Ordering::Relaxed);
        loop {
            set.before.store(last, Ordering::Relaxed);
            let this = ptr::from_ref(set).cast_mut();
            match SETS.compare_exchange_weak(last, this, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return set,
                Err(other) => last = other,
            }
        }
    }

    /// Whether it was the set at that time.
    fn is_current(&self, generation: u64) -> bool {
        self.generation.load(Ordering::Relaxed) == generation
    }

    /// What was loaded when somebody last looked.
    pub(super) fn known() -> Option<&'static Loaded> {
        // SAFETY: null, or leaked.
        unsafe { LOADED.load(Ordering::Acquire).as_ref() }
    }

    /// Whether it is the same.
    pub(super) fn is(&self, other: &Loaded) -> bool {
        ptr::eq(self, other)
    }

    /// Those that are not in `before`, given to `f` while they are loaded.
    pub(super) fn since(&self, before: &Loaded, f: &mut dyn FnMut(&Module)) {
        visit(&mut |info| {
            if self.is_current(generation_of(info)) {
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
                same = self.is_current(generation_of(info));
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

/// An object is there, but not to be found yet.
struct Unknown;

impl Module {
    /// Where threads have the object's thread-locals, if that is the same place for all. `start` is the object's beginning.
    /// Not in a callback of `dl_iterate_phdr`: the caller looks afterwards whether the object was there all the time.
    fn place(&self, start: *const c_void, layout: &Layout, may_wait: bool) -> Result<Option<isize>, Unknown> {
        let map = match layout.find_object.and_then(|find| map_of(start, find)) {
            Some(map) => map,
            None if layout.find_object.is_some() && !may_wait => return Err(Unknown),
            None => map_of_slowly(start),
        };
        if map.is_null() {
            return Ok(None);
        }
        // SAFETY: the object's description, and libc's word on where the field is. Should the object be unloaded right
        // now, the memory is still the heap's, and what was read is not used.
        let below = unsafe { map.byte_add(layout.tls_offset_in_map).cast::<isize>().read_volatile() };
        // 0 and -1 say that there is no such place.
        Ok((below > 0).then_some(-below))
    }
}

/// The description of the object at an address: by a function that takes no lock. All others wait while any library
/// is being opened, until its constructors are done; and those may wait for greenlets.
fn map_of(address: *const c_void, find: FindObject) -> Option<*const c_void> {
    let mut found = [ptr::null::<c_void>(); 16];
    // SAFETY: any address may be asked for; room for twelve words, of which the fourth is the description.
    let result = unsafe { find(address, found.as_mut_ptr()) };
    (result == 0).then(|| found[3])
}

/// The same by a function that may wait; null if there is none.
pub(super) fn map_of_slowly(address: *const c_void) -> *const c_void {
    ask(address, RTLD_DL_LINKMAP).map_or(ptr::null(), |(_, map)| map)
}

/// The size of what the symbol at an address is of.
pub(super) fn symbol_size(address: *const c_void) -> Option<usize> {
    let (place, symbol) = ask(address, RTLD_DL_SYMENT).filter(|(_, symbol)| !symbol.is_null())?;
    // SAFETY: as libc says; it is in an object that is there, since it has the address.
    let size = unsafe { (*symbol.cast::<Elf64_Sym>()).st_size };
    ptr::eq(place.dli_saddr, address).then_some(size as usize)
}

/// What libc tells of an address, and what else is asked for.
fn ask(address: *const c_void, what: c_int) -> Option<(libc::Dl_info, *const c_void)> {
    // SAFETY: all zeros is one.
    let mut place = unsafe { std::mem::zeroed::<libc::Dl_info>() };
    let mut extra = ptr::null_mut::<c_void>();
    // SAFETY: any address may be asked for; two places for the results.
    let found = unsafe { dladdr1(address, &raw mut place, &raw mut extra, what) };
    (found != 0).then_some((place, extra.cast_const()))
}

/// `_dl_find_object`, since glibc 2.35.
pub(super) type FindObject = unsafe extern "C" fn(*const c_void, *mut *const c_void) -> c_int;

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

/// How many objects have been loaded and unloaded so far, together.
fn generation() -> u64 {
    let mut generation = 0;
    visit(&mut |info| {
        generation = generation_of(info);
        true
    });
    generation
}

/// The same, as libc tells it with each object.
fn generation_of(info: &dl_phdr_info) -> u64 {
    info.dlpi_adds + info.dlpi_subs
}

/// Where an object begins.
fn start(info: &dl_phdr_info) -> *const c_void {
    // SAFETY: libc's own list.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let loaded = headers.iter().find(|header| header.p_type == PT_LOAD);
    let address = loaded.map_or(0, |header| info.dlpi_addr.wrapping_add(header.p_vaddr));
    ptr::with_exposed_provenance(address as usize)
}

/// An object's thread-locals, if it has any; their place is left open.
fn find(info: &dl_phdr_info) -> Option<Module> {
    // SAFETY: libc's own list.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let header = headers.iter().find(|header| header.p_type == PT_TLS)?;
    let image = ptr::with_exposed_provenance(info.dlpi_addr.wrapping_add(header.p_vaddr) as usize);
    Some(Module { offset: 0, image, filled: header.p_filesz as usize, len: header.p_memsz as usize })
}

/// Calls `f` for each object, until it says true. It must not unwind, nor allocate.
pub(super) fn visit(f: &mut dyn FnMut(&dl_phdr_info) -> bool) {
    unsafe extern "C-unwind" fn each(info: *mut dl_phdr_info, _: size_t, f: *mut c_void) -> c_int {
        // SAFETY: the two pointers are libc's and ours, for the time of this call.
        let (info, f) = unsafe { (&*info, &mut *f.cast::<&mut dyn FnMut(&dl_phdr_info) -> bool>()) };
        c_int::from(f(info))
    }
    let mut f = f;
    // SAFETY: `each` is called with our pointer before this returns.
    unsafe { real::dl_iterate_phdr(Some(each), (&raw mut f).cast()) };
}
