//! HdrHistogram's percentile format, which its plotting tools read.

use std::fmt::Write as _;

use crate::stats::Latencies;

/// Steps per halving of the distance to 100 %; the format's usual number.
const TICKS_PER_HALF: u32 = 5;

/// The distribution in microseconds as the text of an `.hgrm` file.
pub(crate) fn percentile_text(latencies: &Latencies) -> String {
    let histogram = latencies.histogram();
    let mut text = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    let mut seen = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF) {
        seen += step.count_since_last_iteration();
        let quantile = step.quantile_iterated_to();
        let value = step.value_iterated_to() as f64 / 1e3;
        let inverse = if quantile < 1.0 {
            format!("{:.2}", 1.0 / (1.0 - quantile))
        } else {
            "inf".into()
        };
        let _ = writeln!(text, "{value:12.3} {quantile:2.12} {seen:10} {inverse:>14}");
    }
    let (mean, deviation) = (histogram.mean() / 1e3, histogram.stdev() / 1e3);
    let _ = writeln!(
        text,
        "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]"
    );
    let (max, count) = (latencies.max_us(), latencies.count());
    let _ = writeln!(text, "#[Max     = {max:12.3}, Total count    = {count:12}]");
    let buckets = histogram.buckets();
    let _ = writeln!(
        text,
        "#[Buckets = {buckets:12}, SubBuckets     = {:12}]",
        2048
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_rises_to_the_whole_count_and_ends_at_the_maximum() {
        let mut latencies = Latencies::new();
        (1..=1000).for_each(|us| latencies.record_ns(us * 1000));
        let text = percentile_text(&latencies);
        let rows: Vec<Vec<f64>> = text
            .lines()
            .filter(|line| line.starts_with(' ') && !line.contains("Percentile"))
            .map(|line| {
                line.split_whitespace()
                    .map(|word| word.parse().unwrap())
                    .collect()
            })
            .collect();
        assert!(
            rows.windows(2)
                .all(|pair| pair[0][0] <= pair[1][0] && pair[0][1] <= pair[1][1])
        );
        let last = rows.last().expect("there are rows");
        assert_eq!(last[1], 1.0);
        assert_eq!(last[2], 1000.0);
        assert!((last[0] - 1000.0).abs() < 1.0, "{last:?}");
        assert!(text.contains("Total count    =         1000]"), "{text}");
    }
}
