//! sward in a shared library that a program in another language loads.

#[path = "support/example.rs"]
mod example;

use std::process::Command;

use example::example;

/// Builds a library that sleeps, without any knowledge of the hooks, loads both, and lets greenlets of the
/// one call the other.
const SCRIPT: &str = r#"
import ctypes, sys
other = ctypes.CDLL(sys.argv[2])
ours = ctypes.CDLL(sys.argv[1])
first = ours.sleep_side_by_side()
assert 50 <= first < 800, first
# The address of a function that calls nanosleep: its library was resolved past the hooks, and repaired.
address = ctypes.cast(other.library_sleep, ctypes.c_void_p)
second = ours.call_side_by_side(address, 50)
assert 50 <= second < 800, second
"#;

#[test]
fn a_plugin_in_python_patches_what_is_loaded_not_under_asan() {
    let plugin = example("libin_a_library.so");
    let other = std::env::temp_dir().join(format!("libsward-host-{}.so", std::process::id()));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/c/library.c");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&other).arg(source).status().unwrap();
    assert!(built.success());
    let output = Command::new("python3").args(["-c", SCRIPT]).arg(&plugin).arg(&other).output().unwrap();
    std::fs::remove_file(other).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).contains("covered, after repair of"), "{}", text(&output.stdout));
}
