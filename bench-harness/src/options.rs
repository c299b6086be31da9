//! What the caller asks for, and whether it makes sense.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The counts of the curve, as far as the asked count reaches.
const CURVE: [u32; 5] = [1, 16, 64, 256, 1024];
/// What one controller is designed for.
const WORKERS_MAX: u32 = 4096;
/// What the controller takes by default.
const PAYLOAD_MAX: u32 = 16 << 20;
/// The raw forwarder's messages carry a number of eight bytes.
pub(crate) const PAYLOAD_MIN: u32 = 8;
const DURATION_S_DEFAULT: f64 = 0.3;
const DURATION_S_QUICK: f64 = 0.12;
const DURATION_S_MAX: f64 = 3600.0;

/// Measures Taskyard beside the thinnest forwarders that can be written, and draws the curves.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "bench-harness",
    version,
    after_help = "`bench-harness icounts --help` tells how \
    instructions are counted instead, `bench-harness starvation --help` how \
    long a ready worker waits"
)]
struct Arguments {
    /// Workers: one count measures the usual curve (1, 16, 64, 256, 1024) up to it, a list just
    /// these
    #[arg(
        long,
        value_name = "N[,N...]",
        value_delimiter = ',',
        default_value = "1024"
    )]
    workers: Vec<u32>,
    /// Ways between the processes; inproc has none of either [default: all three]
    #[arg(long, value_name = "T[,T...]", value_delimiter = ',')]
    transport: Vec<Transport>,
    /// What to submit to [default: all three]
    #[arg(long, value_name = "T[,T...]", value_delimiter = ',')]
    topic: Vec<Topic>,
    /// Who drives the dispatcher; auto also measures the other one beside it
    #[arg(long, default_value = "auto")]
    mode: Mode,
    /// Offered loads in tasks/s [default: 10, 30, 50, 70, 90 % of the measured capacity]
    #[arg(
        long,
        value_name = "R[,R...]",
        value_delimiter = ',',
        allow_negative_numbers = true
    )]
    rate: Vec<f64>,
    /// Tasks outstanding when the capacity is measured [default: the workers; at least 64, inproc
    /// 1024]
    #[arg(long, value_name = "K")]
    outstanding: Option<u32>,
    /// Shards of the controller
    #[arg(long, value_name = "K", default_value_t = 1)]
    shards: u16,
    /// Bytes of a task's payload, and of its result
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    payload: u32,
    /// Seconds measured for each figure [default: 0.3; with --quick 0.12]
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    duration: Option<f64>,
    /// A whole run in at most 20 s: fewer points, shorter blocks
    #[arg(long)]
    quick: bool,
    /// Do not measure the forwarders beside it
    #[arg(long)]
    no_floor: bool,
    /// Folder for summary.json, the *.hgrm files and report.html
    #[arg(long, value_name = "DIR", default_value = "bench-out")]
    out: PathBuf,
}

/// How client, controller and workers are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Transport {
    /// ZeroMQ over TCP on the loopback interface.
    ZmqTcp,
    /// ZeroMQ over Unix sockets.
    ZmqIpc,
    /// No sockets at all: client, dispatcher and workers are threads of one process.
    Inproc,
}

impl Transport {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::ZmqTcp => "zmq-tcp",
            Self::ZmqIpc => "zmq-ipc",
            Self::Inproc => "inproc",
        }
    }
}

/// Where tasks may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Topic {
    /// On whichever worker is least busy.
    Any,
    /// On one worker, always the same.
    Worker,
    /// Once on every worker.
    All,
}

impl Topic {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Worker => "worker",
            Self::All => "all",
        }
    }
}

/// Who drives the controller's dispatcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// The controller picks by the number of cores.
    Auto,
    /// A thread of its own, on a core of its own.
    Pinned,
    /// The shard's thread.
    Hosted,
}

impl Mode {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Pinned => "pinned",
            Self::Hosted => "hosted",
        }
    }
}

/// Options that make sense, with every default filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Options {
    /// Counts of the curve, rising.
    pub(crate) workers: Vec<u32>,
    pub(crate) transports: Vec<Transport>,
    pub(crate) topics: Vec<Topic>,
    pub(crate) mode: Mode,
    /// Offered loads; empty: shares of the measured capacity.
    pub(crate) rates: Vec<f64>,
    /// Tasks outstanding when the capacity is measured, where that was asked for.
    pub(crate) outstanding: Option<u32>,
    pub(crate) shards: u16,
    pub(crate) payload: u32,
    pub(crate) duration_s: f64,
    pub(crate) quick: bool,
    pub(crate) floor: bool,
    pub(crate) out: PathBuf,
}

