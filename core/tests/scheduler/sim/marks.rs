//! Rare paths that a set of seeds must have taken, or it shows little.

use std::collections::BTreeMap;

use taskyard_core::Stats;

const MARKS: [&str; 25] = [
    "abort_sent",
    "cancelled",
    "forgotten",
    "hand_in_asked_lost",
    "hand_in_asked_won",
    "hand_in_counted",
    "part_ended",
    "refused",
    "held_for_return",
    "removed",
    "reoffered",
    "retried",
    "registration_pending",
    "rerun",
    "session_resumed",
    "stale_client",
    "stale_report",
    "task_returned",
    "timed_out",
    "tombstone_popped",
    "waits_for_another",
    "worker_drained",
    "worker_evicted",
    "worker_lost",
    "worker_lost_task",
];

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks(BTreeMap<&'static str, u64>);

impl Marks {
    pub(crate) fn hit(&mut self, mark: &'static str) {
        self.hit_if(true, mark);
    }

    pub(crate) fn hit_if(&mut self, condition: bool, mark: &'static str) {
        *self.0.entry(mark).or_default() += u64::from(condition);
    }

    pub(crate) fn count_stats(&mut self, stats: &Stats) {
        for (mark, count) in [
            ("abort_sent", stats.aborts),
            ("cancelled", stats.cancelled),
            ("forgotten", stats.forgotten),
            ("refused", stats.refused),
            ("held_for_return", stats.held),
            ("removed", stats.removed),
            ("reoffered", stats.reoffered),
            ("retried", stats.retried),
            ("rerun", stats.rerun),
            ("stale_client", stats.stale_client),
            ("stale_report", stats.stale_report),
            ("timed_out", stats.timed_out),
            ("worker_evicted", stats.evictions),
            ("worker_lost", stats.workers_lost),
            ("worker_lost_task", stats.lost),
        ] {
            *self.0.entry(mark).or_default() += count;
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (mark, count) in &other.0 {
            *self.0.entry(mark).or_default() += count;
        }
    }

    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let hit = |mark: &&str| self.0.get(*mark).is_some_and(|count| *count > 0);
        MARKS.into_iter().filter(|mark| !hit(mark)).collect()
    }
}
