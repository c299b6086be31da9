//! What workers bring from before this scheduler: a controller that was started anew knows nothing
//! of the tasks that its predecessor gave out, but their clients submit them again, and the workers
//! still have the results (rules R11, R13).
//!
//! ```text
//!  a worker brings ...           the client has submitted it       the client has not, so far
//!    a result                     ends it, unless it has started     kept for the restart grace
//!    the word that it still runs  Adopted: it is not run again       kept for the restart grace
//!    nothing                      at most once: Awaiting, then lost
//! ```
//! A task is known by its *origin*: the client process and the client's number for it. Results
//! count as earlier than any attempt of this scheduler, so one that comes when the task runs again
//! is dropped. What is kept for clients that have not been here yet has a place in the task table,
//! where its payload lies, and one in a table of its own that is bounded by the number of workers.

use alloc::vec::Vec;

use super::Scheduler;
use crate::event::{Early, Origin, Revoked, Submitted, Verdict};
use crate::id::{Epoch, TaskId, WorkerId};
use crate::index::{Hash, Index};
use crate::list::{Link, List, NIL, linked};
use crate::submit::{Submit, Target};
use crate::task::{Ending, Home, Kind, TaskState};
use crate::time::Instant;

/// Role: what is kept, longest first; or places that are free.
pub(super) enum Kept {}

#[derive(Clone, Copy, Debug)]
enum What {
    /// A result, whose payload lies at this place of the task table.
    Result { index: u32, ending: Ending },
    /// This incarnation runs it.
    Runs { worker: u32, epoch: Epoch },
}

#[derive(Debug)]
struct EarlyRecord {
    origin: Origin,
    what: What,
    due: Instant,
    kept: Link,
}

linked!(EarlyRecord, Kept, kept);

/// All that waits for its client.
#[derive(Debug)]
pub(super) struct EarlyTable {
    records: Vec<EarlyRecord>,
    capacity: usize,
    index: Index,
    waiting: List<Kept>,
    free: List<Kept>,
}

impl EarlyTable {
    /// Of each worker: what it runs, and its latest results.
    const PER_WORKER: u32 = 16;

    pub(super) fn new(tasks: u32, workers: u32) -> Self {
        let capacity = workers.saturating_mul(Self::PER_WORKER).min(tasks);
        Self {
            records: Vec::with_capacity(capacity as usize),
            capacity: capacity as usize,
            index: Index::new(capacity),
            waiting: List::new(),
            free: List::new(),
        }
    }

    /// Places of the task table that are taken for it.
    pub(super) fn places(&self) -> impl Iterator<Item = u32> {
        self.waiting
            .iter(&self.records)
            .filter_map(|at| match self.records[at as usize].what {
                What::Result { index, .. } => Some(index),
                What::Runs { .. } => None,
            })
    }

    fn find(&self, origin: Origin) -> Option<u32> {
        self.index.find(hash_of(origin), |at| {
            self.records[at as usize].origin == origin
        })
    }

    fn add(&mut self, origin: Origin, what: What, due: Instant) -> bool {
        let record = EarlyRecord {
            origin,
            what,
            due,
            kept: Link::UNLINKED,
        };
        let at = if self.records.len() < self.capacity {
            self.records.push(record);
            self.records.len() as u32 - 1
        } else if let Some(at) = self.free.pop_front(&mut self.records) {
            self.records[at as usize] = record;
            at
        } else {
            return false;
        };
        self.index.insert(hash_of(origin), at);
        self.waiting.push_back(&mut self.records, at);
        true
    }

    /// Its process is at another place now. A result stays what it is.
    fn renew(&mut self, at: u32, what: What) {
        let kept = &mut self.records[at as usize].what;
        if matches!(kept, What::Runs { .. }) {
            *kept = what;
        }
    }

    fn remove(&mut self, at: u32) -> What {
        let records = &self.records;
        let hash = |other: u32| hash_of(records[other as usize].origin);
        self.index.remove(hash(at), at, hash);
        self.waiting.remove(&mut self.records, at);
        self.free.push_back(&mut self.records, at);
        self.records[at as usize].what
    }
}

