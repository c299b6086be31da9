//! `report.html`: one self-contained page with the curves as SVG, the figures as a table, and how
//! they were measured.

mod axis;
mod chart;
mod curves;

use std::fmt::Write as _;

use crate::summary::{Point, Summary};
use crate::table::{micros, other_figures};

const STYLE: &str = include_str!("style.css");
const METHOD: &str = include_str!("method.html");

/// The whole page.
pub(crate) fn report_html(summary: &Summary) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Taskyard latency</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
    );
    html.push_str("<h1>Taskyard latency</h1>\n");
    let _ = writeln!(html, "<p class=\"lead\">{}</p>", escape(&lead(summary)));
    for fault in &summary.faults {
        let _ = writeln!(html, "<p class=\"fault\">{}</p>", escape(fault));
    }
    html.push_str("<dl>\n");
    for (label, value) in other_figures(summary) {
        let _ = writeln!(
            html,
            "<div><dt>{}</dt><dd>{}</dd></div>",
            escape(&label),
            escape(&value)
        );
    }
    html.push_str("</dl>\n");
    for section in curves::sections(summary) {
        let _ = writeln!(
            html,
            "<h2>{}</h2>\n<div class=\"charts\">",
            escape(&section.title)
        );
        section
            .charts
            .iter()
            .for_each(|chart| html.push_str(&chart.html()));
        html.push_str("</div>\n");
    }
    html.push_str(METHOD);
    html.push_str(&table(summary));
    html.push_str("</body>\n</html>\n");
    html
}

fn lead(summary: &Summary) -> String {
    let (machine, config) = (&summary.machine, &summary.config);
    let mib = machine.memory_mib;
    format!(
        "{}, {} cores, {mib} MiB, load average {:.2} before the run; {}; libzmq {} ({}); {} build. \
         Payload {} bytes, {} blocks of {} ms behind every figure.",
        machine.cpu,
        machine.cores,
        machine.load_before,
        machine.kernel,
        machine.libzmq,
        machine.libzmq_flags.join(", "),
        machine.build,
        config.options.payload,
        config.blocks,
        config.block_ms,
    )
}

fn table(summary: &Summary) -> String {
    let mut html = String::from(
        "<h2>All figures</h2>\n<div class=\"scroll\"><table>\n<thead><tr><th>series</th>\
         <th>topic</th><th>transport</th><th>mode</th><th>workers</th><th>offered/s</th>\
         <th>tasks/s</th><th>count</th><th>lost</th><th>p50 µs</th><th>p90</th><th>p99</th>\
         <th>p99.9</th><th>max</th><th>p50 / floor</th><th>p99 / floor</th><th>rate / floor</th>\
         </tr></thead>\n<tbody>\n",
    );
    for point in &summary.points {
        html.push_str(&row(point));
    }
    html.push_str("</tbody></table></div>\n");
    html
}

fn row(point: &Point) -> String {
    let mut html = String::from("<tr>");
    for word in [&point.series, &point.topic, &point.transport, &point.mode] {
        let _ = write!(html, "<td>{}</td>", escape(word));
    }
    let offered = point
        .offered_rate
        .map_or_else(String::new, |rate| format!("{rate:.0}"));
    for number in [
        point.workers.to_string(),
        offered,
        format!("{:.0}", point.achieved_rate),
        point.count.to_string(),
        point.lost.to_string(),
        micros(point.p50_us),
        micros(point.p90_us),
        micros(point.p99_us),
        micros(point.p999_us),
        micros(point.max_us),
        ratio(point.floor_ratio_p50, point.floor_ratio_p50_ci95),
        ratio(point.floor_ratio_p99, point.floor_ratio_p99_ci95),
        ratio(point.floor_ratio_rate, point.floor_ratio_rate_ci95),
    ] {
        let _ = write!(html, "<td class=\"n\">{number}</td>");
    }
    html.push_str("</tr>\n");
    html
}

/// A ratio with its interval, as in `1.08 [1.05, 1.11]`.
fn ratio(median: Option<f64>, interval: Option<[f64; 2]>) -> String {
    match (median, interval) {
        (Some(median), Some([low, high])) => {
            format!("<b>{median:.2}</b> [{low:.2}, {high:.2}]")
        }
        _ => String::new(),
    }
}

/// Text as it may stand in HTML.
fn escape(text: &str) -> String {
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    text.replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::tests::sample;

    #[test]
    fn the_page_is_whole_and_needs_nothing_from_elsewhere() {
        let html = report_html(&sample());
        assert!(html.starts_with("<!doctype html>"));
        assert!(html.ends_with("</html>\n"));
        assert!(html.contains("<svg"));
        for outside in ["http://", "https://", "src=", "<link", "<script"] {
            assert!(!html.contains(outside), "{outside}");
        }
    }

    #[test]
    fn every_point_is_in_the_table_and_every_fault_on_the_page() {
        let mut summary = sample();
        summary.faults.push("task 7 got no outcome <here>".into());
        let html = report_html(&summary);
        assert_eq!(html.matches("<tr><td>").count(), summary.points.len());
        assert!(html.contains("task 7 got no outcome &lt;here&gt;"));
        assert!(html.contains("<b>1.10</b> [1.05, 1.15]"));
    }
}
