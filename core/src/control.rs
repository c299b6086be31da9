//! Queue control: which tasks are meant, what is said about one, and why it is not running.

use crate::id::{
    Attempt, ClientId, Epoch, LabelKey, Priority, TaskHandle, TaskId, Token, WorkerId,
};
use crate::submit::Target;
use crate::time::Instant;

/// Which tasks are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Select {
    /// All.
    All,
    /// Those of one client.
    Client(ClientId),
    /// Those that were accepted so many milliseconds ago, or earlier.
    OlderThanMs(u64),
    /// One.
    Task {
        /// Whose.
        client: ClientId,
        /// The client's number for it; all parts of it, if it is a multicast.
        task: TaskId,
    },
    /// Those of one topic; for [`Target::All`] the parts of all multicasts.
    Topic(Target),
}

/// An order to take tasks away that have not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// Which.
    pub select: Select,
    /// Comes back with the answer.
    pub token: Token,
}

/// Where a list goes on; the default is its beginning.
///
/// A task that is there from the first page to the last is listed exactly once, whatever else comes
/// and goes meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor(pub(crate) u32);

impl Cursor {
    /// The form in which it travels.
    #[must_use]
    pub const fn to_bits(self) -> u32 {
        self.0
    }

    /// The inverse of [`to_bits`](Self::to_bits); any number is a cursor.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

/// What a task is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Waits in the core.
    Waiting,
    /// Out in the pool or in a mailbox; what is in a mailbox may have started.
    Queued,
    /// A worker has it.
    Running,
    /// A worker has it, and was asked to stop.
    Stopping,
    /// A multicast whose parts are not over.
    Spread,
    /// Over; its outcome has not reached the client.
    Done,
}

/// One line of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskInfo {
    /// The record.
    pub handle: TaskHandle,
    /// Whose; `None` when the client is gone.
    pub client: Option<ClientId>,
    /// The client's number for it.
    pub task: TaskId,
    /// Its topic; the worker, for a part of a multicast.
    pub target: Target,
    /// Whether it is one part of a multicast.
    pub part: bool,
    /// How urgent it is.
    pub priority: Priority,
    /// The execution that it is in, or that would be next.
    pub attempt: Attempt,
    /// How long ago it was accepted.
    pub age_ms: u64,
    /// What it is doing.
    pub phase: Phase,
    /// Who has it, or had it last.
    pub worker: Option<WorkerId>,
}

/// What a worker's place is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WorkerPhase {
    /// Attached, and given tasks.
    Up,
    /// Attached and held: given nothing until it is released.
    Held,
    /// Attached, and leaving: it finishes what it has.
    Draining,
    /// Gone, but its tasks wait for its return.
    Away,
    /// Gone; its tasks are being settled.
    Lost,
}

/// One line of the list of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerInfo {
    /// Its place.
    pub worker: WorkerId,
    /// Its incarnation.
    pub epoch: Epoch,
    /// What its place is in.
    pub phase: WorkerPhase,
    /// How many tasks it runs at once.
    pub slots: u16,
    /// How many it may be sent beyond that.
    pub prefetch: u16,
    /// Slots and places beyond them that nothing is meant for; none while it is given nothing.
    pub free: u32,
    /// Tasks in its mailbox or running on it.
    pub taken: u32,
    /// Tasks for it alone that wait in the core.
    pub waiting: u32,
    /// How long ago it was last heard of.
    pub age_ms: u64,
}

/// Why a task is not running, or since when it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Explanation {
    /// It is for any worker, and none is attached.
    NoWorker,
    /// No worker with this label is attached, or all of them are held.
    NoWorkerWithLabel(LabelKey),
    /// All workers that may run it are busy.
    WorkersBusy,
    /// It was lost or has failed, and waits for a worker that has not tried it and is busy now.
    WaitsForAnother,
    /// This worker has as many envelopes as it may.
    WaitsForCredit(WorkerId),
    /// This worker is held.
    WorkerHeld(WorkerId),
    /// This worker is leaving.
    WorkerDraining(WorkerId),
    /// This worker is gone; the task waits for the return of its name.
    WaitsForReturn {
        /// Where it was.
        worker: WorkerId,
        /// How long it waits.
        until: Instant,
    },
    /// It may have run in another controller's time, and may run once: a worker may bring its
    /// result.
    AwaitsResult {
        /// How long it waits for that.
        until: Instant,
    },
    /// It goes out with the next poll.
    Ready,
    /// It is in the pool, for whoever is free first.
    InPool,
    /// It is in this worker's mailbox, or has just been taken out of it.
    InMailbox {
        /// Whose.
        worker: WorkerId,
        /// Envelopes before it, those included that have started.
        ahead: u32,
    },
    /// It is being withdrawn.
    Withdrawing,
    /// Somebody took it from the pool, and has not said yet who.
    Claimed,
    /// It was sent to this worker ahead of a slot, and is not known to have started.
    Prefetched(WorkerId),
    /// A worker has it.
    Running {
        /// Who.
        worker: WorkerId,
        /// For how long, as far as is known here.
        for_ms: u64,
    },
    /// A worker has it, and was asked to stop.
    Stopping(WorkerId),
    /// A multicast whose parts are not over.
    PartsOpen {
        /// Parts that are not made yet.
        unmade: u32,
    },
    /// It is over, and its outcome waits for the client.
    OutcomeWaits {
        /// It was sent, and is not acknowledged.
        sent: bool,
    },
}
