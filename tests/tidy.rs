//! Rules of the house that no compiler checks. Each failure names the file, the line and what to do.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "tidy/lexer.rs"]
mod lexer;

/// The most lines of code in a file. Blank lines, comments and the trailing `mod tests` do not count.
const MAX_FILE: usize = 400;

/// The most lines of code in a function, its first and last line included.
const MAX_FUNCTION: usize = 70;

/// The most lines, of any kind, in the facade: it re-exports and does nothing else.
const MAX_FACADE: usize = 100;

/// Where `unsafe` may stand, and why it cannot be done without. A name that ends with `/` is a folder.
const MAY_BE_UNSAFE: &[(&str, &str)] = &[
    ("patch/src/", "stands in for functions of libc"),
    ("patch/tests/", "calls functions of libc"),
    ("patch/real/examples/psycogreen.rs", "patches, which is a promise to be made"),
    ("patch/linked/src/", "patches, and calls C"),
    ("patch/examples/", "is called from C, patches, and calls past the hooks"),
    ("patch/benches/", "calls libc functions past the hooks"),
    ("examples/concurrent_download.rs", "patches, which is a promise to be made"),
    ("examples/c_library.rs", "patches, and calls a C library"),
    ("web/examples/service/diesel.rs", "patches, which is a promise to be made"),
    ("web/examples/service/html.rs", "calls a C library"),
    ("runtime/src/stack/", "maps the memory of stacks and guards it"),
    ("runtime/src/greenlet.rs", "starts, resumes and suspends on those stacks"),
    ("runtime/src/prefetch.rs", "uses an instruction that is a hint"),
    ("runtime/src/thread_pointer.rs", "moves the base of thread-locals"),
    ("runtime/src/identity.rs", "is told by `sward-patch` how thread-locals are made"),
    ("runtime/src/handler.rs", "puts signal handlers in the place of others"),
    ("runtime/src/inspect/sample.rs", "handles a signal that asks a thread what it does"),
    ("runtime/src/inspect/trace.rs", "walks the stacks of greenlets that do not run"),
    ("runtime/src/fork.rs", "asks libc to call back in a fork's child"),
    ("runtime/tests/promises_of_fork.rs", "forks, and waits for the child"),
    ("runtime/tests/promises_of_watch.rs", "forks, and blocks a signal"),
    ("runtime/src/inspect/sample/", "loads a library while it is asked"),
    ("runtime/src/hooks.rs", "duplicates a descriptor that somebody else owns"),
    ("runtime/src/oneshot.rs", "arms descriptors that somebody else owns"),
    ("runtime/src/hub.rs", "frees a thread's hub, which everything on that thread borrows, when the thread ends"),
];

/// Where the words of [`FORBIDDEN_WORDS`] may stand, and why.
const MAY_USE_OTHER_WORDS: &[(&str, &str)] = &[
    ("runtime/src/stack/", "calls corosensei, which has its own words"),
    ("runtime/src/greenlet.rs", "calls corosensei, which has its own words"),
    ("benches/work/", "calls corosensei, which has its own words"),
    ("docs/ARCHITECTURE.md", "its glossary says which words are not used"),
    ("tests/tidy.rs", "lists them"),
];

/// Other libraries' words for a greenlet: one thing has one name.
const FORBIDDEN_WORDS: &[&str] =
    &["fiber", "fibers", "fibre", "fibres", "coroutine", "coroutines", "goroutine", "goroutines"];

/// How paths begin that exist on one machine only.
const MACHINE_PATHS: &[&str] = &["/home/", "/root/", "/Users/"];

/// Pages of the guide that belong to no single example.
const PAGES: &[&str] = &["patching"];

/// The sections of a decision, in this order.
const DECISION_SECTIONS: &[&str] = &["## Question", "## Options", "## Measurement", "## Choice"];

#[test]
fn files_and_functions_are_short() {
    let mut found = Findings::default();
    for (name, source) in rust_files() {
        let masked = lexer::mask(&source);
        let lines = lexer::code_lines(&lexer::without_tests(&masked));
        if lines > MAX_FILE {
            found.add(&name, 1, format!("{lines} lines of code, at most {MAX_FILE}: split it by idea"));
        }
        for function in lexer::functions(&masked) {
            let lexer::Function { name: function, line, length } = function;
            if length > MAX_FUNCTION {
                let what = format!("fn {function} has {length} lines of code, at most {MAX_FUNCTION}");
                found.add(&name, line, what);
            }
        }
    }
    found.report();
}

