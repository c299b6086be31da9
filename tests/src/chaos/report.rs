//! What a run comes to: how much was done, how soon losses were heard of, and what is wrong.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::checks::{Finding, Rule};
use super::journal::Fact;
use super::ledger::{Ledger, Notice, Start, Story, Trouble, history};
use super::plan::Kind;
use super::task::AnswerCode;

/// Findings of one rule that are printed.
const SHOWN_MAX: usize = 5;
/// Before and after a fault: if the controller was held or away meanwhile, that is what the time
/// shows.
const NEAR_NS: u64 = 2_000_000_000;

/// The whole report, many lines.
pub(crate) fn report(ledger: &Ledger, facts: &[(u64, Fact)], findings: &[Finding]) -> String {
    let mut text = String::new();
    count_work(&mut text, ledger);
    count_faults(&mut text, ledger);
    tell_detections(&mut text, ledger);
    tell_samples(&mut text, ledger);
    tell_memory(&mut text, ledger);
    tell_findings(&mut text, ledger, facts, findings);
    text
}

/// Writing into a string cannot fail.
macro_rules! say {
    ($text:expr, $($arg:tt)*) => { writeln!($text, $($arg)*).unwrap_or_default() };
}

fn count_work(text: &mut String, ledger: &Ledger) {
    let mut codes = BTreeMap::<_, usize>::new();
    let (mut parts, mut starts, mut again, mut resubmitted) = (0, 0, 0, 0);
    for story in ledger.tasks.values() {
        for answer in story.finals() {
            *codes.entry(format!("{:?}", answer.code)).or_default() += 1;
        }
        parts += story.answers.len() - story.finals().count();
        starts += story.starts.len();
        again += story
            .starts
            .iter()
            .filter(|start| start.attempt > 1)
            .count();
        resubmitted += usize::from(story.is_resubmitted());
    }
    let outcomes: usize = codes.values().sum();
    say!(
        text,
        "{} tasks, {outcomes} outcomes: {codes:?}",
        ledger.tasks.len()
    );
    say!(
        text,
        "{parts} parts of multicasts; {starts} starts, {again} of them later attempts; \
         {resubmitted} tasks submitted again by a client that came back; {} clients left",
        ledger.farewells.len()
    );
}

fn count_faults(text: &mut String, ledger: &Ledger) {
    let mut kinds = BTreeMap::<_, usize>::new();
    for trouble in &ledger.troubles {
        *kinds.entry(trouble.kind.name()).or_default() += 1;
    }
    say!(text, "{} faults: {kinds:?}", ledger.troubles.len());
    if !ledger.hitches.is_empty() {
        say!(
            text,
            "the machine stood still {} times; what it cost is not held against anybody",
            ledger.hitches.len()
        );
    }
}

/// How long after a fault something was first seen.
#[derive(Default)]
struct Times {
    /// A client had `WorkerLost`, or a notice, for something that ran there.
    word_ns: Vec<u64>,
    /// Something that ran there was started elsewhere.
    again_ns: Vec<u64>,
    /// Faults that hit a worker with something to lose.
    faults: usize,
}

fn tell_detections(text: &mut String, ledger: &Ledger) {
    let mut running = BTreeMap::<u64, Vec<(&Story, &Start)>>::new();
    for story in ledger.tasks.values() {
        for start in &story.starts {
            running
                .entry(start.worker)
                .or_default()
                .push((story, start));
        }
    }
    let mut times = BTreeMap::<(Kind, bool), Times>::new();
    for trouble in &ledger.troubles {
        if !trouble.kind.loses_worker() {
            continue;
        }
        let from_ns = trouble.from_ns.saturating_sub(NEAR_NS);
        let near = ledger.is_controller_troubled(from_ns, trouble.from_ns + NEAR_NS);
        let all = running.get(&trouble.target).map_or(&[][..], Vec::as_slice);
        detect(
            times.entry((trouble.kind, near)).or_default(),
            ledger,
            trouble,
            all,
        );
    }
    say!(
        text,
        "detection, from the fault to ...            p50      p90      p99      max (ms)"
    );
    for ((kind, near), mut times) in times {
        let note = if near { " (controller held)" } else { "" };
        let name = format!("{}{note}", kind.name());
        say!(text, "  {name}, {} with something running", times.faults);
        tell_times(text, "the first word at a client", &mut times.word_ns);
        tell_times(text, "its work started elsewhere", &mut times.again_ns);
    }
}

