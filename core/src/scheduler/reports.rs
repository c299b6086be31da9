//! What workers and the claim word say about a task: claims, reports, hand-ins, revokes, credit.

use super::Scheduler;
use super::tasks::label_of;
use crate::event::{Report, Reported, Revoked, Source, Verdict};
use crate::id::{Attempt, Epoch, Stamp, TaskHandle, WorkerId};
use crate::list::NIL;
use crate::outcome::Deadline;
use crate::task::{Ending, TaskRecord, TaskState, Wish};
use crate::time::{Instant, Tick};

impl Scheduler {
    /// A task was claimed from the pool for this worker. The envelope's credit returns even if the
    /// task is not what it was (rule R9).
    pub fn handle_claimed(
        &mut self,
        now: Instant,
        handle: TaskHandle,
        attempt: Attempt,
        worker: WorkerId,
        epoch: Epoch,
    ) {
        let Some(index) = self.claimed_from_pool(handle, attempt, worker, epoch) else {
            return;
        };
        self.stats.started += 1;
        let record = &mut self.tasks.records[index as usize];
        record.wish = record.wish.once_started();
        if self.is_up(worker, epoch) {
            self.workers[worker.0 as usize].named += 1;
            self.load(worker.0, |record| record.taken += 1);
            self.run(now, index);
        } else {
            self.lose(index);
        }
    }

    /// Takes note of who claimed a task from the pool: it is in no list afterwards. The credit of
    /// its envelope returns in any case.
    pub(super) fn claimed_from_pool(
        &mut self,
        handle: TaskHandle,
        attempt: Attempt,
        worker: WorkerId,
        epoch: Epoch,
    ) -> Option<u32> {
        self.return_pool_credit();
        let pooled = self.tasks.find(handle).filter(|index| {
            let record = &self.tasks.records[*index as usize];
            let out = matches!(
                record.state,
                TaskState::Queued | TaskState::Revoking | TaskState::Taken
            );
            out && !record.by_mail && record.attempt == attempt
        });
        let admitted = (1..=self.epochs).contains(&epoch.0);
        let Some(index) = pooled.filter(|_| admitted && self.has_place(worker)) else {
            self.stats.stale_claim += 1;
            return None;
        };
        self.detach(index);
        let record = &mut self.tasks.records[index as usize];
        record.worker = worker.0;
        record.epoch = epoch;
        // In no list, for a moment.
        record.state = TaskState::Taken;
        Some(index)
    }

    /// Somebody popped a tombstone: its credit returns (rule R9).
    pub fn handle_discarded(&mut self, _now: Instant, source: Source) {
        match source {
            Source::Pool => self.return_pool_credit(),
            Source::Mailbox { worker, epoch } => {
                self.return_credit(worker, epoch);
                if self.has_place(worker) {
                    self.reclass(worker.0);
                }
            }
        }
    }

    /// A claimed task could not be sent: it never started, so the same attempt is made again (R10).
    pub fn handle_returned(
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
        self.take_back(index);
    }

    /// A claimed task comes back: this attempt never started.
    pub(super) fn take_back(&mut self, index: u32) {
        let record = &self.tasks.records[index as usize];
        let (worker, epoch) = (WorkerId(record.worker), record.epoch);
        let started = record.started_before();
        let (wish, orphan) = (record.wish, record.is_orphan());
        if record.by_mail {
            self.return_credit(worker, epoch);
        }
        match wish {
            Wish::Remove => self.remove_task(index),
            Wish::Cancel => self.end(index, Ending::Cancelled { started }, false),
            Wish::TimeOut(deadline) => self.end(index, Ending::TimedOut(deadline), false),
            _ if orphan => self.end(index, Ending::WorkerLost, false),
            _ => {
                self.stats.reoffered += u64::from(wish == Wish::Reoffer);
                self.unsettle_start(index);
                self.put_back(index);
            }
        }
    }

