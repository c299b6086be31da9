//! Figures from samples: latencies as histograms, and the ratio of alternating blocks with an
//! interval.
//!
//! Two systems that take turns in short blocks see the same machine, so the ratio of *adjacent*
//! blocks is free of most of the machine's moods. The median of those ratios is the figure; its
//! interval comes from order statistics (the sign test turned around), which assumes nothing about
//! the distribution except that the blocks are independent.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Latencies in nanoseconds, to three significant digits.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Counts", into = "Counts")]
pub(crate) struct Latencies(Histogram<u64>);

/// The form in which a histogram travels between processes: (value, how often).
#[derive(Serialize, Deserialize)]
struct Counts(Vec<(u64, u64)>);

impl Latencies {
    /// One minute: longer than any wait that the harness allows.
    const MAX_NS: u64 = 60_000_000_000;
    const DIGITS: u8 = 3;

    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, Self::MAX_NS, Self::DIGITS)
            .expect("the bounds are constants that the library allows");
        Self(histogram)
    }

    /// Records one latency; one beyond a minute is recorded as a minute.
    pub(crate) fn record_ns(&mut self, ns: u64) {
        self.0.saturating_record(ns.max(1));
    }

    /// Adds what another one has.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The value below which this share of the samples lies, in microseconds.
    pub(crate) fn quantile_us(&self, quantile: f64) -> f64 {
        round_us(self.0.value_at_quantile(quantile) as f64 / 1e3)
    }

    pub(crate) fn max_us(&self) -> f64 {
        round_us(self.0.max() as f64 / 1e3)
    }

    /// The histogram itself, for writing it out.
    pub(crate) fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }
}

impl From<Counts> for Latencies {
    fn from(Counts(counts): Counts) -> Self {
        let mut latencies = Self::new();
        for (value, count) in counts {
            latencies.0.saturating_record_n(value, count);
        }
        latencies
    }
}

impl From<Latencies> for Counts {
    fn from(Latencies(histogram): Latencies) -> Self {
        let recorded = histogram.iter_recorded();
        Self(
            recorded
                .map(|step| (step.value_iterated_to(), step.count_at_value()))
                .collect(),
        )
    }
}

/// Three digits behind the point: a nanosecond, which is more than the clock knows.
fn round_us(us: f64) -> f64 {
    (us * 1e3).round() / 1e3
}

/// A median with the interval that holds the true one in at least 95 of 100 runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Interval {
    /// The median itself.
    pub(crate) median: f64,
    /// Lower end.
    pub(crate) low: f64,
    /// Upper end.
    pub(crate) high: f64,
}

/// The median of `samples` with its 95 % interval; `None` without samples.
///
/// With fewer than six samples no pair of order statistics covers 95 %: the interval is then all of
/// them, which is the most that can be said.
pub(crate) fn median_interval(samples: &[f64]) -> Option<Interval> {
    let mut sorted: Vec<f64> = samples.iter().copied().filter(|x| x.is_finite()).collect();
    if sorted.is_empty() {
        return None;
    }
    sorted.sort_by(f64::total_cmp);
    let cut = interval_cut(sorted.len());
    Some(Interval {
        median: median_of_sorted(&sorted),
        low: sorted[cut],
        high: sorted[sorted.len() - 1 - cut],
    })
}

/// The median of the ratios of adjacent blocks, with its 95 % interval.
pub(crate) fn median_ratio(ours: &[f64], theirs: &[f64]) -> Option<Interval> {
    let ratios: Vec<f64> = ours
        .iter()
        .zip(theirs)
        .map(|(ours, theirs)| ours / theirs)
        .collect();
    median_interval(&ratios)
}

/// The median of some numbers, if there are any.
pub(crate) fn median(samples: &[f64]) -> Option<f64> {
    median_interval(samples).map(|interval| interval.median)
}

fn median_of_sorted(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    } else {
        sorted[middle]
    }
}

/// How many samples to leave out at either end: the most for which the true median lies outside of
/// what remains with a chance of at most 5 %. That chance is `2 P(Binomial(samples, ½) <= cut)`.
fn interval_cut(samples: usize) -> usize {
    let mut term = 0.5_f64.powi(i32::try_from(samples).unwrap_or(i32::MAX));
    let mut below = 0.0;
    for cut in 0..samples {
        // `below` becomes P(at most `cut` samples on one side of the true median).
        below += term;
        if 2.0 * below > 0.05 {
            return cut.saturating_sub(1).min((samples - 1) / 2);
        }
        term *= (samples - cut) as f64 / (cut + 1) as f64;
    }
    (samples - 1) / 2
}

/// A duration as whole nanoseconds; centuries saturate.
pub(crate) fn as_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn the_interval_leaves_out_what_the_binomial_table_says() {
        let expected = [
            (1, 0),
            (5, 0),
            (6, 0),
            (8, 0),
            (9, 1),
            (12, 2),
            (15, 3),
            (20, 5),
            (100, 39),
        ];
        for (samples, cut) in expected {
            assert_eq!(interval_cut(samples), cut, "{samples} samples");
        }
    }

    #[test]
    fn the_interval_covers_the_true_median_as_often_as_it_promises() {
        let mut random = Random::new(7);
        let runs = 2_000;
        let covered = (0..runs).filter(|_| {
            // Exponential samples of mean 1: skewed like latencies, true median ln 2.
            let samples: Vec<f64> = (0..12).map(|_| random.exponential()).collect();
            let interval = median_interval(&samples).expect("there are samples");
            interval.low <= 2_f64.ln() && 2_f64.ln() <= interval.high
        });
        let share = covered.count() as f64 / f64::from(runs);
        assert!(share > 0.94, "covered {share}");
        assert!(
            share < 0.99,
            "an interval that covers {share} says too little"
        );
    }

    #[test]
    fn ratios_are_taken_of_adjacent_blocks() {
        // The machine doubles its speed half way; the ratio does not see it.
        let ours = [30.0, 31.5, 30.0, 15.0, 15.0, 15.75];
        let theirs = [20.0, 21.0, 20.0, 10.0, 10.0, 10.5];
        let ratio = median_ratio(&ours, &theirs).expect("there are blocks");
        assert_eq!(
            ratio,
            Interval {
                median: 1.5,
                low: 1.5,
                high: 1.5
            }
        );
    }

    #[test]
    fn no_samples_give_no_figure() {
        assert_eq!(median_interval(&[]), None);
        assert_eq!(median_ratio(&[1.0], &[]), None);
        assert_eq!(median_interval(&[f64::NAN]), None);
    }

    #[test]
    fn quantiles_of_a_known_distribution_are_right_to_three_digits() {
        let mut latencies = Latencies::new();
        (1..=100_000).for_each(|ns| latencies.record_ns(ns));
        for (quantile, us) in [(0.5, 50.0), (0.9, 90.0), (0.99, 99.0), (0.999, 99.9)] {
            let measured = latencies.quantile_us(quantile);
            assert!(
                (measured / us - 1.0).abs() < 2e-3,
                "{quantile}: {measured} is not {us}"
            );
        }
        assert_eq!(latencies.count(), 100_000);
    }

    #[test]
    fn a_histogram_survives_the_way_between_processes() {
        let mut latencies = Latencies::new();
        for ns in [1, 999, 70_123, 70_123, 4_000_000, u64::MAX] {
            latencies.record_ns(ns);
        }
        let text = serde_json::to_string(&latencies).expect("it serialises");
        let back: Latencies = serde_json::from_str(&text).expect("it parses");
        assert_eq!(back.histogram(), latencies.histogram());
    }
}
