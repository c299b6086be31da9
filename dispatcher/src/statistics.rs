//! What a controller has counted, all at once.

use taskyard_core::{Histogram, Instant, Scheduler, Stats};

/// Counters and latencies of a controller.
///
/// ```
/// use taskyard_dispatcher::Statistics;
/// let statistics = Statistics::default();
/// let names: Vec<_> = statistics.counters().map(|(name, _)| name).collect();
/// assert_eq!(names[..4], ["workers", "clients", "uptime_ms", "accepted"]);
/// assert_eq!(statistics.latencies.at_thousandth(990), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Workers that are attached.
    pub workers: u64,
    /// Clients that are attached.
    pub clients: u64,
    /// How long it has been running, in milliseconds.
    pub uptime_ms: u64,
    /// What the scheduler has counted.
    pub stats: Stats,
    /// From accept to start, in microseconds; of tasks whose start was told, see
    /// [`Scheduler::waits`].
    pub waits: Histogram,
    /// From accept to outcome, in microseconds.
    pub latencies: Histogram,
}

impl Statistics {
    /// Counters that are none of the scheduler's.
    const OWN: usize = 3;
    /// How many counters there are.
    pub const COUNTERS: usize = Self::OWN + Stats::NAMES.len();

    pub(crate) fn of(scheduler: &Scheduler, now: Instant) -> Self {
        Self {
            workers: scheduler.workers_up().into(),
            clients: scheduler.clients_up().into(),
            // The clock of a dispatcher starts with it.
            uptime_ms: now.since_ns(Instant(0)) / 1_000_000,
            stats: *scheduler.stats(),
            waits: scheduler.waits().clone(),
            latencies: scheduler.latencies().clone(),
        }
    }

    /// Each counter by its name, in an order that never changes: new ones come at the end.
    pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let own = [
            ("workers", self.workers),
            ("clients", self.clients),
            ("uptime_ms", self.uptime_ms),
        ];
        own.into_iter().chain(self.stats.named())
    }

    /// From the values of all counters in that order, and the histograms. Counters that are missing
    /// are 0.
    #[must_use]
    pub fn from_values(
        values: impl IntoIterator<Item = u64>,
        waits: Histogram,
        latencies: Histogram,
    ) -> Self {
        let mut values = values.into_iter();
        let [workers, clients, uptime_ms] = [(); Self::OWN].map(|()| values.next().unwrap_or(0));
        Self {
            workers,
            clients,
            uptime_ms,
            stats: Stats::from_values(values),
            waits,
            latencies,
        }
    }
}
