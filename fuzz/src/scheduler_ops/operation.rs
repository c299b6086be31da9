//! What can be done to a scheduler, in few bytes each.

use arbitrary::Arbitrary;

/// A choice among the ids that are known, or a made-up one.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) struct Pick(pub(super) u8);

/// Where a task shall run.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) enum Goal {
    Any,
    Worker(Pick),
    Named(u8),
    Label(u8),
    All,
}

/// Which tasks queue control shall look at.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) enum Choice {
    All,
    Client(Pick),
    OlderThanMs(u8),
    Task(Pick, u8),
    Topic(Goal),
}

/// A submit.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) struct Wish {
    pub(super) task: u8,
    pub(super) goal: Goal,
    pub(super) attempts: u8,
    pub(super) retries: u8,
    pub(super) priority: u8,
    pub(super) start_within_ms: u8,
    pub(super) finish_within_ms: u8,
    pub(super) hold_ms: u8,
    pub(super) payload_bytes: u8,
    pub(super) resent: bool,
}

/// A registration.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) struct Applicant {
    pub(super) port: u8,
    pub(super) name: u8,
    pub(super) instance: bool,
    pub(super) number: u8,
    pub(super) slots: u8,
    pub(super) busy: u8,
    pub(super) prefetch: u8,
    pub(super) labels: [u8; 2],
}

/// An attempt, of a job that was taken or made up.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) enum Which {
    Taken(u8),
    MadeUp {
        worker: Pick,
        epoch: u8,
        index: u8,
        generation: u8,
        attempt: u8,
    },
}

/// How a worker goes.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) enum Way {
    Left,
    Closed,
    Stalled,
}

/// What is said of a task that was taken from the pool.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) enum Told {
    Claimed,
    Prefetched,
    /// Nothing yet.
    Later,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) enum End {
    Completed,
    Failed,
    Aborted,
}

/// One input or poll.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) enum Operation {
    ClientUp {
        port: u8,
        key: u8,
        session: u8,
        keeps: bool,
    },
    ClientDown(Pick),
    Goodbye(Pick),
    Submit(Pick, Wish),
    Cancel(Pick, u8),
    Ack(Pick, u8),
    WorkerUp(Applicant),
    WorkerDown(Pick, Way),
    Drained(Pick),
    SlotFreed(Pick),
    Hold(Pick, bool),
    Drain(Pick),
    Paused(Pick),
    /// A worker takes from its mailbox.
    TakeMail(Pick),
    /// A worker takes from the pool, and says so at once or not.
    TakePool(Pick, Told),
    Claimed(Which),
    /// Claimed for a worker without a free slot, and sent ahead.
    Prefetched(Which),
    /// A claimed task comes back.
    Returned(Which),
    Reported(Which, End),
    /// A task that was sent in advance has started.
    Started(Which),
    /// It is given back.
    GivenBack(Which),
    /// By the process that was given it, or by another.
    HandedIn(bool, Which, End, Option<bool>),
    StillRuns(bool, Which, Option<bool>),
    /// A result from before a restart: of which client, and which of its tasks.
    EarlyResult(u8, u8, End, Option<bool>),
    EarlyRun(u8, u8, Pick),
    Liveness(Goal),
    /// The answer to a revoke that was not asked for.
    Revoked(u8, u8, u8, bool),
    DiscardedPool,
    DiscardedMail(Pick),
    Sweep(u8, Choice),
    List(Choice, u8),
    Explain(Pick, u8),
    /// Effects, so many, executed.
    Poll(u8),
    Inject(u8),
    Replies(u8),
    Pass(u8),
}
