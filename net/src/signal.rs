//! Signals: wait for one as for anything else.
//!
//! From the first call that names it on, a signal is caught for the rest of the process: its default
//! action no longer happens. One that comes while nobody on this hub waits for it is kept for the
//! next who does, as the kernel keeps a blocked signal; several count as one.
//!
//! ```
//! use sward::signal::{self, SIGINT, SIGTERM};
//!
//! let waiting = sward::spawn(|| -> std::io::Result<()> {
//!     let signal = signal::wait(&[SIGTERM, SIGINT])?;
//!     println!("got signal {signal}, leaving");
//!     Ok(())
//! });
//! sward::yield_now(); // it waits
//! std::process::Command::new("kill").arg(std::process::id().to_string()).status()?;
//! waiting.join().unwrap()?;
//! # std::io::Result::Ok(())
//! ```

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::FORBIDDEN;
use signal_hook::{SigId, flag, low_level};
use sward_runtime::lowlevel::{HubLocal, Source};
use sward_runtime::{Greenlet, spawn};

#[doc(no_inline)]
pub use signal_hook::consts::signal::{
    SIGABRT, SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGIO, SIGKILL, SIGPIPE, SIGPROF, SIGQUIT, SIGSEGV, SIGSTOP,
    SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGUSR1, SIGUSR2, SIGVTALRM, SIGWINCH,
};

use crate::io::deadline;

/// Waits until one of the signals comes and tells which. Blocks the greenlet.
///
/// All greenlets that wait for a signal get it, on every hub; of several that came the first in the
/// list is told, and the others are kept.
///
/// # Errors
///
/// `ErrorKind::InvalidInput` for an empty list and for a signal that cannot be caught (SIGKILL, SIGSTOP)
/// or that reports a fault of the program (SIGSEGV, SIGILL, SIGFPE); what the operating system says of
/// a signal that does not exist.
///
/// ```
/// use sward::signal::{self, SIGUSR1};
///
/// let waiter = sward::spawn(|| signal::wait(&[SIGUSR1]));
/// sward::yield_now(); // it waits
/// std::process::Command::new("kill").args(["-USR1", &std::process::id().to_string()]).status()?;
/// assert_eq!(waiter.join().unwrap()?, SIGUSR1);
/// # std::io::Result::Ok(())
/// ```
pub fn wait(signals: &[i32]) -> io::Result<i32> {
    wait_until(signals, None)
}

/// As [`wait`], for at most `limit`. Blocks the greenlet.
///
/// # Errors
///
/// `ErrorKind::TimedOut` when the limit passes; those of [`wait`].
///
/// ```
/// use std::time::Duration;
/// use sward::signal::{self, SIGUSR2};
/// let error = signal::wait_timeout(&[SIGUSR2], Duration::from_millis(1)).unwrap_err();
/// assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
/// ```
pub fn wait_timeout(signals: &[i32], limit: Duration) -> io::Result<i32> {
    wait_until(signals, deadline(Some(limit)))
}

/// Calls `f` whenever the signal comes, each time in a new greenlet. Killing the greenlet that is
/// returned ends that; dropping its handle does not.
///
/// # Errors
///
/// As [`wait`].
///
/// ```
/// use sward::signal::{self, SIGHUP};
///
/// let (done, reloaded) = std::sync::mpsc::channel();
/// let reload = signal::on(SIGHUP, move || done.send("the configuration was read again").unwrap())?;
/// std::process::Command::new("kill").args(["-HUP", &std::process::id().to_string()]).status()?;
/// while reloaded.try_recv().is_err() {
///     sward::sleep(std::time::Duration::from_millis(1));
/// }
/// reload.kill();
/// # std::io::Result::Ok(())
/// ```
#[track_caller]
pub fn on<F: Fn() + 'static>(signal: i32, f: F) -> io::Result<Greenlet<()>> {
    // From here on no signal is lost, also if the greenlet runs later.
    Registry::get()?.entry(signal)?;
    let f = Rc::new(f);
    Ok(spawn(move || {
        while wait(&[signal]).is_ok() {
            let f = f.clone();
            spawn(move || f());
        }
    }))
}

/// The body of `wait` and `wait_timeout`.
fn wait_until(signals: &[i32], deadline: Option<Instant>) -> io::Result<i32> {
    if signals.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no signal to wait for"));
    }
    let registry = Registry::get()?;
    let waits = signals.iter().map(|signal| registry.entry(*signal).map(Wait::new)).collect::<io::Result<Vec<_>>>()?;
    let source = registry.source();
    loop {
        registry.collect();
        if let Some(at) = waits.iter().position(Wait::has_come) {
            return Ok(signals[at]);
        }
        source.wait_readable(deadline)?;
    }
}

