//! Every invariant of the scheduler's tables, checked the slow way: each list, link, counter and
//! index is derived again from the records, and must be what the fast code keeps.

use super::Scheduler;
use super::tasks::label_of;
use crate::client::ClientState;
use crate::crew::Class;
use crate::list::{Linked, List, NIL};
use crate::task::{Ending, Home, Kind, Route, TaskRecord, TaskState, Wish};
use crate::time::Instant;
use crate::worker::{WorkerRecord, WorkerState};

impl Scheduler {
    /// Checks every invariant; for tests and simulations, after each step. Takes time in proportion
    /// to the number of records.
    ///
    /// # Panics
    /// When an invariant does not hold: the scheduler has a bug.
    pub fn sanity_check(&self) {
        self.check_slab();
        for index in 0..self.tasks.records.len() as u32 {
            self.check_task(index);
        }
        self.check_task_lists();
        self.check_levels();
        for place in 0..self.workers.len() as u32 {
            self.check_worker(place);
        }
        self.check_worker_lists();
        self.check_crews();
        for index in 0..self.clients.len() as u32 {
            self.check_client(index);
        }
        self.check_client_lists();
        self.check_ports();
    }

    fn check_slab(&self) {
        let free = self
            .tasks
            .records
            .iter()
            .filter(|r| r.state == TaskState::Free)
            .count();
        assert_eq!(self.tasks.count_free() as usize, free, "free list");
        let live = self.tasks.records.len() - free;
        assert_eq!(self.tasks.live() as usize, live, "live tasks");
        let unmade = self.live_tasks().map(|(_, r)| r.parts.unmade).sum::<u32>();
        assert_eq!(self.tasks.reserved(), unmade, "places promised to parts");
        let timed = self
            .live_tasks()
            .filter(|(_, r)| r.timed.is_linked())
            .count();
        assert_eq!(self.wheel.len() as usize, timed, "timers");
    }

    fn check_task(&self, index: u32) {
        let record = &self.tasks.records[index as usize];
        let open = is_open(record);
        match record.state {
            TaskState::Free => {
                assert!(record.place.is_linked(), "a free place is on the free list");
                return;
            }
            TaskState::Done => {
                assert!(
                    record.ending != Ending::None,
                    "{record:?} is done without an ending"
                );
                assert!(!record.is_orphan(), "an orphan has no outcome");
            }
            TaskState::Queued => assert!(record.place.is_linked(), "queued nowhere"),
            TaskState::Taken => assert!(!record.by_mail, "only the pool is taken from"),
            TaskState::Revoking => assert!(record.wish != Wish::None, "revoked for no reason"),
            TaskState::Prefetched => assert!(record.place.is_linked(), "sent ahead by nobody"),
            TaskState::Running => assert_eq!(record.wish, Wish::None, "a wish not acted upon"),
            TaskState::Aborting => {
                assert!(matches!(record.wish, Wish::Cancel | Wish::TimeOut(_)));
            }
            TaskState::Spread => assert_eq!(record.kind, Kind::Multicast),
            _ => {}
        }
        if record.state == TaskState::Early {
            assert!(
                self.early.places().any(|place| place == index),
                "early, and not kept"
            );
            assert!(record.is_orphan() && !record.place.is_linked());
            return;
        }
        if open {
            let losses = record.attempt.0 - record.retries;
            assert!((1..=record.attempts_max).contains(&losses), "{record:?}");
            assert!(record.retries <= record.retries_max, "{record:?}");
            assert!(!record.choosy || (record.history != NIL && !record.is_directed()));
            assert!(!record.is_held() || record.state == TaskState::Backlogged);
            assert_eq!(record.ending, Ending::None, "open and ended");
            assert!(record.started_before() || record.lost_epoch.0 == 0);
        }
        assert!(
            open || !record.timed.is_linked(),
            "a timer of an ended task"
        );
        let asked = matches!(record.state, TaskState::Aborting | TaskState::Prefetched);
        assert!(!record.abort_due || (asked && record.wish != Wish::None));
        assert_eq!(
            record.is_orphan(),
            !record.owned.is_linked(),
            "owned by whom? {record:?}"
        );
        if !record.is_orphan() && record.kind != Kind::Part {
            let found = self.find_task(record.client, record.task);
            assert_eq!(found, Some(index), "not in the index");
        }
    }

