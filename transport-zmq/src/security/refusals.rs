//! Failed handshakes: all are counted, few are logged.

use std::time::{Duration, Instant};

use crate::Endpoint;

/// Between two lines about the same endpoint.
const QUIET: Duration = Duration::from_secs(10);

/// The connections of one endpoint that were not let in.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    count: u64,
    /// How many of them the log has been told of, and when.
    told: u64,
    told_at: Option<Instant>,
}

impl Refusals {
    /// So many so far.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// Counts one more; its line in the log stands for all since the last.
    pub(crate) fn add(&mut self, endpoint: &Endpoint) {
        if let Some(new) = self.add_at(Instant::now()) {
            tracing::warn!(
                %endpoint,
                count = new,
                "connections were not let in: no key, a wrong one, or no such peer at all"
            );
        }
    }

    /// How many to tell of now, if it is time to.
    fn add_at(&mut self, now: Instant) -> Option<u64> {
        self.count += 1;
        let is_due = self
            .told_at
            .is_none_or(|told_at| now.duration_since(told_at) >= QUIET);
        is_due.then(|| {
            let new = self.count - self.told;
            (self.told, self.told_at) = (self.count, Some(now));
            new
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_now_and_then_that_counts_all() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        let told: Vec<u64> = (0..3000)
            .filter_map(|n| refusals.add_at(start + Duration::from_millis(10 * n)))
            .collect();
        assert_eq!(told, [1, 1000, 1000]);
        assert_eq!(refusals.count(), 3000);
    }
}
