//! The doorbell's scan over 1024 bells, against what one would write first.
//!
//! ```text
//!   a summary          ┌─┬─┬─┬─┬─┬─ ─┬─┐
//!   of groups          │ │1│ │ │ │   │ │          ours: looks only where the summary has a bit
//!                      └─┴┬┴─┴─┴─┴─ ─┴─┘
//!   words of bells     ┌──▼─┬────┬─ ─┬────┐
//!                      │0100│    │   │    │        flat: swaps each of the 16 words
//!                      └────┴────┴─ ─┴────┘        flags: looks at each of 1024
//! ```
//! One operation: so many bells are rung, then all are answered until a scan finds none. One
//! thread, so it is the cost of the scan, not of lines that travel.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use taskyard_dispatcher::{Bell, Listener, ThreadParker, doorbell};

use super::course::pin;
use super::race::{Race, Rival, Runner};
use crate::error::Error;

const RINGS: u32 = 1024;
const RUNG: [u32; 4] = [0, 1, 64, 1024];

/// One race per number of bells that are rung.
pub(super) fn races(items: u64) -> Vec<Race> {
    RUNG.into_iter()
        .map(|rung| Race {
            name: format!("bells, {rung} of {RINGS} rung"),
            items: (items / u64::from(rung.max(1))).max(16),
            ours: Runner::new("ours", move |scans| lap(&mut ours(), rung, scans)),
            rivals: vec![
                Rival::new("flat bitmap", move |scans| {
                    lap(&mut Flat::default(), rung, scans)
                }),
                Rival::new("flag per ring", move |scans| {
                    lap(&mut Flags::default(), rung, scans)
                }),
            ],
        })
        .collect()
}

trait Bells {
    fn ring(&mut self, index: u32);
    /// Answers all that are rung; a sum of their numbers, each plus one.
    fn answer(&mut self) -> u64;
}

/// On a thread of its own: threads inherit the core of the one that starts them, so the main thread
/// must not be pinned.
fn lap(bells: &mut (impl Bells + Send), rung: u32, scans: u64) -> Result<Duration, Error> {
    thread::scope(|scope| {
        let scanning = scope.spawn(|| scan(bells, rung, scans));
        scanning.join().expect("scanning does not panic")
    })
}

fn scan(bells: &mut impl Bells, rung: u32, scans: u64) -> Result<Duration, Error> {
    pin(0);
    let mut answered = 0_u64;
    let start = Instant::now();
    for _ in 0..scans {
        for number in 0..rung {
            bells.ring(black_box(number * (RINGS / rung)));
        }
        answered += bells.answer();
    }
    let took = start.elapsed();
    let right: u64 = (0..rung)
        .map(|number| u64::from(number * (RINGS / rung)) + 1)
        .sum();
    if answered == right * scans {
        return Ok(took);
    }
    Err(Error::Faults(format!(
        "bells: {answered} were answered instead of {}",
        right * scans
    )))
}

fn ours() -> (Bell, Listener) {
    doorbell(RINGS as usize, ThreadParker::new().unparker())
}

impl Bells for (Bell, Listener) {
    #[inline]
    fn ring(&mut self, index: u32) {
        self.0.ring(index);
    }

    #[inline]
    fn answer(&mut self) -> u64 {
        let mut answered = 0;
        while let Some(index) = self.1.next() {
            answered += u64::from(index) + 1;
        }
        answered
    }
}

struct Flat([AtomicU64; RINGS as usize / 64]);

impl Default for Flat {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Bells for Flat {
    #[inline]
    fn ring(&mut self, index: u32) {
        self.0[index as usize / 64].fetch_or(1 << (index % 64), Ordering::Release);
    }

    #[inline]
    fn answer(&mut self) -> u64 {
        let mut answered = 0;
        for (number, word) in (0_u64..).zip(&self.0) {
            let mut bits = word.swap(0, Ordering::Acquire);
            while bits != 0 {
                answered += number * 64 + u64::from(bits.trailing_zeros()) + 1;
                bits &= bits - 1;
            }
        }
        answered
    }
}

struct Flags(Box<[AtomicBool]>);

impl Default for Flags {
    fn default() -> Self {
        Self((0..RINGS).map(|_| AtomicBool::new(false)).collect())
    }
}

impl Bells for Flags {
    #[inline]
    fn ring(&mut self, index: u32) {
        self.0[index as usize].store(true, Ordering::Release);
    }

    #[inline]
    fn answer(&mut self) -> u64 {
        let mut answered = 0;
        for (number, flag) in (1_u64..).zip(&self.0) {
            // A look first: most flags are down, and a swap costs what a lock does.
            if flag.load(Ordering::Relaxed) && flag.swap(false, Ordering::Acquire) {
                answered += number;
            }
        }
        answered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does not hear the first bell.
    struct Deaf(Flat);

    impl Bells for Deaf {
        fn ring(&mut self, index: u32) {
            if index != 0 {
                self.0.ring(index);
            }
        }

        fn answer(&mut self) -> u64 {
            self.0.answer()
        }
    }

    #[test]
    fn a_bell_that_nobody_answers_fails_the_lap() {
        assert!(lap(&mut Deaf(Flat::default()), 64, 2).is_err());
    }

    #[test]
    fn every_runner_answers_each_bell_once() {
        for race in races(1_024) {
            assert!(race.run(1).is_ok());
        }
    }
}
