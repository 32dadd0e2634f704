//! Decides whether this target's libc can be hooked, `cfg(hooks)`, and whether there is a second libc behind the hooks,
//! `cfg(shared_libc)`.

use std::env::var;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(hooks, shared_libc)");
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| var(name).is_ok_and(|found| found == value);
    let is_glibc = is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu");
    if !is_glibc || !is("CARGO_CFG_TARGET_POINTER_WIDTH", "64") {
        return;
    }
    let is_static = var("CARGO_CFG_TARGET_FEATURE").is_ok_and(|all| all.split(',').any(|one| one == "crt-static"));
    if !is_static {
        println!("cargo::rustc-cfg=shared_libc");
        // The example `sward_audit` needs programs whose stacks strace can read.
        println!("cargo::rustc-link-arg-examples=-fuse-ld=bfd");
        println!("cargo::rustc-cfg=hooks");
    } else if is("CARGO_CFG_TARGET_ARCH", "x86_64") || is("CARGO_CFG_TARGET_ARCH", "aarch64") {
        // The system calls stand in for a second libc: src/system.rs.
        println!("cargo::rustc-cfg=hooks");
    }
}
