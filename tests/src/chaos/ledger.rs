//! All journals of a run, put together: one story per task, and what went wrong around it.

use std::collections::{BTreeMap, BTreeSet};

use super::journal::Fact;
use super::plan::{Kind, Victim};
use super::task::{Aim, AnswerCode, NONE, Quality, Spec};

/// Before and after a task, what is shown with it.
const HISTORY_NS: u64 = 3_000_000_000;

/// A client's number and its number for a task.
pub(crate) type TaskKey = (u64, u64);

/// One start of a task, as a worker wrote it down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) at_ns: u64,
    pub(crate) worker: u64,
    pub(crate) boot: u64,
    pub(crate) handle: u64,
    pub(crate) attempt: u64,
    /// When it was reported.
    pub(crate) reported_ns: Option<u64>,
}

/// One outcome, as a client wrote it down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) at_ns: u64,
    pub(crate) code: AnswerCode,
    pub(crate) part: bool,
    /// The worker's place and epoch; of a summary how many parts there were, and were completed.
    pub(crate) place: u64,
    pub(crate) epoch: u64,
    pub(crate) attempts: u64,
    pub(crate) right: Quality,
    /// Worker, boot, handle and attempt, as the result says.
    pub(crate) source: [u64; 4],
}

/// The word that an attempt was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) at_ns: u64,
    pub(crate) attempt: u64,
}

/// What is known of one task.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    pub(crate) spec: Spec,
    /// When it was submitted; more than once if its client came back.
    pub(crate) submits: Vec<u64>,
    pub(crate) starts: Vec<Start>,
    pub(crate) answers: Vec<Answer>,
    pub(crate) notices: Vec<Notice>,
}

impl Story {
    /// The answers that end the task: all but parts.
    pub(crate) fn finals(&self) -> impl Iterator<Item = &Answer> {
        self.answers.iter().filter(|answer| !answer.part)
    }

    /// Whether its client died, and submitted it again.
    pub(crate) fn is_resubmitted(&self) -> bool {
        self.submits.len() > 1
    }

    /// When it was submitted first.
    pub(crate) fn begin_ns(&self) -> u64 {
        self.submits.first().copied().unwrap_or(0)
    }

    /// When its last outcome came, if it has any.
    pub(crate) fn end_ns(&self) -> u64 {
        self.answers.last().map_or(u64::MAX, |answer| answer.at_ns)
    }

    /// The start that an answer speaks of, as far as one can tell.
    pub(crate) fn start_before(&self, answer: &Answer) -> Option<&Start> {
        let before = |start: &&Start| start.at_ns <= answer.at_ns;
        self.starts.iter().rev().find(before)
    }
}

/// A fault, from when to when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) kind: Kind,
    pub(crate) target: u64,
    pub(crate) from_ns: u64,
    /// For ever, if nothing says when it ended.
    pub(crate) to_ns: u64,
}

impl Trouble {
    /// Whether it was there, or its consequences still may be, between two times.
    pub(crate) fn touches(&self, from_ns: u64, to_ns: u64, slack_ns: u64) -> bool {
        self.from_ns <= to_ns && self.to_ns.saturating_add(slack_ns) >= from_ns
    }
}

/// A worker's registration.
#[derive(Clone, Copy, Debug)]
struct Registration {
    at_ns: u64,
    worker: u64,
    place: u64,
    epoch: u64,
}

/// Everything.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) seed: u64,
    pub(crate) workers: u64,
    pub(crate) tasks: BTreeMap<TaskKey, Story>,
    pub(crate) troubles: Vec<Trouble>,
    /// When the machine has stood still, from and to.
    pub(crate) hitches: Vec<(u64, u64)>,
    /// Clients that said goodbye with tasks under way.
    pub(crate) farewells: BTreeSet<u64>,
    /// Resident bytes and descriptors of the controller, before the faults and at the end.
    pub(crate) samples: [Option<(u64, u64)>; 2],
    /// Resident bytes of the controller, every some seconds.
    pub(crate) memory_bytes: Vec<u64>,
    /// Controller alive, clients quiet, workers back.
    pub(crate) settled: Option<[bool; 3]>,
    /// Role, number, status.
    pub(crate) ended: Vec<[u64; 3]>,
    pub(crate) left: Option<u64>,
    /// Client and code.
    pub(crate) rejected: Vec<(u64, u64)>,
    registrations: Vec<Registration>,
}

impl Ledger {
    /// Puts facts together, which are in the order of time.
    pub(crate) fn of(facts: &[(u64, Fact)]) -> Self {
        let mut ledger = Self::default();
        for (_, fact) in facts {
            if let Fact::Cast { seed, workers, .. } = *fact {
                (ledger.seed, ledger.workers) = (seed, workers);
            }
        }
        for (at_ns, fact) in facts {
            ledger.add(*at_ns, fact);
        }
        ledger
    }

