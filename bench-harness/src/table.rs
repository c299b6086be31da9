//! The table on stdout.

use std::fmt::Write as _;

use crate::summary::{Point, Summary};

const HEAD: [&str; 13] = [
    "series",
    "topic",
    "transport",
    "mode",
    "workers",
    "offered/s",
    "tasks/s",
    "count",
    "p50 us",
    "p99 us",
    "p99.9 us",
    "p50/floor",
    "95 %",
];
/// Columns of words, at the left; the others are numbers.
const WORDS: usize = 4;

/// All points, one a line, then what is not a curve.
pub(crate) fn table_text(summary: &Summary) -> String {
    let rows: Vec<[String; 13]> = summary.points.iter().map(row).collect();
    let head = HEAD.map(str::to_owned);
    let mut widths = head.clone().map(|cell| cell.len());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&head).chain(&rows) {
        let _ = writeln!(text, "{}", line(row, &widths));
    }
    text.push_str(&closing(summary));
    text
}

fn line(row: &[String; 13], widths: &[usize; 13]) -> String {
    let mut line = String::new();
    for (column, (cell, &width)) in row.iter().zip(widths).enumerate() {
        let _ = if column < WORDS {
            write!(line, "{cell:<width$}  ")
        } else {
            write!(line, "{cell:>width$}  ")
        };
    }
    line.truncate(line.trim_end().len());
    line
}

fn row(point: &Point) -> [String; 13] {
    // Of a load that waits for answers the rate is the figure, and its ratio says more.
    let (ratio, interval) = match point.floor_ratio_rate {
        Some(_) => (point.floor_ratio_rate, point.floor_ratio_rate_ci95),
        None => (point.floor_ratio_p50, point.floor_ratio_p50_ci95),
    };
    let mark = if point.floor_ratio_rate.is_some() {
        " (rate)"
    } else {
        ""
    };
    [
        point.series.clone(),
        point.topic.clone(),
        point.transport.clone(),
        point.mode.clone(),
        point.workers.to_string(),
        point
            .offered_rate
            .map_or_else(String::new, |rate| format!("{rate:.0}")),
        format!("{:.0}", point.achieved_rate),
        point.count.to_string(),
        micros(point.p50_us),
        micros(point.p99_us),
        micros(point.p999_us),
        ratio.map_or_else(String::new, |ratio| format!("{ratio:.3}{mark}")),
        interval.map_or_else(String::new, |[low, high]| format!("{low:.3}..{high:.3}")),
    ]
}

/// Digits enough to compare, no more.
pub(crate) fn micros(us: f64) -> String {
    if us < 100.0 {
        format!("{us:.2}")
    } else {
        format!("{us:.0}")
    }
}

/// The figures that are no points, each as a label and a value: also the report's.
pub(crate) fn other_figures(summary: &Summary) -> Vec<(String, String)> {
    let mut figures = Vec::new();
    let mut add = |label: String, value: Option<String>| {
        figures.extend(value.map(|value| (label, value)));
    };
    let (memory, allocations) = (&summary.memory, &summary.allocations);
    let asked = summary.config.options.mode.label();
    let picked = summary.config.mode_picked.as_ref();
    add(
        format!("mode {asked}"),
        picked.map(|mode| format!("the dispatcher is {mode}")),
    );
    let capacity = summary.capacity_tasks_per_s;
    add(
        "capacity".into(),
        capacity.map(|rate| format!("{rate:.0} tasks/s")),
    );
    add(
        format!("controller with {} idle workers", memory.idle_workers),
        memory
            .controller_idle_bytes
            .map(|bytes| format!("{:.1} MiB", bytes as f64 / 1048576.0)),
    );
    add(
        format!(
            "controller, per queued task of {} bytes",
            memory.queued_payload_bytes
        ),
        memory
            .controller_bytes_per_queued_task
            .map(|bytes| format!("{bytes:.0} bytes")),
    );
    let per_task = |count: f64| format!("{count:.4} per task");
    add(
        "allocations, controller".into(),
        allocations.controller_per_task.map(per_task),
    );
    add(
        "allocations, in-process".into(),
        allocations.inproc_per_task.map(per_task),
    );
    figures
}

fn closing(summary: &Summary) -> String {
    let mut text = String::from("\n");
    for (label, value) in other_figures(summary) {
        let _ = writeln!(text, "{label}: {value}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::tests::sample;

    #[test]
    fn every_point_has_a_line_and_columns_align() {
        let summary = sample();
        let text = table_text(&summary);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("series"));
        let column = lines[0].find("mode").expect("there is such a column");
        for (line, point) in lines[1..].iter().zip(&summary.points) {
            assert!(line.starts_with(&point.series));
            assert_eq!(
                line[column..].split_whitespace().next(),
                Some(point.mode.as_str())
            );
        }
        assert!(lines[1].ends_with("1.100  1.050..1.150"), "{}", lines[1]);
    }
}
