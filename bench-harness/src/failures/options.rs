//! What `bench-harness failures` is asked for.

use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use taskyard_controller::one_line;

use crate::error::Error;

/// Measures how soon deaths and silence are told, and what storms and stalls cost.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench-harness failures")]
pub(super) struct Options {
    /// Only these, separated by commas
    #[arg(long, value_name = "S", value_delimiter = ',')]
    only: Vec<Subject>,
    /// Ways between the processes, for deaths and storms
    #[arg(
        long,
        value_name = "W",
        value_delimiter = ',',
        default_value = "tcp,ipc"
    )]
    way: Vec<Way>,
    /// Deaths: processes killed, each way [default: 1000; 20 with --quick]
    #[arg(long, value_name = "N")]
    kills: Option<u32>,
    /// Deaths: worker processes
    #[arg(long, value_name = "N", default_value_t = 16)]
    workers: u32,
    /// Deaths and stalls: microseconds that a task takes its worker
    #[arg(long, value_name = "US", default_value_t = 3_000)]
    task_us: u32,
    /// Deaths: milliseconds between two kills, on average
    #[arg(long, value_name = "MS", default_value_t = 50)]
    kill_gap_ms: u32,
    /// Silence: heartbeats, as INTERVAL/TIMEOUT in milliseconds [default: 100/300, 500/1000,
    /// 2000/4000; the first with --quick]
    #[arg(long, value_name = "I/T[,I/T...]", value_delimiter = ',', value_parser = heartbeat)]
    heartbeat: Vec<(u64, u64)>,
    /// Silence: how often each case is tried, with eight workers [default: 3; 1 with --quick]
    #[arg(long, value_name = "N")]
    silences: Option<u32>,
    /// Storm: worker processes [default: 1024; 64 with --quick]
    #[arg(long, value_name = "N")]
    storm_workers: Option<u32>,
    /// Storm: how often they come and go [default: 3; 2 with --quick]
    #[arg(long, value_name = "N")]
    rounds: Option<u32>,
    /// Stall: worker processes [default: 300; 16 with --quick]
    #[arg(long, value_name = "N")]
    stall_workers: Option<u32>,
    /// Stall: heartbeats, as INTERVAL/TIMEOUT in milliseconds [default: 500/1000; 100/300 with
    /// --quick]
    #[arg(long, value_name = "I/T[,I/T...]", value_delimiter = ',', value_parser = heartbeat)]
    stall_heartbeat: Vec<(u64, u64)>,
    /// Stall: how long the controller stands still, in timeouts
    #[arg(
        long,
        value_name = "X[,X...]",
        value_delimiter = ',',
        default_value = "2,6"
    )]
    stall_timeouts: Vec<u32>,
    /// Few of everything: shows that it works, not how fast
    #[arg(long)]
    quick: bool,
    /// Where failures-*.csv go
    #[arg(long, value_name = "DIR", default_value = "bench-out")]
    out: PathBuf,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Subject {
    /// Worker processes that are killed.
    Deaths,
    /// Worker processes that stand still, and links that carry nothing.
    Silence,
    /// Many worker processes that come at once and go at once.
    Storm,
    /// A controller that stands still.
    Stall,
}

/// How processes are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Way {
    /// TCP on the loopback interface.
    Tcp,
    /// Unix sockets.
    Ipc,
}

impl Way {
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Ipc => "ipc",
        }
    }
}

fn heartbeat(text: &str) -> Result<(u64, u64), String> {
    let parsed = text
        .split_once('/')
        .and_then(|(interval, timeout)| Some((interval.parse().ok()?, timeout.parse().ok()?)));
    parsed
        .filter(|(interval, timeout)| *interval >= 100 && *timeout >= 100)
        .ok_or_else(|| "give two times of at least 100 ms, as in 100/300".to_owned())
}

impl Options {
    pub(super) fn from_arguments(arguments: impl Iterator<Item = String>) -> Result<Self, Error> {
        let arguments = std::iter::once(crate::host::name_of("failures")).chain(arguments);
        let options = Self::try_parse_from(arguments).map_err(|error| {
            if !error.use_stderr() {
                error.exit();
            }
            Error::Options(one_line(&error.to_string()))
        })?;
        for (option, given, max) in [
            ("--kills", options.kills(), 1_000_000),
            ("--workers", options.workers, 256),
            ("--task-us", options.task_us, 1_000_000),
            ("--kill-gap-ms", options.kill_gap_ms, 60_000),
            ("--silences", options.silences(), 1_000),
            ("--storm-workers", options.storm_workers(), 4_096),
            ("--rounds", options.rounds(), 1_000),
            ("--stall-workers", options.stall_workers(), 4_096),
        ] {
            if !(1..=max).contains(&given) {
                let allowed = format!("{option} is at least 1 and at most {max}");
                return Err(Error::Options(allowed));
            }
        }
        Ok(options)
    }

    const fn or(&self, asked: Option<u32>, full: u32, quick: u32) -> u32 {
        match asked {
            Some(asked) => asked,
            None if self.quick => quick,
            None => full,
        }
    }

    pub(super) fn subjects(&self) -> Vec<Subject> {
        let all = Subject::value_variants().iter().copied();
        all.filter(|subject| self.only.is_empty() || self.only.contains(subject))
            .collect()
    }

    pub(super) fn ways(&self) -> &[Way] {
        &self.way
    }

    pub(super) const fn kills(&self) -> u32 {
        self.or(self.kills, 1_000, 20)
    }

    pub(super) const fn workers(&self) -> u32 {
        self.workers
    }

    pub(super) const fn task_us(&self) -> u32 {
        self.task_us
    }

    pub(super) const fn kill_gap_ms(&self) -> u32 {
        self.kill_gap_ms
    }

    pub(super) fn heartbeats(&self) -> Vec<(u64, u64)> {
        match (self.heartbeat.as_slice(), self.quick) {
            ([], true) => vec![(100, 300)],
            ([], false) => vec![(100, 300), (500, 1_000), (2_000, 4_000)],
            (asked, _) => asked.to_vec(),
        }
    }

    pub(super) const fn silences(&self) -> u32 {
        self.or(self.silences, 3, 1)
    }

    pub(super) const fn storm_workers(&self) -> u32 {
        self.or(self.storm_workers, 1_024, 64)
    }

    pub(super) const fn rounds(&self) -> u32 {
        self.or(self.rounds, 3, 2)
    }

    pub(super) const fn stall_workers(&self) -> u32 {
        self.or(self.stall_workers, 300, 16)
    }

    pub(super) fn stall_heartbeats(&self) -> Vec<(u64, u64)> {
        match (self.stall_heartbeat.as_slice(), self.quick) {
            ([], true) => vec![(100, 300)],
            ([], false) => vec![(500, 1_000)],
            (asked, _) => asked.to_vec(),
        }
    }

    pub(super) fn stall_timeouts(&self) -> &[u32] {
        &self.stall_timeouts
    }

    pub(super) fn out(&self) -> &Path {
        &self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<Options, Error> {
        Options::from_arguments(arguments.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_quick_run_has_little_of_everything_that_was_not_asked_for() {
        let options = parse("--quick --kills 7").expect("they make sense");
        assert_eq!((options.kills(), options.rounds()), (7, 2));
        assert_eq!(options.heartbeats(), [(100, 300)]);
        assert_eq!(options.subjects().len(), 4);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (arguments, said) in [
            ("--kills 0", "--kills is at least 1"),
            ("--heartbeat 50/300", "at least 100 ms"),
            ("--only horses", "horses"),
        ] {
            let error = parse(arguments).expect_err(arguments).to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
