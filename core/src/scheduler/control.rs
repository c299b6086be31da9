//! Queue control: counting, listing, explaining and taking away; holding and draining workers.
//!
//! To list is to walk through the places of the slab in order. So what is there all the time is met
//! exactly once, whatever else comes and goes; a page does as many steps as it may; and the cost is
//! a step for each place that was ever used. What it takes to take tasks away is told in `sweeps`.

use super::Scheduler;
use crate::control::{Cursor, Explanation, Phase, Select, TaskInfo};
use crate::crew::Class;
use crate::id::{ClientId, Epoch, Priority, TaskId, WorkerId};
use crate::list::NIL;
use crate::submit::Target;
use crate::task::{Home, Kind, Route, TaskRecord, TaskState, Wish};
use crate::time::{Instant, Tick};
use crate::worker::WorkerState;

/// What a [`Select`] means for a record.
#[derive(Clone, Copy, Debug)]
pub(super) enum Filter {
    All,
    Client(u32),
    Task(u32, TaskId),
    Home(Home),
    Parts,
    Nothing,
}

/// A [`Filter`], and how old a task must be at least, in ticks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    pub(super) filter: Filter,
    pub(super) age_min: u64,
}

impl Scheduler {
    /// How many tasks of this topic and priority wait in the core. For [`Target::All`] none do:
    /// parts of a multicast count where their workers' tasks do.
    #[must_use]
    pub fn depth(&self, target: Target, priority: Priority) -> u32 {
        match self.filter_of(Select::Topic(target)) {
            Filter::Home(home) => self.backlogs.depth(home, priority),
            _ => 0,
        }
    }

    /// Calls `visit` with all tasks of a selection among the next `steps` places, and says where to
    /// go on; `None` when that was all.
    pub fn list(
        &self,
        now: Instant,
        select: Select,
        from: Cursor,
        steps: u32,
        mut visit: impl FnMut(TaskInfo),
    ) -> Option<Cursor> {
        let choice = self.choice_of(select);
        let len = self.tasks.records.len() as u32;
        let end = from.0.saturating_add(steps).min(len);
        for index in from.0..end {
            let record = &self.tasks.records[index as usize];
            if self.is_meant(&choice, record, now) {
                visit(self.info_of(index, now));
            }
        }
        (end < len && from.0 < len).then_some(Cursor(end))
    }

    /// Why a task is not running, or since when it is; `None` if it is not known.
    #[must_use]
    pub fn explain(&self, now: Instant, client: ClientId, task: TaskId) -> Option<Explanation> {
        let index = self.find_task(self.find_client(client)?, task)?;
        let record = &self.tasks.records[index as usize];
        Some(match record.state {
            TaskState::Free | TaskState::Releasing | TaskState::Early => return None,
            TaskState::Awaiting => Explanation::AwaitsResult {
                until: record.hold_until,
            },
            TaskState::Backlogged => self.explain_waiting(record),
            TaskState::Queued if record.by_mail => self.explain_mailed(index),
            TaskState::Queued => Explanation::InPool,
            TaskState::Revoking => Explanation::Withdrawing,
            TaskState::Taken => Explanation::Claimed,
            TaskState::Prefetched => Explanation::Prefetched(WorkerId(record.worker)),
            TaskState::Running | TaskState::Carried | TaskState::Adopted => Explanation::Running {
                worker: WorkerId(record.worker),
                for_ms: Tick::in_ms(Tick(record.detail).age(now)),
            },
            TaskState::Aborting => Explanation::Stopping(WorkerId(record.worker)),
            TaskState::Spread => Explanation::PartsOpen {
                unmade: record.parts.unmade,
            },
            TaskState::Done => Explanation::OutcomeWaits {
                sent: record.detail != 0,
            },
        })
    }

    /// Holds a worker, or releases it: as long as it is held it is given nothing, and its port
    /// takes nothing for it. What it runs goes on. `false` when it is not attached, or is leaving.
    pub fn handle_hold(&mut self, _now: Instant, worker: WorkerId, held: bool) -> bool {
        let record = self.workers.get(worker.0 as usize);
        if record.is_none_or(|record| !record.is_up() || record.draining) {
            self.stats.stale_worker += 1;
            return false;
        }
        self.pause(worker.0, |record| record.held = held);
        true
    }

