//! A small simulation: clients, workers that are cut off and come back, ports whose events arrive
//! late but in order. A seed decides everything.

pub(crate) mod checker;
pub(crate) mod marks;
pub(crate) mod rng;

use std::collections::VecDeque;

use taskyard_core::{
    ClientHello, ClientId, Config, Cursor, Epoch, Explanation, Instant, LabelKey, Labels, NameKey,
    OutcomeReply, PortId, Priority, Registered, Registration, RegistrationRefusal, Reply, Report,
    Reported, Revoked, Select, Source, Submit, Submitted, Sweep, Target, TaskId, Token, Verdict,
    WorkerId,
};

use crate::world::{Job, Popped, World};
use checker::Checker;
use marks::Marks;
use rng::Rng;

const PORTS: u16 = 3;

/// A bug of the driver, to see that the checker sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Canary {
    None,
    /// One report never arrives.
    LosesReport,
    /// Revoked envelopes are run all the same.
    ClaimsTombstones,
    /// An outcome is delivered twice.
    RepeatsOutcome,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Claimed(Job),
    Discarded(Source),
    Returned(Job),
    Reported(Job, Verdict),
    HandedIn(Job, Verdict),
    SlotFreed(WorkerId, Epoch),
    WorkerUp(usize, Registration),
    WorkerDown(WorkerId, Epoch),
    Drained(WorkerId, Epoch),
    Paused(WorkerId, Epoch),
}

/// A worker process; it outlives its attachments.
struct Process {
    instance: u64,
    number: u32,
    slots: u16,
    labels: Labels,
    /// Its port takes nothing for it.
    paused: bool,
    attached: Option<(WorkerId, Epoch)>,
    port: usize,
    /// A registration is on its way or waits.
    registering: bool,
    running: Vec<Job>,
    finished: Vec<(Job, Verdict)>,
}

struct Client {
    key: u128,
    session: u32,
    keeps: bool,
    id: Option<ClientId>,
    up: bool,
    next_task: u64,
    received: u32,
}

pub(crate) struct Sim {
    rng: Rng,
    world: World,
    checker: Checker,
    marks: Marks,
    canary: Canary,
    events: Vec<VecDeque<Event>>,
    processes: Vec<Process>,
    clients: Vec<Client>,
    /// Faults of this run, in percent of the steps.
    faults: u64,
    pool_room: usize,
    /// Tasks taken away, as the answers say.
    swept: u64,
    sweeps_open: u32,
}

impl Sim {
    pub(crate) fn new(seed: u64, canary: Canary) -> Self {
        let mut rng = Rng::new(seed);
        let tasks = rng.between(4, 40) as u32;
        let config = Config {
            slots_max: 1024,
            prefetch_max: 0,
            tasks,
            clients: 4,
            workers: 24,
            labels: 3,
            ports: PORTS,
            mailbox: rng.between(1, 4) as u32,
            pool: rng.between(2, 8) as u32,
            quota: rng.between(1, u64::from(tasks)) as u32,
            payload_bytes: 0,
            keep_outcomes_ms: 200,
            abort_grace_ms: 20,
            rejoin_grace_ms: if rng.chance(30) {
                rng.between(1, 30)
            } else {
                0
            },
            queue_ahead: rng.between(0, 2) as u32,
            work_per_poll: rng.between(1, 8) as u32,
        };
        let mut world = World::new(config);
        world.claims_tombstones = canary == Canary::ClaimsTombstones;
        let processes = (0..rng.between(1, 5)).map(|i| Process {
            instance: i,
            number: 0,
            slots: rng.between(1, 3) as u16,
            // The first has all: nothing waits for ever.
            labels: Labels::new((1..=2).filter(|_| i == 0 || rng.chance(50)).map(LabelKey)),
            paused: false,
            attached: None,
            port: 0,
            registering: false,
            running: Vec::new(),
            finished: Vec::new(),
        });
        let processes = processes.collect();
        let clients = (0..rng.between(1, 3)).map(|i| Client {
            key: u128::from(i) << 70 | 5,
            session: 0,
            keeps: rng.chance(70),
            id: None,
            up: false,
            next_task: 0,
            received: 0,
        });
        let clients = clients.collect();
        let faults = if rng.chance(30) {
            0
        } else {
            rng.between(1, 12)
        };
        let pool_room = rng.between(1, u64::from(config.pool)) as usize;
        Self {
            events: (0..PORTS).map(|_| VecDeque::new()).collect(),
            checker: Checker::new(),
            marks: Marks::default(),
            rng,
            world,
            canary,
            processes,
            clients,
            faults,
            pool_room,
            swept: 0,
            sweeps_open: 0,
        }
    }

