//! What can be wrong with a configuration; everything else that goes wrong is an outcome or a
//! refusal.

use thiserror::Error;

/// A configuration that makes no sense; the fault of whoever wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The number of clients is out of range.
    #[error("clients: {clients} is not within 1 to {max}")]
    Clients {
        /// What was asked.
        clients: u32,
        /// The most that a client's id can name.
        max: u32,
    },
    /// The number of labels is out of range.
    #[error("labels: {labels} are more than {max}")]
    Labels {
        /// What was asked.
        labels: u32,
        /// The most that there can be.
        max: u32,
    },
    /// A mailbox must hold an envelope.
    #[error("mailbox: a worker's mailbox must hold at least 1 envelope")]
    Mailbox,
    /// The pool must hold two envelopes.
    #[error("pool: {pool} is too small, the pool must hold at least 2 envelopes")]
    Pool {
        /// What was asked.
        pool: u32,
    },
    /// There must be a port.
    #[error("ports: at least 1 is needed, or nobody can attach")]
    Ports,
    /// A client may not hold more tasks than there are.
    #[error("quota: {quota} tasks for one client are more than the {tasks} there can be")]
    Quota {
        /// What was asked.
        quota: u32,
        /// How many there are for all.
        tasks: u32,
    },
    /// A client acknowledges outcomes in batches, and is sent no more before the first.
    #[error("outcomes_unread: {outcomes} are fewer than the {min} that a client may keep")]
    OutcomesUnread {
        /// What was asked.
        outcomes: u32,
        /// The fewest that do.
        min: u32,
    },
    /// The number of tasks is out of range.
    #[error("tasks: {tasks} is not within 1 to {max}")]
    Tasks {
        /// What was asked.
        tasks: u32,
        /// The most that a handle can name.
        max: u32,
    },
    /// A poll must be allowed to do something.
    #[error("work_per_poll: at least 1 step is needed, or nothing ever happens")]
    WorkPerPoll,
    /// The number of workers is out of range.
    #[error("workers: {workers} is not within 1 to {max}")]
    Workers {
        /// What was asked.
        workers: u32,
        /// The most that a claim word can name.
        max: u32,
    },
}