impl Scheduler {
    /// A worker brings a result of a task that another scheduler gave out. `None` from
    /// [`Early::AskFirst`] as for a hand-in: revoke, and call again with the answer.
    pub fn handle_early_result(
        &mut self,
        now: Instant,
        origin: Origin,
        verdict: Verdict,
        answer: Option<Revoked>,
    ) -> Early {
        let Some(index) = self.find_origin(origin) else {
            return self.keep_result(now, origin, verdict);
        };
        if !self.tasks.records[index as usize].resent {
            // A number that was used again: this one has no past.
            return self.drop_early();
        }
        let record = &self.tasks.records[index as usize];
        let handle = record.handle(index);
        match (record.state, answer) {
            (TaskState::Awaiting | TaskState::Adopted | TaskState::Backlogged, _) => {
                self.conclude_early(index, verdict)
            }
            (TaskState::Queued | TaskState::Revoking, None) => {
                Early::AskFirst(handle, record.stamp)
            }
            (TaskState::Queued | TaskState::Revoking, Some(Revoked::Won)) => {
                let early = self.conclude_early(index, verdict);
                if early == Early::Dropped {
                    self.withdrawn(index);
                }
                early
            }
            _ => self.drop_early(),
        }
    }

    /// A worker that is attached says that it still runs a task that another scheduler gave out.
    pub fn handle_early_run(
        &mut self,
        now: Instant,
        origin: Origin,
        worker: WorkerId,
        epoch: Epoch,
    ) {
        if !self.is_up(worker, epoch) {
            self.stats.stale_worker += 1;
            return;
        }
        let Some(index) = self.find_origin(origin) else {
            let what = What::Runs {
                worker: worker.0,
                epoch,
            };
            match self.early.find(origin) {
                Some(at) => self.early.renew(at, what),
                None => _ = self.keep(now, origin, what),
            }
            return;
        };
        let record = &self.tasks.records[index as usize];
        let waits =
            record.resent && record.state == TaskState::Backlogged && record.home == Home::ANY;
        let awaited = record.state == TaskState::Awaiting;
        if awaited || (waits && !record.started_before()) {
            self.detach(index);
            self.adopt(index, worker.0, epoch);
        }
        if awaited {
            self.disarm(index);
            self.arm(index);
        }
    }

    /// A submit that its client has sent to another scheduler before: what is known of it here.
    pub(super) fn answer_early(
        &mut self,
        now: Instant,
        owner: u32,
        submit: &Submit,
    ) -> Option<Submitted> {
        if !submit.resent {
            return None;
        }
        let origin = Origin {
            client: self.clients[owner as usize].key as u64,
            task: submit.task,
        };
        let once = submit.attempts_max <= 1;
        match self.early.find(origin).map(|at| self.early.remove(at)) {
            Some(What::Result { index, ending }) => {
                self.fill_task(now, index, owner, submit, Home::ANY);
                let record = &mut self.tasks.records[index as usize];
                record.has_result = true;
                let bytes = u64::from(record.result_bytes());
                self.clients[owner as usize].held_bytes += bytes;
                self.end(index, ending, true);
                return Some(Submitted::NotRerun);
            }
            Some(What::Runs { worker, epoch })
                if self.is_up(WorkerId(worker), epoch)
                    && (once || submit.target == Target::Any) =>
            {
                let index = self.add_task(now, owner, submit, Home::ANY)?;
                self.arm(index);
                self.adopt(index, worker, epoch);
                return Some(Submitted::Accepted(
                    self.tasks.records[index as usize].handle(index),
                ));
            }
            _ => {}
        }
        if !once {
            return None;
        }
        let index = self.add_task(now, owner, submit, Home::ANY)?;
        if self.limits.restart_grace_ms() == 0 || submit.target == Target::All {
            self.end(index, Ending::WorkerLost, true);
        } else {
            let record = &mut self.tasks.records[index as usize];
            record.state = TaskState::Awaiting;
            record.hold_until = now.after_ms(self.limits.restart_grace_ms());
            self.awaiting_results
                .push_back(&mut self.tasks.records, index);
        }
        Some(Submitted::NotRerun)
    }

    /// Whether the result of a submit is here already, and with it a place for its record.
    pub(super) fn has_early_result(&self, owner: u32, task: TaskId) -> bool {
        let client = self.clients[owner as usize].key as u64;
        let kept = self.early.find(Origin { client, task });
        kept.is_some_and(|at| matches!(self.early.records[at as usize].what, What::Result { .. }))
    }

    /// The first that has been kept, or has waited, for too long.
    pub(super) fn end_early(&mut self, now: Instant) -> Option<()> {
        if let Some(index) = self.awaiting_results.front()
            && self.tasks.records[index as usize].hold_until <= now
        {
            self.end(index, Ending::WorkerLost, true);
            return Some(());
        }
        let at = self.early.waiting.front()?;
        if self.early.records[at as usize].due > now {
            return None;
        }
        if let What::Result { index, .. } = self.early.remove(at) {
            self.release_early(index);
        }
        Some(())
    }

