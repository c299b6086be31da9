//! The command line of the program `chaos`, and what it does.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Parser, Subcommand};
use rustix::process::{Signal, set_parent_process_death_signal};

use super::breakage::Break;
use super::director::{Folder, direct};
use super::ledger::Ledger;
use super::plan::Plan;
use super::{checks, client, journal, report, worker};

/// Descriptors for two hundred processes and their cables.
const DESCRIPTORS: u64 = 8_192;

/// Kills, freezes, cuts and stalls a real controller with real workers and clients, and checks that
/// nothing is lost or doubled.
///
/// The same seed makes the same plan: the set-up, and which fault hits whom when. It cannot make
/// the same run, since real processes and the system's scheduler do not repeat themselves; run a
/// seed that failed several times.
#[derive(Debug, Parser)]
#[command(name = "chaos")]
struct Arguments {
    #[command(subcommand)]
    role: Option<Hidden>,
    /// How many worker processes.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(2..=1000))]
    workers: u64,
    /// How long, in minutes: a seventh to warm up, two thirds with faults, the rest to settle.
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// What the plan is drawn from; a fresh one if it is not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Prints each fault when it happens.
    #[arg(long)]
    trace: bool,
    /// Keeps the journals in this folder, which must be new. Without it they are kept if something
    /// is wrong.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    /// Runs nothing, and checks the journals that an earlier run has kept.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["seed", "keep"])]
    check: Option<PathBuf>,
    /// Falsifies the journals before they are checked, which must then fail.
    #[arg(long = "break", value_parser = falsification)]
    broken: Option<Break>,
}

/// The director starts this program once more for each process of the cast.
#[derive(Debug, Subcommand)]
enum Hidden {
    #[command(hide = true)]
    Play {
        #[command(subcommand)]
        role: Role,
    },
}

#[derive(Debug, Subcommand)]
enum Role {
    Worker {
        endpoint: String,
        journal: PathBuf,
        number: u64,
        slots: u16,
        prefetch: u16,
    },
    Client {
        endpoint: String,
        journal: PathBuf,
        number: u64,
        incarnation: u64,
        seed: u64,
        workers: u64,
        per_second: u64,
    },
    Controller {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

fn falsification(name: &str) -> Result<Break, String> {
    let all: Vec<_> = Break::ALL.iter().map(|&(_, known, _)| known).collect();
    Break::named(name).ok_or_else(|| format!("there are: {}", all.join(", ")))
}

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.role {
        Some(Hidden::Play { role }) => play(role).map(|()| true),
        None => run(&arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error}");
            ExitCode::FAILURE
        }
    }
}

type Done<T> = Result<T, Box<dyn std::error::Error>>;

fn play(role: Role) -> Done<()> {
    // Whatever becomes of the director: nothing stays behind, also of what is frozen.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    match role {
        Role::Worker {
            endpoint,
            journal,
            number,
            slots,
            prefetch,
        } => worker::play(&worker::Part {
            endpoint,
            number,
            slots,
            prefetch,
            journal,
        }),
        Role::Client {
            endpoint,
            journal,
            number,
            incarnation,
            seed,
            workers,
            per_second,
        } => client::play(&client::Part {
            endpoint,
            seed,
            workers,
            number,
            incarnation,
            per_second,
            journal,
        }),
        Role::Controller { command } => {
            let (program, arguments) = command.split_first().ok_or("no program")?;
            // The signal stays set for the program that takes this one's place.
            Err(Command::new(program).args(arguments).exec().into())
        }
    }
}

fn run(arguments: &Arguments) -> Done<bool> {
    if let Some(folder) = &arguments.check {
        return conclude(folder, arguments.broken);
    }
    if let Err(error) = taskyard_zmq::raise_descriptor_limit(DESCRIPTORS) {
        eprintln!("chaos: {error}");
    }
    build_controller()?;
    let seed = arguments.seed.unwrap_or_else(fresh);
    let plan = Plan::draw(seed, arguments.workers, arguments.minutes);
    println!("{plan}");
    let mut folder = Folder {
        path: arguments.keep.clone().unwrap_or_else(|| {
            std::env::temp_dir().join(format!("taskyard-chaos-{}-{seed}", std::process::id()))
        }),
        keep: true,
    };
    std::fs::create_dir(&folder.path)
        .map_err(|error| format!("{}: {error}; the folder must be new", folder.path.display()))?;
    direct(&plan, &folder.path, arguments.trace)?;
    let is_right = conclude(&folder.path, arguments.broken)?;
    folder.keep = arguments.keep.is_some() || !is_right;
    if !is_right {
        println!(
            "FAILED; again: chaos --workers {} --minutes {} --seed {seed}; the journals: {}",
            arguments.workers,
            arguments.minutes,
            folder.path.display()
        );
    }
    Ok(is_right)
}

/// Cargo builds programs only for their own package, and this one starts another's: not one of
/// yesterday.
fn build_controller() -> Done<()> {
    let mut build = Command::new(env!("CARGO"));
    build.args([
        "build",
        "--quiet",
        "-p",
        "taskyard-cli",
        "--bin",
        "taskyard",
    ]);
    build.args([
        "--manifest-path",
        concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
    ]);
    let is_release = std::env::current_exe()?
        .parent()
        .is_some_and(|folder| folder.ends_with("release"));
    build.args(is_release.then_some("--release"));
    if build.status()?.success() {
        Ok(())
    } else {
        Err("the controller does not build".into())
    }
}

fn conclude(folder: &Path, broken: Option<Break>) -> Done<bool> {
    let mut facts = journal::read_all(folder)?;
    if let Some(broken) = broken {
        broken.apply(&mut facts)?;
    }
    let ledger = Ledger::of(&facts);
    let findings = checks::check(&ledger);
    print!("{}", report::report(&ledger, &facts, &findings));
    if findings.is_empty() {
        println!("nothing was lost, doubled or made up");
    }
    Ok(findings.is_empty())
}

fn fresh() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_micros() as u64)
}
