//! What goes into the scheduler and what comes out: all that the checkers see.

use taskyard_core::{
    Attempt, ClientId, Envelope, Epoch, Labels, NameKey, NoticeReply, OutcomeReply, Report,
    Reported, Revoked, Source, Stamp, Submit, Submitted, Sweep, TaskHandle, TaskId, WorkerId,
    WorkerSlots,
};

use super::rng::mix;

/// A worker in one of its incarnations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Post {
    /// Its place in the table.
    pub(crate) worker: WorkerId,
    /// Its incarnation.
    pub(crate) epoch: Epoch,
}

/// An attempt in somebody's hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    /// The task.
    pub(crate) handle: TaskHandle,
    /// Which execution.
    pub(crate) attempt: Attempt,
    /// Whose.
    pub(crate) post: Post,
}

/// One thing that happened.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fact {
    /// A client was welcomed.
    ClientUp {
        /// The process.
        key: u64,
        /// Its record.
        client: ClientId,
        /// The record was there.
        resumed: bool,
        /// It keeps outcomes.
        keeps: bool,
    },
    /// A client's connection is gone.
    ClientDown(ClientId),
    /// A client is gone for good.
    Goodbye(ClientId),
    /// A client acknowledged.
    Acked(ClientId, u32),
    /// A client cancelled.
    CancelAsked(ClientId, TaskId),
    /// A task went in.
    Submitted {
        /// The process.
        key: u64,
        /// Its record.
        client: ClientId,
        /// What.
        submit: Submit,
        /// The answer.
        answer: Submitted,
        /// How many workers were attached.
        addressed: u32,
    },
    /// A worker was admitted.
    Admitted {
        /// Who.
        post: Post,
        /// Its name.
        name: NameKey,
        /// Tasks at once, and tasks beyond those.
        slots: WorkerSlots,
        /// What tasks may ask for.
        labels: Labels,
    },
    /// A registration has to wait for its name.
    Pending,
    /// A registration was refused.
    NotAdmitted,
    /// A worker is told to be gone.
    WorkerDown(Post),
    /// An old attempt's slot is free.
    SlotFreed(Post),
    /// A mailbox came back.
    Drained(Post),
    /// Into a mailbox.
    Offered(Post, Envelope),
    /// Into the pool.
    Injected(Envelope),
    /// Out of a mailbox or the pool, and claimed or not.
    Popped {
        /// From where.
        source: Source,
        /// What.
        envelope: Envelope,
        /// By whom.
        post: Post,
        /// Won the claim.
        claimed: bool,
        /// The payload, if claimed.
        load: u64,
    },
    /// A claimed task left for its worker: it counts as started.
    Started(Job),
    /// A claimed task left for its worker, which has no slot for it: it has not started.
    Prefetched(Job),
    /// The worker has given that back: never started.
    GivenBack(Job),
    /// A worker is asked to give that back.
    Recall(Job),
    /// It could not be sent: never started.
    Returned(Job),
    /// The scheduler heard that.
    TakenBack(Job),
    /// Its slot is free again.
    Vacated(Job),
    /// The scheduler heard that it was taken from the pool.
    ClaimTold(Job),
    /// The scheduler got an envelope's credit back.
    Credit(Source),
    /// The scheduler heard a result.
    Reported(Report, Reported),
    /// The scheduler heard an old result.
    HandedIn(Report, Reported),
    /// The scheduler heard that an attempt still runs; whether it has noted that.
    StillRuns(Job, bool),
    /// A client is told of a re-run.
    Notice(NoticeReply),
    /// A queued task was to be withdrawn.
    Revoked(TaskHandle, Stamp, Revoked),
    /// A part got its payload.
    Shared {
        /// Of this multicast.
        from: TaskHandle,
        /// The part.
        to: TaskHandle,
    },
    /// A record is free, its payload is dropped.
    Released(TaskHandle),
    /// A worker is asked to stop an attempt.
    Abort(Job),
    /// A worker is asked to leave.
    Evict(Post),
    /// A place is settled.
    Retire(Post),
    /// An outcome came out, with its payload.
    Outcome(OutcomeReply, Option<u64>),
    /// An outcome has reached its client process.
    Received(u64, TaskId),
    /// A refusal or an outcome that nobody stored has been dropped with its connection.
    Undelivered(TaskId),
    /// Something stale or absurd went in.
    Absurd(u64),
    /// A port was told to take nothing for a worker, or to take again.
    Pause(Post, bool),
    /// The scheduler heard that nothing is taken any more.
    PauseTold(Post),
    /// Somebody held a worker or released it.
    HoldAsked(WorkerId, bool),
    /// Somebody asked a worker to leave.
    DrainAsked(WorkerId),
    /// Somebody ordered tasks to be taken away.
    SweepAsked(Sweep),
    /// It was done, and took so many.
    Swept(u64, u32),
}

