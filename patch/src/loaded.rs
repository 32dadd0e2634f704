//! The objects (program and shared libraries) that are loaded, and where their calls go.
//!
//! ```text
//!   object's code ──call──▶ slot for "recv" ──▶ our recv       covered: symbol resolution found it
//!                                  │
//!                                  └──────────▶ libc's recv    resolved past us: repaired here
//! ```
//!
//! Resolution passes us by in a library that was loaded with `RTLD_DEEPBIND`, and everywhere if this
//! crate is itself in a library that was loaded late. Its slots are then written as the dynamic
//! linker would have written them.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use libc::{Elf64_Phdr, Elf64_Sym, PT_DYNAMIC, PT_GNU_RELRO, PT_LOAD, dl_phdr_info, size_t};

use crate::function::Function;
use crate::report::{Coverage, Object};
use crate::table::TABLE;

/// An entry of an object's dynamic section.
#[repr(C)]
struct Dynamic {
    /// What it tells; 0 is the end.
    tag: i64,
    /// The value, or an address.
    value: usize,
}

/// A relocation with an addend.
#[repr(C)]
struct Rela {
    /// Where, from the object's base.
    offset: u64,
    /// Symbol and type.
    info: u64,
    /// Not used by the types looked at here, but for data, where it is 0.
    addend: i64,
}

/// `DT_` tags of the dynamic section.
mod tag {
    /// The string table.
    pub(super) const STRTAB: i64 = 5;
    /// The symbol table.
    pub(super) const SYMTAB: i64 = 6;
    /// Relocations.
    pub(super) const RELA: i64 = 7;
    /// Their size in bytes.
    pub(super) const RELASZ: i64 = 8;
    /// The size of those of calls.
    pub(super) const PLTRELSZ: i64 = 2;
    /// Relocations of calls.
    pub(super) const JMPREL: i64 = 23;
}

/// Relocations that hold a function's address: of a call, of a pointer in the table, of a pointer in data.
#[cfg(target_arch = "x86_64")]
const TYPES: [u32; 3] = [7, 6, 1];
/// Relocations that hold a function's address: of a call, of a pointer in the table, of a pointer in data.
#[cfg(target_arch = "aarch64")]
const TYPES: [u32; 3] = [1026, 1025, 257];
/// Nothing is known of this architecture: nothing is found, and the report says so.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const TYPES: [u32; 0] = [];

/// Looks at all loaded objects and repairs what can be.
pub(crate) fn repair() -> Vec<Object> {
    let mut objects: Vec<Object> = Vec::new();
    // SAFETY: `visit` is called with our pointer before `dl_iterate_phdr` returns, and does not unwind.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut objects).cast()) };
    objects
}

/// Called for each object, while none can be unloaded.
unsafe extern "C" fn visit(info: *mut dl_phdr_info, _: size_t, objects: *mut c_void) -> c_int {
    // SAFETY: the two pointers are those of `repair` and of libc, for the time of this call.
    let (info, objects) = unsafe { (&*info, &mut *objects.cast::<Vec<Object>>()) };
    let name = if info.dlpi_name.is_null() {
        String::new()
    } else {
        // SAFETY: a C string.
        unsafe { CStr::from_ptr(info.dlpi_name) }.to_string_lossy().into_owned()
    };
    let file = name.rsplit('/').next().unwrap_or_default();
    if file.starts_with("linux-vdso") || file.starts_with("linux-gate") {
        return 0;
    }
    let coverage = if file.starts_with("libc.so") || file.starts_with("ld-linux") {
        Coverage::NotReached("calls inside libc do not go through slots".into())
    } else if TYPES.is_empty() {
        Coverage::NotReached("not verified: the slots of this architecture are not known here".into())
    } else {
        // SAFETY: the object is loaded, and stays so while it is visited.
        match unsafe { Image::new(info) } {
            // SAFETY: as above.
            Some(image) => unsafe { image.repair() },
            // The linker has resolved all there is.
            None => Coverage::Resolved,
        }
    };
    objects.push(Object { name: if name.is_empty() { "the program".into() } else { name }, coverage });
    0
}

/// An object in memory.
struct Image {
    /// Where it was loaded.
    base: usize,
    /// Its addresses.
    range: Range<usize>,
    /// What was made read-only after relocation.
    relro: Range<usize>,
    /// The symbols.
    symbols: *const Elf64_Sym,
    /// Their names.
    names: *const c_char,
    /// Relocations: where, and how many.
    relocations: [(*const Rela, usize); 2],
}

