//! I1 and I4: each accepted submit has one outcome, and it is true.

use std::collections::{BTreeMap, VecDeque};

use taskyard_core::{
    ClientId, Deadline, Instant, Outcome, OutcomeReply, Submit, Submitted, Target, TaskHandle,
    Verdict,
};

use super::BySlot;
use crate::sim::driver::KEEP_MS;
use crate::sim::fact::{Fact, job_of};
use crate::sim::rng::mix;

/// What was promised about one task or part.
#[derive(Clone, Copy, Debug)]
struct Entry {
    client: ClientId,
    submit: Submit,
    at: Instant,
    /// How many workers a multicast is addressed to.
    addressed: Option<u32>,
    parts: u32,
    parts_completed: u32,
    whole: Option<TaskHandle>,
    starts: u32,
    cancel_asked: bool,
    published: bool,
    outcome: Option<Outcome>,
    acked: bool,
    /// The client's session in which it was given out last.
    session: u32,
    load: Option<u64>,
}

/// Bits of the nanoseconds in a tick of the scheduler's clockwork.
const TICK_BITS: u32 = 20;

#[derive(Debug, Default)]
struct Peer {
    keeps: bool,
    session: u32,
    goodbye: bool,
    down_at: Option<Instant>,
    sent: u32,
    /// Given out in this session and not acknowledged.
    unacked: VecDeque<(u32, TaskHandle)>,
}

#[derive(Debug)]
pub(crate) struct Outcomes {
    tasks: BySlot<Entry>,
    peers: BTreeMap<u64, Peer>,
    records: BTreeMap<u64, ClientId>,
    /// Paths that only this checker can tell apart.
    pub(crate) redelivered: u64,
    pub(crate) purged: u64,
    pub(crate) deadlines: [u64; 3],
    /// Tasks that queue control took away, as it was told.
    pub(crate) swept: u64,
    /// The tick of the last order to take tasks away.
    last_sweep: u64,
}

