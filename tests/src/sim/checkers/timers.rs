//! I13: a deadline fires within one cycle. (That none fires early is seen where outcomes are.)

use taskyard_core::{ClientId, Instant, Submitted, TaskHandle};

use super::BySlot;
use crate::sim::fact::Fact;

/// How exact the scheduler's clockwork is: deadlines are told apart by so much.
const TICK_NS: u64 = 1 << 20;

#[derive(Clone, Copy, Debug)]
struct Entry {
    client: ClientId,
    due: Instant,
    is_settled: bool,
}

#[derive(Debug)]
pub(crate) struct Timers {
    tasks: BySlot<Entry>,
    up: Vec<ClientId>,
}

impl Timers {
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            tasks: BySlot::new(slots),
            up: Vec::new(),
        }
    }

    pub(crate) fn see(&mut self, now: Instant, fact: &Fact) {
        match *fact {
            Fact::ClientUp { client, .. } if !self.up.contains(&client) => self.up.push(client),
            Fact::ClientDown(client) | Fact::Goodbye(client) => {
                self.up.retain(|other| *other != client);
            }
            Fact::Submitted {
                client,
                submit,
                answer: Submitted::Accepted(handle),
                ..
            } => {
                let ms = [submit.start_within_ms, submit.finish_within_ms];
                let first = ms.into_iter().filter(|ms| *ms > 0).min();
                let due = first.map_or(Instant::NEVER, |ms| now.after_ms(u64::from(ms)));
                self.tasks.insert(
                    handle,
                    Entry {
                        client,
                        due,
                        is_settled: false,
                    },
                );
            }
            // If its time was up already, it is looked at with the next tick.
            Fact::TakenBack(job) => {
                if let Some(entry) = self.tasks.get(job.handle) {
                    entry.due = entry.due.max(now);
                }
            }
            // When it is too late, its worker decides whether it has started, in its own time.
            Fact::Started(job) | Fact::Prefetched(job) => self.settle(job.handle),
            Fact::Outcome(reply, _) => self.settle(reply.handle),
            // Its own deadlines are its parts'.
            Fact::Shared { from, to } => {
                self.settle(from);
                self.settle(to);
            }
            _ => {}
        }
    }

    fn settle(&mut self, handle: TaskHandle) {
        if let Some(entry) = self.tasks.get(handle) {
            entry.is_settled = true;
        }
    }

    /// Everything that is due has been done: what waits beyond its deadline was forgotten.
    pub(crate) fn at_rest(&self, now: Instant) {
        for (handle, entry) in self.tasks.iter() {
            let is_late = entry.due.0.saturating_add(TICK_NS) <= now.0;
            let late = is_late && !entry.is_settled && self.up.contains(&entry.client);
            assert!(
                !late,
                "I13: {handle:?} was due at {:?}, it is {now:?}",
                entry.due
            );
        }
    }
}
