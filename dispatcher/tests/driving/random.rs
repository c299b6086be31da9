//! Random histories of a small dispatcher, with every kind of loss, and what must be true of each.
//!
//! One thread moves everybody in an order that the seed draws. First come faults; then all that is
//! left goes on as it should, *sleeping whenever it may*: if everybody sleeps beside work, a
//! wake-up was lost.

mod inside;
mod outside;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use taskyard_core::{ClientId, Config, Outcome, PortId, Report, Stats};
use taskyard_dispatcher::{Delivery, Port};

use crate::support::{Call, Counted, Random, SMALL, Yard};

const STEPS: usize = 1_000;
const PATIENCE: usize = 20_000;
/// Bits of a payload's number that are the client's own number of the task.
const TASK_BITS: u32 = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Attach,
    DropPort,
    Run,
    PassTime,
    PassMuchTime,
    SayHello,
    Leave,
    Submit,
    SubmitAgain,
    Cancel,
    Acknowledge,
    Register,
    LoseWorker,
    HandIn,
    ReadOne,
    ReadAll,
    Start,
    Print,
    Finish,
    Sleep,
    Flush,
}

const DOINGS: [Doing; 21] = [
    Doing::Attach,
    Doing::DropPort,
    Doing::Run,
    Doing::PassTime,
    Doing::PassMuchTime,
    Doing::SayHello,
    Doing::Leave,
    Doing::Submit,
    Doing::SubmitAgain,
    Doing::Cancel,
    Doing::Acknowledge,
    Doing::Register,
    Doing::LoseWorker,
    Doing::HandIn,
    Doing::ReadOne,
    Doing::ReadAll,
    Doing::Start,
    Doing::Print,
    Doing::Finish,
    Doing::Sleep,
    Doing::Flush,
];

impl Doing {
    /// Faults may be absent from a history, or rare, or most of it; work may not be absent.
    fn weight(self, random: &mut Random) -> usize {
        let often = random.below(4);
        match self {
            Self::DropPort | Self::Leave | Self::PassMuchTime => [0, 1, 1, 4][often],
            Self::LoseWorker | Self::Cancel | Self::HandIn => [0, 2, 8, 32][often],
            Self::Attach | Self::SayHello | Self::Register => [4, 4, 8, 16][often],
            Self::Submit | Self::Start | Self::Finish => [16, 32, 64, 64][often],
            _ => [8, 16, 32, 64][often],
        }
    }
}

/// A client of the outside world; it survives its connections.
#[derive(Debug, Default)]
struct Customer {
    session: u32,
    keeps: bool,
    id: Option<ClientId>,
    /// The record that the controller kept of it when it was last welcome.
    record: Option<ClientId>,
    /// Tasks that it waits for, with how often each may start.
    open: BTreeMap<u64, u8>,
    /// Tasks to be submitted again, for all that it knows: it has come back.
    again: Vec<u64>,
    /// Outcomes that it has, until it has acknowledged them; a part by its worker as well.
    seen: BTreeMap<(u64, Option<u32>), Outcome>,
    acknowledged: u32,
    next_task: u64,
}

/// One attached thread, and what it knows.
struct Peer {
    port: Port<Counted>,
    call: Arc<Call>,
    asleep: bool,
    customers: BTreeSet<u128>,
    workers: BTreeMap<(u32, u32), Employee>,
    running: Vec<Delivery<Counted>>,
}

#[derive(Clone, Copy, Debug)]
struct Employee {
    name: u128,
    slots: u16,
}

