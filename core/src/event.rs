//! Inputs of the scheduler that carry more than ids, and their immediate answers.

use crate::id::{
    Attempt, ClientId, Epoch, Labels, NameKey, Stamp, TaskHandle, TaskId, Token, WorkerId,
};
use crate::outcome::Refusal;

/// A client says who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// The client process: a random number that it drew at its start.
    pub key: u128,
    /// Rises with each session of that process (rule R12).
    pub session: u32,
    /// Outcomes stay until they are acknowledged (a peer that can lose its connection), or are gone
    /// once they were handed over (an in-process client).
    pub keep_outcomes: bool,
    /// Comes back with the answer.
    pub token: Token,
}

/// Why a hello was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HelloRefusal {
    /// The controller has as many clients as it may.
    ClientsFull,
    /// This session is older than the one that the controller knows.
    SessionStale,
}

/// A worker asks to be admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Its stable name.
    pub name: NameKey,
    /// The worker process: a random number that it drew at its start.
    pub instance: u64,
    /// Rises with each registration of that process (rule R7).
    pub number: u32,
    /// Tasks that it runs at once; 0 is read as 1.
    pub slots: u16,
    /// Tasks that it may be sent beyond those, and starts as soon as a slot is free.
    pub prefetch: u16,
    /// Slots still taken by attempts of earlier incarnations (rule R5).
    pub busy: u16,
    /// What tasks may ask for.
    pub labels: Labels,
    /// Comes back with the answer.
    pub token: Token,
}

/// How a worker's attachment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// It has left, or was closed: it does not come back by itself.
    Left,
    /// Its connection is gone.
    Closed,
    /// Its connection is gone, and we had not run for a while ourselves: that may be all there was
    /// to it.
    Stalled,
}

/// How much a worker takes; see [`Registration`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerSlots {
    /// Tasks that it runs at once.
    pub slots: u16,
    /// Tasks that it may be sent beyond those.
    pub prefetch: u16,
    /// Slots taken by attempts of earlier incarnations.
    pub busy: u16,
}

/// Why a registration was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RegistrationRefusal {
    /// Another process holds this name.
    NameTaken,
    /// A later registration of the same process was seen, or this one was displaced by it.
    Stale,
    /// The controller has as many workers as it may.
    WorkersFull,
    /// Tasks and workers name as many different labels as there may be.
    LabelsFull,
}

/// The immediate answer to a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Registered {
    /// Admitted.
    Admitted {
        /// Its place in the table.
        worker: WorkerId,
        /// The number of this registration.
        epoch: Epoch,
    },
    /// The name's last attachment must leave first; a [`Reply::Admitted`](crate::Reply::Admitted)
    /// or [`Reply::NotAdmitted`](crate::Reply::NotAdmitted) follows.
    Pending,
    /// Not admitted.
    Refused(RegistrationRefusal),
}

/// The immediate answer to a submit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Submitted {
    /// Accepted: the driver stores the payload under this handle before it polls anything.
    Accepted(TaskHandle),
    /// Never accepted, never runs.
    Refused(Refusal),
    /// This task is known already: the payload is dropped, its outcome comes or has been sent.
    Known,
    /// Accepted on paper only: it may have run before, so it is not run again (rule R11). Its
    /// result is here already, or is waited for, and then it ends as `WorkerLost`. The payload is
    /// dropped.
    NotRerun,
}

/// Who won the race for a claim word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// The envelope is a tombstone now: the task never started from it.
    Won,
    /// Somebody has claimed it: it counts as started.
    Lost,
}

/// Which window an envelope was counted against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The shared pool.
    Pool,
    /// The mailbox of one incarnation.
    Mailbox {
        /// Its place in the table.
        worker: WorkerId,
        /// Its incarnation.
        epoch: Epoch,
    },
}

/// A worker's report on one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The worker that was given the attempt.
    pub worker: WorkerId,
    /// The incarnation that was given the attempt.
    pub epoch: Epoch,
    /// The task.
    pub handle: TaskHandle,
    /// Which execution of it.
    pub attempt: Attempt,
    /// How it ended.
    pub verdict: Verdict,
}

/// How a worker says that an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It ran; the payload is the result.
    Completed,
    /// It failed; the payload says how.
    Failed,
    /// It obeyed an abort; there is no payload that counts.
    Aborted,
}

/// One attempt, as whoever was given it knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttemptAt {
    /// The worker that was given it.
    pub worker: WorkerId,
    /// The incarnation that was given it.
    pub epoch: Epoch,
    /// The task.
    pub handle: TaskHandle,
    /// Which execution of it.
    pub attempt: Attempt,
}

/// Where a task has printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// To its standard output.
    Stdout,
    /// To its standard error output.
    Stderr,
}

/// A piece of what an attempt has printed; its text is the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Printed {
    /// Where to.
    pub stream: Stream,
    /// Bytes of this attempt that its worker has dropped so far.
    pub dropped_bytes: u32,
    /// Pieces that were dropped on this side of the worker's connection since the last one that
    /// went through.
    pub missed: u16,
}

/// What is known of whether a worker is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Liveness {
    /// Its place in the table.
    pub worker: WorkerId,
    /// Its present incarnation, or its last.
    pub epoch: Epoch,
    /// Whether it is attached.
    pub alive: bool,
    /// How long ago it was last heard of, in milliseconds.
    pub age_ms: u64,
}

/// What became of the tasks that a lost worker had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// They had started, and run again.
    pub rerun: u32,
    /// They ended as lost.
    pub lost: u32,
    /// They had not started, and wait as if nothing had happened.
    pub requeued: u32,
    /// Its process was back, and went on with them.
    pub carried: u32,
}

/// Where a task comes from: known over restarts of the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The low half of the client's key.
    pub client: u64,
    /// The client's number for the task.
    pub task: TaskId,
}

/// What became of a result from before this scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Early {
    /// It decides this task: the driver replaces the stored payload by the result's.
    Counted(TaskHandle),
    /// It is kept until its client asks for it: the driver stores the payload under this handle.
    Kept(TaskHandle),
    /// The task is believed queued under this stamp. Revoke it, then call
    /// [`handle_early_result`](crate::Scheduler::handle_early_result) again with the answer.
    AskFirst(TaskHandle, Stamp),
    /// It comes too late, or there is no place for it: dropped and counted.
    Dropped,
}

/// What became of the word that an attempt still runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum StillRuns {
    /// It is not lost with the incarnation that was given it.
    Noted,
    /// It was not given to that process, or is settled: counted, and nothing changes.
    Dropped,
    /// The task is believed queued under this stamp. Revoke it, then call
    /// [`handle_still_runs`](crate::Scheduler::handle_still_runs) again with the answer (rule R3).
    AskFirst(Stamp),
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Reported {
    /// It decides the task: the driver replaces the stored payload by the report's.
    Counted,
    /// It failed and will run again: the payload is dropped.
    Retried,
    /// Stale: dropped and counted, the payload with it.
    Dropped,
    /// Only from a hand-in: the task is believed queued under this stamp. Revoke it, then call
    /// [`handle_handed_in`](crate::Scheduler::handle_handed_in) again with the answer (rule R3).
    AskFirst(Stamp),
}

/// Names the client of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The controller's record of this client.
    pub client: ClientId,
    /// How many tasks and unacknowledged outcomes it may have at once.
    pub quota: u32,
    /// Whether the record was there already.
    pub resumed: bool,
}