    /// Some steps with faults, then until all is quiet; panics when a rule is broken.
    pub(crate) fn run(mut self, steps: usize) -> Marks {
        for _ in 0..steps {
            self.step();
        }
        self.heal();
        self.marks.count_stats(self.world.scheduler.stats());
        self.marks
    }

    fn step(&mut self) {
        match self.rng.below(14) {
            0 => self.client_step(),
            1 => self.submit_step(),
            2 => self.cancel_step(),
            3 => self.register_step(),
            4 | 5 => self.take_step(),
            6 | 7 => self.finish_step(),
            8 => self.deliver(),
            9 => self.fault_step(),
            10 => {
                let ms = if self.rng.chance(5) { 50 } else { 1 };
                self.pass(ms);
            }
            11 => self.control_step(),
            12 => self.look_step(),
            _ => {
                let limit = self.rng.between(1, 6) as usize;
                self.duty_cycle(limit);
            }
        }
        self.world.scheduler.sanity_check();
    }

    fn duty_cycle(&mut self, limit: usize) {
        self.world.run_effects(limit);
        self.world.inject(self.pool_room);
        for (port, reply) in self.world.replies(limit) {
            self.reply(usize::from(port.0), reply);
        }
    }

    fn pass(&mut self, ms: u64) {
        self.world.now = self.world.now.after_ms(ms);
        self.world.scheduler.handle_timeout(self.world.now);
        self.checker.pass(self.world.now);
    }

    fn client_step(&mut self) {
        let which = self.rng.below(self.clients.len() as u64) as usize;
        let now = self.world.now;
        let client = &mut self.clients[which];
        let scheduler = &mut self.world.scheduler;
        match (client.id, client.up, self.rng.below(10)) {
            (Some(id), true, 0) => {
                scheduler.handle_client_down(now, id);
                client.up = false;
                self.checker.client_down(client.key, client.keeps);
            }
            (Some(id), true, 1) if self.faults > 0 => {
                scheduler.handle_goodbye(now, id);
                client.up = false;
                self.checker.client_down(client.key, false);
            }
            (Some(id), true, 2..7) => {
                let acked = self.rng.between(0, u64::from(client.received)) as u32;
                scheduler.handle_ack(now, id, acked);
                self.checker.acked(client.key, acked);
            }
            (_, up, choice) if !up || choice == 9 => self.hello(which),
            _ => {}
        }
    }

    fn hello(&mut self, which: usize) {
        let port = PortId(self.rng.below(u64::from(PORTS)) as u16);
        let client = &mut self.clients[which];
        client.session += 1;
        let hello = ClientHello {
            key: client.key,
            session: client.session,
            keep_outcomes: client.keeps,
            token: Token(0),
        };
        let welcome = self
            .world
            .scheduler
            .handle_client_up(self.world.now, port, hello);
        let Ok(welcome) = welcome else { return };
        client.id = Some(welcome.client);
        client.up = true;
        client.received = 0;
        let keep_ms = self.world.scheduler.limits().keep_outcomes_ms();
        self.marks.hit_if(welcome.resumed, "session_resumed");
        self.checker.client_up(client.key, welcome.resumed, keep_ms);
    }

