//! Standard input without blocking the hub.
//!
//! The descriptor's mode is left alone: other processes share it. A pipe, terminal or socket is
//! waited for until it is readable, and then read, which does not block; a file is read at once.

use std::cell::RefCell;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

use sward_runtime::lowlevel::{HubLocal, WaitQueue};

use crate::wait::wait_readable;

/// The size of the buffer.
const BUFFER: usize = 8 * 1024;

/// Standard input, as [`std::io::stdin`]. Its reads block the greenlet, not the thread.
///
/// # Differences from `std::io::Stdin`
///
/// The buffer belongs to this thread's hub, not to the process: read on one hub only.
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
    pub fn read_line(&self, line: &mut String) -> io::Result<usize> {
        self.lock().read_line(line)
    }

    /// The lines. Each `next` blocks the greenlet.
    pub fn lines(self) -> Lines {
        Lines { stdin: self }
    }
}

impl Read for Stdin {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.lock().read(buf)
    }
}

impl Read for &Stdin {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.lock().read(buf)
    }
}

impl std::fmt::Debug for Stdin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stdin").finish_non_exhaustive()
    }
}

/// The lines of standard input, see [`Stdin::lines`].
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

/// Locked standard input, see [`Stdin::lock`].
pub struct StdinLock {
    /// Where the lock is.
    shared: Rc<Shared>,
    /// What was read.
    buffer: Vec<u8>,
    /// How much of it was taken.
    at: usize,
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
