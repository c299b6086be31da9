//! The Python programs of the documentation, run against our controller, and one that holds the
//! interpreter's lock.

use std::fs;
use std::path::{Path, PathBuf};

use crate::process::{run, succeeds};
use crate::verdict::NotPassed;
use crate::workspace::Workspace;

/// The newest release of pyzmq that the examples were run with; any later one should do.
const REQUIREMENT: &str = "pyzmq>=25";

/// Runs them in a virtual environment of their own.
///
/// # Errors
///
/// `Skipped` without Python or without pyzmq to be had, `Failed` if an example does not work.
pub(crate) fn examples(workspace: &Workspace) -> Result<(), NotPassed> {
    let python = environment(workspace)?;
    let mut programs = workspace.cargo(&["build", "--workspace", "--bins"]);
    run(&mut programs, workspace.limit())?;
    for test in ["python_examples", "python_interpreter_lock"] {
        let mut command = workspace.cargo(&["test", "-p", "taskyard-tests", "--test", test]);
        run(command.env("TASKYARD_PYTHON", &python), workspace.limit())?;
    }
    Ok(())
}

/// A Python with pyzmq, made if it is not there yet.
fn environment(workspace: &Workspace) -> Result<PathBuf, NotPassed> {
    let folder = workspace.target.join("python");
    let python = folder.join("bin/python");
    if has_pyzmq(workspace, &python) {
        return Ok(python);
    }
    // A half-made one is no use.
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .map_err(|error| NotPassed::failed(format!("{}: {error}", folder.display())))?;
    }
    let mut make = workspace.command("python3");
    if !succeeds(make.args(["-m", "venv"]).arg(&folder)) {
        return Err(NotPassed::skipped(
            "no python3 with venv (`apt install python3-venv`)",
        ));
    }
    let mut install = workspace.command(&python);
    if !succeeds(install.args(["-m", "pip", "install", "--quiet", REQUIREMENT])) {
        return Err(NotPassed::skipped("pip could not install pyzmq"));
    }
    Ok(python)
}

fn has_pyzmq(workspace: &Workspace, python: &Path) -> bool {
    python.exists() && succeeds(workspace.command(python).args(["-c", "import zmq"]))
}