    fn add(&mut self, at_ns: u64, fact: &Fact) {
        match *fact {
            Fact::Submitted { client, task, .. } => {
                self.story(client, task).submits.push(at_ns);
            }
            Fact::Answered { client, task, .. } => {
                let answer = answer_of(at_ns, fact);
                self.story(client, task).answers.extend(answer);
            }
            Fact::Noticed {
                client,
                task,
                attempt,
                ..
            } => self
                .story(client, task)
                .notices
                .push(Notice { at_ns, attempt }),
            Fact::Started { client, task, .. } | Fact::Reported { client, task, .. } => {
                // Tasks of client 0 are the director's.
                if client != 0 {
                    add_run(&mut self.story(client, task).starts, at_ns, fact);
                }
            }
            Fact::Fault { kind, target, .. } => {
                self.troubles.extend(Kind::read(kind).map(|kind| Trouble {
                    kind,
                    target,
                    from_ns: at_ns,
                    to_ns: u64::MAX,
                }));
            }
            Fact::Healed { kind, target } => {
                let is_it = |trouble: &&mut Trouble| {
                    let open = trouble.to_ns == u64::MAX;
                    open && trouble.kind.code() == kind && trouble.target == target
                };
                if let Some(trouble) = self.troubles.iter_mut().find(is_it) {
                    trouble.to_ns = at_ns;
                }
            }
            Fact::Registered {
                worker,
                place,
                epoch,
            } => self.registrations.push(Registration {
                at_ns,
                worker,
                place,
                epoch,
            }),
            Fact::Hitch { late_ms } => {
                let from_ns = at_ns.saturating_sub(late_ms * 1_000_000);
                self.hitches.push((from_ns, at_ns));
            }
            ref other => self.add_about_all(other),
        }
    }

    fn add_about_all(&mut self, fact: &Fact) {
        match *fact {
            // At the end all are told to go, when they have everything.
            Fact::Farewell { client } if self.settled.is_none() => {
                self.farewells.insert(client);
            }
            Fact::Sample {
                end,
                rss_bytes,
                descriptors,
            } => match end {
                0 | 1 => self.samples[usize::from(end == 1)] = Some((rss_bytes, descriptors)),
                _ => self.memory_bytes.push(rss_bytes),
            },
            Fact::Settled {
                controller_alive,
                clients_quiet,
                workers_back,
            } => {
                let all = [controller_alive, clients_quiet, workers_back];
                self.settled = Some(all.map(|one| one == 1));
            }
            Fact::Ended {
                role,
                number,
                status,
            } => self.ended.push([role, number, status]),
            Fact::Left { processes } => self.left = Some(processes),
            Fact::Rejected { client, code } => self.rejected.push((client, code)),
            _ => {}
        }
    }

    fn story(&mut self, client: u64, task: u64) -> &mut Story {
        let (seed, workers) = (self.seed, self.workers);
        self.tasks.entry((client, task)).or_insert_with(|| Story {
            spec: Spec::draw(seed, workers, client, task),
            submits: Vec::new(),
            starts: Vec::new(),
            answers: Vec::new(),
            notices: Vec::new(),
        })
    }

    /// The worker that had a place under an epoch when an answer came.
    pub(crate) fn worker_at(&self, answer: &Answer) -> Option<u64> {
        let is_it = |registration: &&Registration| {
            registration.at_ns <= answer.at_ns
                && (registration.place, registration.epoch) == (answer.place, answer.epoch)
        };
        Some(self.registrations.iter().rev().find(is_it)?.worker)
    }

    /// The worker that an answer is about, as far as anybody knows.
    pub(crate) fn worker_of(&self, story: &Story, answer: &Answer) -> Option<u64> {
        match story.spec.aim {
            Aim::Named(worker) => Some(worker),
            Aim::All => self.worker_at(answer),
            Aim::Any => {
                let start = story.start_before(answer).map(|start| start.worker);
                start.or_else(|| self.worker_at(answer))
            }
        }
    }

    /// When the controller was killed, and when there was one again.
    pub(crate) fn restarts(&self) -> impl Iterator<Item = &Trouble> {
        let is_restart = |trouble: &&Trouble| trouble.kind == Kind::Restart;
        self.troubles.iter().filter(is_restart)
    }

    /// Whether the controller was started anew while a task was under way.
    pub(crate) fn spans_restart(&self, story: &Story) -> bool {
        self.restarts()
            .any(|restart| restart.touches(story.begin_ns(), story.end_ns(), 0))
    }

    /// Whether the controller was held or away between two times.
    pub(crate) fn is_controller_troubled(&self, from_ns: u64, to_ns: u64) -> bool {
        self.is_troubled(Victim::Controller, 0, from_ns, to_ns)
    }

