//! Outputs of the scheduler.

use crate::event::{Origin, Printed, RegistrationRefusal, Settled};
use crate::history::History;
use crate::id::{Attempt, ClientId, Epoch, Stamp, TaskHandle, TaskId, Token, WorkerId};
use crate::outcome::Outcome;

/// One envelope: a task on its way to whoever claims it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The task.
    pub handle: TaskHandle,
    /// The publish that it belongs to.
    pub stamp: Stamp,
    /// Which execution this will be.
    pub attempt: Attempt,
    /// Where the task comes from, so that its result can be told from others after a restart;
    /// `None` for a part of a multicast, of which there are many.
    pub origin: Option<Origin>,
}

/// What the driver must do to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Publish the claim word, then push the envelope into the worker's mailbox; there is room.
    Offer {
        /// Whose mailbox.
        worker: WorkerId,
        /// What.
        envelope: Envelope,
    },
    /// Try to withdraw a queued task, then answer with `handle_revoked`.
    Revoke {
        /// The task.
        handle: TaskHandle,
        /// The publish to withdraw.
        stamp: Stamp,
    },
    /// Give `to` a share of the payload of `from`.
    Share {
        /// Has the payload.
        from: TaskHandle,
        /// Gets one too.
        to: TaskHandle,
    },
    /// Drop the payload stored under this handle: the record is free.
    Release {
        /// The task that was.
        handle: TaskHandle,
    },
}

/// What the driver must tell a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// An outcome for a client of that port.
    Outcome(OutcomeReply),
    /// Ask a worker to give back a task that it was sent ahead, unless it has started it.
    Recall {
        /// Its place in the table.
        worker: WorkerId,
        /// Its incarnation.
        epoch: Epoch,
        /// The task.
        handle: TaskHandle,
        /// Which execution of it.
        attempt: Attempt,
    },
    /// Ask a worker to stop what it runs.
    Abort {
        /// Its place in the table.
        worker: WorkerId,
        /// Its incarnation.
        epoch: Epoch,
        /// The task.
        handle: TaskHandle,
        /// Which execution of it.
        attempt: Attempt,
    },
    /// Close the attachment of this worker, then report it down.
    Evict {
        /// Its place in the table.
        worker: WorkerId,
        /// Its incarnation.
        epoch: Epoch,
    },
    /// The loss is settled: empty the mailbox, then report it drained (rule R8).
    Retire {
        /// Its place in the table.
        worker: WorkerId,
        /// Its incarnation.
        epoch: Epoch,
        /// What became of the tasks that it had.
        settled: Settled,
    },
    /// A task runs again.
    Notice(NoticeReply),
    /// An outcome of this client follows, and output that it should have read before was dropped.
    OutputMissed {
        /// Whose.
        client: ClientId,
        /// How many pieces.
        missed: u16,
    },
    /// Take nothing more for this worker, from its mailbox or from the pool, and say so with
    /// [`handle_paused`](crate::Scheduler::handle_paused) once all that was taken before is told;
    /// or take again. What it runs goes on.
    Pause {
        /// Its place in the table.
        worker: WorkerId,
        /// Its incarnation.
        epoch: Epoch,
        /// Whether it takes nothing.
        paused: bool,
    },
    /// An order to take tasks away was carried out.
    Swept {
        /// Came with the order.
        token: Token,
        /// How many tasks were taken away; none of them has run on.
        touched: u32,
    },
    /// A registration that had to wait is admitted.
    Admitted {
        /// The transport's number for the peer.
        token: Token,
        /// Its place in the table.
        worker: WorkerId,
        /// Its incarnation.
        epoch: Epoch,
    },
    /// A registration that had to wait is refused after all.
    NotAdmitted {
        /// The transport's number for the peer.
        token: Token,
        /// Why.
        refusal: RegistrationRefusal,
    },
}

/// A client is told that an attempt was lost with its worker, and that its task runs again. Unlike
/// an outcome it is not repeated if it does not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoticeReply {
    /// Whose.
    pub client: ClientId,
    /// The client's number for the task.
    pub task: TaskId,
    /// Which execution was lost.
    pub attempt: Attempt,
    /// The worker that was lost with it.
    pub worker: WorkerId,
    /// Its incarnation.
    pub epoch: Epoch,
}

/// A client is told what an attempt of its task has printed. It is told once, or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputReply {
    /// Whose.
    pub client: ClientId,
    /// The client's number for the task.
    pub task: TaskId,
    /// Which execution.
    pub attempt: Attempt,
    /// The worker that runs it.
    pub worker: WorkerId,
    /// Its incarnation.
    pub epoch: Epoch,
    /// Where to, and how much of it is missing.
    pub printed: Printed,
}

/// An outcome on its way to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutcomeReply {
    /// Whose.
    pub client: ClientId,
    /// The client's number for the task.
    pub task: TaskId,
    /// Where the payload is stored.
    pub handle: TaskHandle,
    /// The number of this outcome in the client's session, from 1; what an acknowledgement names.
    pub seq: u32,
    /// What became of it.
    pub outcome: Outcome,
    /// The worker that ran it last, if any did.
    pub worker: Option<(WorkerId, Epoch)>,
    /// How many executions were started.
    pub attempts: u8,
    /// If it ran more than once: the workers that lost or failed it, the last few of them.
    pub tried: Tried,
    /// One outcome of several: a [`Summary`](Outcome::Summary) closes the multicast.
    pub part: bool,
    /// Whether the stored payload is a result.
    pub has_payload: bool,
    /// The record stays until it is acknowledged: share the payload. Otherwise take or drop it now,
    /// the record is free.
    pub keep: bool,
}

/// Some workers that lost or failed a task, latest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    workers: [(WorkerId, Epoch); Self::MAX],
    len: u8,
}

impl Tried {
    /// The most that are remembered.
    pub const MAX: usize = History::MAX;
    /// Nobody.
    pub const NOBODY: Self = Self {
        workers: [(WorkerId(0), Epoch(0)); Self::MAX],
        len: 0,
    };

    pub(crate) fn of(history: Option<&History>) -> Self {
        let mut tried = Self::NOBODY;
        for (at, worker) in history.into_iter().flat_map(History::workers).enumerate() {
            tried.workers[at] = worker;
            tried.len = at as u8 + 1;
        }
        tried
    }

    /// One after the other; the same one may come twice.
    pub fn iter(&self) -> impl Iterator<Item = (WorkerId, Epoch)> {
        let workers = self.workers.into_iter();
        workers.take(usize::from(self.len))
    }
}
