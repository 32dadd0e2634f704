//! An open file.

use std::fmt;
use std::fs::{FileTimes, Metadata, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use sward_runtime::offload;

/// The most bytes that one call moves: they are copied on their way to the pool and back.
const CHUNK: usize = 256 * 1024;

/// An open file, as [`std::fs::File`].
///
/// # Differences from `std::fs::File`
///
/// - Each call runs on the pool of `offload` and blocks the greenlet, not the hub. A read or write that
///   is interrupted is carried out all the same, and moves the position.
/// - A read or write moves at most 256 KiB.
///
/// ```
/// use std::io::{Read, Seek, Write};
/// use sward::fs::File;
///
/// let path = std::env::temp_dir().join(format!("sward-doc-file-{}", std::process::id()));
/// let mut file = File::options().create(true).read(true).write(true).truncate(true).open(&path)?;
/// file.write_all(b"hello")?;
/// file.rewind()?;
/// let mut text = String::new();
/// file.read_to_string(&mut text)?;
/// assert_eq!(text, "hello");
/// sward::fs::remove_file(path)?;
/// # std::io::Result::Ok(())
/// ```
pub struct File {
    /// std's; shared with a call that goes on after it was interrupted.
    inner: Arc<std::fs::File>,
}

/// Methods that pass a call on.
macro_rules! pass_on {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $result:ty;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        ///
        /// As std's.
        pub fn $name(&self $(, $arg: $type)*) -> io::Result<$result> {
            self.offload(move |file| file.$name($($arg),*))
        }
    )*};
}

impl File {
    /// Opens a file for reading. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// let file = sward::fs::File::open("Cargo.toml")?;
    /// assert!(file.metadata()?.is_file());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn open<P: AsRef<Path>>(path: P) -> io::Result<File> {
        File::options().read(true).open(path)
    }

    /// Opens a file for writing; makes it, or empties it. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("sward-doc-create-{}", std::process::id()));
    /// let file = sward::fs::File::create(&path)?;
    /// # sward::fs::remove_file(path)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn create<P: AsRef<Path>>(path: P) -> io::Result<File> {
        File::options().write(true).create(true).truncate(true).open(path)
    }

    /// Makes a file, which must not exist, for reading and writing. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("sward-doc-create-new-{}", std::process::id()));
    /// let file = sward::fs::File::create_new(&path)?;
    /// assert!(sward::fs::File::create_new(&path).is_err()); // it exists
    /// # sward::fs::remove_file(path)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn create_new<P: AsRef<Path>>(path: P) -> io::Result<File> {
        File::options().read(true).write(true).create_new(true).open(path)
    }

    /// How to open a file.
    ///
    /// ```
    /// let file = sward::fs::File::options().read(true).open("Cargo.toml")?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    pass_on! {
        /// Writes everything to the disk. Blocks the greenlet.
        sync_all() -> ();
        /// Writes the contents to the disk. Blocks the greenlet.
        sync_data() -> ();
        /// Cuts the file off or extends it. Blocks the greenlet.
        set_len(len: u64) -> ();
        /// The file's metadata. Blocks the greenlet.
        metadata() -> Metadata;
        /// Sets the permissions. Blocks the greenlet.
        set_permissions(permissions: Permissions) -> ();
        /// Sets the times. Blocks the greenlet.
        set_times(times: FileTimes) -> ();
        /// Sets the time of the last change. Blocks the greenlet.
        set_modified(time: SystemTime) -> ();
    }

    /// A second handle of the same open file.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// let file = sward::fs::File::open("Cargo.toml")?;
    /// let same_position = file.try_clone()?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn try_clone(&self) -> io::Result<File> {
        self.inner.try_clone().map(File::from)
    }

    /// Runs `f` on the pool.
    fn offload<R: Send + 'static>(&self, f: impl FnOnce(&std::fs::File) -> R + Send + 'static) -> R {
        let inner = self.inner.clone();
        offload(move || f(&inner))
    }
}

impl Read for &File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut data = vec![0; buf.len().min(CHUNK)];
        let (n, data) = self.offload(move |mut file| file.read(&mut data).map(|n| (n, data)))?;
        buf[..n].copy_from_slice(&data[..n]);
        Ok(n)
    }
}

impl Write for &File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let data = buf[..buf.len().min(CHUNK)].to_vec();
        self.offload(move |mut file| file.write(&data))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for &File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        (&*self.inner).seek(to) // moves a number, never blocks
    }
}

impl Read for File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }
}

impl Write for File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        (&*self).seek(to)
    }
}

impl From<std::fs::File> for File {
    fn from(inner: std::fs::File) -> File {
        File { inner: Arc::new(inner) }
    }
}

impl From<OwnedFd> for File {
    fn from(fd: OwnedFd) -> File {
        std::fs::File::from(fd).into()
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// How to open a file, as [`std::fs::OpenOptions`].
///
/// ```
/// let file = sward::fs::OpenOptions::new().read(true).open("Cargo.toml")?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// std's.
    inner: std::fs::OpenOptions,
}

/// Methods that set something and return `self`.
macro_rules! builder {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)*) => {$(
        $(#[$doc])*
        pub fn $name(&mut self, value: $type) -> &mut OpenOptions {
            self.inner.$name(value);
            self
        }
    )*};
}

impl OpenOptions {
    /// Nothing set.
    ///
    /// ```
    /// assert!(sward::fs::OpenOptions::new().open("Cargo.toml").is_err()); // neither to read nor to write
    /// # std::io::Result::Ok(())
    /// ```
    #[allow(clippy::new_without_default)] // std's has none
    pub fn new() -> OpenOptions {
        OpenOptions { inner: std::fs::OpenOptions::new() }
    }

    builder! {
        /// For reading.
        read: bool;
        /// For writing.
        write: bool;
        /// For writing at the end.
        append: bool;
        /// Empties the file.
        truncate: bool;
        /// Makes the file if there is none.
        create: bool;
        /// Makes the file, which must not exist.
        create_new: bool;
        /// The mode of a new file (`OpenOptionsExt::mode`).
        mode: u32;
        /// Further flags of open(2) (`OpenOptionsExt::custom_flags`).
        custom_flags: i32;
    }

    /// Opens the file. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// let file = sward::fs::OpenOptions::new().read(true).open("Cargo.toml")?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn open<P: AsRef<Path>>(&self, path: P) -> io::Result<File> {
        let (options, path) = (self.inner.clone(), path.as_ref().to_owned());
        offload(move || options.open(path)).map(File::from)
    }
}