    fn submit_step(&mut self) {
        let which = self.rng.below(self.clients.len() as u64) as usize;
        let target = match self.rng.below(10) {
            0..3 => Target::Any,
            3..5 => Target::Label(LabelKey(self.rng.between(1, 2))),
            5..7 => Target::Worker(WorkerId(self.rng.below(24) as u32)),
            7..9 => Target::Named(NameKey(u128::from(self.rng.below(6)))),
            _ => Target::All,
        };
        let client = &mut self.clients[which];
        let Some(id) = client.id.filter(|_| client.up) else {
            return;
        };
        let task = TaskId(client.next_task);
        client.next_task += 1;
        let mut submit = Submit::new(task, target);
        if self.rng.chance(30) {
            submit = submit.attempts(self.rng.between(0, 3) as u8);
        }
        if self.rng.chance(20) {
            submit = submit.start_within_ms(self.rng.between(1, 30) as u32);
        }
        if self.rng.chance(20) {
            submit = submit.finish_within_ms(self.rng.between(1, 60) as u32);
        }
        if self.rng.chance(20) {
            submit = submit.retries(self.rng.between(1, 2) as u8);
        }
        if self.rng.chance(20) {
            submit = submit.hold_ms(self.rng.between(1, 60) as u32);
        }
        submit = submit.priority(Priority::new(self.rng.below(4) as u8));
        submit.resent = self.rng.chance(3);
        let now = self.world.now;
        let addressed = self.world.scheduler.workers_up();
        let submitted = self.world.scheduler.handle_submit(now, id, submit);
        if let Submitted::Accepted(handle) = submitted {
            self.world.payloads.insert(handle);
        }
        self.checker
            .submitted(client.key, &submit, submitted, addressed);
        let again = self.world.scheduler.handle_submit(now, id, submit);
        if !matches!(submitted, Submitted::Refused(_)) {
            assert_eq!(again, Submitted::Known, "the same submit twice");
        } else {
            assert_eq!(again, submitted, "refused once, accepted then");
        }
    }

    /// Holds, releases or drains a worker, or takes tasks away.
    fn control_step(&mut self) {
        let now = self.world.now;
        let which = self.rng.below(self.processes.len() as u64) as usize;
        let scheduler = &mut self.world.scheduler;
        let attached = self.processes[which].attached;
        match (self.rng.below(8), attached) {
            (0, Some((worker, _))) => drop(scheduler.handle_hold(now, worker, true)),
            (1 | 2, Some((worker, _))) => drop(scheduler.handle_hold(now, worker, false)),
            (3, Some((worker, _))) if self.rng.chance(20) => {
                let drains = scheduler.handle_drain(now, worker);
                self.marks.hit_if(drains, "worker_drained");
            }
            (4, _) if self.rng.chance(30) => self.sweep(),
            _ => {}
        }
    }

    fn any_selection(&mut self) -> Select {
        let client = self.rng.below(self.clients.len() as u64) as usize;
        let client = &self.clients[client];
        let task = TaskId(self.rng.between(0, client.next_task));
        match (self.rng.below(6), client.id) {
            (0, Some(client)) => Select::Client(client),
            (1, Some(client)) => Select::Task { client, task },
            (2, _) => Select::Topic(Target::Label(LabelKey(self.rng.between(1, 2)))),
            (3, _) => Select::Topic(Target::Any),
            (4, _) => Select::OlderThanMs(self.rng.between(0, 20)),
            _ => Select::Topic(Target::Worker(WorkerId(self.rng.below(24) as u32))),
        }
    }

    fn sweep(&mut self) {
        let port = PortId(self.rng.below(u64::from(PORTS)) as u16);
        let sweep = Sweep {
            select: self.any_selection(),
            token: Token(7),
        };
        let now = self.world.now;
        let taken = self.world.scheduler.handle_sweep(now, port, sweep);
        self.sweeps_open += u32::from(taken);
    }

    /// Pages through a list; each line can be explained, unless its client is gone.
    fn look_step(&mut self) {
        let select = self.any_selection();
        let (now, steps) = (self.world.now, self.rng.between(1, 9) as u32);
        let scheduler = &self.world.scheduler;
        let mut lines = Vec::new();
        let mut from = Some(Cursor::default());
        while let Some(cursor) = from {
            from = scheduler.list(now, select, cursor, steps, |line| lines.push(line));
        }
        for line in lines {
            let explained = line
                .client
                .and_then(|client| scheduler.explain(now, client, line.task));
            if explained == Some(Explanation::WaitsForAnother) {
                self.marks.hit("waits_for_another");
            }
        }
    }

    fn cancel_step(&mut self) {
        let which = self.rng.below(self.clients.len() as u64) as usize;
        let client = &self.clients[which];
        let Some(id) = client.id.filter(|_| client.up && client.next_task > 0) else {
            return;
        };
        let last = client.next_task - 1;
        let task = TaskId(self.rng.between(last.saturating_sub(8), last));
        self.world.scheduler.handle_cancel(self.world.now, id, task);
    }

