//! The log of a shard's workers: a line per event, and no more lines than somebody can read.
//!
//! A thousand workers that come or go at once are a thousand lines in a fraction of a second, which
//! nobody reads and which keep the shard from its work. So lines have a budget per second; beyond
//! it they are counted, and a line says how many when there is budget again.

use std::time::{Duration, Instant};

use taskyard_protocol::WorkerLog;

/// Lines that may be written at once, and in each second after that.
const LINES_PER_SECOND: u32 = 50;

/// What may still be written.
#[derive(Debug)]
pub(crate) struct LogBudget {
    left: u32,
    since: Instant,
    held_back: HeldBack,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct HeldBack {
    registered: u32,
    lost: u32,
    rejected: u32,
}

impl LogBudget {
    pub(crate) fn new() -> Self {
        Self {
            left: LINES_PER_SECOND,
            since: Instant::now(),
            held_back: HeldBack::default(),
        }
    }

    /// Writes a line, or counts it.
    pub(crate) fn write(&mut self, log: &WorkerLog) {
        // A loss has its line once it is known what became of the tasks.
        if let WorkerLog::Gone {
            worker,
            epoch,
            name,
            reason,
        } = log
        {
            tracing::debug!(worker = worker.0, epoch = epoch.0, %name, reason, "worker gone");
            return;
        }
        self.refill(Instant::now());
        if self.left == 0 {
            return self.held_back.count(log);
        }
        self.left -= 1;
        write(log);
    }

    /// Says how many lines were held back, once there is budget again.
    pub(crate) fn settle(&mut self) {
        if self.held_back != HeldBack::default() {
            self.refill(Instant::now());
        }
    }

    /// When to [`settle`](Self::settle).
    pub(crate) fn next_due(&self) -> Option<Duration> {
        (self.held_back != HeldBack::default()).then_some(Duration::from_secs(1))
    }

    fn refill(&mut self, now: Instant) {
        if now.duration_since(self.since) < Duration::from_secs(1) {
            return;
        }
        self.since = now;
        self.left = LINES_PER_SECOND;
        let HeldBack {
            registered,
            lost,
            rejected,
        } = std::mem::take(&mut self.held_back);
        if registered + lost + rejected > 0 {
            tracing::info!(registered, lost, rejected, "more workers, not listed");
        }
    }
}

impl HeldBack {
    const fn count(&mut self, log: &WorkerLog) {
        match log {
            WorkerLog::Registered { .. } => self.registered += 1,
            WorkerLog::Lost { .. } => self.lost += 1,
            WorkerLog::Rejected { .. } => self.rejected += 1,
            _ => {}
        }
    }
}

fn write(log: &WorkerLog) {
    match log {
        WorkerLog::Registered {
            worker,
            epoch,
            name,
            slots,
        } => {
            tracing::info!(worker = worker.0, epoch = epoch.0, %name, slots, "worker registered");
        }
        WorkerLog::Lost {
            worker,
            epoch,
            name,
            reason,
            settled,
        } => {
            tracing::info!(
                worker = worker.0,
                epoch = epoch.0,
                %name,
                reason,
                tasks_rerun = settled.rerun,
                tasks_lost = settled.lost,
                tasks_requeued = settled.requeued,
                tasks_carried = settled.carried,
                "worker lost"
            );
        }
        WorkerLog::Rejected { name, rejection } => {
            tracing::warn!(%name, "worker rejected: {rejection}");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taskyard_core::{Epoch, Settled, WorkerId};

    #[test]
    fn a_storm_is_a_few_lines_and_a_sum() {
        let mut budget = LogBudget::new();
        let log = WorkerLog::Lost {
            worker: WorkerId(1),
            epoch: Epoch(2),
            name: "w".into(),
            reason: "test",
            settled: Settled::default(),
        };
        for _ in 0..LINES_PER_SECOND + 7 {
            budget.write(&log);
        }
        assert_eq!(budget.held_back.lost, 7);
        assert!(budget.next_due().is_some());
        budget.refill(budget.since + Duration::from_secs(1));
        assert_eq!(budget.held_back, HeldBack::default());
        assert_eq!(budget.left, LINES_PER_SECOND);
    }
}
