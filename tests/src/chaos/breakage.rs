//! Canaries: journals that are falsified on purpose, to show that the checks see it.

use super::checks::Rule;
use super::journal::Fact;
use super::ledger::{Ledger, Story, TaskKey};
use super::task::{Aim, AnswerCode, NONE};

/// A falsification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    LoseOutcome,
    DoubleOutcome,
    InventOutcome,
    FalseOutcome,
    LosePart,
    DoubleStart,
    RepeatStart,
    ExcessStart,
    StrayStart,
    WrongResult,
    ForeignResult,
    FalseUnstarted,
    UnexplainedLoss,
    UnexplainedRerun,
    UntoldRerun,
    RepeatNotice,
    LeakMemory,
    LeakDescriptors,
    LoseProcess,
    Unwanted,
    DeadController,
    RestlessClient,
    MissingWorker,
    LeaveProcess,
    Idle,
}

impl Break {
    /// All of them, how each is called, and the rule that must notice it.
    pub(crate) const ALL: [(Self, &'static str, Rule); 25] = [
        (Self::LoseOutcome, "lose_outcome", Rule::Outcomes),
        (Self::DoubleOutcome, "double_outcome", Rule::Outcomes),
        (Self::InventOutcome, "invent_outcome", Rule::Outcomes),
        (Self::FalseOutcome, "false_outcome", Rule::Outcomes),
        (Self::LosePart, "lose_part", Rule::Parts),
        (Self::DoubleStart, "double_start", Rule::Starts),
        (Self::RepeatStart, "repeat_start", Rule::Starts),
        (Self::ExcessStart, "excess_start", Rule::Starts),
        (Self::StrayStart, "stray_start", Rule::Starts),
        (Self::WrongResult, "wrong_result", Rule::Results),
        (Self::ForeignResult, "foreign_result", Rule::Results),
        (Self::FalseUnstarted, "false_unstarted", Rule::Unstarted),
        (Self::UnexplainedLoss, "unexplained_loss", Rule::Losses),
        (Self::UnexplainedRerun, "unexplained_rerun", Rule::Losses),
        (Self::UntoldRerun, "untold_rerun", Rule::Notices),
        (Self::RepeatNotice, "repeat_notice", Rule::Notices),
        (Self::LeakMemory, "leak_memory", Rule::Memory),
        (Self::LeakDescriptors, "leak_descriptors", Rule::Descriptors),
        (Self::LoseProcess, "lose_process", Rule::Lives),
        (Self::Unwanted, "unwanted", Rule::Lives),
        (Self::DeadController, "dead_controller", Rule::Settled),
        (Self::RestlessClient, "restless_client", Rule::Settled),
        (Self::MissingWorker, "missing_worker", Rule::Settled),
        (Self::LeaveProcess, "leave_process", Rule::Processes),
        (Self::Idle, "idle", Rule::Work),
    ];

    pub(crate) fn named(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, known, _)| *known == name)?;
        Some(found.0)
    }

    /// Falsifies the facts.
    ///
    /// # Errors
    /// The run has nothing that could be falsified so.
    pub(crate) fn apply(self, facts: &mut Vec<(u64, Fact)>) -> Result<(), String> {
        let ledger = Ledger::of(facts);
        let done = match self {
            Self::LoseOutcome
            | Self::DoubleOutcome
            | Self::InventOutcome
            | Self::FalseOutcome
            | Self::LosePart
            | Self::WrongResult
            | Self::FalseUnstarted
            | Self::UnexplainedLoss => self.break_answers(&ledger, facts),
            Self::DoubleStart
            | Self::RepeatStart
            | Self::ExcessStart
            | Self::StrayStart
            | Self::UnexplainedRerun
            | Self::UntoldRerun
            | Self::ForeignResult => self.break_starts(&ledger, facts),
            _ => self.break_ends(&ledger, facts),
        };
        done.ok_or_else(|| "this run has nothing that could be broken so".into())
    }

    fn break_answers(self, ledger: &Ledger, facts: &mut Vec<(u64, Fact)>) -> Option<()> {
        let key = find(ledger, |story| match self {
            Self::LosePart => {
                let code = story.finals().next().map(|answer| answer.code);
                let whole = !story.is_resubmitted() && !ledger.spans_restart(story);
                code == Some(AnswerCode::Summary) && whole && story.answers.len() > 1
            }
            Self::FalseUnstarted => is_completed(story) && !ledger.spans_restart(story),
            Self::UnexplainedLoss => story.spec.attempts == 1 && is_completed(story),
            _ => is_completed(story),
        })?;
        let part = u64::from(self == Self::LosePart);
        let at = facts.iter().position(|(_, fact)| {
            matches!(*fact, Fact::Answered { client, task, part: p, .. }
                if (client, task, p) == (key.0, key.1, part))
        })?;
        let (at_ns, mut other) = facts[at].clone();
        if let Fact::Answered {
            task, code, right, ..
        } = &mut other
        {
            match self {
                Self::InventOutcome => *task = NONE,
                Self::FalseOutcome => *code = AnswerCode::Failed.code(),
                Self::FalseUnstarted => *code = AnswerCode::Unstarted.code(),
                Self::UnexplainedLoss => *code = AnswerCode::WorkerLost.code(),
                Self::WrongResult => *right = 0,
                _ => {}
            }
        }
        match self {
            Self::LoseOutcome | Self::LosePart => {
                facts.remove(at);
            }
            Self::DoubleOutcome | Self::InventOutcome => facts.insert(at, (at_ns, other)),
            _ => facts[at].1 = other,
        }
        if self == Self::UnexplainedLoss {
            facts.retain(|(_, fact)| !is_reason(fact));
        }
        Some(())
    }

    fn break_starts(self, ledger: &Ledger, facts: &mut Vec<(u64, Fact)>) -> Option<()> {
        let key = find(ledger, |story| {
            let fits = match self {
                Self::DoubleStart => story.spec.attempts == 1,
                Self::ExcessStart | Self::UnexplainedRerun | Self::UntoldRerun => {
                    story.spec.attempts > 1
                }
                Self::StrayStart => matches!(story.spec.aim, Aim::Named(_)),
                _ => true,
            };
            fits && is_completed(story)
        })?;
        let at = facts.iter().position(|(_, fact)| {
            matches!(*fact, Fact::Started { client, task, .. } if (client, task) == key)
        })?;
        let (at_ns, mut other) = facts[at].clone();
        if let Fact::Started {
            worker,
            boot,
            attempt,
            ..
        } = &mut other
        {
            match self {
                // As a controller would that has forgotten all.
                Self::DoubleStart => *boot ^= 1,
                Self::ExcessStart => *attempt += 7,
                Self::StrayStart => *worker += 1,
                Self::UnexplainedRerun | Self::UntoldRerun => *attempt += 1,
                _ => {}
            }
        }
        match self {
            Self::ForeignResult => {
                facts.remove(at);
            }
            Self::StrayStart => facts[at].1 = other,
            _ => facts.insert(at, (at_ns, other)),
        }
        if matches!(self, Self::UnexplainedRerun | Self::UntoldRerun) {
            facts.retain(|(_, fact)| !is_reason(fact));
        }
        Some(())
    }

    fn break_ends(self, ledger: &Ledger, facts: &mut Vec<(u64, Fact)>) -> Option<()> {
        let last_ns = facts.last()?.0;
        match self {
            Self::LoseProcess => facts.push((
                last_ns,
                Fact::Ended {
                    role: 2,
                    number: 0,
                    status: 101,
                },
            )),
            Self::RepeatNotice => repeat_notice(ledger, facts)?,
            Self::Unwanted => facts.push((last_ns, Fact::Rejected { client: 1, code: 1 })),
            Self::Idle => facts.retain(|(_, fact)| !matches!(fact, Fact::Answered { .. })),
            _ => {}
        }
        for (_, fact) in facts {
            match fact {
                Fact::Sample {
                    end: 1,
                    rss_bytes,
                    descriptors,
                } => match self {
                    Self::LeakMemory => *rss_bytes += *rss_bytes / 10 + (64 << 20),
                    Self::LeakDescriptors => *descriptors += *descriptors / 10 + 16,
                    _ => {}
                },
                Fact::Settled {
                    controller_alive,
                    clients_quiet,
                    workers_back,
                } => match self {
                    Self::DeadController => *controller_alive = 0,
                    Self::RestlessClient => *clients_quiet = 0,
                    Self::MissingWorker => *workers_back = 0,
                    _ => {}
                },
                Fact::Left { processes } if self == Self::LeaveProcess => *processes = 1,
                _ => {}
            }
        }
        Some(())
    }
}