impl Options {
    /// Reads the command line.
    ///
    /// # Errors
    /// [`Error::Options`] in one line. `--help` and `--version` are printed, and end the process.
    /// The first is what a person types for this program.
    pub(crate) fn from_arguments<T>(arguments: impl IntoIterator<Item = T>) -> Result<Self, Error>
    where
        T: Into<std::ffi::OsString> + Clone,
    {
        let arguments = Arguments::try_parse_from(arguments).map_err(|error| {
            if !error.use_stderr() {
                error.exit();
            }
            Error::Options(taskyard_controller::one_line(&error.to_string()))
        })?;
        Self::validated(arguments)
    }

    fn validated(arguments: Arguments) -> Result<Self, Error> {
        let workers = curve(&arguments.workers)?;
        let workers_max = *workers.last().expect("a curve has a point");
        check_rates(&arguments.rate)?;
        within(
            "--payload",
            arguments.payload,
            PAYLOAD_MIN,
            PAYLOAD_MAX,
            "bytes",
        )?;
        let shards_max = workers_max.min(taskyard_controller::Options::SHARDS_MAX.into());
        within(
            "--shards",
            arguments.shards.into(),
            1,
            shards_max,
            "for so many workers",
        )?;
        if let Some(outstanding) = arguments.outstanding {
            within("--outstanding", outstanding, 1, 100_000, "tasks")?;
        }
        let quick = arguments.quick;
        let transports = match or_all(&arguments.transport, Transport::value_variants()) {
            // Every second counts there: one transport with sockets, and the one without.
            all if quick && arguments.transport.is_empty() => all
                .into_iter()
                .filter(|&transport| transport != Transport::ZmqIpc)
                .collect(),
            asked => asked,
        };
        if transports == [Transport::Inproc] {
            check_without_sockets(&arguments)?;
        }
        Ok(Self {
            workers: if quick { ends(&workers) } else { workers },
            transports,
            topics: or_all(&arguments.topic, Topic::value_variants()),
            mode: arguments.mode,
            rates: arguments.rate,
            outstanding: arguments.outstanding,
            shards: arguments.shards,
            payload: arguments.payload,
            duration_s: check_duration(arguments.duration, quick)?,
            quick,
            floor: !arguments.no_floor,
            out: arguments.out,
        })
    }

    /// The largest count of the curve.
    pub(crate) fn workers_max(&self) -> u32 {
        *self.workers.last().expect("validated: a curve has a point")
    }

    /// Tasks outstanding when the capacity is measured. Rounds without sockets are so short that
    /// only many tasks keep both threads busy.
    pub(crate) fn outstanding_of(&self, transport: Transport) -> u32 {
        let least = match transport {
            Transport::Inproc => 1024,
            Transport::ZmqTcp | Transport::ZmqIpc => 64,
        };
        self.outstanding
            .unwrap_or_else(|| self.workers_max().max(least))
    }

    /// Blocks of one figure: each is measured once for every system before the next begins.
    pub(crate) const fn blocks(&self) -> u32 {
        if self.quick { 8 } else { 12 }
    }

    /// Length of one block in milliseconds.
    pub(crate) fn block_ms(&self) -> u64 {
        ((self.duration_s * 1e3 / f64::from(self.blocks())) as u64).max(1)
    }

    /// The same for one transport: without sockets a third gives ten times the samples.
    pub(crate) fn block_ms_of(&self, transport: Transport) -> u64 {
        match transport {
            Transport::Inproc => self.block_ms().div_ceil(3),
            Transport::ZmqTcp | Transport::ZmqIpc => self.block_ms(),
        }
    }
}

/// In one process there is neither a shard nor a choice of who drives the dispatcher.
fn check_without_sockets(arguments: &Arguments) -> Result<(), Error> {
    let needs_sockets = [
        ("--shards", arguments.shards > 1),
        ("--mode", arguments.mode != Mode::Auto),
    ];
    match needs_sockets.iter().find(|(_, asked)| *asked) {
        Some((option, _)) => Err(Error::Options(format!(
            "{option} needs a transport with sockets: ask for --transport zmq-tcp or zmq-ipc"
        ))),
        None => Ok(()),
    }
}

/// One count: the usual curve up to it. Several: just these, in order.
fn curve(asked: &[u32]) -> Result<Vec<u32>, Error> {
    for &count in asked {
        within("--workers", count, 1, WORKERS_MAX, "workers")?;
    }
    let mut counts = asked.to_vec();
    if let [count] = *asked {
        counts.extend(CURVE.into_iter().filter(|&usual| usual < count));
    }
    counts.sort_unstable();
    counts.dedup();
    Ok(counts)
}

