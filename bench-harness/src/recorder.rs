//! Turns what was measured into points and histogram files, as it comes.

use std::fs;
use std::path::Path;

use crate::error::Error;
use crate::hgrm::percentile_text;
use crate::lane::System;
use crate::options::{Options, Topic, Transport};
use crate::progress::Progress;
use crate::series::Measured;
use crate::series::capacity::Capacity;
use crate::stats::{Interval, median, median_ratio};
use crate::summary::{Memory, Point, Summary};

/// One figure of every system that took part.
#[derive(Debug)]
pub(crate) struct Figure<'a> {
    /// The series for the real thing.
    pub(crate) name: &'static str,
    /// The series for the floor.
    pub(crate) floor_name: &'static str,
    pub(crate) topic: Topic,
    pub(crate) transport: Transport,
    pub(crate) workers: u32,
    pub(crate) outstanding: u32,
    pub(crate) offered_rate: Option<f64>,
    pub(crate) measured: &'a [Measured],
}

/// The run as it grows.
#[derive(Debug)]
pub(crate) struct Recorder {
    summary: Summary,
    options: Options,
    progress: Progress,
}

impl Recorder {
    pub(crate) fn new(summary: Summary, options: Options, progress: Progress) -> Self {
        Self {
            summary,
            options,
            progress,
        }
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn memory_mut(&mut self) -> &mut Memory {
        &mut self.summary.memory
    }

    /// Says what is measured now.
    pub(crate) fn tell(&self, what: &str) {
        self.progress.tell(what);
    }

    /// A figure is done that is no point.
    pub(crate) fn step(&self) {
        self.progress.step();
    }

    /// Whether a task was lost or doubled: nothing more is worth measuring.
    pub(crate) fn has_faults(&self) -> bool {
        !self.summary.faults.is_empty()
    }

    pub(crate) fn note_mode_picked(&mut self, mode: &str) {
        self.summary
            .config
            .mode_picked
            .get_or_insert_with(|| mode.to_owned());
    }

    /// The capacity of the first transport is the run's.
    pub(crate) fn note_capacity(&mut self, transport: Transport, capacity: Capacity) {
        self.summary
            .capacity_tasks_per_s
            .get_or_insert(capacity.rate.round());
        let allocations = &mut self.summary.allocations;
        let place = match transport {
            Transport::Inproc => &mut allocations.inproc_per_task,
            Transport::ZmqTcp | Transport::ZmqIpc => &mut allocations.controller_per_task,
        };
        place.get_or_insert(capacity.allocations);
    }

    /// Adds a figure: one point and one histogram file for each system.
    ///
    /// # Errors
    /// When the folder does not take the file.
    pub(crate) fn add(&mut self, figure: &Figure<'_>) -> Result<(), Error> {
        let floor = figure
            .measured
            .iter()
            .find(|measured| measured.system == System::Floor);
        for measured in figure.measured {
            let point = point(figure, measured, floor);
            for fault in measured.blocks.iter().flat_map(|block| &block.faults) {
                let Point {
                    series,
                    topic,
                    transport,
                    mode,
                    workers,
                    ..
                } = &point;
                self.summary.faults.push(format!(
                    "{fault} ({series}, {topic}, {transport}, {mode}, {workers} workers)"
                ));
            }
            let path = self.options.out.join(point.file_name());
            write(&path, &percentile_text(&measured.latencies()))?;
            self.summary.points.push(point);
        }
        self.progress.step();
        Ok(())
    }

    /// The finished run.
    pub(crate) fn finish(self) -> Summary {
        self.progress.finish();
        self.summary
    }
}

/// Writes one file of the results.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|source| Error::Output {
        path: path.into(),
        source,
    })
}

fn point(figure: &Figure<'_>, measured: &Measured, floor: Option<&Measured>) -> Point {
    let latencies = measured.latencies();
    let mut point = Point {
        series: series(figure, measured.system).into(),
        topic: figure.topic.label().into(),
        transport: figure.transport.label().into(),
        mode: measured.system.mode().into(),
        workers: figure.workers,
        outstanding: figure.outstanding,
        offered_rate: figure.offered_rate,
        achieved_rate: median(&measured.rates()).unwrap_or_default().round(),
        count: latencies.count(),
        lost: measured.blocks.iter().map(|block| block.lost).sum(),
        p50_us: latencies.quantile_us(0.5),
        p90_us: latencies.quantile_us(0.9),
        p99_us: latencies.quantile_us(0.99),
        p999_us: latencies.quantile_us(0.999),
        max_us: latencies.max_us(),
        ..Point::default()
    };
    if let Some(floor) = floor.filter(|floor| floor.system != measured.system) {
        compare(&mut point, figure, measured, floor);
    }
    point
}

