//! Attempts that outlive their worker's connection: the process comes back, and still runs them.
//!
//! ```text
//!  Running ── said to run still ──▶ marked ── its worker is back ──▶ Carried ── reported ──▶ Done
//!     ▲                               │ the worker is lost              │ the name is lost again
//!     │                               ▼                                 │
//!     │                      as any that is lost                        │
//!     └─────────────────────────────────────────────────────────────────┘
//! ```
//! A worker process that registers anew says, before it does, what it still runs of what its
//! earlier incarnations were given (rule R5). Such an attempt is not lost with the incarnation: it
//! stays with the place where it was given out, which is `Returned` as long as there are any, and
//! is reported as a hand-in. Everything else that the old place had is settled as for any loss.
//!
//! Only the process that was given an attempt is believed. The epochs granted last are kept with
//! the process that each went to, so hand-ins of another process can be told apart, whatever port
//! they come through.

use alloc::vec::Vec;

use super::Scheduler;
use crate::event::{AttemptAt, Revoked, StillRuns};
use crate::id::{Epoch, WorkerId};
use crate::task::TaskState;
use crate::time::Instant;
use crate::worker::WorkerState;

/// Which process each of the latest epochs was granted to.
#[derive(Debug)]
pub(super) struct Grants {
    latest: Vec<(Epoch, u64)>,
    capacity: usize,
}

impl Grants {
    /// Remembers the last few registrations of each of so many workers.
    pub(super) fn new(workers: u32) -> Self {
        let capacity = workers as usize * 4;
        Self {
            latest: Vec::with_capacity(capacity),
            capacity,
        }
    }

    /// Epochs come one after the other, from 1.
    pub(super) fn note(&mut self, epoch: Epoch, instance: u64) {
        let at = epoch.0 as usize % self.capacity;
        // The first comes at 1, and the place before it is nobody's.
        while self.latest.len() <= at {
            self.latest.push((Epoch(0), 0));
        }
        self.latest[at] = (epoch, instance);
    }

    /// Whether this epoch went to this process. Of one that lies too far back, nobody knows.
    pub(super) fn is_of(&self, epoch: Epoch, instance: u64) -> bool {
        let at = epoch.0 as usize % self.capacity;
        epoch != Epoch(0) && self.latest.get(at) == Some(&(epoch, instance))
    }
}

impl Scheduler {
    /// A worker process that is about to register says that it still runs an attempt that an
    /// earlier incarnation of it was given: it is not lost with that one, unless it is already.
    ///
    /// `answer` is `None` at first. When that gives [`StillRuns::AskFirst`], revoke the task under
    /// that stamp and call again at once with what came out.
    pub fn handle_still_runs(
        &mut self,
        now: Instant,
        instance: u64,
        attempt: AttemptAt,
        answer: Option<Revoked>,
    ) -> StillRuns {
        let AttemptAt {
            worker,
            epoch,
            handle,
            attempt,
        } = attempt;
        let found = self.find_out(handle, attempt, worker, epoch);
        let Some(index) = found.filter(|_| self.was_granted(worker, epoch, instance)) else {
            return self.drop_claim();
        };
        let record = &self.tasks.records[index as usize];
        match (record.state, answer) {
            (TaskState::Queued | TaskState::Revoking, None) => {
                return StillRuns::AskFirst(record.stamp);
            }
            (TaskState::Queued | TaskState::Revoking, Some(Revoked::Lost)) => {
                // What is said about the revoke that was under way comes too late.
                self.started_by_mail(now, index);
            }
            (TaskState::Queued | TaskState::Revoking, Some(Revoked::Won)) => {
                // It was never claimed: whoever says so says what is not so.
                self.withdrawn(index);
                return self.drop_claim();
            }
            (TaskState::Prefetched, _) => {
                self.handle_started(now, handle, attempt, worker, epoch);
            }
            _ => {}
        }
        let record = &mut self.tasks.records[index as usize];
        if record.state != TaskState::Running {
            return self.drop_claim();
        }
        record.carried = true;
        StillRuns::Noted
    }

    /// Whether this incarnation was that process's. Of one that still has a place this is known for
    /// ever, however many have registered since: what is carried there must find its end.
    pub(super) fn was_granted(&self, worker: WorkerId, epoch: Epoch, instance: u64) -> bool {
        let place = self.workers.get(worker.0 as usize);
        let is_here = place.is_some_and(|place| {
            place.state != WorkerState::Free && (place.epoch, place.instance) == (epoch, instance)
        });
        is_here || self.grants.is_of(epoch, instance)
    }

    fn drop_claim(&mut self) -> StillRuns {
        self.stats.stale_claim += 1;
        StillRuns::Dropped
    }

    /// A task that was mailed has started: its claim was seen.
    fn started_by_mail(&mut self, now: Instant, index: u32) {
        let (handle, attempt, worker, epoch) = {
            let record = &self.tasks.records[index as usize];
            let worker = WorkerId(record.worker);
            (record.handle(index), record.attempt, worker, record.epoch)
        };
        self.handle_started(now, handle, attempt, worker, epoch);
    }

    /// The first task of a place that is being left stays, if the process that is back runs it.
    pub(super) fn carry(&mut self, index: u32, place: u32) -> bool {
        let record = &mut self.tasks.records[index as usize];
        let worker = &mut self.workers[place as usize];
        if !worker.is_back || !record.carried || record.state != TaskState::Running {
            return false;
        }
        record.state = TaskState::Carried;
        worker.assigned.remove(&mut self.tasks.records, index);
        worker.carried.push_back(&mut self.tasks.records, index);
        worker.carried_len += 1;
        worker.settled.carried += 1;
        self.stats.carried += 1;
        true
    }

    /// Takes a carried task out of its place's list.
    pub(super) fn leave_carried(&mut self, index: u32) {
        let place = self.tasks.records[index as usize].worker;
        let worker = &mut self.workers[place as usize];
        worker.carried.remove(&mut self.tasks.records, index);
        worker.carried_len -= 1;
    }

    /// All that is left at a place is what its process still runs.
    pub(super) fn await_carried(&mut self, place: u32) {
        self.leaving.remove(&mut self.workers, place);
        self.workers[place as usize].state = WorkerState::Returned;
        self.update_ghost(place);
        self.settled(place);
    }

    /// The last carried task of a place has ended: the rest of its way out.
    pub(super) fn end_return(&mut self, place: u32) {
        self.workers[place as usize].state = WorkerState::Leaving;
        self.leaving.push_back(&mut self.workers, place);
        self.update_ghost(place);
    }

    /// The process of a place that has returned is lost again: what it carried is as if it ran at
    /// that place alone.
    pub(super) fn drop_carried(&mut self, place: u32) {
        while let Some(index) = self.workers[place as usize].carried.front() {
            self.leave_carried(index);
            self.tasks.records[index as usize].state = TaskState::Running;
            self.workers[place as usize]
                .assigned
                .push_back(&mut self.tasks.records, index);
        }
    }
}
