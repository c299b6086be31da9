//! What a thread does when there is nothing to do.

use std::str::FromStr;

/// How a thread waits for work.
///
/// Spinning answers soonest and costs a core. On a machine whose cores are all in use it costs the
/// very threads that it waits for: a dispatcher, a worker and a client that all spin on two cores
/// take turns by the system's clock, and a ready worker waits 4 ms for a task in the middle and 8
/// at worst, instead of 12 µs with [`Park`](Self::Park) (`bench-harness starvation`). So spin only
/// if every thread that does has a core that nobody else uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdleStrategy {
    /// Never sleep.
    Spin,
    /// Spin a little, then yield a little, then sleep.
    Backoff,
    /// Sleep at once.
    #[default]
    Park,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum IdleStep {
    /// Look again.
    Again,
    /// Announce, look once more, and sleep.
    Sleep,
}

/// One thread's position in its idle strategy.
///
/// ```
/// use taskyard_dispatcher::{Idle, IdleStep, IdleStrategy};
/// let mut idle = Idle::new(IdleStrategy::Park);
/// assert_eq!(idle.step(1), IdleStep::Again); // it did something: look again
/// assert_eq!(idle.step(0), IdleStep::Sleep);
/// ```
#[derive(Clone, Debug)]
pub struct Idle {
    strategy: IdleStrategy,
    fruitless: u32,
}

impl Idle {
    /// About 10 µs of spinning: twice a wake-up, so that waiting never costs more than twice the
    /// best.
    const SPINS: u32 = 1_000;
    const YIELDS: u32 = 10;

    /// The start of a strategy.
    #[must_use]
    pub const fn new(strategy: IdleStrategy) -> Self {
        Self {
            strategy,
            fruitless: 0,
        }
    }

    /// Takes note of how much work the last look found, and waits a moment if it is time for that.
    pub fn step(&mut self, work: usize) -> IdleStep {
        if work > 0 {
            self.fruitless = 0;
            return IdleStep::Again;
        }
        self.fruitless = self.fruitless.saturating_add(1);
        match self.strategy {
            IdleStrategy::Spin => std::hint::spin_loop(),
            IdleStrategy::Park => return IdleStep::Sleep,
            IdleStrategy::Backoff if self.fruitless <= Self::SPINS => std::hint::spin_loop(),
            IdleStrategy::Backoff if self.fruitless <= Self::SPINS + Self::YIELDS => {
                std::thread::yield_now();
            }
            IdleStrategy::Backoff => return IdleStep::Sleep,
        }
        IdleStep::Again
    }

    /// Starts over, after a sleep.
    pub const fn reset(&mut self) {
        self.fruitless = 0;
    }
}

impl FromStr for IdleStrategy {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "spin" => Ok(Self::Spin),
            "backoff" => Ok(Self::Backoff),
            "park" => Ok(Self::Park),
            _ => Err(format!(
                "'{word}' is no idle strategy: say spin, backoff or park"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Idle, IdleStep, IdleStrategy};

    #[test]
    fn spinning_never_sleeps() {
        let mut idle = Idle::new(IdleStrategy::Spin);
        assert!((0..10_000).all(|_| idle.step(0) == IdleStep::Again));
    }

    #[test]
    fn backoff_sleeps_in_the_end_and_starts_over_after_work() {
        let mut idle = Idle::new(IdleStrategy::Backoff);
        let steps = |idle: &mut Idle| {
            (0..)
                .take_while(|_| idle.step(0) == IdleStep::Again)
                .count()
        };
        let first = steps(&mut idle);
        assert!(first > 100);
        assert_eq!(idle.step(0), IdleStep::Sleep);
        assert_eq!(idle.step(1), IdleStep::Again);
        assert_eq!(steps(&mut idle), first);
    }
}
