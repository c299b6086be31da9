//! `summary.json`: every figure of a run, for programs.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::machine::Machine;
use crate::options::Options;

/// The version of the format: it rises when a key changes its meaning or goes.
const VERSION: u32 = 1;

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) version: u32,
    pub(crate) machine: Machine,
    pub(crate) config: Config,
    pub(crate) points: Vec<Point>,
    /// Of the first transport, with the most workers, in the asked mode.
    pub(crate) capacity_tasks_per_s: Option<f64>,
    /// What the controller holds.
    pub(crate) memory: Memory,
    /// Allocations by our code (libzmq's own are not seen) per task after warm-up.
    pub(crate) allocations: Allocations,
    /// What makes the run worthless, if anything; then the exit code is not zero.
    pub(crate) faults: Vec<String>,
}

/// What was asked for, and what was picked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Config {
    #[serde(flatten)]
    pub(crate) options: Options,
    /// Blocks behind every figure.
    pub(crate) blocks: u32,
    /// Milliseconds of one block.
    pub(crate) block_ms: u64,
    /// What `auto` came to on this machine.
    pub(crate) mode_picked: Option<String>,
}

/// One figure: one system, one load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) series: String,
    pub(crate) topic: String,
    pub(crate) transport: String,
    pub(crate) mode: String,
    pub(crate) workers: u32,
    /// Tasks kept outstanding; 0 where arrivals do not wait for answers.
    pub(crate) outstanding: u32,
    /// Tasks per second that were due, of an open loop.
    pub(crate) offered_rate: Option<f64>,
    /// Tasks answered per second: the median of the blocks.
    pub(crate) achieved_rate: f64,
    pub(crate) count: u64,
    pub(crate) lost: u64,
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
    /// Medians of the ratios to the floor's adjacent blocks, with their 95 % intervals.
    pub(crate) floor_ratio_p50: Option<f64>,
    pub(crate) floor_ratio_p50_ci95: Option<[f64; 2]>,
    pub(crate) floor_ratio_p99: Option<f64>,
    pub(crate) floor_ratio_p99_ci95: Option<[f64; 2]>,
    pub(crate) floor_ratio_rate: Option<f64>,
    pub(crate) floor_ratio_rate_ci95: Option<[f64; 2]>,
}

/// What the controller holds in main memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// Workers attached when the next figure was taken.
    pub(crate) idle_workers: u32,
    /// Resident bytes of the controller with these workers idle.
    pub(crate) controller_idle_bytes: Option<u64>,
    /// Tasks queued when the next figure was taken.
    pub(crate) queued_tasks: u32,
    /// Bytes of each one's payload.
    pub(crate) queued_payload_bytes: u32,
    /// Resident bytes that each queued task added, its payload included.
    pub(crate) controller_bytes_per_queued_task: Option<f64>,
}

/// Allocations per task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Allocations {
    /// Of the controller with ZeroMQ, at its capacity.
    pub(crate) controller_per_task: Option<f64>,
    /// Of client, dispatcher and worker together, in one process.
    pub(crate) inproc_per_task: Option<f64>,
}

impl Summary {
    pub(crate) fn new(machine: Machine, options: &Options) -> Self {
        let config = Config {
            options: options.clone(),
            blocks: options.blocks(),
            block_ms: options.block_ms(),
            mode_picked: None,
        };
        Self {
            version: VERSION,
            machine,
            config,
            points: Vec::new(),
            capacity_tasks_per_s: None,
            memory: Memory::default(),
            allocations: Allocations::default(),
            faults: Vec::new(),
        }
    }

    /// Writes the file.
    ///
    /// # Errors
    /// [`Error::Output`] if the folder does not take it.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        let mut text = serde_json::to_string_pretty(self).map_err(Error::system)?;
        text.push('\n');
        fs::write(path, text).map_err(|source| Error::Output {
            path: path.into(),
            source,
        })
    }
}

impl Point {
    /// The name of its histogram file: every part that tells it from the others.
    pub(crate) fn file_name(&self) -> String {
        let mut name = format!(
            "{}-{}-{}-{}-{}",
            self.series, self.topic, self.transport, self.mode, self.workers
        );
        if let Some(rate) = self.offered_rate {
            name.push_str(&format!("-{rate:.0}"));
        }
        name.push_str(".hgrm");
        name
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::Value;
    use taskyard_zmq::LibzmqFeatures;

    use super::*;

    /// A run with two points, for the tests of what is drawn from one.
    pub(crate) fn sample() -> Summary {
        let options = Options {
            workers: vec![1, 16],
            transports: vec![],
            topics: vec![],
            mode: crate::options::Mode::Auto,
            rates: vec![],
            outstanding: None,
            shards: 1,
            payload: 64,
            duration_s: 0.5,
            quick: false,
            floor: true,
            out: "bench-out".into(),
        };
        let features = LibzmqFeatures::probe().expect("a socket can be made");
        let mut summary = Summary::new(Machine::detect(&features), &options);
        for (series, workers, p50_us) in [
            ("latency_vs_workers", 1, 70.0),
            ("latency_vs_workers", 16, 80.0),
            ("floor_vs_workers", 1, 65.0),
            ("floor_vs_workers", 16, 72.0),
        ] {
            summary.points.push(Point {
                series: series.into(),
                topic: "any".into(),
                transport: "zmq-tcp".into(),
                mode: if series.starts_with("floor") {
                    "floor"
                } else {
                    "auto"
                }
                .into(),
                workers,
                outstanding: 1,
                count: 1000,
                achieved_rate: 1e6 / p50_us,
                p50_us,
                p90_us: p50_us * 1.2,
                p99_us: p50_us * 1.8,
                p999_us: p50_us * 3.0,
                max_us: p50_us * 9.0,
                floor_ratio_p50: series.starts_with("latency").then_some(1.1),
                floor_ratio_p50_ci95: series.starts_with("latency").then_some([1.05, 1.15]),
                ..Point::default()
            });
        }
        summary
    }

    #[test]
    fn a_summary_survives_json() {
        let summary = sample();
        let text = serde_json::to_string(&summary).expect("it serialises");
        assert_eq!(
            serde_json::from_str::<Summary>(&text).expect("it parses"),
            summary
        );
    }

    #[test]
    fn the_keys_that_programs_read_are_there() {
        let value = serde_json::to_value(sample()).expect("it serialises");
        for key in [
            "version",
            "machine",
            "config",
            "points",
            "capacity_tasks_per_s",
            "memory",
        ] {
            assert!(value.get(key).is_some(), "{key}");
        }
        assert_eq!(value["version"], 1);
        assert_eq!(value["config"]["payload"], 64);
        let point = &value["points"][0];
        for key in [
            "series",
            "topic",
            "transport",
            "mode",
            "workers",
            "offered_rate",
            "achieved_rate",
            "count",
            "lost",
            "p50_us",
            "p90_us",
            "p99_us",
            "p999_us",
            "max_us",
            "floor_ratio_p50",
            "floor_ratio_p50_ci95",
            "floor_ratio_p99",
        ] {
            assert!(point.get(key).is_some(), "{key}");
        }
        assert_eq!(point["lost"], 0);
        assert_eq!(point["offered_rate"], Value::Null);
    }

    #[test]
    fn files_of_different_points_have_different_names() {
        let mut point = sample().points[0].clone();
        assert_eq!(
            point.file_name(),
            "latency_vs_workers-any-zmq-tcp-auto-1.hgrm"
        );
        point.offered_rate = Some(4999.7);
        assert_eq!(
            point.file_name(),
            "latency_vs_workers-any-zmq-tcp-auto-1-5000.hgrm"
        );
    }
}
