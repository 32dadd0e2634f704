//! The entries of a directory, many at a time.

use std::collections::VecDeque;
use std::fs::DirEntry;
use std::io;

use sward_runtime::offload;

/// Entries read at once: one trip to the pool for all of them.
const BATCH: usize = 256;

/// The entries of a directory, as [`std::fs::ReadDir`]. Its `next` blocks the greenlet now and then.
///
/// ```
/// let entries: sward::fs::ReadDir = sward::fs::read_dir(".")?;
/// assert!(entries.count() > 0);
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct ReadDir {
    /// std's; `None` at the end.
    inner: Option<std::fs::ReadDir>,
    /// What was read ahead.
    ahead: VecDeque<io::Result<DirEntry>>,
}

impl ReadDir {
    /// All entries of `inner`.
    pub(super) fn new(inner: std::fs::ReadDir) -> ReadDir {
        ReadDir { inner: Some(inner), ahead: VecDeque::new() }
    }
}

impl Iterator for ReadDir {
    type Item = io::Result<DirEntry>;

    fn next(&mut self) -> Option<io::Result<DirEntry>> {
        if self.ahead.is_empty()
            && let Some(mut inner) = self.inner.take()
        {
            let (batch, inner) = offload(move || {
                let batch: VecDeque<_> = inner.by_ref().take(BATCH).collect();
                (batch, inner)
            });
            self.inner = (!batch.is_empty()).then_some(inner);
            self.ahead = batch;
        }
        self.ahead.pop_front()
    }
}
