//! The program `chaos`: a short run passes its checks, and each check notices what it must.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder that is removed with what is in it.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn chaos(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_chaos"))
        .args(arguments)
        .arg(folder)
        .output()
        .expect("the program runs")
}

/// One run for all: the journals that it leaves are falsified in many ways afterwards.
#[test]
fn a_short_run_is_right_and_every_falsification_is_noticed() {
    let name = format!("taskyard-chaos-test-{}", std::process::id());
    let folder = Folder(std::env::temp_dir().join(name));
    let arguments = [
        "--workers",
        "10",
        "--minutes",
        "0.15",
        "--seed",
        "4",
        "--keep",
    ];
    let run = chaos(&arguments, &folder.0);
    let text = String::from_utf8_lossy(&run.stdout);
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{text}{errors}");
    let again = chaos(&["--check"], &folder.0);
    assert!(again.status.success(), "the same journals, another verdict");
    for (breakage, rule) in taskyard_tests::chaos::breakages() {
        let broken = chaos(&["--break", breakage, "--check"], &folder.0);
        let text = String::from_utf8_lossy(&broken.stdout);
        assert!(!broken.status.success(), "{breakage} passes: {text}");
        let noticed = text.contains(&format!("WRONG {rule}:"));
        let errors = String::from_utf8_lossy(&broken.stderr);
        assert!(
            noticed,
            "{breakage} is not noticed by {rule}: {text}{errors}"
        );
    }
}

#[test]
fn a_falsification_that_does_not_exist_is_named_with_those_that_do() {
    let output = chaos(&["--break", "nothing", "--check"], Path::new("nowhere"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(text.contains("lose_outcome, double_outcome"), "{text}");
}