    fn register_step(&mut self) {
        let which = self.rng.below(self.processes.len() as u64) as usize;
        let port = self.rng.below(u64::from(PORTS)) as usize;
        let process = &mut self.processes[which];
        if process.attached.is_some() || process.registering {
            return;
        }
        process.number += 1;
        process.registering = true;
        process.port = port;
        for (job, verdict) in process.finished.drain(..) {
            self.events[port].push_back(Event::HandedIn(job, verdict));
        }
        let registration = Registration {
            name: NameKey(which as u128),
            instance: process.instance,
            number: process.number,
            slots: process.slots,
            prefetch: 0,
            busy: process.running.len() as u16,
            labels: process.labels,
            token: Token((which as u64) << 32 | u64::from(process.number)),
        };
        self.events[port].push_back(Event::WorkerUp(which, registration));
    }

    /// A port takes something for one of its workers that has a free slot.
    fn take_step(&mut self) {
        let which = self.rng.below(self.processes.len() as u64) as usize;
        let process = &mut self.processes[which];
        let Some((worker, epoch)) = process.attached else {
            return;
        };
        if process.paused || process.running.len() >= usize::from(process.slots) {
            return;
        }
        let events = &mut self.events[process.port];
        let refuses = self.faults > 0 && self.rng.chance(4);
        let (source, popped) = match self.world.pop_mailbox(worker, epoch) {
            Some(popped) => (Source::Mailbox { worker, epoch }, popped),
            None => match self.world.steal(worker, epoch) {
                Some(popped) => (Source::Pool, popped),
                None => return,
            },
        };
        let job = match popped {
            Popped::Tombstone => {
                self.marks.hit("tombstone_popped");
                events.push_back(Event::Discarded(source));
                return;
            }
            Popped::Claimed(job) => job,
        };
        if source == Source::Pool {
            events.push_back(Event::Claimed(job));
        }
        if refuses {
            self.marks.hit("task_returned");
            events.push_back(Event::Returned(job));
            return;
        }
        let from_pool = source == Source::Pool;
        self.checker.started(job, which, process.labels, from_pool);
        process.running.push(job);
    }

    fn finish_step(&mut self) {
        let which = self.rng.below(self.processes.len() as u64) as usize;
        let running = self.processes[which].running.len() as u64;
        if running > 0 {
            let job = self.rng.below(running) as usize;
            let verdict = if self.rng.chance(80) {
                Verdict::Completed
            } else {
                Verdict::Failed
            };
            self.finish(which, job, verdict);
        }
    }

    fn finish(&mut self, which: usize, job: usize, verdict: Verdict) {
        let process = &mut self.processes[which];
        let job = process.running.swap_remove(job);
        if self.canary == Canary::LosesReport {
            self.canary = Canary::None;
            return;
        }
        let events = &mut self.events[process.port];
        match process.attached {
            Some((_, epoch)) if epoch == job.epoch => {
                events.push_back(Event::Reported(job, verdict));
            }
            Some((worker, epoch)) => {
                events.push_back(Event::HandedIn(job, verdict));
                events.push_back(Event::SlotFreed(worker, epoch));
            }
            None => process.finished.push((job, verdict)),
        }
    }

    fn fault_step(&mut self) {
        if !self.rng.chance(self.faults) {
            return;
        }
        let which = self.rng.below(self.processes.len() as u64) as usize;
        if self.processes[which].attached.is_none() {
            return;
        }
        self.cut(which);
        if self.rng.chance(40) {
            let process = &mut self.processes[which];
            // The process is gone, and with it all that it had; another takes its name.
            process.instance += 100;
            process.running.clear();
            process.finished.clear();
        }
    }

    /// The connection of a worker is gone.
    fn cut(&mut self, which: usize) {
        let process = &mut self.processes[which];
        if let Some((worker, epoch)) = process.attached.take() {
            self.events[process.port].push_back(Event::WorkerDown(worker, epoch));
        }
    }

    /// Some events of one port arrive.
    fn deliver(&mut self) {
        let port = self.rng.below(u64::from(PORTS)) as usize;
        for _ in 0..self.rng.between(1, 4) {
            let Some(event) = self.events[port].pop_front() else {
                break;
            };
            self.handle(port, event);
            self.world.scheduler.sanity_check();
        }
    }

