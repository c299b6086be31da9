//! Remote clients and workers against the controller, over connections that break at random points:
//! each task has exactly one outcome, and none runs more often than it may.

mod common;

use std::collections::{BTreeMap, HashMap, VecDeque};

use common::{BOOT, Bytes, Controller, Packet, Random, Sent, small_config};
use taskyard_core::{Config, Outcome, Priority, Submit, Target, TaskId, Verdict};
use taskyard_protocol::remote::{
    Assignment, ClientEvent, ClientState, WorkerEvent, WorkerProfile, WorkerState,
};
use taskyard_protocol::wire::{Kind, Message};
use taskyard_protocol::{PeerKey, SessionOptions, Side};

/// What goes wrong in a run, and what its tasks allow.
#[derive(Clone, Copy, Debug)]
struct Plan {
    cut_clients: bool,
    cut_workers: bool,
    cancels: bool,
    /// One message is lost on a connection that holds: what this protocol does not survive.
    betrayed: bool,
    attempts: u8,
    quota: u32,
    clients: usize,
    workers: usize,
    tasks: usize,
}

/// How often the rare paths were taken: a run that never takes them shows nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    resumed: u32,
    handed_in: u32,
    late_results: u32,
    refused: u32,
    parts: u32,
    told_twice: u32,
}

/// A peer's end of its connection.
#[derive(Debug)]
struct Line {
    side: Side,
    peer: PeerKey,
    sent: Sent,
    inbox: VecDeque<Packet>,
    /// What had arrived on connections that broke: read in any order beside the present one, each
    /// in its own.
    old_inboxes: Vec<VecDeque<Packet>>,
}

impl Line {
    fn open(side: Side, controller: &mut Controller) -> Self {
        let peer = controller.network.connect(side);
        controller.network.push(side, peer, Packet::probe());
        let (inbox, old_inboxes) = (VecDeque::new(), Vec::new());
        Self {
            side,
            peer,
            sent: Sent::default(),
            inbox,
            old_inboxes,
        }
    }

    /// Moves what was written to the network, and what has arrived to the inbox.
    fn transfer(&mut self, controller: &mut Controller) {
        for packet in self.sent.0.drain(..) {
            controller.network.push(self.side, self.peer, packet);
        }
        self.inbox.extend(std::iter::from_fn(|| {
            controller.network.pop(self.side, self.peer)
        }));
    }

    /// The next message, of any connection that has one.
    fn read(&mut self, random: &mut Random) -> Option<Packet> {
        self.old_inboxes.retain(|inbox| !inbox.is_empty());
        match random.below(self.old_inboxes.len() + 1) {
            0 => self.inbox.pop_front(),
            old => self.old_inboxes[old - 1].pop_front(),
        }
    }

    fn is_read(&self) -> bool {
        self.inbox.is_empty() && self.old_inboxes.iter().all(VecDeque::is_empty)
    }

    fn cut(&mut self, controller: &mut Controller, random: &mut Random) {
        let fate = (random.below(8), random.below(4), random.below(8));
        let (behind, arrived) = controller.network.cut(self.side, self.peer, fate);
        let mut inbox = std::mem::take(&mut self.inbox);
        inbox.extend(arrived);
        self.old_inboxes.push(inbox);
        self.peer = controller.network.connect(self.side);
        controller
            .network
            .push(self.side, self.peer, Packet::probe());
        for packet in behind {
            controller.network.push(self.side, self.peer, packet);
        }
    }
}

struct Client {
    line: Line,
    state: ClientState<Bytes>,
    to_submit: VecDeque<Submit>,
    outcomes: HashMap<TaskId, Outcome>,
    parts: HashMap<TaskId, Vec<Outcome>>,
}

impl Client {
    fn read(&mut self, index: usize, packet: &Packet, marks: &mut Marks) {
        let Self {
            line,
            state,
            outcomes,
            parts,
            ..
        } = self;
        let event = state.handle_message(&packet.first, packet.incoming(), &mut line.sent);
        match event.expect("the controller's messages make sense") {
            Some(ClientEvent::Outcome {
                task,
                outcome,
                payload,
                part,
                ..
            }) => {
                if outcome == Outcome::Completed {
                    assert_eq!(payload, Some(payload_of(index, task)));
                }
                marks.refused += u32::from(matches!(outcome, Outcome::Refused(_)));
                marks.parts += u32::from(part);
                if part {
                    parts.entry(task).or_default().push(outcome);
                } else {
                    assert_eq!(
                        outcomes.insert(task, outcome),
                        None,
                        "{task:?} has two outcomes"
                    );
                }
            }
            Some(ClientEvent::Rejected(rejection)) => panic!("rejected: {rejection}"),
            Some(ClientEvent::Welcome { resumed, .. }) => marks.resumed += u32::from(resumed),
            _ => marks.told_twice += u32::from(packet.header().kind == Kind::Outcome),
        }
    }
}

