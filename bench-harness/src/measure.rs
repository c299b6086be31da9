//! The three ways to measure one block, each over any [`Link`].
//!
//! - *Closed loop*: so many tasks outstanding, the next is sent when one is answered. With one
//!   outstanding this is the round trip; with many it is the capacity.
//! - *Open loop*: tasks are due at the arrivals of a Poisson process, whether or not earlier ones
//!   are answered, and each is timed from the moment when it was *due*. So a system that stalls
//!   pays for every task that it kept waiting (no coordinated omission).
//! - *Multicast*: one submit to all workers, timed to the last worker's answer.
//!
//! The clock is read once per turn of the loop, after each answer when one is outstanding.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::ledger::Ledger;
use crate::link::{Answer, Link};
use crate::options::Topic;
use crate::random::Random;
use crate::stats::{Latencies, as_ns};

/// How long an answer may take before its task counts as lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// Answers read between two looks at the clock.
const BATCH: usize = 64;

/// One block to measure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Trial {
    /// What to send when.
    pub(crate) load: Load,
    /// Where to.
    pub(crate) topic: Topic,
    /// For how long.
    pub(crate) millis: u64,
    /// Tasks sent before, one at a time, and not timed: caches and sleepy cores recover.
    pub(crate) warmup: u32,
}

/// What to send when.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Load {
    /// As many as this are outstanding, always.
    Closed {
        /// So many.
        outstanding: u32,
    },
    /// Poisson arrivals.
    Open {
        /// Tasks per second.
        rate: f64,
        /// The same seed gives the same arrivals.
        seed: u64,
    },
    /// One multicast at a time, as often as fits; once at least.
    Multicast {
        /// Workers that must answer.
        workers: u32,
    },
}

/// What came of a block.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Block {
    /// One sample per task (per multicast).
    pub(crate) latencies: Latencies,
    /// From the first send to the last answer.
    pub(crate) seconds: f64,
    /// Tasks without an outcome.
    pub(crate) lost: u64,
    /// What makes the figures worthless, if anything; tasks are named.
    pub(crate) faults: Vec<String>,
}

impl Block {
    /// Tasks answered per second.
    pub(crate) fn rate(&self) -> f64 {
        self.latencies.count() as f64 / self.seconds.max(1e-9)
    }
}

/// Measures blocks over one link, one after the other.
#[derive(Debug)]
pub(crate) struct Meter<L> {
    link: L,
    ledger: Ledger,
    origin: Instant,
    patience: Duration,
}

impl<L: Link> Meter<L> {
    pub(crate) fn new(link: L) -> Self {
        Self {
            link,
            ledger: Ledger::default(),
            origin: Instant::now(),
            patience: PATIENCE,
        }
    }

    /// The link itself, between blocks.
    pub(crate) fn link_mut(&mut self) -> &mut L {
        &mut self.link
    }

    /// Measures one block.
    ///
    /// # Errors
    /// When the link fails. Tasks without exactly one good outcome are no error here but
    /// [faults](Block::faults) of the block.
    pub(crate) fn run(&mut self, trial: &Trial) -> Result<Block, Error> {
        self.ledger.begin();
        self.warm_up(trial)?;
        let started_ns = self.now_ns();
        let until_ns = started_ns + trial.millis * 1_000_000;
        let mut latencies = Latencies::new();
        match trial.load {
            Load::Closed { outstanding: 1 } => {
                self.ping(trial.topic, until_ns, &mut latencies)?;
            }
            Load::Closed { outstanding } => {
                self.closed(trial.topic, outstanding, until_ns, &mut latencies)?;
            }
            Load::Open { rate, seed } => {
                let arrivals = Arrivals::new(started_ns, rate, seed);
                self.open(trial.topic, arrivals, until_ns, &mut latencies)?;
            }
            Load::Multicast { workers } => {
                self.multicast(workers, until_ns, &mut latencies)?;
            }
        }
        let seconds = (self.now_ns() - started_ns) as f64 / 1e9;
        // Whatever is still there comes after each task had its one answer.
        while let Some(answer) = self.link.poll()? {
            self.ledger.answered(answer);
        }
        let (lost, faults) = self.ledger.end();
        Ok(Block {
            latencies,
            seconds,
            lost,
            faults,
        })
    }

    fn now_ns(&self) -> u64 {
        as_ns(self.origin.elapsed())
    }

    fn warm_up(&mut self, trial: &Trial) -> Result<(), Error> {
        let mut unused = Latencies::new();
        for _ in 0..trial.warmup {
            match trial.load {
                Load::Multicast { workers } => self.one_multicast(workers, &mut unused)?,
                _ => self.one_round_trip(trial.topic, &mut unused)?,
            }
        }
        Ok(())
    }

    /// One outstanding, answer by answer.
    fn ping(
        &mut self,
        topic: Topic,
        until_ns: u64,
        latencies: &mut Latencies,
    ) -> Result<(), Error> {
        while self.now_ns() < until_ns && self.ledger.open() == 0 {
            self.one_round_trip(topic, latencies)?;
        }
        Ok(())
    }

