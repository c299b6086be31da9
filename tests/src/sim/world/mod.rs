//! The world: processes, lines and ports around the driver, and the seed that says who moves next.
//!
//! A history has two parts. In the first, everything that the options allow goes wrong (*safety*:
//! the checkers look at every fact). Then all faults end, everybody comes back, and everything must
//! come to rest within a bound (*liveness*).

mod absurd;
mod control;
mod customer;
mod line;
mod port;
mod process;

use self::customer::Customer;
use self::line::{ClientLine, WorkerLine};
use self::port::Port;
use self::process::Process;
use super::breakage::Break;
use super::driver::{Driver, Mint, Part};
use super::fact::Job;
use super::options::{Fault, Options, Size};
use super::rng::Rng;
use super::watch::Watch;
use taskyard_core::{Instant, LabelKey, Labels, TaskInfo};

/// Rounds after which everything must be at rest.
const PATIENCE: usize = 600;
/// Milliseconds that pass in each.
const ROUND_MS: u64 = 5;

#[derive(Debug)]
pub(crate) struct World {
    options: Options,
    broken: Option<Break>,
    rng: Rng,
    pub(crate) watch: Watch,
    pub(crate) driver: Driver,
    mint: Mint,
    ports: Vec<Port>,
    processes: Vec<Process>,
    customers: Vec<Customer>,
    worker_lines: Vec<WorkerLine>,
    client_lines: Vec<ClientLine>,
    next_key: u64,
    /// Faults of this history that come by themselves.
    chaos: Vec<Fault>,
    stalled_until: Instant,
    is_healing: bool,
    /// What waited at the last look at fairness.
    waited: Vec<TaskInfo>,
    /// Credit of nobody that was handed in on purpose.
    absurd_credits: u64,
    /// What was sent to workers ahead of a slot, and has not started.
    sent_ahead: Vec<Job>,
}

impl World {
    pub(crate) fn new(options: &Options, broken: Option<Break>, prints: bool) -> Self {
        let mut rng = Rng::new(options.dice);
        let (driver, ends) = Driver::new(options, broken);
        let names = options.size(Size::Names).max(1);
        let processes = (0..options.size(Size::Workers)).map(|at| {
            let slots = rng.between(1, options.size(Size::Slots)) as u16;
            let prefetch = rng.below(options.size(Size::Prefetch) + 1) as u16;
            // Those of one name have the same, and one name has all: nothing waits for ever.
            let name = at % names;
            let mut draw = Rng::new(options.dice ^ name);
            let labels = (1..=options.size(Size::Labels)).map(LabelKey);
            let labels = Labels::new(labels.filter(|_| draw.chance(500) || name == 0));
            Process::new(name, at, (slots, prefetch), labels)
        });
        let processes = processes.collect();
        let clients = options.size(Size::Clients);
        let customers = (1..=clients)
            .map(|key| Customer::new(key, rng.chance(700)))
            .collect();
        Self {
            options: options.clone(),
            broken,
            watch: Watch::new(options, prints),
            driver,
            mint: Mint::default(),
            ports: ends.into_iter().map(Port::new).collect(),
            processes,
            customers,
            worker_lines: Vec::new(),
            client_lines: Vec::new(),
            next_key: clients,
            chaos: Fault::ALL
                .iter()
                .copied()
                .filter(|f| options.rate(*f) > 0)
                .collect(),
            stalled_until: Instant(0),
            is_healing: false,
            waited: Vec::new(),
            absurd_credits: 0,
            sent_ahead: Vec::new(),
            rng,
        }
    }

    /// The whole history. Panics where something does not hold.
    pub(crate) fn run(&mut self) {
        // Most steps are events; where nothing can happen the history ends by itself.
        let mut steps = self.options.events * 16;
        while self.watch.events < self.options.events && steps > 0 {
            self.step();
            steps -= 1;
        }
        self.heal();
        self.check_end();
    }