struct Worker {
    line: Line,
    state: WorkerState<Bytes>,
    running: Vec<(Assignment, Bytes)>,
}

struct Run {
    plan: Plan,
    random: Random,
    controller: Controller,
    clients: Vec<Client>,
    workers: Vec<Worker>,
    /// How often each payload was started, by what it says.
    started: BTreeMap<Bytes, u32>,
    seed: u64,
    marks: Marks,
}

/// Most tasks go to any worker, some to all, some to one by its name.
fn target_of(task: TaskId) -> (Target, Option<&'static str>) {
    match task.0 % 10 {
        3 => (Target::All, None),
        7 => (Target::Any, Some("w1")),
        _ => (Target::Any, None),
    }
}

/// Only the first worker has it.
const LABEL: &str = "first";

const fn is_labelled(task: TaskId) -> bool {
    task.0 % 10 == 5
}

fn labels_of(worker: usize) -> Vec<String> {
    (0..8 * usize::from(worker == 0))
        .map(|number| match number {
            0 => LABEL.to_owned(),
            number => format!("l{number}"),
        })
        .collect()
}

/// Many say nothing of it.
fn priority_of(task: TaskId) -> Priority {
    match task.0 % 5 {
        1 => Priority::MAX,
        2 => Priority::MIN,
        _ => Priority::DEFAULT,
    }
}

fn payload_of(client: usize, task: TaskId) -> Bytes {
    Bytes::try_from(format!("c{client} t{}", task.0).as_bytes()).unwrap()
}

impl Run {
    fn new(plan: Plan, seed: u64) -> Self {
        let config = Config {
            quota: plan.quota,
            ..small_config()
        };
        let mut controller = Controller::with(config, SessionOptions::new(BOOT));
        let clients = (0..plan.clients).map(|index| Client {
            line: Line::open(Side::Client, &mut controller),
            state: ClientState::new(seed as u128 * 100 + index as u128),
            to_submit: (1..=plan.tasks as u64)
                .map(|task| Submit::new(TaskId(task), target_of(TaskId(task)).0))
                .map(|submit| {
                    submit
                        .attempts(plan.attempts)
                        .priority(priority_of(submit.task))
                })
                .collect(),
            outcomes: HashMap::new(),
            parts: HashMap::new(),
        });
        let clients = clients.collect();
        let workers = (0..plan.workers).map(|index| Worker {
            line: Line::open(Side::Worker, &mut controller),
            state: WorkerState::new(WorkerProfile {
                name: format!("w{index}"),
                instance: seed << 8 | index as u64,
                slots: 1 + index as u16 % 3,
                prefetch: 0,
                labels: labels_of(index),
            }),
            running: Vec::new(),
        });
        let workers = workers.collect();
        let started = BTreeMap::new();
        let (random, marks) = (Random(seed), Marks::default());
        Self {
            plan,
            random,
            controller,
            clients,
            workers,
            started,
            seed,
            marks,
        }
    }

    /// One random thing happens.
    fn step(&mut self) {
        match self.random.below(8) {
            0 | 1 => self.read_one(),
            2 => self.controller.work(),
            3 | 4 => {
                let index = self.random.below(self.clients.len());
                self.client_step(index);
            }
            _ => {
                let index = self.random.below(self.workers.len());
                self.worker_step(index);
            }
        }
        if self.random.one_in(40) {
            self.break_something();
        }
    }

    fn read_one(&mut self) {
        let ready = self.controller.network.ready();
        if !ready.is_empty() {
            let (side, peer) = ready[self.random.below(ready.len())];
            self.controller.read(side, peer);
        }
    }

    fn client_step(&mut self, index: usize) {
        let Self {
            clients,
            controller,
            random,
            plan,
            marks,
            ..
        } = self;
        let client = &mut clients[index];
        client.line.transfer(controller);
        if let Some(packet) = client.line.read(random) {
            client.read(index, &packet, marks);
        } else if let Some(submit) = client.to_submit.pop_front() {
            let payload = payload_of(index, submit.task);
            let Client { line, state, .. } = client;
            let submitted = if is_labelled(submit.task) {
                state.submit_to_label(submit, LABEL, payload, &mut line.sent)
            } else {
                let name = target_of(submit.task).1;
                state.submit(submit, name, payload, &mut line.sent)
            };
            submitted.unwrap();
            if plan.cancels && random.one_in(4) {
                assert!(state.cancel(submit.task, &mut line.sent));
            }
        }
        client.line.transfer(controller);
    }

