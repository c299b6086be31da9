//! Answers of the controller as aligned columns, or as a line of JSON each. All that is printed are
//! numbers and words of ours, but for the workers' names and labels: those are quoted, and what a
//! terminal might obey is escaped.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::iter;

use taskyard_core::{
    ClientId, Explanation, Instant, Phase, Priority, Refusal, Target, TaskInfo, WorkerId,
    WorkerInfo, WorkerPhase,
};
use taskyard_zmq::WorkerDescription;

/// A line for a person, on standard error. Nobody may read that any more, which changes nothing: so
/// `eprintln!` will not do, which panics.
pub(crate) fn tell(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "taskyard: {line}");
}

/// Writes answers.
pub(crate) struct Printer<W> {
    out: W,
    json: bool,
    has_heading: bool,
}

impl<W: Write> Printer<W> {
    pub(crate) const fn new(out: W, json: bool) -> Self {
        Self {
            out,
            json,
            has_heading: false,
        }
    }

    /// All is on its way.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    pub(crate) fn tasks(&mut self, rows: &[TaskInfo]) -> io::Result<()> {
        self.heading(format_args!(
            "{:<20} {:<20} {:<10} {:<8} {:<8} {:>7} {:>8} {:>10}",
            "CLIENT", "TASK", "TOPIC", "STATE", "WORKER", "ATTEMPT", "PRIORITY", "AGE_MS"
        ))?;
        rows.iter().try_for_each(|row| self.task(row))
    }

    fn task(&mut self, row: &TaskInfo) -> io::Result<()> {
        let client = row.client.map(ClientId::to_bits);
        let worker = row.worker.map(|worker| worker.0);
        let (topic, state) = (topic_of(row), phase_word(row.phase));
        let (priority, attempt, age_ms) = (row.priority.level(), row.attempt.0, row.age_ms);
        let task = row.task.0;
        if self.json {
            return writeln!(
                self.out,
                "{{\"client\":{},\"task\":{task},\"topic\":\"{topic}\",\"state\":\"{state}\",\
                 \"worker\":{},\"attempt\":{attempt},\"priority\":{priority},\"age_ms\":{age_ms}}}",
                or(client, "null"),
                or(worker, "null"),
            );
        }
        writeln!(
            self.out,
            "{:<20} {task:<20} {topic:<10} {state:<8} {:<8} {attempt:>7} {priority:>8} \
             {age_ms:>10}",
            or(client, "-"),
            or(worker, "-"),
        )
    }

    pub(crate) fn workers(
        &mut self,
        rows: &[WorkerInfo],
        described: &[WorkerDescription],
    ) -> io::Result<()> {
        self.heading(format_args!(
            "{:<8} {:<10} {:<8} {:>5} {:>8} {:>6} {:>6} {:>8} {:>10}  {:<16} {}",
            "WORKER",
            "EPOCH",
            "STATE",
            "SLOTS",
            "PREFETCH",
            "FREE",
            "TAKEN",
            "WAITING",
            "AGE_MS",
            "NAME",
            "LABELS"
        ))?;
        let unknown = WorkerDescription::default();
        let described = described.iter().chain(iter::repeat(&unknown));
        let mut rows = rows.iter().zip(described);
        rows.try_for_each(|(row, who)| self.worker(row, who))
    }

    fn worker(&mut self, row: &WorkerInfo, who: &WorkerDescription) -> io::Result<()> {
        let WorkerInfo {
            worker: WorkerId(worker),
            epoch,
            phase,
            slots,
            prefetch,
            free,
            taken,
            waiting,
            age_ms,
        } = row;
        let (epoch, state) = (epoch.0, worker_word(*phase));
        if self.json {
            return writeln!(
                self.out,
                "{{\"worker\":{worker},\"epoch\":{epoch},\"state\":\"{state}\",\"slots\":{slots},\
                 \"prefetch\":{prefetch},\"free\":{free},\"taken\":{taken},\
                 \"waiting\":{waiting},\"age_ms\":{age_ms},\"name\":{},\"labels\":[{}]}}",
                who.name.as_deref().map_or("null".into(), quoted),
                joined(&who.labels, quoted)
            );
        }
        writeln!(
            self.out,
            "{worker:<8} {epoch:<10} {state:<8} {slots:>5} {prefetch:>8} {free:>6} {taken:>6} \
             {waiting:>8} {age_ms:>10}  {:<16} {}",
            who.name.as_deref().map_or("-".into(), shown),
            joined(&who.labels, shown)
        )
    }

    pub(crate) fn depth(
        &mut self,
        waiting: &[u32; Priority::COUNT],
        pooled: u32,
    ) -> io::Result<()> {
        let total = waiting.iter().map(|count| u64::from(*count)).sum::<u64>() + u64::from(pooled);
        if self.json {
            return writeln!(
                self.out,
                "{{\"total\":{total},\"pooled\":{pooled},\"waiting\":{waiting:?}}}"
            );
        }
        writeln!(self.out, "{:<9} {:>10}", "PRIORITY", "TASKS")?;
        // The most urgent first, as they will leave; only where there are some.
        for (level, count) in waiting.iter().enumerate().rev() {
            if *count > 0 {
                writeln!(self.out, "{level:<9} {count:>10}")?;
            }
        }
        writeln!(self.out, "{:<9} {pooled:>10}", "in pool")?;
        writeln!(self.out, "{:<9} {total:>10}", "total")
    }

    pub(crate) fn explanation(&mut self, why: Explanation, at: Instant) -> io::Result<()> {
        let (word, said) = words_of(why);
        let (worker, number) = details_of(why, at);
        self.reason(word, worker, number, said)
    }

    fn reason(
        &mut self,
        word: &str,
        worker: Option<WorkerId>,
        number: Option<(&str, u64)>,
        said: &str,
    ) -> io::Result<()> {
        let worker = worker.map(|worker| worker.0);
        if self.json {
            write!(
                self.out,
                "{{\"why\":\"{word}\",\"worker\":{}",
                or(worker, "null")
            )?;
            if let Some((name, value)) = number {
                write!(self.out, ",\"{name}\":{value}")?;
            }
            return writeln!(self.out, "}}");
        }
        write!(self.out, "{word}: {said}")?;
        if let Some(worker) = worker {
            write!(self.out, ", worker {worker}")?;
        }
        if let Some((name, value)) = number {
            write!(self.out, ", {name} {value}")?;
        }
        writeln!(self.out)
    }

    pub(crate) fn purged(&mut self, touched: u32) -> io::Result<()> {
        match self.json {
            true => writeln!(self.out, "{{\"purged\":{touched}}}"),
            false => writeln!(self.out, "purged {touched}"),
        }
    }

    pub(crate) fn done(&mut self, what: &str) -> io::Result<()> {
        match self.json {
            true => writeln!(self.out, "{{\"done\":\"{what}\"}}"),
            false => writeln!(self.out, "{what}"),
        }
    }

    /// Once, and only for people.
    fn heading(&mut self, heading: fmt::Arguments<'_>) -> io::Result<()> {
        if self.json || std::mem::replace(&mut self.has_heading, true) {
            return Ok(());
        }
        writeln!(self.out, "{heading}")
    }
}

