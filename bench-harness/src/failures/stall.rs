//! A controller that stands still for longer than the heartbeats' timeout, under load, and goes on.
//!
//! ```text
//!  load ──▶ controller ──▶ workers        SIGSTOP ... SIGCONT ... the load ends; what was lost?
//! ```
//! Four scenes:
//!
//! | scene | what happens |
//! | --- | --- |
//! | `busy` | the load goes on while the controller stands still, up to a bound |
//! | `idle` | each worker holds one task that does not end, and hears only heartbeats |
//! | `in flight` | as `busy`; but all heartbeats are in flight when the controller stops, and all answers lie unread when it goes on |
//! | `machine` | as `busy`; but the workers stand still as well, and go on after the controller |
//!
//! No worker has died, so none may lose its place, and no task its result.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use taskyard_core::Submit;

use super::arena::{Arena, Setup};
use super::book::Aim;
use super::options::{Options, Way};
use super::report::{Table, met};
use super::worker::{Word, Work};
use crate::error::Error;
use crate::messages::HeartbeatMs;
use crate::random::Random;

/// Tasks outstanding at most, for each worker.
const DEPTH: usize = 8;
/// Load before the stall.
const BEFORE: Duration = Duration::from_secs(2);

/// Who stands still, and what is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scene {
    Busy,
    Idle,
    InFlight,
    Machine,
}

impl Scene {
    const ALL: [Self; 4] = [Self::Busy, Self::Idle, Self::InFlight, Self::Machine];

    const fn label(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Idle => "idle",
            Self::InFlight => "in flight",
            Self::Machine => "machine",
        }
    }
}

/// Measures all stalls that were asked for.
///
/// # Errors
/// Besides those of the system: at the end, if a worker lost its place or a task its result.
pub(super) fn run(options: &Options, folder: &Path) -> Result<(), Error> {
    println!(
        "\nstall: {} worker processes, tasks of {} us (any and directed) at half of the capacity; \
         the controller is stopped while the load goes on",
        options.stall_workers(),
        options.task_us()
    );
    let mut table = Table::new(&[
        "scene",
        "way",
        "interval/timeout ms",
        "stall ms",
        "tasks",
        "workers registered anew",
        "evicted",
        "tasks started again",
        "lost",
        "refused",
        "outcomes sent again",
        "goal: none evicted, lost, refused",
    ]);
    let mut lost = 0;
    for scene in Scene::ALL {
        for &way in options.ways() {
            for (interval, timeout) in options.stall_heartbeats() {
                for &timeouts in options.stall_timeouts() {
                    let stall = Stall {
                        scene,
                        way,
                        heartbeat: HeartbeatMs { interval, timeout },
                        time: Duration::from_millis(timeout) * timeouts,
                    };
                    let harm = stall.run(options, folder)?;
                    lost += harm.total();
                    table.push(stall.row(&harm));
                }
            }
        }
    }
    table.print();
    table.write(options.out(), "stall")?;
    if lost > 0 {
        return Err(Error::Faults(format!(
            "stalls of the controller cost {lost} workers and tasks their place or result"
        )));
    }
    Ok(())
}

/// What a stall has cost.
#[derive(Clone, Copy, Debug)]
struct Harm {
    tasks: u64,
    /// Workers whose connection broke: they came back under their names.
    anew: u64,
    evicted: u64,
    rerun: u64,
    lost: u64,
    /// Tasks for a worker whose name was not known when they came.
    refused: u64,
    repeats: u64,
}

impl Harm {
    const fn total(&self) -> u64 {
        self.evicted + self.lost + self.refused
    }
}

struct Stall {
    scene: Scene,
    way: Way,
    heartbeat: HeartbeatMs,
    time: Duration,
}

impl Stall {
    fn row(&self, harm: &Harm) -> Vec<String> {
        vec![
            self.scene.label().into(),
            self.way.label().into(),
            format!("{}/{}", self.heartbeat.interval, self.heartbeat.timeout),
            self.time.as_millis().to_string(),
            harm.tasks.to_string(),
            harm.anew.to_string(),
            harm.evicted.to_string(),
            harm.rerun.to_string(),
            harm.lost.to_string(),
            harm.refused.to_string(),
            harm.repeats.to_string(),
            met(harm.total() == 0).into(),
        ]
    }

