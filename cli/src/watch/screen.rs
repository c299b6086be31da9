//! What `taskyard top` draws.
//!
//! ```text
//!  taskyard tcp://… up 1h                               q quits
//!  ┌ tasks a second ──────┐┌ how long they take ───────────────┐
//!  ┌ waiting ─────────────┐┌ ended ────────────────────────────┐
//!  ┌ workers ──────────────────────────────────────────────────┐
//! ```
//! On a screen that is too low, the workers give way first.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Row, Sparkline, Table};
use taskyard_core::{WorkerInfo, WorkerPhase};
use taskyard_zmq::WorkerDescription;

use super::top::View;
use super::{Sample, busy_slots, percentiles, shown_bytes, shown_rate, shown_span, shown_us};
use crate::print;

/// A screen with fewer lines is a low one.
const LOW: u16 = 20;

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View) {
    // On a low screen the workers are worth more than what has ended.
    let lower = if frame.area().height < LOW { 0 } else { 6 };
    let heights = [1, 6, lower].map(Constraint::Length);
    let [head, upper, lower, workers] =
        Layout::vertical(heights.into_iter().chain([Constraint::Min(0)])).areas(frame.area());
    draw_head(frame, head, view);
    let Some(sample) = &view.sample else {
        let said = match &view.silence {
            Some((_, why)) => why.as_str(),
            None => "asking the controller …",
        };
        let [rest] = Layout::vertical([Constraint::Min(0)]).areas(upper.union(workers));
        let text = Paragraph::new(said).wrap(ratatui::widgets::Wrap { trim: true });
        frame.render_widget(text.block(Block::bordered()), rest);
        return;
    };
    let halves = |area| {
        Layout::horizontal([Constraint::Percentage(45), Constraint::Percentage(55)]).areas(area)
    };
    let [left, right] = halves(upper);
    draw_rates(frame, left, view);
    draw_latencies(frame, right, view, sample);
    let [left, right] = halves(lower);
    draw_waiting(frame, left, sample);
    draw_ended(frame, right, sample);
    draw_workers(frame, workers, view, sample);
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let state = match (&view.silence, &view.sample) {
        (Some((since, _)), sample) => {
            // What was last seen is older than the first question without an answer.
            let since = sample.as_ref().map_or(*since, |sample| sample.taken_at);
            let silent = shown_span(since.elapsed());
            Span::from(format!("the controller does not answer, for {silent}"))
                .red()
                .bold()
        }
        (None, Some(sample)) => {
            let statistics = &sample.statistics;
            let up = shown_span(Duration::from_millis(statistics.uptime_ms));
            Span::from(format!("up {up}, {} clients", statistics.clients))
        }
        (None, None) => Span::from("connecting"),
    };
    let left = Line::from(vec![
        Span::from("taskyard ").bold(),
        Span::from(format!("{} ", view.endpoint)),
        state,
    ]);
    frame.render_widget(left, area);
    let hint = "q quits ";
    if area.width > 70 {
        frame.render_widget(Line::from(hint).right_aligned().dim(), area);
    }
}

fn draw_rates(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let block = Block::bordered().title(" tasks a second ");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let [numbers, curve] =
        Layout::horizontal([Constraint::Length(18), Constraint::Min(0)]).areas(inner);
    let rate = |count: fn(&super::Change) -> u64| match &view.change {
        Some(change) => shown_rate(change.rate(count(change))),
        None => "-".to_owned(),
    };
    let lines = [
        ("submitted", rate(|change| change.accepted)),
        ("completed", rate(|change| change.completed)),
        ("failed", rate(|change| change.failed)),
        ("lost, rerun", rate(|change| change.lost + change.rerun)),
    ];
    let lines = lines.map(|(name, rate)| Line::from(format!("{name:<11}{rate:>6}")));
    frame.render_widget(Paragraph::new(lines.to_vec()), numbers);
    let skipped = view.completed.len().saturating_sub(curve.width.into());
    let data: Vec<u64> = view.completed.iter().skip(skipped).copied().collect();
    frame.render_widget(Sparkline::default().data(data).cyan(), curve);
}

fn draw_latencies(frame: &mut Frame<'_>, area: Rect, view: &View, sample: &Sample) {
    let statistics = &sample.statistics;
    let mut rows = Vec::new();
    if let Some(change) = &view.change {
        rows.push(("start, now", percentiles(&change.waits)));
        rows.push(("end, now", percentiles(&change.latencies)));
    }
    rows.push(("end, ever", percentiles(&statistics.latencies)));
    // A number that is cut off is another number: where there is no room for four there are three.
    let shown: &[usize] = match area.width < 40 {
        true => &[0, 2, 3],
        false => &[0, 1, 2, 3],
    };
    let rows = rows.into_iter().map(|(name, values)| {
        let values = shown
            .iter()
            .map(|index| format!("{:>6}", shown_us(values[*index])));
        Row::new(std::iter::once(name.to_owned()).chain(values))
    });
    let widths = std::iter::once(10)
        .chain(shown.iter().map(|_| 6))
        .map(Constraint::Length);
    let names = ["   p50", "   p90", "   p99", "   max"];
    let heading = std::iter::once("").chain(shown.iter().map(|index| names[*index]));
    let table = Table::new(rows, widths)
        .header(Row::new(heading).dim())
        .block(Block::bordered().title(" from submit to ... "));
    frame.render_widget(table, area);
}

