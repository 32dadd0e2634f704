//! Greenlets that look like threads of their own to libc, std and everybody else: each has its own
//! thread-locals, `errno`, `pthread_self`, thread number.
//!
//! A thread is, to them, what the thread pointer points to. So a greenlet gets a block like that of a
//! thread, made by libc itself, and the hub sets the thread pointer when it resumes the greenlet:
//!
//! ```text
//!                 fs ──▶ hub's thread-locals          fs ──▶ greenlet's thread-locals
//!   hub's loop ───────── resume ──────────────────▶ greenlet runs
//!              ◀──────── fs set back ────────────── parks
//! ```
//!
//! What is not copied but shared with the hub's thread: malloc's cache (a greenlet never runs while
//! another of its thread is in malloc), the resolver's state, signal masks and everything else that the
//! kernel keeps for a thread. What libc does by the kernel's thread number it does on the hub's
//! thread pointer: see `calls` and `set_id`.
//!
//! - `layout` finds out where this libc keeps what; `modules` what thread-locals there are; `list_lock` lets the child
//!   of a fork find that out too.
//! - `late` looks after libraries that come and go, `open` gives it those that come.
//! - `block` makes, renews and frees blocks; `keys` runs destructors of `pthread_key_create`'s keys.

mod block;
pub(crate) mod calls;
pub(crate) mod keys;
pub(crate) mod late;
mod layout;
pub(crate) mod list_lock;
mod modules;
#[cfg(target_arch = "x86_64")]
mod open;
pub(crate) mod set_id;

use std::cell::Cell;
use std::env;
use std::ffi::c_void;
use std::io;
use std::sync::OnceLock;

use sward_runtime::lowlevel::hooks::{self, Identities, ThreadPointer};

use crate::gate;
use block::Block;
use layout::{Calls, Layout, Why};
use modules::Loaded;

/// Set to `off`, it forbids thread-locals of greenlets' own.
const VARIABLE: &str = "SWARD_IDENTITY";
/// `HWCAP2_FSGSBASE`: user code may set the thread pointer.
const FSGSBASE: u64 = 1 << 1;
/// Rounds of destructors at a greenlet's end; what registers more after that is forgotten.
const ROUNDS: usize = 8;

/// What is known about this libc.
struct Known {
    /// Where things are.
    layout: Layout,
    /// Functions without a declaration.
    calls: Calls,
}

/// What was found out; empty until `start`, or if it cannot be done here.
static KNOWN: OnceLock<Known> = OnceLock::new();

/// Gives greenlets that are spawned from now on thread-locals of their own, if this machine and this
/// libc can: else says why not.
pub(crate) fn start() -> Result<(), Why> {
    /// How it went.
    static STARTED: OnceLock<Result<(), Why>> = OnceLock::new();
    *STARTED.get_or_init(|| {
        let found = find()?;
        let known = KNOWN.get_or_init(|| found);
        canary(known)?;
        list_lock::find();
        // SAFETY: `after_fork` does not unwind, and only stores to statics and to a lock of libc's.
        unsafe { libc::pthread_atfork(None, None, Some(after_fork)) };
        late::catch_up();
        // SAFETY: `make` returns blocks that libc takes for threads, as the canary has shown.
        unsafe { hooks::provide(Identities { make, begin, destroy, reset, free }) };
        Ok(())
    })
}

/// What was found out. Called by greenlets with thread-locals of their own only.
fn known() -> &'static Known {
    KNOWN.get().expect("it was found out before the first block was made")
}

/// Asks the environment, the processor and libc.
fn find() -> Result<Known, Why> {
    if env::var_os(VARIABLE).is_some_and(|value| value == "off") {
        return Err("SWARD_IDENTITY is off");
    }
    if cfg!(not(target_arch = "x86_64")) {
        return Err("not known for this processor: only for x86-64");
    }
    // SAFETY: takes a number.
    if unsafe { libc::getauxval(libc::AT_HWCAP2) } & FSGSBASE == 0 {
        return Err("this kernel or processor does not let programs set the thread pointer (FSGSBASE)");
    }
    if hooks::runs_greenlet() {
        return Err("patch::all was first called in a greenlet: call it on the thread's own stack");
    }
    Ok(Known { layout: Layout::find()?, calls: Calls::find()? })
}

thread_local! {
    /// The canary's, without and with a destructor.
    static PLAIN: Cell<u32> = const { Cell::new(7) };
    static WITH_DESTRUCTOR: Counted = const { Counted(Cell::new(1)) };
    /// Set by the destructor of the other.
    static DESTROYED: Cell<u32> = const { Cell::new(0) };
}

/// Notes that it was destroyed.
struct Counted(Cell<u32>);

impl Drop for Counted {
    fn drop(&mut self) {
        DESTROYED.set(DESTROYED.get() + self.0.get());
    }
}

