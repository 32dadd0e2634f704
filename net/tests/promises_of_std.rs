//! What `net`, `fs`, `process` and `io` promise of std's types: whatever is stable there is here, with the same
//! signature, or [`MISSING`] says why not, and so do the crate's docs.
//!
//! The compiler sees to the signatures: the same code is compiled with std's types and with ours. `ci/std` compares the
//! lists with std's own documentation as well, so that nothing is forgotten.

use std::collections::BTreeMap;

#[path = "std/code.rs"]
mod code;
#[path = "std/documentation.rs"]
mod documentation;

use code::{ours, theirs};

/// What std has, stable in the oldest Rust that sward compiles with, and sward has not: the page of std's
/// documentation, the names, and why.
const MISSING: &[(&str, &[&str], &str)] = &[
    ("net/struct.TcpListener", &["set_only_v6", "only_v6"], "deprecated"),
    ("os/unix/process/trait.CommandExt", &["pre_exec"], "unsafe: set it on std's `Command` and convert"),
    ("os/unix/process/trait.CommandExt", &["before_exec"], "deprecated"),
    ("fs/", &["soft_link"], "deprecated"),
    ("os/unix/fs/", &["fchown"], "takes a descriptor, of our `File` too"),
    ("os/unix/fs/", &["chroot"], "is about the process, not about files"),
];

/// Traits of std's types that ours have not, and why.
const MISSING_TRAITS: &[(&str, &str)] = &[
    ("FromRawFd", "unsafe: `From<OwnedFd>` is there"),
    ("IsTerminal", "only std may implement it: a method"),
    ("CommandExt", "only std may implement it: methods"),
];

/// A page of std's documentation, and the names in it.
type Page = (&'static str, Vec<String>);

/// All pages, the names of one page together.
fn by_page(pages: Vec<Page>) -> BTreeMap<&'static str, Vec<String>> {
    let mut all = BTreeMap::<_, Vec<String>>::new();
    for (page, names) in pages {
        all.entry(page).or_default().extend(names);
    }
    all
}

#[test]
fn what_std_has_is_here_with_the_same_signature() {
    // The compiler has looked already; that both lists are the same is a matter of how they are made.
    assert_eq!(theirs::members(), ours::members());
    assert_eq!(theirs::traits(), ours::traits());
}

#[test]
fn what_is_missing_stands_in_the_docs() {
    let docs = include_str!("../src/lib.rs");
    let members = by_page(ours::members());
    for (page, names, why) in MISSING {
        for name in *names {
            assert!(
                docs.contains(&format!("`{name}`")),
                "{page}: {name} is missing ({why}), the crate's docs say nothing"
            );
            assert!(!members[page].iter().any(|it| it == name), "{page}: {name} is listed as missing, and is there");
        }
    }
    for (name, why) in MISSING_TRAITS {
        assert!(docs.contains(&format!("`{name}`")), "{name} is missing ({why}), the crate's docs say nothing");
    }
}

#[test]
#[ignore = "needs std's documentation: see ci/std"]
fn nothing_that_std_s_documentation_has_is_forgotten() {
    documentation::compare(&by_page(ours::members()), &by_page(ours::traits()));
}
