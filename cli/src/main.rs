//! The `taskyard` program: everything that is typed. It decides nothing about tasks; it starts what
//! does, asks it, and says what it said.
//!
//! | to | file |
//! | --- | --- |
//! | run a controller | [`serve`] |
//! | run tasks | [`worker`] |
//! | submit a command and wait | [`submit`] |
//! | look, and interfere | [`watch`], [`queue`] |
//! | install it well | [`shell`] |

mod connect;
mod exit;
mod failure;
mod payload;
mod print;
mod queue;
mod serve;
mod shell;
mod submit;
mod watch;
mod words;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use bench_harness::{Counting, Host};
use clap::{Parser, Subcommand};
use taskyard_controller::one_line;

use self::failure::Failure;

/// For `bench`, which says how often it allocates.
#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How the harness is called from here.
const BENCH: Host = Host {
    name: "taskyard bench",
    prefix: &["bench"],
};

/// A task controller: many small tasks, many workers, one place to submit to.
#[derive(Debug, Parser)]
#[command(name = "taskyard", version, after_help = exit::HELP, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a controller until it is stopped by SIGINT or SIGTERM.
    Controller(Box<serve::ControllerArgs>),
    /// Run a worker: of Python functions and commands, or with --exec of commands only.
    ///
    /// SIGTERM or Ctrl-C let it finish what runs, and leave; a second one ends it at once.
    Worker(worker::WorkerArgs),
    /// Run a command on a worker, wait, and exit as it did.
    Submit(Box<submit::SubmitArgs>),
    /// Say on one screen how the controller is doing.
    Status(watch::status::StatusArgs),
    /// Show how the controller is doing, as it changes; q quits.
    Top(watch::top::TopArgs),
    /// List the workers.
    Workers(queue::AskArgs),
    /// Look at the tasks that wait or run, and interfere.
    #[command(subcommand)]
    Queue(queue::Command),
    /// Say why a task is not running, or since when it is.
    Explain(queue::TaskArgs),
    /// Measure latencies on this machine beside the thinnest forwarders, and draw the curves.
    #[command(disable_help_flag = true)]
    Bench {
        /// See `taskyard bench --help`.
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "OPTIONS"
        )]
        options: Vec<String>,
    },
    /// Print what makes a shell complete this program's command lines.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual's pages into a folder.
    Man {
        /// The folder; it is made if it is not there.
        dir: PathBuf,
    },
    /// Watch over one command of a worker.
    #[command(name = worker::guard::GUARD, hide = true)]
    Guard(worker::guard::GuardArgs),
}

fn main() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        // Help and version are no mistakes, and may be long.
        Err(asked) if !asked.use_stderr() => asked.exit(),
        Err(wrong) => {
            print::tell(one_line(&wrong.to_string()));
            return ExitCode::from(exit::USAGE);
        }
    };
    let failed_as = match command {
        Command::Submit(_) => exit::NOT_SUBMITTED,
        _ => exit::FAILURE,
    };
    match run(command) {
        Ok(code) => code,
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            print::tell(&failure);
            ExitCode::from(match failure {
                Failure::Usage(_) => exit::USAGE,
                _ => failed_as,
            })
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    let done = match command {
        Command::Controller(args) => Ok(serve::run(&args)?),
        Command::Worker(args) => worker::run(&args),
        Command::Submit(args) => return submit::run(&args),
        Command::Status(args) => watch::status::run(&args),
        Command::Top(args) => watch::top::run(&args),
        Command::Workers(args) => queue::workers(&args),
        Command::Queue(command) => queue::run(&command),
        Command::Explain(args) => queue::explain(&args),
        Command::Bench { options } => return Ok(bench_harness::run(BENCH, options)),
        Command::Completions { shell } => shell::completions(shell),
        Command::Man { dir } => shell::manual(&dir),
        Command::Guard(args) => {
            worker::guard::run(&args).map_err(Failure::system("guarding a command"))
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}
