//! What `bench-harness contention` is asked for.

use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use taskyard_controller::one_line;

use crate::error::Error;

/// Rounds of a race: enough for an interval that leaves out the worst at either end.
const ROUNDS: usize = 21;
const ROUNDS_QUICK: usize = 3;
const ROUNDS_MAX: usize = 1_000;

/// Races the lock-free joints against those of others.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench-harness contention")]
pub(super) struct Options {
    /// Only these, separated by commas
    #[arg(long, value_name = "S", value_delimiter = ',')]
    only: Vec<Subject>,
    /// Rounds of each race [default: 21; 3 with --quick]
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Few items and rounds: shows that it works, not how fast
    #[arg(long)]
    quick: bool,
    /// Where contention.json goes
    #[arg(long, value_name = "DIR", default_value = "bench-out")]
    out: PathBuf,
}

/// What is raced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Subject {
    /// The ring from one thread to one other.
    Ring,
    /// The pool from which many take.
    Pool,
    /// Claim against revoke.
    Claim,
    /// The scan over 1024 bells.
    Bells,
    /// Waking a thread.
    Wake,
    /// A task's whole way.
    RoundTrip,
}

impl Subject {
    /// The word for it on the command line.
    pub(super) fn name(self) -> String {
        let value = self.to_possible_value().expect("no subject is skipped");
        value.get_name().to_owned()
    }
}

impl Options {
    pub(super) fn from_arguments(arguments: impl Iterator<Item = String>) -> Result<Self, Error> {
        let arguments = std::iter::once(crate::host::name_of("contention")).chain(arguments);
        let options = Self::try_parse_from(arguments).map_err(|error| {
            if !error.use_stderr() {
                error.exit();
            }
            Error::Options(one_line(&error.to_string()))
        })?;
        if !(1..=ROUNDS_MAX).contains(&options.rounds()) {
            let allowed = format!("--rounds is at least 1 and at most {ROUNDS_MAX}");
            return Err(Error::Options(allowed));
        }
        Ok(options)
    }

    pub(super) fn subjects(&self) -> Vec<Subject> {
        let all = Subject::value_variants().iter().copied();
        all.filter(|subject| self.only.is_empty() || self.only.contains(subject))
            .collect()
    }

    pub(super) fn rounds(&self) -> usize {
        let default = if self.quick { ROUNDS_QUICK } else { ROUNDS };
        self.rounds.unwrap_or(default)
    }

    pub(super) const fn is_quick(&self) -> bool {
        self.quick
    }

    pub(super) fn out(&self) -> &Path {
        &self.out
    }
}