/// Tells the client of a task twice that its first attempt was lost.
fn repeat_notice(ledger: &Ledger, facts: &mut Vec<(u64, Fact)>) -> Option<()> {
    let (client, task) = find(ledger, |story| {
        is_completed(story) && story.spec.attempts > 1 && !ledger.spans_restart(story)
    })?;
    let at = facts.iter().position(|(_, fact)| match *fact {
        Fact::Submitted {
            client: c, task: t, ..
        } => (c, t) == (client, task),
        _ => false,
    })?;
    let notice = Fact::Noticed {
        client,
        task,
        attempt: 1,
        place: 0,
        epoch: 0,
    };
    let told = (facts[at].0, notice);
    facts.splice(at + 1..at + 1, [told.clone(), told]);
    Some(())
}

/// Whether it may be the reason of a loss.
fn is_reason(fact: &Fact) -> bool {
    matches!(fact, Fact::Fault { .. } | Fact::Hitch { .. })
}

/// A task of a client that never left.
fn find(ledger: &Ledger, fits: impl Fn(&Story) -> bool) -> Option<TaskKey> {
    let mut tasks = ledger.tasks.iter();
    let found = tasks.find(|(key, story)| !ledger.farewells.contains(&key.0) && fits(story))?;
    Some(*found.0)
}

fn is_completed(story: &Story) -> bool {
    let code = story.finals().next().map(|answer| answer.code);
    code == Some(AnswerCode::Completed) && !story.is_resubmitted() && story.starts.len() == 1
}