    fn breaks(&self, rule: Break) -> bool {
        self.broken == Some(rule)
    }

    /// Whether something goes wrong here and now.
    fn fires(&mut self, fault: Fault) -> bool {
        self.rng.chance(self.options.rate(fault))
    }

    fn step(&mut self) {
        match self.rng.below(200) {
            0..60 => self.drive(),
            60..130 => {
                let at = self.rng.place(self.ports.len());
                if self.ports[at].stalled_until <= self.watch.now {
                    self.port_turn(at);
                }
            }
            130..165 => {
                let at = self.rng.place(self.processes.len());
                self.process_turn(at);
            }
            165..189 => {
                let at = self.rng.place(self.customers.len());
                self.customer_turn(at);
            }
            189..194 => {
                let tick = self.options.size(Size::Tick) * 1_000_000;
                self.watch.now.0 += self.rng.below(tick);
            }
            194..199 => self.chaos(),
            _ if self.rng.chance(100) => self.settle(),
            _ => self.check_fairness(),
        }
    }

    /// One step of the dispatcher's thread, of a kind and size that the seed draws.
    fn drive(&mut self) {
        if self.stalled_until > self.watch.now {
            return;
        }
        let limit = self.rng.between(1, self.options.size(Size::Drain)) as usize;
        let part = match self.rng.below(20) {
            0..9 => Part::Events(self.rng.place(self.ports.len())),
            9..13 => Part::Effects,
            13..16 => Part::Inject,
            16..19 => Part::Replies,
            _ => Part::Timeouts,
        };
        self.driver.step(&mut self.watch, part, limit);
    }

    /// Everything the dispatcher can do now.
    fn drive_all(&mut self) -> bool {
        let mut any = false;
        let events = (0..self.ports.len()).map(Part::Events);
        let others = [Part::Timeouts, Part::Effects, Part::Inject, Part::Replies];
        for part in events.chain(others) {
            any |= self.driver.step(&mut self.watch, part, usize::MAX) > 0;
        }
        // It has stopped because it had done enough, not because nothing was left.
        any | self
            .driver
            .scheduler
            .next_timeout()
            .is_some_and(|due| due <= self.watch.now)
    }

    /// Dispatcher and ports do all that they can, while no time passes; then nothing may be left.
    fn settle(&mut self) {
        self.stalled_until = Instant(0);
        for _ in 0..10_000 {
            let mut any = self.drive_all();
            for at in 0..self.ports.len() {
                any |= self.port_settle(at);
            }
            if !any {
                return self.check_rest();
            }
        }
        panic!(
            "liveness: dispatcher and ports never come to rest: {:?}",
            self.driver.scheduler.stats()
        );
    }

    fn check_rest(&mut self) {
        self.driver.scheduler.sanity_check();
        let (bytes, most) = (
            self.driver.scheduler.stats().payload_bytes,
            self.options.size(Size::Bytes),
        );
        assert!(
            most == 0 || bytes <= most,
            "I6: {bytes} bytes of payloads, {most} allowed"
        );
        self.watch.checkers.timers.at_rest(self.watch.now);
        self.check_nobody_is_hungry();
    }

    // ---- faults ----

    fn chaos(&mut self) {
        let place = self.rng.place(self.chaos.len());
        let Some(fault) = self
            .chaos
            .get(place)
            .copied()
            .filter(|fault| self.fires(*fault))
        else {
            return;
        };
        let now = self.watch.now;
        let pause = self.rng.between(1, 30);
        match fault {
            Fault::WorkerCrash | Fault::WorkerCut | Fault::WorkerHang => self.hurt_worker(fault),
            Fault::ClientCut | Fault::ClientCrash | Fault::Goodbye | Fault::LongAbsence => {
                self.hurt_client(fault);
            }
            Fault::Clog => self.clog(now.after_ms(pause)),
            Fault::ClockJump => self.watch.now = now.after_ms(pause * pause),
            Fault::Stall => self.stalled_until = now.after_ms(pause),
            Fault::PortStall => {
                let at = self.rng.place(self.ports.len());
                self.ports[at].stalled_until = now.after_ms(pause);
            }
            Fault::Absurd => self.say_something_absurd(),
            Fault::HoldWorker | Fault::DrainWorker | Fault::Sweep => self.control(fault),
            // These happen where something is done.
            Fault::DeafAbort
            | Fault::TaskFails
            | Fault::DoubleReport
            | Fault::WrongReport
            | Fault::SendRefused
            | Fault::HalfOpen
            | Fault::AckLost => {}
        }
    }

