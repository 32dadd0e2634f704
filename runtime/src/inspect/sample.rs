//! A look at what another thread does just now, by a signal to it.
//!
//! ```text
//!   watchdog, or `profile`                     the thread
//!   ──────────────────────                     ──────────
//!   state: IDLE ─▶ ASKED, and whom
//!   tgkill ──────────────────────────────────▶ on_signal: am I asked? ─▶ WRITING
//!   waits …                                      fills the sheet
//!   DONE? reads the sheet, ─▶ IDLE  ◀──────────  ─▶ DONE
//!   too late? ASKED ─▶ IDLE: a handler that comes later finds nothing to do
//! ```
//!
//! The thread may be anywhere, in the allocator too: the handler allocates nothing and takes no lock. It walks the stack
//! with the unwinder of the system, which needs neither, once it has walked any stack before. But that believes the tables
//! of the compiler, which are wrong in the middle of a switch, and would follow a return address that is none: there the
//! handler does not walk (`slot::State`).

use std::cell::UnsafeCell;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use libc::{c_int, c_void, siginfo_t};

use crate::fork::Once;
use crate::per_process::PerProcess;
use crate::slot::State;
use crate::{handler, hub};

/// The signal: ignored unless somebody handles it, and meant to come without cause.
const SIGNAL: c_int = libc::SIGURG;
/// Calls looked at.
const MOST: usize = 64;
/// Bytes of a greenlet's name.
const NAME: usize = 64;
/// How long a thread may take to handle the signal.
const PATIENCE: Duration = Duration::from_secs(1);

/// Nobody has asked.
const IDLE: u64 = 0;
/// A thread was asked, whose number is added.
const ASKED: u64 = 1 << 32;
/// That thread is filling the sheet.
const WRITING: u64 = 2;
/// It is filled.
const DONE: u64 = 3;

/// Who handled the signal before us.
static FORMER: OnceLock<libc::sigaction> = OnceLock::new();
/// Who holds it asks. A fork's child has one of its own.
static TURN: PerProcess<Mutex<()>> = PerProcess::new();
/// Where the one question stands.
static STATE: AtomicU64 = AtomicU64::new(IDLE);
/// The answer to it.
static SHEET: Shared = Shared(UnsafeCell::new(Sheet::EMPTY));

/// What a thread does.
pub(super) struct Sample {
    /// The number of its hub; 0 if it has none.
    pub(super) hub: u64,
    /// Greenlets of that hub that have not finished.
    pub(super) others: usize,
    /// The calls that it is in, the innermost first; none if no greenlet runs.
    pub(super) calls: Vec<usize>,
    /// The id of the greenlet that runs, 0 being the root; `None` if the thread is in the hub, between two of them.
    pub(super) id: Option<u64>,
    /// Its name, or the first 64 bytes of it; empty if it has none.
    pub(super) name: String,
    /// Where it was spawned.
    pub(super) spawned_at: Option<&'static Location<'static>>,
}

/// A sample as the handler writes it.
#[derive(Clone, Copy)]
struct Sheet {
    /// As in `Sample`.
    hub: u64,
    /// As in `Sample`.
    others: usize,
    /// As in `Sample`.
    id: Option<u64>,
    /// As in `Sample`.
    spawned_at: Option<&'static Location<'static>>,
    /// The name, or the beginning of it.
    name: [u8; NAME],
    /// Bytes in `name`.
    name_len: usize,
    /// The calls.
    calls: [usize; MOST],
    /// How many they are.
    count: usize,
}

impl Sheet {
    /// Nothing written.
    const EMPTY: Sheet = Sheet {
        hub: 0,
        others: 0,
        id: None,
        spawned_at: None,
        name: [0; NAME],
        name_len: 0,
        calls: [0; MOST],
        count: 0,
    };
}

/// The sheet, which one thread at a time touches: see `STATE`.
struct Shared(UnsafeCell<Sheet>);

// SAFETY: only who has moved `STATE` from ASKED to WRITING writes it, until it moves `STATE` to DONE; only who has asked
// reads it, in DONE, and asks with `TURN` locked, of which there is one in a process.
unsafe impl Sync for Shared {}

/// Handles the signal from now on, once and for all.
pub(super) fn install() {
    // A fork's child inherits the handler.
    static INSTALLED: Once = Once::new();
    INSTALLED.call(|| {
        // The first walk in a process looks up functions, and makes tables under a lock: not in the handler.
        let mut sheet = Sheet::EMPTY;
        walk(&mut sheet, None);
        // SAFETY: `on_signal` is made to run at any moment.
        unsafe { handler::install(SIGNAL, on_signal, libc::SA_RESTART, &FORMER) };
    });
}

/// The kernel's number for this thread.
pub(crate) fn this_thread() -> u64 {
    rustix::thread::gettid().as_raw_nonzero().get() as u64
}

