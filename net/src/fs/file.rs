//! An open file.

use std::fmt;
use std::fs::{FileTimes, Metadata, Permissions};
use std::io::{self, IoSlice, IoSliceMut, IsTerminal, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::SystemTime;

use sward_runtime::offload;

use super::OpenOptions;

/// The most bytes that one call moves: they are copied on their way to the pool and back.
const CHUNK: usize = 256 * 1024;

/// An open file, as [`std::fs::File`].
///
/// # Differences from `std::fs::File`
///
/// - Each call runs on the pool of `offload` and blocks the greenlet, not the hub. A read or write that
///   is interrupted is carried out all the same, and moves the position.
/// - A read or write moves at most 256 KiB.
/// - `FromRawFd` is missing, since it is unsafe: use `From<OwnedFd>`. `lock` and its kin are: they are newer than
///   the oldest Rust that sward compiles with. `IsTerminal`, which only std may implement, is the method
///   [`is_terminal`](File::is_terminal).
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

/// Methods that pass a call on. The examples have a `file` of five bytes, "hello".
macro_rules! pass_on {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $result:ty, $example:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        ///
        /// As std's.
        ///
        /// ```
        #[doc = concat!("# let path = std::env::temp_dir().join(format!(\"sward-doc-file-", stringify!($name), "-{}\", std::process::id()));")]
        /// # sward::fs::write(&path, "hello")?;
        /// let file = sward::fs::File::options().write(true).open(&path)?;
        #[doc = $example]
        /// # sward::fs::remove_file(path)?;
        /// # std::io::Result::Ok(())
        /// ```
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
        sync_all() -> (), "file.sync_all()?;";
        /// Writes the contents to the disk. Blocks the greenlet.
        sync_data() -> (), "file.sync_data()?;";
        /// Cuts the file off or extends it. Blocks the greenlet.
        set_len(len: u64) -> (), "file.set_len(3)?;
    assert_eq!(sward::fs::read(&path)?, b\"hel\");";
        /// The file's metadata. Blocks the greenlet.
        metadata() -> Metadata, "assert_eq!(file.metadata()?.len(), 5);";
        /// Sets the permissions. Blocks the greenlet.
        set_permissions(permissions: Permissions) -> (), "let mut permissions = file.metadata()?.permissions();
permissions.set_readonly(true);
file.set_permissions(permissions)?;
assert!(file.metadata()?.permissions().readonly());";
        /// Sets the times. Blocks the greenlet.
        set_times(times: FileTimes) -> (), "let times = sward::fs::FileTimes::new().set_accessed(std::time::UNIX_EPOCH);
file.set_times(times)?;
assert_eq!(file.metadata()?.accessed()?, std::time::UNIX_EPOCH);";
        /// Sets the time of the last change. Blocks the greenlet.
        set_modified(time: SystemTime) -> (), "file.set_modified(std::time::UNIX_EPOCH)?;
    assert_eq!(file.metadata()?.modified()?, std::time::UNIX_EPOCH);";
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

    /// Whether it is a terminal (`std::io::IsTerminal`).
    ///
    /// ```
    /// assert!(!sward::fs::File::open("Cargo.toml")?.is_terminal());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn is_terminal(&self) -> bool {
        self.inner.is_terminal()
    }

    /// Reads at most `CHUNK` of `len` bytes with `call`, which gets a buffer of its own, and hands them to `take`.
    fn read_with(
        &self,
        len: usize,
        call: impl FnOnce(&std::fs::File, &mut [u8]) -> io::Result<usize> + Send + 'static,
        take: impl FnOnce(&[u8]),
    ) -> io::Result<usize> {
        let mut data = vec![0; len.min(CHUNK)];
        let (n, data) = self.offload(move |file| call(file, &mut data).map(|n| (n, data)))?;
        take(&data[..n]);
        Ok(n)
    }

    /// Runs `f` on the pool.
    fn offload<R: Send + 'static>(&self, f: impl FnOnce(&std::fs::File) -> R + Send + 'static) -> R {
        let inner = self.inner.clone();
        offload(move || f(&inner))
    }
}

impl Read for &File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_with(buf.len(), |mut file, data| file.read(data), |data| buf[..data.len()].copy_from_slice(data))
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let len = bufs.iter().map(|buf| buf.len()).sum();
        let scatter = |mut data: &[u8]| {
            for buf in bufs {
                let (now, later) = data.split_at(buf.len().min(data.len()));
                buf[..now.len()].copy_from_slice(now);
                data = later;
            }
        };
        self.read_with(len, |mut file, data| file.read(data), scatter)
    }
}

impl Write for &File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let data = buf[..buf.len().min(CHUNK)].to_vec();
        self.offload(move |mut file| file.write(&data))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut data = Vec::new();
        for buf in bufs {
            data.extend_from_slice(&buf[..buf.len().min(CHUNK - data.len())]);
        }
        self.offload(move |mut file| file.write(&data))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads and writes at a place, whatever the position. Each call blocks the greenlet.
///
/// ```
/// use std::os::unix::fs::FileExt;
/// # let path = std::env::temp_dir().join(format!("sward-doc-file-at-{}", std::process::id()));
/// # sward::fs::write(&path, "hello")?;
/// let file = sward::fs::File::options().read(true).write(true).open(&path)?;
/// file.write_all_at(b"ipp", 2)?;
/// let mut buf = [0; 4];
/// file.read_exact_at(&mut buf, 1)?;
/// assert_eq!(&buf, b"eipp");
/// # sward::fs::remove_file(path)?;
/// # std::io::Result::Ok(())
/// ```
impl FileExt for File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let call = move |file: &std::fs::File, data: &mut [u8]| file.read_at(data, offset);
        self.read_with(buf.len(), call, |data| buf[..data.len()].copy_from_slice(data))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let data = buf[..buf.len().min(CHUNK)].to_vec();
        self.offload(move |file| file.write_at(&data, offset))
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

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(bufs)
    }
}

impl Write for File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(bufs)
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

/// After an interrupted call that is still being carried out, with a duplicate of the descriptor.
///
/// # Panics
///
/// If there is none to be had for that.
impl From<File> for std::fs::File {
    fn from(ours: File) -> std::fs::File {
        let shared = |inner: Arc<std::fs::File>| inner.try_clone().expect("a descriptor for a file that is still used");
        Arc::try_unwrap(ours.inner).unwrap_or_else(shared)
    }
}

/// As the conversion into std's type.
impl From<File> for OwnedFd {
    fn from(ours: File) -> OwnedFd {
        std::fs::File::from(ours).into()
    }
}

/// As the conversion into std's type.
impl From<File> for Stdio {
    fn from(ours: File) -> Stdio {
        std::fs::File::from(ours).into()
    }
}

/// As the conversion into std's type.
impl IntoRawFd for File {
    fn into_raw_fd(self) -> RawFd {
        std::fs::File::from(self).into_raw_fd()
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