#[test]
fn the_facade_only_re_exports() {
    let source = read("src/lib.rs");
    let lines = source.lines().count();
    assert!(lines <= MAX_FACADE, "src/lib.rs has {lines} lines, at most {MAX_FACADE}");
    let functions = lexer::functions(&lexer::mask(&source));
    assert!(functions.is_empty(), "src/lib.rs: {functions:?} belongs in one of the crates");
}

#[test]
fn unsafe_stays_where_it_is_expected() {
    let mut found = Findings::default();
    let mut used = BTreeSet::new();
    for (name, source) in rust_files() {
        let masked = lexer::mask(&source);
        let Some(at) = lexer::words(&masked, "unsafe").next() else {
            continue;
        };
        match listed(MAY_BE_UNSAFE, &name) {
            Some(entry) => _ = used.insert(entry),
            None => found.add(&name, line(&masked, at), "`unsafe` in a file that MAY_BE_UNSAFE does not list".into()),
        }
    }
    for (entry, _) in MAY_BE_UNSAFE.iter().filter(|(entry, _)| !used.contains(entry)) {
        found.add(entry, 1, "listed in MAY_BE_UNSAFE, but has no `unsafe`: remove it from the list".into());
    }
    found.report();
}

/// The compiler then checks what macros expand to as well.
#[test]
fn crates_without_unsafe_forbid_it() {
    let mut found = Findings::default();
    for folder in crates() {
        let is_unsafe = MAY_BE_UNSAFE.iter().any(|(entry, _)| entry.starts_with(&format!("{folder}src/")));
        let root = format!("{folder}src/lib.rs");
        if !is_unsafe && !read(&root).contains("#![forbid(unsafe_code)]") {
            found.add(&root, 1, "this crate has no `unsafe`, so say `#![forbid(unsafe_code)]`".into());
        }
    }
    found.report();
}

#[test]
fn each_example_has_its_chapter() {
    let names = |folder, extension| -> BTreeSet<String> {
        let files = files(folder, extension).into_iter().map(|name| name[folder.len() + 1..].to_owned());
        files
            .filter(|name| !name.contains('/'))
            .map(|name| name[..name.len() - extension.len() - 1].to_owned())
            .collect()
    };
    let mut examples = names("examples", "rs");
    // Those that need more than the others belong to the crate that they show.
    examples.extend(names("web/examples", "rs"));
    examples.extend(names("patch/real/examples", "rs"));
    let mut chapters = names("docs/guide", "md");
    assert!(chapters.remove("README"), "docs/guide/README.md, the list of chapters, is missing");
    for page in PAGES {
        assert!(chapters.remove(*page), "docs/guide/{page}.md is missing");
    }
    assert_eq!(
        examples, chapters,
        "left: examples/*.rs and those of web and patch/real, right: docs/guide/*.md; each needs the other"
    );
    let contents = read("docs/guide/README.md");
    for chapter in chapters.iter().map(String::as_str).chain(PAGES.iter().copied()) {
        assert!(contents.contains(&format!("({chapter}.md)")), "docs/guide/README.md does not link {chapter}.md");
    }
}

#[test]
fn one_thing_has_one_name() {
    let mut found = Findings::default();
    for (name, text) in rust_files().into_iter().chain(documents()) {
        if listed(MAY_USE_OTHER_WORDS, &name).is_some() {
            continue;
        }
        let lower = text.to_lowercase();
        for word in FORBIDDEN_WORDS {
            for at in lexer::words(&lower, word) {
                found.add(&name, line(&lower, at), format!("{word:?}: the word here is greenlet"));
            }
        }
    }
    found.report();
}

#[test]
fn no_file_names_a_path_of_somebodys_machine() {
    let mut found = Findings::default();
    let manifests = files("", "toml").into_iter().map(|name| (name.clone(), read(&name)));
    for (name, text) in rust_files().into_iter().chain(documents()).chain(manifests) {
        for at in MACHINE_PATHS.iter().filter_map(|path| text.find(path)) {
            if name != "tests/tidy.rs" {
                found.add(&name, line(&text, at), "a path that exists on one machine only".into());
            }
        }
    }
    found.report();
}

#[test]
fn decisions_have_their_four_sections() {
    let mut found = Findings::default();
    let mut numbers = BTreeSet::new();
    for name in files("docs/decisions", "md") {
        let number: String = name["docs/decisions/".len()..].chars().take(3).collect();
        if !number.chars().all(|c| c.is_ascii_digit()) {
            continue; // README.md
        }
        if !numbers.insert(number.clone()) {
            found.add(&name, 1, format!("two decisions have the number {number}"));
        }
        let text = read(&name);
        let headings: Vec<_> = text.lines().filter(|line| line.starts_with("## ")).map(str::trim_end).collect();
        if headings != DECISION_SECTIONS {
            found.add(&name, 1, format!("has the sections {headings:?}, wanted {DECISION_SECTIONS:?}"));
        }
    }
    found.report();
}