    /// The worker reports on an attempt that its present incarnation was given.
    pub fn handle_reported(&mut self, now: Instant, report: Report) -> Reported {
        let Report {
            worker,
            epoch,
            handle,
            attempt,
            verdict,
        } = report;
        match self.find_out(handle, attempt, worker, epoch) {
            Some(index) => {
                self.workers[worker.0 as usize].heard_at = now;
                self.seen_at = now;
                self.conclude(index, verdict)
            }
            None => self.drop_report(),
        }
    }

    /// A worker that registers hands in what an earlier incarnation, the one named in the report,
    /// was given. It counts unless a later attempt has started, and once (rules R2, R3, R6).
    ///
    /// `instance` is the process that says so: it must be the one that was given the attempt.
    ///
    /// `answer` is `None` at first. When that gives [`Reported::AskFirst`], revoke the task under
    /// that stamp and call again at once with what came out.
    pub fn handle_handed_in(
        &mut self,
        now: Instant,
        instance: u64,
        report: Report,
        answer: Option<Revoked>,
    ) -> Reported {
        let found = self.tasks.find(report.handle);
        let (worker, epoch) = (report.worker, report.epoch);
        let Some(index) = found.filter(|_| self.was_granted(worker, epoch, instance)) else {
            return self.drop_report();
        };
        let record = &self.tasks.records[index as usize];
        match (hand_in_of(record, &report), record.state, answer) {
            (
                HandIn::Present,
                TaskState::Prefetched
                | TaskState::Running
                | TaskState::Carried
                | TaskState::Aborting
                | TaskState::Taken,
                _,
            ) => self.conclude_claimed(now, index, &report),
            (HandIn::Lost, TaskState::Backlogged, _) => self.conclude_lost(now, index, &report),
            (HandIn::Present | HandIn::Lost, TaskState::Queued | TaskState::Revoking, None) => {
                Reported::AskFirst(record.stamp)
            }
            // Nobody but this worker can have claimed the attempt that it reports on.
            (HandIn::Present, TaskState::Queued | TaskState::Revoking, Some(Revoked::Lost)) => {
                self.conclude_claimed(now, index, &report)
            }
            // It was never claimed: whoever says so reports what it was not given.
            (HandIn::Present, TaskState::Queued | TaskState::Revoking, Some(Revoked::Won)) => {
                self.withdrawn(index);
                self.drop_report()
            }
            (HandIn::Lost, TaskState::Queued | TaskState::Revoking, Some(Revoked::Won)) => {
                match self.conclude_lost(now, index, &report) {
                    // Not the end: the attempt that was withdrawn goes on waiting.
                    reported @ (Reported::Dropped | Reported::Retried) if self.is_out(index) => {
                        self.withdrawn(index);
                        reported
                    }
                    reported => reported,
                }
            }
            // A later attempt has started, or it is over.
            _ => self.drop_report(),
        }
    }

    /// The answer to [`Effect::Revoke`](crate::Effect::Revoke).
    pub fn handle_revoked(
        &mut self,
        now: Instant,
        handle: TaskHandle,
        stamp: Stamp,
        answer: Revoked,
    ) {
        let asked = self.tasks.find(handle).filter(|index| {
            let record = &self.tasks.records[*index as usize];
            let given_out = record.state == TaskState::Revoking && !record.place.is_linked();
            given_out && record.stamp == stamp
        });
        if asked.is_some() {
            self.seen_at = now;
        }
        match (asked, answer) {
            (Some(index), Revoked::Won) => self.withdrawn(index),
            (Some(index), Revoked::Lost) => self.claimed_before(now, index),
            (None, _) => self.stats.stale_revoke += 1,
        }
    }

    /// The task's envelope is a tombstone now: this attempt never starts from it.
    pub(super) fn withdrawn(&mut self, index: u32) {
        let record = &self.tasks.records[index as usize];
        let started = record.started_before();
        match record.wish {
            Wish::Cancel => self.end(index, Ending::Cancelled { started }, false),
            Wish::TimeOut(deadline) => self.end(index, Ending::TimedOut(deadline), false),
            _ if record.is_orphan() => self.end(index, Ending::WorkerLost, false),
            Wish::Remove => self.remove_task(index),
            Wish::Lose => {
                self.settled_of(index).requeued += 1;
                self.put_back(index);
            }
            Wish::Forget | Wish::None => self.put_back(index),
            Wish::Reoffer => {
                self.stats.reoffered += 1;
                self.put_back(index);
            }
        }
    }