    fn check_task_lists(&self) {
        let records = &self.tasks.records;
        let of =
            |list: &List<_>, state: TaskState| check_list(list, records, |_, r| r.state == state);
        self.backlogs.check(records, |r| {
            r.state == TaskState::Backlogged && !r.choosy && !r.is_held()
        });
        of(&self.revokes, TaskState::Revoking);
        let pooled = of(&self.pooled, TaskState::Queued);
        let in_pool = self.count(|r| r.state == TaskState::Queued && !r.by_mail);
        assert_eq!(pooled, in_pool, "tasks in the pool");
        let awaiting = of(&self.awaiting_results, TaskState::Awaiting);
        assert_eq!(awaiting, self.count(|r| r.state == TaskState::Awaiting));
        let early = self.count(|r| r.state == TaskState::Early) as usize;
        assert_eq!(early, self.early.places().count(), "early results");
        let releasing = of(&self.releases, TaskState::Releasing);
        assert_eq!(releasing, self.count(|r| r.state == TaskState::Releasing));
        let making = check_list(&self.making, records, |_, r| r.parts.unmade > 0);
        assert_eq!(
            making,
            self.count(|r| r.parts.unmade > 0),
            "multicasts to be made"
        );
        check_list(&self.cancelling, records, |_, r| {
            r.state == TaskState::Spread && r.wish == Wish::Cancel && r.parts.unmade == 0
        });
        let indexed = self.count(|r| !r.is_orphan() && r.kind != Kind::Part);
        assert_eq!(self.task_index.len(), indexed, "size of the index");
    }

    fn check_levels(&self) {
        let stats = &self.stats;
        assert_eq!(u64::from(self.count(is_open)), stats.open, "open tasks");
        assert_eq!(stats.outstanding_pool, u64::from(self.pool.outstanding()));
        let outstanding = self
            .workers
            .iter()
            .map(|w| u64::from(w.window.outstanding()))
            .sum::<u64>();
        assert_eq!(
            stats.outstanding_directed, outstanding,
            "directed envelopes"
        );
        self.check_depths();
        let open = self.live_tasks().filter(|(_, r)| is_open(r));
        let bytes = open.map(|(_, r)| u64::from(r.bytes())).sum::<u64>();
        assert_eq!(stats.payload_bytes, bytes, "bytes of payloads");
        let results = self.live_tasks();
        let bytes = results
            .map(|(_, r)| u64::from(r.result_bytes()))
            .sum::<u64>();
        assert_eq!(stats.result_bytes, bytes, "bytes of results");
        let removing = self.count(|r| r.state == TaskState::Prefetched && r.wish == Wish::Remove);
        assert_eq!(self.removing, removing, "recalled by queue control");
        let up = self.workers.iter().filter(|w| w.is_up()).count();
        assert_eq!(self.workers_up as usize, up, "workers up");
        assert_eq!(self.names.len() as usize, up, "names");
        let free_slots = self.workers.iter().map(|w| w.free).sum::<u32>();
        assert_eq!(self.free_slots, free_slots, "free slots");
    }

