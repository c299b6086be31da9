//! Submit, cancel, deadlines; and the few ways in which a task moves and ends.

use super::Scheduler;
use crate::crew::Crews;
use crate::event::{Settled, Submitted};
use crate::id::{Attempt, ClientId, Epoch, LabelKey, TaskHandle, TaskId, WorkerId};
use crate::index::Hash;
use crate::list::NIL;
use crate::outcome::{Deadline, Refusal};
use crate::submit::{Submit, Target};
use crate::task::{Ending, Home, Route, TaskState, Wish};
use crate::time::{Instant, Micros, Tick};
use crate::worker::WorkerState;

impl Scheduler {
    /// A client submits a task. Unless it is accepted, nothing remembers it.
    pub fn handle_submit(&mut self, now: Instant, client: ClientId, submit: Submit) -> Submitted {
        let submitted = match self.try_submit(now, client, submit) {
            Ok(submitted) => submitted,
            Err(refusal) => Submitted::Refused(refusal),
        };
        match submitted {
            Submitted::Accepted(_) | Submitted::NotRerun => self.stats.accepted += 1,
            Submitted::Known => self.stats.known += 1,
            Submitted::Refused(_) => self.stats.refused += 1,
        }
        submitted
    }

    /// A client no longer wants a task. Whatever it is told in the end is true: a result that comes
    /// first counts, and `started: false` means that it never ran.
    pub fn handle_cancel(&mut self, now: Instant, client: ClientId, task: TaskId) {
        let Some(owner) = self.find_client_up(client) else {
            self.stats.stale_client += 1;
            return;
        };
        if let Some(index) = self.find_task(owner, task) {
            self.seen_at = now;
            self.cancel(now, index);
        }
    }

    fn try_submit(
        &mut self,
        now: Instant,
        client: ClientId,
        submit: Submit,
    ) -> Result<Submitted, Refusal> {
        let Some(owner) = self.find_client_up(client) else {
            self.stats.stale_client += 1;
            return Err(Refusal::NoSession);
        };
        if self.find_task(owner, submit.task).is_some() {
            return Ok(Submitted::Known);
        }
        if self.clients[owner as usize].held >= self.limits.quota() {
            return Err(Refusal::QuotaFull);
        }
        let bytes = u64::from(submit.payload_bytes);
        if self.clients[owner as usize].held_bytes + bytes > self.limits.quota_bytes() {
            return Err(Refusal::QuotaFull);
        }
        if self.bytes_held() + bytes > self.limits.payload_bytes() {
            return Err(Refusal::BytesFull);
        }
        if submit.resent {
            // Rule R11: it may have run where this record does not know of it.
            let known = self.has_early_result(owner, submit.task);
            if self.tasks.available() == 0 && !known {
                return Err(Refusal::TasksFull);
            }
            if let Some(answer) = self.answer_early(now, owner, &submit) {
                return Ok(answer);
            }
        }
        let home = match submit.target {
            Target::All => return self.submit_multicast(now, owner, &submit),
            _ if self.tasks.available() == 0 => return Err(Refusal::TasksFull),
            target => self.find_home(target)?,
        };
        let index = self
            .add_task(now, owner, &submit, home)
            .ok_or(Refusal::TasksFull)?;
        self.arm(index);
        if let Route::Worker(place) = home.route() {
            self.workers[place as usize].named += 1;
        }
        self.join_waiting(index, Side::Back);
        Ok(Submitted::Accepted(
            self.tasks.records[index as usize].handle(index),
        ))
    }

