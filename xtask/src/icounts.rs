//! Instruction counts: what an operation cost when `icounts.csv` was written, it must not exceed.

use std::fs;

use crate::process::{self, run};
use crate::verdict::NotPassed;
use crate::workspace::Workspace;

const FILE: &str = "icounts.csv";

/// Counts the corners of the matrix again, or all of it in a long run; 1 % more is a failure.
///
/// # Errors
///
/// `Skipped` if valgrind is not there, or the file was written with another compiler, whose code is
/// other code. `Failed` if something became dearer.
pub(crate) fn run_gate(workspace: &Workspace) -> Result<(), NotPassed> {
    for (program, argument) in [("valgrind", "--version"), ("setarch", "--version")] {
        if !process::succeeds(workspace.command(program).arg(argument)) {
            return Err(NotPassed::skipped(format!("{program} is not installed")));
        }
    }
    let file = workspace.root.join(FILE);
    let text = fs::read_to_string(&file)
        .map_err(|error| NotPassed::failed(format!("{}: {error}", file.display())))?;
    let rustc = process::stdout_of(workspace.command("rustc").arg("--version"))
        .ok_or_else(|| NotPassed::failed("`rustc --version` fails"))?;
    need_compiler(&text, rustc.trim())?;
    let args = [
        "run",
        "--release",
        "-p",
        "bench-harness",
        "--",
        "icounts",
        "--check",
    ];
    let mut command = workspace.cargo(&args);
    if !workspace.long {
        command.arg("--corners");
    }
    run(&mut command, workspace.limit())
}

/// The first line of the file names the compiler.
fn need_compiler(file: &str, rustc: &str) -> Result<(), NotPassed> {
    let named = file.lines().next().and_then(|line| line.strip_prefix("# "));
    match named {
        Some(compiler) if compiler == rustc => Ok(()),
        Some(compiler) => Err(NotPassed::skipped(format!(
            "{FILE} was written with {compiler}, this is {rustc}"
        ))),
        None => Err(NotPassed::failed(format!("{FILE} names no compiler"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_another_compiler_are_not_compared() {
        let file = "# rustc 1.2.3 (abc)\nscenario,workers,queued,instructions_per_op\n";
        assert_eq!(need_compiler(file, "rustc 1.2.3 (abc)"), Ok(()));
        let other = need_compiler(file, "rustc 1.2.4 (def)");
        assert!(matches!(other, Err(NotPassed::Skipped(_))), "{other:?}");
        let none = need_compiler("scenario\n", "rustc 1.2.3 (abc)");
        assert!(matches!(none, Err(NotPassed::Failed(_))), "{none:?}");
    }
}