    fn run(&self, options: &Options, folder: &Path) -> Result<Harm, Error> {
        let mut arena = Arena::start(&Setup {
            way: self.way,
            folder,
            heartbeat: Some(self.heartbeat),
            seats: options.stall_workers(),
            namespace: None,
        })?;
        arena.fill()?;
        let work = Work {
            micros: options.task_us(),
            told: false,
        };
        let mut load = Load::new(arena.capacity(work)? / 2.0, work);
        if self.scene == Scene::Idle {
            for seat in 0..arena.crew.len() {
                arena.submit_to(seat, Work::ENDLESS)?;
            }
            load.depth = 0;
        }
        load.run(&mut arena, BEFORE)?;
        self.stand_still(&mut arena, &mut load)?;
        // Until whatever the peers had begun to doubt has come to its end.
        let HeartbeatMs { interval, timeout } = self.heartbeat;
        load.run(
            &mut arena,
            Duration::from_millis(interval + 2 * timeout) + BEFORE,
        )?;
        // Endless tasks have no outcome, unless they are lost.
        if self.scene != Scene::Idle {
            arena.drain(0)?;
            arena.book.check()?;
        }
        let (mut anew, mut evicted) = (0, 0);
        while let Some(told) = arena.crew.hear(Duration::ZERO)? {
            anew += u64::from(matches!(told.word, Word::Registered(..)));
            evicted += u64::from(told.word == Word::Evicted);
        }
        let counts = arena.book.counts();
        Ok(Harm {
            tasks: counts.submitted,
            anew,
            evicted,
            rerun: counts.rerun,
            lost: counts.lost,
            refused: counts.too_late,
            repeats: arena.repeats(),
        })
    }

    fn stand_still(&self, arena: &mut Arena, load: &mut Load) -> Result<(), Error> {
        let signal_workers = |arena: &Arena, signal| -> Result<(), Error> {
            (0..arena.crew.len()).try_for_each(|seat| arena.crew.signal(seat, signal).map(drop))
        };
        if self.scene == Scene::InFlight {
            signal_workers(arena, Signal::STOP)?;
            // All are asked once meanwhile.
            load.run(arena, Duration::from_millis(self.heartbeat.interval))?;
        }
        arena.signal_controller(Signal::STOP)?;
        if self.scene == Scene::InFlight {
            signal_workers(arena, Signal::CONT)?;
        }
        if self.scene == Scene::Machine {
            signal_workers(arena, Signal::STOP)?;
        }
        let stalled = load.run(arena, self.time);
        arena.signal_controller(Signal::CONT)?;
        if self.scene == Scene::Machine {
            signal_workers(arena, Signal::CONT)?;
        }
        stalled
    }
}

/// Tasks for any worker and for one in turn, at a constant rate up to a bound.
#[derive(Debug)]
struct Load {
    gap: Duration,
    work: Work,
    random: Random,
    next: Instant,
    /// Tasks outstanding at most, for each worker.
    depth: usize,
}

impl Load {
    fn new(rate: f64, work: Work) -> Self {
        Self {
            gap: Duration::from_secs_f64(1.0 / rate.max(1.0)),
            work,
            random: Random::new(1),
            next: Instant::now(),
            depth: DEPTH,
        }
    }

    fn run(&mut self, arena: &mut Arena, time: Duration) -> Result<(), Error> {
        let end = Instant::now() + time;
        let depth = self.depth * arena.crew.len() as usize;
        self.next = Instant::now();
        while Instant::now() < end {
            while self.next <= Instant::now() {
                if arena.book.outstanding() < depth {
                    self.submit(arena)?;
                }
                self.next += self.gap;
            }
            arena.listen(self.next.min(end))?;
        }
        Ok(())
    }

    fn submit(&mut self, arena: &mut Arena) -> Result<(), Error> {
        let draw = self.random.next_u64();
        let seat = (draw >> 8) % u64::from(arena.crew.len());
        if draw.is_multiple_of(4) {
            arena.submit_to(seat as u32, self.work)
        } else {
            arena.submit(Aim::Any, self.work, Submit::ATTEMPTS_ANY)
        }
    }
}
