//! The example runs: a thousand tasks over the toy transport.

use std::process::Command;

#[test]
fn a_thousand_tasks_come_back() {
    let output = Command::new(env!("CARGO_BIN_EXE_own-transport"))
        .output()
        .expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    assert!(text.contains("1000 tasks went through"), "{text}");
}
