//! Many worker processes that are started at once and killed at once, again and again.
//!
//! Each worker holds one task for it alone when it is killed, so that the client hears of each. The
//! controller's descriptors after each round are compared with those after the first, its memory
//! with that after the fourth: by then each of its places for workers has been used.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::arena::{Arena, Footprint, Setup};
use super::crew::PATIENCE;
use super::options::{Options, Way};
use super::report::{Table, met, ms_text};
use super::worker::{Word, Work};
use crate::error::Error;

const ALL_IN_GOAL: Duration = Duration::from_secs(3);
const ALL_LOST_GOAL: Duration = Duration::from_secs(1);
/// How far memory and descriptors may be above what they were.
const LEAK_PERCENT: u64 = 5;
/// Rounds after which all tables have been touched: a thousand workers at a time, four thousand
/// places.
const WARM_ROUNDS: u32 = 4;
/// How long the controller's connections may take to be closed to the last.
const SETTLE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(50);
/// After which its memory is looked at: what is freed late is freed.
const REST: Duration = Duration::from_millis(500);

/// Measures storms, each way.
///
/// # Errors
/// Besides those of the system: a task without its one outcome, or a leak.
pub(super) fn run(options: &Options, folder: &Path) -> Result<(), Error> {
    println!(
        "\nstorm: {} worker processes, default heartbeats; `in`: from the last one's start to the \
         last registration; `lost`: from the one kill of all to the last WorkerLost at the client",
        options.storm_workers()
    );
    let mut table = Table::new(&[
        "way",
        "round",
        "spawning ms",
        "in ms",
        "goal in",
        "lost ms",
        "goal lost",
        "controller RSS KiB",
        "fds",
    ]);
    let mut leaks = Vec::new();
    for &way in options.ways() {
        let mut arena = Arena::start(&Setup {
            way,
            folder,
            heartbeat: None,
            seats: options.storm_workers(),
            namespace: None,
        })?;
        let before = arena.footprint()?;
        let (mut fds_first, mut rss_warm) = (None, 0);
        for round in 1..=options.rounds() {
            let passed = one(&mut arena, before.fds)?;
            let Footprint { rss_bytes, fds } = passed.footprint;
            if round <= WARM_ROUNDS {
                rss_warm = rss_bytes;
            }
            if is_above(rss_bytes, rss_warm) || is_above(fds, *fds_first.get_or_insert(fds)) {
                leaks.push(format!("{} round {round}", way.label()));
            }
            table.push(row(way, round, &passed));
        }
        arena.book.check()?;
    }
    table.print();
    table.write(options.out(), "storm")?;
    if leaks.is_empty() {
        return Ok(());
    }
    Err(Error::Faults(format!(
        "more than {LEAK_PERCENT} % above the memory or descriptors of earlier rounds after {}",
        leaks.join(", ")
    )))
}

fn row(way: Way, round: u32, passed: &Passed) -> Vec<String> {
    vec![
        way.label().into(),
        round.to_string(),
        ms_text(passed.spawning),
        ms_text(passed.all_in),
        met(passed.all_in <= ALL_IN_GOAL).into(),
        ms_text(passed.all_lost),
        met(passed.all_lost <= ALL_LOST_GOAL).into(),
        (passed.footprint.rss_bytes / 1024).to_string(),
        passed.footprint.fds.to_string(),
    ]
}

const fn is_above(now: u64, first: u64) -> bool {
    now * 100 > first * (100 + LEAK_PERCENT)
}

/// One round's figures.
#[derive(Clone, Copy, Debug)]
struct Passed {
    spawning: Duration,
    all_in: Duration,
    all_lost: Duration,
    footprint: Footprint,
}

fn one(arena: &mut Arena, fds_before: u64) -> Result<Passed, Error> {
    let began = Instant::now();
    arena.crew.spawn_group()?;
    let spawned = Instant::now();
    let registered = |word: &Word| matches!(word, Word::Registered(..));
    let all_in = arena.crew.await_all(registered)?;
    for seat in 0..arena.crew.len() {
        arena.submit_to(seat, Work::ENDLESS)?;
    }
    // The client sends only while somebody looks after it.
    arena.listen(Instant::now())?;
    arena.crew.await_all(|word| *word == Word::Got)?;
    let killed = arena.crew.kill_group()?;
    arena.drain(0)?;
    let losses = arena.book.take_losses();
    if losses.len() != arena.crew.len() as usize {
        let (told, all) = (losses.len(), arena.crew.len());
        return Err(Error::Faults(format!(
            "{all} workers were killed, {told} losses were told within {PATIENCE:?}"
        )));
    }
    let last = losses.iter().map(|loss| loss.at).max();
    for seat in 0..arena.crew.len() {
        arena.crew.bury(seat)?;
    }
    Ok(Passed {
        spawning: spawned - began,
        all_in: all_in.saturating_duration_since(spawned),
        all_lost: last.unwrap_or(killed) - killed,
        footprint: settle(arena, fds_before)?,
    })
}

/// The controller's footprint once its connections are closed, or will not be.
fn settle(arena: &Arena, fds_before: u64) -> Result<Footprint, Error> {
    let end = Instant::now() + SETTLE;
    while arena.footprint()?.fds > fds_before && Instant::now() < end {
        thread::sleep(LOOK);
    }
    thread::sleep(REST);
    arena.footprint()
}

#[cfg(test)]
mod tests {
    use super::is_above;

    #[test]
    fn five_percent_are_no_leak_and_six_are() {
        assert!(!is_above(105, 100));
        assert!(is_above(106, 100));
        assert!(!is_above(90, 100));
    }
}
