//! `bench-harness failures`: how soon the submitter hears of a death or a silence, and what storms
//! of workers and stalls of the controller cost.
//!
//! ```text
//!  this process: client, clock, signals ═══▶ controller process ◀═══ worker processes
//!                                            └── their words: one pipe back to this process ──┘
//! ```
//! | file | measures |
//! | --- | --- |
//! | [`deaths`] | kill -9 of worker processes under load |
//! | [`silence`] | worker processes that stand still, packets dropped, links that are down |
//! | [`storm`] | a thousand worker processes that come and go at once |
//! | [`stall`] | a controller that stands still |
//!
//! Whoever kills is also the client, so one clock tells both times. Each run checks that every task
//! had exactly one outcome ([`book`]) and ends with an error if not; times are only reported.

mod arena;
mod book;
mod crew;
mod deaths;
mod namespace;
mod options;
mod report;
mod silence;
mod stall;
mod storm;
mod worker;

use crate::error::Error;
use crate::scratch::Scratch;
use options::{Options, Subject};

pub(crate) use worker::run as run_worker;

/// Measures what was asked for, and prints tables.
///
/// # Errors
/// Options that make no sense, a process that does not start, or, after all tables, the first
/// measurement in which something was lost.
pub(crate) fn run(arguments: impl Iterator<Item = String>) -> Result<(), Error> {
    let options = Options::from_arguments(arguments)?;
    let scratch = Scratch::new()?;
    report::print_machine()?;
    let mut ended = Ok(());
    for subject in options.subjects() {
        let measured = match subject {
            Subject::Deaths => deaths::run(&options, scratch.path()),
            Subject::Silence => silence::run(&options, scratch.path()),
            Subject::Storm => storm::run(&options, scratch.path()),
            Subject::Stall => stall::run(&options, scratch.path()),
        };
        if let Err(error) = &measured {
            println!("{error}");
        }
        ended = ended.and(measured);
    }
    ended
}