    fn check_worker(&self, place: u32) {
        let worker = &self.workers[place as usize];
        let records = &self.tasks.records;
        let backlog = self.count(|r| {
            r.state == TaskState::Backlogged && r.target() == Some(place) && !r.is_held()
        });
        let awaiting = check_list(&worker.awaiting, records, |_, r| {
            r.state == TaskState::Backlogged && r.target() == Some(place) && r.is_held()
        });
        assert!(awaiting == 0 || (!worker.keeps_tasks() && worker.epoch.0 != 0));
        assert_eq!(
            worker.ghost,
            awaiting > 0 || matches!(worker.state, WorkerState::Suspect | WorkerState::Returned),
            "ghost {place}"
        );
        let is_here = |r: &TaskRecord| r.worker == place && r.epoch == worker.epoch;
        let assigned = check_list(&worker.assigned, records, |_, r| {
            let out = matches!(
                r.state,
                TaskState::Queued
                    | TaskState::Prefetched
                    | TaskState::Running
                    | TaskState::Aborting
            );
            out && is_here(r) && !r.abort_due && !is_offered(r)
        });
        let offers = check_list(&worker.offers, records, |_, r| is_here(r) && is_offered(r));
        let aborts = check_list(&worker.aborts, records, |_, r| {
            let asked = matches!(r.state, TaskState::Aborting | TaskState::Prefetched);
            asked && is_here(r) && r.abort_due
        });
        let carried = check_list(&worker.carried, records, |_, r| {
            r.state == TaskState::Carried && is_here(r) && r.carried
        });
        let adopted = check_list(&worker.adopted, records, |_, r| {
            r.state == TaskState::Adopted && is_here(r)
        });
        assert_eq!(worker.carried_len, carried, "carried at {place}");
        assert!(worker.state != WorkerState::Returned || worker.taken > 0);
        let revoking =
            self.count(|r| r.state == TaskState::Revoking && r.by_mail && r.worker == place);
        assert_eq!(
            worker.taken,
            assigned + offers + aborts + carried + revoking,
            "tasks out at worker {place}"
        );
        assert_eq!(
            worker.named,
            backlog + worker.taken + adopted,
            "tasks that name worker {place}"
        );
        assert!(worker.window.outstanding() <= worker.window.limit());
        assert!(
            !worker.has_control() || worker.control.is_linked(),
            "control of {worker:?}"
        );
        assert_eq!(worker.roster.is_linked(), worker.epoch.0 != 0, "roster");
        match worker.state {
            WorkerState::Up => {
                assert_eq!(
                    self.find_name(worker.name),
                    Some(place),
                    "not found by name"
                );
                assert!(!worker.exit.is_linked());
                assert!(
                    !self.is_ready(place) || worker.ready.is_linked(),
                    "ready, but not listed"
                );
            }
            WorkerState::Pending | WorkerState::Refused => assert_eq!(worker.epoch.0, 0),
            _ => assert!(!worker.ready.is_linked()),
        }
    }

    fn check_worker_lists(&self) {
        let workers = &self.workers;
        let with = |state| workers.iter().filter(|w| w.state == state).count() as u32;
        let lists = [
            (&self.leaving, WorkerState::Leaving),
            (&self.free_workers, WorkerState::Free),
        ];
        for (list, state) in lists {
            let listed = check_list(list, workers, |_, w| w.state == state);
            assert_eq!(listed, with(state), "workers that are {state:?}");
        }
        let suspects = [false, true].map(|stalled| {
            check_list(&self.suspects[usize::from(stalled)], workers, |_, w| {
                w.state == WorkerState::Suspect && w.stalled == stalled
            })
        });
        assert_eq!(suspects[0] + suspects[1], with(WorkerState::Suspect));
        let drained = check_list(&self.drained, workers, |_, w| {
            w.state == WorkerState::Drained && !w.ghost
        });
        let free_soon = workers.iter().filter(|w| w.state == WorkerState::Drained);
        assert_eq!(drained as usize, free_soon.filter(|w| !w.ghost).count());
        check_list(&self.heirs, workers, |_, w| w.is_up());
        let ghosts = workers.iter().filter(|w| w.ghost).count();
        assert_eq!(self.ghosts.len() as usize, ghosts, "ghosts");
        let waiting = workers.iter().filter(|w| w.successor != NIL);
        let pending = waiting.inspect(|w| {
            assert!(w.is_up(), "a successor of one that is gone");
            assert_eq!(workers[w.successor as usize].state, WorkerState::Pending);
        });
        assert_eq!(
            pending.count() as u32,
            with(WorkerState::Pending),
            "pending"
        );
        let mut last = 0;
        check_list(&self.roster, workers, |_, w| {
            core::mem::replace(&mut last, w.epoch.0) < w.epoch.0
        });
        check_list(&self.ready, workers, |_, w| w.is_up());
    }