    /// Lets a worker leave politely: it is given nothing more, finishes what it runs, and is then
    /// asked to leave. `false` when it is not attached.
    pub fn handle_drain(&mut self, _now: Instant, worker: WorkerId) -> bool {
        let record = self.workers.get(worker.0 as usize);
        if record.is_none_or(|record| !record.is_up()) {
            self.stats.stale_worker += 1;
            return false;
        }
        self.pause(worker.0, |record| record.draining = true);
        true
    }

    /// The port has obeyed [`Reply::Pause`](crate::Reply::Pause): all that it had taken for this
    /// worker before was told. Of a worker that is draining, what is left in the mailbox is
    /// withdrawn (as many steps as there are envelopes out to it).
    pub fn handle_paused(&mut self, _now: Instant, worker: WorkerId, epoch: Epoch) {
        if !self.is_up(worker, epoch) {
            self.stats.stale_worker += 1;
            return;
        }
        let record = &mut self.workers[worker.0 as usize];
        let leaves = record.draining && !core::mem::replace(&mut record.paused, true);
        // Of one that is held, only what it may have been sent ahead: mail can wait where it is.
        if leaves || (record.held && record.prefetch > 0) {
            self.withdraw_assigned(worker.0);
        }
        self.finish_drain(worker.0);
    }

    /// Takes back what was handed to a worker alone and is not known to have started: the last one
    /// first, so that all keep their order in front of the backlog.
    fn withdraw_assigned(&mut self, place: u32) {
        let assigned = self.workers[place as usize].assigned;
        let mut at = assigned.back();
        while let Some(index) = at {
            at = assigned.before(&self.tasks.records, index);
            self.withdraw(index, Wish::Reoffer);
        }
    }

    /// A worker that is draining leaves when it has nothing any more.
    pub(super) fn finish_drain(&mut self, place: u32) {
        let record = &self.workers[place as usize];
        if record.draining && record.paused && record.taken == 0 && record.busy == 0 {
            self.evict(place);
        }
    }

    /// Bars or opens a worker, and tells its port. Offers that wait in its mailbox are withdrawn.
    fn pause(&mut self, place: u32, change: impl FnOnce(&mut crate::worker::WorkerRecord)) {
        self.load(place, change);
        self.workers[place as usize].due.pause = true;
        self.mark_control(place);
        self.mark_ready(place);
        if self.workers[place as usize].class != Class::ABSENT {
            return;
        }
        while let Some(index) = self.workers[place as usize].offers.front() {
            self.withdraw(index, Wish::Reoffer);
        }
    }

    pub(super) fn choice_of(&self, select: Select) -> Choice {
        let age_min = match select {
            Select::OlderThanMs(ms) => Tick::from_ms(ms),
            _ => 0,
        };
        Choice {
            filter: self.filter_of(select),
            age_min,
        }
    }

    fn filter_of(&self, select: Select) -> Filter {
        let filter = match select {
            Select::All | Select::OlderThanMs(_) => Some(Filter::All),
            Select::Client(client) => self.find_client(client).map(Filter::Client),
            Select::Task { client, task } => self
                .find_client(client)
                .map(|owner| Filter::Task(owner, task)),
            Select::Topic(Target::Any) => Some(Filter::Home(Home::ANY)),
            Select::Topic(Target::All) => Some(Filter::Parts),
            Select::Topic(Target::Worker(worker)) => {
                let known = self.has_place(worker);
                known.then(|| Filter::Home(Home::worker(worker.0)))
            }
            Select::Topic(Target::Named(name)) => {
                let place = self.find_name(name);
                place.map(|place| Filter::Home(Home::worker(place)))
            }
            Select::Topic(Target::Label(key)) => {
                let label = self.crews.find(key);
                label.map(|label| Filter::Home(Home::label(label)))
            }
        };
        filter.unwrap_or(Filter::Nothing)
    }

