//! How to make a directory.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use sward_runtime::offload;

/// How to make a directory, as [`std::fs::DirBuilder`].
///
/// ```
/// # let path = std::env::temp_dir().join(format!("sward-doc-dirs-{}", std::process::id()));
/// sward::fs::DirBuilder::new().recursive(true).create(path.join("a/b"))?;
/// # sward::fs::remove_dir_all(path)?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct DirBuilder {
    /// Whether parents are made too.
    recursive: bool,
    /// The mode of a new directory, before the umask.
    mode: u32,
}

impl DirBuilder {
    /// One directory, whose parent exists.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("sward-doc-dir-{}", std::process::id()));
    /// assert!(sward::fs::DirBuilder::new().create(path.join("a/b")).is_err());
    /// ```
    #[allow(clippy::new_without_default)] // std's has none
    pub fn new() -> DirBuilder {
        DirBuilder { recursive: false, mode: 0o777 }
    }

    /// Makes parents too, and lets the directory exist.
    ///
    /// ```
    /// sward::fs::DirBuilder::new().recursive(true).create(std::env::temp_dir())?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn recursive(&mut self, recursive: bool) -> &mut DirBuilder {
        self.recursive = recursive;
        self
    }

    /// Makes the directory. Blocks the greenlet.
    ///
    /// # Errors
    ///
    /// As std's.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("sward-doc-dir-create-{}", std::process::id()));
    /// sward::fs::DirBuilder::new().create(&path)?;
    /// # sward::fs::remove_dir(path)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        let DirBuilder { recursive, mode } = *self;
        let path = path.as_ref().to_owned();
        offload(move || std::fs::DirBuilder::new().recursive(recursive).mode(mode).create(path))
    }
}

/// ```
/// use std::os::unix::fs::{DirBuilderExt, MetadataExt};
/// # let path = std::env::temp_dir().join(format!("sward-doc-dir-mode-{}", std::process::id()));
/// sward::fs::DirBuilder::new().mode(0o700).create(&path)?;
/// assert_eq!(sward::fs::metadata(&path)?.mode() & 0o777, 0o700);
/// # sward::fs::remove_dir(path)?;
/// # std::io::Result::Ok(())
/// ```
impl DirBuilderExt for DirBuilder {
    fn mode(&mut self, mode: u32) -> &mut DirBuilder {
        self.mode = mode;
        self
    }
}
