//! What can become of a task.

/// Why a submit was refused; each says who must do what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The controller holds as many tasks as it may; submit again later.
    TasksFull,
    /// This client holds as many unfinished tasks and unacknowledged outcomes as it may; read some
    /// first.
    QuotaFull,
    /// No worker with that id is attached.
    NoSuchWorker,
    /// No worker with that name is attached.
    NoSuchName,
    /// The payloads of all tasks have as many bytes as they may; submit again later.
    BytesFull,
    /// Tasks and workers name as many different labels as there may be.
    LabelsFull,
    /// A multicast needs one place per worker, and there are not enough.
    MulticastTooWide,
    /// The client's session is over, or it never had one; say hello again.
    NoSession,
    /// The message could not be understood; the sender's fault.
    Malformed,
    /// The payload is larger than the controller takes.
    PayloadTooLarge,
}

/// Which of a task's two deadlines passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Deadline {
    /// `start_within`: it was still waiting.
    Start,
    /// `finish_within`: it had no result yet.
    Finish,
}

/// The one final answer to a submit (to each part of it, for a multicast).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// A worker ran it; the payload is the result.
    Completed,
    /// A worker ran it and says that it failed; the payload says how.
    Failed,
    /// The worker was lost, and the task may not run again, or has no attempts left.
    WorkerLost,
    /// Cancelled; `started: false` means that it provably never ran anywhere.
    Cancelled {
        /// Whether any attempt was handed to a worker.
        started: bool,
    },
    /// A deadline passed.
    TimedOut(Deadline),
    /// It was never accepted.
    Refused(Refusal),
    /// The closing line of a multicast: all its parts have their outcomes.
    Summary {
        /// How many workers it was addressed to.
        parts: u32,
        /// How many of them completed it.
        completed: u32,
    },
}