    /// Where a task with this target waits; one more needs its label, if it has one.
    fn find_home(&mut self, target: Target) -> Result<Home, Refusal> {
        match target {
            Target::Any | Target::All => Ok(Home::ANY),
            Target::Worker(WorkerId(place)) => {
                // Not before it is known to be in the table: any number may be asked for.
                let known = self
                    .workers
                    .get(place as usize)
                    .map(|_| self.present_of(place));
                let open = known.filter(|place| self.workers[*place as usize].takes_submits());
                open.map(Home::worker).ok_or(Refusal::NoSuchWorker)
            }
            Target::Named(name) => {
                let place = self.find_name(name).or_else(|| self.find_suspect(name));
                let open = place.filter(|place| self.workers[*place as usize].takes_submits());
                open.map(Home::worker).ok_or(Refusal::NoSuchName)
            }
            Target::Label(LabelKey(0)) => Err(Refusal::Malformed),
            Target::Label(key) => {
                let label = self.crews.take_ref(key).ok_or(Refusal::LabelsFull)?;
                Ok(Home::label(label))
            }
        }
    }

    /// Makes the record of a submit: its client's, in the index, and nowhere else yet.
    pub(super) fn add_task(
        &mut self,
        now: Instant,
        owner: u32,
        submit: &Submit,
        home: Home,
    ) -> Option<u32> {
        let index = self.tasks.take()?;
        self.fill_task(now, index, owner, submit, home);
        Some(index)
    }

    /// Makes a place of the table the record of a submit.
    pub(super) fn fill_task(
        &mut self,
        now: Instant,
        index: u32,
        owner: u32,
        submit: &Submit,
        home: Home,
    ) {
        let record = &mut self.tasks.records[index as usize];
        record.renew();
        record.task = submit.task;
        record.start_at = deadline(now, submit.start_within_ms);
        record.finish_at = deadline(now, submit.finish_within_ms);
        record.client = owner;
        record.home = home;
        record.born = Tick::of(now);
        record.set_accepted_at(Micros::of(now));
        record.hold_until = Instant(u64::from(submit.hold_ms) * 1_000_000);
        record.state = TaskState::Backlogged;
        record.attempts_max = submit.attempts_max.max(1);
        record.retries_max = submit.retries_on_failure;
        record.priority = submit.priority;
        record.resent = submit.resent;
        record.set_bytes(submit.payload_bytes);
        self.stats.payload_bytes += u64::from(submit.payload_bytes);
        let client = &mut self.clients[owner as usize];
        client.held += 1;
        client.held_bytes += u64::from(submit.payload_bytes);
        client.open.push_back(&mut self.tasks.records, index);
        self.task_index.insert(task_hash(owner, submit.task), index);
        self.stats.open += 1;
    }

    /// The live task that this client knows under this number.
    #[inline]
    pub(super) fn find_task(&self, owner: u32, task: TaskId) -> Option<u32> {
        self.task_index.find(task_hash(owner, task), |index| {
            let record = &self.tasks.records[index as usize];
            record.task == task && record.client == owner
        })
    }

    pub(super) fn cancel(&mut self, now: Instant, index: u32) {
        let record = &mut self.tasks.records[index as usize];
        match record.state {
            TaskState::Backlogged => {
                let started = record.started_before();
                self.end(index, Ending::Cancelled { started }, false);
            }
            TaskState::Queued => self.revoke(index, Wish::Cancel),
            // A start deadline would let it run on if it has started; a cancel does not.
            TaskState::Revoking | TaskState::Taken => {
                if record.wish.yields() {
                    record.wish = Wish::Cancel;
                }
            }
            TaskState::Prefetched => self.recall(index, Wish::Cancel),
            TaskState::Running | TaskState::Carried => self.abort(now, index, Wish::Cancel),
            TaskState::Awaiting | TaskState::Adopted => {
                self.end(index, Ending::Cancelled { started: true }, true);
            }
            TaskState::Spread => self.cancel_multicast(index),
            // It has its outcome, or will have one for a reason that came first.
            TaskState::Aborting
            | TaskState::Done
            | TaskState::Early
            | TaskState::Releasing
            | TaskState::Free => {}
        }
    }

