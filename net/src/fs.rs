//! Files, as [`std::fs`]: each call runs on the pool of [`offload`] and blocks the greenlet, not the
//! hub. There is nothing to wait for on a regular file: the kernel calls it always ready.
//!
//! ```
//! let path = std::env::temp_dir().join(format!("sward-doc-fs-{}", std::process::id()));
//! sward::fs::write(&path, "hello")?;
//! assert_eq!(sward::fs::read_to_string(&path)?, "hello");
//! sward::fs::remove_file(&path)?;
//! # std::io::Result::Ok(())
//! ```

use std::io;
use std::path::{Path, PathBuf};

#[doc(no_inline)]
pub use std::fs::{FileTimes, FileType, Metadata, Permissions};

use sward_runtime::offload;

pub use dir_builder::DirBuilder;
pub use file::File;
pub use open_options::OpenOptions;
pub use read_dir::{DirEntry, ReadDir};

mod dir_builder;
mod file;
mod open_options;
mod read_dir;

/// Functions of one path.
macro_rules! of_one_path {
    ($($name:ident -> $result:ty, $example:literal;)*) => {$(
        #[doc = concat!("As [`std::fs::", stringify!($name), "`]. Blocks the greenlet.")]
        ///
        /// # Errors
        ///
        /// As std's.
        ///
        /// ```
        #[doc = concat!("# let path = std::env::temp_dir().join(format!(\"sward-doc-", stringify!($name), "-{}\", std::process::id()));")]
        #[doc = $example]
        /// # std::io::Result::Ok(())
        /// ```
        pub fn $name<P: AsRef<Path>>(path: P) -> io::Result<$result> {
            let path = path.as_ref().to_owned();
            offload(move || std::fs::$name(path))
        }
    )*};
}

