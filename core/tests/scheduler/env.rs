//! For scenarios: a world in which everything happens at once unless the test says otherwise.
//! Checks the scheduler after each step, and at the end that nothing is left over.

use std::collections::VecDeque;

use taskyard_core::{
    Attempt, ClientHello, ClientId, Config, Epoch, Labels, NameKey, NoticeReply, Outcome,
    OutcomeReply, PortId, Registered, Registration, Reply, Report, Reported, Revoked, Settled,
    Source, Submit, Submitted, TaskHandle, TaskId, Token, Verdict, WorkerId,
};

use crate::world::{Job, Popped, World};

/// The port of everybody who says nothing else.
pub(crate) const PORT: PortId = PortId(0);

/// An attached worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) epoch: Epoch,
}

pub(crate) struct Env {
    pub(crate) world: World,
    replies: VecDeque<(PortId, Reply)>,
    /// What clients were told of re-runs, in order.
    pub(crate) notices: Vec<NoticeReply>,
}

impl Env {
    pub(crate) fn new() -> Self {
        Self::with(Config {
            tasks: 16,
            quota: 16,
            ..Config::default()
        })
    }

    pub(crate) fn with(config: Config) -> Self {
        Self {
            world: World::new(config),
            replies: VecDeque::new(),
            notices: Vec::new(),
        }
    }

    pub(crate) fn hello(&mut self, key: u128, session: u32, keep_outcomes: bool) -> ClientId {
        let hello = ClientHello {
            key,
            session,
            keep_outcomes,
            token: Token(0),
        };
        let welcome = self
            .world
            .scheduler
            .handle_client_up(self.world.now, PORT, hello);
        self.check();
        welcome.expect("a welcome").client
    }

    /// A client that keeps no outcomes.
    pub(crate) fn client(&mut self) -> ClientId {
        self.hello(1, 1, false)
    }

    pub(crate) fn worker(&mut self, name: u128) -> Worker {
        self.worker_with(registration(name))
    }

    pub(crate) fn worker_with(&mut self, registration: Registration) -> Worker {
        match self.register(registration) {
            Registered::Admitted { worker, epoch } => Worker { id: worker, epoch },
            other => panic!("not admitted: {other:?}"),
        }
    }

    pub(crate) fn register(&mut self, registration: Registration) -> Registered {
        let now = self.world.now;
        let registered = self
            .world
            .scheduler
            .handle_worker_up(now, PORT, registration);
        self.check();
        registered
    }

    pub(crate) fn try_submit(&mut self, client: ClientId, submit: Submit) -> Submitted {
        let now = self.world.now;
        let submitted = self.world.scheduler.handle_submit(now, client, submit);
        if let Submitted::Accepted(handle) = submitted {
            self.world.payloads.insert(handle);
        }
        self.check();
        submitted
    }

    /// Submits, and lets what follows happen.
    pub(crate) fn submit(&mut self, client: ClientId, submit: Submit) -> TaskHandle {
        let Submitted::Accepted(handle) = self.try_submit(client, submit) else {
            panic!("not accepted: {submit:?}");
        };
        self.run();
        handle
    }

    pub(crate) fn cancel(&mut self, client: ClientId, task: u64) {
        self.world
            .scheduler
            .handle_cancel(self.world.now, client, TaskId(task));
        self.run();
    }

    /// Executes all effects, fills the pool and collects all replies.
    pub(crate) fn run(&mut self) {
        self.check();
        let mut rounds = 0;
        while self.world.run_effects(1_000) {
            rounds += 1;
            assert!(rounds < 1_000, "effects without end");
        }
        self.world.inject(usize::MAX);
        for (port, reply) in self.world.replies(usize::MAX) {
            match reply {
                Reply::Notice(notice) => self.notices.push(notice),
                reply => self.replies.push_back((port, reply)),
            }
        }
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.world.now = self.world.now.after_ms(ms);
        let mut rounds = 0;
        while self
            .world
            .scheduler
            .next_timeout()
            .is_some_and(|at| at <= self.world.now)
        {
            self.world.scheduler.handle_timeout(self.world.now);
            self.run();
            rounds += 1;
            assert!(rounds < 1_000, "time-outs without end");
        }
    }

