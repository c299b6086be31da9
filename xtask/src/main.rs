//! `cargo xtask`: the one command that runs every check of the workspace.
//!
//! It knows nothing about Taskyard's code: it cannot be linked, it starts other programs (mostly
//! `cargo`) and reads source files as text. Three modules carry it: [`steps`] is the list of
//! checks in the order in which they run, [`process`] starts programs and bounds their time, and
//! [`report`] turns verdicts into the table at the end. [`tidy`] and [`canaries`] are the two
//! checks that are more than one command.

mod canaries;
mod curve;
mod icounts;
mod loom;
mod output;
mod parallel;
mod process;
mod python;
mod report;
mod sanitizers;
mod steps;
mod tidy;
mod toolchain;
mod verdict;
mod workspace;

use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, Parser, Subcommand};

use crate::output::say;
use crate::report::{Line, Report};
use crate::steps::Step;
use crate::verdict::Verdict;
use crate::workspace::Workspace;

/// Runs the checks of the Taskyard workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Run every check there is, keep going after a failure, and print a table.
    Test(TestArgs),
    /// Run the models of the lock-free joints and their canaries, and nothing else.
    Loom(LoomArgs),
}

#[derive(Debug, Args)]
struct TestArgs {
    /// Run these steps only, in their usual order.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Print the steps instead of running them.
    #[arg(long)]
    list: bool,
    /// Search wider: one more preemption in the models, ignored tests, the full benchmark.
    #[arg(long)]
    long: bool,
}

#[derive(Debug, Args)]
struct LoomArgs {
    /// Search wider: one more preemption.
    #[arg(long)]
    long: bool,
}

impl From<LoomArgs> for TestArgs {
    fn from(LoomArgs { long }: LoomArgs) -> Self {
        let only = ["loom", "canaries"].map(String::from).into();
        let list = false;
        Self { only, list, long }
    }
}

fn main() -> ExitCode {
    let args = match Cli::parse().command {
        Subcommands::Test(args) => args,
        Subcommands::Loom(args) => args.into(),
    };
    match test(&args) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
    }
}

fn test(args: &TestArgs) -> Result<ExitCode, String> {
    let workspace = Workspace::find(args.long)?;
    let steps = steps::select(steps::all(&workspace), &args.only)?;
    if args.list {
        for step in &steps {
            say!("{:<10} {}", step.name, step.about);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let report = run_all(&workspace, &steps);
    say!("\n{}", report.to_string().trim_end());
    Ok(if report.has_failure() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Runs every step, also after one has failed: one run shows all that is wrong.
fn run_all(workspace: &Workspace, steps: &[Step]) -> Report {
    let mut report = Report::default();
    for step in steps {
        say!("\n==> {}: {}", step.name, step.about);
        let start = Instant::now();
        let verdict = Verdict::from((step.run)(workspace));
        let line = Line {
            step: step.name,
            verdict,
            duration: start.elapsed(),
        };
        say!("<== {line}");
        report.push(line);
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_after_only_are_split_at_commas() {
        let cli = Cli::parse_from([
            "cargo xtask",
            "test",
            "--only",
            "fmt,tidy",
            "--only",
            "loom",
        ]);
        let Subcommands::Test(args) = cli.command else {
            panic!("another command")
        };
        assert_eq!(args.only, ["fmt", "tidy", "loom"]);
        assert!(!args.list && !args.long);
    }

    #[test]
    fn the_models_have_a_command_of_their_own() {
        let cli = Cli::parse_from(["cargo xtask", "loom", "--long"]);
        let Subcommands::Loom(args) = cli.command else {
            panic!("another command")
        };
        let args = TestArgs::from(args);
        assert!(args.long);
        let steps = steps::all(&Workspace::find(args.long).unwrap());
        let names = steps::select(steps, &args.only).unwrap();
        assert!(names.iter().map(|step| step.name).eq(["loom", "canaries"]));
    }
}
