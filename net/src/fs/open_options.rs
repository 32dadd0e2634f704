//! How to open a file.

use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use sward_runtime::offload;

use super::File;

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

/// Methods that set something and return `self`. The examples have a `path` where nothing is.
macro_rules! builder {
    ($($(#[$doc:meta])* $name:ident, $example:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// ```
        /// use sward::fs::OpenOptions;
        #[doc = concat!("# let path = std::env::temp_dir().join(format!(\"sward-doc-open-", stringify!($name), "-{}\", std::process::id()));")]
        #[doc = $example]
        /// # let _ = sward::fs::remove_file(path);
        /// # std::io::Result::Ok(())
        /// ```
        pub fn $name(&mut self, $name: bool) -> &mut OpenOptions {
            self.inner.$name($name);
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
        read, "let file = OpenOptions::new().read(true).open(\"Cargo.toml\")?;
    assert!(std::io::read_to_string(file)?.contains(\"sward\"));";
        /// For writing.
        write, "# sward::fs::write(&path, \"hello\")?;
use std::io::Write;
OpenOptions::new().write(true).open(&path)?.write_all(b\"J\")?;
assert_eq!(sward::fs::read(&path)?, b\"Jello\");";
        /// For writing at the end.
        append, "# sward::fs::write(&path, \"hello\")?;
use std::io::Write;
OpenOptions::new().append(true).open(&path)?.write_all(b\"!\")?;
assert_eq!(sward::fs::read(&path)?, b\"hello!\");";
        /// Empties the file.
        truncate, "# sward::fs::write(&path, \"hello\")?;
OpenOptions::new().write(true).truncate(true).open(&path)?;
assert_eq!(sward::fs::read(&path)?, b\"\");";
        /// Makes the file if there is none.
        create, "OpenOptions::new().append(true).create(true).open(&path)?;
    assert!(sward::fs::exists(&path)?);";
        /// Makes the file, which must not exist.
        create_new, "OpenOptions::new().write(true).create_new(true).open(&path)?;
    assert!(OpenOptions::new().write(true).create_new(true).open(&path).is_err());";
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

/// ```
/// use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
/// # let path = std::env::temp_dir().join(format!("sward-doc-open-mode-{}", std::process::id()));
/// let file = sward::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
/// assert_eq!(file.metadata()?.mode() & 0o777, 0o600);
/// # sward::fs::remove_file(path)?;
/// # std::io::Result::Ok(())
/// ```
impl OpenOptionsExt for OpenOptions {
    fn mode(&mut self, mode: u32) -> &mut OpenOptions {
        self.inner.mode(mode);
        self
    }

    fn custom_flags(&mut self, flags: i32) -> &mut OpenOptions {
        self.inner.custom_flags(flags);
        self
    }
}

impl From<std::fs::OpenOptions> for OpenOptions {
    fn from(inner: std::fs::OpenOptions) -> OpenOptions {
        OpenOptions { inner }
    }
}