    fn worker_step(&mut self, index: usize) {
        let Worker {
            line,
            state,
            running,
        } = &mut self.workers[index];
        line.transfer(&mut self.controller);
        if let Some(packet) = line.read(&mut self.random) {
            let event = state.handle_message(&packet.first, packet.incoming(), &mut line.sent);
            match event.expect("the controller's messages make sense") {
                Some(WorkerEvent::Task(assignment, payload)) => {
                    let text = str::from_utf8(&payload).unwrap();
                    let (_, task) = text.split_once(" t").unwrap();
                    let labelled = is_labelled(TaskId(task.parse().unwrap()));
                    assert!(index == 0 || !labelled, "{text} is for the first worker");
                    *self.started.entry(payload.clone()).or_default() += 1;
                    running.push((assignment, payload));
                }
                Some(WorkerEvent::Abort(assignment)) => {
                    running.retain(|(other, _)| *other != assignment);
                    state.report(&assignment, Verdict::Aborted, None, &mut line.sent);
                }
                Some(WorkerEvent::Evicted) => state.register(&mut line.sent),
                Some(WorkerEvent::Rejected(rejection)) => panic!("rejected: {rejection}"),
                _ => {}
            }
        } else if !running.is_empty() {
            let (assignment, payload) = running.swap_remove(self.random.below(running.len()));
            assert!(state.report(
                &assignment,
                Verdict::Completed,
                Some(payload),
                &mut line.sent
            ));
        }
        for packet in &line.sent.0 {
            let Message { header, boot, .. } = packet.message();
            self.marks.handed_in += u32::from(header.kind == Kind::HandIn);
            let is_late = header.kind == Kind::Result && boot.is_some();
            self.marks.late_results += u32::from(is_late);
        }
        line.transfer(&mut self.controller);
    }

    fn break_something(&mut self) {
        let Self {
            random,
            controller,
            clients,
            workers,
            plan,
            ..
        } = self;
        if plan.betrayed {
            let line = &clients[random.below(clients.len())].line;
            controller.network.pop(line.side, line.peer);
        }
        if plan.cut_clients && random.one_in(2) {
            let index = random.below(clients.len());
            clients[index].line.cut(controller, random);
        } else if plan.cut_workers {
            let index = random.below(workers.len());
            workers[index].line.cut(controller, random);
        }
    }

    fn is_done(&self) -> bool {
        self.clients
            .iter()
            .all(|client| client.outcomes.len() == self.plan.tasks)
    }

    /// Nothing breaks any more: within a bound everything must be settled.
    fn settle(&mut self) {
        for _ in 0..400 {
            if self.is_done() {
                return;
            }
            while !self.controller.network.ready().is_empty() {
                self.read_one();
            }
            for _ in 0..8 {
                self.controller.work();
            }
            for index in 0..self.clients.len() {
                (0..64).for_each(|_| self.client_step(index));
            }
            for index in 0..self.workers.len() {
                (0..16).for_each(|_| self.worker_step(index));
            }
        }
        let missing = self
            .clients
            .iter()
            .map(|client| self.plan.tasks - client.outcomes.len());
        panic!(
            "seed {}: no outcome for {:?} tasks; {:?}",
            self.seed,
            missing.collect::<Vec<_>>(),
            self.controller
        );
    }

    fn check(&mut self) {
        let (mut completed, mut others) = (0, 0);
        for (index, client) in self.clients.iter().enumerate() {
            assert_eq!(client.state.outstanding(), 0);
            for (task, outcome) in &client.outcomes {
                let starts = self
                    .started
                    .get(&payload_of(index, *task))
                    .copied()
                    .unwrap_or(0);
                match (target_of(*task).0, outcome) {
                    (Target::All, outcome) => check_parts(client.parts.get(task), *outcome, starts),
                    (_, Outcome::Cancelled { started: false }) => assert_eq!(starts, 0, "{task:?}"),
                    (_, Outcome::Completed) => assert!(starts > 0, "{task:?} completed unstarted"),
                    _ => {}
                }
                if target_of(*task) == (Target::Any, None) {
                    assert!(
                        starts <= self.plan.attempts.into(),
                        "{task:?} started {starts} times"
                    );
                    let counter = if *outcome == Outcome::Completed {
                        &mut completed
                    } else {
                        &mut others
                    };
                    *counter += 1;
                }
            }
        }
        assert!(completed > 0, "seed {}: nothing was completed", self.seed);
        let may_lose = self.plan.cancels
            || self.plan.quota < 100
            || (self.plan.cut_workers && self.plan.attempts < 200);
        assert!(
            others == 0 || may_lose,
            "seed {}: {others} tasks were not completed",
            self.seed
        );
        self.check_empty();
    }