    /// A deadline of a task has passed, or its worker's time to answer an abort.
    pub(super) fn expire(&mut self, now: Instant, index: u32) {
        let record = &mut self.tasks.records[index as usize];
        if record.is_held() && record.hold_until <= now {
            self.end(index, Ending::WorkerLost, false);
            return;
        }
        if record.state == TaskState::Aborting {
            record.grace_over = true;
            record.finish_at = Instant::NEVER;
            let worker = record.worker;
            self.evict_holder(worker);
            return;
        }
        let deadline = if !record.start_settled && record.start_at <= now {
            Deadline::Start
        } else {
            Deadline::Finish
        };
        match deadline {
            Deadline::Start => record.start_settled = true,
            Deadline::Finish => record.finish_at = Instant::NEVER,
        }
        let wish = Wish::TimeOut(deadline);
        match record.state {
            TaskState::Backlogged => {
                self.end(index, Ending::TimedOut(deadline), false);
                return;
            }
            TaskState::Adopted if deadline == Deadline::Finish => {
                self.end(index, Ending::TimedOut(deadline), true);
                return;
            }
            TaskState::Queued => self.revoke(index, wish),
            TaskState::Prefetched => self.recall(index, wish),
            TaskState::Running | TaskState::Carried => {
                self.abort(now, index, wish);
                return;
            }
            TaskState::Revoking | TaskState::Taken if record.wish.yields() => record.wish = wish,
            _ => {}
        }
        // The other deadline still holds.
        self.arm(index);
    }

    /// Withdraws a queued task, for the reason given; [`Scheduler::handle_revoked`] goes on.
    pub(super) fn revoke(&mut self, index: u32, wish: Wish) {
        let record = &mut self.tasks.records[index as usize];
        debug_assert_eq!(record.state, TaskState::Queued);
        record.state = TaskState::Revoking;
        record.wish = wish;
        if record.by_mail {
            let (place, directed) = (record.worker, record.is_directed());
            let worker = &mut self.workers[place as usize];
            let mail = worker.mail(directed);
            mail.remove(&mut self.tasks.records, index);
            self.reclass(place);
        } else {
            self.pooled.remove(&mut self.tasks.records, index);
        }
        self.revokes.push_back(&mut self.tasks.records, index);
    }

    /// Asks the worker of a running task to stop it. A worker that is lost is not asked any more.
    pub(super) fn abort(&mut self, now: Instant, index: u32, wish: Wish) {
        self.disarm(index);
        if self.tasks.records[index as usize].state == TaskState::Carried {
            self.leave_carried(index);
            let place = self.tasks.records[index as usize].worker as usize;
            let list = &mut self.workers[place].assigned;
            list.push_back(&mut self.tasks.records, index);
            self.tasks.records[index as usize].state = TaskState::Running;
        }
        let record = &mut self.tasks.records[index as usize];
        debug_assert_eq!(record.state, TaskState::Running);
        record.state = TaskState::Aborting;
        record.wish = wish;
        record.start_at = Instant::NEVER;
        record.finish_at = Instant::NEVER;
        let worker = &mut self.workers[record.worker as usize];
        if !worker.may_be_asked() {
            return;
        }
        record.finish_at = now.after_ms(self.limits.abort_grace_ms());
        record.abort_due = true;
        let place = record.worker;
        worker.assigned.remove(&mut self.tasks.records, index);
        worker.aborts.push_back(&mut self.tasks.records, index);
        self.stats.aborts += 1;
        self.arm(index);
        self.mark_control(place);
    }

    /// A worker is gone that had started this task, the loss rules decide.
    pub(super) fn lose(&mut self, index: u32) {
        let record = &self.tasks.records[index as usize];
        let possible = !record.is_directed() || record.hold_until > Instant(0);
        let again = possible && record.may_rerun();
        let wish = record.wish.once_started();
        match wish {
            Wish::TimeOut(deadline) => self.end(index, Ending::TimedOut(deadline), true),
            Wish::Cancel if record.grace_over => {
                self.end(index, Ending::Cancelled { started: true }, true);
            }
            _ if again && !record.is_orphan() && wish != Wish::Cancel => self.rerun(index),
            _ => {
                if record.history != NIL {
                    self.remember_worker(index);
                }
                self.settled_of(index).lost += 1;
                self.end(index, Ending::WorkerLost, true);
            }
        }
    }