fn or<T: ToString>(value: Option<T>, nothing: &str) -> String {
    value.map_or_else(|| nothing.to_owned(), |value| value.to_string())
}

/// What an explanation is called in JSON, and for people.
const fn words_of(why: Explanation) -> (&'static str, &'static str) {
    match why {
        Explanation::NoWorker => ("no_worker", "no worker is attached"),
        Explanation::NoWorkerWithLabel(_) => ("no_worker_with_label", "no worker has its label"),
        Explanation::WorkersBusy => ("workers_busy", "all workers are busy"),
        Explanation::WaitsForAnother => (
            "waits_for_another",
            "it waits for a worker that has not tried it",
        ),
        Explanation::WaitsForCredit(_) => ("waits_for_credit", "its worker has as much as it may"),
        Explanation::WorkerHeld(_) => ("worker_held", "its worker is held"),
        Explanation::WorkerDraining(_) => ("worker_draining", "its worker is leaving"),
        Explanation::WaitsForReturn { .. } => {
            ("waits_for_return", "its worker is gone and may come back")
        }
        Explanation::AwaitsResult { .. } => (
            "awaits_result",
            "a worker may bring its result from before a restart",
        ),
        Explanation::Ready => ("ready", "it goes out now"),
        Explanation::InPool => ("in_pool", "it goes to whoever is free first"),
        Explanation::InMailbox { .. } => ("in_mailbox", "it was handed to its worker"),
        Explanation::Withdrawing => ("withdrawing", "it is being taken back"),
        Explanation::Claimed => ("claimed", "a worker is taking it"),
        Explanation::Prefetched(_) => ("prefetched", "its worker has it and has no free slot"),
        Explanation::Running { .. } => ("running", "it runs"),
        Explanation::Stopping(_) => ("stopping", "its worker was asked to stop it"),
        Explanation::PartsOpen { .. } => ("parts_open", "not all workers have answered"),
        Explanation::OutcomeWaits { .. } => (
            "outcome_waits",
            "it is over, and its client has not acknowledged that",
        ),
        _ => ("other", "for a reason that this version does not know"),
    }
}