impl Fact {
    /// A word that differs, but for accidents, when the fact does.
    pub(crate) fn word(&self) -> u64 {
        let (kind, a, b) = match *self {
            Self::ClientUp { key, client, .. } => (1, key, client.to_bits()),
            Self::ClientDown(client) => (2, client.to_bits(), 0),
            Self::Goodbye(client) => (3, client.to_bits(), 0),
            Self::Acked(client, seq) => (4, client.to_bits(), u64::from(seq)),
            Self::CancelAsked(client, task) => (5, client.to_bits(), task.0),
            Self::Submitted { submit, answer, .. } => (6, submit.task.0, answer_word(answer)),
            Self::Admitted { post, name, .. } => (7, post.word(), name.0 as u64),
            Self::Pending => (8, 0, 0),
            Self::NotAdmitted => (9, 0, 0),
            Self::WorkerDown(post) => (10, post.word(), 0),
            Self::SlotFreed(post) => (11, post.word(), 0),
            Self::Drained(post) => (12, post.word(), 0),
            Self::Offered(post, envelope) => (13, post.word(), envelope_word(envelope)),
            Self::Injected(envelope) => (14, 0, envelope_word(envelope)),
            Self::Popped {
                envelope,
                post,
                claimed,
                ..
            } => (
                15 + u64::from(claimed),
                post.word(),
                envelope_word(envelope),
            ),
            Self::Started(job) => (17, job.word(), 0),
            Self::Returned(job) => (18, job.word(), 0),
            Self::ClaimTold(job) => (19, job.word(), 0),
            Self::Credit(source) => (20, source_word(source), 0),
            Self::Reported(report, reported) => (21, report_word(report), reported_word(reported)),
            Self::HandedIn(report, reported) => (22, report_word(report), reported_word(reported)),
            Self::Revoked(handle, stamp, won) => (
                23 + u64::from(won == Revoked::Won),
                handle.to_bits(),
                stamp.0,
            ),
            Self::Shared { from, to } => (25, from.to_bits(), to.to_bits()),
            Self::Released(handle) => (26, handle.to_bits(), 0),
            Self::Abort(job) => (27, job.word(), 0),
            Self::Evict(post) => (28, post.word(), 0),
            Self::Retire(post) => (29, post.word(), 0),
            Self::Outcome(reply, load) => (
                30,
                reply.handle.to_bits() ^ u64::from(reply.seq),
                load.unwrap_or(1),
            ),
            Self::Received(key, task) => (31, key, task.0),
            Self::Undelivered(task) => (32, task.0, 0),
            Self::Absurd(which) => (33, which, 0),
            Self::Vacated(job) => (34, job.word(), 0),
            Self::TakenBack(job) => (41, job.word(), 0),
            Self::Pause(post, paused) => (35, post.word(), u64::from(paused)),
            Self::PauseTold(post) => (36, post.word(), 0),
            Self::HoldAsked(worker, held) => (37, u64::from(worker.0), u64::from(held)),
            Self::DrainAsked(worker) => (38, u64::from(worker.0), 0),
            Self::SweepAsked(sweep) => (39, sweep.token.0, 0),
            Self::Swept(token, touched) => (40, token, u64::from(touched)),
            Self::Prefetched(job) => (42, job.word(), 0),
            Self::GivenBack(job) => (43, job.word(), 0),
            Self::Recall(job) => (44, job.word(), 0),
            Self::StillRuns(job, noted) => (45, job.word(), u64::from(noted)),
            Self::Notice(notice) => (46, notice.task.0, u64::from(notice.epoch.0)),
        };
        mix(a ^ mix(b ^ mix(kind)))
    }
}

impl Post {
    fn word(self) -> u64 {
        u64::from(self.worker.0) << 32 | u64::from(self.epoch.0)
    }
}

impl Job {
    fn word(self) -> u64 {
        self.handle.to_bits() ^ mix(self.post.word() ^ u64::from(self.attempt.0))
    }
}

fn envelope_word(envelope: Envelope) -> u64 {
    envelope.handle.to_bits() ^ mix(envelope.stamp.0 << 8 | u64::from(envelope.attempt.0))
}

fn source_word(source: Source) -> u64 {
    match source {
        Source::Pool => 0,
        Source::Mailbox { worker, epoch } => Post { worker, epoch }.word(),
    }
}

pub(crate) const fn job_of(report: &Report) -> Job {
    Job {
        handle: report.handle,
        attempt: report.attempt,
        post: Post {
            worker: report.worker,
            epoch: report.epoch,
        },
    }
}

fn report_word(report: Report) -> u64 {
    job_of(&report).word() ^ report.verdict as u64
}

fn reported_word(reported: Reported) -> u64 {
    match reported {
        Reported::Counted => 0,
        Reported::Dropped => 1,
        Reported::Retried => 2,
        Reported::AskFirst(stamp) => 3 + stamp.0,
    }
}

fn answer_word(answer: Submitted) -> u64 {
    match answer {
        Submitted::Accepted(handle) => handle.to_bits() << 2,
        Submitted::Refused(refusal) => (refusal as u64) << 2 | 1,
        Submitted::Known => 2,
        Submitted::NotRerun => 3,
    }
}
