//! What is printed of a task's end, and the exit code that it becomes.

use std::io::{self, Write as _};

use serde_json::json;
use taskyard_core::{Deadline, Outcome};
use taskyard_zmq::{TriedWorker, ZmqPayload};

use super::live::{Live, Piece};
use crate::exit;
use crate::payload::{self, ResultText, Said};
use crate::print;
use crate::print::tell;

/// Prints outcomes.
#[derive(Debug)]
pub(super) struct Teller {
    live: Live,
    json: bool,
}

/// What became of a task, or of one worker's part of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct End<'a> {
    pub(super) outcome: Outcome,
    /// Who ran it.
    pub(super) worker: Option<&'a str>,
    pub(super) attempts: u8,
    /// With whom it was lost, or has failed before.
    pub(super) tried: &'a [TriedWorker],
    pub(super) payload: Option<&'a ZmqPayload>,
}

impl Teller {
    /// For one worker's result or for those of all.
    pub(super) fn new(all: bool, json: bool) -> Self {
        Self {
            live: Live::new(all),
            json,
        }
    }

    /// Passes on what a worker has printed.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn output(&mut self, worker: &str, piece: Piece<'_>) -> io::Result<()> {
        match self.json {
            true => Ok(()),
            false => self.live.pass(worker, piece),
        }
    }

    /// Prints an outcome; the exit code is what it comes to.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn end(&mut self, end: End<'_>) -> io::Result<u8> {
        if let Outcome::Summary { parts, completed } = end.outcome {
            return self.summary(parts, completed);
        }
        let said = end.payload.map_or(Said::Other, payload::read_result);
        let (code, line) = conclusion(end.outcome, &said);
        let line = line.map(|line| line + &with_whom(end.outcome, end.tried));
        let (stdout, stderr) = match (&said, end.payload) {
            (Said::Ran { stdout, stderr, .. }, _) => (*stdout, *stderr),
            // Not one of ours: it is what its worker gave back.
            (Said::Other, Some(payload)) => (payload.bytes().unwrap_or_default(), &b""[..]),
            _ => (&b""[..], &b""[..]),
        };
        if self.json {
            let object = json!({
                "worker": end.worker,
                "outcome": word(end.outcome),
                "code": code,
                "attempts": end.attempts,
                "stdout": String::from_utf8_lossy(stdout),
                "stderr": String::from_utf8_lossy(stderr),
                "error": line,
            });
            writeln!(io::stdout(), "{object}")?;
            return Ok(code);
        }
        self.live.rest(end.worker, end.attempts, [stdout, stderr])?;
        if let Some(line) = line {
            match end.worker {
                Some(worker) => tell(format_args!("worker {}: {line}", print::shown(worker))),
                None => tell(line),
            }
        }
        if let Said::Ran { how, .. } = &said {
            tell_truncated(how);
        }
        Ok(code)
    }

    fn summary(&self, parts: u32, completed: u32) -> io::Result<u8> {
        let code = match (parts, completed) {
            (0, _) => exit::REFUSED,
            (parts, completed) if completed < parts => exit::SOME_FAILED,
            _ => 0,
        };
        if self.json {
            let object = json!({
                "outcome": "summary", "workers": parts, "completed": completed, "code": code,
            });
            writeln!(io::stdout(), "{object}")?;
        } else if parts == 0 {
            tell("no worker is attached: nothing was run");
        } else if code != 0 {
            tell(format_args!(
                "{} of {parts} workers have not completed it",
                parts - completed
            ));
        }
        Ok(code)
    }
}

/// The workers that a lost task was lost with.
fn with_whom(outcome: Outcome, tried: &[TriedWorker]) -> String {
    if outcome != Outcome::WorkerLost || tried.is_empty() {
        return String::new();
    }
    let names = tried.iter().map(|tried| match &tried.name {
        Some(name) => print::shown(name),
        None => tried.worker.0.to_string(),
    });
    format!(" (tried: {})", names.collect::<Vec<_>>().join(", "))
}

fn tell_truncated(how: &ResultText) {
    for (is_truncated, stream) in [
        (how.stdout_truncated, "standard output"),
        (how.stderr_truncated, "standard error"),
    ] {
        if is_truncated {
            tell(format_args!(
                "its {stream} was longer than 8 MiB: the rest is lost"
            ));
        }
    }
}

/// What an outcome is called in JSON.
const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "completed",
        Outcome::Failed => "failed",
        Outcome::WorkerLost => "worker_lost",
        Outcome::Cancelled { .. } => "cancelled",
        Outcome::TimedOut(_) => "timed_out",
        Outcome::Refused(_) => "refused",
        Outcome::Summary { .. } => "summary",
        _ => "other",
    }
}

/// The exit code that an outcome is, and what there is to say about it.
fn conclusion(outcome: Outcome, said: &Said<'_>) -> (u8, Option<String>) {
    let told = |code, line: &str| (code, Some(line.to_owned()));
    match (outcome, said) {
        (Outcome::Completed | Outcome::Failed, Said::Ran { how, .. }) => of_command(how),
        (Outcome::Completed, _) => (0, None),
        (Outcome::Failed, Said::Python) => told(
            exit::FAILURE,
            "it failed in Python, or the worker does not run commands",
        ),
        (Outcome::Failed, Said::Other) => told(exit::FAILURE, "it failed"),
        (Outcome::WorkerLost, _) => told(
            exit::LOST,
            "the worker was lost while it had the task, which may have run in part",
        ),
        (Outcome::Cancelled { started: true }, _) => {
            told(exit::CANCELLED, "cancelled while it ran")
        }
        (Outcome::Cancelled { started: false }, _) => {
            told(exit::CANCELLED, "cancelled before it ran")
        }
        (Outcome::TimedOut(Deadline::Start), _) => told(
            exit::TIMED_OUT,
            "it had not started in time (--start-within)",
        ),
        (Outcome::TimedOut(Deadline::Finish), _) => told(
            exit::TIMED_OUT,
            "it had not ended in time (--finish-within)",
        ),
        (Outcome::Refused(refusal), _) => told(exit::REFUSED, print::refusal(refusal)),
        (Outcome::Summary { .. }, _) => (0, None),
        _ => told(
            exit::NOT_SUBMITTED,
            "the controller gave an outcome that this version does not know",
        ),
    }
}

/// A shell's convention: 128 and the signal's number.
fn of_command(how: &ResultText) -> (u8, Option<String>) {
    match (how.code, how.signal) {
        (Some(code), _) => (u8::try_from(code).unwrap_or(exit::FAILURE), None),
        (None, Some(signal)) => (
            u8::try_from(128 + signal).unwrap_or(exit::FAILURE),
            Some(format!("the command was ended by signal {signal}")),
        ),
        (None, None) => (exit::FAILURE, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_its_exit_code() {
        let ran = |code, signal| Said::Ran {
            how: ResultText {
                code,
                signal,
                ..ResultText::default()
            },
            stdout: b"",
            stderr: b"",
        };
        let code = |outcome, said| conclusion(outcome, &said).0;
        assert_eq!(code(Outcome::Completed, ran(Some(0), None)), 0);
        assert_eq!(code(Outcome::Failed, ran(Some(7), None)), 7);
        assert_eq!(code(Outcome::Failed, ran(None, Some(9))), 137);
        assert_eq!(code(Outcome::WorkerLost, Said::Other), exit::LOST);
        let timed_out = Outcome::TimedOut(Deadline::Start);
        assert_eq!(code(timed_out, Said::Other), exit::TIMED_OUT);
        assert_eq!(code(Outcome::Failed, Said::Python), exit::FAILURE);
    }
}
