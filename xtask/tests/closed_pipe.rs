//! The program, when nobody reads what it prints.

use std::io;
use std::process::Command;

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let output = command.args(["test", "--list"]).stdout(writer).output();
    let output = output.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(141));
}
