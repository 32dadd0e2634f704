//! The example `sward_audit` finds what bypassed the hooks, and nothing else.

#[path = "support/example.rs"]
mod example;

use std::path::Path;
use std::process::Command;

use example::example;

/// What it says of a program.
fn audit(program: &Path) -> String {
    let output = Command::new(example("sward_audit")).arg(program).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn the_audit_shows_what_bypassed_the_hooks_not_under_asan() {
    let text = audit(&example("past_the_hooks"));
    assert!(!text.contains("who made them"), "{text}");
    let table = text.split_once("called by").unwrap_or_else(|| panic!("{text}")).1;
    let rows: Vec<_> = table.lines().filter(|line| !line.is_empty()).collect();
    assert!(rows.len() == 1 && rows[0].contains("nanosleep"), "{text}");
    assert!(rows[0].trim_start().starts_with("3 ") && rows[0].contains("sleeps_past_the_hooks"), "{text}");
}

#[test]
fn the_audit_says_when_it_cannot_tell_who_made_a_call_not_under_asan() {
    // A copy without the symbols and the table that stacks are read by.
    let stripped = std::env::temp_dir().join(format!("sward-stripped-{}", std::process::id()));
    let remove = ["--strip-all", "--remove-section=.eh_frame_hdr", "--remove-section=.eh_frame"];
    let copied = Command::new("objcopy").args(remove).arg(example("past_the_hooks")).arg(&stripped).status().unwrap();
    assert!(copied.success());
    let text = audit(&stripped);
    std::fs::remove_file(stripped).unwrap();
    assert!(text.contains("calls stopped a thread, and strace does not tell who made them"), "{text}");
}