    /// Somebody had claimed the task when it was to be withdrawn: it counts as started (rule R1).
    fn claimed_before(&mut self, now: Instant, index: u32) {
        let record = &mut self.tasks.records[index as usize];
        let sought = record.wish == Wish::Reoffer;
        if !record.by_mail {
            record.state = TaskState::Taken;
            // Who has it tells whether it has started. Until then it counts as if it had for those
            // that need not know.
            if matches!(record.wish, Wish::Remove | Wish::Reoffer) {
                record.wish = Wish::None;
            }
            return;
        }
        let label = label_of(record.home.route());
        if self.may_have_prefetched(index) {
            self.ask_back(index);
            return;
        }
        let record = &mut self.tasks.records[index as usize];
        record.wish = record.wish.once_started();
        self.stats.started += 1;
        if self.workers[record.worker as usize].keeps_tasks() {
            self.run(now, index);
        } else {
            self.lose(index);
        }
        if sought {
            self.stir(label);
        }
    }

    /// The task runs on its worker, which is up and has been counted as taken; then what was wished
    /// meanwhile.
    pub(super) fn run(&mut self, now: Instant, index: u32) {
        self.settle_start(index);
        self.note_start(now, index);
        let record = &mut self.tasks.records[index as usize];
        debug_assert!(!record.place.is_linked());
        record.state = TaskState::Running;
        record.detail = Tick::of(now).0;
        let wish = core::mem::replace(&mut record.wish, Wish::None);
        let orphan = record.is_orphan();
        let worker = record.worker as usize;
        self.workers[worker]
            .assigned
            .push_back(&mut self.tasks.records, index);
        match wish {
            Wish::Cancel | Wish::TimeOut(Deadline::Finish) if !orphan => {
                self.abort(now, index, wish);
            }
            _ => {}
        }
    }

    /// A hand-in that matches. Who has claimed a task of the pool may not be known before.
    fn conclude_claimed(&mut self, now: Instant, index: u32, report: &Report) -> Reported {
        self.seen_at = now;
        let record = &mut self.tasks.records[index as usize];
        let unknown = matches!(
            record.state,
            TaskState::Queued | TaskState::Revoking | TaskState::Taken
        );
        if unknown && !record.by_mail {
            record.worker = report.worker.0;
            record.epoch = report.epoch;
        }
        self.conclude(index, report.verdict)
    }

    /// A report that matches: it decides the task, or at least this attempt.
    fn conclude(&mut self, index: u32, verdict: Verdict) -> Reported {
        let record = &mut self.tasks.records[index as usize];
        let aborting = record.state == TaskState::Aborting;
        let ending = match (verdict, record.wish) {
            (Verdict::Completed, _) => Ending::Completed,
            (Verdict::Failed, _) => Ending::Failed,
            (Verdict::Aborted, Wish::TimeOut(deadline)) if aborting => Ending::TimedOut(deadline),
            (Verdict::Aborted, _) if aborting => Ending::Cancelled { started: true },
            // Nobody asked it to.
            (Verdict::Aborted, _) => Ending::Failed,
        };
        let told = record.state.has_started();
        self.stats.started += u64::from(!told);
        let orphan = record.is_orphan();
        let (worker, epoch) = (WorkerId(record.worker), record.epoch);
        if record.by_mail {
            self.return_credit(worker, epoch);
        }
        if ending == Ending::Failed && self.goes_on(index) {
            self.retry(index);
            return Reported::Retried;
        }
        let record = &mut self.tasks.records[index as usize];
        record.has_result = verdict != Verdict::Aborted;
        if record.history != NIL && verdict == Verdict::Failed {
            self.remember_worker(index);
        }
        self.end(index, ending, true);
        if orphan {
            Reported::Dropped
        } else {
            Reported::Counted
        }
    }