    fn one_round_trip(&mut self, topic: Topic, latencies: &mut Latencies) -> Result<(), Error> {
        let sent_ns = self.now_ns();
        self.send(topic, sent_ns)?;
        self.drain(latencies)
    }

    /// Many outstanding.
    fn closed(
        &mut self,
        topic: Topic,
        outstanding: u32,
        until_ns: u64,
        latencies: &mut Latencies,
    ) -> Result<(), Error> {
        let mut now_ns = self.now_ns();
        while now_ns < until_ns {
            while self.ledger.open() < u64::from(outstanding) {
                self.send(topic, now_ns)?;
            }
            if self.take_batch(latencies)? == 0 {
                match self.next_answer()? {
                    Some(answer) => {
                        let now_ns = self.now_ns();
                        self.settle(answer, now_ns, latencies);
                    }
                    None => return Ok(()),
                }
            }
            now_ns = self.now_ns();
        }
        self.drain(latencies)
    }

    /// Poisson arrivals, each timed from when it was due.
    fn open(
        &mut self,
        topic: Topic,
        mut arrivals: Arrivals,
        until_ns: u64,
        latencies: &mut Latencies,
    ) -> Result<(), Error> {
        loop {
            let now_ns = self.now_ns();
            if arrivals.due_ns < until_ns && arrivals.due_ns <= now_ns {
                self.send(topic, arrivals.due_ns)?;
                arrivals.advance();
            } else if now_ns >= until_ns {
                return self.drain(latencies);
            } else if self.take_batch(latencies)? == 0 {
                let next_ns = arrivals.due_ns.min(until_ns);
                let gap_ns = next_ns.saturating_sub(self.now_ns());
                if gap_ns > 0 {
                    self.link.wait(Duration::from_nanos(gap_ns))?;
                }
            }
        }
    }

    /// One multicast after the other.
    fn multicast(
        &mut self,
        workers: u32,
        until_ns: u64,
        latencies: &mut Latencies,
    ) -> Result<(), Error> {
        loop {
            self.one_multicast(workers, latencies)?;
            if self.now_ns() >= until_ns || self.ledger.open() > 0 {
                return Ok(());
            }
        }
    }

    fn one_multicast(&mut self, workers: u32, latencies: &mut Latencies) -> Result<(), Error> {
        let sent_ns = self.now_ns();
        let task = self.send(Topic::All, sent_ns)?;
        let mut answered = HashSet::with_capacity(workers as usize);
        let mut last_ns = sent_ns;
        while self.ledger.open() > 0 {
            let Some(answer) = self.next_answer()? else {
                return Ok(());
            };
            match answer {
                Answer::Part { task: of, worker } if of == task => {
                    last_ns = self.now_ns();
                    if !answered.insert(worker) {
                        self.ledger
                            .fault(format!("task {task} got two outcomes of worker {worker}"));
                    }
                }
                Answer::Part { task: of, .. } => {
                    self.ledger
                        .fault(format!("task {of} got an outcome after its summary"));
                }
                other => self.close_multicast(other, workers, answered.len()),
            }
        }
        latencies.record_ns(last_ns - sent_ns);
        Ok(())
    }

    fn close_multicast(&mut self, answer: Answer, workers: u32, answered: usize) {
        if let Answer::Summary {
            task,
            parts,
            completed,
        } = answer
            && (parts != workers || completed != workers || answered != workers as usize)
        {
            self.ledger.fault(format!(
                "task {task} for {workers} workers had {parts} parts, of which {completed} were \
                 completed and {answered} answered"
            ));
        }
        self.ledger.answered(answer);
    }

    fn send(&mut self, topic: Topic, due_ns: u64) -> Result<u64, Error> {
        let task = self.link.submit(topic)?;
        self.ledger.sent(task, due_ns);
        Ok(task)
    }

    fn settle(&mut self, answer: Answer, now_ns: u64, latencies: &mut Latencies) {
        if let Some(due_ns) = self.ledger.answered(answer) {
            latencies.record_ns(now_ns.saturating_sub(due_ns));
        }
    }

    /// Takes what is there, up to a batch, with one look at the clock for all of it.
    fn take_batch(&mut self, latencies: &mut Latencies) -> Result<usize, Error> {
        let mut taken = 0;
        let mut now_ns = 0;
        while taken < BATCH
            && let Some(answer) = self.link.poll()?
        {
            if taken == 0 {
                now_ns = self.now_ns();
            }
            self.settle(answer, now_ns, latencies);
            taken += 1;
        }
        Ok(taken)
    }

    /// Waits for all that is still out.
    fn drain(&mut self, latencies: &mut Latencies) -> Result<(), Error> {
        while self.ledger.open() > 0 {
            let Some(answer) = self.next_answer()? else {
                break;
            };
            let now_ns = self.now_ns();
            self.settle(answer, now_ns, latencies);
        }
        Ok(())
    }

