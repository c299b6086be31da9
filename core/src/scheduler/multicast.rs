//! Multicast: one record for the whole, one part per worker that was attached at the submit.
//!
//! A multicast is accepted with a place reserved for every part, or refused. Parts are made one per
//! step of housekeeping, in the order in which the workers were admitted. Which workers are meant
//! is not copied: it is those that were admitted before and had not been lost before. Both follow
//! from the roster (in order of admission, so the first `total` that qualify are the ones) and from
//! the count of losses at the submit. A place is not freed while a multicast that may mean it is
//! not made.

use super::tasks::Side;
use super::{Scheduler, Step};
use crate::effect::Effect;
use crate::event::Submitted;
use crate::id::Attempt;
use crate::outcome::Refusal;
use crate::submit::Submit;
use crate::task::{Ending, Home, Kind, Parts, TaskRecord, TaskState, Wish};
use crate::time::{Instant, Micros};

impl Scheduler {
    /// Accepts a multicast whole, or refuses it whole.
    pub(super) fn submit_multicast(
        &mut self,
        now: Instant,
        owner: u32,
        submit: &Submit,
    ) -> Result<Submitted, Refusal> {
        let total = self.workers_up;
        // One record for the whole, and one for each part.
        let records = total + 1;
        let held = self.clients[owner as usize].held;
        if records > self.tasks.available() || records > self.limits.quota() - held {
            let alone = self.tasks.available() == 0;
            return Err(if alone {
                Refusal::TasksFull
            } else {
                Refusal::MulticastTooWide
            });
        }
        let index = self
            .add_task(now, owner, submit, Home::ANY)
            .ok_or(Refusal::TasksFull)?;
        self.tasks.reserve(total);
        self.clients[owner as usize].held += total;
        let record = &mut self.tasks.records[index as usize];
        record.kind = Kind::Multicast;
        record.state = TaskState::Spread;
        record.detail = Micros::of(now).0;
        record.parts = Parts {
            total,
            unmade: total,
            losses: self.losses,
            ..Parts::NONE
        };
        let handle = record.handle(index);
        if total == 0 {
            self.end(index, Ending::Summary, false);
        } else {
            self.join_making(index);
        }
        Ok(Submitted::Accepted(handle))
    }

    /// Makes one part of the first multicast that lacks some.
    pub(super) fn step_making(&mut self) -> Step {
        let Some(whole) = self.making.front() else {
            return Step::Idle;
        };
        let Some(worker) = self.take_target(whole) else {
            // The roster keeps every worker that is meant: not reached.
            debug_assert!(false, "a multicast has fewer targets than parts");
            self.abandon_unmade(whole);
            self.close_multicast(whole);
            return Step::Silent;
        };
        let Some(part) = self.tasks.take_reserved() else {
            debug_assert!(false, "a part has no place reserved");
            return Step::Idle;
        };
        self.fill_part(whole, part, worker);
        let records = &self.tasks.records;
        let from = records[whole as usize].handle(whole);
        let to = records[part as usize].handle(part);
        let cancelled = records[whole as usize].wish == Wish::Cancel;
        if records[whole as usize].parts.unmade == 0 {
            self.making.remove(&mut self.tasks.records, whole);
            self.next_target = self.roster.front();
            if cancelled {
                self.cancelling.push_back(&mut self.tasks.records, whole);
            }
        }
        self.workers[worker as usize].named += 1;
        self.arm(part);
        if cancelled {
            self.end(part, Ending::Cancelled { started: false }, false);
        } else if self.workers[worker as usize].is_up() {
            self.join_waiting(part, Side::Back);
        } else {
            self.end(part, Ending::WorkerLost, false);
        }
        Step::Effect(Effect::Share { from, to })
    }

    /// The next worker that this multicast, the first of those being made, is addressed to.
    fn take_target(&mut self, whole: u32) -> Option<u32> {
        let losses = self.tasks.records[whole as usize].parts.losses;
        loop {
            let worker = self.next_target?;
            self.next_target = self.roster.after(&self.workers, worker);
            let record = &self.workers[worker as usize];
            if record.is_up() || record.loss > losses {
                return Some(worker);
            }
        }
    }

