//! Standard input without blocking the hub.
//!
//! The descriptor's mode is left alone: other processes share it. A pipe, terminal or socket is
//! waited for until it is readable, and then read, which does not block; a file is read at once.

use std::cell::RefCell;
use std::io::{self, BufRead, IoSliceMut, IsTerminal, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;

use sward_runtime::lowlevel::{HubLocal, WaitQueue};

use crate::wait::wait_readable;

/// The size of the buffer.
const BUFFER: usize = 8 * 1024;

/// Standard input, as [`std::io::stdin`]. Its reads block the greenlet, not the thread.
///
/// # Differences from `std::io::Stdin`
///
/// The buffer belongs to this thread's hub, not to the process: read on one hub only. The lock has no lifetime.
/// `IsTerminal`, which only std may implement, is a method.
///
/// ```no_run
/// for line in sward::io::stdin().lines() {
///     println!("got {}", line?);
/// }
/// # std::io::Result::Ok(())
/// ```
pub fn stdin() -> Stdin {
    static STDIN: HubLocal<Rc<Shared>> =
        HubLocal::new(|| Rc::new(Shared { input: RefCell::default(), turns: WaitQueue::new() }));
    Stdin { shared: STDIN.with(Rc::clone) }
}

/// A handle of standard input, see [`stdin`].
///
/// ```no_run
/// use std::io::Read;
/// let mut text = String::new();
/// sward::io::stdin().read_to_string(&mut text)?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct Stdin {
    /// What all handles share.
    shared: Rc<Shared>,
}

/// What all handles share.
struct Shared {
    /// What was read and not yet taken; `None` while somebody holds the lock.
    input: RefCell<Taken>,
    /// Greenlets that wait for the lock.
    turns: WaitQueue,
}

/// The state of the lock and, when nobody holds it, the buffer.
#[derive(Default)]
struct Taken {
    /// Whether somebody holds the lock.
    locked: bool,
    /// What was read and not yet taken.
    buffer: Vec<u8>,
}

impl Stdin {
    /// Locks standard input, for several reads that belong together. Blocks the greenlet while another
    /// one holds the lock.
    ///
    /// ```no_run
    /// use std::io::BufRead;
    /// let mut input = sward::io::stdin().lock();
    /// let (mut key, mut value) = (String::new(), String::new());
    /// input.read_line(&mut key)?;
    /// input.read_line(&mut value)?; // nobody else has read between the two
    /// # std::io::Result::Ok(())
    /// ```
    pub fn lock(&self) -> StdinLock {
        loop {
            let mut input = self.shared.input.borrow_mut();
            if !input.locked {
                input.locked = true;
                let buffer = std::mem::take(&mut input.buffer);
                return StdinLock { shared: self.shared.clone(), buffer, at: 0 };
            }
            drop(input);
            self.shared.turns.wait("Stdin::lock", (), None);
        }
    }

    /// Reads a line, with its end, and appends it. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```no_run
    /// let mut line = String::new();
    /// sward::io::stdin().read_line(&mut line)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn read_line(&self, line: &mut String) -> io::Result<usize> {
        self.lock().read_line(line)
    }

    /// The lines. Each `next` blocks the greenlet.
    ///
    /// ```no_run
    /// let words: usize = sward::io::stdin().lines().map(|line| line.unwrap().split(' ').count()).sum();
    /// ```
    pub fn lines(self) -> Lines {
        Lines { stdin: self }
    }

    /// Whether it is a terminal (`std::io::IsTerminal`).
    ///
    /// ```
    /// if sward::io::stdin().is_terminal() {
    ///     println!("Your name, please:");
    /// }
    /// ```
    pub fn is_terminal(&self) -> bool {
        io::stdin().is_terminal()
    }
}

// A lock that is let go while unwinding leaves the buffer whole.
impl UnwindSafe for Stdin {}
impl RefUnwindSafe for Stdin {}
impl UnwindSafe for StdinLock {}
impl RefUnwindSafe for StdinLock {}