fn detect(times: &mut Times, ledger: &Ledger, trouble: &Trouble, all: &[(&Story, &Start)]) {
    let hit_ns = trouble.from_ns;
    let runs = |(story, start): &&(&Story, &Start)| {
        let ended_ns = start.reported_ns.unwrap_or(u64::MAX).min(story.end_ns());
        start.at_ns < hit_ns && ended_ns > hit_ns
    };
    let hit: Vec<_> = all.iter().filter(runs).collect();
    times.faults += usize::from(!hit.is_empty());
    let notices = hit.iter().flat_map(|(story, start)| {
        let is_word = |notice: &&Notice| {
            notice.attempt == start.attempt
                && notice.at_ns > hit_ns
                && !ledger.is_client_troubled(story.spec.client, hit_ns, notice.at_ns)
        };
        story.notices.iter().filter(is_word)
    });
    let words = hit.iter().flat_map(|(story, _)| {
        story.answers.iter().filter(|answer| {
            let of_it = !answer.part || ledger.worker_at(answer) == Some(trouble.target);
            let is_word = answer.code == AnswerCode::WorkerLost && answer.at_ns > hit_ns && of_it;
            // A client that is held or away hears of it when it is back.
            is_word && !ledger.is_client_troubled(story.spec.client, hit_ns, answer.at_ns)
        })
    });
    let words = words.map(|answer| answer.at_ns);
    let words = words.chain(notices.map(|notice| notice.at_ns));
    times
        .word_ns
        .extend(words.min().map(|at_ns| at_ns - hit_ns));
    let again = hit.iter().flat_map(|(story, lost)| {
        story.starts.iter().filter(|start| {
            let follows = (start.boot, start.handle) == (lost.boot, lost.handle);
            follows && start.attempt == lost.attempt + 1 && start.at_ns > hit_ns
        })
    });
    times
        .again_ns
        .extend(again.map(|start| start.at_ns - hit_ns).min());
}

fn tell_times(text: &mut String, what: &str, times_ns: &mut [u64]) {
    times_ns.sort_unstable();
    let Some(&max_ns) = times_ns.last() else {
        return;
    };
    let at = |share: f64| {
        let place = (times_ns.len() as f64 * share).ceil() as usize;
        times_ns[place.clamp(1, times_ns.len()) - 1] as f64 / 1e6
    };
    say!(
        text,
        "    {:>4} x {what:<30} {:8.2} {:8.2} {:8.2} {:8.2}",
        times_ns.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        max_ns as f64 / 1e6
    );
}

fn tell_samples(text: &mut String, ledger: &Ledger) {
    for (sample, when) in ledger
        .samples
        .iter()
        .zip(["before the faults", "at the end"])
    {
        if let Some((bytes, descriptors)) = sample {
            let mib = *bytes as f64 / f64::from(1 << 20);
            say!(
                text,
                "the controller {when}: {mib:.1} MiB, {descriptors} descriptors"
            );
        }
    }
}

fn tell_memory(text: &mut String, ledger: &Ledger) {
    let mib = |bytes: &u64| format!("{:.0}", *bytes as f64 / f64::from(1 << 20));
    let all: Vec<_> = ledger.memory_bytes.iter().map(mib).collect();
    say!(text, "meanwhile (MiB): {}", all.join(" "));
}

fn tell_findings(text: &mut String, ledger: &Ledger, facts: &[(u64, Fact)], findings: &[Finding]) {
    let mut shown = BTreeMap::<Rule, usize>::new();
    for finding in findings {
        let count = shown.entry(finding.rule).or_default();
        *count += 1;
        if *count > SHOWN_MAX {
            continue;
        }
        say!(text, "WRONG {finding}");
        if let Some(key) = finding.task {
            if let Some(story) = ledger.tasks.get(&key) {
                say!(text, "    {:?}", story.spec);
            }
            for line in history(facts, key) {
                say!(text, "    {line}");
            }
        }
    }
    for (rule, count) in shown {
        say!(text, "{count} findings of {rule:?}");
    }
}