/// The first and the last.
fn ends(counts: &[u32]) -> Vec<u32> {
    let mut ends = vec![counts[0], counts[counts.len() - 1]];
    ends.dedup();
    ends
}

fn check_rates(rates: &[f64]) -> Result<(), Error> {
    match rates.iter().find(|rate| !(1.0..=1e8).contains(*rate)) {
        Some(rate) => Err(Error::Options(format!(
            "--rate {rate} is no rate: give tasks per second, from 1 to 100000000"
        ))),
        None => Ok(()),
    }
}

fn check_duration(asked: Option<f64>, quick: bool) -> Result<f64, Error> {
    let default = if quick {
        DURATION_S_QUICK
    } else {
        DURATION_S_DEFAULT
    };
    let seconds = asked.unwrap_or(default);
    if !(0.01..=DURATION_S_MAX).contains(&seconds) {
        return Err(Error::Options(format!(
            "--duration {seconds} is out of range: give seconds, from 0.01 to {DURATION_S_MAX}"
        )));
    }
    Ok(seconds)
}

fn within(option: &str, value: u32, min: u32, max: u32, unit: &str) -> Result<(), Error> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(Error::Options(format!(
        "{option} {value} is out of range: give {min} to {max} {unit}"
    )))
}

/// What was asked for once each, or all there are.
fn or_all<T: Copy + PartialEq>(asked: &[T], all: &[T]) -> Vec<T> {
    let chosen = if asked.is_empty() { all } else { asked };
    let mut once = Vec::new();
    for &choice in chosen {
        if !once.contains(&choice) {
            once.push(choice);
        }
    }
    once
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<Options, Error> {
        Options::from_arguments(
            std::iter::once("bench-harness").chain(arguments.split_whitespace()),
        )
    }

    fn parsed(arguments: &str) -> Options {
        parse(arguments).unwrap_or_else(|error| panic!("{arguments}: {error}"))
    }

    #[test]
    fn one_count_is_the_end_of_the_usual_curve() {
        assert_eq!(parsed("").workers, [1, 16, 64, 256, 1024]);
        assert_eq!(parsed("--workers 100").workers, [1, 16, 64, 100]);
        assert_eq!(parsed("--workers 1").workers, [1]);
        assert_eq!(parsed("--workers 64,4,64").workers, [4, 64]);
    }

    #[test]
    fn quick_measures_the_ends_of_the_curve_and_leaves_ipc_out() {
        let options = parsed("--quick --workers 1024");
        assert_eq!(options.workers, [1, 1024]);
        assert_eq!(options.transports, [Transport::ZmqTcp, Transport::Inproc]);
        assert_eq!(
            parsed("--quick --transport zmq-ipc").transports,
            [Transport::ZmqIpc]
        );
    }

    #[test]
    fn tasks_outstanding_are_as_asked_or_as_many_as_keep_everybody_busy() {
        let asked = parsed("--outstanding 16");
        let default = parsed("--workers 100");
        for (transport, least) in [(Transport::ZmqTcp, 100), (Transport::Inproc, 1024)] {
            assert_eq!(asked.outstanding_of(transport), 16);
            assert_eq!(default.outstanding_of(transport), least);
        }
    }

    #[test]
    fn blocks_fill_the_duration() {
        let options = parsed("--duration 1.2");
        assert_eq!(options.block_ms() * u64::from(options.blocks()), 1200);
    }

    #[test]
    fn nonsense_is_told_in_one_line_that_names_the_option() {
        let nonsense = [
            "--workers 0",
            "--workers 5000",
            "--workers many",
            "--transport carrier-pigeon",
            "--topic some",
            "--mode fast",
            "--rate 0",
            "--rate -5",
            "--rate nan",
            "--outstanding 0",
            "--shards 0",
            "--shards 2 --workers 1",
            "--shards 2 --transport inproc",
            "--mode pinned --transport inproc",
            "--payload 7",
            "--payload 99999999",
            "--duration 0",
            "--duration inf",
            "--no-such-option",
        ];
        for arguments in nonsense {
            let error = parse(arguments).expect_err(arguments).to_string();
            assert_eq!(error.lines().count(), 1, "{arguments}: {error}");
            let option = arguments.split_whitespace().next().expect("it names one");
            assert!(error.contains(option), "{arguments}: {error}");
        }
    }
}
