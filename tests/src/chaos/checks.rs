//! What must hold of a run, whatever was done to it.

use std::collections::BTreeSet;
use std::fmt;

use super::ledger::{Answer, Ledger, Notice, Start, Story, TaskKey};
use super::plan::Kind;
use super::task::{Aim, AnswerCode, Quality};

/// What the controller promises. What it does not keep yet is false here, and only here: what it
/// would forbid is then allowed.
struct Promises;

impl Promises {
    /// A worker's result is counted by the controller's next life: a task that ran over the restart
    /// on a worker that lives is not lost.
    const RESULTS_OUTLIVE_THE_CONTROLLER: bool = true;
    /// A controller that has stood still takes nobody for dead because of it.
    const STALLS_COST_NO_WORKER: bool = true;
    /// A client that is there is told of each later attempt.
    const RERUNS_ARE_TOLD: bool = true;
}

/// How long after a fault has ended it may still be the reason for a loss: connections are made
/// again, and messages are on their way.
const AFTERMATH_NS: u64 = 4_000_000_000;
/// How long after the death of the controller a client may not know that its connection is gone:
/// what it takes meanwhile counts as sent.
const UNNOTICED_NS: u64 = 250_000_000;
/// Memory that allocators may keep, beside one part in twenty.
const MEMORY_SLACK_BYTES: u64 = 8 << 20;
/// Descriptors of connections that are just being made or closed, beside one part in twenty.
const DESCRIPTOR_SLACK: u64 = 6;
/// A run that did less than this per client shows nothing.
const COMPLETED_MIN: usize = 10;

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// Each task has exactly one outcome, and one that it may have.
    Outcomes,
    /// A multicast has one outcome for each worker that it was for.
    Parts,
    /// No task is started twice unless it may be.
    Starts,
    /// A result is that of an attempt that was started, byte for byte.
    Results,
    /// What never started was never started.
    Unstarted,
    /// A later attempt is told of, once.
    Notices,
    /// A worker is lost only if something happened to it.
    Losses,
    /// The controller uses as much memory as before.
    Memory,
    /// The controller has as many descriptors as before.
    Descriptors,
    /// Everybody came through: nobody died without being told to, or was not understood.
    Lives,
    /// After the faults everything is as it should be.
    Settled,
    /// No process is left.
    Processes,
    /// Something was done at all.
    Work,
}

/// A rule that is broken, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) rule: Rule,
    pub(crate) task: Option<TaskKey>,
    text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.text)?;
        match self.task {
            Some((client, task)) => write!(f, " (client {client}, task {task})"),
            None => Ok(()),
        }
    }
}

struct Checker<'a> {
    ledger: &'a Ledger,
    findings: Vec<Finding>,
}

/// All that is wrong.
pub(crate) fn check(ledger: &Ledger) -> Vec<Finding> {
    let mut checker = Checker {
        ledger,
        findings: Vec::new(),
    };
    for (&key, story) in &ledger.tasks {
        checker.outcomes(key, story);
        checker.parts(key, story);
        checker.starts(key, story);
        checker.reruns(key, story);
        checker.notices(key, story);
        for answer in &story.answers {
            checker.result(key, story, answer);
            checker.unstarted(key, story, answer);
            checker.loss(key, story, answer);
        }
    }
    checker.leaks();
    checker.lives();
    checker.work();
    checker.findings
}

