//! Notices: what a client is told of a task that has no outcome yet, that it runs again.
//!
//! They wait in a table of their own, in a list per client, and go out before the client's
//! outcomes: so nobody reads of a re-run after its outcome. A notice is no promise, as an outcome
//! is: none waits for a client that is gone, and when the table is full the newest is dropped and
//! counted.

use alloc::vec::Vec;

use super::Scheduler;
use crate::effect::{NoticeReply, Reply};
use crate::id::{Attempt, Epoch, TaskId, WorkerId};
use crate::list::{Link, List, NIL, linked};

/// Role: notices of one client, or places that are free.
pub(crate) enum Noted {}

#[derive(Debug)]
struct NoticeRecord {
    task: TaskId,
    attempt: Attempt,
    worker: WorkerId,
    epoch: Epoch,
    noted: Link,
}

linked!(NoticeRecord, Noted, noted);

/// All notices that wait.
#[derive(Debug)]
pub(super) struct Notices {
    records: Vec<NoticeRecord>,
    free: List<Noted>,
    capacity: usize,
}

impl Notices {
    /// More than the tasks of many workers that are lost at once.
    const MAX: u32 = 1 << 16;

    pub(super) fn new(tasks: u32) -> Self {
        let capacity = tasks.min(Self::MAX) as usize;
        Self {
            records: Vec::with_capacity(capacity),
            free: List::new(),
            capacity,
        }
    }

    fn take(&mut self) -> Option<u32> {
        if self.records.len() < self.capacity {
            self.records.push(NoticeRecord {
                task: TaskId(0),
                attempt: Attempt(0),
                worker: WorkerId(0),
                epoch: Epoch(0),
                noted: Link::UNLINKED,
            });
            return Some(self.records.len() as u32 - 1);
        }
        self.free.pop_front(&mut self.records)
    }

    /// How many there are places for, how many of those are free.
    pub(super) fn count(&self) -> (usize, usize) {
        (self.records.len(), self.free.iter(&self.records).count())
    }

    pub(super) fn count_of(&self, list: &List<Noted>) -> usize {
        list.iter(&self.records).count()
    }
}

impl Scheduler {
    /// The client of a task is to be told that its present attempt was lost and the next one waits.
    pub(super) fn notify_rerun(&mut self, index: u32) {
        let record = &self.tasks.records[index as usize];
        let owner = record.client;
        if owner == NIL || !self.clients[owner as usize].may_receive() {
            return;
        }
        let Some(place) = self.notices.take() else {
            self.stats.notices_dropped += 1;
            return;
        };
        let notice = &mut self.notices.records[place as usize];
        notice.task = record.task;
        notice.attempt = record.attempt;
        notice.worker = WorkerId(record.worker);
        notice.epoch = record.epoch;
        self.clients[owner as usize]
            .notices
            .push_back(&mut self.notices.records, place);
        self.mark_turn(owner);
    }

    /// The first notice of a client.
    pub(super) fn poll_notice(&mut self, owner: u32) -> Option<Reply> {
        let client = &mut self.clients[owner as usize];
        let place = client.notices.pop_front(&mut self.notices.records)?;
        let NoticeRecord {
            task,
            attempt,
            worker,
            epoch,
            ..
        } = self.notices.records[place as usize];
        self.notices
            .free
            .push_back(&mut self.notices.records, place);
        Some(Reply::Notice(NoticeReply {
            client: client.id(owner),
            task,
            attempt,
            worker,
            epoch,
        }))
    }

    /// Nobody is there to be told.
    pub(super) fn drop_notices(&mut self, owner: u32) {
        let client = &mut self.clients[owner as usize];
        let waiting = &mut client.notices;
        self.notices
            .free
            .prepend(&mut self.notices.records, waiting);
    }
}