    /// Where it is noted what becomes of the tasks of the worker that a task is lost with.
    pub(super) fn settled_of(&mut self, index: u32) -> &mut Settled {
        let place = self.tasks.records[index as usize].worker;
        &mut self.workers[place as usize].settled
    }

    /// The next attempt of a task whose present one was lost: before all that never started.
    fn rerun(&mut self, index: u32) {
        self.settle_start(index);
        self.remember_worker(index);
        self.settled_of(index).rerun += 1;
        self.notify_rerun(index);
        self.detach(index);
        let record = &mut self.tasks.records[index as usize];
        record.lost_epoch = record.epoch;
        record.carried = false;
        record.attempt.0 += 1;
        record.wish = Wish::None;
        record.state = TaskState::Backlogged;
        self.stats.rerun += 1;
        if record.is_directed() {
            self.settle_directed(index);
        } else {
            record.choosy = record.history != NIL;
            self.join_waiting(index, Side::Front);
        }
    }

    /// The next attempt of a task whose present one has failed.
    pub(super) fn retry(&mut self, index: u32) {
        self.settle_start(index);
        self.remember_worker(index);
        self.detach(index);
        let record = &mut self.tasks.records[index as usize];
        // Its result is known: there is none to come from the attempt before.
        record.lost_epoch = Epoch(0);
        record.carried = false;
        record.attempt.0 += 1;
        record.retries += 1;
        record.wish = Wish::None;
        record.choosy = record.history != NIL && !record.is_directed();
        self.join_waiting(index, Side::Front);
        self.stats.retried += 1;
    }

    /// Adds the worker of the present attempt to those that have lost or failed the task.
    pub(super) fn remember_worker(&mut self, index: u32) {
        let record = &mut self.tasks.records[index as usize];
        let worker = self.workers.get(record.worker as usize);
        // What was claimed by one that had left long ago may name a place that is another's now.
        let Some(worker) = worker.filter(|worker| worker.epoch == record.epoch) else {
            return;
        };
        if record.history == NIL {
            record.history = self.histories.take();
        }
        if let Some(history) = self.histories.get_mut(record.history) {
            history.add(WorkerId(record.worker), record.epoch, worker.name);
        }
    }

    /// Back to the front of its backlog: the present attempt never started. What becomes of a
    /// directed task whose worker is gone is another story.
    pub(super) fn put_back(&mut self, index: u32) {
        self.detach(index);
        let record = &mut self.tasks.records[index as usize];
        record.wish = Wish::None;
        record.state = TaskState::Backlogged;
        let target = record.target();
        if target.is_none_or(|place| self.workers[place as usize].keeps_tasks()) {
            self.join_waiting(index, Side::Front);
        } else {
            self.settle_directed(index);
        }
    }

    /// A task in no list waits for credit, behind or before what waits already.
    pub(super) fn join_waiting(&mut self, index: u32, side: Side) {
        let records = &mut self.tasks.records;
        let record = &mut records[index as usize];
        record.state = TaskState::Backlogged;
        let (route, again) = (record.home.route(), record.choosy);
        self.backlogs.count_in(record);
        *self.stats.depth_of(route) += 1;
        match (again, side) {
            (true, _) => {
                let label = &mut self.crews.labels[label_of(route) as usize];
                // Before those that were looked at in vain, so that it is looked at.
                label.again.push_front(records, index);
                label.again_len += 1;
                label.again_left += 1;
                self.choosy_waiting += 1;
            }
            (false, Side::Back) => self.backlogs.push_back(records, index),
            (false, Side::Front) => self.backlogs.push_front(records, index),
        }
        match route {
            Route::Worker(place) => self.mark_ready(place),
            Route::Any if !again => {}
            _ => self.mark_placing(label_of(route)),
        }
    }

