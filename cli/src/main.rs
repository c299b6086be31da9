//! The `taskyard` program.

mod operate;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use taskyard_controller::one_line;

/// A task controller: many small tasks, many workers, one place to submit to.
#[derive(Debug, Parser)]
#[command(name = "taskyard", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a controller until it is stopped by SIGINT or SIGTERM.
    Controller(Box<serve::ControllerArgs>),
    #[command(flatten)]
    Operate(operate::Command),
}

fn main() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        // Help and version are no mistakes, and may be long.
        Err(asked) if !asked.use_stderr() => asked.exit(),
        Err(wrong) => {
            eprintln!("taskyard: {}", one_line(&wrong.to_string()));
            return ExitCode::from(2);
        }
    };
    let done: Result<(), Box<dyn std::error::Error>> = match command {
        Command::Controller(args) => serve::run(&args).map_err(Into::into),
        Command::Operate(command) => operate::run(&command).map_err(Into::into),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("taskyard: {error}");
            ExitCode::FAILURE
        }
    }
}
