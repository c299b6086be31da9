//! `poll_*`: the next thing to do, computed from state.

use super::{Scheduler, Step};
use crate::effect::{Effect, Envelope, OutcomeReply, Reply, Tried};
use crate::event::Origin;
use crate::id::{Epoch, PortId, WorkerId};
use crate::list::{List, NIL};
use crate::task::{Home, Kind, TaskState};
use crate::time::Instant;
use crate::worker::WorkerRecord;

/// Envelopes for the pool though no slot is free: what a worker takes that becomes free meanwhile.
const POOL_WINDOW_MIN: u32 = 2;

impl Scheduler {
    /// Deadlines. Does a bounded amount of work; [`next_timeout`](Self::next_timeout) is not later
    /// than `now` when some is left.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.seen_at = now;
        let mut steps = self.limits.work_per_poll();
        while let Some(index) = self.wheel.pop_due(&mut self.tasks.records, now, &mut steps) {
            self.expire(now, index);
        }
        for _ in 0..steps {
            let suspect = self.lose_overdue(now);
            let purged = suspect.or_else(|| self.purge_overdue(now));
            if purged.or_else(|| self.end_early(now)).is_none() {
                break;
            }
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) and to poll again, if nothing happens
    /// before; `None`: no need to. It may be too early, never too late. It is in the past when the
    /// last [`poll_effect`](Self::poll_effect) stopped because it had done enough.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        if self.unfinished || !self.placing.is_empty() {
            return Some(Instant(0));
        }
        let kept = self.detached.front().map(|index| self.kept_until(index));
        let timer = self.wheel.next_timeout();
        let suspect = self.next_suspect_due();
        let due = kept.into_iter().chain(timer).chain(suspect);
        due.chain(self.next_early_due()).min()
    }

    /// The next thing for the driver to do; `None` when there is nothing, or when as much
    /// housekeeping has been done as one poll may do.
    pub fn poll_effect(&mut self, now: Instant) -> Option<Effect> {
        if self.is_tidy() && self.placing.is_empty() {
            // The usual case.
            self.unfinished = false;
            return self.poll_directed();
        }
        self.seen_at = now;
        self.chores_first = !self.chores_first;
        let effect = if self.chores_first {
            self.poll_chore(now).or_else(|| self.poll_offer())
        } else {
            self.poll_offer().or_else(|| self.poll_chore(now))
        };
        // Looking for somebody to take an offer may have found one to withdraw, and a chore may
        // have made a worker ready. Who sleeps on `None` would find out too late.
        effect
            .or_else(|| self.poll_revoke())
            .or_else(|| self.poll_directed())
    }

    /// The next envelope for the pool, as long as its window has room: a place per free slot, so
    /// that the queue stays here, where it can be counted and changed. Call it only when the pool
    /// has room.
    pub fn poll_inject(&mut self, _now: Instant) -> Option<Envelope> {
        if self.backlogs.is_empty(Home::ANY) {
            return None;
        }
        self.pool
            .set_limit(self.free_slots.max(POOL_WINDOW_MIN).min(self.limits.pool()));
        if !self.pool.take() {
            return None;
        }
        let index = self.pop_waiting(Home::ANY)?;
        self.stats.outstanding_pool += 1;
        self.pooled.push_back(&mut self.tasks.records, index);
        Some(self.publish(index, false))
    }

    /// Takes a port that has replies due off the list of those. Poll its replies until there is
    /// none, or put it back with [`defer_port`](Self::defer_port).
    pub fn poll_due_port(&mut self) -> Option<PortId> {
        let index = self.due_ports.pop_front(&mut self.ports)?;
        Some(PortId(index as u16))
    }

    /// Puts a port back that has no room for its replies now.
    pub fn defer_port(&mut self, port: PortId) {
        if self.has_port(port) {
            self.mark_port(port);
        }
    }

    /// The next reply for this port: what workers must be told first, then outcomes, one of each
    /// client in turn. Call it only when the port has room.
    pub fn poll_reply(&mut self, _now: Instant, port: PortId) -> Option<Reply> {
        if !self.has_port(port) {
            return None;
        }
        // Each at its own exit: what is built is large, and is not moved.
        if !self.ports[usize::from(port.0)].control.is_empty()
            && let Some(reply) = self.poll_control(port)
        {
            return Some(reply);
        }
        if !self.sweeps.is_empty()
            && let Some(reply) = self.poll_swept(port)
        {
            return Some(reply);
        }
        self.poll_outcome(port)
    }

    /// The next envelope for a mailbox. Tasks for one worker and offers take turns, so that neither
    /// starves the other.
    fn poll_offer(&mut self) -> Option<Effect> {
        if self.placing.is_empty() {
            return self.poll_directed();
        }
        self.offers_first = !self.offers_first;
        if self.offers_first {
            self.poll_placing().or_else(|| self.poll_directed())
        } else {
            self.poll_directed().or_else(|| self.poll_placing())
        }
    }

    /// Hands out the next directed task; workers take turns.
    fn poll_directed(&mut self) -> Option<Effect> {
        loop {
            let place = self.ready.pop_front(&mut self.workers)?;
            // It may have lost what made it ready since it was listed.
            if !self.is_ready(place) {
                continue;
            }
            let Some(index) = self.pop_waiting(Home::worker(place)) else {
                continue;
            };
            let effect = self.mail(index, place);
            self.mark_ready(place);
            return Some(effect);
        }
    }

    /// Hands a task that is in no list to a worker with credit, through its mailbox.
    pub(super) fn mail(&mut self, index: u32, place: u32) -> Effect {
        let record = &mut self.tasks.records[index as usize];
        let directed = record.is_directed();
        let worker = &mut self.workers[place as usize];
        record.worker = place;
        record.epoch = worker.epoch;
        worker
            .mail(directed)
            .push_back(&mut self.tasks.records, index);
        let room = worker.window.take();
        debug_assert!(room, "an envelope without credit");
        self.stats.outstanding_directed += 1;
        self.load(place, |record| {
            record.taken += 1;
            record.named += u32::from(!directed);
        });
        let envelope = self.publish(index, true);
        Effect::Offer {
            worker: WorkerRecord::id(place),
            envelope,
        }
    }

    /// The envelope of a task that leaves its backlog, under the next stamp of its place.
    fn publish(&mut self, index: u32, by_mail: bool) -> Envelope {
        let record = &mut self.tasks.records[index as usize];
        record.state = TaskState::Queued;
        record.by_mail = by_mail;
        record.stamp = record.stamp.next();
        let named = record.kind == Kind::Single && record.client != NIL;
        let origin = named.then(|| Origin {
            client: self.clients[record.client as usize].key as u64,
            task: record.task,
        });
        Envelope {
            origin,
            handle: record.handle(index),
            stamp: record.stamp,
            attempt: record.attempt,
        }
    }

    /// Housekeeping, up to the first effect.
    fn poll_chore(&mut self, now: Instant) -> Option<Effect> {
        self.unfinished = false;
        for _ in 0..self.limits.work_per_poll() {
            match self.step(now) {
                Step::Idle => return None,
                Step::Silent => {}
                Step::Effect(effect) => return Some(effect),
            }
        }
        self.unfinished = true;
        None
    }

    /// The first piece of housekeeping that there is: what others wait for comes first.
    fn step(&mut self, now: Instant) -> Step {
        if self.is_tidy() {
            return Step::Idle;
        }
        let steps = [
            Self::step_revokes,
            Self::step_releases,
            Self::step_leaving,
            Self::step_heirs,
            Self::step_drained,
            Self::step_chores,
            Self::step_making,
            Self::step_sweep,
        ];
        for step in steps {
            match step(self) {
                Step::Idle => {}
                done => return done,
            }
        }
        self.step_cancelling(now)
    }

    /// Whether there is no housekeeping at all: the usual case, seen at a glance.
    fn is_tidy(&self) -> bool {
        let tasks = [
            &self.revokes,
            &self.releases,
            &self.making,
            &self.cancelling,
        ];
        let workers = [&self.leaving, &self.drained];
        tasks.into_iter().all(List::is_empty)
            && workers.into_iter().all(List::is_empty)
            && self.chores.is_empty()
            && self.heirs.is_empty()
            && !self.is_sweeping()
    }

    fn step_revokes(&mut self) -> Step {
        self.poll_revoke().map_or(Step::Idle, Step::Effect)
    }

    fn poll_revoke(&mut self) -> Option<Effect> {
        let index = self.revokes.pop_front(&mut self.tasks.records)?;
        let record = &self.tasks.records[index as usize];
        Some(Effect::Revoke {
            handle: record.handle(index),
            stamp: record.stamp,
        })
    }

    fn step_releases(&mut self) -> Step {
        let Some(index) = self.releases.pop_front(&mut self.tasks.records) else {
            return Step::Idle;
        };
        let handle = self.free_task(index);
        Step::Effect(Effect::Release { handle })
    }

    fn poll_control(&mut self, port: PortId) -> Option<Reply> {
        loop {
            let list = &mut self.ports[usize::from(port.0)].control;
            let place = list.pop_front(&mut self.workers)?;
            if self.control_port(place) != port {
                self.mark_control(place);
            } else if let Some(reply) = self.control_of(place) {
                self.mark_control(place);
                return Some(reply);
            }
        }
    }

    /// The next thing that the port of this worker must be told.
    fn control_of(&mut self, place: u32) -> Option<Reply> {
        let record = &mut self.workers[place as usize];
        let (worker, epoch, token) = (WorkerRecord::id(place), record.epoch, record.token);
        if core::mem::take(&mut record.due.admitted) {
            self.reclass(place);
            self.mark_ready(place);
            return Some(Reply::Admitted {
                token,
                worker,
                epoch,
            });
        }
        if let Some(refusal) = record.due.refused.take() {
            self.free_place(place);
            return Some(Reply::NotAdmitted { token, refusal });
        }
        if core::mem::take(&mut record.due.pause) {
            let paused = record.held || record.draining;
            return Some(Reply::Pause {
                worker,
                epoch,
                paused,
            });
        }
        if core::mem::take(&mut record.due.evict) {
            return Some(Reply::Evict { worker, epoch });
        }
        if record.may_be_asked()
            && let Some(index) = record.aborts.pop_front(&mut self.tasks.records)
        {
            record.assigned.push_back(&mut self.tasks.records, index);
            let task = &mut self.tasks.records[index as usize];
            task.abort_due = false;
            let (handle, attempt) = (task.handle(index), task.attempt);
            if task.state == TaskState::Prefetched {
                return Some(Reply::Recall {
                    worker,
                    epoch,
                    handle,
                    attempt,
                });
            }
            let (worker, epoch) = self.holder_of(place);
            return Some(Reply::Abort {
                worker,
                epoch,
                handle,
                attempt,
            });
        }
        core::mem::take(&mut record.due.retire).then_some(Reply::Retire {
            worker,
            epoch,
            settled: record.settled,
        })
    }

    /// The incarnation that has what was given out at a place.
    fn holder_of(&self, place: u32) -> (WorkerId, Epoch) {
        let holder = self.holder(place);
        (
            WorkerRecord::id(holder),
            self.workers[holder as usize].epoch,
        )
    }

    fn poll_outcome(&mut self, port: PortId) -> Option<Reply> {
        let turns = &mut self.ports[usize::from(port.0)].turns;
        let owner = turns.pop_front(&mut self.clients)?;
        let client = &mut self.clients[owner as usize];
        if !client.notices.is_empty() {
            let notice = self.poll_notice(owner);
            self.mark_turn(owner);
            return notice;
        }
        if client.output_missed > 0 {
            let missed = core::mem::take(&mut client.output_missed);
            let client = client.id(owner);
            self.mark_turn(owner);
            return Some(Reply::OutputMissed { client, missed });
        }
        let index = client.due.pop_front(&mut self.tasks.records)?;
        let bytes = self.tasks.records[index as usize].result_bytes();
        client.unread = client.unread.saturating_add(1);
        client.unread_bytes += u64::from(bytes);
        if !client.due.is_empty() && client.has_window(&self.limits) {
            turns.push_back(&mut self.clients, owner);
        }
        let client = &mut self.clients[owner as usize];
        client.sent = client.sent.wrapping_add(1);
        let record = &mut self.tasks.records[index as usize];
        record.detail = client.sent;
        let ran = record.attempt.0 > 0 || record.kind == Kind::Part;
        let reply = Reply::Outcome(OutcomeReply {
            client: client.id(owner),
            task: record.task,
            handle: record.handle(index),
            seq: record.detail,
            outcome: record.outcome(),
            worker: (ran && record.worker != NIL)
                .then_some((WorkerId(record.worker), record.epoch)),
            attempts: record.attempt.0,
            tried: Tried::of(self.histories.get(record.history)),
            part: record.kind == Kind::Part,
            has_payload: record.has_result,
            keep: client.keeps,
        });
        if client.keeps {
            client.unacked.push_back(&mut self.tasks.records, index);
        } else {
            self.forget(index);
            self.free_task(index);
        }
        Some(reply)
    }
}
