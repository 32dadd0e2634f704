//! Writing to stderr in a signal handler: no allocation, no lock of std's.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

/// A buffer on the stack in front of `write(2)`.
pub(super) struct Stderr {
    /// What is not written yet.
    buffer: [u8; 512],
    /// How many bytes that is.
    length: usize,
}

impl Stderr {
    /// An empty buffer.
    pub(super) fn new() -> Stderr {
        Stderr { buffer: [0; 512], length: 0 }
    }

    /// Writes what is in the buffer; an error means that nobody can be told anything.
    pub(super) fn flush(&mut self) {
        let mut rest = &self.buffer[..self.length];
        while !rest.is_empty() {
            // SAFETY: `rest` is initialised memory of that length; write(2) may be called in a handler.
            let written = unsafe { libc::write(libc::STDERR_FILENO, rest.as_ptr().cast(), rest.len()) };
            match usize::try_from(written) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(_) if std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.length = 0;
    }
}

impl fmt::Write for Stderr {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if self.length == self.buffer.len() {
                self.flush();
            }
            self.buffer[self.length] = byte;
            self.length += 1;
        }
        Ok(())
    }
}

/// Returns on the first thread that calls it. A second one that overflows meanwhile waits for the
/// process to end, so that two reports do not mix.
pub(super) fn wait_for_my_turn() {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    while TAKEN.swap(true, Ordering::Relaxed) {
        // SAFETY: sleeps; may be called in a handler. The first thread's alarm ends the process.
        unsafe { libc::pause() };
    }
}
