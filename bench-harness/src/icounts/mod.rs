//! `bench-harness icounts`: how many instructions one operation takes.
//!
//! Times differ from run to run, most of all on a machine that does other things too; counts do
//! not, so a hundredth more is a fact. Each [`Case`] is a process of its own under
//! callgrind ([`callgrind`]), one thread, that counts inside one marked function only ([`region`]):
//! what it takes to fill a backlog is not in the count. The counts that were agreed on are in
//! `icounts.csv` ([`table`]), with the compiler that made them: another one makes other code.

mod callgrind;
mod control;
mod joints;
mod options;
mod region;
mod rig;
mod scenario;
mod table;
mod tasks;

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use clap::ValueEnum;

pub(crate) use callgrind::CHILD;

use crate::error::Error;
use options::Options;
use scenario::{Case, Scenario};
use table::Table;

/// Where the counts that were agreed on are, from the folder of the workspace.
const FILE: &str = "icounts.csv";

/// Counts what the arguments ask for.
///
/// # Errors
/// The arguments make no sense, valgrind is not there, or with `--check` something became dearer.
pub(crate) fn run(arguments: impl Iterator<Item = String>) -> Result<(), Error> {
    let options = Options::from_arguments(arguments)?;
    let cases = options.cases();
    if cases.is_empty() {
        return Err(Error::Options(
            "no such cell: --workers and --queued name cells of the matrix, or with --scenario one \
             of your own"
                .into(),
        ));
    }
    let now = Table {
        compiler: compiler()?,
        counts: count_all(&cases)?.into_iter().collect(),
    };
    print!("{now}");
    for (scenario, ratio) in now.flatness() {
        println!("# flatness of {}: {ratio:.2}", scenario.name());
    }
    if options.write {
        write(&now)
    } else if options.check {
        check(&now)
    } else {
        Ok(())
    }
}

/// What a child does: one case, of which it tells how many operations were counted.
///
/// # Errors
/// The arguments are not those that a parent gives.
pub(crate) fn run_child(mut arguments: impl Iterator<Item = String>) -> Result<(), Error> {
    let mut next = || arguments.next().unwrap_or_default();
    let scenario = Scenario::from_str(&next(), false).map_err(Error::Options)?;
    let [workers, queued] = [next(), next()].map(|number| number.parse());
    let case = Case {
        scenario,
        workers: workers.map_err(Error::system)?,
        queued: queued.map_err(Error::system)?,
    };
    println!("{}", case.run());
    Ok(())
}

/// Counts all cases, as many at once as there are processors: what is counted is not time.
fn count_all(cases: &[Case]) -> Result<Vec<(Case, f64)>, Error> {
    let next = AtomicUsize::new(0);
    let counts = Mutex::new(Vec::new());
    let count_some = || -> Result<(), Error> {
        // Relaxed: a number of its own for each is all that is wanted.
        while let Some(&case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let count = callgrind::count(case)?;
            counts.lock().expect("nobody panics").push((case, count));
        }
        Ok(())
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let ended: Result<(), Error> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(count_some)).collect();
        let mut ended = threads.into_iter().map(|thread| thread.join());
        ended.try_for_each(|ended| ended.expect("nobody panics"))
    });
    ended.map(|()| counts.into_inner().expect("nobody panics"))
}

/// The compiler, by the one line that it says of itself.
fn compiler() -> Result<String, Error> {
    let rustc = Command::new("rustc").arg("--version").output();
    let output = rustc.map_err(Error::io("asking `rustc` for its version"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn agreed() -> Result<Table, Error> {
    let text = std::fs::read_to_string(FILE).map_err(Error::io(format!("reading {FILE}")))?;
    Table::parse(&text).map_err(|problem| Error::System(format!("{FILE}: {problem}")))
}

fn write(now: &Table) -> Result<(), Error> {
    let mut table = if Path::new(FILE).exists() {
        agreed()?
    } else {
        Table::default()
    };
    table.compiler.clone_from(&now.compiler);
    table.counts.extend(&now.counts);
    std::fs::write(FILE, table.to_string()).map_err(|source| Error::Output {
        path: FILE.into(),
        source,
    })
}

fn check(now: &Table) -> Result<(), Error> {
    let regressions = agreed()?.regressions(now);
    if regressions.is_empty() {
        return Ok(());
    }
    Err(Error::System(format!(
        "dearer than {FILE} says, by more than 1 %: {}; make it cheaper, or write the file anew",
        regressions.join("; ")
    )))
}
