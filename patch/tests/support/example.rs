//! The examples of this crate, which must have been built with the tests' profile: `cargo build --examples
//! --all-features`, which `./test` does.

use std::path::PathBuf;

/// What was built of an example.
pub(crate) fn example(file: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().with_file_name("examples").join(file);
    assert!(path.exists(), "{} is missing: cargo build --examples --all-features", path.display());
    path
}