    fn clog(&mut self, until: Instant) {
        let at = self.rng.place(self.processes.len());
        if let Some(index) = self.processes[at].line {
            self.worker_lines[index].clogged_until = until;
        }
        let at = self.rng.place(self.customers.len());
        if let Some(index) = self.customers[at].line {
            self.client_lines[index].clogged_until = until;
        }
    }

    // ---- the end ----

    /// No more faults: everybody does what there is to do, until all is quiet.
    fn heal(&mut self) {
        self.is_healing = true;
        for &fault in Fault::ALL {
            self.options = self.options.with_rate(fault, 0);
        }
        self.release_all();
        for round in 0..PATIENCE {
            for at in 0..self.customers.len() {
                while self.customer_settle(at) {}
            }
            for at in 0..self.processes.len() {
                for _ in 0..64 {
                    if !self.process_turn(at) {
                        break;
                    }
                }
            }
            self.settle();
            self.watch.now = self.watch.now.after_ms(ROUND_MS);
            if round > 100 && self.is_quiet() {
                return;
            }
        }
        panic!(
            "liveness: no rest after {PATIENCE} rounds: {} records; {:?}\n{}",
            self.driver.scheduler.tasks(),
            self.driver.scheduler.stats(),
            self.waiting()
        );
    }

    fn is_quiet(&self) -> bool {
        let scheduler = &self.driver.scheduler;
        scheduler.tasks() == 0
            && (0..self.customers.len()).all(|at| self.is_client_quiet(at))
            && (0..self.processes.len()).all(|at| self.is_worker_quiet(at))
    }

    fn check_end(&mut self) {
        self.settle();
        let stats = *self.driver.scheduler.stats();
        assert_eq!(self.driver.scheduler.tasks(), 0, "I7: records are left");
        assert_eq!(self.mint.living(), 0, "I7: payloads are left");
        let outstanding = (stats.outstanding_pool, stats.outstanding_directed);
        assert_eq!(outstanding, (0, 0), "I6: credit is lost");
        assert_eq!(
            stats.stale_credit, self.absurd_credits,
            "I6: credit came back twice"
        );
        assert_eq!(
            (stats.open, stats.depth_any, stats.depth_directed),
            (0, 0, 0),
            "I7: levels"
        );
        let (removed, swept) = (stats.removed, self.watch.checkers.outcomes.swept);
        assert_eq!(removed, swept, "I1: not all that was taken away was told");
        assert_eq!(stats.payload_bytes, 0, "I7: bytes of payloads");
        self.count_marks();
    }

    fn count_marks(&mut self) {
        let checkers = &self.watch.checkers;
        let counts = [
            ("outcome_redelivered", checkers.outcomes.redelivered),
            ("record_purged", checkers.outcomes.purged),
            ("deadline_in_backlog", checkers.outcomes.deadlines[0]),
            ("deadline_queued", checkers.outcomes.deadlines[1]),
            ("deadline_running", checkers.outcomes.deadlines[2]),
            (
                "tombstones_fill_mailbox",
                checkers.credit.filled_by_tombstones,
            ),
            ("worker_lost_queued", checkers.credit.lost_queued),
        ];
        for (mark, times) in counts {
            self.watch.marks.hit(mark, times);
        }
        let stats = self.driver.scheduler.stats();
        self.watch.marks.count(stats);
    }
}
