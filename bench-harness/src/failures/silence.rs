//! Workers that fall silent without a word: their process stands still, their packets are dropped,
//! their cable is pulled. And their return, once that is over.
//!
//! Eight worker processes fall silent at once, each with a task for it alone; their heartbeats are
//! at different points of the interval, and each counts. For packets and cables they live in a
//! network namespace. A silence is to be noticed within interval + timeout.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::arena::{Arena, Setup};
use super::namespace::Namespace;
use super::options::{Options, Way};
use super::report::{Table, met, spread};
use super::worker::{Word, Work};
use crate::error::Error;
use crate::messages::HeartbeatMs;
use crate::random::Random;

const SEATS: u32 = 8;
/// What the machine may add to the bound: timers, the verdict's way to the client.
const SLACK: Duration = Duration::from_millis(100);
/// A task that shows that a worker works again.
const SHORT: Work = Work {
    micros: 100,
    told: false,
};

/// How workers are silenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gag {
    /// SIGSTOP.
    Freeze,
    /// Every packet is dropped.
    Drop,
    /// The link is down.
    Unplug,
}

impl Gag {
    const ALL: [Self; 3] = [Self::Freeze, Self::Drop, Self::Unplug];

    const fn label(self) -> &'static str {
        match self {
            Self::Freeze => "process stopped",
            Self::Drop => "packets dropped",
            Self::Unplug => "link down",
        }
    }
}

/// Measures every way of silence with every heartbeat that was asked for.
///
/// # Errors
/// Besides those of the system: a task without its one outcome, or a worker that does not return.
pub(super) fn run(options: &Options, folder: &Path) -> Result<(), Error> {
    println!(
        "\nsilence: {SEATS} worker processes with a task each fall silent at once, {} times, at a \
         random point of the interval; bound: interval + timeout; `back`: from its end to the \
         registration",
        options.silences()
    );
    let mut table = Table::new(&[
        "silence",
        "interval/timeout ms",
        "n",
        "noticed ms p50",
        "p99",
        "max",
        "bound + 100 ms",
        "back ms p50",
        "p99",
        "max",
    ]);
    for (interval, timeout) in options.heartbeats() {
        let heartbeat = HeartbeatMs { interval, timeout };
        for gag in Gag::ALL {
            // Made anew for each: nothing is left of the last one's routes.
            let namespace = match gag {
                Gag::Freeze => None,
                Gag::Drop | Gag::Unplug => match Namespace::new() {
                    Ok(namespace) => Some(namespace),
                    Err(error) => {
                        println!("skipped: {}: no network namespace: {error}", gag.label());
                        continue;
                    }
                },
            };
            let case = Case {
                gag,
                heartbeat,
                namespace,
            };
            table.push(case.run(options, folder)?);
        }
    }
    table.print();
    table.write(options.out(), "silence")
}

struct Case {
    gag: Gag,
    heartbeat: HeartbeatMs,
    namespace: Option<Namespace>,
}

impl Case {
    fn run(&self, options: &Options, folder: &Path) -> Result<Vec<String>, Error> {
        let namespace = self.namespace.as_ref();
        let mut arena = Arena::start(&Setup {
            way: Way::Tcp,
            folder,
            heartbeat: Some(self.heartbeat),
            seats: SEATS,
            namespace: namespace.map(|it| (it.name().to_owned(), it.near_address())),
        })?;
        arena.fill()?;
        let mut random = Random::new(self.heartbeat.interval + self.gag as u64);
        let (mut noticed, mut back) = (Vec::new(), Vec::new());
        for _ in 0..options.silences() {
            let pause = random.next_u64() % self.heartbeat.interval;
            thread::sleep(Duration::from_millis(pause));
            self.once(&mut arena, &mut noticed, &mut back)?;
        }
        arena.book.check()?;
        let bound = Duration::from_millis(self.heartbeat.interval + self.heartbeat.timeout);
        let is_met = noticed.iter().all(|&after| after <= bound + SLACK);
        let mut row = vec![
            self.gag.label().into(),
            format!("{}/{}", self.heartbeat.interval, self.heartbeat.timeout),
            noticed.len().to_string(),
        ];
        row.extend(spread(&mut noticed));
        row.push(format!("{}: {}", bound.as_millis(), met(is_met)));
        row.extend(spread(&mut back));
        Ok(row)
    }

    /// One silence of all, and their return.
    fn once(
        &self,
        arena: &mut Arena,
        noticed: &mut Vec<Duration>,
        back: &mut Vec<Duration>,
    ) -> Result<(), Error> {
        for seat in 0..SEATS {
            arena.submit_to(seat, Work::ENDLESS)?;
        }
        arena.listen(Instant::now())?;
        arena.crew.await_all(|word| *word == Word::Got)?;
        let before: Vec<_> = (0..SEATS).map(|seat| arena.crew.standing(seat)).collect();
        let began = self.set_silent(arena, true)?;
        arena.drain(0)?;
        let losses = arena.book.take_losses();
        noticed.extend(losses.iter().map(|loss| loss.at - began));
        let ended = self.set_silent(arena, false)?;
        let mut missing = vec![true; SEATS as usize];
        while missing.contains(&true) {
            let Some(told) = arena.crew.hear(super::crew::PATIENCE)? else {
                return Err(Error::Faults("a worker did not come back".into()));
            };
            if let Word::Registered(_, epoch) = told.word {
                let seat = told.seat as usize;
                if before[seat].is_none_or(|(_, before)| epoch.0 <= before.0) {
                    return Err(Error::Faults("a worker came back as who it was".into()));
                }
                if std::mem::take(&mut missing[seat]) {
                    back.push(told.at.saturating_duration_since(ended));
                }
            }
        }
        let completed = arena.book.counts().completed;
        for seat in 0..SEATS {
            arena.submit_to(seat, SHORT)?;
        }
        arena.drain(0)?;
        if arena.book.counts().completed != completed + u64::from(SEATS) {
            return Err(Error::Faults("a worker came back and did not work".into()));
        }
        Ok(())
    }

    /// Begins a silence, or ends it; the time is from just before the one, or just after the other.
    fn set_silent(&self, arena: &Arena, silent: bool) -> Result<Instant, Error> {
        let before = Instant::now();
        match (&self.namespace, self.gag) {
            (Some(namespace), Gag::Drop) => namespace.set_dropping(silent)?,
            (Some(namespace), _) => namespace.set_link(!silent)?,
            (None, _) => {
                let signal = if silent { Signal::STOP } else { Signal::CONT };
                for seat in 0..SEATS {
                    arena.crew.signal(seat, signal)?;
                }
            }
        }
        Ok(if silent { before } else { Instant::now() })
    }
}
