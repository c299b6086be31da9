//! Whether a worker is there, from what is known.

use super::Scheduler;
use crate::event::Liveness;
use crate::index::Hash;
use crate::submit::Target;
use crate::time::Instant;
use crate::worker::{WorkerRecord, WorkerState};

impl Scheduler {
    /// Whether this worker is attached, and how old the latest word of it is; `None` for one that
    /// is not known, and for a target that is no single worker.
    ///
    /// A worker that was lost is known for as long as something waits for its return.
    #[must_use]
    pub fn liveness(&self, now: Instant, target: Target) -> Option<Liveness> {
        let place = match target {
            Target::Worker(worker) => worker.0,
            Target::Named(name) => self.find_name(name).or_else(|| {
                self.ghosts.find(Hash::of_u128(name.0), |place| {
                    self.workers[place as usize].name == name
                })
            })?,
            Target::Any | Target::All | Target::Label(_) => return None,
        };
        let record = self.workers.get(place as usize)?;
        let was_admitted = !matches!(
            record.state,
            WorkerState::Free | WorkerState::Pending | WorkerState::Refused
        );
        was_admitted.then(|| Liveness {
            worker: WorkerRecord::id(place),
            epoch: record.epoch,
            alive: record.is_up(),
            age_ms: now.since_ns(record.heard_at) / 1_000_000,
        })
    }
}
