//! Sees only what goes in and what comes out, and says when a promise is broken.

use std::collections::{BTreeMap, BTreeSet};

use taskyard_core::{
    Deadline, Epoch, Instant, Labels, Outcome, OutcomeReply, Reported, Submit, Submitted, Target,
    TaskHandle, TaskId, WorkerId,
};

use crate::world::Job;

/// What was promised to a client about one submit.
struct Entry {
    submit: Submit,
    at: Instant,
    /// How many parts, for a multicast.
    addressed: Option<u32>,
    parts: Vec<Outcome>,
    last: Option<Outcome>,
}

/// One delivery of an outcome in the present session.
struct Delivery {
    seq: u32,
    handle: TaskHandle,
}

#[derive(Default)]
struct Peer {
    /// When it went away and may be forgotten; `None` while it must be known.
    gone_at: Option<Instant>,
    goodbye: bool,
    deliveries: Vec<Delivery>,
    /// Delivered in an earlier session, and not acknowledged.
    again: BTreeSet<TaskHandle>,
}

#[derive(Default)]
pub(crate) struct Checker {
    now: Instant,
    peers: BTreeMap<u128, Peer>,
    entries: BTreeMap<(u128, TaskId), Entry>,
    by_handle: BTreeMap<TaskHandle, Submit>,
    outcomes: BTreeMap<TaskHandle, Outcome>,
    /// Attempts that began, by task.
    starts: BTreeMap<TaskHandle, Vec<u8>>,
    holders: BTreeMap<Epoch, usize>,
    /// Who has had which place.
    places: BTreeMap<WorkerId, BTreeSet<usize>>,
}

impl Checker {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn pass(&mut self, now: Instant) {
        assert!(self.now <= now);
        self.now = now;
    }

    pub(crate) fn client_up(&mut self, key: u128, resumed: bool, keep_ms: u64) {
        let owed = self.is_owed(key);
        let peer = self.peers.entry(key).or_default();
        if !resumed {
            let late = peer
                .gone_at
                .is_none_or(|at| at.after_ms(keep_ms) <= self.now);
            // One that has left nothing may have made room for another.
            assert!(late || peer.goodbye || !owed, "forgotten too early");
            self.entries.retain(|(owner, _), _| *owner != key);
            *peer = Peer::default();
        }
        peer.gone_at = None;
        peer.again
            .extend(peer.deliveries.drain(..).map(|delivery| delivery.handle));
    }

    /// Whether this client waits for an outcome, or has one that it has not acknowledged.
    fn is_owed(&self, key: u128) -> bool {
        let mut entries = self.entries.iter().filter(|((owner, _), _)| *owner == key);
        let open = entries.any(|(_, entry)| entry.last.is_none());
        let peer = self.peers.get(&key);
        open || peer.is_some_and(|peer| !peer.deliveries.is_empty() || !peer.again.is_empty())
    }

    pub(crate) fn client_down(&mut self, key: u128, keeps: bool) {
        let peer = self.peers.entry(key).or_default();
        peer.gone_at = Some(self.now);
        peer.goodbye = !keeps;
        if !keeps {
            self.entries.retain(|(owner, _), _| *owner != key);
        }
    }