impl Checker<'_> {
    fn find(&mut self, rule: Rule, task: impl Into<Option<TaskKey>>, text: impl Into<String>) {
        self.findings.push(Finding {
            rule,
            task: task.into(),
            text: text.into(),
        });
    }

    fn outcomes(&mut self, key: TaskKey, story: &Story) {
        if story.submits.is_empty() {
            return self.find(Rule::Outcomes, key, "nobody has submitted it");
        }
        let count = story.finals().count();
        // Whoever says goodbye wants no more outcomes.
        let enough = count == 1 || (count == 0 && self.ledger.farewells.contains(&key.0));
        if !enough {
            self.find(Rule::Outcomes, key, format!("{count} outcomes"));
        }
        let spec = &story.spec;
        let deadline = spec.start_within_ms > 0 || spec.finish_within_ms > 0;
        for answer in &story.answers {
            let may_be = match answer.code {
                AnswerCode::Completed => !spec.fails,
                AnswerCode::Failed => spec.fails,
                AnswerCode::Unstarted | AnswerCode::Cancelled => spec.is_cancelled,
                AnswerCode::TimedOut => deadline,
                AnswerCode::Summary => spec.aim == Aim::All && !answer.part,
                AnswerCode::WorkerLost | AnswerCode::Refused => true,
                AnswerCode::Misunderstood => false,
            };
            if !may_be {
                self.find(
                    Rule::Outcomes,
                    key,
                    format!("it cannot be {:?}", answer.code),
                );
            }
        }
    }

    fn parts(&mut self, key: TaskKey, story: &Story) {
        let parts: Vec<_> = story.answers.iter().filter(|answer| answer.part).collect();
        if story.spec.aim != Aim::All {
            if !parts.is_empty() {
                self.find(Rule::Parts, key, "parts of a task for one worker");
            }
            return;
        }
        let workers: BTreeSet<_> = parts.iter().map(|part| (part.place, part.epoch)).collect();
        // A client that comes back gets those again that it has not acknowledged.
        if workers.len() != parts.len() && !story.is_resubmitted() {
            self.find(Rule::Parts, key, "two parts of one worker");
        }
        let is_whole = !story.is_resubmitted() && !self.ledger.spans_restart(story);
        for summary in story.finals() {
            if summary.code != AnswerCode::Summary || !is_whole {
                continue;
            }
            let completed = parts
                .iter()
                .filter(|part| part.code == AnswerCode::Completed);
            let told = (summary.place, summary.epoch);
            let seen = (parts.len() as u64, completed.count() as u64);
            if told != seen {
                let text =
                    format!("parts and those completed are {seen:?}, its summary says {told:?}");
                self.find(Rule::Parts, key, text);
            }
        }
    }

    fn starts(&mut self, key: TaskKey, story: &Story) {
        let (spec, starts) = (&story.spec, &story.starts);
        if spec.aim == Aim::All {
            let workers: BTreeSet<_> = starts.iter().map(|start| start.worker).collect();
            if workers.len() != starts.len() {
                self.find(Rule::Starts, key, "a worker has started its part twice");
            }
            return;
        }
        if let Aim::Named(worker) = spec.aim
            && starts.iter().any(|start| start.worker != worker)
        {
            self.find(Rule::Starts, key, format!("it is for worker {worker} only"));
        }
        if spec.attempts == 1 && starts.len() > 1 {
            let text = format!("{} starts, and it may have one", starts.len());
            self.find(Rule::Starts, key, text);
        }
        if starts
            .iter()
            .any(|start| start.attempt > spec.attempts.into())
        {
            let text = format!("an attempt after the last, which is {}", spec.attempts);
            self.find(Rule::Starts, key, text);
        }
        let attempt = |start: &Start| (start.boot, start.handle, start.attempt);
        let attempts: BTreeSet<_> = starts.iter().map(attempt).collect();
        if attempts.len() != starts.len() {
            self.find(Rule::Starts, key, "one attempt has started twice");
        }
        let boots: BTreeSet<_> = starts.iter().map(|start| start.boot).collect();
        let handles: BTreeSet<_> = starts
            .iter()
            .map(|start| (start.boot, start.handle))
            .collect();
        // A client that dies with an outcome that it has acknowledged and not written down asks
        // for it once more.
        let allowed = boots.len() + story.submits.len().saturating_sub(1);
        if handles.len() > allowed {
            let text = format!("taken for {} tasks in {} boots", handles.len(), boots.len());
            self.find(Rule::Starts, key, text);
        }
    }

    fn result(&mut self, key: TaskKey, story: &Story, answer: &Answer) {
        if !matches!(answer.code, AnswerCode::Completed | AnswerCode::Failed) {
            return;
        }
        if answer.right != Quality::Right {
            return self.find(
                Rule::Results,
                key,
                format!("the result is {:?}", answer.right),
            );
        }
        let is_source = |start: &&Start| {
            [start.worker, start.boot, start.handle, start.attempt] == answer.source
        };
        let Some(start) = story.starts.iter().find(is_source) else {
            return self.find(
                Rule::Results,
                key,
                "nobody has started the attempt of its result",
            );
        };
        if start.at_ns > answer.at_ns {
            self.find(Rule::Results, key, "the result came before the start");
        }
        // A controller that was started anew counts from there.
        if start.attempt > answer.attempts && !self.ledger.spans_restart(story) {
            self.find(
                Rule::Results,
                key,
                "the result is of a later attempt than the outcome says",
            );
        }
    }

    fn unstarted(&mut self, key: TaskKey, story: &Story, answer: &Answer) {
        let is_claimed = matches!(answer.code, AnswerCode::Unstarted | AnswerCode::Refused);
        // Each life of the controller, and each submit, speaks for itself.
        let may_differ = story.is_resubmitted() || self.ledger.spans_restart(story);
        if is_claimed && !may_differ && !story.starts.is_empty() {
            let text = format!("it has started, and is said to be {:?}", answer.code);
            self.find(Rule::Unstarted, key, text);
        }
    }

    fn loss(&mut self, key: TaskKey, story: &Story, answer: &Answer) {
        if answer.code != AnswerCode::WorkerLost {
            return;
        }
        let once = story.spec.attempts == 1;
        // Whether its record is the one that may have run it, nobody knows any more (rule R11).
        let is_doubtful = story.is_resubmitted() || self.was_sent_before_restart(story);
        if once && is_doubtful && !self.ran_on_over_restart(story) {
            return;
        }
        let worker = self.ledger.worker_of(story, answer);
        let start = story.start_before(answer).map(|start| start.at_ns);
        let from_ns = match story.spec.aim {
            Aim::Any => start.unwrap_or(story.begin_ns()),
            _ => story.begin_ns(),
        };
        if !self.is_excused(worker, from_ns, answer.at_ns) {
            let text = match worker {
                Some(worker) => format!("nothing has happened to worker {worker}, and it is lost"),
                None => "nothing has happened to anybody, and a worker is lost".into(),
            };
            self.find(Rule::Losses, key, text);
        }
    }

    /// A later attempt needs a reason as much as a loss does: something that happened to the worker
    /// of the one before it.
    fn reruns(&mut self, key: TaskKey, story: &Story) {
        for start in &story.starts {
            let is_earlier = |earlier: &&Start| {
                (earlier.boot, earlier.handle) == (start.boot, start.handle)
                    && earlier.attempt + 1 == start.attempt
            };
            let Some(earlier) = story.starts.iter().find(is_earlier) else {
                // It died before it had written it down.
                continue;
            };
            if !self.is_excused(Some(earlier.worker), earlier.at_ns, start.at_ns) {
                let worker = earlier.worker;
                let text = format!("run again, and nothing has happened to worker {worker}");
                self.find(Rule::Losses, key, text);
            }
            self.notice(key, story, start);
        }
    }

    fn notice(&mut self, key: TaskKey, story: &Story, start: &Start) {
        let is_it = |notice: &&Notice| notice.attempt + 1 == start.attempt;
        // A notice is no outcome: nobody keeps it for a client that is away.
        let (from_ns, to_ns) = (start.at_ns.saturating_sub(AFTERMATH_NS), story.end_ns());
        let may_miss = self.ledger.is_client_troubled(key.0, from_ns, to_ns)
            || self.ledger.spans_restart(story)
            || self.ledger.farewells.contains(&key.0);
        if Promises::RERUNS_ARE_TOLD && !may_miss && !story.notices.iter().any(|it| is_it(&it)) {
            let text = format!("attempt {} was started, and nobody was told", start.attempt);
            self.find(Rule::Notices, key, text);
        }
    }

    fn notices(&mut self, key: TaskKey, story: &Story) {
        let attempts: BTreeSet<_> = story.notices.iter().map(|notice| notice.attempt).collect();
        let speaks_for_itself = story.is_resubmitted() || self.ledger.spans_restart(story);
        if attempts.len() != story.notices.len() && !speaks_for_itself {
            self.find(Rule::Notices, key, "told twice of one attempt");
        }
        let last = u64::from(story.spec.attempts);
        if attempts
            .iter()
            .any(|&attempt| attempt == 0 || attempt >= last)
        {
            self.find(
                Rule::Notices,
                key,
                "told that it runs again when it may not",
            );
        }
        if let Some(end_ns) = story.finals().last().map(|answer| answer.at_ns)
            && story.notices.iter().any(|notice| notice.at_ns > end_ns)
        {
            self.find(
                Rule::Notices,
                key,
                "told that it runs again after its outcome",
            );
        }
    }

    /// Whether an earlier life of the controller may have been given a task.
    fn was_sent_before_restart(&self, story: &Story) -> bool {
        let mut restarts = self.ledger.restarts();
        restarts.any(|restart| {
            let until_ns = restart.from_ns.saturating_add(UNNOTICED_NS);
            story.begin_ns() < until_ns && restart.from_ns < story.end_ns()
        })
    }

    /// Whether a task was running when the controller died, and has a result in spite of it: then
    /// the next one must take it.
    fn ran_on_over_restart(&self, story: &Story) -> bool {
        let Some(restart) = self.ledger.restarts().next() else {
            return false;
        };
        Promises::RESULTS_OUTLIVE_THE_CONTROLLER
            && !story.is_resubmitted()
            // A part of a multicast has no name that a controller would know again.
            && story.spec.aim != Aim::All
            && story.starts.iter().any(|start| {
                start.at_ns < restart.from_ns
                    && start
                        .reported_ns
                        .is_some_and(|at_ns| at_ns > restart.from_ns)
            })
    }

    fn is_excused(&self, worker: Option<u64>, from_ns: u64, to_ns: u64) -> bool {
        let hitches = &self.ledger.hitches;
        // Whatever had to be done in time then was not.
        let is_near = |&(begin_ns, end_ns): &(u64, u64)| {
            begin_ns <= to_ns && end_ns + AFTERMATH_NS >= from_ns
        };
        if hitches.iter().any(is_near) {
            return true;
        }
        self.ledger.troubles.iter().any(|trouble| {
            let slack_ns = AFTERMATH_NS;
            let hits_it =
                trouble.kind.loses_worker() && worker.is_none_or(|worker| worker == trouble.target);
            let stalls = trouble.kind == Kind::Stall && !Promises::STALLS_COST_NO_WORKER;
            let restarts =
                trouble.kind == Kind::Restart && !Promises::RESULTS_OUTLIVE_THE_CONTROLLER;
            (hits_it || stalls || restarts) && trouble.touches(from_ns, to_ns, slack_ns)
        })
    }

    fn leaks(&mut self) {
        let [Some(before), Some(after)] = self.ledger.samples else {
            return self.find(
                Rule::Memory,
                None,
                "nobody has looked at the controller's memory",
            );
        };
        let allowed = |before: u64, slack: u64| before + before / 20 + slack;
        if after.0 > allowed(before.0, MEMORY_SLACK_BYTES) {
            let text = format!("the controller had {} bytes, and has {}", before.0, after.0);
            self.find(Rule::Memory, None, text);
        }
        if after.1 > allowed(before.1, DESCRIPTOR_SLACK) {
            let text = format!(
                "the controller had {} descriptors, and has {}",
                before.1, after.1
            );
            self.find(Rule::Descriptors, None, text);
        }
    }

    fn lives(&mut self) {
        for &[role, number, status] in &self.ledger.ended {
            let role = ["the controller", "client", "worker"][(role as usize).min(2)];
            let text = format!("{role} {number} has ended by itself, with {status}");
            self.find(Rule::Lives, None, text);
        }
        for &(client, code) in &self.ledger.rejected {
            let text = format!("client {client} was rejected, with {code}");
            self.find(Rule::Lives, None, text);
        }
        let facts = [
            "the controller is not alive",
            "clients wait for outcomes",
            "workers are missing",
        ];
        let settled = self.ledger.settled.unwrap_or_default();
        for (holds, text) in settled.into_iter().zip(facts) {
            if !holds {
                self.find(Rule::Settled, None, text);
            }
        }
        match self.ledger.left {
            Some(0) => {}
            Some(left) => self.find(Rule::Processes, None, format!("{left} processes are left")),
            None => self.find(Rule::Processes, None, "nobody has counted the processes"),
        }
    }

    fn work(&mut self) {
        let answers = self.ledger.tasks.values().flat_map(Story::finals);
        let completed = answers.filter(|answer| answer.code == AnswerCode::Completed);
        let clients: BTreeSet<_> = self.ledger.tasks.keys().map(|key| key.0).collect();
        let count = completed.count();
        if clients.is_empty() || count < COMPLETED_MIN * clients.len() {
            self.find(
                Rule::Work,
                None,
                format!("only {count} tasks were completed"),
            );
        }
    }
}
