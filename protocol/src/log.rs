//! What a shard writes into its log of its workers: a fact each, for whoever owns a log.

use std::collections::VecDeque;

use taskyard_core::{Epoch, Settled, WorkerId};

use crate::codes::Rejection;

/// Something that befell a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerLog {
    /// It was admitted.
    Registered {
        /// Its place in the table.
        worker: WorkerId,
        /// Its incarnation.
        epoch: Epoch,
        /// Its name.
        name: Box<str>,
        /// How many tasks it runs at once.
        slots: u16,
    },
    /// It is gone, and may be back before anything is done about its tasks.
    Gone {
        /// Its place in the table.
        worker: WorkerId,
        /// Its incarnation.
        epoch: Epoch,
        /// Its name.
        name: Box<str>,
        /// Why.
        reason: &'static str,
    },
    /// It is gone, and this became of its tasks.
    Lost {
        /// Its place in the table.
        worker: WorkerId,
        /// Its incarnation.
        epoch: Epoch,
        /// Its name.
        name: Box<str>,
        /// Why.
        reason: &'static str,
        /// What became of its tasks.
        settled: Settled,
    },
    /// It was not admitted.
    Rejected {
        /// Its name.
        name: Box<str>,
        /// Why.
        rejection: Rejection,
    },
}

/// Facts that wait to be written. They come with registrations and losses only.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    waiting: VecDeque<WorkerLog>,
    dropped: u64,
}

impl Logs {
    /// More than a storm leaves between two turns of a shard's loop.
    const MAX: usize = 8192;

    pub(crate) fn push(&mut self, log: WorkerLog) {
        if self.waiting.len() < Self::MAX {
            self.waiting.push_back(log);
        } else {
            self.dropped += 1;
        }
    }

    pub(crate) fn pop(&mut self) -> Option<WorkerLog> {
        self.waiting.pop_front()
    }

    /// How many there was no room for.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }
}
