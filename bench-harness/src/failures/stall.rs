//! A controller that stands still for longer than the heartbeats' timeout, under load, and goes on.
//!
//! ```text
//!  load ──▶ controller ──▶ workers        SIGSTOP ... SIGCONT ... the load ends; what was lost?
//! ```
//! The load goes on while the controller stands still, up to a bound, so that its sockets are full
//! of messages and heartbeats when it wakes. No worker has died, so none may lose its place, and no
//! task its result.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use taskyard_core::Submit;

use super::arena::{Arena, Setup};
use super::book::Aim;
use super::options::{Options, Way};
use super::report::Table;
use super::worker::{Word, Work};
use crate::error::Error;
use crate::messages::HeartbeatMs;
use crate::random::Random;

/// Tasks outstanding at most, for each worker.
const DEPTH: usize = 8;
/// Load before the stall.
const BEFORE: Duration = Duration::from_secs(2);

/// Measures all stalls that were asked for.
///
/// # Errors
/// Besides those of the system: at the end, if a worker lost its place or a task its result.
pub(super) fn run(options: &Options, folder: &std::path::Path) -> Result<(), Error> {
    println!(
        "\nstall: {} worker processes, tasks of {} us (any and directed) at half of the capacity; \
         the controller is stopped while the load goes on",
        options.stall_workers(),
        options.task_us()
    );
    let mut table = Table::new(&[
        "way",
        "interval/timeout ms",
        "stall ms",
        "tasks",
        "workers that lost their place",
        "tasks started again",
        "tasks lost",
        "outcomes sent again",
        "goal 0 lost",
    ]);
    let mut lost = 0;
    for &way in options.ways() {
        for (interval, timeout) in options.stall_heartbeats() {
            for &timeouts in options.stall_timeouts() {
                let heartbeat = HeartbeatMs { interval, timeout };
                let stall = Duration::from_millis(timeout) * timeouts;
                let harm = one(options, folder, way, heartbeat, stall)?;
                let is_met = harm.places + harm.lost == 0;
                lost += harm.places + harm.lost;
                table.push(vec![
                    way.label().into(),
                    format!("{interval}/{timeout}"),
                    stall.as_millis().to_string(),
                    harm.tasks.to_string(),
                    harm.places.to_string(),
                    harm.rerun.to_string(),
                    harm.lost.to_string(),
                    harm.repeats.to_string(),
                    super::report::met(is_met).into(),
                ]);
            }
        }
    }
    table.print();
    table.write(options.out(), "stall")?;
    if lost > 0 {
        return Err(Error::Faults(format!(
            "stalls of the controller cost {lost} places of workers and results"
        )));
    }
    Ok(())
}

/// What a stall has cost.
#[derive(Clone, Copy, Debug)]
struct Harm {
    tasks: u64,
    places: u64,
    rerun: u64,
    lost: u64,
    repeats: u64,
}

fn one(
    options: &Options,
    folder: &std::path::Path,
    way: Way,
    heartbeat: HeartbeatMs,
    stall: Duration,
) -> Result<Harm, Error> {
    let mut arena = Arena::start(&Setup {
        way,
        folder,
        heartbeat: Some(heartbeat),
        seats: options.stall_workers(),
        namespace: None,
    })?;
    arena.fill()?;
    let work = Work {
        micros: options.task_us(),
        told: false,
    };
    let mut load = Load::new(arena.capacity(work)? / 2.0, work);
    load.run(&mut arena, BEFORE)?;
    arena.signal_controller(Signal::STOP)?;
    let stalled = load.run(&mut arena, stall);
    arena.signal_controller(Signal::CONT)?;
    stalled?;
    // Until whatever the peers had begun to doubt has come to its end.
    let after = Duration::from_millis(heartbeat.interval + 2 * heartbeat.timeout) + BEFORE;
    load.run(&mut arena, after)?;
    arena.drain(0)?;
    let mut places = 0;
    while let Some(told) = arena.crew.hear(Duration::ZERO)? {
        places += u64::from(matches!(told.word, Word::Registered(..)));
    }
    arena.book.check()?;
    let counts = arena.book.counts();
    Ok(Harm {
        tasks: counts.submitted,
        places,
        rerun: counts.rerun,
        lost: counts.lost + counts.too_late,
        repeats: arena.repeats(),
    })
}

/// Tasks for any worker and for one in turn, at a constant rate up to a bound.
#[derive(Debug)]
struct Load {
    gap: Duration,
    work: Work,
    random: Random,
    next: Instant,
}

impl Load {
    fn new(rate: f64, work: Work) -> Self {
        Self {
            gap: Duration::from_secs_f64(1.0 / rate.max(1.0)),
            work,
            random: Random::new(1),
            next: Instant::now(),
        }
    }

    fn run(&mut self, arena: &mut Arena, time: Duration) -> Result<(), Error> {
        let end = Instant::now() + time;
        let depth = DEPTH * arena.crew.len() as usize;
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
