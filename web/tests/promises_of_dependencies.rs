//! hyper comes with two traits and a codec of tokio's, and with nothing of tokio that runs.

use std::process::Command;

#[test]
fn no_tokio_runtime_is_there() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "-p", "sward-web", "--features", "tls", "-e", "normal", "-i", "tokio"])
        .args(["--depth", "0", "--prefix", "none", "-f", "{f}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let features = String::from_utf8(tree.stdout).unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let features: Vec<_> = features.trim().split(',').collect();
    assert!(features.contains(&"io-util"), "asked for the right thing: {features:?}");
    for runs in ["rt", "rt-multi-thread", "net", "time", "fs", "process", "signal", "macros"] {
        assert!(!features.contains(&runs), "{features:?}");
    }
}