impl Image {
    /// The object that libc describes; `None` if it has no dynamic section.
    ///
    /// # Safety
    ///
    /// It must be loaded.
    unsafe fn new(info: &dl_phdr_info) -> Option<Image> {
        let base = info.dlpi_addr as usize;
        // SAFETY: libc's own list.
        let headers: &[Elf64_Phdr] = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
        let place = |header: &Elf64_Phdr| {
            let start = base.wrapping_add(header.p_vaddr as usize);
            start..start.wrapping_add(header.p_memsz as usize)
        };
        let find = |kind| headers.iter().find(|header| header.p_type == kind).map(place);
        let loaded = || headers.iter().filter(|header| header.p_type == PT_LOAD).map(place);
        let range = loaded().map(|part| part.start).min()?..loaded().map(|part| part.end).max()?;
        let mut entry = find(PT_DYNAMIC)?.start as *const Dynamic;
        let mut image = Image {
            base,
            range,
            relro: find(PT_GNU_RELRO).unwrap_or(0..0),
            symbols: std::ptr::null(),
            names: std::ptr::null(),
            relocations: [(std::ptr::null(), 0); 2],
        };
        // SAFETY: the dynamic section ends with an entry of tag 0.
        while let Dynamic { tag, value } = unsafe { &*entry }
            && *tag != 0
        {
            // Addresses were relocated by the dynamic linker, or are relative to the base.
            let address = if *value < base { base + value } else { *value };
            let count = value / size_of::<Rela>();
            match *tag {
                tag::STRTAB => image.names = address as *const c_char,
                tag::SYMTAB => image.symbols = address as *const Elf64_Sym,
                tag::RELA => image.relocations[0].0 = address as *const Rela,
                tag::RELASZ => image.relocations[0].1 = count,
                tag::JMPREL => image.relocations[1].0 = address as *const Rela,
                tag::PLTRELSZ => image.relocations[1].1 = count,
                _ => {}
            }
            entry = entry.wrapping_add(1);
        }
        Some(image)
    }

    /// Looks at each slot for a hooked function, and writes those that resolution did not reach.
    ///
    /// # Safety
    ///
    /// The object must still be loaded.
    unsafe fn repair(&self) -> Coverage {
        let (mut repaired, mut foreign) = (Vec::new(), Vec::new());
        let mut writable = false;
        for (first, count) in self.relocations.into_iter().filter(|(first, _)| !first.is_null()) {
            // SAFETY: as the dynamic section says.
            for rela in unsafe { std::slice::from_raw_parts(first, count) } {
                // SAFETY: as above.
                let Some(function) = (unsafe { self.function(rela) }) else { continue };
                let slot = self.base.wrapping_add(rela.offset as usize);
                // SAFETY: a relocation names a word of the object, and an aligned one for these types.
                let slot = unsafe { AtomicUsize::from_ptr(slot as *mut usize) };
                let to = slot.load(Ordering::Relaxed);
                if function.is_ours(to) {
                    continue;
                }
                // Not bound yet: it still leads to the object's own stub.
                let unbound = self.range.contains(&to);
                if !unbound && to != function.resolve_once() {
                    foreign.push(function.name());
                    continue;
                }
                if self.relro.contains(&slot.as_ptr().addr()) && !writable {
                    if !protect(&self.relro, libc::PROT_READ | libc::PROT_WRITE) {
                        return Coverage::NotReached("its slots cannot be made writable".into());
                    }
                    writable = true;
                }
                slot.store(function.hook().addr(), Ordering::Release);
                if !unbound {
                    repaired.push(function.name());
                }
            }
        }
        if writable {
            protect(&self.relro, libc::PROT_READ);
        }
        if !foreign.is_empty() {
            return Coverage::NotReached(format!("bound to another library's {}", foreign.join(", ")));
        }
        if repaired.is_empty() { Coverage::Resolved } else { Coverage::Repaired(repaired) }
    }

    /// The hooked function that a relocation is for, if it is for one that the object imports.
    ///
    /// # Safety
    ///
    /// The object must still be loaded.
    unsafe fn function(&self, rela: &Rela) -> Option<&'static Function> {
        let (kind, index) = (rela.info as u32, (rela.info >> 32) as usize);
        if index == 0 || !TYPES.contains(&kind) || rela.addend != 0 || self.symbols.is_null() || self.names.is_null() {
            return None;
        }
        // SAFETY: the relocation's symbol, in the object's table.
        let symbol = unsafe { &*self.symbols.wrapping_add(index) };
        // SAFETY: its name, in the object's table.
        let name = unsafe { CStr::from_ptr(self.names.wrapping_add(symbol.st_name as usize)) };
        // One that the object defines itself only happens to have that name, unless this code is in the object:
        // then another object's, which came first, was preferred to the one exported here.
        let imported = symbol.st_shndx == 0;
        TABLE
            .iter()
            .find(|function| function.symbol() == name && (imported || self.range.contains(&function.hook().addr())))
    }
}

/// Changes the protection of the pages that lie in `range`, of which the last one is left as it is
/// if it is only partly in it, as the dynamic linker does.
fn protect(range: &Range<usize>, protection: c_int) -> bool {
    // SAFETY: takes a number only.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
    let (start, end) = (range.start & !(page - 1), range.end & !(page - 1));
    // SAFETY: the pages belong to an object's read-only-after-relocation part, which nothing but the
    // dynamic linker writes to, and we while no object is loaded.
    unsafe { libc::mprotect(start as *mut c_void, end - start, protection) == 0 }
}
