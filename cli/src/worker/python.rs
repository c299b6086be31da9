//! Finds Python's worker and becomes it.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::WorkerArgs;
use crate::failure::Failure;

/// Exits with 0 if the package is there; runs nothing of it. A mere folder of that name, as the
/// controller makes one, has no origin.
const LOOK: &str = "import importlib.util as u; s = u.find_spec('taskyard'); \
                    raise SystemExit(not (s and s.origin))";

/// Becomes `PYTHON -m taskyard.worker`, with the same options; returns only if that fails, and why.
pub(super) fn run(args: &WorkerArgs, file: &Path) -> Failure {
    let python = args.python.clone().unwrap_or_else(default_python);
    if let Err(failure) = check(&python) {
        return failure;
    }
    let mut command = Command::new(&python);
    command
        .args(["-m", "taskyard.worker", "--connect"])
        .arg(file);
    if let Some(name) = &args.name {
        command.args(["--name", name]);
    }
    command.args(["--slots", &args.slots.to_string()]);
    for label in &args.labels {
        command.args(["--label", label]);
    }
    if args.no_nanny {
        command.arg("--no-nanny");
    }
    let error = command.args(&args.further).exec();
    Failure::Python(format!("{} cannot be run: {error}", python.display()))
}

/// The interpreter of the environment that this program is installed in, or the one on the path.
fn default_python() -> PathBuf {
    let program = std::env::current_exe().ok();
    let beside = program
        .as_deref()
        .and_then(Path::parent)
        .map(|folder| folder.join("python"));
    let beside = beside.filter(|python| python.exists());
    beside.unwrap_or_else(|| "python3".into())
}

fn check(python: &Path) -> Result<(), Failure> {
    let mut look = Command::new(python);
    look.args(["-c", LOOK])
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let python = python.display();
    match look.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(Failure::Python(format!(
            "{python} does not have the package taskyard: install it there (`{python} -m pip \
             install taskyard`), name another with --python or TASKYARD_PYTHON, or run commands \
             with --exec"
        ))),
        Err(error) => Err(Failure::Python(format!(
            "{python} cannot be run: {error}; name another with --python or TASKYARD_PYTHON, or \
             run commands with --exec"
        ))),
    }
}
