//! The loom build of `loom-tests`: its own flags, profile and target folder.

use std::env;
use std::process::Command;

use crate::process;
use crate::verdict::NotPassed;
use crate::workspace::Workspace;

/// Runs every model. Models of one program run side by side, as many as there are cores.
///
/// # Errors
///
/// `Failed` if the build or a model fails.
pub(crate) fn run(workspace: &Workspace) -> Result<(), NotPassed> {
    let mut command = cargo_test(workspace);
    command.arg("--no-fail-fast");
    if workspace.long {
        command.env("LOOM_MAX_PREEMPTIONS", "3");
    }
    process::run(&mut command, workspace.limit())
}

/// The `cargo test` that builds and runs the models.
pub(crate) fn cargo_test(workspace: &Workspace) -> Command {
    // `--tests`: examples in docs would be compiled without the flag, against the wrong atomics.
    let mut command =
        workspace.cargo(&["test", "--profile", "loom", "-p", "loom-tests", "--tests"]);
    let flags = env::var("RUSTFLAGS").unwrap_or_default();
    command.env("RUSTFLAGS", format!("{flags} --cfg loom").trim());
    // The flag reaches every crate: in the common folder each turn would rebuild everything.
    command.env("CARGO_TARGET_DIR", workspace.target.join("loom"));
    command
}