    /// The worker takes from its mailbox; tombstones are reported.
    pub(crate) fn take(&mut self, worker: Worker) -> Option<Job> {
        loop {
            match self.world.pop_mailbox(worker.id, worker.epoch)? {
                Popped::Claimed(job) => return Some(job),
                Popped::Tombstone => {
                    let Worker { id, epoch } = worker;
                    self.discard(Source::Mailbox { worker: id, epoch });
                }
            }
        }
    }

    /// The worker takes from the pool, and nobody is told yet.
    pub(crate) fn steal_untold(&mut self, worker: Worker) -> Option<Job> {
        loop {
            match self.world.steal(worker.id, worker.epoch)? {
                Popped::Claimed(job) => return Some(job),
                Popped::Tombstone => self.discard(Source::Pool),
            }
        }
    }

    /// The worker takes from the pool.
    pub(crate) fn steal(&mut self, worker: Worker) -> Option<Job> {
        let job = self.steal_untold(worker)?;
        self.claimed(job);
        Some(job)
    }

    /// The worker takes what is there: from its mailbox first, then from the pool.
    pub(crate) fn next(&mut self, worker: Worker) -> Option<Job> {
        self.take(worker).or_else(|| self.steal(worker))
    }

    pub(crate) fn claimed(
        &mut self,
        Job {
            handle,
            attempt,
            worker,
            epoch,
        }: Job,
    ) {
        let now = self.world.now;
        self.world
            .scheduler
            .handle_claimed(now, handle, attempt, worker, epoch);
        self.run();
    }

    pub(crate) fn discard(&mut self, source: Source) {
        self.world
            .scheduler
            .handle_discarded(self.world.now, source);
        self.run();
    }

    pub(crate) fn give_back(
        &mut self,
        Job {
            handle,
            attempt,
            worker,
            epoch,
        }: Job,
    ) {
        let now = self.world.now;
        self.world
            .scheduler
            .handle_returned(now, handle, attempt, worker, epoch);
        self.run();
    }

    pub(crate) fn report(&mut self, job: Job, verdict: Verdict) -> Reported {
        let reported = self
            .world
            .scheduler
            .handle_reported(self.world.now, report(job, verdict));
        self.run();
        reported
    }

    /// The worker takes from the pool what is sent ahead of a slot.
    pub(crate) fn steal_ahead(&mut self, worker: Worker) -> Job {
        let job = self.steal_untold(worker).expect("a task in the pool");
        let now = self.world.now;
        self.world
            .scheduler
            .handle_prefetched(now, job.handle, job.attempt, job.worker, job.epoch);
        self.run();
        job
    }

    /// The worker says that it has started it.
    pub(crate) fn started(&mut self, job: Job) {
        let now = self.world.now;
        self.world
            .scheduler
            .handle_started(now, job.handle, job.attempt, job.worker, job.epoch);
        self.run();
    }

    /// The worker gives it back, unstarted.
    pub(crate) fn given_back(&mut self, job: Job) {
        let now = self.world.now;
        self.world
            .scheduler
            .handle_given_back(now, job.handle, job.attempt, job.worker, job.epoch);
        self.run();
    }

    /// The next reply, which asks for a job back; which one.
    pub(crate) fn recall(&mut self) -> Job {
        match self.reply() {
            Reply::Recall {
                worker,
                epoch,
                handle,
                attempt,
            } => Job {
                handle,
                attempt,
                worker,
                epoch,
            },
            other => panic!("no recall: {other:?}"),
        }
    }

    /// The worker completes it, and that counts.
    pub(crate) fn complete(&mut self, job: Job) {
        assert_eq!(self.report(job, Verdict::Completed), Reported::Counted);
    }

    /// A result that is handed in, with the question asked if there is one.
    pub(crate) fn hand_in(&mut self, job: Job) -> (Reported, Option<Revoked>) {
        let now = self.world.now;
        let report = report(job, Verdict::Completed);
        let first = self
            .world
            .scheduler
            .handle_handed_in(now, INSTANCE, report, None);
        let Reported::AskFirst(stamp) = first else {
            self.check();
            return (first, None);
        };
        let answer = self.world.revoke(job.handle, stamp);
        let then = self
            .world
            .scheduler
            .handle_handed_in(now, INSTANCE, report, Some(answer));
        self.check();
        (then, Some(answer))
    }