    pub(crate) fn acked(&mut self, key: u128, seq: u32) {
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.deliveries.retain(|delivery| delivery.seq > seq);
        }
    }

    pub(crate) fn submitted(
        &mut self,
        key: u128,
        submit: &Submit,
        answer: Submitted,
        addressed: u32,
    ) {
        match answer {
            Submitted::Refused(_) => return,
            Submitted::Known => panic!("a new task is known"),
            Submitted::Accepted(handle) => {
                assert!(
                    self.by_handle.insert(handle, *submit).is_none(),
                    "a handle given twice"
                );
            }
            Submitted::NotRerun => assert!(submit.resent && submit.attempts_max <= 1),
        }
        let all = submit.target == Target::All && answer != Submitted::NotRerun;
        let entry = Entry {
            submit: *submit,
            at: self.now,
            addressed: all.then_some(addressed),
            parts: Vec::new(),
            last: None,
        };
        assert!(self.entries.insert((key, submit.task), entry).is_none());
    }

    pub(crate) fn admitted(&mut self, worker: WorkerId, epoch: Epoch, which: usize) {
        self.places.entry(worker).or_default().insert(which);
        assert!(
            self.holders.insert(epoch, which).is_none(),
            "an epoch given twice"
        );
    }

    /// A worker begins a task; `name` is its own.
    pub(crate) fn started(&mut self, job: Job, name: usize, labels: Labels, from_pool: bool) {
        let starts = self.starts.entry(job.handle).or_default();
        starts.push(job.attempt.0);
        let submit = self.by_handle.get(&job.handle);
        let allowed = submit.map_or(1, |submit| match submit.target {
            Target::All => 1,
            Target::Worker(_) | Target::Named(_) if submit.hold_ms == 0 => {
                1 + submit.retries_on_failure
            }
            _ => submit.attempts_max.max(1) + submit.retries_on_failure,
        });
        assert!(
            starts.len() <= usize::from(allowed),
            "started too often: {starts:?}"
        );
        assert!(
            starts.is_sorted_by(|a, b| a < b),
            "attempts out of order: {starts:?}"
        );
        match submit.map(|submit| submit.target) {
            Some(Target::Any) => {
                let first = job.attempt.0 == 1;
                assert!(from_pool || !first, "a new `any` task in a mailbox");
            }
            Some(Target::Label(label)) => {
                assert!(labels.iter().any(|l| l == label), "without the label");
                assert!(!from_pool, "a label in the pool");
            }
            Some(Target::Worker(worker)) => {
                // Whoever has returned under its name is as good.
                let first = self.places.entry(worker).or_default();
                assert!(first.contains(&name), "on another worker");
            }
            Some(Target::Named(name_key)) => {
                assert_eq!(name as u128, name_key.0, "on another worker");
            }
            Some(Target::All) => panic!("a multicast itself never runs"),
            None => assert!(!from_pool, "a part in the pool"),
        }
        assert!(
            !self.outcomes.contains_key(&job.handle),
            "started after its outcome"
        );
    }

    pub(crate) fn reported(&mut self, job: Job, reported: Reported) {
        if matches!(reported, Reported::Counted | Reported::Retried) {
            let starts = self.starts.get(&job.handle).map_or(&[][..], Vec::as_slice);
            assert_eq!(
                starts.last(),
                Some(&job.attempt.0),
                "counted, but a later one started"
            );
        }
    }

    pub(crate) fn outcome(&mut self, key: u128, reply: &OutcomeReply) {
        let Some(peer) = self.peers.get_mut(&key) else {
            panic!("an outcome for a stranger")
        };
        peer.deliveries.push(Delivery {
            seq: reply.seq,
            handle: reply.handle,
        });
        if let Some(before) = self.outcomes.insert(reply.handle, reply.outcome) {
            assert!(
                peer.again.remove(&reply.handle),
                "a second outcome: {reply:?}"
            );
            assert_eq!(before, reply.outcome, "another outcome than before");
            return;
        }
        let starts = self.starts.get(&reply.handle).map_or(0, Vec::len);
        let entry = self.entries.get_mut(&(key, reply.task));
        let Some(entry) = entry else {
            panic!("an outcome that nobody waits for: {reply:?}")
        };
        if reply.outcome == (Outcome::Cancelled { started: false }) {
            assert_eq!(starts, 0, "it had started");
        }
        if matches!(reply.outcome, Outcome::Completed | Outcome::Failed) {
            assert!(starts > 0, "a result of nothing");
        }
        if let Outcome::TimedOut(deadline) = reply.outcome {
            let ms = match deadline {
                Deadline::Start => entry.submit.start_within_ms,
                Deadline::Finish => entry.submit.finish_within_ms,
            };
            assert!(ms > 0, "timed out without a deadline");
            assert!(
                self.now >= entry.at.after_ms(u64::from(ms)),
                "timed out too early"
            );
        }
        if reply.part {
            entry.parts.push(reply.outcome);
            assert!(reply.worker.is_some(), "a part names its worker");
            assert!(entry.last.is_none(), "a part after the summary");
            return;
        }
        assert!(entry.last.replace(reply.outcome).is_none(), "two outcomes");
        if let Some(addressed) = entry.addressed {
            let completed = entry
                .parts
                .iter()
                .filter(|o| **o == Outcome::Completed)
                .count();
            let summary = Outcome::Summary {
                parts: addressed,
                completed: completed as u32,
            };
            assert_eq!(reply.outcome, summary);
            assert_eq!(entry.parts.len(), addressed as usize, "a part is missing");
        }
    }

    /// All is quiet: nobody waits any more.
    pub(crate) fn finish(&self) {
        for ((key, task), entry) in &self.entries {
            assert!(
                entry.last.is_some(),
                "client {key:x} waits for {task:?}: {:?}",
                entry.submit
            );
        }
    }
}