impl Outcomes {
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            tasks: BySlot::new(slots),
            peers: BTreeMap::new(),
            records: BTreeMap::new(),
            redelivered: 0,
            purged: 0,
            deadlines: [0; 3],
            swept: 0,
            last_sweep: u64::MAX,
        }
    }

    pub(crate) fn see(&mut self, now: Instant, fact: &Fact) {
        match *fact {
            Fact::ClientUp {
                key,
                client,
                resumed,
                keeps,
            } => {
                self.client_up(now, key, client, resumed, keeps);
            }
            Fact::ClientDown(client) => {
                let peer = self.peer(client);
                peer.down_at = Some(now);
                peer.goodbye |= !peer.keeps;
            }
            Fact::Goodbye(client) => self.peer(client).goodbye = true,
            Fact::Acked(client, seq) => self.acked(client, seq),
            Fact::CancelAsked(client, task) => {
                for place in self.tasks.places.iter_mut().flatten() {
                    let entry = &mut place.1;
                    entry.cancel_asked |= entry.client == client && entry.submit.task == task;
                }
            }
            Fact::SweepAsked(_) => {
                self.last_sweep = now.0 >> TICK_BITS;
                // Whichever are meant: the answer says how many, and only these may be told so.
                for place in self.tasks.places.iter_mut().flatten() {
                    place.1.cancel_asked = true;
                }
            }
            Fact::Swept(_, touched) => self.swept += u64::from(touched),
            Fact::Submitted {
                client,
                submit,
                answer: Submitted::Accepted(handle),
                addressed,
                ..
            } => {
                let addressed = (submit.target == Target::All).then_some(addressed);
                // What comes a moment after such an order may be taken away with the rest.
                let cancel_asked = self.last_sweep == now.0 >> TICK_BITS;
                let entry = Entry::new(client, submit, now, addressed);
                self.enter(
                    now,
                    handle,
                    Entry {
                        cancel_asked,
                        ..entry
                    },
                );
            }
            Fact::Shared { from, to } => self.part(now, from, to),
            Fact::Offered(_, envelope) | Fact::Injected(envelope) => {
                if let Some(entry) = self.tasks.get(envelope.handle) {
                    entry.published = true;
                }
            }
            Fact::Started(job) => {
                let entry = self.tasks.get(job.handle);
                let entry = entry.unwrap_or_else(|| panic!("I1: {job:?} starts, and is no task"));
                assert_eq!(entry.outcome, None, "I1: {job:?} starts after its outcome");
                assert_eq!(entry.addressed, None, "I5: a multicast itself starts");
                entry.starts += 1;
            }
            Fact::Outcome(reply, load) => self.outcome(now, &reply, load),
            _ => {}
        }
    }

    fn peer(&mut self, client: ClientId) -> &mut Peer {
        self.peers.entry(client.to_bits()).or_default()
    }

    fn client_up(&mut self, now: Instant, key: u64, client: ClientId, resumed: bool, keeps: bool) {
        let before = self.records.insert(key, client);
        if let Some(before) = before
            && before != client
        {
            let owed = self.is_owed(before);
            let peer = self.peer(before);
            let is_over = peer.down_at.is_some_and(|at| at.after_ms(KEEP_MS) <= now);
            // One that has left nothing may have made room for another.
            assert!(
                peer.goodbye || is_over || !owed,
                "I1: {before:?} was forgotten too early"
            );
            self.purged += 1;
        }
        assert_eq!(
            resumed,
            before == Some(client),
            "I1: whether {client:?} was known"
        );
        let peer = self.peer(client);
        peer.keeps = keeps;
        peer.session += 1;
        peer.down_at = None;
        peer.sent = 0;
        peer.unacked.clear();
    }

    /// Whether a client waits for an outcome, or has one that it has not acknowledged.
    fn is_owed(&self, client: ClientId) -> bool {
        let mut tasks = self.tasks.iter().map(|(_, entry)| entry);
        tasks.any(|entry| entry.client == client && !(entry.outcome.is_some() && entry.acked))
    }

    fn acked(&mut self, client: ClientId, seq: u32) {
        while let Some(&(sent, handle)) = self.peer(client).unacked.front()
            && sent <= seq
        {
            self.peer(client).unacked.pop_front();
            if let Some(entry) = self.tasks.get(handle) {
                entry.acked = true;
            }
        }
    }

    /// A new tenant of a place: the one before must be over.
    fn enter(&mut self, now: Instant, handle: TaskHandle, entry: Entry) {
        let Some((before, old)) = self.tasks.insert(handle, entry) else {
            return;
        };
        assert!(
            before.generation() < handle.generation(),
            "I7: {handle:?} after {before:?}"
        );
        let peer = self.peer(old.client);
        let is_over = peer.down_at.is_some_and(|at| at.after_ms(KEEP_MS) <= now);
        let may_forget = peer.goodbye || is_over;
        let has_it = old.outcome.is_some() && (old.acked || !peer.keeps);
        assert!(
            has_it || may_forget,
            "I1: {before:?} is gone, its client waits: {old:?}"
        );
    }

    fn part(&mut self, now: Instant, from: TaskHandle, to: TaskHandle) {
        let whole = self.tasks.get(from).copied();
        let whole = whole.unwrap_or_else(|| panic!("I1: a part of {from:?}, which is no task"));
        let entry = Entry {
            whole: Some(from),
            cancel_asked: whole.cancel_asked,
            ..Entry::new(whole.client, whole.submit, whole.at, None)
        };
        self.enter(now, to, entry);
    }

    fn outcome(&mut self, now: Instant, reply: &OutcomeReply, load: Option<u64>) {
        let peer = self.peer(reply.client);
        assert!(
            peer.down_at.is_none() && !peer.goodbye,
            "I1: {reply:?} for a client that is gone"
        );
        peer.sent += 1;
        assert_eq!(
            reply.seq, peer.sent,
            "I1: a gap in the outcomes of {:?}",
            reply.client
        );
        let (session, keeps) = (peer.session, peer.keeps);
        assert_eq!(reply.keep, keeps, "I1: {reply:?}");
        if keeps {
            peer.unacked.push_back((reply.seq, reply.handle));
        }
        let Some(entry) = self.tasks.get(reply.handle) else {
            // Accepted on paper only (rule R11): its handle was never told, and nobody brings a
            // result.
            let (lost, stopped) = (Outcome::WorkerLost, Outcome::Cancelled { started: true });
            assert!(
                [lost, stopped].contains(&reply.outcome),
                "I1: {reply:?} of nothing"
            );
            return;
        };
        if entry.submit.task != reply.task || entry.client != reply.client {
            panic!("I1: {reply:?} for {entry:?}");
        }
        if let Some(before) = entry.outcome {
            assert_eq!(
                before, reply.outcome,
                "I1: another outcome than before: {entry:?}"
            );
            assert_eq!(
                entry.load, load,
                "I1: another result than before: {entry:?}"
            );
            assert!(
                !entry.acked,
                "I1: sent again, though acknowledged: {entry:?}"
            );
            assert!(entry.session < session, "I1: two outcomes: {reply:?}");
            entry.session = session;
            self.redelivered += 1;
            return;
        }
        entry.outcome = Some(reply.outcome);
        entry.session = session;
        entry.load = load;
        let entry = *entry;
        check_truth(now, &entry, reply, load);
        if let Outcome::TimedOut(deadline) = reply.outcome {
            let kind = usize::from(entry.published) + usize::from(deadline == Deadline::Finish);
            self.deadlines[kind.min(2)] += 1;
        }
        if let Some(whole) = entry.whole
            && let Some(whole) = self.tasks.get(whole)
        {
            assert_eq!(whole.outcome, None, "I1: {reply:?} comes after the summary");
            whole.parts += 1;
            whole.parts_completed += u32::from(reply.outcome == Outcome::Completed);
        }
    }
}

