//! A program that links the crate but never calls `all`. This file must not call it.

use std::thread;
use std::time::{Duration, Instant};

#[test]
fn nothing_changes_before_all_is_called() {
    let start = Instant::now();
    let sleepers = (0..3).map(|_| sward::spawn(|| thread::sleep(Duration::from_millis(20))));
    sward::join_all(sleepers);
    assert!(start.elapsed() >= Duration::from_millis(60), "each blocked the thread");
    let output = std::process::Command::new("true").output();
    assert!(output.is_ok_and(|output| output.status.success()));
    assert_eq!(sward::patch::without(|| 7), 7);
    assert_eq!(sward::patch::stats().iter().count(), 0);
}
