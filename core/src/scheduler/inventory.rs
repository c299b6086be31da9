//! The list of workers: who has a place, what it is in, and how much it has to do.

use super::Scheduler;
use crate::control::{Cursor, WorkerInfo, WorkerPhase};
use crate::id::{Epoch, Priority, WorkerId};
use crate::task::Home;
use crate::time::Instant;
use crate::worker::{WorkerRecord, WorkerState};

impl Scheduler {
    /// Calls `visit` with all workers among the next `steps` places, and says where to go on;
    /// `None` when that was all. Those that wait for admission are not among them, nor are those
    /// of whom nothing is left but a mailbox.
    ///
    /// Places are walked in order, as [`list`](Self::list) does.
    pub fn list_workers(
        &self,
        now: Instant,
        from: Cursor,
        steps: u32,
        mut visit: impl FnMut(WorkerInfo),
    ) -> Option<Cursor> {
        let len = self.workers.len() as u32;
        let end = from.0.saturating_add(steps).min(len);
        for place in from.0..end {
            if let Some(phase) = phase_of(&self.workers[place as usize]) {
                visit(self.worker_info(place, phase, now));
            }
        }
        (end < len && from.0 < len).then_some(Cursor(end))
    }

    /// How many tasks are in the pool: those for any worker that have left their backlog and that
    /// nobody has taken.
    #[must_use]
    pub fn pooled(&self) -> u32 {
        self.pool.outstanding()
    }

    /// Whether this worker is attached and was told to leave once it has finished.
    #[must_use]
    pub fn is_draining(&self, worker: WorkerId, epoch: Epoch) -> bool {
        self.is_up(worker, epoch) && self.workers[worker.0 as usize].draining
    }

    fn worker_info(&self, place: u32, phase: WorkerPhase, now: Instant) -> WorkerInfo {
        let record = &self.workers[place as usize];
        let home = Home::worker(place);
        let depths =
            (0..Priority::COUNT as u8).map(|level| self.backlogs.depth(home, Priority::new(level)));
        WorkerInfo {
            worker: WorkerRecord::id(place),
            epoch: record.epoch,
            phase,
            slots: record.slots,
            prefetch: record.prefetch,
            free: record.free,
            taken: record.taken,
            waiting: depths.sum(),
            age_ms: now.since_ns(record.heard_at) / 1_000_000,
        }
    }
}

fn phase_of(record: &WorkerRecord) -> Option<WorkerPhase> {
    Some(match record.state {
        WorkerState::Up if record.draining || record.evicting => WorkerPhase::Draining,
        WorkerState::Up if record.held => WorkerPhase::Held,
        WorkerState::Up => WorkerPhase::Up,
        WorkerState::Suspect => WorkerPhase::Away,
        WorkerState::Leaving | WorkerState::Returned => WorkerPhase::Lost,
        WorkerState::Free
        | WorkerState::Pending
        | WorkerState::Refused
        | WorkerState::Retiring
        | WorkerState::Drained => return None,
    })
}