struct World {
    yard: Yard,
    random: Random,
    /// How often what is done, by the order of `DOINGS`: not at all, rarely, often.
    weights: [usize; DOINGS.len()],
    dispatcher_asleep: bool,
    peers: Vec<Peer>,
    customers: BTreeMap<u128, Customer>,
    next_customer: u128,
    registrations: u32,
    /// Results of workers that lost their connection, to be handed in.
    kept: Vec<(u128, Report)>,
    /// Deliveries that were not given back: task and worker.
    started: BTreeMap<(u64, u32), u32>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let config = Config {
            tasks: 8 + random.below(24) as u32,
            quota: 8,
            mailbox: 1 + random.below(3) as u32,
            pool: 2 + random.below(3) as u32,
            queue_ahead: random.below(3) as u32,
            work_per_poll: 1 + random.below(4) as u32,
            ..SMALL
        };
        let ring_capacity = 4 << random.below(3);
        Self {
            yard: Yard::new(config, ring_capacity),
            weights: DOINGS.map(|doing| doing.weight(&mut random)),
            random,
            dispatcher_asleep: false,
            peers: Vec::new(),
            customers: BTreeMap::new(),
            next_customer: 1,
            registrations: 0,
            kept: Vec::new(),
            started: BTreeMap::new(),
        }
    }

    // ---- the dispatcher ----

    fn run_dispatcher(&mut self) -> usize {
        if std::mem::take(&mut self.dispatcher_asleep) {
            self.yard.dispatcher.woke();
        }
        self.yard.dispatcher.run_once(self.yard.now)
    }

    fn step(&mut self) {
        let mut ticket = self.random.below(self.weights.iter().sum());
        let drawn = self.weights.iter().position(|weight| {
            let hit = ticket < *weight;
            ticket = ticket.wrapping_sub(*weight);
            hit
        });
        let doing = DOINGS[drawn.expect("the ticket is below the sum")];
        match doing {
            Doing::Attach => return self.attach(),
            Doing::DropPort => return self.drop_peer(),
            Doing::Run => {
                self.run_dispatcher();
                return;
            }
            Doing::PassTime => {
                self.run_dispatcher();
                self.yard.now.0 += self.random.next() % 3_000_000;
                return;
            }
            Doing::PassMuchTime => return self.yard.now.0 += 200_000_000,
            _ if self.peers.is_empty() => return self.attach(),
            _ => {}
        }
        let at = self.random.below(self.peers.len());
        self.wake_peer(at);
        self.step_of_peer(at, doing);
    }

    fn step_of_peer(&mut self, at: usize, doing: Doing) {
        match doing {
            Doing::SayHello => self.say_hello(at),
            Doing::Leave => self.leave(at),
            Doing::Submit => (0..4).for_each(|_| self.submit(at)),
            Doing::SubmitAgain => drop(self.submit_again(at)),
            Doing::Cancel => self.cancel(at),
            Doing::Acknowledge => self.acknowledge(at),
            Doing::Register => self.register(at),
            Doing::LoseWorker => self.lose_worker(at),
            Doing::HandIn => self.hand_in(at),
            Doing::ReadOne => drop(self.read_replies(at, 1)),
            Doing::ReadAll => drop(self.read_replies(at, 100)),
            Doing::Start => self.start(at),
            Doing::Print => self.print(at),
            Doing::Finish => drop(self.finish(at)),
            Doing::Sleep => self.peers[at].asleep = self.peers[at].port.prepare_sleep(),
            _ => self.peers[at].port.flush(),
        }
    }

    // ---- the end ----

    /// Everybody does all that there is to do, and sleeps when there is nothing.
    fn heal(&mut self) {
        while self.peers.len() < 2 {
            self.attach();
            while self.yard.dispatcher.run_once(self.yard.now) > 0 {}
        }
        for at in 0..self.peers.len() {
            // The outside world wakes those who have something to do by themselves.
            if !self.peers[at].running.is_empty() || !self.peers[at].customers.is_empty() {
                self.wake_peer(at);
            }
        }
        for _ in 0..PATIENCE {
            let before = self.peers.len() + 1;
            let at = self.random.below(before);
            let did = if at == self.peers.len() {
                self.dispatcher_turn()
            } else {
                self.turn(at)
            };
            if !did && self.all_sleep() && !self.pass_time() {
                return;
            }
        }
        panic!("no rest: {:?}, {:?}", self.yard.dispatcher, self.customers);
    }

    fn dispatcher_turn(&mut self) -> bool {
        if self.dispatcher_asleep && !self.yard.call.take() {
            return false;
        }
        if self.run_dispatcher() == 0 {
            self.dispatcher_asleep = self.yard.dispatcher.prepare_sleep();
        }
        true
    }

    fn turn(&mut self, at: usize) -> bool {
        if self.peers[at].asleep && !self.peers[at].call.take() {
            return false;
        }
        self.wake_peer(at);
        let mut work = self.read_replies(at, 8);
        while self.submit_again(at) {
            work += 1;
        }
        self.start_all(at, &mut work);
        while self.finish(at) > 0 {
            work += 1;
        }
        self.peers[at].port.flush();
        let peer = &mut self.peers[at];
        // What it could not report waits for room, which it says by asking for it.
        let waits = !peer.running.is_empty() && !peer.port.has_room(1);
        if work == 0 && (peer.running.is_empty() || waits) {
            peer.asleep = peer.port.prepare_sleep();
        }
        true
    }

    fn start_all(&mut self, at: usize, work: &mut usize) {
        loop {
            let before = self.peers[at].running.len();
            let starts = self.started.values().sum::<u32>();
            self.start(at);
            if self.peers[at].running.len() == before
                && self.started.values().sum::<u32>() == starts
            {
                return;
            }
            *work += 1;
        }
    }

    fn all_sleep(&self) -> bool {
        self.dispatcher_asleep && self.peers.iter().all(|peer| peer.asleep)
    }

    /// To the next deadline. False when nobody was called and nothing will ever happen by itself.
    fn pass_time(&mut self) -> bool {
        let called = self.yard.call.take();
        let any = self.peers.iter().any(|peer| peer.call.take());
        if called || any {
            // A call was made: put it back by waking everybody.
            for at in 0..self.peers.len() {
                self.wake_peer(at);
            }
            self.dispatcher_asleep = false;
            self.yard.dispatcher.woke();
            return true;
        }
        let Some(due) = self.yard.dispatcher.next_timeout() else {
            return false;
        };
        self.yard.now = self.yard.now.max(due);
        self.yard.dispatcher.woke();
        self.dispatcher_asleep = false;
        true
    }

    /// Every client comes back or says goodbye, and a worker comes for what waits.
    fn bring_everybody_back(&mut self) {
        self.heal();
        let at = 0;
        self.wake_peer(at);
        let waiting = self
            .customers
            .values()
            .any(|customer| !customer.open.is_empty());
        if waiting && self.yard.dispatcher.workers_up() == 0 {
            self.register(at);
            self.heal();
        }
    }

    fn check_rest(&mut self) {
        for (key, customer) in &self.customers {
            if customer.id.is_some() {
                assert!(
                    customer.open.is_empty(),
                    "{key} waits for {:?}",
                    customer.open
                );
            }
        }
        self.peers.clear();
        self.kept.clear();
        // Outcomes that nobody has come back for are kept for a second.
        for _ in 0..4 {
            self.yard.settle();
            self.yard.now.0 += 2_000_000_000;
        }
        self.yard.settle();
        assert_eq!(self.yard.dispatcher.tasks(), 0);
        assert_eq!(self.yard.mint.living(), 0, "a payload was left behind");
        assert_eq!(self.yard.dispatcher.workers_up(), 0);
        let mut ports: Vec<_> = (0..SMALL.ports).map(|_| self.yard.port()).collect();
        assert_eq!(ports[0].id(), PortId(0));
        for name in 0..SMALL.workers {
            self.yard.worker(&mut ports[1], u128::from(name), 1);
        }
        for key in 0..u128::from(SMALL.clients) {
            self.yard.client(&mut ports[2], 1_000_000 + key);
        }
    }
}

