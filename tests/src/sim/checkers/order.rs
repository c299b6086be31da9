//! I10: directed tasks of one client and level that were never offered twice, nor asked back, start
//! in the order of their submits.

use std::collections::HashMap;

use taskyard_core::{ClientId, Submitted, Target};

use super::BySlot;
use crate::sim::fact::{Fact, Job};

#[derive(Clone, Copy, Debug)]
struct Entry {
    client: ClientId,
    serial: u64,
    level: u8,
    /// The latest incarnation that there was.
    epoch: u32,
    offers: u32,
}

#[derive(Debug)]
pub(crate) struct Order {
    tasks: BySlot<Entry>,
    serial: u64,
    epoch: u32,
    /// The last that started, by client, incarnation and level.
    last: HashMap<(u64, u32, u8), u64>,
}

impl Order {
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            tasks: BySlot::new(slots),
            serial: 0,
            epoch: 0,
            last: HashMap::new(),
        }
    }

    pub(crate) fn see(&mut self, fact: &Fact) {
        match *fact {
            Fact::Submitted {
                client,
                submit,
                answer: Submitted::Accepted(handle),
                ..
            } if matches!(submit.target, Target::Worker(_) | Target::Named(_)) => {
                self.serial += 1;
                let (serial, epoch) = (self.serial, self.epoch);
                let level = submit.priority.level();
                self.tasks.insert(
                    handle,
                    Entry {
                        client,
                        serial,
                        level,
                        epoch,
                        offers: 0,
                    },
                );
            }
            Fact::Admitted { post, .. } => self.epoch = post.epoch.0,
            Fact::Offered(_, envelope) => {
                if let Some(entry) = self.tasks.get(envelope.handle) {
                    entry.offers += 1;
                }
            }
            // If it is lost on its way back it counts as started, and nobody knows when.
            Fact::Recall(job) => {
                if let Some(entry) = self.tasks.get(job.handle) {
                    entry.offers += 1;
                }
            }
            Fact::Started(job) => self.started(job),
            Fact::Drained(post) => self.last.retain(|(_, epoch, _), _| *epoch != post.epoch.0),
            _ => {}
        }
    }

    fn started(&mut self, job: Job) {
        let entry = self.tasks.get(job.handle).copied();
        let Some(Entry {
            client,
            serial,
            level,
            epoch,
            offers: 1,
        }) = entry
        else {
            return;
        };
        if job.post.epoch.0 > epoch {
            // It was meant for an earlier incarnation, and has waited for this one.
            return;
        }
        let last = self
            .last
            .entry((client.to_bits(), job.post.epoch.0, level))
            .or_default();
        assert!(
            *last < serial,
            "I10: {job:?}, submitted as {serial}, starts after {last}"
        );
        *last = serial;
    }
}