    fn handle(&mut self, port: usize, event: Event) {
        let now = self.world.now;
        let scheduler = &mut self.world.scheduler;
        match event {
            Event::Claimed(Job {
                handle,
                attempt,
                worker,
                epoch,
            }) => {
                scheduler.handle_claimed(now, handle, attempt, worker, epoch);
            }
            Event::Discarded(source) => scheduler.handle_discarded(now, source),
            Event::Returned(Job {
                handle,
                attempt,
                worker,
                epoch,
            }) => {
                scheduler.handle_returned(now, handle, attempt, worker, epoch);
            }
            Event::Reported(job, verdict) => {
                let reported = scheduler.handle_reported(now, report(job, verdict));
                self.checker.reported(job, reported);
            }
            Event::HandedIn(job, verdict) => self.hand_in(job, verdict),
            Event::SlotFreed(worker, epoch) => scheduler.handle_slot_freed(now, worker, epoch),
            Event::WorkerDown(worker, epoch) => scheduler.handle_worker_down(now, worker, epoch),
            Event::Paused(worker, epoch) => scheduler.handle_paused(now, worker, epoch),
            Event::Drained(worker, epoch) => scheduler.handle_drained(now, worker, epoch),
            Event::WorkerUp(which, registration) => {
                let port_id = PortId(port as u16);
                match scheduler.handle_worker_up(now, port_id, registration) {
                    Registered::Admitted { worker, epoch } => {
                        self.attach(which, registration.token, worker, epoch);
                    }
                    Registered::Pending => self.marks.hit("registration_pending"),
                    Registered::Refused(refusal) => {
                        assert_ne!(refusal, RegistrationRefusal::Stale, "numbers rise");
                        self.processes[which].registering = false;
                    }
                }
            }
        }
    }

    fn hand_in(&mut self, job: Job, verdict: Verdict) {
        let now = self.world.now;
        let report = report(job, verdict);
        let mut reported = self.world.scheduler.handle_handed_in(now, report, None);
        if let Reported::AskFirst(stamp) = reported {
            let answer = self.world.revoke(job.handle, stamp);
            self.marks.hit(match answer {
                Revoked::Won => "hand_in_asked_won",
                Revoked::Lost => "hand_in_asked_lost",
            });
            reported = self
                .world
                .scheduler
                .handle_handed_in(now, report, Some(answer));
        }
        self.marks
            .hit_if(reported == Reported::Counted, "hand_in_counted");
        self.checker.reported(job, reported);
    }

    fn attach(&mut self, which: usize, token: Token, worker: WorkerId, epoch: Epoch) {
        let process = &mut self.processes[which];
        self.world.mailboxes.insert(worker, VecDeque::new());
        process.registering = false;
        assert_eq!(
            token.0 as u32, process.number,
            "admitted an old registration"
        );
        process.attached = Some((worker, epoch));
        process.paused = false;
        self.checker.admitted(worker, epoch, which);
        // What was finished while it waited.
        for (job, verdict) in process.finished.drain(..) {
            self.events[process.port].push_back(Event::HandedIn(job, verdict));
            self.events[process.port].push_back(Event::SlotFreed(worker, epoch));
        }
    }