fn is_of(delivery: &Delivery<Counted>, worker: (u32, u32)) -> bool {
    (delivery.worker.0, delivery.epoch.0) == worker
}

type Mark = (&'static str, fn(&Stats) -> u64);

/// What must have happened at all in the histories, or they show nothing.
const MARKS: [Mark; 16] = [
    ("completed", |stats| stats.completed),
    ("failed", |stats| stats.failed),
    ("refused", |stats| stats.refused),
    ("known", |stats| stats.known),
    ("lost", |stats| stats.lost),
    ("rerun", |stats| stats.rerun),
    ("cancelled", |stats| stats.cancelled),
    ("timed_out", |stats| stats.timed_out),
    ("forgotten", |stats| stats.forgotten),
    ("aborts", |stats| stats.aborts),
    ("evictions", |stats| stats.evictions),
    ("stale_claim", |stats| stats.stale_claim),
    ("stale_report", |stats| stats.stale_report),
    ("output", |stats| stats.output),
    ("output_dropped", |stats| stats.output_dropped),
    ("stale_output", |stats| stats.stale_output),
];

/// The seeds to run: `TASKYARD_SEED` is the first, `TASKYARD_SEEDS` says how many.
fn seeds() -> std::ops::Range<u64> {
    let number = |name| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse::<u64>().ok())
    };
    let first = number("TASKYARD_SEED");
    let count = number("TASKYARD_SEEDS").unwrap_or(if first.is_some() { 1 } else { 400 });
    let first = first.unwrap_or(0);
    first..first + count
}

#[test]
fn whatever_is_lost_every_task_has_one_outcome_and_nobody_sleeps_beside_work() {
    let mut totals = [0; MARKS.len()];
    let seeds = seeds();
    let is_one = seeds.end - seeds.start == 1;
    for seed in seeds {
        println!("TASKYARD_SEED={seed}");
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.bring_everybody_back();
        for (total, (_, mark)) in totals.iter_mut().zip(&MARKS) {
            *total += mark(world.yard.dispatcher.stats());
        }
        world.check_rest();
    }
    for ((name, _), total) in MARKS.iter().zip(totals) {
        println!("{name}: {total}");
        assert!(is_one || total > 0, "no history has reached '{name}'");
    }
}
