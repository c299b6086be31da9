//! Workers that are gone and may come back: suspicion, and tasks that wait for a name's return.
//!
//! * With a *rejoin grace*, a worker whose connection is gone is only suspected: nothing of what it
//!   runs or was given alone is settled before the grace is over or its name is back. Results that
//!   it hands in on its return count, as long as nobody else has the task.
//! * A directed task may ask to be *held*: once its worker is lost, it waits at the place that the
//!   worker had, until an heir (the next worker of that name) takes it over or the time is up.
//!
//! Places that matter when a name returns are its *ghosts*; a name can have several.

use super::tasks::Side;
use super::{Scheduler, Step};
use crate::event::Loss;
use crate::id::NameKey;
use crate::index::Hash;
use crate::list::{List, NIL};
use crate::task::{Ending, Held, Home, Kind, TaskState, Wish};
use crate::time::Instant;
use crate::worker::WorkerState;

impl Scheduler {
    /// A worker is gone: is it lost, or may it be back soon?
    pub(super) fn suspect_or_lose(&mut self, now: Instant, place: u32, loss: Loss, is_back: bool) {
        let grace_ms = match loss {
            Loss::Left => 0,
            Loss::Closed => self.limits.rejoin_grace_ms(),
            Loss::Stalled => self.limits.stall_grace_ms(),
        };
        let record = &mut self.workers[place as usize];
        record.down_at = now;
        record.is_back = is_back;
        // A successor is of the same process: what waits for that follows it.
        record.returned = is_back;
        record.stalled = loss == Loss::Stalled;
        if is_back || record.draining || grace_ms == 0 {
            record.state = WorkerState::Leaving;
            self.leaving.push_back(&mut self.workers, place);
            self.update_ghost(place);
            if !is_back {
                self.end_hopeless(place);
            }
            return;
        }
        record.state = WorkerState::Suspect;
        let kind = usize::from(record.stalled);
        self.suspects[kind].push_back(&mut self.workers, place);
        self.update_ghost(place);
        // What others may run need not wait.
        let offers = self.workers[place as usize].offers;
        let mut at = offers.front();
        while let Some(index) = at {
            at = offers.after(&self.tasks.records, index);
            // What was sent ahead counts as started (rule R1), and waits like what runs.
            if self.tasks.records[index as usize].state == TaskState::Queued {
                self.revoke(index, Wish::Reoffer);
            }
        }
    }

    /// A name is lost again whose process was back, and still ran what it was given at another
    /// place: that place shares its fate.
    pub(super) fn lose_returned(&mut self, now: Instant, heir: u32, loss: Loss, is_back: bool) {
        while let Some(place) = self.find_ghost(heir, WorkerState::Returned) {
            self.drop_carried(place);
            self.suspect_or_lose(now, place, loss, is_back);
        }
    }

    /// The first suspect whose grace is over is lost.
    pub(super) fn lose_overdue(&mut self, now: Instant) -> Option<()> {
        let mut overdue = self.suspects.iter().filter_map(List::front);
        let place = overdue.find(|place| self.suspected_until(*place) <= now)?;
        self.end_suspicion(place, None);
        Some(())
    }

    /// When the first suspect is lost.
    pub(super) fn next_suspect_due(&self) -> Option<Instant> {
        let due = self.suspects.iter().filter_map(List::front);
        due.map(|place| self.suspected_until(place)).min()
    }

    fn suspected_until(&self, place: u32) -> Instant {
        let record = &self.workers[place as usize];
        let grace_ms = if record.stalled {
            self.limits.stall_grace_ms()
        } else {
            self.limits.rejoin_grace_ms()
        };
        record.down_at.after_ms(grace_ms)
    }

    /// The time is up, or the name is attached again at the place of its heir.
    fn end_suspicion(&mut self, place: u32, heir: Option<u32>) {
        let kind = usize::from(self.workers[place as usize].stalled);
        let instance = heir.map(|heir| self.workers[heir as usize].instance);
        self.suspects[kind].remove(&mut self.workers, place);
        let record = &mut self.workers[place as usize];
        record.state = WorkerState::Leaving;
        record.returned = heir.is_some();
        record.is_back = instance == Some(record.instance);
        self.leaving.push_back(&mut self.workers, place);
        self.update_ghost(place);
        if heir.is_none() {
            self.end_hopeless(place);
        }
    }

