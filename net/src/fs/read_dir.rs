//! The entries of a directory, many at a time.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs::{FileType, Metadata};
use std::io;
use std::os::unix::fs::DirEntryExt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::PathBuf;
use std::sync::Arc;

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

// What may contain an error that is not is only handed out.
impl UnwindSafe for ReadDir {}
impl RefUnwindSafe for ReadDir {}

impl Iterator for ReadDir {
    type Item = io::Result<DirEntry>;

    fn next(&mut self) -> Option<io::Result<DirEntry>> {
        if self.ahead.is_empty()
            && let Some(mut inner) = self.inner.take()
        {
            let (batch, inner) = offload(move || {
                let batch: VecDeque<_> = inner.by_ref().take(BATCH).map(|entry| entry.map(DirEntry::new)).collect();
                (batch, inner)
            });
            self.inner = (!batch.is_empty()).then_some(inner);
            self.ahead = batch;
        }
        self.ahead.pop_front()
    }
}

/// An entry of a directory, as [`std::fs::DirEntry`].
///
/// # Differences from `std::fs::DirEntry`
///
/// The file's type is asked for together with the entry, which costs nothing on the usual file systems.
///
/// ```
/// for entry in sward::fs::read_dir(".")? {
///     let entry: sward::fs::DirEntry = entry?;
///     println!("{} has {} bytes", entry.path().display(), entry.metadata()?.len());
/// }
/// # std::io::Result::Ok(())
/// ```
pub struct DirEntry {
    /// std's; shared with a call that goes on after it was interrupted.
    inner: Arc<std::fs::DirEntry>,
    /// The file's type, unless that could not be told.
    file_type: Option<FileType>,
}

impl DirEntry {
    /// Called on the pool.
    fn new(inner: std::fs::DirEntry) -> DirEntry {
        DirEntry { file_type: inner.file_type().ok(), inner: Arc::new(inner) }
    }

    /// The path: that of the directory and the name.
    ///
    /// ```
    /// for entry in sward::fs::read_dir("src")? {
    ///     assert!(entry?.path().starts_with("src"));
    /// }
    /// # std::io::Result::Ok(())
    /// ```
    pub fn path(&self) -> PathBuf {
        self.inner.path()
    }

    /// The metadata; a symbolic link is not followed. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// for entry in sward::fs::read_dir("src")? {
    ///     println!("{} bytes", entry?.metadata()?.len());
    /// }
    /// # std::io::Result::Ok(())
    /// ```
    pub fn metadata(&self) -> io::Result<Metadata> {
        let inner = self.inner.clone();
        offload(move || inner.metadata())
    }

    /// The file's type; a symbolic link is not followed. Blocks the greenlet if it could not be told before.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// let mut entries = sward::fs::read_dir(".")?;
    /// assert!(entries.any(|entry| entry.unwrap().file_type().unwrap().is_dir()));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn file_type(&self) -> io::Result<FileType> {
        match self.file_type {
            Some(file_type) => Ok(file_type),
            None => self.metadata().map(|metadata| metadata.file_type()),
        }
    }

    /// The name.
    ///
    /// ```
    /// let mut entries = sward::fs::read_dir(".")?;
    /// assert!(entries.any(|entry| entry.unwrap().file_name() == "Cargo.toml"));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn file_name(&self) -> OsString {
        self.inner.file_name()
    }
}

impl DirEntryExt for DirEntry {
    fn ino(&self) -> u64 {
        self.inner.ino()
    }
}

impl fmt::Debug for DirEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