fn draw_waiting(frame: &mut Frame<'_>, area: Rect, sample: &Sample) {
    let stats = &sample.statistics.stats;
    let (waiting, pooled) = sample.any;
    let lines = [
        ("any worker", u64::from(waiting) + u64::from(pooled)),
        ("one worker", stats.depth_directed),
        ("a label", stats.depth_label),
    ];
    let mut lines = lines
        .map(|(name, depth)| Line::from(format!("{name:<14}{depth:>10}")))
        .to_vec();
    lines.push(Line::from(format!(
        "{:<14}{:>10}",
        "open in all", stats.open
    )));
    let title = format!(" waiting, {} held ", shown_bytes(stats.payload_bytes));
    frame.render_widget(
        Paragraph::new(lines).block(Block::bordered().title(title)),
        area,
    );
}

fn draw_ended(frame: &mut Frame<'_>, area: Rect, sample: &Sample) {
    let stats = &sample.statistics.stats;
    let pairs = [
        [("completed", stats.completed), ("failed", stats.failed)],
        [
            ("cancelled", stats.cancelled),
            ("timed out", stats.timed_out),
        ],
        [("refused", stats.refused), ("ran again", stats.rerun)],
        [("lost", stats.lost), ("workers lost", stats.workers_lost)],
    ];
    let lines = pairs.map(|pair| {
        let spans = pair.map(|(name, count)| {
            let text = format!("{name:<12}{count:>8} ");
            let is_loss = count > 0 && ["lost", "workers lost"].contains(&name);
            if is_loss {
                Span::from(text).red()
            } else {
                Span::from(text)
            }
        });
        Line::from(spans.to_vec())
    });
    let block = Block::bordered().title(" ended and lost, since the start ");
    frame.render_widget(Paragraph::new(lines.to_vec()).block(block), area);
}

fn draw_workers(frame: &mut Frame<'_>, area: Rect, view: &View, sample: &Sample) {
    let (slots, busy) = sample.slots();
    let count = sample.workers.len();
    let room = usize::from(area.height.saturating_sub(3)).max(1);
    let first = view.first.min(count.saturating_sub(room));
    let last = count.min(first + room);
    let which = match last - first < count {
        true => format!(", {} to {last} shown (arrows move)", first + 1),
        false => String::new(),
    };
    let title = format!(" {count} workers, {busy} of {slots} slots busy{which} ");
    let rows = sample.workers[first..last].iter().map(worker_row);
    let widths = [
        Constraint::Min(12),
        Constraint::Length(8),
        Constraint::Length(22),
        Constraint::Length(7),
        Constraint::Length(10),
        Constraint::Length(14),
    ];
    let table = Table::new(rows, widths)
        .header(Row::new(["WORKER", "STATE", "BUSY", "WAITING", "HEARD", "LABELS"]).dim())
        .block(Block::bordered().title(title));
    frame.render_widget(table, area);
}

/// How long ago a worker was heard of.
fn heard(age_ms: u64) -> String {
    match age_ms {
        0..1_000 => "now".to_owned(),
        _ => format!("{} ago", shown_span(Duration::from_millis(age_ms))),
    }
}

/// A bar of so many letters at most.
const BAR: u32 = 12;

fn worker_row((info, who): &(WorkerInfo, WorkerDescription)) -> Row<'static> {
    let name = who
        .name
        .as_deref()
        .map_or_else(|| info.worker.0.to_string(), print::shown);
    let slots = u32::from(info.slots).max(1);
    let busy = busy_slots(info);
    let length = slots.min(BAR);
    let full = (busy * length).div_ceil(slots);
    let bar = "█".repeat(full as usize) + &"░".repeat((length - full) as usize);
    let labels: Vec<_> = who.labels.iter().map(|label| print::shown(label)).collect();
    let style = match info.phase {
        WorkerPhase::Up => Style::new(),
        WorkerPhase::Held | WorkerPhase::Draining => Style::new().fg(Color::Yellow),
        WorkerPhase::Away | WorkerPhase::Lost => Style::new().fg(Color::Red),
    };
    Row::new([
        name,
        print::worker_word(info.phase).to_owned(),
        format!("{bar} {busy}/{slots}"),
        format!("{:>7}", info.waiting),
        heard(info.age_ms),
        labels.join(","),
    ])
    .style(style)
}
