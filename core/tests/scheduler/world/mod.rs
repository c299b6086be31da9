//! A tiny world for the scheduler to act upon: claim words, mailboxes, a pool, payloads. It
//! executes effects the way a driver must, one after the other, and checks what a driver may rely
//! on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use taskyard_core::{
    Attempt, Config, Effect, Envelope, Epoch, Instant, PortId, Reply, Revoked, Scheduler, Stamp,
    TaskHandle, WorkerId,
};

/// A claim word.
#[derive(Clone, Copy, Debug, Default)]
struct Word {
    stamp: Stamp,
    queued: bool,
}

/// A task in somebody's hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) handle: TaskHandle,
    pub(crate) attempt: Attempt,
    pub(crate) worker: WorkerId,
    pub(crate) epoch: Epoch,
}

/// What popping an envelope gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Popped {
    Claimed(Job),
    Tombstone,
}

pub(crate) struct World {
    pub(crate) scheduler: Scheduler,
    pub(crate) now: Instant,
    words: Vec<Word>,
    pub(crate) mailboxes: BTreeMap<WorkerId, VecDeque<Envelope>>,
    pub(crate) pool: VecDeque<Envelope>,
    /// Handles under which a payload is stored.
    pub(crate) payloads: BTreeSet<TaskHandle>,
    /// A driver with a bug: it claims tombstones, too.
    pub(crate) claims_tombstones: bool,
    /// These steps were checked before.
    pub(crate) is_replay: bool,
}

impl World {
    pub(crate) fn new(config: Config) -> Self {
        let limits = config.validate().expect("a configuration that makes sense");
        Self {
            scheduler: Scheduler::new(&limits),
            now: Instant(0),
            words: vec![Word::default(); limits.tasks() as usize],
            mailboxes: BTreeMap::new(),
            pool: VecDeque::new(),
            payloads: BTreeSet::new(),
            claims_tombstones: false,
            is_replay: false,
        }
    }

    /// Checks the scheduler's tables.
    pub(crate) fn check(&self) {
        if !self.is_replay {
            self.scheduler.sanity_check();
        }
    }

    /// Executes up to `limit` effects; whether there may be more.
    pub(crate) fn run_effects(&mut self, limit: usize) -> bool {
        for _ in 0..limit {
            let Some(effect) = self.scheduler.poll_effect(self.now) else {
                let again = self
                    .scheduler
                    .next_timeout()
                    .is_some_and(|at| at == Instant(0));
                return again;
            };
            self.execute(effect);
            self.check();
        }
        true
    }

    /// Fills the pool as far as the scheduler wants and `room` allows.
    pub(crate) fn inject(&mut self, room: usize) {
        while self.pool.len() < room {
            let Some(envelope) = self.scheduler.poll_inject(self.now) else {
                break;
            };
            self.publish(envelope);
            self.pool.push_back(envelope);
            self.check();
        }
        assert!(
            self.pool.len() <= self.scheduler.limits().pool() as usize,
            "pool overflow"
        );
    }

    /// Takes up to `limit` replies of all ports.
    pub(crate) fn replies(&mut self, limit: usize) -> Vec<(PortId, Reply)> {
        let mut replies = Vec::new();
        while let Some(port) = self.scheduler.poll_due_port() {
            while replies.len() < limit {
                let Some(reply) = self.scheduler.poll_reply(self.now, port) else {
                    break;
                };
                self.check();
                if let Reply::Outcome(outcome) = &reply
                    && !outcome.keep
                {
                    self.payloads.remove(&outcome.handle);
                }
                replies.push((port, reply));
            }
            if replies.len() == limit {
                self.scheduler.defer_port(port);
                break;
            }
        }
        replies
    }

    pub(crate) fn pop_mailbox(&mut self, worker: WorkerId, epoch: Epoch) -> Option<Popped> {
        let envelope = self.mailboxes.get_mut(&worker)?.pop_front()?;
        Some(self.claim(envelope, worker, epoch))
    }

    pub(crate) fn steal(&mut self, worker: WorkerId, epoch: Epoch) -> Option<Popped> {
        let envelope = self.pool.pop_front()?;
        Some(self.claim(envelope, worker, epoch))
    }

    pub(crate) fn revoke(&mut self, handle: TaskHandle, stamp: Stamp) -> Revoked {
        let word = &mut self.words[handle.index() as usize];
        if word.queued && word.stamp == stamp {
            word.queued = false;
            Revoked::Won
        } else {
            Revoked::Lost
        }
    }

    fn execute(&mut self, effect: Effect) {
        match effect {
            Effect::Offer { worker, envelope } => {
                self.publish(envelope);
                let mailbox = self.mailboxes.entry(worker).or_default();
                mailbox.push_back(envelope);
                let capacity = self.scheduler.limits().mailbox() as usize;
                assert!(mailbox.len() <= capacity, "mailbox overflow");
            }
            Effect::Revoke { handle, stamp } => {
                let answer = self.revoke(handle, stamp);
                self.scheduler
                    .handle_revoked(self.now, handle, stamp, answer);
            }
            Effect::Share { from, to } => {
                assert!(self.payloads.contains(&from), "nothing to share");
                assert!(self.payloads.insert(to), "a payload in the way");
            }
            // A task that was accepted on paper only has none.
            Effect::Release { handle } => {
                self.payloads.remove(&handle);
            }
        }
    }

    fn publish(&mut self, envelope: Envelope) {
        let word = &mut self.words[envelope.handle.index() as usize];
        assert!(!word.queued, "published twice");
        assert!(word.stamp < envelope.stamp, "a stamp that does not grow");
        assert!(
            self.payloads.contains(&envelope.handle),
            "published without a payload"
        );
        *word = Word {
            stamp: envelope.stamp,
            queued: true,
        };
    }

    fn claim(&mut self, envelope: Envelope, worker: WorkerId, epoch: Epoch) -> Popped {
        let word = &mut self.words[envelope.handle.index() as usize];
        if (word.queued && word.stamp == envelope.stamp) || self.claims_tombstones {
            word.queued = false;
            let Envelope {
                handle, attempt, ..
            } = envelope;
            Popped::Claimed(Job {
                handle,
                attempt,
                worker,
                epoch,
            })
        } else {
            Popped::Tombstone
        }
    }
}