fn compare(point: &mut Point, figure: &Figure<'_>, ours: &Measured, floor: &Measured) {
    let quantile =
        |quantile| median_ratio(&ours.quantiles_us(quantile), &floor.quantiles_us(quantile));
    (point.floor_ratio_p50, point.floor_ratio_p50_ci95) = parts(quantile(0.5));
    (point.floor_ratio_p99, point.floor_ratio_p99_ci95) = parts(quantile(0.99));
    // Only where a system sends the next task when it has answered one is the rate its own doing.
    if figure.outstanding > 1 {
        let rate = median_ratio(&ours.rates(), &floor.rates());
        (point.floor_ratio_rate, point.floor_ratio_rate_ci95) = parts(rate);
    }
}

fn parts(ratio: Option<Interval>) -> (Option<f64>, Option<[f64; 2]>) {
    let rounded = |value: f64| (value * 1e4).round() / 1e4;
    let median = ratio.map(|ratio| rounded(ratio.median));
    (
        median,
        ratio.map(|ratio| [rounded(ratio.low), rounded(ratio.high)]),
    )
}

const fn series(figure: &Figure<'_>, system: System) -> &'static str {
    match system {
        System::Taskyard(_) | System::Inproc(_) => figure.name,
        System::Floor => figure.floor_name,
        System::Raw => "raw_vs_workers",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Block;
    use crate::options::Mode;
    use crate::stats::Latencies;

    fn measured(system: System, blocks_us: &[u64]) -> Measured {
        let block = |&us: &u64| {
            let mut latencies = Latencies::new();
            (0..100).for_each(|_| latencies.record_ns(us * 1000));
            Block {
                latencies,
                seconds: 0.01,
                lost: 0,
                faults: vec![],
            }
        };
        Measured {
            system,
            blocks: blocks_us.iter().map(block).collect(),
        }
    }

    fn capacity_of(measured: &[Measured]) -> Figure<'_> {
        Figure {
            name: "capacity",
            floor_name: "floor_capacity",
            topic: Topic::Any,
            transport: Transport::ZmqTcp,
            workers: 4,
            outstanding: 64,
            offered_rate: None,
            measured,
        }
    }

    #[test]
    fn ours_is_compared_with_the_floor_block_by_block_and_the_floor_with_nothing() {
        let ours = measured(System::Taskyard(Mode::Auto), &[110, 220, 330]);
        let floor = measured(System::Floor, &[100, 200, 300]);
        let all = [ours, floor];
        let figure = capacity_of(&all);
        let point_ours = point(&figure, &all[0], Some(&all[1]));
        let ratio = point_ours.floor_ratio_p50.expect("it is compared");
        assert!((ratio - 1.1).abs() < 1e-3, "{ratio}");
        assert_eq!(point_ours.floor_ratio_rate, Some(1.0));
        assert_eq!(
            (point_ours.series.as_str(), point_ours.count),
            ("capacity", 300)
        );
        let point_floor = point(&figure, &all[1], Some(&all[1]));
        assert_eq!(point_floor.floor_ratio_p50, None);
        assert_eq!(point_floor.series, "floor_capacity");
    }

    #[test]
    fn canary_the_fault_of_a_block_becomes_one_of_the_run_and_names_its_place() {
        let out = std::env::temp_dir().join(format!("bench-recorder-{}", std::process::id()));
        fs::create_dir_all(&out).expect("the temporary folder takes a folder");
        let mut summary = crate::summary::tests::sample();
        summary.config.options.out = out.clone();
        let options = summary.config.options.clone();
        let mut recorder = Recorder::new(summary, options, Progress::new(1));
        let mut ours = measured(System::Taskyard(Mode::Auto), &[110]);
        ours.blocks[0].lost = 1;
        ours.blocks[0].faults = vec!["task 7 got no outcome".into()];
        let all = [ours];
        let added = recorder.add(&capacity_of(&all));
        added.expect("the folder takes the histogram");
        assert!(recorder.has_faults());
        let summary = recorder.finish();
        assert_eq!(
            summary.faults,
            ["task 7 got no outcome (capacity, any, zmq-tcp, auto, 4 workers)"]
        );
        assert_eq!(summary.points.last().map(|point| point.lost), Some(1));
        let _ = fs::remove_dir_all(out);
    }
}
