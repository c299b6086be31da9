//! Latency curves of Taskyard, measured side by side with the thinnest forwarders that can be
//! written.
//!
//! The program starts itself as its own children: a controller (or a forwarder), hosts of workers,
//! and a client, each a process of its own ([`roles`]). The parent only tells them when to measure
//! what ([`lane`], [`series`]), and turns what comes back into points ([`recorder`]),
//! `summary.json` ([`summary`]), a table ([`table`]) and a page ([`report`]).
//!
//! ```text
//!  parent ──stdin/stdout──▶ client ═══▶ controller ═══▶ worker hosts      lane 1: Taskyard
//!         ──stdin/stdout──▶ client ═══▶ forwarder  ═══▶ worker hosts      lane 2: the libzmq floor
//! ```
//! All lanes are up at the same time; one is measured while the others sleep, in short blocks that
//! take turns. So both see the same machine, and the ratio of adjacent blocks is the one to trust.
//!
//! `bench-harness icounts` is another program under the same roof: it counts instructions instead
//! of measuring times ([`icounts`]). `bench-harness starvation` is a third: how long a ready worker
//! waits when all threads spin ([`spin_wait`]). And `bench-harness contention` races the lock-free
//! joints against those of others ([`contention`]); `bench-harness failures` kills, stops and cuts
//! off ([`failures`]); `bench-harness hostile` does harm to honest peers ([`hostile`]).

mod alloc;
mod child;
mod contention;
mod error;
mod failures;
mod hgrm;
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

#[global_allocator]
static ALLOCATOR: alloc::Counting = alloc::Counting;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let ended = match (arguments.next().as_deref(), arguments.next()) {
        // A child tells its parent what went wrong, and the parent the caller.
        (Some(child::ROLE), Some(role)) => {
            return ExitCode::from(u8::from(roles::run(&role).is_err()));
        }
        (Some("starvation"), first) => spin_wait::run(first.into_iter().chain(arguments)),
        (Some("contention"), first) => contention::run(first.into_iter().chain(arguments)),
        (Some("failures"), first) => failures::run(first.into_iter().chain(arguments)),
        (Some("hostile"), first) => hostile::run(first.into_iter().chain(arguments)),
        (Some("icounts"), first) => icounts::run(first.into_iter().chain(arguments)),
        (Some(icounts::CHILD), first) => icounts::run_child(first.into_iter().chain(arguments)),
        _ => options::Options::from_command_line().and_then(run::run),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-harness: {error}");
            ExitCode::FAILURE
        }
    }
}
