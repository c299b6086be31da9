//! Worker processes killed under load: how soon the submitter hears of each task that was
//! outstanding there.
//!
//! Each victim is given one task for it alone that would never end, 0.5 to 2 ms before it is
//! killed, every fifth one a part of a multicast before that. Beside it, it may hold whatever the
//! load has brought: tasks for any worker (one of three may start only once, so it ends with its
//! worker; the others run again elsewhere, which the client is told as well), tasks for it alone,
//! parts of multicasts. A word counts for a death if its task was submitted before.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use taskyard_core::{Epoch, Submit};

use super::arena::{Arena, Setup};
use super::book::{Aim, Loss};
use super::options::{Options, Way};
use super::report::{Table, met, ms_text, spread};
use super::worker::{Word, Work};
use crate::error::Error;
use crate::random::Random;

const GOAL: Duration = Duration::from_millis(10);
/// How long words about a death may take before the next one; all that come later count as well.
const MOURNING: Duration = Duration::from_millis(15);
/// One submit in so many goes to every worker.
const MULTICAST_EACH: u64 = 200;
/// One victim in so many has a part of a multicast for certain, as far as it is not done by then.
const MULTICAST_DEATH_EACH: usize = 5;
/// Submits that one turn makes at most, should the load have fallen behind.
const BURST: u32 = 64;

/// Measures deaths, each way.
///
/// # Errors
/// Besides those of the system: a task without its one outcome, a word that names a worker that was
/// not killed, or a living worker that lost its place.
pub(super) fn run(options: &Options, folder: &Path) -> Result<(), Error> {
    println!(
        "\ndeaths: {} kills each way of {} worker processes, tasks of {} us at half of the \
         capacity; from just before the kill to the client's word",
        options.kills(),
        options.workers(),
        options.task_us()
    );
    let mut table = Table::new(&[
        "way",
        "kills",
        "of those, nothing outstanding",
        "capacity /s",
        "words: any",
        "one",
        "all",
        "first word ms p50",
        "p99",
        "max",
        "last word ms p50",
        "p99",
        "max",
        "goal p99 <= 10 ms",
        "run again",
    ]);
    let mut each = Table::new(&["way", "kill", "first_ms", "last_ms", "any", "one", "all"]);
    for &way in options.ways() {
        let mut arena = Arena::start(&Setup {
            way,
            folder,
            heartbeat: None,
            seats: options.workers(),
            namespace: None,
        })?;
        arena.fill()?;
        let hunt = Hunt::run(&mut arena, options)?;
        hunt.report(way, &arena, &mut table, &mut each);
        hunt.check(&mut arena)?;
    }
    table.print();
    table.write(options.out(), "deaths")?;
    each.write(options.out(), "deaths-each")
}

/// One kill, and what was heard of it.
#[derive(Clone, Debug)]
struct Death {
    at: Instant,
    first: Option<Duration>,
    last: Option<Duration>,
    /// Words about tasks for any worker, for one, for all.
    words: [u32; 3],
}

/// Where the hunt is with its next victim.
#[derive(Clone, Copy, Debug)]
enum Step {
    Wait(Instant),
    Kill { seat: u32, at: Instant },
    Mourn { seat: u32, until: Instant },
}

struct Hunt {
    random: Random,
    work: Work,
    capacity: f64,
    /// When the next task of the load is due.
    next: Instant,
    deaths: Vec<Death>,
    /// The deaths by incarnation.
    dead: HashMap<Epoch, usize>,
    /// Seats whose worker has been killed and whose heir has not registered.
    empty: Vec<bool>,
    faults: Vec<String>,
}

impl Hunt {
    fn run(arena: &mut Arena, options: &Options) -> Result<Self, Error> {
        let work = Work {
            micros: options.task_us(),
            told: false,
        };
        let mut hunt = Self {
            random: Random::new(1),
            work,
            capacity: arena.capacity(work)?,
            next: Instant::now(),
            deaths: Vec::new(),
            dead: HashMap::new(),
            empty: vec![false; options.workers() as usize],
            faults: Vec::new(),
        };
        let gap = Duration::from_millis(options.kill_gap_ms().into());
        let mut step = Step::Wait(Instant::now() + gap);
        while hunt.deaths.len() < options.kills() as usize || !matches!(step, Step::Wait(_)) {
            step = hunt.step(arena, step, gap)?;
            hunt.submit_due(arena)?;
            let due = match step {
                Step::Wait(due) | Step::Kill { at: due, .. } | Step::Mourn { until: due, .. } => {
                    due
                }
            };
            arena.listen(due.min(hunt.next))?;
            hunt.count_words(arena);
            hunt.hear(arena)?;
        }
        arena.drain(0)?;
        hunt.count_words(arena);
        Ok(hunt)
    }

    fn step(&mut self, arena: &mut Arena, step: Step, gap: Duration) -> Result<Step, Error> {
        let now = Instant::now();
        match step {
            Step::Wait(due) if due <= now => {
                let Some(seat) = self.pick() else {
                    return Ok(Step::Wait(now + Duration::from_millis(1)));
                };
                if self.deaths.len().is_multiple_of(MULTICAST_DEATH_EACH) {
                    arena.submit(Aim::All, self.work, 1)?;
                }
                arena.submit_to(seat, Work::ENDLESS)?;
                let delay = Duration::from_micros(500 + self.random.next_u64() % 1_500);
                let at = Instant::now() + delay;
                Ok(Step::Kill { seat, at })
            }
            Step::Kill { seat, at } if at <= now => {
                self.kill(arena, seat)?;
                let until = now + MOURNING;
                Ok(Step::Mourn { seat, until })
            }
            Step::Mourn { seat, until } if until <= now => {
                arena.crew.bury(seat)?;
                arena.crew.spawn(seat)?;
                let jitter = self.random.exponential().min(3.0);
                Ok(Step::Wait(now + gap.mul_f64(jitter)))
            }
            wait => Ok(wait),
        }
    }

