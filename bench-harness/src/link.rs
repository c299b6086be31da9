//! What is measured, seen from the client: something that takes tasks and gives answers back.

use std::time::Duration;

use crate::error::Error;
use crate::options::Topic;

/// One client's connection to a system under test.
pub(crate) trait Link {
    /// Sends one task and tells its number: one more than that of the task before.
    fn submit(&mut self, topic: Topic) -> Result<u64, Error>;

    /// The next answer, if one is there now.
    fn poll(&mut self) -> Result<Option<Answer>, Error>;

    /// Sleeps until an answer may be there, or for that long. Called only right after a
    /// [`poll`](Self::poll) that gave nothing, with no submit in between.
    fn wait(&mut self, timeout: Duration) -> Result<(), Error>;
}

/// One answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A task's only outcome: it ran, and its payload came back as it was sent.
    Completed {
        /// Which task.
        task: u64,
    },
    /// One worker's outcome of a multicast, as good as that.
    Part {
        /// Which task.
        task: u64,
        /// Which worker.
        worker: u32,
    },
    /// All parts of a multicast have been answered.
    Summary {
        /// Which task.
        task: u64,
        /// Workers that it was addressed to.
        parts: u32,
        /// Workers that completed it.
        completed: u32,
    },
    /// Any other end: it says that the run is worthless.
    Bad {
        /// Which task.
        task: u64,
        /// What became of it.
        what: &'static str,
    },
}