    /// Tasks that wait for an heir without a limit, because its name was back, wait for nobody once
    /// that is lost as well.
    fn end_hopeless(&mut self, place: u32) {
        let name = self.workers[place as usize].name;
        if self.find_name(name).is_some() || self.find_suspect(name).is_some() {
            return;
        }
        while let Some(index) = self.find_hopeless(place) {
            // Their time is up: they end a few at a time, like all whose time is.
            self.disarm(index);
            let until = self.workers[place as usize].down_at;
            self.tasks.records[index as usize].hold_until = until.max(Instant(1));
            self.arm(index);
        }
    }

    fn find_hopeless(&self, place: u32) -> Option<u32> {
        let records = &self.tasks.records;
        let endless = |ghost: u32| {
            let mut waiting = self.workers[ghost as usize].awaiting.iter(records);
            waiting.find(|index| records[*index as usize].hold_until == Instant::NEVER)
        };
        let ghost = self.find_ghost_by(place, |ghost| endless(ghost).is_some())?;
        endless(ghost)
    }

    /// A name is attached again at this place: its suspects are settled, and what waits for it is
    /// taken over, over the next polls.
    pub(super) fn welcome_back(&mut self, place: u32) {
        while let Some(suspect) = self.find_ghost(place, WorkerState::Suspect) {
            self.end_suspicion(suspect, Some(place));
            self.move_adopted(suspect, place);
        }
        if self.find_awaiting(place).is_some() {
            self.heirs.push_back(&mut self.workers, place);
        }
    }

    /// All tasks of a lost worker are settled: if its name is back, the heir takes over those that
    /// wait for that.
    pub(super) fn settled(&mut self, place: u32) {
        let record = &self.workers[place as usize];
        if record.awaiting.is_empty() {
            return;
        }
        match self.find_name(record.name) {
            Some(heir) if !self.workers[heir as usize].heirs.is_linked() => {
                self.heirs.push_back(&mut self.workers, heir);
            }
            Some(_) => {}
            None => self.end_hopeless(place),
        }
    }

    /// The first heir takes over one task: the last one first, each before what the heir has. So
    /// they keep their order, and come before what was submitted to the heir itself. Until it has
    /// all of them it is handed no directed task.
    pub(super) fn step_heirs(&mut self) -> Step {
        let Some(heir) = self.heirs.pop_front(&mut self.workers) else {
            return Step::Idle;
        };
        let ghost = self.find_awaiting(heir);
        let last = ghost.and_then(|ghost| self.workers[ghost as usize].awaiting.back());
        if let Some(index) = last {
            self.heirs.push_back(&mut self.workers, heir);
            self.hand_over(index, heir);
        } else {
            self.mark_ready(heir);
        }
        Step::Silent
    }

    /// A directed task that has not started, or may start again, and whose worker is gone: it waits
    /// for an heir, or ends.
    pub(super) fn settle_directed(&mut self, index: u32) {
        let record = &self.tasks.records[index as usize];
        let Some(place) = record.target() else {
            debug_assert!(false, "not directed");
            return;
        };
        // A part is addressed to one incarnation (the next one may have a part of its own), and
        // nobody waits for the end of an orphan.
        let ends = record.is_orphan() || record.kind == Kind::Part;
        let returned = self.workers[place as usize].returned;
        if !ends && (returned || record.hold_until > Instant(0)) {
            self.hold_task(index, place);
        } else {
            self.workers[place as usize].settled.lost += 1;
            self.end(index, Ending::WorkerLost, false);
        }
    }

    /// Makes a directed task another worker's, who has the same name.
    fn hand_over(&mut self, index: u32, heir: u32) {
        self.detach(index);
        let record = &mut self.tasks.records[index as usize];
        if let Some(place) = record.target() {
            self.workers[place as usize].named -= 1;
        }
        record.home = Home::worker(heir);
        record.wish = Wish::None;
        self.workers[heir as usize].named += 1;
        self.join_waiting(index, Side::Front);
        // Its timer may have stood for the end of its wait.
        self.disarm(index);
        self.arm(index);
    }