    fn fill_part(&mut self, whole: u32, part: u32, worker: u32) {
        let parent = &mut self.tasks.records[whole as usize];
        parent.parts.unmade -= 1;
        let mut open = parent.parts.open;
        let (task, client) = (parent.task, parent.client);
        let (priority, born) = (parent.priority, parent.born);
        let accepted_at = Micros(parent.detail);
        let (start_at, finish_at) = (parent.start_at, parent.finish_at);
        let record = &mut self.tasks.records[part as usize];
        *record = TaskRecord {
            generation: record.generation,
            stamp: record.stamp,
            task,
            client,
            start_at,
            finish_at,
            home: Home::worker(worker),
            priority,
            born,
            worker,
            epoch: self.workers[worker as usize].epoch,
            kind: Kind::Part,
            state: TaskState::Backlogged,
            attempt: Attempt(1),
            ..TaskRecord::untouched()
        };
        record.set_multicast(whole);
        record.set_accepted_at(accepted_at);
        open.push_back(&mut self.tasks.records, part);
        self.tasks.records[whole as usize].parts.open = open;
        self.stats.open += 1;
    }

    /// Cancels each part, one per step; those not made yet first, because they are made cancelled.
    pub(super) fn cancel_multicast(&mut self, whole: u32) {
        let record = &mut self.tasks.records[whole as usize];
        if record.wish == Wish::Cancel {
            return;
        }
        record.wish = Wish::Cancel;
        if record.parts.unmade == 0 {
            self.cancelling.push_back(&mut self.tasks.records, whole);
        }
    }

    /// Cancels one part of the first multicast that is to be cancelled.
    pub(super) fn step_cancelling(&mut self, now: Instant) -> Step {
        let Some(whole) = self.cancelling.front() else {
            return Step::Idle;
        };
        // Visited parts go to the back: one that is marked already means that all are.
        let mut open = self.tasks.records[whole as usize].parts.open;
        let next = open
            .front()
            .filter(|part| !self.tasks.records[*part as usize].cancel_seen);
        let Some(part) = next else {
            self.cancelling.remove(&mut self.tasks.records, whole);
            return Step::Silent;
        };
        open.remove(&mut self.tasks.records, part);
        open.push_back(&mut self.tasks.records, part);
        self.tasks.records[whole as usize].parts.open = open;
        self.tasks.records[part as usize].cancel_seen = true;
        self.cancel(now, part);
        Step::Silent
    }

    /// A part has its outcome.
    pub(super) fn leave_multicast(&mut self, whole: u32, part: u32, completed: bool) {
        let parts = &mut self.tasks.records[whole as usize].parts;
        parts.completed += u32::from(completed);
        let mut open = parts.open;
        open.remove(&mut self.tasks.records, part);
        self.tasks.records[whole as usize].parts.open = open;
    }

    /// Closes a multicast whose last part has its outcome: the summary comes after all of them.
    pub(super) fn close_multicast(&mut self, whole: u32) {
        let parts = &self.tasks.records[whole as usize].parts;
        if parts.unmade == 0 && parts.open.is_empty() {
            self.end(whole, Ending::Summary, false);
        }
    }

    /// Gives up the parts that are not made; nobody waits for them.
    pub(super) fn abandon_unmade(&mut self, whole: u32) {
        self.leave_making(whole);
        let record = &mut self.tasks.records[whole as usize];
        let unmade = core::mem::take(&mut record.parts.unmade);
        let owner = record.client as usize;
        self.tasks.unreserve(unmade);
        self.clients[owner].held -= unmade;
    }

    /// Takes a multicast out of the list of those being made or cancelled, if it is in one.
    pub(super) fn leave_making(&mut self, whole: u32) {
        let record = &self.tasks.records[whole as usize];
        if !record.place.is_linked() {
            return;
        }
        if record.parts.unmade == 0 {
            self.cancelling.remove(&mut self.tasks.records, whole);
            return;
        }
        let first = self.making.front() == Some(whole);
        self.making.remove(&mut self.tasks.records, whole);
        if first {
            self.next_target = self.roster.front();
        }
    }

    fn join_making(&mut self, whole: u32) {
        if self.making.is_empty() {
            self.next_target = self.roster.front();
        }
        self.making.push_back(&mut self.tasks.records, whole);
    }
}