    /// When the first of them has.
    pub(super) fn next_early_due(&self) -> Option<Instant> {
        let kept = self.early.waiting.front();
        let kept = kept.map(|at| self.early.records[at as usize].due);
        let awaiting = self.awaiting_results.front();
        let awaiting = awaiting.map(|index| self.tasks.records[index as usize].hold_until);
        kept.into_iter().chain(awaiting).min()
    }

    /// What a worker has adopted goes with its process to its next place.
    pub(super) fn move_adopted(&mut self, from: u32, to: u32) {
        if self.workers[from as usize].instance != self.workers[to as usize].instance {
            return;
        }
        while let Some(index) = self.workers[from as usize].adopted.front() {
            self.leave_adopted(index);
            let epoch = self.workers[to as usize].epoch;
            self.place_adopted(index, to, epoch);
        }
    }

    /// Takes an adopted task from its worker.
    pub(super) fn leave_adopted(&mut self, index: u32) {
        let place = self.tasks.records[index as usize].worker;
        let worker = &mut self.workers[place as usize];
        worker.adopted.remove(&mut self.tasks.records, index);
        worker.named -= 1;
    }

    fn adopt(&mut self, index: u32, place: u32, epoch: Epoch) {
        self.settle_start(index);
        self.stats.started += 1;
        self.place_adopted(index, place, epoch);
    }

    fn place_adopted(&mut self, index: u32, place: u32, epoch: Epoch) {
        let record = &mut self.tasks.records[index as usize];
        record.state = TaskState::Adopted;
        record.by_mail = false;
        record.worker = place;
        record.epoch = epoch;
        let worker = &mut self.workers[place as usize];
        worker.adopted.push_back(&mut self.tasks.records, index);
        worker.named += 1;
    }

    /// The task of an origin, if its client is known and has submitted it.
    fn find_origin(&self, origin: Origin) -> Option<u32> {
        let owner = self.find_process(origin.client)?;
        let index = self.find_task(owner, origin.task)?;
        (self.tasks.records[index as usize].kind == Kind::Single).then_some(index)
    }

    fn conclude_early(&mut self, index: u32, verdict: Verdict) -> Early {
        let record = &mut self.tasks.records[index as usize];
        let Some(ending) = ending_of(verdict) else {
            return self.drop_early();
        };
        record.has_result = true;
        let handle = record.handle(index);
        self.end(index, ending, true);
        Early::Counted(handle)
    }

    fn keep_result(&mut self, now: Instant, origin: Origin, verdict: Verdict) -> Early {
        let Some(ending) = ending_of(verdict) else {
            return self.drop_early();
        };
        if self.limits.restart_grace_ms() == 0 {
            return self.drop_early();
        }
        if let Some(at) = self.early.find(origin) {
            if matches!(self.early.records[at as usize].what, What::Result { .. }) {
                return self.drop_early();
            }
            self.early.remove(at);
        }
        let Some(index) = self.tasks.take() else {
            return self.drop_early();
        };
        let record = &mut self.tasks.records[index as usize];
        record.renew();
        record.task = origin.task;
        record.client = NIL;
        record.set_bytes(0);
        record.state = TaskState::Early;
        let handle = record.handle(index);
        if !self.keep(now, origin, What::Result { index, ending }) {
            self.free_task(index);
            return self.drop_early();
        }
        Early::Kept(handle)
    }

    fn keep(&mut self, now: Instant, origin: Origin, what: What) -> bool {
        let due = now.after_ms(self.limits.restart_grace_ms());
        let kept = self.early.add(origin, what, due);
        self.stats.early_kept += u64::from(kept);
        self.stats.early_dropped += u64::from(!kept);
        kept
    }

    fn drop_early(&mut self) -> Early {
        self.stats.early_dropped += 1;
        Early::Dropped
    }

    /// Nobody has asked for a result in time.
    fn release_early(&mut self, index: u32) {
        self.stats.early_dropped += 1;
        self.tasks.records[index as usize].state = TaskState::Releasing;
        self.releases.push_back(&mut self.tasks.records, index);
    }
}

/// How a task ends whose result is that; an attempt that was stopped says nothing about it.
const fn ending_of(verdict: Verdict) -> Option<Ending> {
    match verdict {
        Verdict::Completed => Some(Ending::Completed),
        Verdict::Failed => Some(Ending::Failed),
        Verdict::Aborted => None,
    }
}

fn hash_of(origin: Origin) -> Hash {
    Hash::of(origin.client, origin.task.0)
}