/// Why a task is not running, in words; `None` if it is.
pub(crate) const fn why_it_waits(why: Explanation) -> Option<&'static str> {
    match why {
        Explanation::Running { .. } | Explanation::OutcomeWaits { .. } => None,
        why => Some(words_of(why).1),
    }
}

/// Why a submit was refused, and what to do.
pub(crate) const fn refusal(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::TasksFull => "refused: the controller holds as many tasks as it may; try later",
        Refusal::QuotaFull => "refused: this client holds as many tasks as it may",
        Refusal::NoSuchWorker => "refused: no worker with that number is attached",
        Refusal::NoSuchName => "refused: no worker with that name is attached",
        Refusal::BytesFull => "refused: the controller holds as many bytes as it may; try later",
        Refusal::LabelsFull => "refused: there are as many labels as there may be",
        Refusal::MulticastTooWide => "refused: the controller has no room for a part per worker",
        Refusal::NoSession => "refused: the session with the controller is over; try again",
        Refusal::Malformed => "refused: the controller cannot read it; is it of another version?",
        Refusal::PayloadTooLarge => "refused: the command is longer than the controller takes",
        _ => "refused, for a reason that this version does not know",
    }
}

/// Who has to do with it, and a number that belongs to it.
type Details = (Option<WorkerId>, Option<(&'static str, u64)>);

fn details_of(why: Explanation, at: Instant) -> Details {
    let left_ms = |until: Instant| Some(("ms_left", until.since_ns(at) / 1_000_000));
    match why {
        Explanation::WaitsForCredit(worker)
        | Explanation::WorkerHeld(worker)
        | Explanation::WorkerDraining(worker)
        | Explanation::Prefetched(worker)
        | Explanation::Stopping(worker) => (Some(worker), None),
        Explanation::WaitsForReturn { worker, until } => (Some(worker), left_ms(until)),
        Explanation::AwaitsResult { until } => (None, left_ms(until)),
        Explanation::InMailbox { worker, ahead } => (Some(worker), Some(("ahead", ahead.into()))),
        Explanation::Running { worker, for_ms } => (Some(worker), Some(("for_ms", for_ms))),
        Explanation::PartsOpen { unmade } => (None, Some(("unmade", unmade.into()))),
        Explanation::OutcomeWaits { sent } => (None, Some(("sent", sent.into()))),
        _ => (None, None),
    }
}

/// As `--topic` takes it, but for the parts of a multicast, which say whom they are for.
fn topic_of(row: &TaskInfo) -> String {
    match row.target {
        Target::Any => "any".to_owned(),
        Target::All => "all".to_owned(),
        Target::Worker(worker) if row.part => format!("all/{}", worker.0),
        Target::Worker(worker) => worker.0.to_string(),
        Target::Label(label) => format!("label/{:x}", label.0),
        Target::Named(_) => "named".to_owned(),
    }
}

const fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Waiting => "waiting",
        Phase::Queued => "queued",
        Phase::Running => "running",
        Phase::Stopping => "stopping",
        Phase::Spread => "spread",
        Phase::Done => "done",
    }
}

pub(crate) const fn worker_word(phase: WorkerPhase) -> &'static str {
    match phase {
        WorkerPhase::Up => "up",
        WorkerPhase::Held => "held",
        WorkerPhase::Draining => "draining",
        WorkerPhase::Away => "away",
        WorkerPhase::Lost => "lost",
    }
}

/// A word of a worker's, for a terminal.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for letter in text.chars() {
        match letter {
            letter if letter.is_control() => shown.extend(letter.escape_default()),
            letter => shown.push(letter),
        }
    }
    shown
}

/// The same as a string of JSON.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() => {
                // A string takes all that it is given. Control characters have at most 16 bits.
                let _ = write!(quoted, "\\u{:04x}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

fn joined(texts: &[Box<str>], each: impl Fn(&str) -> String) -> String {
    let texts: Vec<_> = texts.iter().map(|text| each(text)).collect();
    texts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_neither_move_the_cursor_nor_break_out_of_its_quotes() {
        let name = "gpu\u{1b}[2J\"\\é\n";
        assert_eq!(shown(name), "gpu\\u{1b}[2J\"\\é\\n");
        assert_eq!(quoted(name), r#""gpu\u001b[2J\"\\é\u000a""#);
        let labels = [Box::from("a"), Box::from("b\"")];
        assert_eq!(joined(&labels, quoted), r#""a","b\"""#);
    }
}
