//! How long tasks wait, and how long they take: two histograms, in microseconds.
//!
//! A record has a coarse stamp of when it was accepted, which repeats after weeks, and beside it
//! the same in microseconds, which repeats after 71 minutes. So what is longer than an hour is
//! counted as an hour.

use super::Scheduler;
use crate::histogram::Histogram;
use crate::task::Kind;
use crate::time::{Instant, Micros, Tick};

/// The longest that is told apart.
const MICROS_MAX: u32 = 3_600_000_000;
const TICKS_MAX: u32 = Tick::from_ms(3_600_000) as u32;

impl Scheduler {
    /// From accept to start, of each task and part whose start was told: whoever takes a task from
    /// the pool says so, and so does a worker that is sent tasks ahead of its slots. Of others
    /// nobody says when they start. A re-run does not count.
    #[must_use]
    pub const fn waits(&self) -> &Histogram {
        &self.waits
    }

    /// From accept to outcome, of each task and part that has had a client.
    #[must_use]
    pub const fn latencies(&self) -> &Histogram {
        &self.latencies
    }

    /// How many clients are attached.
    #[must_use]
    pub fn clients_up(&self) -> u32 {
        self.clients.iter().filter(|client| client.is_up()).count() as u32
    }

    /// A task is known to run.
    #[inline]
    pub(super) fn note_start(&mut self, now: Instant, index: u32) {
        self.seen_at = now;
        if !self.tasks.records[index as usize].started_before() {
            let waited = self.age_us(index);
            self.waits.record(waited);
        }
    }

    /// A task has ended, as of what was told last.
    #[inline]
    pub(super) fn note_end(&mut self, index: u32) {
        if self.tasks.records[index as usize].kind == Kind::Multicast {
            return;
        }
        let took = self.age_us(index);
        self.latencies.record(took);
    }

    /// Since it was accepted.
    #[inline]
    fn age_us(&self, index: u32) -> u32 {
        let record = &self.tasks.records[index as usize];
        if record.born.age(self.seen_at) >= TICKS_MAX {
            return MICROS_MAX;
        }
        Micros::of(self.seen_at).since(record.accepted_at())
    }
}