    fn reply(&mut self, port: usize, reply: Reply) {
        match reply {
            Reply::Outcome(outcome) => self.outcome(port, outcome),
            Reply::Abort {
                worker,
                epoch,
                handle,
                attempt,
            } => {
                let job = Job {
                    handle,
                    attempt,
                    worker,
                    epoch,
                };
                let holder = self.processes.iter().position(|p| p.running.contains(&job));
                let obeys = self.faults == 0 || self.rng.chance(70);
                if let Some(which) = holder.filter(|_| obeys) {
                    let at = self.processes[which].running.iter().position(|j| *j == job);
                    self.finish(which, at.expect("just seen"), Verdict::Aborted);
                }
            }
            Reply::Recall { .. } => panic!("no worker here takes tasks ahead"),
            Reply::Evict { worker, epoch } => {
                let holder = self
                    .processes
                    .iter()
                    .position(|p| p.attached == Some((worker, epoch)));
                if let Some(which) = holder {
                    self.cut(which);
                }
            }
            Reply::Retire { worker, epoch } => {
                while let Some(popped) = self.world.pop_mailbox(worker, epoch) {
                    assert_eq!(popped, Popped::Tombstone, "a task in a retired mailbox");
                    let source = Source::Mailbox { worker, epoch };
                    self.events[port].push_back(Event::Discarded(source));
                }
                self.events[port].push_back(Event::Drained(worker, epoch));
            }
            Reply::Pause {
                worker,
                epoch,
                paused,
            } => {
                let mut all = self.processes.iter_mut();
                if let Some(process) = all.find(|p| p.attached == Some((worker, epoch))) {
                    process.paused = paused;
                    if paused {
                        self.events[port].push_back(Event::Paused(worker, epoch));
                    }
                }
            }
            Reply::Swept { touched, .. } => {
                self.swept += u64::from(touched);
                self.sweeps_open -= 1;
            }
            Reply::Admitted {
                token,
                worker,
                epoch,
            } => {
                self.attach((token.0 >> 32) as usize, token, worker, epoch);
            }
            Reply::NotAdmitted { token, .. } => {
                self.marks.hit("registration_displaced");
                self.processes[(token.0 >> 32) as usize].registering = false;
            }
        }
    }

    fn outcome(&mut self, _port: usize, reply: OutcomeReply) {
        let client = self
            .clients
            .iter_mut()
            .find(|c| c.up && c.id == Some(reply.client));
        let client = client.expect("an outcome for a client that is attached");
        client.received += 1;
        assert_eq!(reply.seq, client.received, "a gap in the sequence");
        self.marks.hit_if(reply.part, "part_ended");
        self.checker.outcome(client.key, &reply);
        if self.canary == Canary::RepeatsOutcome {
            self.canary = Canary::None;
            self.checker.outcome(client.key, &reply);
        }
    }

    /// No more faults, and everybody does what is to be done, until all is quiet.
    fn heal(&mut self) {
        self.faults = 0;
        for round in 0.. {
            assert!(
                round < 2_000,
                "not quiet: {:#?}",
                self.world.scheduler.stats()
            );
            for which in 0..self.clients.len() {
                if !self.clients[which].up {
                    self.hello(which);
                }
            }
            for process in &self.processes {
                if let Some((worker, _)) = process.attached {
                    let now = self.world.now;
                    let _ = self.world.scheduler.handle_hold(now, worker, false);
                }
            }
            self.register_step();
            for _ in 0..8 {
                self.take_step();
                self.finish_step();
                self.deliver();
            }
            self.duty_cycle(usize::MAX);
            for client in &self.clients {
                if let Some(id) = client.id {
                    self.world
                        .scheduler
                        .handle_ack(self.world.now, id, client.received);
                    self.checker.acked(client.key, client.received);
                }
            }
            self.pass(2);
            self.world.scheduler.sanity_check();
            if round > 100 && self.is_quiet() {
                break;
            }
        }
        self.checker.finish();
        assert_eq!(self.sweeps_open, 0, "an order without an answer");
        let removed = self.world.scheduler.stats().removed;
        assert_eq!(self.swept, removed, "not exactly as many were taken away");
        assert_eq!(self.world.scheduler.tasks(), 0, "records left over");
        assert!(self.world.payloads.is_empty(), "payloads left over");
        let stats = self.world.scheduler.stats();
        assert_eq!(
            (stats.outstanding_pool, stats.outstanding_directed),
            (0, 0),
            "credit lost"
        );
        assert_eq!(stats.stale_credit, 0, "credit invented");
    }

    fn is_quiet(&self) -> bool {
        let scheduler = &self.world.scheduler;
        let attached = self
            .processes
            .iter()
            .all(|p| p.attached.is_some() && p.running.is_empty());
        attached
            && scheduler.is_idle()
            && scheduler.tasks() == 0
            && self.events.iter().all(VecDeque::is_empty)
            && self.world.pool.is_empty()
            && self.world.mailboxes.values().all(VecDeque::is_empty)
            && scheduler.next_timeout().is_none_or(|at| at > Instant(0))
    }
}

fn report(job: Job, verdict: Verdict) -> Report {
    let Job {
        handle,
        attempt,
        worker,
        epoch,
    } = job;
    Report {
        worker,
        epoch,
        handle,
        attempt,
        verdict,
    }
}
