//! Every check there is, in the order in which they run: fast and likeliest to fail first.

use std::fs;

use crate::process::run;
use crate::verdict::NotPassed;
use crate::workspace::Workspace;
use crate::{canaries, curve, icounts, loom, python, sanitizers, tidy, toolchain};

/// One check.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    /// The name for `--only` and the table.
    pub(crate) name: &'static str,
    /// What it checks, for `--list`.
    pub(crate) about: &'static str,
    /// The check itself.
    pub(crate) run: fn(&Workspace) -> Result<(), NotPassed>,
}

const ALLOC_TEST: &str = "tests/tests/alloc.rs";

/// The steps that this workspace has.
pub(crate) fn all(workspace: &Workspace) -> Vec<Step> {
    let step = |name, about, run| Step { name, about, run };
    let mut steps = vec![
        step("fmt", "every file is formatted", fmt),
        step(
            "clippy",
            "lints, warnings denied, functions of at most 70 lines",
            clippy,
        ),
        step("docs", "the documentation builds without a warning", docs),
        step(
            "tidy",
            "the house rules that no other tool knows",
            tidy::run,
        ),
        step("tests", "unit, integration and example tests", tests),
        step("doctests", "the examples in the documentation", doctests),
    ];
    if workspace.root.join(ALLOC_TEST).is_file() {
        steps.push(step(
            "alloc",
            "no allocation by a task after warm-up",
            alloc,
        ));
    }
    steps.extend([
        step(
            "simulation",
            "fresh seeds of the simulator, for a minute",
            simulation,
        ),
        step(
            "chaos",
            "real processes under fresh faults, for a minute",
            chaos,
        ),
        step("loom", "the models of the lock-free joints", loom::run),
        step(
            "canaries",
            "each weakened ordering is caught by its model",
            canaries::run,
        ),
        step(
            "icounts",
            "no operation takes 1 % more instructions than was agreed",
            icounts::run_gate,
        ),
        step(
            "python",
            "the Python package: installed, linted, typed, tested; and the documented programs",
            python::checks,
        ),
        step("curve", "who may come in, by CURVE", curve::tests),
        step("bench", "a short run of the harness loses no task", bench),
        step("deny", "licences and sources of the dependencies", deny),
        step("miri", "unit tests under Miri", miri),
        step(
            "asan",
            "no leak and no stray access, by AddressSanitizer",
            sanitizers::address,
        ),
        step(
            "tsan",
            "no data race in the dispatcher, by ThreadSanitizer",
            sanitizers::thread,
        ),
    ]);
    steps
}

/// The steps with the given names, or all of them if there are none.
///
/// # Errors
///
/// If no step has one of the names.
pub(crate) fn select(steps: Vec<Step>, only: &[String]) -> Result<Vec<Step>, String> {
    if let Some(unknown) = only
        .iter()
        .find(|name| steps.iter().all(|s| s.name != **name))
    {
        let names: Vec<_> = steps.iter().map(|step| step.name).collect();
        return Err(format!(
            "no step is named `{unknown}`; there are {}",
            names.join(", ")
        ));
    }
    let wanted = |step: &Step| only.is_empty() || only.iter().any(|name| name == step.name);
    Ok(steps.into_iter().filter(wanted).collect())
}

fn fmt(workspace: &Workspace) -> Result<(), NotPassed> {
    run(
        &mut workspace.cargo(&["fmt", "--all", "--check"]),
        workspace.limit(),
    )
}

fn clippy(workspace: &Workspace) -> Result<(), NotPassed> {
    let mut command = workspace.cargo(&["clippy", "--workspace", "--all-targets", "--"]);
    command.args(["-D", "warnings", "-D", "clippy::too_many_lines"]);
    run(&mut command, workspace.limit())
}

fn docs(workspace: &Workspace) -> Result<(), NotPassed> {
    let mut command = workspace.cargo(&["doc", "--workspace", "--no-deps"]);
    run(
        command.env("RUSTDOCFLAGS", "-D warnings"),
        workspace.limit(),
    )
}

/// With nextest where it is installed: a process per test, so one that aborts takes no other along.
fn tests(workspace: &Workspace) -> Result<(), NotPassed> {
    // Tests of the whole start our programs, and cargo builds programs only for their own package.
    let mut programs = workspace.cargo(&["build", "--workspace", "--bins"]);
    run(&mut programs, workspace.limit())?;
    let mut command = if toolchain::has_subcommand(workspace, "nextest") {
        let mut command = workspace.cargo(&["nextest", "run", "--workspace", "--no-fail-fast"]);
        command.args(workspace.long.then_some("--run-ignored=all"));
        command
    } else {
        let mut command = workspace.cargo(&["test", "--workspace", "--no-fail-fast"]);
        // All but doctests, which are their own step; `--all-targets` would run benches too.
        command.args(["--lib", "--bins", "--tests", "--examples", "--"]);
        command.args(workspace.long.then_some("--include-ignored"));
        command
    };
    run(&mut command, workspace.limit())
}

