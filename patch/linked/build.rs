//! Makes an archive of a C file, as crates with C code in them do.

#![forbid(unsafe_code)]

use std::env::var;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=src/archive.c");
    let folder = var("OUT_DIR").expect("cargo sets it");
    let object = format!("{folder}/archive.o");
    run(Command::new("cc").args(["-O2", "-fPIC", "-D_FORTIFY_SOURCE=2", "-c", "src/archive.c", "-o", &object]));
    run(Command::new("ar").args(["rcs", &format!("{folder}/libarchive_of_c.a"), &object]));
    println!("cargo::rustc-link-search=native={folder}");
    println!("cargo::rustc-link-lib=static=archive_of_c");
}

fn run(command: &mut Command) {
    let status = command.status();
    assert!(status.as_ref().is_ok_and(|status| status.success()), "{command:?}: {status:?}");
}