/// `Read`, whose calls hold the lock to their end.
macro_rules! read_locked {
    ($($type:ty)*) => {$(
        impl Read for $type {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                self.lock().read(buf)
            }

            fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                self.lock().read_vectored(bufs)
            }

            fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
                self.lock().read_to_end(buf)
            }

            fn read_to_string(&mut self, buf: &mut String) -> io::Result<usize> {
                self.lock().read_to_string(buf)
            }

            fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
                self.lock().read_exact(buf)
            }
        }
    )*};
}

read_locked!(Stdin & Stdin);

/// The descriptor; who reads from it takes nothing that is in a buffer already.
macro_rules! standard_descriptor {
    ($($type:ty)*) => {$(
        impl AsFd for $type {
            fn as_fd(&self) -> BorrowedFd<'_> {
                rustix::stdio::stdin()
            }
        }

        impl AsRawFd for $type {
            fn as_raw_fd(&self) -> RawFd {
                self.as_fd().as_raw_fd()
            }
        }
    )*};
}

standard_descriptor!(Stdin StdinLock);

impl std::fmt::Debug for Stdin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stdin").finish_non_exhaustive()
    }
}

/// The lines of standard input, see [`Stdin::lines`].
///
/// ```no_run
/// let mut lines: sward::io::Lines = sward::io::stdin().lines();
/// if let Some(first) = lines.next() {
///     println!("the first one is {}", first?);
/// }
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct Lines {
    /// Where they come from.
    stdin: Stdin,
}

impl Iterator for Lines {
    type Item = io::Result<String>;

    fn next(&mut self) -> Option<io::Result<String>> {
        let mut line = String::new();
        match self.stdin.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => {
                let end =
                    line.strip_suffix('\n').map_or(line.len(), |line| line.strip_suffix('\r').unwrap_or(line).len());
                line.truncate(end);
                Some(Ok(line))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

/// Locked standard input, see [`Stdin::lock`]. Its reads block the greenlet.
///
/// ```no_run
/// use std::io::BufRead;
/// let input: sward::io::StdinLock = sward::io::stdin().lock();
/// for word in input.split(b' ') {
///     println!("{} bytes", word?.len());
/// }
/// # std::io::Result::Ok(())
/// ```
pub struct StdinLock {
    /// Where the lock is.
    shared: Rc<Shared>,
    /// What was read.
    buffer: Vec<u8>,
    /// How much of it was taken.
    at: usize,
}

impl StdinLock {
    /// Whether it is a terminal (`std::io::IsTerminal`).
    ///
    /// ```
    /// println!("{}", sward::io::stdin().lock().is_terminal());
    /// ```
    pub fn is_terminal(&self) -> bool {
        io::stdin().is_terminal()
    }
}

impl Read for StdinLock {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buf)?;
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for StdinLock {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.buffer.len() {
            let stdin = io::stdin();
            match wait_readable(&stdin, None) {
                // A file or a directory: always ready.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                result => result?,
            }
            self.buffer.resize(BUFFER, 0);
            self.at = 0;
            let result = rustix::io::retry_on_intr(|| rustix::io::read(&stdin, &mut self.buffer[..]));
            self.buffer.truncate(*result.as_ref().unwrap_or(&0));
            result?;
        }
        Ok(&self.buffer[self.at..])
    }

    fn consume(&mut self, n: usize) {
        self.at = self.buffer.len().min(self.at + n);
    }
}

impl Drop for StdinLock {
    fn drop(&mut self) {
        let mut input = self.shared.input.borrow_mut();
        input.locked = false;
        input.buffer = std::mem::take(&mut self.buffer).split_off(self.at);
        self.shared.turns.wake_one();
    }
}

impl std::fmt::Debug for StdinLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StdinLock").finish_non_exhaustive()
    }
}