    /// The worker is lost, but no poll has happened yet.
    pub(crate) fn down_only(&mut self, worker: Worker) {
        self.world.scheduler.handle_worker_down(
            self.world.now,
            worker.id,
            worker.epoch,
            taskyard_core::Loss::Closed,
        );
        self.check();
    }

    /// The worker is lost, its tasks are settled, its mailbox is drained.
    pub(crate) fn down(&mut self, worker: Worker) {
        self.down_only(worker);
        self.run();
        let Worker { id, epoch } = worker;
        let is_retire = |reply: &Reply| match reply {
            Reply::Retire {
                worker, epoch: of, ..
            } => (*worker, *of) == (id, epoch),
            _ => false,
        };
        let at = self.replies.iter().position(|(_, reply)| is_retire(reply));
        self.replies.remove(at.expect("a retire"));
        assert_eq!(self.take(worker), None, "a task in a retired mailbox");
        self.world
            .scheduler
            .handle_drained(self.world.now, id, epoch);
        self.run();
    }

    /// The next reply, whatever it is.
    pub(crate) fn reply(&mut self) -> Reply {
        self.replies.pop_front().expect("a reply").1
    }

    /// The next reply, which is an outcome.
    pub(crate) fn outcome_reply(&mut self) -> OutcomeReply {
        match self.reply() {
            Reply::Outcome(outcome) => outcome,
            other => panic!("no outcome: {other:?}"),
        }
    }

    /// The next reply, which is the outcome of this task.
    pub(crate) fn outcome(&mut self, task: u64) -> Outcome {
        let reply = self.outcome_reply();
        assert_eq!(reply.task, TaskId(task));
        reply.outcome
    }

    /// The next reply, which asks to abort a job; which one.
    pub(crate) fn abort(&mut self) -> Job {
        match self.reply() {
            Reply::Abort {
                worker,
                epoch,
                handle,
                attempt,
            } => Job {
                handle,
                attempt,
                worker,
                epoch,
            },
            other => panic!("no abort: {other:?}"),
        }
    }

    /// Nothing was said that the test did not expect.
    pub(crate) fn no_replies(&mut self) {
        self.run();
        assert!(self.replies.is_empty(), "not expected: {:?}", self.replies);
    }

    /// The end of a scenario: all is told, all is free, all credit is back.
    pub(crate) fn finish(mut self) {
        self.no_replies();
        // What lies in pool and mailboxes now are tombstones.
        while let Some(popped) = self.world.steal(WorkerId(0), Epoch(0)) {
            assert_eq!(popped, Popped::Tombstone);
            self.discard(Source::Pool);
        }
        let scheduler = &self.world.scheduler;
        assert!(scheduler.is_idle());
        assert_eq!(scheduler.tasks(), 0, "records left over");
        assert!(self.world.payloads.is_empty(), "payloads left over");
        assert_eq!(
            scheduler.stats().outstanding_pool,
            0,
            "pool credit left over"
        );
        assert_eq!(scheduler.stats().stale_credit, 0, "credit invented");
        let waiting = self
            .world
            .mailboxes
            .values()
            .map(VecDeque::len)
            .sum::<usize>();
        assert_eq!(
            scheduler.stats().outstanding_directed,
            waiting as u64,
            "mailbox credit"
        );
    }

    fn check(&self) {
        self.world.scheduler.sanity_check();
    }
}

/// The process that all workers are of, unless a test says otherwise.
pub(crate) const INSTANCE: u64 = 1;

/// A registration of one slot.
pub(crate) fn registration(name: u128) -> Registration {
    Registration {
        name: NameKey(name),
        instance: INSTANCE,
        number: 1,
        slots: 1,
        prefetch: 0,
        busy: 0,
        labels: Labels::NONE,
        token: Token(0),
    }
}

/// The reply that a worker without tasks retires by.
pub(crate) fn retire_of(Worker { id, epoch }: Worker) -> Reply {
    Reply::Retire {
        worker: id,
        epoch,
        settled: Settled::default(),
    }
}

pub(crate) fn report(job: Job, verdict: Verdict) -> Report {
    let Job {
        handle,
        attempt,
        worker,
        epoch,
    } = job;
    Report {
        worker,
        epoch,
        handle,
        attempt,
        verdict,
    }
}

/// The same job, but another execution of it.
pub(crate) fn attempt(job: Job, attempt: u8) -> Job {
    Job {
        attempt: Attempt(attempt),
        ..job
    }
}