    /// A task waits no longer.
    fn leave_waiting(&mut self, index: u32) {
        let records = &mut self.tasks.records;
        let record = &records[index as usize];
        let route = record.home.route();
        self.backlogs.count_out(record);
        *self.stats.depth_of(route) -= 1;
        if let Route::Worker(place) = route
            && record.is_held()
        {
            self.stop_holding(index, place);
        } else if record.choosy {
            let label = &mut self.crews.labels[label_of(route) as usize];
            label.again.remove(records, index);
            label.again_len -= 1;
            self.choosy_waiting -= 1;
            label.again_left = label.again_left.min(label.again_len);
        } else {
            self.backlogs.remove(records, index);
        }
    }

    /// Takes the first task out of a backlog; it waits no longer.
    #[inline]
    pub(super) fn pop_waiting(&mut self, home: Home) -> Option<u32> {
        let index = self.backlogs.pop_front(&mut self.tasks.records, home)?;
        self.backlogs.count_out(&self.tasks.records[index as usize]);
        *self.stats.depth_of(home.route()) -= 1;
        Some(index)
    }

    /// Gives a task its outcome, which then waits for the client. `started` says whether the
    /// present attempt did.
    pub(super) fn end(&mut self, index: u32, ending: Ending, started: bool) {
        self.detach(index);
        self.disarm(index);
        self.stats.open -= 1;
        let record = &mut self.tasks.records[index as usize];
        let bytes = u64::from(record.bytes());
        self.stats.payload_bytes -= bytes;
        record.ending = ending;
        record.detail = 0;
        record.attempt = Attempt(record.attempt.0 - u8::from(!started));
        if record.client != NIL {
            let client = &mut self.clients[record.client as usize];
            client.held_bytes = client.held_bytes.saturating_sub(bytes);
        }
        let record = &mut self.tasks.records[index as usize];
        let (owner, multicast) = (record.client, record.multicast());
        let route = record.home.route();
        if record.is_orphan() {
            self.stats.forgotten += 1;
            record.state = TaskState::Releasing;
            self.releases.push_back(&mut self.tasks.records, index);
            self.leave_topic(route);
            return;
        }
        record.state = TaskState::Done;
        self.leave_topic(route);
        self.count_ending(ending);
        self.note_end(index);
        self.step_over(index);
        if multicast == NIL {
            self.clients[owner as usize]
                .open
                .remove(&mut self.tasks.records, index);
        } else {
            self.leave_multicast(multicast, index, ending == Ending::Completed);
        }
        self.clients[owner as usize]
            .due
            .push_back(&mut self.tasks.records, index);
        self.mark_turn(owner);
        if multicast != NIL {
            self.close_multicast(multicast);
        }
    }

    /// A task that has ended needs its worker's place, or its label, no longer.
    fn leave_topic(&mut self, route: Route) {
        match route {
            Route::Any => {}
            Route::Worker(place) => self.workers[place as usize].named -= 1,
            Route::Label(label) => self.drop_label(label),
        }
    }

    fn count_ending(&mut self, ending: Ending) {
        match ending {
            Ending::Completed => self.stats.completed += 1,
            Ending::Failed => self.stats.failed += 1,
            Ending::WorkerLost => self.stats.lost += 1,
            Ending::Cancelled { .. } => self.stats.cancelled += 1,
            Ending::TimedOut(_) => self.stats.timed_out += 1,
            Ending::Summary | Ending::None => {}
        }
    }

