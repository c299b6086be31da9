//! A smaller scenario that fails in the same way: fewer events, fewer faults, fewer of everybody.
//!
//! Each simplification is tried with a few other dice, since it changes all that comes after.

use super::breakage::Break;
use super::options::{Fault, Options, Size};
use super::run::{Failure, run};

/// Other dice to try for each simplification.
const DICE: u64 = 12;

/// What was found.
#[derive(Debug)]
pub struct Shrunk {
    /// The smallest scenario.
    pub options: Options,
    /// How it fails.
    pub failure: Box<Failure>,
    /// How many histories it took.
    pub tries: u64,
}

/// Looks for the smallest scenario that fails as this one does, with at most so many tries.
#[must_use]
pub fn shrink(
    options: &Options,
    failure: Box<Failure>,
    broken: Option<Break>,
    tries: u64,
) -> Shrunk {
    let mut search = Search {
        best: Shrunk {
            options: options.clone(),
            failure,
            tries: 0,
        },
        broken,
        tries,
    };
    loop {
        let before = search.best.options.clone();
        search.drop_faults();
        search.lower_sizes();
        search.shorten();
        if search.best.options == before || search.best.tries >= tries {
            return search.best;
        }
    }
}

struct Search {
    best: Shrunk,
    broken: Option<Break>,
    tries: u64,
}

impl Search {
    fn drop_faults(&mut self) {
        for &fault in Fault::ALL {
            if self.best.options.rate(fault) > 0 {
                let simpler = self.best.options.with_rate(fault, 0);
                self.attempt(&simpler);
            }
        }
    }

    fn lower_sizes(&mut self) {
        for &size in Size::ALL {
            let least = size.least();
            let mut low = least;
            while low < self.best.options.size(size) {
                let simpler = self.best.options.with_size(size, low);
                if self.attempt(&simpler) {
                    break;
                }
                // Half of the way up.
                low += (self.best.options.size(size) - low).div_ceil(2);
            }
        }
    }

    fn shorten(&mut self) {
        loop {
            let events = self.best.options.events;
            let shorter = [events / 2, events * 3 / 4, events * 15 / 16];
            let found = shorter.into_iter().any(|events| {
                let simpler = self.best.options.with_events(events);
                self.attempt(&simpler)
            });
            if !found || events < 16 {
                return;
            }
        }
    }

    /// Whether a simpler scenario fails, too; then it is the best so far.
    fn attempt(&mut self, simpler: &Options) -> bool {
        let kind = self.best.failure.kind().to_owned();
        for die in 0..DICE {
            if self.best.tries >= self.tries {
                return false;
            }
            self.best.tries += 1;
            let dice = if die == 0 { simpler.dice } else { die };
            let options = simpler.with_dice(dice);
            if let Err(failure) = run(&options, self.broken, false)
                && failure.kind() == kind
            {
                self.best.options = options;
                self.best.failure = failure;
                return true;
            }
        }
        false
    }
}