    fn is_meant(&self, choice: &Choice, record: &TaskRecord, now: Instant) -> bool {
        let live = !matches!(
            record.state,
            TaskState::Free | TaskState::Releasing | TaskState::Early
        );
        let old = u64::from(record.born.age(now)) >= choice.age_min;
        live && old && choice.filter.has(record)
    }

    fn info_of(&self, index: u32, now: Instant) -> TaskInfo {
        let record = &self.tasks.records[index as usize];
        let client = self.clients.get(record.client as usize);
        let client = client.map(|client| client.id(record.client));
        let target = match record.home.route() {
            _ if record.kind == Kind::Multicast => Target::All,
            Route::Any => Target::Any,
            Route::Worker(place) => Target::Worker(WorkerId(place)),
            Route::Label(label) => Target::Label(self.crews.labels[label as usize].key),
        };
        let phase = match record.state {
            TaskState::Backlogged => Phase::Waiting,
            TaskState::Queued | TaskState::Revoking | TaskState::Prefetched => Phase::Queued,
            TaskState::Taken
            | TaskState::Running
            | TaskState::Carried
            | TaskState::Adopted
            | TaskState::Awaiting => Phase::Running,
            TaskState::Aborting => Phase::Stopping,
            TaskState::Spread => Phase::Spread,
            TaskState::Done | TaskState::Early | TaskState::Free | TaskState::Releasing => {
                Phase::Done
            }
        };
        TaskInfo {
            handle: record.handle(index),
            client: client.filter(|client| self.find_client(*client).is_some()),
            task: record.task,
            target,
            part: record.kind == Kind::Part,
            priority: record.priority,
            attempt: record.attempt,
            age_ms: Tick::in_ms(record.born.age(now)),
            phase,
            worker: (record.worker != NIL).then_some(WorkerId(record.worker)),
        }
    }

    fn explain_waiting(&self, record: &TaskRecord) -> Explanation {
        let route = record.home.route();
        if let Route::Worker(place) = route {
            return self.explain_directed(record, place);
        }
        let label = &self.crews.labels[super::tasks::label_of(route) as usize];
        match route {
            _ if label.members() > 0 && record.choosy => Explanation::WaitsForAnother,
            Route::Label(_) if label.members() == 0 => Explanation::NoWorkerWithLabel(label.key),
            _ if label.members() == 0 => Explanation::NoWorker,
            Route::Any if self.free_slots > 0 => Explanation::Ready,
            Route::Label(_) if label.can_take() => Explanation::Ready,
            _ => Explanation::WorkersBusy,
        }
    }

    fn explain_directed(&self, record: &TaskRecord, place: u32) -> Explanation {
        let worker = &self.workers[place as usize];
        let id = WorkerId(place);
        match worker.state {
            WorkerState::Up if worker.draining || worker.evicting => {
                Explanation::WorkerDraining(id)
            }
            WorkerState::Up if worker.held => Explanation::WorkerHeld(id),
            WorkerState::Up if worker.window.room() == 0 => Explanation::WaitsForCredit(id),
            WorkerState::Up => Explanation::Ready,
            _ => Explanation::WaitsForReturn {
                worker: id,
                until: record.hold_until,
            },
        }
    }

    fn explain_mailed(&self, index: u32) -> Explanation {
        let record = &self.tasks.records[index as usize];
        let worker = &self.workers[record.worker as usize];
        let list = if record.is_directed() {
            &worker.assigned
        } else {
            &worker.offers
        };
        let before = |at: &u32| list.before(&self.tasks.records, *at);
        let ahead = core::iter::successors(before(&index), before).count();
        Explanation::InMailbox {
            worker: WorkerId(record.worker),
            ahead: ahead as u32,
        }
    }
}

impl Filter {
    pub(super) fn has(self, record: &TaskRecord) -> bool {
        match self {
            Self::All => true,
            Self::Client(owner) => record.client == owner,
            Self::Task(owner, task) => record.client == owner && record.task == task,
            Self::Home(home) => record.home == home && record.kind != Kind::Multicast,
            Self::Parts => record.kind == Kind::Part,
            Self::Nothing => false,
        }
    }
}
