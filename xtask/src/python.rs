//! The Python package: installed as a person would, then linted, typed and tested; and the
//! programs in Python that the documentation prints, run against our controller.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::process::{run, stdout_of, succeeds};
use crate::verdict::NotPassed;
use crate::workspace::Workspace;

/// The folder of the package.
const PACKAGE: &str = "python";
/// What builds the wheel. It is installed first: if that fails, it is the network, not the build.
const BUILDER: &str = "maturin>=1.9,<2";
/// The oldest Python that the package works with.
const MINOR_MIN: u32 = 10;

/// Installs the package in a virtual environment of its own, and runs all its checks there, also
/// after one has failed.
///
/// # Errors
///
/// `Skipped` without Python or its index to be had, else `Failed` with the first that failed.
pub(crate) fn checks(workspace: &Workspace) -> Result<(), NotPassed> {
    let python = environment(workspace)?;
    install(workspace, &python)?;
    let checks = [
        in_package(workspace, &python, &["-m", "ruff", "check"]),
        in_package(workspace, &python, &["-m", "ruff", "format", "--check"]),
        in_package(workspace, &python, &["-m", "mypy"]),
        package_tests(workspace, &python),
        examples(workspace, &python),
    ];
    checks.into_iter().collect()
}

/// How the program in the wheel is built: as it is shipped takes minutes.
fn profile(workspace: &Workspace) -> &'static str {
    if workspace.long { "release" } else { "dev" }
}

/// Builds the wheel, with the program in it, and installs it with what its tests need.
///
/// In development it shares the programs that the other steps have built already.
fn install(workspace: &Workspace, python: &Path) -> Result<(), NotPassed> {
    let mut pip = workspace.command(python);
    pip.args(["-m", "pip", "install", "--quiet", "--no-build-isolation"]);
    pip.arg(format!("./{PACKAGE}[dev]"));
    pip.env(
        "MATURIN_PEP517_ARGS",
        format!("--profile {} --strip false", profile(workspace)),
    );
    // The maturin of the environment, and not another one that stands before it on the path.
    pip.env("PATH", path_with(python));
    run(&mut pip, workspace.limit())
}

fn path_with(python: &Path) -> OsString {
    let own = python.parent().map(Path::to_path_buf);
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(own.into_iter().chain(std::env::split_paths(&path))).unwrap_or(path)
}

fn package_tests(workspace: &Workspace, python: &Path) -> Result<(), NotPassed> {
    in_package(
        workspace,
        python,
        &["-m", "pytest", "-q", "-p", "no:cacheprovider"],
    )
}

/// Runs a module of Python in the folder of the package.
fn in_package(workspace: &Workspace, python: &Path, args: &[&str]) -> Result<(), NotPassed> {
    let mut command = workspace.command(python);
    command
        .args(args)
        .current_dir(workspace.root.join(PACKAGE))
        .env("PATH", path_with(python))
        // The program of the installed wheel is what is tested.
        .env_remove("TASKYARD_BINARY")
        .env_remove("TASKYARD_CONNECT");
    run(&mut command, workspace.limit())
}

/// Runs the programs that the documentation prints.
fn examples(workspace: &Workspace, python: &Path) -> Result<(), NotPassed> {
    let mut programs = workspace.cargo(&["build", "--workspace", "--bins"]);
    run(&mut programs, workspace.limit())?;
    for test in ["python_examples", "python_interpreter_lock"] {
        let mut command = workspace.cargo(&["test", "-p", "taskyard-tests", "--test", test]);
        run(command.env("TASKYARD_PYTHON", python), workspace.limit())?;
    }
    Ok(())
}

/// A Python with what builds the wheel, made if it is not there yet.
fn environment(workspace: &Workspace) -> Result<PathBuf, NotPassed> {
    let folder = workspace.target.join("python");
    let python = folder.join("bin/python");
    if can_build(workspace, &python) {
        return Ok(python);
    }
    // A half-made one is no use.
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .map_err(|error| NotPassed::failed(format!("{}: {error}", folder.display())))?;
    }
    let system = system_python(workspace)?;
    let mut make = workspace.command(&system);
    if !succeeds(make.args(["-m", "venv"]).arg(&folder)) {
        return Err(NotPassed::skipped(
            "no venv for python3 (`apt install python3-venv`)",
        ));
    }
    let mut install = workspace.command(&python);
    install.args(["-m", "pip", "install", "--quiet", BUILDER]);
    if !succeeds(&mut install) {
        return Err(NotPassed::skipped("pip could not install maturin"));
    }
    Ok(python)
}

/// Whether an environment of an earlier run can be used again.
fn can_build(workspace: &Workspace, python: &Path) -> bool {
    python.exists()
        && succeeds(
            workspace
                .command(python)
                .args(["-m", "maturin", "--version"]),
        )
}

/// The `python3` of the path, if it is new enough.
fn system_python(workspace: &Workspace) -> Result<PathBuf, NotPassed> {
    let version = stdout_of(workspace.command("python3").arg("--version"))
        .ok_or_else(|| NotPassed::skipped("no python3 (`apt install python3 python3-venv`)"))?;
    if is_new_enough(&version) {
        return Ok("python3".into());
    }
    let version = version.trim();
    Err(NotPassed::skipped(format!(
        "python3 is {version}, and the package needs 3.{MINOR_MIN}"
    )))
}

/// Judges what `python3 --version` prints: `Python 3.11.2`.
fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.trim().trim_start_matches("Python ").split('.');
    let mut next = || numbers.next()?.parse::<u32>().ok();
    match (next(), next()) {
        (Some(major), Some(minor)) => (major, minor) >= (3, MINOR_MIN),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for good in ["Python 3.10.0\n", "Python 3.13.1", "Python 4.0.0"] {
            assert!(is_new_enough(good), "{good}");
        }
        for bad in ["Python 3.9.18", "Python 2.7.18", "", "Python three"] {
            assert!(!is_new_enough(bad), "{bad}");
        }
    }

    #[test]
    fn the_folder_of_the_environment_comes_first_on_the_path() {
        let path = path_with(Path::new("/some/venv/bin/python"));
        let first = std::env::split_paths(&path).next();
        assert_eq!(first.as_deref(), Some(Path::new("/some/venv/bin")));
    }
}
