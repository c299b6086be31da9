//! Rare paths by name: the fixed seeds must take each of them, or they show little.

use taskyard_core::Stats;

/// All that there are.
pub const MARKS: &[&str] = &[
    "abort_grace_over",
    "absurd_input",
    "asked_first_lost",
    "asked_first_won",
    "cancelled_running",
    "cancelled_unstarted",
    "carried",
    "completed",
    "deadline_in_backlog",
    "deadline_queued",
    "deadline_running",
    "drained",
    "evicted_for_successor",
    "failed",
    "forgotten",
    "handed_in_counted",
    "handed_in_dropped",
    "held",
    "hello_refused",
    "known",
    "labels_full",
    "later_attempt_counted",
    "left_over_of_a_session",
    "multicast_cancelled",
    "multicast_summary",
    "multicast_target_lost",
    "name_taken",
    "not_rerun",
    "notified",
    "outcome_redelivered",
    "paused",
    "payloads_full",
    "poison",
    "pool_full",
    "prefetched",
    "quota_full",
    "recall_lost",
    "recall_won",
    "record_purged",
    "registration_displaced",
    "registration_stale",
    "reoffered",
    "replies_full",
    "rerun",
    "retried",
    "retried_late",
    "returned",
    "revoke_lost",
    "revoke_won",
    "ring_full",
    "session_resumed",
    "slot_freed",
    "stale_attempt",
    "stale_return",
    "sweeps_full",
    "swept",
    "tasks_full",
    "tombstone_popped",
    "tombstones_fill_mailbox",
    "too_wide",
    "worker_lost_ahead",
    "worker_lost_queued",
    "worker_lost_running",
    "workers_full",
];

/// How often each path was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks([u64; MARKS.len()]);

impl Default for Marks {
    fn default() -> Self {
        Self([0; MARKS.len()])
    }
}

impl Marks {
    /// Counts one of them.
    ///
    /// # Panics
    /// When it is not listed.
    pub(crate) fn hit(&mut self, mark: &str, times: u64) {
        let at = MARKS.binary_search(&mark);
        let at = at.unwrap_or_else(|_| panic!("the mark '{mark}' is not listed"));
        self.0[at] += times;
    }

    /// What only the scheduler's own counters tell.
    pub(crate) fn count(&mut self, stats: &Stats) {
        for (mark, times) in [
            ("completed", stats.completed),
            ("prefetched", stats.prefetched),
            ("recall_won", stats.given_back),
            ("recall_lost", stats.recalled - stats.given_back),
            ("failed", stats.failed),
            ("forgotten", stats.forgotten),
            ("known", stats.known),
            ("held", stats.held),
            ("reoffered", stats.reoffered),
            ("rerun", stats.rerun),
            ("carried", stats.carried),
            ("stale_attempt", stats.stale_report),
            ("stale_return", stats.stale_return),
        ] {
            self.hit(mark, times);
        }
    }

    /// Adds those of another history.
    pub fn add(&mut self, other: &Self) {
        for (sum, times) in self.0.iter_mut().zip(&other.0) {
            *sum += times;
        }
    }

    /// Each with its count.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        MARKS.iter().copied().zip(self.0)
    }

    /// Those that were never taken.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        self.iter()
            .filter(|(_, times)| *times == 0)
            .map(|(mark, _)| mark)
            .collect()
    }
}
