//! I16 and I17: what is more urgent goes first, and clients of one level take turns.

use taskyard_core::{
    ClientId, Envelope, Priority, Reported, Revoked, Scheduler, Submitted, Target, TaskHandle,
    TaskInfo,
};

use super::BySlot;
use crate::sim::fact::{Fact, Post};

/// Looks after which what came back to the front is likely to have gone out again.
const CALM_LOOKS: u32 = 8;

#[derive(Clone, Copy, Debug)]
struct Entry {
    client: ClientId,
    target: Target,
    level: Priority,
    publishes: u32,
}

#[derive(Debug)]
pub(crate) struct Levels {
    tasks: BySlot<Entry>,
    /// Turns at the pool since the last look, and how many were first publishes.
    turns: Vec<(ClientId, Priority, u32)>,
    /// So many looks ago something may have come back to the front of a backlog.
    calm_looks: u32,
}

impl Levels {
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            tasks: BySlot::new(slots),
            turns: Vec::new(),
            calm_looks: CALM_LOOKS,
        }
    }

    pub(crate) fn see(&mut self, fact: &Fact) {
        match *fact {
            Fact::Submitted {
                client,
                submit,
                answer: Submitted::Accepted(handle),
                ..
            } => {
                let (target, level) = (submit.target, submit.priority);
                self.tasks.insert(
                    handle,
                    Entry {
                        client,
                        target,
                        level,
                        publishes: 0,
                    },
                );
            }
            Fact::Shared { from, to } => {
                if let Some(&mut entry) = self.tasks.get(from) {
                    self.tasks.insert(to, entry);
                }
            }
            Fact::Injected(envelope) => self.injected(envelope.handle),
            Fact::Returned(_)
            | Fact::WorkerDown(_)
            | Fact::Reported(_, Reported::Retried)
            | Fact::Revoked(_, _, Revoked::Won) => self.calm_looks = 0,
            _ => {}
        }
    }

    fn injected(&mut self, handle: TaskHandle) {
        let Some(entry) = self.tasks.get(handle) else {
            return;
        };
        entry.publishes += 1;
        // One that comes back unsent takes the turn of its client, but is no turn more.
        let is_first = u32::from(entry.publishes == 1);
        let (client, level) = (entry.client, entry.level);
        let mut turns = self.turns.iter_mut();
        match turns.find(|turn| (turn.0, turn.1) == (client, level)) {
            Some(turn) => turn.2 += is_first,
            None => self.turns.push((client, level, is_first)),
        }
    }

    /// What has just left its backlog was the most urgent there.
    pub(crate) fn check(&mut self, scheduler: &Scheduler, envelope: Envelope, to: Option<Post>) {
        let Some(&mut Entry { target, level, .. }) = self.tasks.get(envelope.handle) else {
            return;
        };
        // What runs again has a queue of its own, and is counted with the rest.
        if scheduler.stats().rerun + scheduler.stats().retried > 0 {
            return;
        }
        let backlog = match (target, to) {
            (Target::Any | Target::Label(_), _) => target,
            (_, Some(post)) => Target::Worker(post.worker),
            (_, None) => return,
        };
        for other in (level.level() + 1..Priority::COUNT as u8).map(Priority::new) {
            let waiting = scheduler.depth(backlog, other);
            assert_eq!(
                waiting, 0,
                "I16: {envelope:?} of {level:?} goes before {other:?}"
            );
        }
    }

    /// Of those that have waited since the last look, none was passed over twice by one other.
    pub(crate) fn check_turns<'a>(&mut self, waited: impl Iterator<Item = &'a TaskInfo>) {
        for info in waited.filter(|info| info.target == Target::Any) {
            let Some(client) = info.client else { continue };
            let level = info.priority;
            let had_a_turn = self
                .turns
                .iter()
                .any(|turn| (turn.0, turn.1) == (client, level));
            let others = self
                .turns
                .iter()
                .filter(|turn| turn.1 == level)
                .map(|turn| turn.2);
            let most = others.max().unwrap_or(0);
            let is_fair = had_a_turn || most <= 1 || self.calm_looks < CALM_LOOKS;
            assert!(is_fair, "I17: {info:?} waits, others had {most} turns");
        }
        self.turns.clear();
        self.calm_looks += 1;
    }
}
