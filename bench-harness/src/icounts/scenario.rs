//! What is counted, and for how many workers and queued tasks.

use clap::ValueEnum;

use super::{control, joints, tasks};

/// One operation whose instructions are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Scenario {
    /// A task for one worker: submit, offer, result, outcome; the backlog keeps its length.
    Directed,
    /// A task for any worker: submit, injection, claim, result, outcome; the backlog keeps its
    /// length.
    Pool,
    /// A task for the workers with a label: submit, offer, result, outcome; the backlog keeps its
    /// length.
    Label,
    /// Cancel of a task in the middle of a backlog, with its outcome.
    CancelQueued,
    /// A start deadline that passes in a backlog of tasks without one, with its outcome.
    Deadline,
    /// The same in a backlog of tasks that all have one, much later.
    DeadlineCrowded,
    /// The loss of a worker with 1000 tasks, per task, with its outcome.
    WorkerLoss,
    /// Listing what is queued, per task.
    List,
    /// Taking away all that is queued, per task, with its outcome.
    Sweep,
    /// Taking away the 1000 tasks of another topic than that of the queued ones, per task, with its
    /// outcome.
    SweepFew,
    /// One push and one pop of a ring.
    Ring,
    /// One push into the pool and one take out of it.
    PoolQueue,
    /// Publish, claim and settle a task.
    Claim,
    /// Publish, revoke and settle a task.
    Revoke,
    /// A look at 1024 bells, none of which was rung.
    Bells0,
    /// The same with 1 rung.
    Bells1,
    /// The same with 64 rung, four in each word.
    Bells64,
    /// The same with all rung.
    Bells1024,
    /// Decoding the first frame of a submit.
    WireDecode,
}

/// Where the matrix of a scenario that depends on the scheduler's tables is counted.
const WORKERS: [u32; 3] = [16, 1024, 4096];
const QUEUED: [u32; 2] = [1_000, 1_000_000];

/// One cell of the matrix. Both numbers are zero where they mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Case {
    pub(crate) scenario: Scenario,
    pub(crate) workers: u32,
    pub(crate) queued: u32,
}

impl Scenario {
    /// The name in the file and on the command line.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value().expect("no scenario is skipped");
        value.get_name().to_owned()
    }

    /// All of them.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied()
    }

    /// Whether its cost might depend on how many workers and queued tasks there are.
    pub(crate) const fn has_tables(self) -> bool {
        matches!(
            self,
            Self::Directed
                | Self::Pool
                | Self::Label
                | Self::CancelQueued
                | Self::Deadline
                | Self::DeadlineCrowded
                | Self::WorkerLoss
                | Self::List
                | Self::Sweep
                | Self::SweepFew
        )
    }

    /// The cells that are counted of it.
    pub(super) fn cases(self) -> Vec<Case> {
        let scenario = self;
        if !self.has_tables() {
            return vec![Case {
                scenario,
                workers: 0,
                queued: 0,
            }];
        }
        let of_workers = |workers| {
            QUEUED.map(|queued| Case {
                scenario,
                workers,
                queued,
            })
        };
        WORKERS.into_iter().flat_map(of_workers).collect()
    }
}

impl Case {
    /// Whether it is one of the cells that decide about flatness: smallest and largest.
    pub(super) fn is_corner(self) -> bool {
        let is_end = |value, all: &[u32]| all.first() == Some(&value) || all.last() == Some(&value);
        !self.scenario.has_tables()
            || (is_end(self.workers, &WORKERS) && is_end(self.queued, &QUEUED))
    }

    /// Runs it in this process; how many operations were counted.
    pub(super) fn run(self) -> u64 {
        let Self {
            scenario,
            workers,
            queued,
        } = self;
        match scenario {
            Scenario::Directed => tasks::directed(workers, queued),
            Scenario::Pool => tasks::pool(workers, queued),
            Scenario::Label => tasks::label(workers, queued),
            Scenario::CancelQueued => tasks::cancel_queued(workers, queued),
            Scenario::Deadline => tasks::deadline(workers, queued, 0),
            Scenario::DeadlineCrowded => tasks::deadline(workers, queued, 3_600_000),
            Scenario::WorkerLoss => tasks::worker_loss(workers, queued),
            Scenario::List => control::list(workers, queued),
            Scenario::Sweep => control::sweep(workers, queued),
            Scenario::SweepFew => control::sweep_few(workers, queued),
            Scenario::Ring => joints::ring(),
            Scenario::PoolQueue => joints::pool(),
            Scenario::Claim => joints::claim(),
            Scenario::Revoke => joints::revoke(),
            Scenario::Bells0 => joints::bells(0),
            Scenario::Bells1 => joints::bells(1),
            Scenario::Bells64 => joints::bells(64),
            Scenario::Bells1024 => joints::bells(1024),
            Scenario::WireDecode => joints::wire_decode(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a child does, without callgrind: each scenario still works, and counts something.
    #[test]
    fn each_scenario_runs() {
        for scenario in Scenario::all() {
            let case = Case {
                scenario,
                workers: if scenario.has_tables() { 4 } else { 0 },
                queued: if scenario.has_tables() { 1_000 } else { 0 },
            };
            assert!(case.run() > 0, "{case:?}");
        }
    }

    #[test]
    fn a_matrix_has_four_corners() {
        let corners = Scenario::Pool.cases().into_iter();
        assert_eq!(corners.filter(|case| case.is_corner()).count(), 4);
        assert!(Scenario::Ring.cases()[0].is_corner());
    }
}