    /// Any seat with a registered worker.
    fn pick(&mut self) -> Option<u32> {
        let living = self.empty.iter().filter(|empty| !**empty).count() as u64;
        let skip = self.random.next_u64().checked_rem(living)? as usize;
        let mut seats = (0..).zip(&self.empty).filter(|(_, empty)| !**empty);
        seats.nth(skip).map(|(seat, _)| seat)
    }

    fn kill(&mut self, arena: &Arena, seat: u32) -> Result<(), Error> {
        let at = arena.crew.signal(seat, Signal::KILL)?;
        let standing = arena.crew.standing(seat);
        let (_, epoch) = standing.expect("a victim is registered");
        self.dead.insert(epoch, self.deaths.len());
        self.empty[seat as usize] = true;
        self.deaths.push(Death {
            at,
            first: None,
            last: None,
            words: [0; 3],
        });
        Ok(())
    }

    /// Half of the capacity, counted in executions: a multicast makes as many as there are workers.
    fn submit_due(&mut self, arena: &mut Arena) -> Result<(), Error> {
        let gap = Duration::from_secs_f64(2.0 / self.capacity.max(1.0));
        for _ in 0..BURST {
            if self.next > Instant::now() {
                return Ok(());
            }
            let draw = self.random.next_u64();
            let executions = if draw.is_multiple_of(MULTICAST_EACH) {
                arena.submit(Aim::All, self.work, 1)?;
                arena.crew.len()
            } else {
                match (draw >> 32) % 4 {
                    0 => {
                        if let Some(seat) = self.pick() {
                            arena.submit_to(seat, self.work)?;
                        }
                    }
                    1 => arena.submit(Aim::Any, self.work, 1)?,
                    _ => arena.submit(Aim::Any, self.work, Submit::ATTEMPTS_ANY)?,
                }
                1
            };
            self.next += gap * executions;
        }
        // What could not be sent in time is not made up for.
        self.next = Instant::now();
        Ok(())
    }

    fn count_words(&mut self, arena: &mut Arena) {
        for loss in arena.book.take_losses() {
            let Some(&death) = self.dead.get(&loss.epoch) else {
                let fault = format!("{:?} was named lost and was not killed", loss.epoch);
                self.faults.push(fault);
                continue;
            };
            self.deaths[death].count(&loss);
        }
    }

    fn hear(&mut self, arena: &mut Arena) -> Result<(), Error> {
        while let Some(told) = arena.crew.hear(Duration::ZERO)? {
            if told.word == Word::Got {
                continue;
            }
            let was_empty = std::mem::take(&mut self.empty[told.seat as usize]);
            if !was_empty || told.word == Word::Evicted {
                let fault = format!("seat {}, alive, lost its place", told.seat);
                self.faults.push(fault);
            }
        }
        Ok(())
    }

    fn report(&self, way: Way, arena: &Arena, table: &mut Table, each: &mut Table) {
        let heard = |of: fn(&Death) -> Option<Duration>| -> Vec<Duration> {
            self.deaths.iter().filter_map(of).collect()
        };
        let (mut first, mut last) = (heard(|death| death.first), heard(|death| death.last));
        let ([first_p50, first_p99, first_max], [p50, p99, max]) =
            (spread(&mut first), spread(&mut last));
        let is_met = p99
            .parse::<f64>()
            .is_ok_and(|p99| p99 <= GOAL.as_secs_f64() * 1e3);
        let words = |kind: usize| {
            self.deaths
                .iter()
                .map(|death| death.words[kind])
                .sum::<u32>()
        };
        table.push(vec![
            way.label().into(),
            self.deaths.len().to_string(),
            self.silent().to_string(),
            format!("{:.0}", self.capacity),
            words(0).to_string(),
            words(1).to_string(),
            words(2).to_string(),
            first_p50,
            first_p99,
            first_max,
            p50,
            p99,
            max,
            met(is_met).into(),
            arena.book.counts().rerun.to_string(),
        ]);
        for (number, death) in self.deaths.iter().enumerate() {
            let text = |word: Option<Duration>| word.map_or_else(String::new, ms_text);
            let mut row = vec![way.label().into(), number.to_string()];
            row.extend([text(death.first), text(death.last)]);
            row.extend(death.words.map(|words| words.to_string()));
            each.push(row);
        }
    }

    /// Victims that no word was about.
    fn silent(&self) -> usize {
        let silent = self.deaths.iter().filter(|death| death.last.is_none());
        silent.count()
    }

    fn check(self, arena: &mut Arena) -> Result<(), Error> {
        for fault in &self.faults {
            arena.book.fault(fault.clone());
        }
        // What had not reached the controller yet is refused: it was not outstanding on the victim.
        let (silent, too_late) = (self.silent() as u64, arena.book.counts().too_late);
        if silent > too_late {
            arena
                .book
                .fault(format!("{silent} deaths were never told of"));
        }
        let repeats = arena.repeats();
        if repeats > 0 {
            arena
                .book
                .fault(format!("{repeats} outcomes were sent again"));
        }
        arena.book.check()
    }
}

impl Death {
    fn count(&mut self, loss: &Loss) {
        if loss.submitted > self.at {
            return;
        }
        let after = loss.at.saturating_duration_since(self.at);
        self.first = Some(self.first.map_or(after, |first| first.min(after)));
        self.last = Some(self.last.map_or(after, |last| last.max(after)));
        self.words[match loss.aim {
            Aim::Any => 0,
            Aim::Seat(..) => 1,
            Aim::All => 2,
        }] += 1;
    }
}