    fn check_depths(&self) {
        let waiting = |r: &TaskRecord| r.state == TaskState::Backlogged;
        let depth = self.count(|r| waiting(r) && r.is_directed());
        assert_eq!(
            self.stats.depth_directed,
            u64::from(depth),
            "depth of directed"
        );
        let depth = self.count(|r| waiting(r) && r.home == Home::ANY);
        assert_eq!(self.stats.depth_any, u64::from(depth), "depth of `any`");
        let labelled = |r: &TaskRecord| matches!(r.home.route(), Route::Label(_));
        let depth = self.count(|r| waiting(r) && labelled(r));
        assert_eq!(self.stats.depth_label, u64::from(depth), "depth of labels");
        for (_, task) in self.live_tasks() {
            let same = |r: &TaskRecord| r.home == task.home && r.priority == task.priority;
            let depth = self.count(|r| waiting(r) && same(r));
            let counted = self.backlogs.depth(task.home, task.priority);
            assert_eq!(counted, depth, "depth of one level");
        }
        let histories = self.count(|r| r.history != NIL);
        assert_eq!(self.histories.live(), histories, "histories");
    }

    fn check_crews(&self) {
        let places = 0..self.workers.len() as u32;
        for place in places.clone() {
            let worker = &self.workers[place as usize];
            let noted = (worker.class, worker.free);
            assert_eq!(noted, worker.load_now(), "load of {place}");
            let exact = worker.class.max(worker.listed) >= Class::OVER || !worker.was_busy;
            assert!(worker.listed <= worker.class, "stands too far behind");
            assert!(
                !exact || worker.listed == worker.class,
                "{place} stands elsewhere"
            );
        }
        for label in 0..self.crews.labels.len() as u32 {
            let record = &self.crews.labels[label as usize];
            let again = check_list(&record.again, &self.tasks.records, |_, r| {
                r.state == TaskState::Backlogged && r.choosy && label_of(r.home.route()) == label
            });
            assert_eq!(record.again_len, again, "choosy tasks of label {label}");
            let holds = |w: &&WorkerRecord| w.labels.contains(&label);
            let holders = self.workers.iter().filter(holds).filter(|w| w.slots > 0);
            let tasks = self.count(|r| is_open(r) && r.home == Home::label(label));
            let members = holders.clone().filter(|w| w.class != Class::ABSENT);
            let class_of = |place: u32| {
                let worker = &self.workers[place as usize];
                worker.labels.contains(&label).then_some(worker.listed)
            };
            let refs = holders.count() as u32 + tasks;
            self.crews
                .check(label, refs, class_of, members.count() as u32);
            assert!(
                !self.is_placeable(label) || record.placing.is_linked(),
                "label {label} could place something, but is not listed"
            );
        }
        check_list(&self.placing, &self.crews.labels, |_, _| true);
        let over = self.workers.iter().filter(|w| w.class == Class::OVER);
        assert_eq!(self.overloaded as usize, over.count(), "overloaded");
        let choosy = self.crews.labels.iter().map(|label| label.again_len);
        assert_eq!(self.choosy_waiting, choosy.sum::<u32>(), "choosy tasks");
        let hungry = self.workers.iter().filter(|w| w.class == Class::IDLE);
        assert_eq!(self.stats.hungry, hungry.count() as u64, "hungry");
    }

