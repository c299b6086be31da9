//! How the controller is doing: samples of what it counts, and what changed between two of them.

mod feed;
mod screen;
pub(crate) mod status;
pub(crate) mod top;

use std::time::{Duration, Instant};

use taskyard_core::{Cursor, Histogram, WorkerInfo, WorkerPhase};
use taskyard_zmq::{Answer, ControlOrder, RemoteClient, Statistics, TopicRef, WorkerDescription};

use crate::failure::Failure;
use crate::queue::ask_described;

/// Workers that are asked for at most: more than a screen shows, and than a controller has.
const WORKERS_MAX: usize = 8192;

/// What an operator sees at one moment.
#[derive(Clone, Debug)]
struct Sample {
    taken_at: Instant,
    statistics: Statistics,
    /// Tasks for any worker: those that wait in the core, and those in the pool.
    any: (u32, u32),
    workers: Vec<(WorkerInfo, WorkerDescription)>,
}

impl Sample {
    /// Asks for all of it.
    ///
    /// # Errors
    /// The controller does not answer, or refuses.
    fn take(client: &mut RemoteClient, patience: Duration) -> Result<Self, Failure> {
        let (answer, _) = ask_described(client, ControlOrder::Statistics, patience)?;
        let Answer::Statistics(statistics) = answer else {
            return Err(Failure::Odd);
        };
        let taken_at = Instant::now();
        let (answer, _) = ask_described(client, ControlOrder::Depth(TopicRef::Any), patience)?;
        let Answer::Depth { waiting, pooled } = answer else {
            return Err(Failure::Odd);
        };
        Ok(Self {
            taken_at,
            statistics: *statistics,
            any: (waiting.iter().sum(), pooled),
            workers: workers(client, patience)?,
        })
    }

    fn count_of(&self, phase: WorkerPhase) -> usize {
        let phases = self.workers.iter().map(|(info, _)| info.phase);
        phases.filter(|other| *other == phase).count()
    }

    /// Slots of all workers, and how many of them are busy.
    fn slots(&self) -> (u32, u32) {
        let infos = self.workers.iter().map(|(info, _)| info);
        infos.fold((0, 0), |(slots, busy), info| {
            (slots + u32::from(info.slots), busy + busy_slots(info))
        })
    }
}

fn busy_slots(info: &WorkerInfo) -> u32 {
    info.taken.min(info.slots.into())
}

fn workers(
    client: &mut RemoteClient,
    patience: Duration,
) -> Result<Vec<(WorkerInfo, WorkerDescription)>, Failure> {
    let mut all = Vec::new();
    let mut from = Cursor::default();
    loop {
        let order = ControlOrder::Workers { from };
        let (answer, mut described) = ask_described(client, order, patience)?;
        let Answer::Workers(page) = answer else {
            return Err(Failure::Odd);
        };
        described.resize_with(page.rows.len(), WorkerDescription::default);
        all.extend(page.rows.into_iter().zip(described));
        match page.next {
            Some(next) if all.len() < WORKERS_MAX => from = next,
            _ => return Ok(all),
        }
    }
}

/// What happened between two samples.
#[derive(Clone, Debug)]
struct Change {
    over: Duration,
    accepted: u64,
    completed: u64,
    failed: u64,
    lost: u64,
    rerun: u64,
    waits: Histogram,
    latencies: Histogram,
}

impl Change {
    fn between(earlier: &Sample, later: &Sample) -> Self {
        let (then, now) = (&earlier.statistics, &later.statistics);
        // A controller that was started between the two counts from 0 again.
        let is_same = now.uptime_ms >= then.uptime_ms;
        let grown = |then: u64, now: u64| {
            if is_same {
                now.saturating_sub(then)
            } else {
                now
            }
        };
        Self {
            over: later.taken_at.duration_since(earlier.taken_at),
            accepted: grown(then.stats.accepted, now.stats.accepted),
            completed: grown(then.stats.completed, now.stats.completed),
            failed: grown(then.stats.failed, now.stats.failed),
            lost: grown(then.stats.lost, now.stats.lost),
            rerun: grown(then.stats.rerun, now.stats.rerun),
            waits: if is_same {
                now.waits.since(&then.waits)
            } else {
                now.waits.clone()
            },
            latencies: match is_same {
                true => now.latencies.since(&then.latencies),
                false => now.latencies.clone(),
            },
        }
    }

    /// So many a second.
    fn rate(&self, count: u64) -> f64 {
        count as f64 / self.over.as_secs_f64().max(0.001)
    }
}

/// p50, p90, p99 and the largest, in microseconds.
fn percentiles(histogram: &Histogram) -> [Option<u64>; 4] {
    [500, 900, 990, 1000].map(|thousandths| histogram.at_thousandth(thousandths))
}

/// Microseconds as people read them, in at most seven letters.
fn shown_us(us: Option<u64>) -> String {
    match us {
        None => "-".to_owned(),
        Some(us @ 0..1_000) => format!("{us}us"),
        Some(us @ 1_000..10_000) => format!("{:.1}ms", us as f64 / 1e3),
        Some(us @ 10_000..1_000_000) => format!("{}ms", us / 1_000),
        Some(us @ 1_000_000..100_000_000) => format!("{:.1}s", us as f64 / 1e6),
        Some(us) => shown_span(Duration::from_micros(us)),
    }
}

/// A span of time by its two largest units.
fn shown_span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// A rate in at most six letters.
fn shown_rate(rate: f64) -> String {
    match rate {
        0.0 => "0".to_owned(),
        rate if rate < 10.0 => format!("{rate:.1}"),
        rate if rate < 100_000.0 => format!("{rate:.0}"),
        rate => format!("{:.0}k", rate / 1e3),
    }
}

/// Bytes by their largest unit.
fn shown_bytes(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_enough_to_read() {
        let us = [
            0,
            999,
            1_000,
            12_345,
            999_999,
            1_500_000,
            100_000_000,
            7_200_000_000,
        ];
        let shown = us.map(|us| shown_us(Some(us)));
        let expected = [
            "0us", "999us", "1.0ms", "12ms", "999ms", "1.5s", "1m40s", "2h00m",
        ];
        assert_eq!(shown, expected);
        let rates = [0.0, 0.5, 9.96, 812.3, 99_999.0, 123_456.0].map(shown_rate);
        assert_eq!(rates, ["0", "0.5", "10.0", "812", "99999", "123k"]);
        assert_eq!(shown_bytes(1536), "1.5 KiB");
        assert_eq!(shown_span(Duration::from_secs(90_000)), "1d01h");
        assert_eq!(shown_us(None), "-");
    }
}