of_one_path! {
    canonicalize -> PathBuf, "assert!(sward::fs::canonicalize(\".\")?.is_absolute());";
    create_dir -> (), "sward::fs::create_dir(&path)?;
# sward::fs::remove_dir(&path)?;";
    create_dir_all -> (), "sward::fs::create_dir_all(path.join(\"a/b\"))?;
# sward::fs::remove_dir_all(&path)?;";
    exists -> bool, "assert!(sward::fs::exists(\"Cargo.toml\")?);";
    metadata -> Metadata, "assert!(sward::fs::metadata(\"Cargo.toml\")?.is_file());";
    read -> Vec<u8>, "assert!(!sward::fs::read(\"Cargo.toml\")?.is_empty());";
    read_link -> PathBuf, "std::os::unix::fs::symlink(\"there\", &path)?;
assert_eq!(sward::fs::read_link(&path)?.as_os_str(), \"there\");
# sward::fs::remove_file(&path)?;";
    read_to_string -> String, "assert!(sward::fs::read_to_string(\"Cargo.toml\")?.contains(\"sward\"));";
    remove_dir -> (), "sward::fs::create_dir(&path)?;
sward::fs::remove_dir(&path)?;";
    remove_dir_all -> (), "sward::fs::create_dir_all(path.join(\"a/b\"))?;
sward::fs::remove_dir_all(&path)?;";
    remove_file -> (), "sward::fs::write(&path, \"\")?;
sward::fs::remove_file(&path)?;";
    symlink_metadata -> Metadata, "assert!(!sward::fs::symlink_metadata(\"Cargo.toml\")?.is_symlink());";
}

/// Functions of two paths.
macro_rules! of_two_paths {
    ($($std:path as $name:ident -> $result:ty, $example:literal;)*) => {$(
        #[doc = concat!("As [`", stringify!($std), "`]. Blocks the greenlet.")]
        ///
        /// # Errors
        ///
        /// As std's.
        ///
        /// ```
        #[doc = concat!("# let path = std::env::temp_dir().join(format!(\"sward-doc-", stringify!($name), "-{}\", std::process::id()));")]
        /// # let other = path.with_extension("other");
        #[doc = $example]
        /// # sward::fs::remove_file(&other)?;
        /// # let _ = sward::fs::remove_file(&path);
        /// # std::io::Result::Ok(())
        /// ```
        pub fn $name<P: AsRef<Path>, Q: AsRef<Path>>(from: P, to: Q) -> io::Result<$result> {
            let (from, to) = (from.as_ref().to_owned(), to.as_ref().to_owned());
            offload(move || $std(from, to))
        }
    )*};
}

of_two_paths! {
    std::fs::copy as copy -> u64, "sward::fs::write(&path, \"hello\")?;
assert_eq!(sward::fs::copy(&path, &other)?, 5);";
    std::fs::hard_link as hard_link -> (), "sward::fs::write(&path, \"hello\")?;
sward::fs::hard_link(&path, &other)?;";
    std::fs::rename as rename -> (), "sward::fs::write(&path, \"hello\")?;
sward::fs::rename(&path, &other)?;
assert!(!sward::fs::exists(&path)?);";
    std::os::unix::fs::symlink as symlink -> (), "sward::fs::symlink(\"there\", &other)?;
assert_eq!(sward::fs::read_link(&other)?.as_os_str(), \"there\");";
}

/// Functions that change who owns a file.
macro_rules! of_owners {
    ($($name:ident)*) => {$(
        #[doc = concat!("As [`std::os::unix::fs::", stringify!($name), "`]. Blocks the greenlet.")]
        ///
        /// # Errors
        ///
        /// As std's.
        ///
        /// ```
        #[doc = concat!("# let path = std::env::temp_dir().join(format!(\"sward-doc-", stringify!($name), "-{}\", std::process::id()));")]
        /// sward::fs::write(&path, "hello")?;
        #[doc = concat!("sward::fs::", stringify!($name), "(&path, None, None)?; // stays whose it is")]
        /// # sward::fs::remove_file(&path)?;
        /// # std::io::Result::Ok(())
        /// ```
        pub fn $name<P: AsRef<Path>>(path: P, user: Option<u32>, group: Option<u32>) -> io::Result<()> {
            let path = path.as_ref().to_owned();
            offload(move || std::os::unix::fs::$name(path, user, group))
        }
    )*};
}

of_owners!(chown lchown);

/// As [`std::fs::write`]. Blocks the greenlet.
///
/// # Errors
///
/// As std's.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("sward-doc-write-{}", std::process::id()));
/// sward::fs::write(&path, "hello")?;
/// # sward::fs::remove_file(path)?;
/// # std::io::Result::Ok(())
/// ```
pub fn write<P: AsRef<Path>, C: AsRef<[u8]>>(path: P, contents: C) -> io::Result<()> {
    let (path, contents) = (path.as_ref().to_owned(), contents.as_ref().to_owned());
    offload(move || std::fs::write(path, contents))
}

/// As [`std::fs::set_permissions`]. Blocks the greenlet.
///
/// # Errors
///
/// As std's.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("sward-doc-perms-{}", std::process::id()));
/// # sward::fs::write(&path, "hello")?;
/// let mut permissions = sward::fs::metadata(&path)?.permissions();
/// permissions.set_readonly(true);
/// sward::fs::set_permissions(&path, permissions)?;
/// # sward::fs::remove_file(path)?;
/// # std::io::Result::Ok(())
/// ```
pub fn set_permissions<P: AsRef<Path>>(path: P, permissions: Permissions) -> io::Result<()> {
    let path = path.as_ref().to_owned();
    offload(move || std::fs::set_permissions(path, permissions))
}

/// As [`std::fs::read_dir`]. Blocks the greenlet.
///
/// # Errors
///
/// As std's.
///
/// ```
/// let names: Vec<_> = sward::fs::read_dir(".")?.map(|entry| entry.map(|it| it.file_name())).collect::<Result<_, _>>()?;
/// assert!(names.iter().any(|name| name == "Cargo.toml"));
/// # std::io::Result::Ok(())
/// ```
pub fn read_dir<P: AsRef<Path>>(path: P) -> io::Result<ReadDir> {
    let path = path.as_ref().to_owned();
    offload(move || std::fs::read_dir(path)).map(ReadDir::new)
}