fn doctests(workspace: &Workspace) -> Result<(), NotPassed> {
    let mut command = workspace.cargo(&["test", "--doc", "--workspace", "--no-fail-fast"]);
    run(&mut command, workspace.limit())
}

/// In release: the optimiser removes allocations and inlining adds none, so this is what counts.
fn alloc(workspace: &Workspace) -> Result<(), NotPassed> {
    let args = [
        "test",
        "--release",
        "-p",
        "taskyard-tests",
        "--test",
        "alloc",
    ];
    run(&mut workspace.cargo(&args), workspace.limit())
}

/// The fixed seeds are among the tests; these are new each time. A seed that fails is printed with
/// a shrunk scenario and the command that replays it.
fn simulation(workspace: &Workspace) -> Result<(), NotPassed> {
    let args = [
        "run",
        "--release",
        "-p",
        "taskyard-tests",
        "--bin",
        "simulator",
        "--",
    ];
    let mut command = workspace.cargo(&args);
    let seconds = if workspace.long { "600" } else { "60" };
    run(command.args(["--seconds", seconds]), workspace.limit())
}

/// The program draws a fresh seed and prints it. What it plans a seed gives again; what comes of it
/// only the system knows.
fn chaos(workspace: &Workspace) -> Result<(), NotPassed> {
    let args = [
        "run",
        "--release",
        "-p",
        "taskyard-tests",
        "--bin",
        "chaos",
        "--",
    ];
    let mut command = workspace.cargo(&args);
    let (workers, minutes) = if workspace.long {
        ("200", "10")
    } else {
        ("60", "1")
    };
    command.args(["--workers", workers, "--minutes", minutes]);
    run(&mut command, workspace.limit())
}

/// The harness exits with an error if a task got no outcome, or two.
fn bench(workspace: &Workspace) -> Result<(), NotPassed> {
    let out = workspace.target.join("bench-smoke");
    // A summary of an earlier run must not pass for one of this run.
    if out.exists() {
        fs::remove_dir_all(&out)
            .map_err(|error| NotPassed::failed(format!("{}: {error}", out.display())))?;
    }
    let mut command = workspace.cargo(&["run", "--release", "-p", "bench-harness", "--"]);
    if !workspace.long {
        command.args(["--workers", "16", "--quick"]);
    }
    run(command.arg("--out").arg(&out), workspace.limit())?;
    let summary = out.join("summary.json");
    let text = fs::read_to_string(&summary)
        .map_err(|error| NotPassed::failed(format!("{}: {error}", summary.display())))?;
    check_summary(&text)
}

fn check_summary(text: &str) -> Result<(), NotPassed> {
    for key in ["\"version\"", "\"points\"", "\"p50_us\""] {
        if !text.contains(key) {
            return Err(NotPassed::failed(format!("summary.json has no {key}")));
        }
    }
    Ok(())
}

/// Advisories need a download of their database, so they are asked for in a long run only.
fn deny(workspace: &Workspace) -> Result<(), NotPassed> {
    toolchain::need_subcommand(workspace, "deny")?;
    let mut command = workspace.cargo(&["deny", "check", "bans", "licenses", "sources"]);
    command.args(workspace.long.then_some("advisories"));
    run(&mut command, workspace.limit())
}

/// The crates that need no foreign code; their tests lower their counts under `cfg!(miri)`.
fn miri(workspace: &Workspace) -> Result<(), NotPassed> {
    toolchain::need_miri(workspace)?;
    let mut command = workspace.command("cargo");
    command.args(["+nightly", "miri", "test", "--lib"]);
    command.args([
        "-p",
        "taskyard-core",
        "-p",
        "taskyard-dispatcher",
        "-p",
        "taskyard-protocol",
    ]);
    command.env("CARGO_TARGET_DIR", workspace.target.join("miri"));
    run(&mut command, workspace.limit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(steps: &[Step]) -> Vec<&str> {
        steps.iter().map(|step| step.name).collect()
    }

    fn every_step() -> Vec<Step> {
        all(&Workspace::find(false).unwrap())
    }

    #[test]
    fn without_a_choice_every_step_runs() {
        let all = every_step();
        assert_eq!(names(&select(all.clone(), &[]).unwrap()), names(&all));
    }

    #[test]
    fn chosen_steps_keep_their_order() {
        let only = ["loom", "fmt"].map(String::from);
        assert_eq!(
            names(&select(every_step(), &only).unwrap()),
            ["fmt", "loom"]
        );
    }

    #[test]
    fn an_unknown_step_is_named_with_the_known_ones() {
        let error = select(every_step(), &["fnt".into()]).unwrap_err();
        assert!(
            error.starts_with("no step is named `fnt`; there are fmt, clippy,"),
            "{error}"
        );
    }

    #[test]
    fn names_are_unique() {
        let all = every_step();
        let mut names = names(&all);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all.len());
    }

    #[test]
    fn a_summary_without_points_fails() {
        let good = r#"{"version":1,"points":[{"p50_us":1.5}]}"#;
        assert_eq!(check_summary(good), Ok(()));
        for bad in ["", "{}", r#"{"version":1,"points":[]}"#] {
            assert!(check_summary(bad).is_err(), "{bad}");
        }
    }
}