    /// Once all is acknowledged the controller keeps nothing.
    fn check_empty(&mut self) {
        for _ in 0..4 {
            for index in 0..self.clients.len() {
                self.client_step(index);
                while !self.clients[index].line.is_read() {
                    self.client_step(index);
                }
                let Client { state, line, .. } = &mut self.clients[index];
                state.acknowledge(&mut line.sent);
                line.transfer(&mut self.controller);
            }
            self.controller.run();
        }
        let states = self
            .clients
            .iter()
            .map(|client| &client.state)
            .collect::<Vec<_>>();
        let left = self.controller.dispatcher.tasks();
        assert_eq!(
            left, 0,
            "seed {}: {states:?}, {:?}",
            self.seed, self.controller
        );
        let stats = self.controller.sessions.stats();
        assert_eq!(
            (stats.malformed, stats.foreign, stats.ack_absurd),
            (0, 0, 0)
        );
    }
}

/// A few seeds, or as many as `TASKYARD_PAIR_SEEDS` asks for.
fn seeds(first: u64) -> std::ops::Range<u64> {
    let asked = std::env::var("TASKYARD_PAIR_SEEDS").ok();
    first..first + asked.and_then(|count| count.parse().ok()).unwrap_or(40)
}

/// A multicast has one outcome per worker that it was for, and a summary that says how many.
fn check_parts(parts: Option<&Vec<Outcome>>, summary: Outcome, starts: u32) {
    let outcomes = parts.map(Vec::as_slice).unwrap_or_default();
    let count = |wanted| {
        outcomes
            .iter()
            .filter(|outcome| **outcome == wanted)
            .count() as u32
    };
    match summary {
        Outcome::Summary { parts, completed } => {
            assert_eq!(
                (parts, completed),
                (outcomes.len() as u32, count(Outcome::Completed))
            );
            assert!(starts <= parts, "{parts} parts started {starts} times");
        }
        Outcome::Refused(_) => assert_eq!((outcomes.len(), starts), (0, 0)),
        other => panic!("a multicast ended as {other:?}"),
    }
}

fn run(plan: Plan, seeds: std::ops::Range<u64>) -> Marks {
    let mut marks = Marks::default();
    for seed in seeds {
        let mut run = Run::new(plan, seed);
        for _ in 0..plan.tasks * 60 {
            run.step();
        }
        run.settle();
        run.check();
        marks.resumed += run.marks.resumed;
        marks.handed_in += run.marks.handed_in;
        marks.late_results += run.marks.late_results;
        marks.refused += run.marks.refused;
        marks.parts += run.marks.parts;
        marks.told_twice += run.marks.told_twice;
    }
    marks
}

const CALM: Plan = Plan {
    cut_clients: false,
    cut_workers: false,
    cancels: false,
    betrayed: false,
    attempts: 1,
    quota: 1 << 11,
    clients: 2,
    workers: 3,
    tasks: 40,
};

#[test]
fn without_trouble_everything_is_completed_at_once() {
    let marks = run(CALM, seeds(0));
    assert_eq!(
        (marks.resumed, marks.handed_in, marks.told_twice),
        (0, 0, 0)
    );
    assert!(marks.parts > 0, "{marks:?}");
}

#[test]
fn a_clients_broken_connections_cost_nothing() {
    let marks = run(
        Plan {
            cut_clients: true,
            ..CALM
        },
        seeds(1_000_000),
    );
    assert!(marks.resumed > 0 && marks.told_twice > 0, "{marks:?}");
}

#[test]
fn a_workers_broken_connections_cost_at_most_once_tasks_only() {
    let marks = run(
        Plan {
            cut_workers: true,
            ..CALM
        },
        seeds(2_000_000),
    );
    assert!(marks.handed_in > 0 && marks.late_results > 0, "{marks:?}");
    run(
        Plan {
            cut_workers: true,
            attempts: 200,
            ..CALM
        },
        seeds(3_000_000),
    );
}

#[test]
fn a_lost_refusal_is_said_again() {
    let marks = run(
        Plan {
            cut_clients: true,
            quota: 4,
            ..CALM
        },
        seeds(4_000_000),
    );
    assert!(marks.refused > 0, "{marks:?}");
}

#[test]
fn all_of_it_at_once() {
    let plan = Plan {
        cut_clients: true,
        cut_workers: true,
        ..CALM
    };
    run(plan, seeds(5_000_000));
    run(
        Plan {
            attempts: 200,
            ..plan
        },
        seeds(6_000_000),
    );
    run(
        Plan {
            attempts: 3,
            cancels: true,
            clients: 3,
            ..plan
        },
        seeds(7_000_000),
    );
}

/// The canary: if outcomes vanish from connections that hold, the checks above must notice.
#[test]
#[should_panic(expected = "no outcome for")]
fn a_message_lost_on_a_connection_that_holds_is_noticed() {
    run(
        Plan {
            betrayed: true,
            ..CALM
        },
        0..10,
    );
}