/// What the thread with this number does; `None` if it is gone, or does not say within a second. Blocks the thread.
pub(super) fn take(thread: u64) -> Option<Sample> {
    let _turn = TURN.get(Mutex::default)?.lock().unwrap_or_else(PoisonError::into_inner);
    let asked = ASKED + thread;
    // After a fork in the middle of an answer, the state would stay as it was.
    STATE.store(asked, Ordering::Release);
    // SAFETY: takes numbers. A thread that is gone is an error; if another one has its number by now, that one answers,
    // and says that its hub is not the one meant.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread as c_int, SIGNAL) };
    let give_up = if sent == 0 { Instant::now() + PATIENCE } else { Instant::now() };
    while STATE.load(Ordering::Acquire) != DONE {
        let is_late = Instant::now() >= give_up;
        if is_late && STATE.compare_exchange(asked, IDLE, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            return None;
        }
        thread::sleep(Duration::from_micros(100));
    }
    // SAFETY: in DONE only who has asked touches the sheet, which is us.
    let sheet = unsafe { *SHEET.0.get() };
    STATE.store(IDLE, Ordering::Relaxed);
    Some(sheet.into())
}

/// The handler.
extern "C" fn on_signal(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let asked = ASKED + this_thread();
    if STATE.compare_exchange(asked, WRITING, Ordering::Acquire, Ordering::Relaxed).is_ok() {
        // SAFETY: `errno` is this thread's; what follows may change it, and the interrupted code may be about to read it.
        let errno = unsafe { *libc::__errno_location() };
        // SAFETY: we have moved `STATE` to WRITING, so nobody else touches the sheet.
        let sheet = unsafe { &mut *SHEET.0.get() };
        *sheet = Sheet::EMPTY;
        describe(sheet);
        if sheet.id.is_some() {
            walk(sheet, interrupted_at(context));
        }
        // SAFETY: as above.
        unsafe { *libc::__errno_location() = errno };
        STATE.store(DONE, Ordering::Release);
    }
    // Also if it was for us: the kernel may have made one signal of two, and this one is meant to come without cause.
    if let Some(former) = FORMER.get() {
        // SAFETY: the arguments are the kernel's, passed on.
        unsafe { handler::call(former, signal, info, context) };
    }
}

/// Writes down who runs on this thread.
fn describe(sheet: &mut Sheet) {
    let Some(hub) = hub::existing() else { return };
    sheet.hub = hub.serial;
    sheet.others = hub.live.get();
    let slot = hub.current();
    if slot.state.get() != State::Running {
        return;
    }
    sheet.id = Some(slot.id.get());
    sheet.spawned_at = (!slot.is_root()).then(|| slot.spawned_at.get());
    if let Ok(name) = slot.name.try_borrow()
        && let Some(name) = name.as_deref()
    {
        sheet.name_len = name.len().min(NAME);
        sheet.name[..sheet.name_len].copy_from_slice(&name.as_bytes()[..sheet.name_len]);
    }
}

/// Writes down the calls that this thread was in when it was interrupted at `interrupted`: not the handler's own.
fn walk(sheet: &mut Sheet, mut interrupted: Option<usize>) {
    // SAFETY: the lock that this goes without is for Windows; everywhere else the walk only reads the stack and the
    // tables for unwinding, and allocates nothing.
    unsafe {
        backtrace::trace_unsynchronized(|frame| {
            let mut ip = frame.ip().addr();
            // The first time only: further out it is a call from there, in a recursion.
            if interrupted.take_if(|interrupted| *interrupted == ip).is_some() {
                // Names are looked up for the instruction before, which is the call everywhere but here.
                ip += 1;
                sheet.count = 0;
            }
            if sheet.count == MOST {
                return false;
            }
            sheet.calls[sheet.count] = ip;
            sheet.count += 1;
            true
        });
    }
}

/// The instruction that the thread was at when the signal came; `None` where we do not know how the kernel says that.
fn interrupted_at(context: *mut c_void) -> Option<usize> {
    let context: *const libc::ucontext_t = context.cast();
    #[cfg(target_arch = "x86_64")]
    // SAFETY: with SA_SIGINFO the third argument of a handler is the context that it interrupted.
    return Some(unsafe { (&(*context).uc_mcontext.gregs)[libc::REG_RIP as usize] } as usize);
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    return Some(unsafe { (*context).uc_mcontext.pc } as usize);
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    None
}

impl From<Sheet> for Sample {
    fn from(sheet: Sheet) -> Sample {
        Sample {
            hub: sheet.hub,
            others: sheet.others,
            calls: sheet.calls[..sheet.count].to_vec(),
            id: sheet.id,
            name: String::from_utf8_lossy(&sheet.name[..sheet.name_len]).into_owned(),
            spawned_at: sheet.spawned_at,
        }
    }
}

impl Sample {
    /// What to call the greenlet that runs.
    pub(super) fn description(&self) -> String {
        let Some(site) = self.spawned_at else { return "the root".to_owned() };
        let name = if self.name.is_empty() { String::new() } else { format!(" {:?}", self.name) };
        format!("greenlet {}{name} (spawned at {}:{})", self.id.unwrap_or(0), site.file(), site.line())
    }
}

#[cfg(test)]
mod tests;
