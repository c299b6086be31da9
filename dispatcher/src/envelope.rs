//! What moves through the rings between a port and the dispatcher, by value.

use taskyard_core::{
    Attempt, AttemptAt, ClientHello, ClientId, Envelope, Epoch, HelloRefusal, Liveness, Loss,
    NoticeReply, Origin, OutcomeReply, OutputReply, Printed, Registration, RegistrationRefusal,
    Report, Settled, Source, Submit, Sweep, Target, TaskHandle, TaskId, Token, Verdict, Welcome,
    WorkerId, WorkerSlots,
};

use crate::control::{Answer, Order};
use crate::ring::Consumer;

/// From a port to the dispatcher.
#[derive(Debug)]
pub enum Event<P> {
    /// A client says hello.
    ClientUp(ClientHello),
    /// A client's connection is gone; it may come back.
    ClientDown(ClientId),
    /// A client leaves for good: what it has in the controller is purged.
    Goodbye(ClientId),
    /// A task.
    Submit {
        /// Whose.
        client: ClientId,
        /// What.
        submit: Submit,
        /// Its payload.
        payload: P,
    },
    /// A client no longer wants a task.
    Cancel {
        /// Whose.
        client: ClientId,
        /// Which.
        task: TaskId,
    },
    /// A client has all its outcomes up to this number.
    Ack {
        /// Whose.
        client: ClientId,
        /// The last one that it has.
        seq: u32,
    },
    /// A worker asks to be admitted.
    WorkerUp(Registration),
    /// A worker is gone.
    WorkerDown {
        /// Its place in the table.
        worker: WorkerId,
        /// Its incarnation.
        epoch: Epoch,
        /// How.
        loss: Loss,
    },
    /// The mailbox of a retired worker is empty, and comes back.
    Drained {
        /// Its place in the table.
        worker: WorkerId,
        /// Its incarnation.
        epoch: Epoch,
        /// The reading end.
        mailbox: Consumer<Envelope>,
    },
    /// A pooled task was claimed for this worker.
    Claimed {
        /// The task.
        handle: TaskHandle,
        /// Which execution of it.
        attempt: Attempt,
        /// For whom.
        worker: WorkerId,
        /// Its incarnation.
        epoch: Epoch,
    },
    /// A pooled task was claimed for this worker, which has no free slot, and sent ahead.
    Prefetched {
        /// The task.
        handle: TaskHandle,
        /// Which execution of it.
        attempt: Attempt,
        /// For whom.
        worker: WorkerId,
        /// Its incarnation.
        epoch: Epoch,
    },
    /// A worker has started a task that it was sent ahead.
    Started {
        /// The task.
        handle: TaskHandle,
        /// Which execution of it.
        attempt: Attempt,
        /// Who.
        worker: WorkerId,
        /// Its incarnation.
        epoch: Epoch,
    },
    /// A worker gives a task back that it was sent ahead: it never started.
    GivenBack {
        /// The task.
        handle: TaskHandle,
        /// Which execution of it.
        attempt: Attempt,
        /// Who.
        worker: WorkerId,
        /// Its incarnation.
        epoch: Epoch,
    },
    /// Nothing more is taken for this worker; all that was taken before has been told.
    Paused {
        /// Its place in the table.
        worker: WorkerId,
        /// Its incarnation.
        epoch: Epoch,
    },
    /// Hold a worker, or release it.
    Hold {
        /// Its place in the table.
        worker: WorkerId,
        /// Whether it is given nothing.
        held: bool,
    },
    /// Let a worker finish what it runs, and leave.
    Drain(WorkerId),
    /// Take tasks away that have not started.
    Sweep(Sweep),
    /// Another order of queue control, or a question: [`Reply::Controlled`] follows.
    Control {
        /// The port's own number for it.
        token: Token,
        /// What.
        order: Order,
    },
    /// A tombstone was popped.
    Discarded(Source),
    /// A claimed task could not be sent: it never started.
    Returned {
        /// The task.
        handle: TaskHandle,
        /// Which execution of it.
        attempt: Attempt,
        /// For whom.
        worker: WorkerId,
        /// Its incarnation.
        epoch: Epoch,
    },
    /// A worker's report on an attempt that its present incarnation was given.
    Reported {
        /// What it says.
        report: Report,
        /// The result.
        payload: Option<P>,
    },
    /// A worker's report on an attempt that an earlier incarnation was given (rules R2, R3, R6).
    HandedIn {
        /// The worker process that says so.
        instance: u64,
        /// What it says.
        report: Report,
        /// The result.
        payload: Option<P>,
    },
    /// A worker process that is about to register still runs an attempt that an earlier incarnation
    /// of it was given (rule R5).
    StillRuns {
        /// The worker process.
        instance: u64,
        /// Which attempt.
        attempt: AttemptAt,
    },
    /// A worker brings a result of a task that an earlier controller gave out (rule R13).
    EarlyResult {
        /// Which task.
        origin: Origin,
        /// How it ended.
        verdict: Verdict,
        /// The result.
        payload: Option<P>,
    },
    /// A worker still runs a task that an earlier controller gave out.
    EarlyRun {
        /// Which task.
        origin: Origin,
        /// Its place in the table.
        worker: WorkerId,
        /// Its incarnation.
        epoch: Epoch,
    },
    /// Is this worker there? [`Reply::Liveness`] follows.
    IsAlive {
        /// The port's own number for the question.
        token: Token,
        /// Who.
        target: Target,
    },
    /// What an attempt has printed. Where there is no room for it, it is dropped.
    Output {
        /// The worker process that says so.
        instance: u64,
        /// Which attempt.
        attempt: AttemptAt,
        /// Where to, and how much of it is missing.
        printed: Printed,
        /// The text.
        payload: P,
    },
    /// Pieces of what an attempt has printed were dropped, and none went through since.
    OutputMissed {
        /// Which attempt.
        attempt: AttemptAt,
        /// How many.
        missed: u16,
    },
    /// A slot that an attempt of an earlier incarnation had taken is free (rule R5).
    SlotFreed {
        /// Its place in the table.
        worker: WorkerId,
        /// Its incarnation.
        epoch: Epoch,
    },
}

