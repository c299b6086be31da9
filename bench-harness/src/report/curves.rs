//! Which charts a run has: the points of each series, topic and transport as lines.

use super::axis::Scale;
use super::chart::{Chart, Dot, Line};
use crate::summary::{Point, Summary};
use crate::table::micros;

/// Charts that belong together.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) title: String,
    pub(super) charts: Vec<Chart>,
}

/// A curve: the series of each system that it shows.
struct Curve {
    title: &'static str,
    series: [&'static str; 3],
    over_load: bool,
}

const CURVES: [Curve; 3] = [
    Curve {
        title: "Latency against the number of workers",
        series: ["latency_vs_workers", "floor_vs_workers", "raw_vs_workers"],
        over_load: false,
    },
    Curve {
        title: "Latency against load",
        series: ["latency_vs_load", "floor_vs_load", ""],
        over_load: true,
    },
    Curve {
        title: "Multicast: the last worker's answer",
        series: ["multicast", "floor_multicast", ""],
        over_load: false,
    },
];

/// All charts of a run; one where there is nothing to show is left out.
pub(super) fn sections(summary: &Summary) -> Vec<Section> {
    let of_curve = |curve: &Curve| {
        let points: Vec<&Point> = summary
            .points
            .iter()
            .filter(|point| curve.series.contains(&point.series.as_str()))
            .collect();
        let charts = places(&points).into_iter().flat_map(|(transport, topic)| {
            let here = |point: &&&Point| point.transport == transport && point.topic == topic;
            let here: Vec<&Point> = points.iter().filter(here).copied().collect();
            charts(curve, &transport, &topic, &here)
        });
        Section {
            title: curve.title.into(),
            charts: charts.collect(),
        }
    };
    CURVES
        .iter()
        .map(of_curve)
        .filter(|section| !section.charts.is_empty())
        .collect()
}

/// Transports and topics in the order in which they were measured.
fn places(points: &[&Point]) -> Vec<(String, String)> {
    let mut places = Vec::new();
    for point in points {
        let place = (point.transport.clone(), point.topic.clone());
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

/// The latencies, and where there is a floor the ratio to it.
fn charts(curve: &Curve, transport: &str, topic: &str, points: &[&Point]) -> Vec<Chart> {
    let x = |point: &Point| match point.offered_rate {
        Some(rate) => rate,
        None => f64::from(point.workers),
    };
    let chart = |what: &str, y_label, y_scale, level, lines: Vec<Line>| Chart {
        title: format!("{transport}, topic {topic}{what}"),
        x_label: if curve.over_load {
            "offered tasks per second"
        } else {
            "workers"
        },
        x_scale: if curve.over_load {
            Scale::Linear
        } else {
            Scale::Log
        },
        x_ticks: (!curve.over_load).then(|| distinct(points.iter().map(|point| x(point)))),
        y_label,
        y_scale,
        level,
        lines,
    };
    let mut latencies = Vec::new();
    let mut ratios = Vec::new();
    for mode in modes(points) {
        let mut of_mode: Vec<&Point> = points
            .iter()
            .filter(|point| point.mode == mode)
            .copied()
            .collect();
        of_mode.sort_by(|one, other| x(one).total_cmp(&x(other)));
        latencies.push(latency_line(&mode, "p50", &of_mode, x, |point| {
            point.p50_us
        }));
        latencies.push(latency_line(&mode, "p99", &of_mode, x, |point| {
            point.p99_us
        }));
        ratios.extend(ratio_line(&mode, &of_mode, x));
    }
    let mut charts = vec![chart("", "µs", Scale::Log, None, latencies)];
    if !ratios.is_empty() {
        let what = ": p50 ÷ the floor's, with 95 % interval";
        charts.push(chart(what, "× floor", Scale::Linear, Some(1.0), ratios));
    }
    charts
}

fn modes(points: &[&Point]) -> Vec<String> {
    let mut modes = Vec::new();
    for point in points {
        if !modes.contains(&point.mode) {
            modes.push(point.mode.clone());
        }
    }
    modes
}

fn distinct(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    values
}

fn latency_line(
    mode: &str,
    what: &str,
    points: &[&Point],
    x: impl Fn(&Point) -> f64,
    y: impl Fn(&Point) -> f64,
) -> Line {
    let dot = |point: &&Point| Dot {
        x: x(point),
        y: y(point),
        interval: None,
        text: format!(
            "{}: {what} {} µs ({} workers, {:.0} tasks/s, {} samples)",
            name(mode),
            micros(y(point)),
            point.workers,
            point.achieved_rate,
            point.count
        ),
    };
    Line {
        label: format!("{} {what}", name(mode)),
        class: class(mode),
        dashed: what != "p50",
        dots: points.iter().map(dot).collect(),
    }
}

fn ratio_line(mode: &str, points: &[&Point], x: impl Fn(&Point) -> f64) -> Option<Line> {
    let dot = |point: &&Point| {
        let ratio = point.floor_ratio_p50?;
        let [low, high] = point.floor_ratio_p50_ci95?;
        Some(Dot {
            x: x(point),
            y: ratio,
            interval: Some([low, high]),
            text: format!("{}: {ratio:.3} × floor [{low:.3}, {high:.3}]", name(mode)),
        })
    };
    let dots: Vec<Dot> = points.iter().filter_map(dot).collect();
    // The raw floor is no rival of the other floor: it would only stretch the axis.
    if dots.is_empty() || mode == "raw" {
        return None;
    }
    Some(Line {
        label: name(mode).into(),
        class: class(mode),
        dashed: false,
        dots,
    })
}

/// What a reader calls the system with this mode.
fn name(mode: &str) -> &str {
    match mode {
        "auto" => "Taskyard (auto)",
        "pinned" => "Taskyard (pinned)",
        "hosted" => "Taskyard (hosted)",
        "floor" => "libzmq floor",
        "raw" => "raw floor",
        "spin" => "spinning",
        "park" => "parking",
        other => other,
    }
}

/// The colour of a system, the same in all charts.
fn class(mode: &str) -> &'static str {
    match mode {
        "floor" => "floor",
        "raw" => "raw",
        "pinned" | "hosted" | "park" => "second",
        _ => "first",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::tests::sample;

    #[test]
    fn a_run_has_a_chart_of_latencies_and_one_of_ratios() {
        let sections = sections(&sample());
        assert_eq!(sections.len(), 1);
        let charts = &sections[0].charts;
        assert_eq!(charts.len(), 2);
        // Two systems, two quantiles each, two counts each.
        assert_eq!(charts[0].lines.len(), 4);
        assert!(charts[0].lines.iter().all(|line| line.dots.len() == 2));
        assert_eq!(charts[0].x_ticks, Some(vec![1.0, 16.0]));
        assert_eq!(charts[1].lines.len(), 1);
        assert_eq!(charts[1].lines[0].dots[0].interval, Some([1.05, 1.15]));
    }
}
