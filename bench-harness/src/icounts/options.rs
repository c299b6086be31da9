//! What `bench-harness icounts` is asked for.

use clap::Parser;

use super::scenario::{Case, Scenario};
use crate::error::Error;
use taskyard_controller::one_line;

/// Counts the instructions of single operations, under callgrind.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench-harness icounts")]
pub(super) struct Options {
    /// Only this one
    #[arg(long, value_name = "S")]
    pub(super) scenario: Option<Scenario>,
    /// Only with so many workers; any number, if a scenario is named too
    #[arg(long, value_name = "N")]
    workers: Option<u32>,
    /// Only with so many tasks queued; any number, if a scenario is named too
    #[arg(long, value_name = "N")]
    queued: Option<u32>,
    /// Only the smallest and largest numbers of workers and of tasks
    #[arg(long)]
    corners: bool,
    /// Write icounts.csv; what was not counted this time keeps its line
    #[arg(long, conflicts_with = "check")]
    pub(super) write: bool,
    /// Fail if a count is more than 1 % above that in icounts.csv
    #[arg(long)]
    pub(super) check: bool,
}

impl Options {
    pub(super) fn from_arguments(arguments: impl Iterator<Item = String>) -> Result<Self, Error> {
        let arguments = std::iter::once(crate::host::name_of("icounts")).chain(arguments);
        Self::try_parse_from(arguments).map_err(|error| {
            if !error.use_stderr() {
                error.exit();
            }
            Error::Options(one_line(&error.to_string()))
        })
    }

    /// The cells to count.
    pub(super) fn cases(&self) -> Vec<Case> {
        if let (Some(scenario), Some(workers), Some(queued)) =
            (self.scenario, self.workers, self.queued)
        {
            return vec![Case {
                scenario,
                workers: workers.max(2),
                queued: queued.max(1_000),
            }];
        }
        let is_asked = |case: &Case| {
            self.scenario.is_none_or(|asked| asked == case.scenario)
                && self.workers.is_none_or(|asked| asked == case.workers)
                && self.queued.is_none_or(|asked| asked == case.queued)
                && (!self.corners || case.is_corner())
        };
        let all = Scenario::all().flat_map(Scenario::cases);
        all.filter(is_asked).collect()
    }
}