/// Does what a greenlet does, in a block that is used for nothing else, and looks whether it was as on
/// a thread, and whether this thread noticed.
fn canary(known: &Known) -> Result<(), Why> {
    /// Whether all was well.
    struct Seen(bool);
    extern "C" fn sing(seen: *mut c_void) {
        // SAFETY: lent by the caller.
        let seen = unsafe { &mut *seen.cast::<Seen>() };
        let own = ThreadPointer::current();
        let fresh = PLAIN.replace(8) == 7 && WITH_DESTRUCTOR.with(|counted| counted.0.replace(5)) == 1;
        gate::set_errno(libc::ENOTTY);
        let words = std::hint::black_box(vec![1_u8; 100]);
        // SAFETY: takes nothing.
        let me = unsafe { libc::pthread_self() } as usize;
        let is_thread = me == own.address().as_ptr().addr() && std::thread::current().name().is_none();
        drop(words);
        destroy();
        let destroyed = DESTROYED.get() == 5;
        reset();
        seen.0 = fresh && is_thread && destroyed && PLAIN.get() == 7 && DESTROYED.get() == 0;
    }
    let own = ThreadPointer::current();
    let block = Block::new(&known.layout, own).ok_or("out of memory")?;
    let (mut seen, plain, errno) = (Seen(false), PLAIN.get(), gate::errno());
    for _ in 0..2 {
        seen.0 = false;
        // SAFETY: the block is complete, `sing` neither parks nor unwinds.
        unsafe { block.call(sing, (&raw mut seen).cast()) };
        if !seen.0 || PLAIN.get() != plain || gate::errno() != errno || ThreadPointer::current() != own {
            return Err("thread-locals of a block of its own do not behave as those of a thread");
        }
    }
    block.drop_listed(&known.layout);
    Ok(())
}

/// A block for a new greenlet of the thread whose own thread pointer is given.
fn make(own: ThreadPointer) -> io::Result<ThreadPointer> {
    let known = known();
    let block = Block::new(&known.layout, own).ok_or(io::ErrorKind::OutOfMemory)?;
    Ok(block.thread_pointer())
}

/// Makes a libc call with the thread pointer of the hub's thread, for calls in which the kernel's number of
/// the thread counts, or its place in libc's list of threads. Hooks are off in it.
pub(crate) fn on_hub<T>(f: impl FnOnce() -> T) -> T {
    /// A function, its result, and errno after it.
    struct Call<F, T>(Option<F>, Option<T>, libc::c_int);
    extern "C" fn make<F: FnOnce() -> T, T>(call: *mut c_void) {
        // SAFETY: lent by `on_hub`.
        let call = unsafe { &mut *call.cast::<Call<F, T>>() };
        let was = gate::bar();
        call.1 = call.0.take().map(|f| f());
        call.2 = gate::errno();
        gate::lift(was);
    }
    let Some(hub) = hooks::home() else { return f() };
    let mut call = Call(Some(f), None, 0);
    // SAFETY: the hub's own thread pointer, on its thread. `f` is a call of libc's, which does not
    // unwind, and cannot park: hooks are off.
    unsafe { hub.call(erase(&call), (&raw mut call).cast()) };
    gate::set_errno(call.2);
    return call.1.expect("the function was called");

    /// The function for the types of `call`.
    fn erase<F: FnOnce() -> T, T>(_: &Call<F, T>) -> extern "C" fn(*mut c_void) {
        make::<F, T>
    }
}

/// The beginning of a greenlet, on it: the process's locale, which may be another than when its block was made.
fn begin() {
    block::reset_locale(std::ptr::null_mut());
}

/// The end of a greenlet, on it: destructors of its thread-locals and of values under keys.
fn destroy() {
    let known = known();
    let block = Block::of(ThreadPointer::current());
    for _ in 0..ROUNDS {
        if block.has_destructors(&known.layout) {
            // SAFETY: what libc calls at the end of a thread.
            unsafe { (known.calls.destroy)() };
        }
        if !keys::destroy() && !block.has_destructors(&known.layout) {
            return;
        }
    }
}

/// The very end of a greenlet, on it: leaves its block as new.
fn reset() {
    let known = known();
    let block = Block::of(ThreadPointer::current());
    // From here on nothing parks: what is looked up may allocate.
    gate::bar();
    block.forget_destructors(&known.layout);
    block.renew_keys(&known.layout);
    block.renew_number(&known.layout);
    block.forget_robust(&known.layout);
    // SAFETY: takes nothing. What it tells is a thread's own, and freed with the next message.
    unsafe { libc::dlerror() };
    gate::set_errno(0);
    // SAFETY: the greenlet is at its end, and uses no thread-local after this.
    let renew = |loaded: &Loaded| unsafe { loaded.renew(&known.layout) };
    // `renew` looks itself whether that is still what is loaded.
    if !Loaded::known().is_some_and(renew) {
        while !renew(Loaded::now(&known.layout)) {}
    }
}

/// Frees a block that no greenlet uses.
fn free(block: ThreadPointer) {
    Block::of(block).drop_listed(&known().layout);
}

/// In a fork's child.
pub(crate) extern "C" fn after_fork() {
    Block::after_fork();
    late::after_fork();
    list_lock::after_fork();
}
