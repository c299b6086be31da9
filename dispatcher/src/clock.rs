//! The one place that reads a clock for the scheduler.

use std::time::{Duration, Instant as StdInstant};

use taskyard_core::Instant;

/// A monotonic clock, read once per duty cycle.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: StdInstant,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            origin: StdInstant::now(),
        }
    }

    /// The time since it was started.
    #[must_use]
    pub fn now(&self) -> Instant {
        // 2^64 ns are 584 years.
        Instant(self.origin.elapsed().as_nanos() as u64)
    }

    /// How long to wait from `now` until `due`, rounded up to whole milliseconds, so that a poller
    /// with millisecond time-outs never wakes just before it.
    #[must_use]
    pub fn wait(now: Instant, due: Instant) -> Duration {
        Duration::from_millis(due.since_ns(now).div_ceil(1_000_000))
    }
}
