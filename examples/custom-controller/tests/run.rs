//! The example runs, and both kinds of worker take part.

use std::process::Command;

#[test]
fn local_and_remote_workers_share_the_tasks() {
    let output = Command::new(env!("CARGO_BIN_EXE_custom-controller"))
        .output()
        .expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    assert!(
        text.contains("one task for all: 3 of 3 workers ran it"),
        "{text}"
    );
    assert!(text.contains("100 tasks: "), "{text}");
    assert!(!text.contains(" 0 by remote ones"), "{text}");
}
