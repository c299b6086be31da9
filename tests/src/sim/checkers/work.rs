//! I11: one call into the scheduler does a bounded amount of work.

use taskyard_core::Stats;

use crate::sim::options::{Options, Size};

#[derive(Debug)]
pub(crate) struct Work {
    most: u64,
    ended: u64,
}

impl Work {
    pub(crate) const fn new(options: &Options) -> Self {
        // A part that ends may end its multicast as well, and an input may end one task beside.
        Self {
            most: options.size(Size::WorkPerPoll) + 2,
            ended: 0,
        }
    }

    /// No more tasks have ended than one call may end.
    pub(crate) fn after_call(&mut self, stats: &Stats) {
        let ended = stats.completed
            + stats.failed
            + stats.lost
            + stats.cancelled
            + stats.timed_out
            + stats.forgotten;
        let most = self.most;
        let new = ended - self.ended;
        assert!(
            new <= most,
            "I11: one call has ended {new} tasks, it may end {most}"
        );
        self.ended = ended;
    }
}