/// Rule 10 of the house: few dependencies, each with its reason in a comment.
#[test]
fn each_dependency_says_why() {
    let mut found = Findings::default();
    for folder in crates() {
        let name = format!("{folder}Cargo.toml");
        let text = read(&name);
        let (mut in_dependencies, mut above) = (false, "");
        for (number, line) in text.lines().enumerate() {
            if line.starts_with('[') {
                in_dependencies = line.trim_end_matches(']').ends_with("dependencies");
            } else if in_dependencies && line.contains('=') && line.starts_with(|c: char| c.is_alphabetic()) {
                let ours = line.contains("workspace = true") || line.contains("path = ");
                if !ours && !line.contains('#') && !above.starts_with('#') {
                    found.add(&name, number + 1, "say in a comment above what this dependency is for".into());
                }
            }
            above = line;
        }
    }
    found.report();
}

/// A map that shows streets which are gone is worse than none.
#[test]
fn documents_name_files_that_exist() {
    let mut found = Findings::default();
    for (name, text) in documents() {
        let folder = Path::new(&name).parent().unwrap_or(Path::new("")).to_owned();
        for (number, line) in text.lines().enumerate() {
            for target in links(line) {
                if !root().join(&folder).join(target).exists() {
                    found.add(&name, number + 1, format!("links {target}, which does not exist"));
                }
            }
            // In backticks: a path from the root of the repository.
            for quoted in line.split('`').skip(1).step_by(2) {
                let path = quoted.split("::").next().unwrap_or(quoted);
                let is_path = path.contains('/') && path.ends_with(".rs") && !path.contains(['{', '*', ' ', '<']);
                if is_path && !root().join(path).exists() {
                    found.add(&name, number + 1, format!("names `{path}`, which does not exist"));
                }
            }
        }
    }
    found.report();
}

/// The targets of a line's relative links, without their `#anchors`.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', '#']).next())
        .filter(|target| !target.is_empty() && !target.contains("://"))
}

#[test]
fn links_are_found() {
    let line = "[a](b.md#c), [d](https://e.org/f), [g](#h) and ![i](j/k.png)";
    assert_eq!(links(line).collect::<Vec<_>>(), ["b.md", "j/k.png"]);
}

/// What a check found wrong, all of it, so that one run shows everything there is to mend.
#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    fn add(&mut self, file: &str, line: usize, what: String) {
        self.0.push(format!("{file}:{line}: {what}"));
    }

    #[track_caller]
    fn report(self) {
        assert!(self.0.is_empty(), "\n{}\n", self.0.join("\n"));
    }
}

/// The entry of `list` that covers the file `name`.
fn listed(list: &[(&'static str, &'static str)], name: &str) -> Option<&'static str> {
    let covers = |entry: &str| name == entry || (entry.ends_with('/') && name.starts_with(entry));
    list.iter().map(|(entry, _)| *entry).find(|entry| covers(entry))
}

/// The line of a position, from 1.
fn line(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count() + 1
}

/// The folders of the workspace's crates: "" for the facade, "runtime/" and so on.
fn crates() -> Vec<String> {
    let manifests = files("", "toml").into_iter().filter(|name| name.ends_with("Cargo.toml"));
    manifests.map(|name| name.trim_end_matches("Cargo.toml").to_owned()).collect()
}

/// Every Rust file of the workspace, with its text.
fn rust_files() -> Vec<(String, String)> {
    let names = files("", "rs");
    assert!(names.iter().any(|name| name == "src/lib.rs"), "found only {names:?}");
    names.into_iter().map(|name| (name.clone(), read(&name))).collect()
}

/// Every Markdown file, with its text.
fn documents() -> Vec<(String, String)> {
    files("", "md").into_iter().map(|name| (name.clone(), read(&name))).collect()
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("cannot read {name}: {error}"))
}

/// The files below `folder` with this extension, as paths from the root of the repository with `/`, sorted.
fn files(folder: &str, extension: &str) -> Vec<String> {
    let mut names = Vec::new();
    collect(&root().join(folder), extension, &mut names);
    names.sort();
    names
}

/// Leaves out what is built, hidden, and `benches/peers`: a workspace of its own, written in others' words.
fn collect(folder: &Path, extension: &str, names: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("cannot list {}: {error}", folder.display())) {
        let path = entry.expect("a readable folder").path();
        let name = path.strip_prefix(root()).expect("below the root").to_string_lossy().replace('\\', "/");
        let last = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !last.starts_with('.') && last != "target" && name != "benches/peers" {
                collect(&path, extension, names);
            }
        } else if path.extension().is_some_and(|found| found == extension) {
            names.push(name);
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
