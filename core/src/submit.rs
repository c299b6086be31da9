//! What a client asks for.

use crate::id::{LabelKey, NameKey, Priority, TaskId, WorkerId};

/// Where a task may run: its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// `cluster.worker_any`: whichever worker is least busy.
    Any,
    /// `cluster.worker<N>`: only there, even if it takes longer.
    Worker(WorkerId),
    /// Only on the worker with this name.
    Named(NameKey),
    /// Whichever worker that has this label is least busy.
    Label(LabelKey),
    /// `cluster.worker_all`: once on every worker attached at the moment of the submit.
    All,
}

/// One submit, without its payload.
///
/// ```
/// use taskyard_core::{Submit, Target, TaskId};
/// let submit = Submit::new(TaskId(1), Target::Any).attempts(1);
/// assert_eq!(submit.attempts_max, 1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submit {
    /// The client's number for it.
    pub task: TaskId,
    /// Where it may run.
    pub target: Target,
    /// How often it may be started when workers are lost: 1 is at most once; 0 is read as 1.
    pub attempts_max: u8,
    /// How often it runs again when it fails; on another worker while there is one.
    pub retries_on_failure: u8,
    /// How urgent it is, among those that wait for the same topic.
    pub priority: Priority,
    /// Ends as `TimedOut` if it has not started after so many milliseconds; 0: never.
    pub start_within_ms: u32,
    /// Ends as `TimedOut` if it has no result after so many milliseconds; 0: never.
    pub finish_within_ms: u32,
    /// A task for one worker that is lost waits so many milliseconds for the return of its name; 0:
    /// it ends with its worker.
    pub hold_ms: u32,
    /// How many bytes its payload has: counted against a limit, as long as it has no outcome.
    pub payload_bytes: u32,
    /// This submit was sent to another record of this client before, and may have run there (rule
    /// R11).
    pub resent: bool,
}

impl Submit {
    /// Attempts of a task that more than one worker may run, if it says nothing else.
    pub const ATTEMPTS_ANY: u8 = 3;

    /// A submit with the defaults of its topic: three attempts for `any` and labels, one for the
    /// others; no retries, no deadline.
    #[must_use]
    pub const fn new(task: TaskId, target: Target) -> Self {
        let attempts_max = match target {
            Target::Any | Target::Label(_) => Self::ATTEMPTS_ANY,
            Target::Worker(_) | Target::Named(_) | Target::All => 1,
        };
        Self {
            task,
            target,
            attempts_max,
            retries_on_failure: 0,
            priority: Priority::DEFAULT,
            start_within_ms: 0,
            finish_within_ms: 0,
            hold_ms: 0,
            payload_bytes: 0,
            resent: false,
        }
    }

    /// Sets how often it may be started.
    #[must_use]
    pub const fn attempts(mut self, attempts_max: u8) -> Self {
        self.attempts_max = attempts_max;
        self
    }

    /// Sets how often it runs again when it fails.
    #[must_use]
    pub const fn retries(mut self, retries_on_failure: u8) -> Self {
        self.retries_on_failure = retries_on_failure;
        self
    }

    /// Sets how urgent it is.
    #[must_use]
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Sets how long it waits for its lost worker's name to return.
    #[must_use]
    pub const fn hold_ms(mut self, ms: u32) -> Self {
        self.hold_ms = ms;
        self
    }

    /// Says how many bytes its payload has.
    #[must_use]
    pub const fn payload_bytes(mut self, bytes: u32) -> Self {
        self.payload_bytes = bytes;
        self
    }

    /// Sets the deadline for its start.
    #[must_use]
    pub const fn start_within_ms(mut self, ms: u32) -> Self {
        self.start_within_ms = ms;
        self
    }

    /// Sets the deadline for its result.
    #[must_use]
    pub const fn finish_within_ms(mut self, ms: u32) -> Self {
        self.finish_within_ms = ms;
        self
    }
}