    fn check_client(&self, index: u32) {
        let client = &self.clients[index as usize];
        let records = &self.tasks.records;
        let open = check_list(&client.open, records, |_, r| {
            is_open(r) && r.client == index && r.multicast() == NIL
        });
        let mut parts = 0;
        for whole in client.open.iter(records) {
            let record = &records[whole as usize];
            parts += record.parts.unmade;
            parts += check_list(&record.parts.open, records, |_, r| {
                is_open(r) && r.client == index && r.multicast() == whole
            });
        }
        let done = |_, r: &TaskRecord| r.state == TaskState::Done && r.client == index;
        let due = check_list(&client.due, records, done);
        let unacked = check_list(&client.unacked, records, done);
        assert_eq!(
            client.held,
            open + parts + due + unacked,
            "records of client {index}"
        );
        let notices = self.notices.count_of(&client.notices);
        assert!(client.may_receive() || notices == 0, "notices for nobody");
        let may_go = due > 0 && client.has_window(&self.limits);
        let turn = client.may_receive() && (may_go || notices > 0);
        assert_eq!(client.turn.is_linked(), turn, "turn of client {index}");
        assert!(!client.resuming || client.chore.is_linked());
        let known = self
            .client_index
            .find(super::clients::client_hash(client.key), |other| {
                self.clients[other as usize].number == client.number
            });
        let attached = matches!(client.state, ClientState::Up | ClientState::Detached);
        assert_eq!(known.is_some(), attached, "in the index of clients");
    }

    fn check_client_lists(&self) {
        let with = |state| self.clients.iter().filter(|c| c.state == state).count() as u32;
        let free = check_list(&self.free_clients, &self.clients, |_, c| {
            c.state == ClientState::Free
        });
        assert_eq!(free, with(ClientState::Free), "free clients");
        let mut last = Instant(0);
        let detached = check_list(&self.detached, &self.clients, |_, c| {
            let sorted = last <= c.detached_at;
            last = c.detached_at;
            sorted && c.state == ClientState::Detached
        });
        assert_eq!(detached, with(ClientState::Detached), "detached clients");
        check_list(&self.chores, &self.clients, |_, _| true);
        let waiting = self
            .clients
            .iter()
            .map(|c| self.notices.count_of(&c.notices));
        let (places, free_places) = self.notices.count();
        assert_eq!(places, free_places + waiting.sum::<usize>(), "notices");
    }

    fn check_ports(&self) {
        for (number, port) in self.ports.iter().enumerate() {
            check_list(&port.control, &self.workers, |_, w| {
                // One that has returned may stand at its heir's.
                usize::from(w.port.0) == number || w.epoch.0 != 0
            });
            check_list(&port.turns, &self.clients, |_, c| {
                usize::from(c.port.0) == number
            });
        }
        check_list(&self.due_ports, &self.ports, |_, _| true);
    }

    fn live_tasks(&self) -> impl Iterator<Item = (u32, &TaskRecord)> {
        let all = (0..).zip(&self.tasks.records);
        all.filter(|(_, record)| record.state != TaskState::Free)
    }

    fn count(&self, which: impl Fn(&TaskRecord) -> bool) -> u32 {
        self.live_tasks()
            .filter(|(_, record)| which(record))
            .count() as u32
    }
}

/// Whether it stands among its worker's offers.
fn is_offered(record: &TaskRecord) -> bool {
    let waits = match record.state {
        TaskState::Queued => true,
        TaskState::Prefetched => record.wish == Wish::None,
        _ => false,
    };
    waits && !record.is_directed()
}

fn is_open(record: &TaskRecord) -> bool {
    !matches!(
        record.state,
        TaskState::Free | TaskState::Done | TaskState::Early | TaskState::Releasing
    )
}

/// Counts what is in a list; all of it must belong there, and the links must agree in both
/// directions.
fn check_list<R, T: Linked<R>>(
    list: &List<R>,
    nodes: &[T],
    mut belongs: impl FnMut(u32, &T) -> bool,
) -> u32 {
    let mut count = 0;
    for index in list.iter(nodes) {
        let node = &nodes[index as usize];
        assert!(node.link().is_linked(), "listed, but not linked: {index}");
        assert!(
            belongs(index, node),
            "record {index} is in a list in which it does not belong"
        );
        count += 1;
        assert!(count as usize <= nodes.len(), "a list that goes round");
    }
    count
}
