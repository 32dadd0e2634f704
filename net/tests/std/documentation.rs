//! std's documentation, as rustup installs it: what it says is stable.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use crate::{MISSING, MISSING_TRAITS};

/// What introduces the version since when something is stable.
const STABLE_SINCE: &str = "Stable since Rust version ";

/// Each name on those pages is listed, or missing for a reason.
pub(crate) fn compare(members: &BTreeMap<&str, Vec<String>>, traits: &BTreeMap<&str, Vec<String>>) {
    let mut forgotten = Vec::new();
    for (&page, listed) in members {
        let names = if page.ends_with('/') { items(page) } else { methods(&read(page)) };
        let missing = |name: &str| MISSING.iter().any(|(its, names, _)| *its == page && names.contains(&name));
        check(page, &names, listed, missing, &mut forgotten);
    }
    for (&page, listed) in traits {
        let missing = |name: &str| MISSING_TRAITS.iter().any(|(its, _)| name.split("-for-").next() == Some(its));
        let listed: Vec<_> = listed.iter().map(|name| normal(name)).collect();
        check(page, &implementations(&read(page)), &listed, missing, &mut forgotten);
    }
    assert!(forgotten.is_empty(), "neither here nor in MISSING:\n{}", forgotten.join("\n"));
}

/// Compares what a page names with what is listed for it.
fn check(page: &str, names: &[Named], listed: &[String], missing: impl Fn(&str) -> bool, forgotten: &mut Vec<String>) {
    for name in listed {
        assert!(
            names.iter().any(|(its, _)| its == name),
            "{page} does not name {name}: is it written differently now?"
        );
    }
    let stable = names.iter().filter(|(_, since)| *since <= oldest());
    let new = stable.filter(|(name, _)| !listed.contains(name) && !missing(name));
    forgotten.extend(new.map(|(name, (major, minor))| format!("{page}: {name}, stable since {major}.{minor}")));
}

/// A name, and since when it is stable.
type Named = (String, Version);

/// Major and minor.
type Version = (u32, u32);

/// The oldest Rust that sward compiles with.
fn oldest() -> Version {
    version(env!("CARGO_PKG_RUST_VERSION"))
}

/// "1.88.0" or "1.88" or either with something behind.
fn version(text: &str) -> Version {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// Where it is installed.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().unwrap();
    let sysroot = PathBuf::from(String::from_utf8(sysroot.stdout).unwrap().trim_end());
    sysroot.join("share/doc/rust/html/std")
});

/// The text of a page.
fn read(page: &str) -> String {
    let path = FOLDER.join(format!("{page}.html"));
    fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}. `rustup component add rust-docs` installs it", path.display()))
}

/// Since when what follows is stable, if it is said before the text of `end`.
fn since(text: &str, end: &str) -> Option<Version> {
    let text = &text[..text.find(end).unwrap_or(text.len())];
    text.find(STABLE_SINCE).map(|at| version(&text[at + STABLE_SINCE.len()..]))
}

/// The functions and types of a module: each has a page. Not `FileExt` and the like, of which std's own will do.
fn items(module: &str) -> Vec<Named> {
    let mut names = Vec::new();
    for entry in fs::read_dir(FOLDER.join(module)).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        if let [_kind @ ("fn" | "struct" | "enum" | "trait"), name, "html"] = file.split('.').collect::<Vec<_>>()[..]
            && !name.ends_with("Ext")
        {
            let text = read(&format!("{module}{}", file.trim_end_matches(".html")));
            names.extend(since(&text, "<div class=\"docblock\"").map(|since| (name.to_owned(), since)));
        }
    }
    names
}

/// The stable methods on a page: of the type itself, or of the trait.
fn methods(page: &str) -> Vec<Named> {
    let end = ["id=\"trait-implementations\"", "id=\"implementors\""].iter().filter_map(|end| page.find(end)).min();
    let mut sections: Vec<&str> = page[..end.unwrap()].split("<section id=\"").skip(1).collect();
    sections.retain(|section| section.starts_with("method.") || section.starts_with("tymethod."));
    let named = sections.iter().filter_map(|section| {
        let name = section.split(['.', '"']).nth(1).unwrap();
        Some((name.to_owned(), since(section, "</section>")?))
    });
    named.collect()
}

/// The stable implementations of traits on a page.
fn implementations(page: &str) -> Vec<Named> {
    let named = page.split("<section id=\"impl-").skip(1).filter_map(|section| {
        let name = normal(&decoded(section.split('"').next().unwrap()));
        // Of Windows, and those that come with others: `From<Foo> for Foo`, `Send`.
        let is_foreign = ["Handle", "AsSocket", "RawSocket", "OwnedSocket"].iter().any(|word| name.contains(word));
        if is_foreign { None } else { Some((name, since(section, "</section>")?)) }
    });
    named.collect()
}

/// What is written differently here and there.
const OTHERWISE: &[(&str, &str)] = &[
    ("'static", ""),
    ("'a", ""),
    ("'_", ""),
    ("<>", ""),
    ("UnixIncoming", "Incoming"),
    ("process::Stdio", "Stdio"),
    ("for-Lock", "for-StdinLock"),
];

/// As it is written in both places, and without the number of a second one of the same name.
fn normal(name: &str) -> String {
    let mut name = name.replace(' ', "");
    for (word, instead) in OTHERWISE {
        name = name.replace(word, instead);
    }
    match name.rsplit_once('-') {
        Some((first, number)) if number.parse::<u32>().is_ok() => first.to_owned(),
        _ => name,
    }
}

/// Without `+`, `%3C` and the like.
fn decoded(text: &str) -> String {
    let text = text.replace('+', " ");
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap().to_owned();
    for part in parts {
        decoded.push(u8::from_str_radix(&part[..2], 16).unwrap() as char);
        decoded.push_str(&part[2..]);
    }
    decoded
}
