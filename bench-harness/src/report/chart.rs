//! One chart as SVG: lines with dots that tell their figures when pointed at.

use std::fmt::Write as _;

use super::axis::{Axis, Scale, tick_text};
use super::escape;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 546.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 276.0;

/// One chart.
#[derive(Debug)]
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) x_label: &'static str,
    pub(super) x_scale: Scale,
    /// Ticks of the x axis, where round numbers are not what was measured.
    pub(super) x_ticks: Option<Vec<f64>>,
    pub(super) y_label: &'static str,
    pub(super) y_scale: Scale,
    /// A level that means something, drawn as a thin line.
    pub(super) level: Option<f64>,
    pub(super) lines: Vec<Line>,
}

/// One line of a chart.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) label: String,
    /// The class that gives it its colour.
    pub(super) class: &'static str,
    /// Whether it is a tail: dashed.
    pub(super) dashed: bool,
    pub(super) dots: Vec<Dot>,
}

/// One point of a line.
#[derive(Debug)]
pub(super) struct Dot {
    pub(super) x: f64,
    pub(super) y: f64,
    /// Its interval, if it has one.
    pub(super) interval: Option<[f64; 2]>,
    /// What it says when pointed at.
    pub(super) text: String,
}

impl Chart {
    /// The chart with its title and legend as a figure of the page.
    pub(super) fn html(&self) -> String {
        let mut html = format!("<figure><figcaption>{}</figcaption>\n", escape(&self.title));
        html.push_str("<div class=\"legend\">");
        for line in &self.lines {
            let dash = if line.dashed { " dashed" } else { "" };
            let _ = write!(
                html,
                "<span class=\"{}{dash}\"><i></i>{}</span>",
                line.class,
                escape(&line.label)
            );
        }
        html.push_str("</div>\n");
        self.svg(&mut html);
        html.push_str("</figure>\n");
        html
    }

    fn svg(&self, html: &mut String) {
        let (x, y) = (self.x_axis(), self.y_axis());
        let _ = writeln!(
            html,
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            escape(&self.title)
        );
        self.grid(html, &x, &y);
        for line in &self.lines {
            line.svg(html, &x, &y);
        }
        html.push_str("</svg>\n");
    }

    fn dots(&self) -> impl Iterator<Item = &Dot> {
        self.lines.iter().flat_map(|line| &line.dots)
    }

    fn x_axis(&self) -> Axis {
        let values: Vec<f64> = self.dots().map(|dot| dot.x).collect();
        Axis::fit(self.x_scale, &values, LEFT, RIGHT)
    }

    fn y_axis(&self) -> Axis {
        let mut values: Vec<f64> = self.dots().map(|dot| dot.y).collect();
        values.extend(self.dots().filter_map(|dot| dot.interval).flatten());
        values.extend(self.level);
        Axis::fit(self.y_scale, &values, BOTTOM, TOP)
    }

    fn grid(&self, html: &mut String, x: &Axis, y: &Axis) {
        for tick in self.x_ticks.clone().unwrap_or_else(|| x.ticks()) {
            let at = x.place(tick);
            let text = if self.x_ticks.is_some() {
                format!("{tick}")
            } else {
                tick_text(tick)
            };
            let _ = writeln!(
                html,
                "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{BOTTOM}\"/>\
                 <text class=\"tick\" x=\"{at:.1}\" y=\"{:.0}\" text-anchor=\"middle\">\
                 {text}</text>",
                BOTTOM + 16.0
            );
        }
        for tick in y.ticks() {
            let at = y.place(tick);
            let _ = writeln!(
                html,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text class=\"tick\" x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                at + 3.5,
                tick_text(tick)
            );
        }
        if let Some(level) = self.level {
            let at = y.place(level);
            let _ = writeln!(
                html,
                "<line class=\"level\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>"
            );
        }
        let (middle_x, middle_y) = (f64::midpoint(LEFT, RIGHT), f64::midpoint(TOP, BOTTOM));
        let _ = writeln!(
            html,
            "<text class=\"label\" x=\"{middle_x:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>\
             <text class=\"label\" transform=\"translate(14 {middle_y:.0}) rotate(-90)\" \
             text-anchor=\"middle\">{}</text>",
            HEIGHT - 8.0,
            escape(self.x_label),
            escape(self.y_label)
        );
    }
}

impl Line {
    fn svg(&self, html: &mut String, x: &Axis, y: &Axis) {
        let dash = if self.dashed { " dashed" } else { "" };
        let _ = writeln!(html, "<g class=\"{}{dash}\">", self.class);
        let place = |dot: &Dot| format!("{:.1},{:.1}", x.place(dot.x), y.place(dot.y));
        let places: Vec<String> = self.dots.iter().map(place).collect();
        let _ = writeln!(html, "<polyline points=\"{}\"/>", places.join(" "));
        for dot in &self.dots {
            let (at_x, at_y) = (x.place(dot.x), y.place(dot.y));
            if let Some([low, high]) = dot.interval {
                let (low, high) = (y.place(low), y.place(high));
                let _ = writeln!(
                    html,
                    "<line class=\"interval\" x1=\"{at_x:.1}\" x2=\"{at_x:.1}\" y1=\"{low:.1}\" \
                     y2=\"{high:.1}\"/>"
                );
            }
            let _ = writeln!(
                html,
                "<circle cx=\"{at_x:.1}\" cy=\"{at_y:.1}\" r=\"3.5\"><title>{}</title></circle>",
                escape(&dot.text)
            );
        }
        html.push_str("</g>\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_has_a_dot_with_its_text_for_every_point() {
        let dot = |x, text: &str| Dot {
            x,
            y: x * 2.0,
            interval: None,
            text: text.into(),
        };
        let chart = Chart {
            title: "a < b".into(),
            x_label: "workers",
            x_scale: Scale::Log,
            x_ticks: Some(vec![1.0, 1024.0]),
            y_label: "us",
            y_scale: Scale::Log,
            level: Some(1.0),
            lines: vec![Line {
                label: "p50".into(),
                class: "ours",
                dashed: true,
                dots: vec![dot(1.0, "one"), dot(1024.0, "many & more")],
            }],
        };
        let html = chart.html();
        assert_eq!(html.matches("<circle").count(), 2);
        assert!(html.contains("<title>many &amp; more</title>"));
        assert!(html.contains("a &lt; b"));
        assert!(html.contains(">1024</text>"));
        assert!(!html.contains("NaN"));
        assert_eq!(html.matches("<g").count(), html.matches("</g>").count());
    }
}
