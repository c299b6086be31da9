//! Queue control, and whether anything waits that somebody could run (I12).

use taskyard_core::{
    Cursor, Instant, LabelKey, NameKey, Phase, PortId, Select, Sweep, Target, TaskInfo, Token,
    WorkerId,
};

use super::World;
use crate::sim::options::{Fault, Size};

impl World {
    pub(super) fn control(&mut self, fault: Fault) {
        let workers = self.options.size(Size::Workers) + 2;
        let worker = WorkerId(self.rng.below(workers) as u32);
        match fault {
            Fault::HoldWorker => {
                let held = self.rng.chance(500);
                self.driver.hold(&mut self.watch, worker, held);
            }
            Fault::DrainWorker => self.driver.ask_to_leave(&mut self.watch, worker),
            _ => {
                // Now and then more than may wait.
                let orders = if self.rng.chance(30) { 20 } else { 1 };
                for _ in 0..orders {
                    let port = PortId(self.rng.place(self.ports.len()) as u16);
                    let select = self.draw_select(worker);
                    let token = Token(self.rng.next());
                    self.driver
                        .sweep(&mut self.watch, port, Sweep { select, token });
                }
                self.look_around();
            }
        }
    }

    fn draw_select(&mut self, worker: WorkerId) -> Select {
        match (self.rng.below(8), self.some_record()) {
            (0, _) => Select::All,
            (1, Some((client, _))) => Select::Client(client),
            (2, Some((client, task))) => Select::Task { client, task },
            (3, _) => Select::Topic(Target::Any),
            (4, _) => Select::Topic(Target::All),
            (5, _) => Select::Topic(Target::Worker(worker)),
            (6, _) => {
                let name = self.rng.below(self.options.size(Size::Names));
                Select::Topic(Target::Named(NameKey(u128::from(name))))
            }
            (7, _) => {
                let label = self.rng.between(1, self.options.size(Size::Labels));
                Select::Topic(Target::Label(LabelKey(label)))
            }
            _ => Select::OlderThanMs(self.rng.below(40)),
        }
    }

    /// Nobody is held any more, for the part in which everything must come to an end.
    pub(super) fn release_all(&mut self) {
        for worker in 0..self.driver.scheduler.limits().workers() {
            self.driver.hold(&mut self.watch, WorkerId(worker), false);
        }
    }

    /// What is listed can be explained.
    fn look_around(&mut self) {
        let now = self.watch.now;
        for info in self.list(Select::All) {
            let scheduler = &self.driver.scheduler;
            if let Some(client) = info.client
                && scheduler.client_port(client).is_some()
                && !info.part
            {
                let explained = scheduler.explain(now, client, info.task);
                assert!(
                    explained.is_some(),
                    "I12: {info:?} is listed, and not known"
                );
            }
        }
    }

    /// I12: no task that has never been tried waits beside a worker that could run it.
    pub(super) fn check_nobody_is_hungry(&mut self) {
        let waiting = self.list(Select::All);
        let first = waiting.iter().filter(|info| info.phase == Phase::Waiting);
        for info in first.filter(|info| info.attempt.0 == 1) {
            let hungry = self.somebody_for(info.target);
            assert!(
                hungry.is_none(),
                "I12: {info:?} waits, and {hungry:?} has a free slot"
            );
        }
    }

    /// I17: clients of one level take turns.
    pub(super) fn check_fairness(&mut self) {
        let mut waiting = self.list(Select::Topic(Target::Any));
        waiting.retain(|info| info.phase == Phase::Waiting && info.attempt.0 == 1);
        let before = std::mem::take(&mut self.waited);
        let still = before
            .iter()
            .filter(|info| waiting.iter().any(|other| other.handle == info.handle));
        self.watch.checkers.levels.check_turns(still);
        self.waited = waiting;
    }

    /// A worker that has a free slot, is not held, and may run this.
    fn somebody_for(&self, target: Target) -> Option<WorkerId> {
        let lines = self.ports.iter().flat_map(|port| &port.staff);
        let able = lines.filter_map(|index| {
            let line = &self.worker_lines[*index];
            let post = line.opened().filter(|_| line.free() > 0 && !line.paused)?;
            // What came through the mailbox counts against its window until it is over.
            let mailed = line.out.iter().filter(|(_, by_mail)| *by_mail).count() as u64;
            let has_credit = mailed < self.options.size(Size::Mailbox);
            let targets = &self.watch.checkers.targets;
            let may = match target {
                Target::Any => true,
                Target::Label(label) => has_credit && targets.has_label(post, label),
                Target::Worker(worker) => has_credit && worker == post.worker,
                Target::Named(_) | Target::All => false,
            };
            may.then_some(post.worker)
        });
        able.into_iter().next()
    }

    fn list(&self, select: Select) -> Vec<TaskInfo> {
        let mut all = Vec::new();
        let mut next = Some(Cursor::default());
        while let Some(from) = next {
            let now: Instant = self.watch.now;
            next = self
                .driver
                .scheduler
                .list(now, select, from, 7, |info| all.push(info));
        }
        all
    }
}