/// From the dispatcher to a port.
#[derive(Debug)]
pub enum Reply<P> {
    /// Answers a hello.
    Welcome {
        /// The port's own number for the peer.
        token: Token,
        /// Its record.
        welcome: Welcome,
    },
    /// Answers a hello.
    HelloRefused {
        /// The port's own number for the peer.
        token: Token,
        /// Why.
        refusal: HelloRefusal,
    },
    /// The outcome of a task. A refusal is one too; its `seq` is 0, and it is not acknowledged.
    Outcome {
        /// All but the payload.
        reply: OutcomeReply,
        /// The result, where there is one.
        payload: Option<P>,
    },
    /// Answers a registration. [`Port::poll_reply`](crate::Port::poll_reply) keeps the mailbox.
    Registered {
        /// The port's own number for the peer.
        token: Token,
        /// Its place in the table.
        worker: WorkerId,
        /// Its incarnation.
        epoch: Epoch,
        /// How much it takes.
        slots: WorkerSlots,
        /// The reading end of its mailbox; `None` once the port has taken it.
        mailbox: Option<Consumer<Envelope>>,
    },
    /// Answers a registration.
    NotRegistered {
        /// The port's own number for the peer.
        token: Token,
        /// Why.
        refusal: RegistrationRefusal,
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
    /// Take nothing more for a worker, or take again. The port obeys by itself.
    Pause {
        /// Its place in the table.
        worker: WorkerId,
        /// Its incarnation.
        epoch: Epoch,
        /// Whether nothing is taken.
        paused: bool,
    },
    /// Answers a sweep.
    Swept {
        /// The port's own number for it.
        token: Token,
        /// How many tasks were taken away.
        touched: u32,
    },
    /// The sweep cannot be carried out now: too many wait already.
    SweepRefused {
        /// The port's own number for it.
        token: Token,
    },
    /// Answers an order.
    Controlled {
        /// The port's own number for it.
        token: Token,
        /// What there is to say.
        answer: Answer,
    },
    /// Close the attachment of this worker, then report it down.
    Evict {
        /// Its place in the table.
        worker: WorkerId,
        /// Its incarnation.
        epoch: Epoch,
        /// It was drained: it is to leave for good.
        drained: bool,
    },
    /// The loss is settled. The port empties the mailbox and hands it back by itself.
    Retire {
        /// Its place in the table.
        worker: WorkerId,
        /// Its incarnation.
        epoch: Epoch,
        /// What became of its tasks.
        settled: Settled,
    },
    /// A client is told that its task runs again.
    Notice(NoticeReply),
    /// A client is told what its task has printed.
    Output {
        /// All but the text.
        reply: OutputReply,
        /// The text.
        payload: P,
    },
    /// An outcome of this client follows, and output that it should have read before was dropped.
    OutputMissed {
        /// Whose.
        client: ClientId,
        /// How many pieces.
        missed: u16,
    },
    /// Answers a question.
    Liveness {
        /// The port's own number for it.
        token: Token,
        /// What is known; `None` for a worker that is not known.
        liveness: Option<Liveness>,
    },
}
