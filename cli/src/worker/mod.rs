//! `taskyard worker`: hands over to Python's worker, or runs commands itself.

mod command;
mod crew;
mod exec;
pub(crate) mod guard;
mod python;

use std::path::PathBuf;

use clap::Args;
use taskyard_zmq::Role;

use crate::connect::ConnectArgs;
use crate::failure::Failure;
use crate::words::{self, Span};

/// What a worker is.
#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// Its stable name, which no other worker of the controller has [default: host and process]
    #[arg(long)]
    name: Option<String>,
    /// Tasks that it runs at once.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    slots: u16,
    /// What tasks may ask for; up to 8 times.
    #[arg(long = "label", value_name = "LABEL", value_parser = words::label)]
    labels: Vec<String>,
    /// Run each payload as a command, without Python: what `taskyard submit` sends, or else text
    /// for /bin/sh.
    #[arg(long, conflicts_with_all = ["python", "no_nanny", "further"])]
    exec: bool,
    /// With --exec: how long a command that shall end may take from SIGTERM to SIGKILL. Less than
    /// the controller's --abort-grace-ms, or it takes the worker for lost.
    #[arg(long, value_name = "TIME", default_value = "3s")]
    grace: Span,
    /// The Python that has the package taskyard [default: beside this program, or python3]
    #[arg(long, env = "TASKYARD_PYTHON", hide_env_values = true)]
    python: Option<PathBuf>,
    /// Without the parent process that replaces Python's worker when it hangs.
    #[arg(long)]
    no_nanny: bool,
    /// Further options of Python's worker: see `python -m taskyard.worker --help`.
    #[arg(last = true, value_name = "OPTIONS")]
    further: Vec<String>,
}

/// Works until it is told to end.
///
/// # Errors
/// There is no connection file or no Python for it, or the controller will never take it.
pub(crate) fn run(args: &WorkerArgs) -> Result<(), Failure> {
    if args.labels.len() > 8 {
        return Err(Failure::Usage(format!(
            "{} labels: a worker has at most 8",
            args.labels.len()
        )));
    }
    let found = args.connect.find(&[Role::Worker])?;
    if args.exec {
        return exec::run(args, &found.path);
    }
    Err(python::run(args, &found.path))
}

impl WorkerArgs {
    /// Its name, or one that no other worker has by chance.
    fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| {
            let system = rustix::system::uname();
            let host = system.nodename().to_string_lossy().into_owned();
            format!("{host}-{}", std::process::id())
        })
    }
}