impl Entry {
    const fn new(client: ClientId, submit: Submit, at: Instant, addressed: Option<u32>) -> Self {
        Self {
            client,
            submit,
            at,
            addressed,
            parts: 0,
            parts_completed: 0,
            whole: None,
            starts: 0,
            cancel_asked: false,
            published: false,
            outcome: None,
            acked: false,
            session: 0,
            load: None,
        }
    }
}

/// Whether what the client is told is so.
fn check_truth(now: Instant, entry: &Entry, reply: &OutcomeReply, load: Option<u64>) {
    assert_eq!(
        reply.part,
        entry.whole.is_some(),
        "I1: a part or not: {reply:?}"
    );
    match reply.outcome {
        Outcome::Completed | Outcome::Failed => {
            assert!(
                entry.starts > 0,
                "I1: a result of what never started: {reply:?}"
            );
            let number = load.unwrap_or_else(|| panic!("I1: a result without payload: {reply:?}"));
            assert!(
                (1..=u8::MAX).any(|attempt| number == result_number(reply.handle, attempt)),
                "I3: the result of another task: {reply:?}"
            );
        }
        Outcome::Cancelled { started } => {
            assert!(entry.cancel_asked, "I4: nobody has cancelled {reply:?}");
            // Whatever was handed over and perhaps lost on its way counts as started.
            assert_eq!(
                started,
                entry.starts > 0,
                "I4: {reply:?}, {} starts",
                entry.starts
            );
        }
        Outcome::TimedOut(deadline) => {
            let ms = match deadline {
                Deadline::Start => entry.submit.start_within_ms,
                Deadline::Finish => entry.submit.finish_within_ms,
            };
            assert!(ms > 0, "I13: timed out without a deadline: {reply:?}");
            let due = entry.at.after_ms(u64::from(ms));
            assert!(now >= due, "I13: timed out too early: {reply:?}");
            let is_waiting = deadline == Deadline::Finish || entry.starts == 0;
            assert!(is_waiting, "I13: it had started in time: {reply:?}");
        }
        Outcome::Summary { parts, completed } => {
            assert_eq!(Some(parts), entry.addressed, "I1: {reply:?}");
            assert_eq!(parts, entry.parts, "I1: a part is missing: {reply:?}");
            assert_eq!(completed, entry.parts_completed, "I1: {reply:?}");
        }
        Outcome::WorkerLost => {}
        _ => panic!("I1: an outcome that nothing leads to: {reply:?}"),
    }
    if !matches!(reply.outcome, Outcome::Completed | Outcome::Failed) {
        assert!(
            !reply.has_payload,
            "I1: a payload that is no result: {reply:?}"
        );
    }
}

/// The payload of the result of an attempt.
pub(crate) const fn result_number(handle: TaskHandle, attempt: u8) -> u64 {
    mix(handle.to_bits() ^ (attempt as u64) << 56)
}

/// The payload that belongs to a report.
pub(crate) fn result_of(report: &taskyard_core::Report) -> Option<u64> {
    let job = job_of(report);
    (report.verdict != Verdict::Aborted).then(|| result_number(job.handle, job.attempt.0))
}
