//! `taskyard status`: one screen about the controller, once.

use std::io::{self, Write as _};
use std::thread;

use clap::Args;
use serde_json::{Map, Value, json};
use taskyard_core::{Histogram, WorkerPhase};
use taskyard_zmq::Role;

use super::{Change, Sample, percentiles, shown_bytes, shown_rate, shown_span, shown_us};
use crate::failure::Failure;
use crate::queue::AskArgs;
use crate::words::Span;

/// How to look.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    ask: AskArgs,
    /// How long to look on for the rates.
    #[arg(long, value_name = "TIME", default_value = "1s")]
    over: Span,
}

/// Looks twice, and prints what there is and what happened between.
///
/// # Errors
/// The controller cannot be asked.
pub(crate) fn run(args: &StatusArgs) -> Result<(), Failure> {
    let patience = args.ask.link.patience();
    let (mut client, endpoint) = args.ask.link.client_at(&[Role::Operator])?;
    let earlier = Sample::take(&mut client, patience)?;
    thread::sleep(args.over.0);
    let sample = Sample::take(&mut client, patience)?;
    let change = Change::between(&earlier, &sample);
    let text = match args.ask.json {
        true => format!("{}\n", as_json(&endpoint, &sample, &change)),
        false => as_text(&endpoint, &sample, &change),
    };
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(Failure::Output)
}

/// Each phase with its word.
const PHASES: [(WorkerPhase, &str); 5] = [
    (WorkerPhase::Up, "up"),
    (WorkerPhase::Held, "held"),
    (WorkerPhase::Draining, "draining"),
    (WorkerPhase::Away, "away"),
    (WorkerPhase::Lost, "lost"),
];

fn as_text(endpoint: &str, sample: &Sample, change: &Change) -> String {
    let statistics = &sample.statistics;
    let stats = &statistics.stats;
    let up = shown_span(std::time::Duration::from_millis(statistics.uptime_ms));
    let phases = PHASES.map(|(phase, word)| (sample.count_of(phase), word));
    let phases = phases
        .iter()
        .filter(|(count, word)| *count > 0 || *word == "up");
    let phases: Vec<_> = phases
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let (slots, busy) = sample.slots();
    let (waiting, pooled) = sample.any;
    let rate = |count| shown_rate(change.rate(count));
    let over = change.over.as_secs_f64();
    let lines = [
        format!(
            "controller  {endpoint}, up {up}, {} clients",
            statistics.clients
        ),
        format!(
            "workers     {}; {busy} of {slots} slots busy",
            phases.join(", ")
        ),
        format!(
            "tasks       {} open; payloads {}, results {}",
            stats.open,
            shown_bytes(stats.payload_bytes),
            shown_bytes(stats.result_bytes)
        ),
        format!(
            "waiting     any {}, one worker {}, a label {}",
            u64::from(waiting) + u64::from(pooled),
            stats.depth_directed,
            stats.depth_label
        ),
        format!(
            "rates       {} submitted/s, {} completed/s, {} failed/s (over {over:.1} s)",
            rate(change.accepted),
            rate(change.completed),
            rate(change.failed)
        ),
        latency_line("to start", &change.waits, &statistics.waits),
        latency_line("to outcome", &change.latencies, &statistics.latencies),
        format!(
            "losses      {} workers lost; {} tasks lost with them, {} ran again",
            stats.workers_lost, stats.lost, stats.rerun
        ),
        format!(
            "ended       {} completed, {} failed, {} cancelled, {} timed out, {} refused",
            stats.completed, stats.failed, stats.cancelled, stats.timed_out, stats.refused
        ),
    ];
    lines.join("\n") + "\n"
}

/// Of the last moment if anything ended in it, else since the start.
fn latency_line(name: &str, recent: &Histogram, all: &Histogram) -> String {
    let (histogram, when) = match recent.count() {
        0 => (all, "since the start"),
        _ => (recent, "now"),
    };
    let [p50, p90, p99, max] = percentiles(histogram).map(shown_us);
    format!("{name:<11} p50 {p50}, p90 {p90}, p99 {p99}, max {max} ({when})")
}

fn as_json(endpoint: &str, sample: &Sample, change: &Change) -> Value {
    let statistics = &sample.statistics;
    let counters = statistics
        .counters()
        .map(|(name, value)| (name.to_owned(), value.into()));
    let phases = PHASES.map(|(phase, word)| (word.to_owned(), sample.count_of(phase).into()));
    let (slots, busy) = sample.slots();
    let (waiting, pooled) = sample.any;
    json!({
        "endpoint": endpoint,
        "uptime_ms": statistics.uptime_ms,
        "clients": statistics.clients,
        "workers": phases.into_iter().collect::<Map<_, _>>(),
        "slots": slots,
        "slots_busy": busy,
        "waiting": {
            "any": u64::from(waiting) + u64::from(pooled),
            "worker": statistics.stats.depth_directed,
            "label": statistics.stats.depth_label,
        },
        "per_s": {
            "accepted": change.rate(change.accepted),
            "completed": change.rate(change.completed),
            "failed": change.rate(change.failed),
            "lost": change.rate(change.lost),
            "rerun": change.rate(change.rerun),
        },
        "over_ms": u64::try_from(change.over.as_millis()).unwrap_or(u64::MAX),
        "to_start_us": percentiles_json(&statistics.waits),
        "to_start_now_us": percentiles_json(&change.waits),
        "to_outcome_us": percentiles_json(&statistics.latencies),
        "to_outcome_now_us": percentiles_json(&change.latencies),
        "counters": counters.collect::<Map<_, _>>(),
    })
}

fn percentiles_json(histogram: &Histogram) -> Value {
    let [p50, p90, p99, max] = percentiles(histogram);
    json!({ "p50": p50, "p90": p90, "p99": p99, "max": max, "count": histogram.count() })
}