    /// Takes a task out of wherever its state has put it; the caller gives it its next state.
    pub(super) fn detach(&mut self, index: u32) {
        let record = &mut self.tasks.records[index as usize];
        let (worker, directed) = (record.worker, record.is_directed());
        match record.state {
            TaskState::Backlogged if !record.place.is_linked() => {}
            TaskState::Backlogged => self.leave_waiting(index),
            TaskState::Queued if record.by_mail => {
                self.workers[worker as usize]
                    .mail(directed)
                    .remove(&mut self.tasks.records, index);
                self.leave_worker(worker, directed);
            }
            TaskState::Queued => self.pooled.remove(&mut self.tasks.records, index),
            TaskState::Revoking => {
                let by_mail = record.by_mail;
                if record.place.is_linked() {
                    self.revokes.remove(&mut self.tasks.records, index);
                }
                if by_mail {
                    self.leave_worker(worker, directed);
                }
            }
            TaskState::Prefetched => {
                self.leave_prefetched(index);
                self.leave_worker(worker, directed);
            }
            TaskState::Running | TaskState::Aborting => {
                let due = core::mem::take(&mut record.abort_due);
                let holder = &mut self.workers[worker as usize];
                let list = if due {
                    &mut holder.aborts
                } else {
                    &mut holder.assigned
                };
                list.remove(&mut self.tasks.records, index);
                self.leave_worker(worker, directed);
            }
            TaskState::Carried => {
                self.leave_carried(index);
                self.leave_worker(worker, directed);
            }
            TaskState::Awaiting => {
                self.awaiting_results.remove(&mut self.tasks.records, index);
            }
            TaskState::Adopted => self.leave_adopted(index),
            TaskState::Spread => self.leave_making(index),
            _ => {}
        }
    }

    /// A worker has one task less. One that only it may run names its place until the end.
    #[inline]
    fn leave_worker(&mut self, place: u32, directed: bool) {
        self.load(place, |record| {
            record.taken -= 1;
            record.named -= u32::from(!directed);
        });
        let record = &self.workers[place as usize];
        if record.state == WorkerState::Returned && record.taken == 0 {
            self.end_return(place);
        } else if record.draining {
            self.finish_drain(place);
        }
    }

    /// Frees the record of a task that nobody remembers, and says which it was.
    pub(super) fn free_task(&mut self, index: u32) -> TaskHandle {
        self.drop_result_bytes(index);
        let record = &mut self.tasks.records[index as usize];
        let handle = record.handle(index);
        let history = core::mem::replace(&mut record.history, NIL);
        if history != NIL {
            self.histories.free(history);
        }
        self.tasks.free(index);
        handle
    }

    /// The task has started: the deadline for that no longer matters.
    #[inline]
    pub(super) fn settle_start(&mut self, index: u32) {
        let record = &self.tasks.records[index as usize];
        if record.start_at != Instant::NEVER && !record.start_settled {
            self.disarm(index);
            self.tasks.records[index as usize].start_settled = true;
            self.arm(index);
        }
    }

    /// It has not started after all: the deadline matters again.
    pub(super) fn unsettle_start(&mut self, index: u32) {
        let record = &self.tasks.records[index as usize];
        if record.start_settled && !record.started_before() {
            self.disarm(index);
            self.tasks.records[index as usize].start_settled = false;
            self.arm(index);
        }
    }

    /// Starts the task's timer, if it has a deadline.
    #[inline]
    pub(super) fn arm(&mut self, index: u32) {
        let record = &self.tasks.records[index as usize];
        let earliest = record.start_at.min(record.finish_at);
        // The usual case: none at all.
        if earliest == Instant::NEVER && !record.is_held() || record.due_at() == Instant::NEVER {
            return;
        }
        self.wheel.insert(&mut self.tasks.records, index);
    }

    /// Stops the task's timer, if one is running.
    pub(super) fn disarm(&mut self, index: u32) {
        if self.tasks.records[index as usize].timed.is_linked() {
            self.wheel.remove(&mut self.tasks.records, index);
        }
    }
}

/// At which end of a backlog a task joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// It is new.
    Back,
    /// It was out, or has been run.
    Front,
}

/// The label whose workers can be offered a task of this topic.
#[inline]
pub(super) fn label_of(route: Route) -> u32 {
    match route {
        Route::Label(label) => label,
        _ => Crews::EVERYBODY,
    }
}

/// Where the index looks for a client's task.
#[inline]
pub(super) fn task_hash(owner: u32, task: TaskId) -> Hash {
    Hash::of(u64::from(owner), task.0)
}

fn deadline(now: Instant, within_ms: u32) -> Instant {
    match within_ms {
        0 => Instant::NEVER,
        ms => now.after_ms(u64::from(ms)),
    }
}