/// The signals that this hub has asked for.
struct Registry {
    /// Becomes readable when one of them has come.
    reader: Rc<UnixStream>,
    /// What the signal handlers write to.
    writer: UnixStream,
    /// The reader while anybody waits, so that at other times it does not count as something that
    /// could wake the hub.
    source: RefCell<Weak<Source<Rc<UnixStream>>>>,
    /// The signals.
    entries: RefCell<BTreeMap<i32, Rc<Entry>>>,
}

/// A signal that this hub has asked for.
struct Entry {
    /// Set by the signal handler.
    flag: Arc<AtomicBool>,
    /// How often it came while somebody waited.
    arrivals: Cell<u64>,
    /// How many wait for it.
    waiting: Cell<usize>,
    /// Whether it came while nobody waited.
    kept: Cell<bool>,
    /// What the signal handler does, to be undone at the end of the thread.
    actions: [SigId; 2],
}

impl Registry {
    /// That of this thread.
    fn get() -> io::Result<Rc<Registry>> {
        static REGISTRY: HubLocal<OnceCell<Rc<Registry>>> = HubLocal::new(OnceCell::new);
        REGISTRY.with(|registry| {
            if let Some(registry) = registry.get() {
                return Ok(registry.clone());
            }
            let (reader, writer) = UnixStream::pair()?;
            reader.set_nonblocking(true)?;
            writer.set_nonblocking(true)?;
            let (reader, source, entries) = (Rc::new(reader), RefCell::default(), RefCell::default());
            Ok(registry.get_or_init(|| Rc::new(Registry { reader, writer, source, entries })).clone())
        })
    }

    /// The entry of `signal`; the first call catches it.
    fn entry(&self, signal: i32) -> io::Result<Rc<Entry>> {
        if let Some(entry) = self.entries.borrow().get(&signal) {
            return Ok(entry.clone());
        }
        if FORBIDDEN.contains(&signal) {
            let what = format!("signal {signal} cannot be waited for");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let flag = Arc::new(AtomicBool::new(false));
        // In this order: who reads the byte finds the flag set.
        let first = flag::register(signal, flag.clone())?;
        let second = self.writer.try_clone().and_then(|writer| low_level::pipe::register(signal, writer));
        let second = second.inspect_err(|_| _ = low_level::unregister(first))?;
        let entry = Rc::new(Entry {
            flag,
            arrivals: Cell::new(0),
            waiting: Cell::new(0),
            kept: Cell::new(false),
            actions: [first, second],
        });
        self.entries.borrow_mut().insert(signal, entry.clone());
        Ok(entry)
    }

    /// The reader as something to wait for.
    fn source(&self) -> Rc<Source<Rc<UnixStream>>> {
        if let Some(source) = self.source.borrow().upgrade() {
            return source;
        }
        let source = Rc::new(Source::new(self.reader.clone()));
        *self.source.borrow_mut() = Rc::downgrade(&source);
        source
    }

    /// Takes note of the signals that have come. Never blocks.
    fn collect(&self) {
        let mut bytes = [0; 64];
        while (&*self.reader).read(&mut bytes).is_ok_and(|n| n > 0) {}
        for entry in self.entries.borrow().values() {
            if entry.flag.swap(false, Ordering::SeqCst) {
                match entry.waiting.get() {
                    0 => entry.kept.set(true),
                    _ => entry.arrivals.set(entry.arrivals.get() + 1),
                }
            }
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        for action in self.actions {
            low_level::unregister(action);
        }
    }
}

/// One greenlet's wait for one signal.
struct Wait {
    /// The signal.
    entry: Rc<Entry>,
    /// `Entry::arrivals` when the wait began.
    before: u64,
    /// Whether the signal was told to the caller.
    told: Cell<bool>,
}

impl Wait {
    /// Begins. A signal that has come but was not taken note of came before: it was for nobody.
    fn new(entry: Rc<Entry>) -> Wait {
        if entry.waiting.get() == 0 && entry.flag.swap(false, Ordering::SeqCst) {
            entry.kept.set(true);
        }
        entry.waiting.set(entry.waiting.get() + 1);
        Wait { before: entry.arrivals.get(), told: Cell::new(false), entry }
    }

    /// Whether the signal has come.
    fn has_come(&self) -> bool {
        let come = self.entry.kept.take() || self.entry.arrivals.get() != self.before;
        self.told.set(come);
        come
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let entry = &self.entry;
        entry.waiting.set(entry.waiting.get() - 1);
        // It came, but another one of the list was told, or the wait was interrupted.
        if entry.waiting.get() == 0 && !self.told.get() && entry.arrivals.get() != self.before {
            entry.kept.set(true);
        }
    }
}