    /// Waits for the next answer; `None` when patience is over.
    fn next_answer(&mut self) -> Result<Option<Answer>, Error> {
        if let Some(answer) = self.link.poll()? {
            return Ok(Some(answer));
        }
        let asked = Instant::now();
        while let Some(left) = self.patience.checked_sub(asked.elapsed()) {
            self.link.wait(left)?;
            if let Some(answer) = self.link.poll()? {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }
}

/// The arrivals of a Poisson process.
#[derive(Debug)]
struct Arrivals {
    random: Random,
    gap_ns: f64,
    exact_ns: f64,
    /// When the next task is due.
    due_ns: u64,
}

impl Arrivals {
    fn new(from_ns: u64, rate: f64, seed: u64) -> Self {
        let mut arrivals = Self {
            random: Random::new(seed),
            gap_ns: 1e9 / rate,
            exact_ns: from_ns as f64,
            due_ns: 0,
        };
        arrivals.advance();
        arrivals
    }

    fn advance(&mut self) {
        self.exact_ns += self.random.exponential() * self.gap_ns;
        self.due_ns = self.exact_ns as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Answers each task after so many polls; a canary may make it lose or double some.
    #[derive(Default)]
    struct Echo {
        next: u64,
        answers: VecDeque<Answer>,
        workers: u32,
        lose_every: u64,
        double_every: u64,
    }

    impl Link for Echo {
        fn submit(&mut self, topic: Topic) -> Result<u64, Error> {
            let task = self.next;
            self.next += 1;
            let hit = |every: u64| every > 0 && task % every == every - 1;
            if topic == Topic::All {
                let part = |worker| Answer::Part { task, worker };
                self.answers.extend((0..self.workers).map(part));
                let (parts, completed) = (self.workers, self.workers);
                self.answers.push_back(Answer::Summary {
                    task,
                    parts,
                    completed,
                });
            } else if !hit(self.lose_every) {
                self.answers.push_back(Answer::Completed { task });
            }
            if hit(self.double_every) {
                self.answers.push_back(Answer::Completed { task });
            }
            Ok(task)
        }

        fn poll(&mut self) -> Result<Option<Answer>, Error> {
            Ok(self.answers.pop_front())
        }

        fn wait(&mut self, timeout: Duration) -> Result<(), Error> {
            std::thread::sleep(timeout);
            Ok(())
        }
    }

    fn trial(load: Load, topic: Topic) -> Trial {
        Trial {
            load,
            topic,
            millis: 20,
            warmup: 3,
        }
    }

    #[test]
    fn every_way_to_measure_counts_each_task_once() {
        let loads = [
            Load::Closed { outstanding: 1 },
            Load::Closed { outstanding: 100 },
            Load::Open {
                rate: 20_000.0,
                seed: 1,
            },
        ];
        let mut meter = Meter::new(Echo::default());
        for load in loads {
            let before = meter.link.next;
            let block = meter
                .run(&trial(load, Topic::Any))
                .expect("an echo cannot fail");
            assert_eq!(block.faults, Vec::<String>::new());
            assert_eq!(block.lost, 0);
            assert_eq!(
                block.latencies.count() + 3,
                meter.link.next - before,
                "{load:?}"
            );
            assert!(block.latencies.count() > 0);
        }
    }

    #[test]
    fn a_multicast_has_an_answer_of_each_worker() {
        let mut meter = Meter::new(Echo {
            workers: 5,
            ..Echo::default()
        });
        let all = trial(Load::Multicast { workers: 5 }, Topic::All);
        assert_eq!(
            meter.run(&all).expect("it runs").faults,
            Vec::<String>::new()
        );
        meter.link.workers = 4;
        let block = meter.run(&all).expect("it runs");
        assert!(block.faults[0].contains("4 parts"), "{:?}", block.faults);
    }

    #[test]
    fn canary_a_lost_and_a_doubled_outcome_are_named() {
        let mut meter = Meter::new(Echo {
            double_every: 50,
            ..Echo::default()
        });
        let open = trial(
            Load::Open {
                rate: 20_000.0,
                seed: 1,
            },
            Topic::Any,
        );
        let block = meter.run(&open).expect("it runs");
        assert!(block.faults[0].contains("task 49 "), "{:?}", block.faults);

        let mut meter = Meter::new(Echo {
            lose_every: 40,
            ..Echo::default()
        });
        meter.patience = Duration::from_millis(50);
        let mut closed = trial(Load::Closed { outstanding: 1 }, Topic::Any);
        closed.millis = 1_000;
        let block = meter.run(&closed).expect("it runs");
        assert_eq!(block.lost, 1);
        assert_eq!(block.faults, ["task 39 got no outcome"]);
    }

    #[test]
    fn the_same_seed_gives_the_same_arrivals_at_the_asked_rate() {
        let mut one = Arrivals::new(0, 1e6, 9);
        let mut two = Arrivals::new(0, 1e6, 9);
        for _ in 0..100_000 {
            one.advance();
            two.advance();
            assert_eq!(one.due_ns, two.due_ns);
        }
        let mean_ns = one.due_ns as f64 / 100_001.0;
        assert!((mean_ns / 1e3 - 1.0).abs() < 0.02, "{mean_ns}");
    }
}