    /// A task waits for its worker's name to return.
    fn hold_task(&mut self, index: u32, place: u32) {
        self.detach(index);
        self.disarm(index);
        let worker = &mut self.workers[place as usize];
        let record = &mut self.tasks.records[index as usize];
        record.wish = Wish::None;
        record.state = TaskState::Backlogged;
        (record.held, record.hold_until) = match record.hold_until {
            // Its name is back already, and it is taken over as soon as all others are settled.
            Instant(0) => (Held::ForHeir, Instant::NEVER),
            Instant(hold_ns) => {
                let until = worker.down_at.0.saturating_add(hold_ns);
                (Held::AsAsked, Instant(until))
            }
        };
        self.backlogs.count_in(record);
        *self.stats.depth_of(record.home.route()) += 1;
        worker.awaiting.push_back(&mut self.tasks.records, index);
        worker.named -= 1;
        self.stats.held += 1;
        self.arm(index);
        self.update_ghost(place);
    }

    /// A task that was held no longer is; the caller gives it a place, or ends it.
    pub(super) fn stop_holding(&mut self, index: u32, place: u32) {
        self.disarm(index);
        let worker = &mut self.workers[place as usize];
        worker.awaiting.remove(&mut self.tasks.records, index);
        worker.named += 1;
        let record = &mut self.tasks.records[index as usize];
        // From when it ends back to how long it is: for the next time. One that waited for an heir
        // may have an end too, if that is gone (`end_hopeless`), but asked for none.
        record.hold_until = match record.held {
            Held::ForHeir => Instant(0),
            _ => Instant(record.hold_until.since_ns(worker.down_at).max(1)),
        };
        record.held = Held::No;
        self.update_ghost(place);
    }

    /// Lists a place among the ghosts of its name, or not, as the case may be.
    pub(super) fn update_ghost(&mut self, place: u32) {
        let record = &mut self.workers[place as usize];
        let may_return = matches!(record.state, WorkerState::Suspect | WorkerState::Returned);
        let is_ghost = may_return || !record.awaiting.is_empty();
        if core::mem::replace(&mut record.ghost, is_ghost) == is_ghost {
            return;
        }
        let hash = Hash::of_u128(record.name.0);
        if is_ghost {
            self.ghosts.insert(hash, place);
            return;
        }
        let workers = &self.workers;
        self.ghosts.remove(hash, place, |place| {
            Hash::of_u128(workers[place as usize].name.0)
        });
        if self.workers[place as usize].state == WorkerState::Drained {
            self.drained.push_back(&mut self.workers, place);
        }
    }

    /// Where the worker is now that was attached at this place: elsewhere, if it is the same
    /// process and has come back.
    pub(super) fn present_of(&self, place: u32) -> u32 {
        let record = &self.workers[place as usize];
        if record.epoch.0 == 0 || record.keeps_tasks() {
            return place;
        }
        let heir = self.find_name(record.name);
        let same = heir.filter(|heir| self.workers[*heir as usize].instance == record.instance);
        same.unwrap_or(place)
    }

    /// The suspect of this name.
    pub(super) fn find_suspect(&self, name: NameKey) -> Option<u32> {
        self.ghosts.find(Hash::of_u128(name.0), |ghost| {
            let record = &self.workers[ghost as usize];
            record.name == name && record.state == WorkerState::Suspect
        })
    }

    /// A place at which tasks wait for the worker of this place, and all of them are settled.
    fn find_awaiting(&self, heir: u32) -> Option<u32> {
        self.find_ghost_by(heir, |ghost| {
            let record = &self.workers[ghost as usize];
            let settled = matches!(
                record.state,
                WorkerState::Returned | WorkerState::Retiring | WorkerState::Drained
            );
            settled && !record.awaiting.is_empty()
        })
    }

    fn find_ghost(&self, heir: u32, state: WorkerState) -> Option<u32> {
        self.find_ghost_by(heir, |ghost| self.workers[ghost as usize].state == state)
    }

    fn find_ghost_by(&self, heir: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let name = self.workers[heir as usize].name;
        debug_assert_ne!(heir, NIL);
        self.ghosts.find(Hash::of_u128(name.0), |ghost| {
            self.workers[ghost as usize].name == name && is_it(ghost)
        })
    }
}