    /// Whether a task is to run again though its present attempt has failed.
    fn goes_on(&self, index: u32) -> bool {
        let record = &self.tasks.records[index as usize];
        let wish = record.wish.once_started();
        let wanted = !record.is_orphan() && wish == Wish::None;
        // Never waiting for a worker that is gone.
        let target = record.target();
        let possible = target.is_none_or(|place| self.workers[place as usize].is_up());
        record.may_retry() && wanted && possible
    }

    /// The result of the attempt before the present one, which has not started.
    fn conclude_lost(&mut self, now: Instant, index: u32, report: &Report) -> Reported {
        let record = &mut self.tasks.records[index as usize];
        let orphan = record.is_orphan();
        let ending = match report.verdict {
            Verdict::Completed => Ending::Completed,
            Verdict::Failed if record.may_retry() && !orphan => {
                // It was no loss, but a failure, and the next attempt waits already.
                record.retries += 1;
                record.lost_epoch = Epoch(0);
                return Reported::Retried;
            }
            Verdict::Failed => Ending::Failed,
            Verdict::Aborted => return self.drop_report(),
        };
        self.seen_at = now;
        record.has_result = true;
        self.end(index, ending, false);
        if orphan {
            return Reported::Dropped;
        }
        // The present attempt may have been on its way to another worker, which the outcome must
        // not name: it never ran it.
        if self.workers.get(report.worker.0 as usize).is_some() {
            let record = &mut self.tasks.records[index as usize];
            record.worker = report.worker.0;
            record.epoch = report.epoch;
        }
        Reported::Counted
    }

    fn drop_report(&mut self) -> Reported {
        self.stats.stale_report += 1;
        Reported::Dropped
    }

    /// The task of this attempt, if this incarnation has it.
    #[inline]
    pub(super) fn find_out(
        &self,
        handle: TaskHandle,
        attempt: Attempt,
        worker: WorkerId,
        epoch: Epoch,
    ) -> Option<u32> {
        let index = self.tasks.find(handle)?;
        let record = &self.tasks.records[index as usize];
        (record.attempt == attempt && record.is_with(worker, epoch)).then_some(index)
    }

    fn is_out(&self, index: u32) -> bool {
        let state = self.tasks.records[index as usize].state;
        matches!(state, TaskState::Queued | TaskState::Revoking)
    }

    fn return_pool_credit(&mut self) {
        if self.pool.give() {
            self.stats.outstanding_pool -= 1;
        } else {
            self.stats.stale_credit += 1;
        }
    }

    /// Returns one envelope of this incarnation: only the epoch is judged. The caller sees to it
    /// that the worker is classed anew, most often because it has one task less as well.
    fn return_credit(&mut self, worker: WorkerId, epoch: Epoch) {
        let record = self.workers.get_mut(worker.0 as usize);
        let given = record
            .filter(|record| record.epoch == epoch && epoch != Epoch(0))
            .is_some_and(|record| record.window.give());
        if given {
            self.stats.outstanding_directed -= 1;
            self.mark_ready(worker.0);
        } else {
            self.stats.stale_credit += 1;
        }
    }
}

/// Which attempt of a task a hand-in is about.
#[derive(Clone, Copy, Debug)]
enum HandIn {
    /// The one that is out.
    Present,
    /// The one before, which was lost with the incarnation that hands it in.
    Lost,
    /// None whose result could count.
    Neither,
}

fn hand_in_of(record: &TaskRecord, report: &Report) -> HandIn {
    let granted = report.epoch != Epoch(0);
    let held_by = record.worker == report.worker.0 && record.epoch == report.epoch;
    // Who claims from the pool is not known until it is told.
    let unknown = !record.by_mail
        && matches!(
            record.state,
            TaskState::Queued | TaskState::Revoking | TaskState::Taken
        );
    if granted && record.attempt == report.attempt && (held_by || unknown) {
        HandIn::Present
    } else if granted
        && record.started_before()
        && record.attempt.0 - 1 == report.attempt.0
        && record.lost_epoch == report.epoch
    {
        HandIn::Lost
    } else {
        HandIn::Neither
    }
}
