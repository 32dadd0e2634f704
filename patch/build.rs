//! Decides whether this target's libc can be hooked: `cfg(hooks)`.

use std::env::var;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(hooks)");
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| var(name).is_ok_and(|found| found == value);
    // In a statically linked program there is no second `read` behind ours.
    let is_static = var("CARGO_CFG_TARGET_FEATURE").is_ok_and(|all| all.split(',').any(|one| one == "crt-static"));
    let is_glibc = is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu");
    if is_glibc && is("CARGO_CFG_TARGET_POINTER_WIDTH", "64") && !is_static {
        println!("cargo::rustc-cfg=hooks");
    }
}
