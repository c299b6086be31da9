//! Latency curves of Taskyard, measured side by side with the thinnest forwarders that can be
//! written. It cannot be used from another program's code: it is one, that others may be.
//!
//! The program starts itself as its own children: a controller (or a forwarder), hosts of workers,
//! and a client, each a process of its own (`roles`). The parent only tells them when to measure
//! what (`lane`, `series`), and turns what comes back into points (`recorder`),
//! `summary.json` (`summary`), a table (`table`) and a page (`report`).
//!
//! ```text
//!  parent ──stdin/stdout──▶ client ═══▶ controller ═══▶ worker hosts      lane 1: Taskyard
//!         ──stdin/stdout──▶ client ═══▶ forwarder  ═══▶ worker hosts      lane 2: the libzmq floor
//! ```
//! All lanes are up at the same time; one is measured while the others sleep, in short blocks that
//! take turns. So both see the same machine, and the ratio of adjacent blocks is the one to trust.
//!
//! `bench-harness icounts` is another program under the same roof: it counts instructions instead
//! of measuring times (`icounts`). `bench-harness starvation` is a third: how long a ready worker
//! waits when all threads spin (`spin_wait`). And `bench-harness contention` races the lock-free
//! joints against those of others (`contention`); `bench-harness failures` kills, stops and cuts
//! off (`failures`); `bench-harness hostile` does harm to honest peers (`hostile`).

mod alloc;
mod child;
mod contention;
mod error;
mod failures;
mod hgrm;
mod host;
mod hostile;
mod icounts;
mod lane;
mod ledger;
mod link;
mod machine;
mod measure;
mod messages;
mod options;
mod progress;
mod random;
mod recorder;
mod report;
mod roles;
mod run;
mod scratch;
mod series;
mod socket;
mod spin_wait;
mod stats;
mod summary;
mod table;

use std::process::ExitCode;

pub use alloc::Counting;
pub use host::Host;

/// Runs the harness with these arguments, as a program: it prints, and ends the process for
/// `--help`. The calling program has [`Counting`] for its allocator, or no allocations are counted.
///
/// # Panics
/// If a measurement goes wrong in a way that is a mistake of the harness.
pub fn run(program: Host, arguments: impl IntoIterator<Item = String>) -> ExitCode {
    alloc::start_counting();
    host::set(program);
    let arguments: Vec<String> = arguments.into_iter().collect();
    let rest = || arguments.iter().skip(1).cloned();
    let ended = match arguments.first().map(String::as_str) {
        // A child tells its parent what went wrong, and the parent the caller.
        Some(child::ROLE) => {
            let role = rest().next().unwrap_or_default();
            return ExitCode::from(u8::from(roles::run(&role).is_err()));
        }
        Some("starvation") => spin_wait::run(rest()),
        Some("contention") => contention::run(rest()),
        Some("failures") => failures::run(rest()),
        Some("hostile") => hostile::run(rest()),
        Some("icounts") => icounts::run(rest()),
        Some(icounts::CHILD) => icounts::run_child(rest()),
        _ => {
            let named = std::iter::once(program.name.to_owned()).chain(arguments);
            options::Options::from_arguments(named).and_then(run::run)
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", program.name);
            ExitCode::FAILURE
        }
    }
}
