//! Prefetch: tasks that are sent to a worker before it has a slot for them, so that the next one is
//! there when a slot becomes free. A worker opts in by saying how many it takes.
//!
//! ```text
//!               ┌── revoke lost ──────────┐
//!   Queued ─────┤                         ▼
//!               └── claimed ahead ──▶ Prefetched ── started, or reported ──▶ Running, Done
//!                                      ▲      │
//!                         (a wish:     │      │ given back
//!                          recalled)───┘      ▼
//!                                  backlog, Cancelled or TimedOut
//! ```
//! Who holds the task now is no thread of ours, so no claim word can decide whether it has started:
//! the worker does. A task that may have been sent ahead counts as started only when the worker
//! says so, or reports on it, or is lost (rule R1). To take one away is to *recall* it: the worker
//! gives it back, or has said already that it has started. There is no time limit for that answer.
//! A worker that computes may not read for long, and that is no reason to give it up.
//!
//! Of tasks in a mailbox nobody reports the claim. So a task that a prefetching worker was mailed
//! may wait there, be on its way, or run. A revoke that is lost finds out that it is not in the
//! mailbox, and the recall that follows finds out the rest.
//!
//! Those that others may run too stand among their worker's offers until they are recalled: when
//! another worker is hungry, they are sought there like any offer.

use super::Scheduler;
use super::tasks::label_of;
use crate::id::{Attempt, Epoch, TaskHandle, WorkerId};
use crate::task::{TaskState, Wish};
use crate::time::Instant;

impl Scheduler {
    /// A pooled task was claimed for a worker without a free slot, to be sent ahead.
    pub fn handle_prefetched(
        &mut self,
        _now: Instant,
        handle: TaskHandle,
        attempt: Attempt,
        worker: WorkerId,
        epoch: Epoch,
    ) {
        let Some(index) = self.claimed_from_pool(handle, attempt, worker, epoch) else {
            return;
        };
        self.stats.prefetched += 1;
        if !self.is_up(worker, epoch) {
            // Nobody is left to say that it has not started.
            self.stats.started += 1;
            self.lose(index);
            return;
        }
        let record = &mut self.tasks.records[index as usize];
        let directed = record.is_directed();
        record.state = TaskState::Prefetched;
        let wish = core::mem::replace(&mut record.wish, Wish::None);
        let holder = &mut self.workers[worker.0 as usize];
        holder
            .mail(directed)
            .push_back(&mut self.tasks.records, index);
        holder.named += 1;
        self.load(worker.0, |record| record.taken += 1);
        if wish != Wish::None {
            self.recall(index, wish);
        }
    }

    /// The worker has started a task that it was sent ahead.
    pub fn handle_started(
        &mut self,
        now: Instant,
        handle: TaskHandle,
        attempt: Attempt,
        worker: WorkerId,
        epoch: Epoch,
    ) {
        let found = self.find_out(handle, attempt, worker, epoch);
        let ahead = found.filter(|index| {
            let state = self.tasks.records[*index as usize].state;
            !state.has_started()
        });
        let Some(index) = ahead else {
            self.stats.stale_claim += 1;
            return;
        };
        self.stats.started += 1;
        self.workers[worker.0 as usize].heard_at = now;
        let record = &mut self.tasks.records[index as usize];
        let sought = record.wish == Wish::Reoffer;
        let wish = record.wish.once_started();
        let (label, directed) = (label_of(record.home.route()), record.is_directed());
        match record.state {
            TaskState::Prefetched => self.leave_prefetched(index),
            // It is known to be claimed: what is said about the revoke comes too late.
            TaskState::Revoking if record.place.is_linked() => {
                self.revokes.remove(&mut self.tasks.records, index);
            }
            TaskState::Queued => self.workers[worker.0 as usize]
                .mail(directed)
                .remove(&mut self.tasks.records, index),
            _ => {}
        }
        self.tasks.records[index as usize].wish = wish;
        self.run(now, index);
        self.reclass(worker.0);
        if sought {
            self.stir(label);
        }
    }

    /// The worker gives a task back that it was sent ahead: it has not started, and never will.
    pub fn handle_given_back(
        &mut self,
        _now: Instant,
        handle: TaskHandle,
        attempt: Attempt,
        worker: WorkerId,
        epoch: Epoch,
    ) {
        let Some(index) = self.find_out(handle, attempt, worker, epoch) else {
            self.stats.stale_return += 1;
            return;
        };
        let state = self.tasks.records[index as usize].state;
        if state.has_started() {
            // It has said that it has started.
            self.stats.stale_return += 1;
        } else {
            self.stats.given_back += 1;
            self.take_back(index);
        }
    }

    /// Takes a task away from a worker that has not started it, as far as is known; one that runs
    /// stays.
    pub(super) fn withdraw(&mut self, index: u32, wish: Wish) {
        match self.tasks.records[index as usize].state {
            TaskState::Queued => self.revoke(index, wish),
            TaskState::Prefetched => self.recall(index, wish),
            _ => {}
        }
    }

    /// Asks for a task back that was sent ahead, for the reason given. It is asked for once, and
    /// the weightiest reason counts.
    pub(super) fn recall(&mut self, index: u32, wish: Wish) {
        let record = &mut self.tasks.records[index as usize];
        debug_assert_eq!(record.state, TaskState::Prefetched);
        let asked = record.wish != Wish::None;
        if asked && !(record.wish.yields() && wish != Wish::Reoffer) {
            return;
        }
        self.removing += u32::from(wish == Wish::Remove);
        self.removing -= u32::from(record.wish == Wish::Remove);
        record.wish = wish;
        if asked {
            return;
        }
        let (place, directed) = (record.worker, record.is_directed());
        self.workers[place as usize]
            .mail(directed)
            .remove(&mut self.tasks.records, index);
        self.due_back(index, place);
        self.reclass(place);
    }

    /// Whether a task that was mailed and is not in the mailbox any more may not have started.
    pub(super) fn may_have_prefetched(&self, index: u32) -> bool {
        let record = &self.tasks.records[index as usize];
        let worker = &self.workers[record.worker as usize];
        worker.prefetch > 0 && worker.is_up()
    }

    /// Asks for a task back whose revoke was lost, and that is in no list.
    pub(super) fn ask_back(&mut self, index: u32) {
        let record = &mut self.tasks.records[index as usize];
        let place = record.worker;
        record.state = TaskState::Prefetched;
        self.removing += u32::from(record.wish == Wish::Remove);
        self.due_back(index, place);
    }

    fn due_back(&mut self, index: u32, place: u32) {
        self.tasks.records[index as usize].abort_due = true;
        self.stats.recalled += 1;
        self.workers[place as usize]
            .aborts
            .push_back(&mut self.tasks.records, index);
        self.mark_control(place);
    }

    /// Takes a task out of wherever it stands at the worker that it was sent to ahead.
    pub(super) fn leave_prefetched(&mut self, index: u32) {
        let record = &mut self.tasks.records[index as usize];
        self.removing -= u32::from(record.wish == Wish::Remove);
        let due = core::mem::take(&mut record.abort_due);
        let (recalled, directed) = (record.wish != Wish::None, record.is_directed());
        let holder = &mut self.workers[record.worker as usize];
        let list = if due {
            &mut holder.aborts
        } else if recalled {
            &mut holder.assigned
        } else {
            holder.mail(directed)
        };
        list.remove(&mut self.tasks.records, index);
    }
}