    /// Whether a client was.
    pub(crate) fn is_client_troubled(&self, client: u64, from_ns: u64, to_ns: u64) -> bool {
        self.is_troubled(Victim::Client, client, from_ns, to_ns)
    }

    fn is_troubled(&self, victim: Victim, target: u64, from_ns: u64, to_ns: u64) -> bool {
        self.troubles.iter().any(|trouble| {
            let hits_it = trouble.kind.victim() == victim && trouble.target == target;
            hits_it && trouble.touches(from_ns, to_ns, 0)
        })
    }
}

fn add_run(starts: &mut Vec<Start>, now_ns: u64, fact: &Fact) {
    match *fact {
        Fact::Started {
            worker,
            boot,
            handle,
            attempt,
            ..
        } => starts.push(Start {
            at_ns: now_ns,
            worker,
            boot,
            handle,
            attempt,
            reported_ns: None,
        }),
        Fact::Reported {
            worker,
            boot,
            handle,
            attempt,
            ..
        } => {
            let is_it = |start: &&mut Start| {
                (start.worker, start.boot, start.handle, start.attempt)
                    == (worker, boot, handle, attempt)
            };
            if let Some(start) = starts.iter_mut().find(is_it) {
                start.reported_ns = Some(now_ns);
            }
        }
        _ => {}
    }
}

fn answer_of(now_ns: u64, fact: &Fact) -> Option<Answer> {
    let Fact::Answered {
        code,
        part,
        place,
        epoch,
        attempts,
        right,
        worker,
        boot,
        handle,
        attempt,
        ..
    } = *fact
    else {
        return None;
    };
    let right = match right {
        0 => Quality::Wrong,
        1 => Quality::Right,
        _ => Quality::Nothing,
    };
    Some(Answer {
        at_ns: now_ns,
        code: AnswerCode::read(code),
        part: part == 1,
        place,
        epoch,
        attempts,
        right,
        source: [worker, boot, handle, attempt],
    })
}

/// Everything that journals say of one task, and of what was done meanwhile to those who had to do
/// with it, to be printed.
pub(crate) fn history(facts: &[(u64, Fact)], key: TaskKey) -> Vec<String> {
    let first_ns = facts.first().map_or(0, |&(at_ns, _)| at_ns);
    let about = |fact: &Fact| task_of(fact) == Some(key);
    let its_own: Vec<_> = facts.iter().filter(|(_, fact)| about(fact)).collect();
    let workers: BTreeSet<_> = its_own
        .iter()
        .filter_map(|(_, fact)| worker_in(fact))
        .collect();
    let [Some((begin_ns, _)), Some((end_ns, _))] = [its_own.first(), its_own.last()] else {
        return Vec::new();
    };
    let near = begin_ns.saturating_sub(HISTORY_NS)..=end_ns + HISTORY_NS;
    let concerns = |fact: &Fact| match *fact {
        Fact::Fault { kind, target, .. } | Fact::Healed { kind, target } => Kind::read(kind)
            .is_some_and(|kind| match kind.victim() {
                Victim::Controller => true,
                Victim::Client => target == key.0,
                Victim::Worker => workers.contains(&target),
            }),
        Fact::Registered { worker, .. } => workers.contains(&worker),
        Fact::Begun { client, .. } | Fact::Welcomed { client, .. } => client == key.0,
        Fact::Hitch { .. } => true,
        _ => about(fact),
    };
    let shown = facts
        .iter()
        .filter(|(at_ns, fact)| near.contains(at_ns) && concerns(fact));
    let line = |(at_ns, fact): &(u64, Fact)| {
        let seconds = (at_ns - first_ns) as f64 / 1e9;
        let text = format!("{fact:?}").replace(&NONE.to_string(), "none");
        let (Fact::Fault { kind, .. } | Fact::Healed { kind, .. }) = *fact else {
            return format!("{seconds:10.4} s  {text}");
        };
        let name = Kind::read(kind).map_or("?", Kind::name);
        format!("{seconds:10.4} s  {text} ({name})")
    };
    shown.map(line).collect()
}

fn task_of(fact: &Fact) -> Option<TaskKey> {
    match *fact {
        Fact::Submitted { client, task, .. }
        | Fact::CancelAsked { client, task }
        | Fact::Answered { client, task, .. }
        | Fact::Noticed { client, task, .. }
        | Fact::Started { client, task, .. }
        | Fact::Reported { client, task, .. } => Some((client, task)),
        _ => None,
    }
}

fn worker_in(fact: &Fact) -> Option<u64> {
    match *fact {
        Fact::Started { worker, .. } | Fact::Reported { worker, .. } => Some(worker),
        _ => None,
    }
}
