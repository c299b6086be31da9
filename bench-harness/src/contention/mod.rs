//! `bench-harness contention`: the lock-free joints, raced against what others have written.
//!
//! | file | course |
//! | --- | --- |
//! | [`ring`] | one thread to one other |
//! | [`pool`] | one thread to many |
//! | [`claim`] | who has a task |
//! | [`bells`] | which of 1024 rings has something |
//! | [`wake`] | waking a thread that waits |
//! | [`round_trip`] | a task's whole way inside the process |
//!
//! Each file draws its topology. Both sides have the same items (24 bytes, like an envelope), the
//! same capacity, cores and way to wait, and are one program, so they are compiled alike. How laps
//! take turns is told in [`race`]; each lap checks that no item was lost or doubled ([`tally`]),
//! and one that fails ends the program with an error.

mod bells;
mod claim;
mod course;
mod executors;
mod options;
mod pool;
mod race;
mod report;
mod ring;
mod round_trip;
mod tally;
mod wake;

use crate::error::Error;
use options::{Options, Subject};
use race::Race;

/// Races, prints a table and writes `contention.json`.
///
/// # Errors
/// Options that make no sense, a lap whose items do not add up, or a file that cannot be written.
pub(crate) fn run(arguments: impl Iterator<Item = String>) -> Result<(), Error> {
    let options = Options::from_arguments(arguments)?;
    report::print_heading(options.rounds());
    let mut outcomes = Vec::new();
    for subject in options.subjects() {
        report::print_subject(subject.name(), topology(subject));
        for race in races(subject, options.is_quick()) {
            let of_race = race.run(options.rounds())?;
            of_race.iter().for_each(report::print_outcome);
            outcomes.extend(of_race);
        }
    }
    report::write(options.out(), &outcomes)
}

fn races(subject: Subject, is_quick: bool) -> Vec<Race> {
    let items = |full: u64| if is_quick { full / 50 } else { full };
    match subject {
        Subject::Ring => ring::races(items(1_000_000)),
        Subject::Pool => pool::races(items(400_000)),
        Subject::Claim => claim::races(items(200_000)),
        Subject::Bells => bells::races(items(200_000)),
        Subject::Wake => wake::races(items(5_000)),
        Subject::RoundTrip => round_trip::races(items(20_000)),
    }
}

/// The drawing of a course, as it stands in the head of its file.
fn topology(subject: Subject) -> &'static str {
    match subject {
        Subject::Ring => include_str!("ring.rs"),
        Subject::Pool => include_str!("pool.rs"),
        Subject::Claim => include_str!("claim.rs"),
        Subject::Bells => include_str!("bells.rs"),
        Subject::Wake => include_str!("wake.rs"),
        Subject::RoundTrip => include_str!("round_trip.rs"),
    }
}
