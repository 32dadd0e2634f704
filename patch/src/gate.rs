//! Who is let into the hooks: code on a greenlet's stack, outside the hooks themselves.
//!
//! ```text
//!   recv ──▶ patch::all() called? on a greenlet? not in a hook already? ──no──▶ the real recv
//!                │ yes: this thread is inside
//!                ▼
//!              the green recv ──▶ the real recv, without blocking
//!                │ would block
//!                ▼
//!              outside again ──▶ park: other greenlets run ──▶ inside
//! ```
//!
//! Hooks are called before `main`, in destructors of thread-locals and from allocators. So nothing
//! here allocates or has a destructor, and what stands before the first "no" is a load from a static.

use std::cell::Cell;
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use libc::c_int;
use sward_runtime::greenlet_local;
use sward_runtime::lowlevel::ThreadPool;
use sward_runtime::lowlevel::hooks::{self, Ended};

use crate::function::Function;

/// Whether `patch::all()` has been called.
static ON: AtomicBool = AtomicBool::new(false);

/// The bit of [`STATE`] that says that a hook is being run.
const INSIDE: u32 = 1;
/// One greenlet of this thread is in `without`.
const WITHOUT: u32 = 2;

thread_local! {
    /// [`INSIDE`], and how many greenlets of this thread are in `without`.
    static STATE: Cell<u32> = const { Cell::new(0) };
}

greenlet_local! {
    /// How many `without` calls this greenlet is in.
    static EXEMPT: Cell<u32> = Cell::new(0);
}

/// Lets greenlets into the hooks, from now on.
pub(crate) fn open() {
    ON.store(true, Ordering::Release);
}

/// Whether hooks do anything at all.
#[inline(always)]
pub(crate) fn is_open() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Whether the caller is nobody whom [`enter`] would let in: the first question, and for most callers
/// the last.
#[inline(always)]
pub(crate) fn is_shut() -> bool {
    !is_open() || !hooks::runs_greenlet()
}

/// Lets a greenlet into the hook of `function`, unless it is in one already or in `without`; then it
/// makes the real call. Not before [`is_shut`] has said no.
pub(crate) fn enter(function: &'static Function) -> Option<Inside> {
    if !may_enter() {
        return None;
    }
    STATE.set(STATE.get() | INSIDE);
    function.calls.fetch_add(1, Ordering::Relaxed);
    Some(Inside { function })
}

/// Whether [`enter`] would let the caller in.
#[inline]
pub(crate) fn may_enter() -> bool {
    let state = STATE.get();
    state & INSIDE == 0 && hooks::on_greenlet() && (state == 0 || EXEMPT.with(Cell::get) == 0)
}

/// Lets nobody in on these thread-locals until [`lift`]; returns what to give that.
#[inline]
pub(crate) fn bar() -> Barred {
    Barred(STATE.replace(STATE.get() | INSIDE) & INSIDE)
}

/// Undoes [`bar`].
#[inline]
pub(crate) fn lift(was: Barred) {
    STATE.set(STATE.get() & !INSIDE | was.0);
}

/// Whether a hook was being run before [`bar`].
pub(crate) struct Barred(u32);

/// Runs `f` with the hooks off for this greenlet.
pub(crate) fn without<T>(f: impl FnOnce() -> T) -> T {
    /// Undoes it, also when unwinding.
    struct Exempt;
    impl Drop for Exempt {
        fn drop(&mut self) {
            EXEMPT.with(|depth| depth.set(depth.get() - 1));
            STATE.set(STATE.get() - WITHOUT);
        }
    }
    if !hooks::on_greenlet() {
        return f();
    }
    EXEMPT.with(|depth| depth.set(depth.get() + 1));
    STATE.set(STATE.get() + WITHOUT);
    let _exempt = Exempt;
    f()
}

/// A greenlet inside a hook. While it lives, libc calls of this thread are the real ones.
pub(crate) struct Inside {
    /// Which hook.
    function: &'static Function,
}

impl Inside {
    /// Parks until one of `fds` has what is asked for (bits of `epoll_ctl(2)`), or until `deadline`.
    pub(crate) fn wait(&self, fds: &[(RawFd, u32)], deadline: Option<Instant>) -> io::Result<Ended> {
        self.wait_as(true, fds, deadline)
    }

    /// As `wait`; a kill or a timeout ends it only if `interruptible`.
    pub(crate) fn wait_as(
        &self,
        interruptible: bool,
        fds: &[(RawFd, u32)],
        deadline: Option<Instant>,
    ) -> io::Result<Ended> {
        self.outside(|name| hooks::wait_fds(name, interruptible, fds, deadline))
    }

    /// Parks until `deadline`.
    pub(crate) fn sleep(&self, deadline: Option<Instant>) -> Ended {
        self.outside(|name| hooks::sleep(name, deadline))
    }

    /// Parks until woken by the key of this wait, or until `deadline`; a kill or a timeout ends it only
    /// if `interruptible`.
    pub(crate) fn wait_for_lock(&self, interruptible: bool, deadline: Option<Instant>) -> Ended {
        self.outside(|name| hooks::wait(name, interruptible, deadline))
    }

    /// Lets the others run once.
    pub(crate) fn yield_now(&self) {
        self.outside(|_| hooks::yield_now());
    }

    /// Runs `f` on a pool; `None` if an interrupt came first (never if `to_the_end`).
    pub(crate) fn offload<T: Send + 'static>(
        &self,
        to_the_end: bool,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<Option<T>> {
        /// Name servers answer late: these threads wait, they do not compute.
        static THREADS: ThreadPool = ThreadPool::new("sward-patch", 256);
        self.offload_to(&THREADS, to_the_end, f)
    }

    /// The same on another pool.
    pub(crate) fn offload_to<T: Send + 'static>(
        &self,
        threads: &'static ThreadPool,
        to_the_end: bool,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<Option<T>> {
        self.outside(|name| hooks::offload(threads, name, to_the_end, f))
    }

    /// Runs `f`, which parks: what other greenlets of this thread do meanwhile is not inside.
    fn outside<T>(&self, f: impl FnOnce(&'static str) -> T) -> T {
        self.function.parks.fetch_add(1, Ordering::Relaxed);
        STATE.set(STATE.get() & !INSIDE);
        // None of the functions called here unwinds.
        let result = f(self.function.name());
        STATE.set(STATE.get() | INSIDE);
        result
    }
}

impl Drop for Inside {
    #[inline(always)]
    fn drop(&mut self) {
        STATE.set(STATE.get() & !INSIDE);
    }
}

/// The calling thread's errno.
#[inline]
pub(crate) fn errno() -> c_int {
    // SAFETY: the pointer is to this thread's errno, which lives as long as the thread.
    unsafe { *libc::__errno_location() }
}

/// Sets it. Always the last act of a hook: what parks makes system calls.
#[inline]
pub(crate) fn set_errno(errno: c_int) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// Fails as libc does: sets errno and gives -1.
#[inline]
pub(crate) fn fail<T: From<i8>>(errno: c_int) -> T {
    set_errno(errno);
    T::from(-1)
}
