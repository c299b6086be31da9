//! A scheduler with claim words, mailboxes and a pool: a driver that executes effects faithfully,
//! so that operations reach deep states, and passes on every lie that it is told to.

use std::collections::{BTreeMap, VecDeque};

use taskyard_core::{
    Attempt, AttemptAt, ClientHello, ClientId, Config, Cursor, Effect, Envelope, Epoch, Instant,
    LabelKey, Labels, Loss, NameKey, Origin, PortId, Priority, Registered, Registration, Reply,
    Report, Reported, Revoked, Scheduler, Select, Source, Stamp, Stats, Submit, Sweep, Target,
    TaskHandle, TaskId, Token, Verdict, WorkerId,
};

use super::operation::{Applicant, Choice, End, Goal, Operation, Pick, Told, Way, Which, Wish};

const PORTS: u16 = 2;

/// An attempt in a worker's hands.
#[derive(Clone, Copy, Debug)]
struct Job {
    worker: WorkerId,
    epoch: Epoch,
    handle: TaskHandle,
    attempt: Attempt,
}

pub(super) struct Yard {
    scheduler: Scheduler,
    now: Instant,
    /// The last publish of each place, as long as nobody has claimed or revoked it.
    queued: BTreeMap<u32, Stamp>,
    mail: BTreeMap<WorkerId, VecDeque<Envelope>>,
    pool: VecDeque<Envelope>,
    clients: Vec<ClientId>,
    workers: Vec<(WorkerId, Epoch)>,
    jobs: Vec<Job>,
    /// No credit was given back for an envelope that is still out: rule R9 believes whoever says
    /// it.
    credit_is_honest: bool,
}

impl Yard {
    pub(super) fn new() -> Self {
        let config = Config {
            tasks: 10,
            clients: 3,
            workers: 5,
            labels: 3,
            ports: PORTS,
            slots_max: 3,
            prefetch_max: 3,
            mailbox: 2,
            pool: 4,
            quota: 7,
            payload_bytes: 900,
            result_bytes: 300,
            outcome_bytes_unread: 200,
            keep_outcomes_ms: 40,
            abort_grace_ms: 10,
            rejoin_grace_ms: 15,
            stall_grace_ms: 25,
            restart_grace_ms: 20,
            queue_ahead: 1,
            work_per_poll: 3,
            ..Config::default()
        };
        let limits = config.validate().expect("its numbers make sense");
        Self {
            scheduler: Scheduler::new(&limits),
            now: Instant(0),
            queued: BTreeMap::new(),
            mail: BTreeMap::new(),
            pool: VecDeque::new(),
            clients: Vec::new(),
            workers: Vec::new(),
            jobs: Vec::new(),
            credit_is_honest: true,
        }
    }

    pub(super) fn stats(&self) -> Stats {
        *self.scheduler.stats()
    }

    /// What holds after any operation.
    pub(super) fn check(&self) {
        self.scheduler.sanity_check();
        if self.credit_is_honest {
            let limits = self.scheduler.limits();
            let fits = |mail: &VecDeque<Envelope>| mail.len() <= limits.mailbox() as usize;
            assert!(self.mail.values().all(fits), "a mailbox overflows");
            assert!(
                self.pool.len() <= limits.pool() as usize,
                "the pool overflows"
            );
        }
    }

    pub(super) fn perform(&mut self, operation: Operation) {
        match operation {
            Operation::ClientUp { .. }
            | Operation::ClientDown(_)
            | Operation::Goodbye(_)
            | Operation::Submit(..)
            | Operation::Cancel(..)
            | Operation::Ack(..)
            | Operation::Explain(..) => self.client_side(operation),
            Operation::WorkerUp(_)
            | Operation::WorkerDown(..)
            | Operation::Drained(_)
            | Operation::SlotFreed(_)
            | Operation::Hold(..)
            | Operation::Drain(_)
            | Operation::Paused(_) => self.worker_side(operation),
            Operation::Sweep(..)
            | Operation::List(..)
            | Operation::Liveness(_)
            | Operation::Poll(_)
            | Operation::Inject(_)
            | Operation::Replies(_)
            | Operation::Pass(_) => self.driver_side(operation),
            told => self.told(told),
        }
    }

    fn client_side(&mut self, operation: Operation) {
        let now = self.now;
        match operation {
            Operation::ClientUp {
                port,
                key,
                session,
                keeps,
            } => {
                let hello = ClientHello {
                    key: key_of(key),
                    session: small(session, 8),
                    keep_outcomes: keeps,
                    token: Token(0),
                };
                let answer = self.scheduler.handle_client_up(now, port_of(port), hello);
                if let Ok(welcome) = answer {
                    self.clients.push(welcome.client);
                }
            }
            Operation::ClientDown(pick) => {
                self.scheduler.handle_client_down(now, self.client(pick));
            }
            Operation::Goodbye(pick) => self.scheduler.handle_goodbye(now, self.client(pick)),
            Operation::Submit(pick, wish) => {
                let submit = self.submit_of(wish);
                let client = self.client(pick);
                let _ = self.scheduler.handle_submit(now, client, submit);
            }
            Operation::Cancel(pick, task) => {
                let client = self.client(pick);
                self.scheduler.handle_cancel(now, client, task_of(task));
            }
            Operation::Ack(pick, seq) => {
                self.scheduler
                    .handle_ack(now, self.client(pick), small(seq, 32));
            }
            Operation::Explain(pick, task) => {
                let _ = self
                    .scheduler
                    .explain(now, self.client(pick), task_of(task));
            }
            other => unreachable!("not a client's: {other:?}"),
        }
    }

    fn worker_side(&mut self, operation: Operation) {
        let now = self.now;
        match operation {
            Operation::WorkerUp(applicant) => self.register(applicant),
            Operation::WorkerDown(pick, way) => {
                let (worker, epoch) = self.worker(pick);
                let loss = match way {
                    Way::Left => Loss::Left,
                    Way::Closed => Loss::Closed,
                    Way::Stalled => Loss::Stalled,
                };
                self.scheduler.handle_worker_down(now, worker, epoch, loss);
            }
            Operation::Drained(pick) => {
                let (worker, epoch) = self.worker(pick);
                // What lies there are tombstones, unless it is not retired at all: then it is
                // told so, and the mailbox stays.
                let before = self.scheduler.stats().stale_worker;
                self.scheduler.handle_drained(now, worker, epoch);
                if self.scheduler.stats().stale_worker == before {
                    self.mail.remove(&worker);
                }
            }
            Operation::SlotFreed(pick) => {
                let (worker, epoch) = self.worker(pick);
                self.scheduler.handle_slot_freed(now, worker, epoch);
            }
            Operation::Hold(pick, held) => {
                let (worker, _) = self.worker(pick);
                self.scheduler.handle_hold(now, worker, held);
            }
            Operation::Drain(pick) => {
                let (worker, _) = self.worker(pick);
                self.scheduler.handle_drain(now, worker);
            }
            Operation::Paused(pick) => {
                let (worker, epoch) = self.worker(pick);
                self.scheduler.handle_paused(now, worker, epoch);
            }
            other => unreachable!("not a worker's: {other:?}"),
        }
    }

    fn register(&mut self, applicant: Applicant) {
        let registration = Registration {
            name: NameKey(u128::from(applicant.name % 4) << 70),
            instance: applicant.instance.into(),
            number: small(applicant.number, 8),
            slots: small_u16(applicant.slots, 4),
            busy: small_u16(applicant.busy, 4),
            prefetch: small_u16(applicant.prefetch, 4),
            labels: Labels::new(applicant.labels.map(label_of)),
            token: Token(applicant.number.into()),
        };
        let port = port_of(applicant.port);
        let answer = self
            .scheduler
            .handle_worker_up(self.now, port, registration);
        if let Registered::Admitted { worker, epoch } = answer {
            self.workers.push((worker, epoch));
        }
    }

    /// What is said about tasks, true or not.
    fn told(&mut self, operation: Operation) {
        let now = self.now;
        match operation {
            Operation::TakeMail(pick) => self.take_mail(pick),
            Operation::TakePool(pick, tell) => self.take_pool(pick, tell),
            Operation::Claimed(which) => {
                // Rule R9: the credit comes back, whatever else is wrong.
                self.credit_is_honest = false;
                let job = self.job(which);
                self.claimed(job);
            }
            Operation::Prefetched(which) => {
                self.credit_is_honest = false;
                let job = self.job(which);
                self.prefetched(job);
            }
            Operation::Returned(which) => {
                let job = self.job(which);
                self.scheduler
                    .handle_returned(now, job.handle, job.attempt, job.worker, job.epoch);
            }
            Operation::Started(which) => {
                let job = self.job(which);
                self.scheduler
                    .handle_started(now, job.handle, job.attempt, job.worker, job.epoch);
            }
            Operation::GivenBack(which) => {
                let job = self.job(which);
                self.scheduler.handle_given_back(
                    now,
                    job.handle,
                    job.attempt,
                    job.worker,
                    job.epoch,
                );
            }
            Operation::Reported(which, end) => {
                let report = report_of(self.job(which), end);
                if self.scheduler.handle_reported(now, report) == Reported::Counted {
                    self.store_result(report.handle);
                }
            }
            Operation::HandedIn(by, which, end, answer) => {
                let report = report_of(self.job(which), end);
                let answer = answer.map(revoked_of);
                let _ = self
                    .scheduler
                    .handle_handed_in(now, by.into(), report, answer);
            }
            Operation::StillRuns(..) | Operation::EarlyResult(..) | Operation::EarlyRun(..) => {
                self.told_of_the_past(operation);
            }
            Operation::Revoked(index, generation, stamp, won) => {
                let handle = handle_of(index, generation);
                let (stamp, answer) = (Stamp(stamp.into()), revoked_of(won));
                self.scheduler.handle_revoked(now, handle, stamp, answer);
            }
            Operation::DiscardedPool => self.discard(Source::Pool),
            Operation::DiscardedMail(pick) => {
                let (worker, epoch) = self.worker(pick);
                self.discard(Source::Mailbox { worker, epoch });
            }
            other => unreachable!("not about a task: {other:?}"),
        }
    }

    /// What is said of another incarnation, or of another scheduler.
    fn told_of_the_past(&mut self, operation: Operation) {
        let now = self.now;
        match operation {
            Operation::StillRuns(by, which, answer) => {
                let Job {
                    worker,
                    epoch,
                    handle,
                    attempt,
                } = self.job(which);
                let attempt = AttemptAt {
                    worker,
                    epoch,
                    handle,
                    attempt,
                };
                let answer = answer.map(revoked_of);
                let _ = self
                    .scheduler
                    .handle_still_runs(now, by.into(), attempt, answer);
            }
            Operation::EarlyResult(key, task, end, answer) => {
                let (verdict, answer) = (verdict_of(end), answer.map(revoked_of));
                let origin = origin_of(key, task);
                let _ = self
                    .scheduler
                    .handle_early_result(now, origin, verdict, answer);
            }
            Operation::EarlyRun(key, task, pick) => {
                let (worker, epoch) = self.worker(pick);
                self.scheduler
                    .handle_early_run(now, origin_of(key, task), worker, epoch);
            }
            other => unreachable!("not about the past: {other:?}"),
        }
    }

    fn driver_side(&mut self, operation: Operation) {
        let now = self.now;
        match operation {
            Operation::Sweep(port, choice) => {
                let sweep = Sweep {
                    select: self.select_of(choice),
                    token: Token(9),
                };
                let _ = self.scheduler.handle_sweep(now, port_of(port), sweep);
            }
            Operation::List(choice, steps) => self.list(choice, steps),
            Operation::Liveness(goal) => {
                let _ = self.scheduler.liveness(now, self.target_of(goal));
            }
            Operation::Poll(count) => self.poll(count % 16),
            Operation::Inject(count) => self.inject(count % 8),
            Operation::Replies(count) => self.replies(count % 16),
            Operation::Pass(ms) => {
                self.now = now.after_ms(ms_of(ms));
                self.scheduler.handle_timeout(self.now);
            }
            other => unreachable!("not a driver's: {other:?}"),
        }
    }

    fn take_mail(&mut self, pick: Pick) {
        let (worker, epoch) = self.worker(pick);
        let popped = self.mail.get_mut(&worker).and_then(VecDeque::pop_front);
        if let Some(envelope) = popped
            && self.claim(envelope, worker, epoch).is_none()
        {
            let source = Source::Mailbox { worker, epoch };
            self.scheduler.handle_discarded(self.now, source);
        }
    }

    fn take_pool(&mut self, pick: Pick, told: Told) {
        let (worker, epoch) = self.worker(pick);
        let Some(envelope) = self.pool.pop_front() else {
            return;
        };
        match (self.claim(envelope, worker, epoch), told) {
            (Some(job), Told::Claimed) => self.claimed(job),
            (Some(job), Told::Prefetched) => self.prefetched(job),
            // It may be told later, by an operation of its own.
            (Some(_), Told::Later) => {}
            (None, _) => self.scheduler.handle_discarded(self.now, Source::Pool),
        }
    }

    fn claim(&mut self, envelope: Envelope, worker: WorkerId, epoch: Epoch) -> Option<Job> {
        let index = envelope.handle.index();
        if self.queued.get(&index) != Some(&envelope.stamp) {
            return None;
        }
        self.queued.remove(&index);
        let job = Job {
            worker,
            epoch,
            handle: envelope.handle,
            attempt: envelope.attempt,
        };
        self.jobs.push(job);
        Some(job)
    }

    fn claimed(&mut self, job: Job) {
        self.scheduler
            .handle_claimed(self.now, job.handle, job.attempt, job.worker, job.epoch);
    }

    fn prefetched(&mut self, job: Job) {
        self.scheduler
            .handle_prefetched(self.now, job.handle, job.attempt, job.worker, job.epoch);
    }

    /// Of no envelope that was seen.
    fn discard(&mut self, source: Source) {
        self.credit_is_honest = false;
        self.scheduler.handle_discarded(self.now, source);
    }

    fn store_result(&mut self, handle: TaskHandle) {
        // Of any size, which its handle decides.
        let bytes = (handle.to_bits() % 97) as u32;
        if self.scheduler.has_room_for_result(bytes.into()) {
            self.scheduler.handle_result_stored(handle, bytes);
        }
    }

    fn list(&self, choice: Choice, steps: u8) {
        let mut from = Some(Cursor::default());
        let steps = u32::from(steps % 8) + 1;
        let mut listed = Vec::new();
        while let Some(cursor) = from {
            let visit = |info: taskyard_core::TaskInfo| listed.push(info.handle);
            from = self
                .scheduler
                .list(self.now, self.select_of(choice), cursor, steps, visit);
        }
        let len = listed.len();
        listed.sort_unstable();
        listed.dedup();
        assert_eq!(len, listed.len(), "a task is listed twice");
        assert!(
            len <= self.scheduler.tasks() as usize,
            "more are listed than there are"
        );
    }

    fn poll(&mut self, count: u8) {
        for _ in 0..count {
            let Some(effect) = self.scheduler.poll_effect(self.now) else {
                break;
            };
            match effect {
                Effect::Offer { worker, envelope } => {
                    self.queued.insert(envelope.handle.index(), envelope.stamp);
                    self.mail.entry(worker).or_default().push_back(envelope);
                }
                Effect::Revoke { handle, stamp } => {
                    let won = self.queued.get(&handle.index()) == Some(&stamp);
                    if won {
                        self.queued.remove(&handle.index());
                    }
                    let answer = revoked_of(won);
                    self.scheduler
                        .handle_revoked(self.now, handle, stamp, answer);
                }
                Effect::Share { .. } | Effect::Release { .. } => {}
            }
        }
    }

    fn inject(&mut self, count: u8) {
        for _ in 0..count {
            let Some(envelope) = self.scheduler.poll_inject(self.now) else {
                break;
            };
            self.queued.insert(envelope.handle.index(), envelope.stamp);
            self.pool.push_back(envelope);
        }
    }

    fn replies(&mut self, count: u8) {
        let mut left = count;
        while left > 0
            && let Some(port) = self.scheduler.poll_due_port()
        {
            while left > 0
                && let Some(reply) = self.scheduler.poll_reply(self.now, port)
            {
                left -= 1;
                if let Reply::Admitted { worker, epoch, .. } = reply {
                    self.workers.push((worker, epoch));
                }
            }
            if left == 0 {
                self.scheduler.defer_port(port);
            }
        }
    }

    fn submit_of(&self, wish: Wish) -> Submit {
        let submit = Submit {
            resent: wish.resent,
            ..Submit::new(task_of(wish.task), self.target_of(wish.goal))
        };
        submit
            .attempts(wish.attempts % 4)
            .retries(wish.retries % 3)
            .priority(Priority::new(wish.priority))
            .start_within_ms(within(wish.start_within_ms))
            .finish_within_ms(within(wish.finish_within_ms))
            .hold_ms(within(wish.hold_ms))
            .payload_bytes(small(wish.payload_bytes, 250))
    }

    fn target_of(&self, goal: Goal) -> Target {
        match goal {
            Goal::Any => Target::Any,
            Goal::Worker(pick) => Target::Worker(self.worker(pick).0),
            Goal::Named(name) => Target::Named(NameKey(u128::from(name % 4) << 70)),
            Goal::Label(label) => Target::Label(label_of(label)),
            Goal::All => Target::All,
        }
    }

    fn select_of(&self, choice: Choice) -> Select {
        match choice {
            Choice::All => Select::All,
            Choice::Client(pick) => Select::Client(self.client(pick)),
            Choice::OlderThanMs(ms) => Select::OlderThanMs(ms_of(ms)),
            Choice::Task(pick, task) => Select::Task {
                client: self.client(pick),
                task: task_of(task),
            },
            Choice::Topic(goal) => Select::Topic(self.target_of(goal)),
        }
    }

    fn client(&self, pick: Pick) -> ClientId {
        let made_up = if is_absurd(pick.0) {
            ClientId::from_bits(u64::MAX - u64::from(u8::MAX - pick.0))
        } else {
            ClientId::new(u32::from(pick.0 % 4), u64::from(pick.0 / 4))
        };
        self.clients.pick(pick).copied().unwrap_or(made_up)
    }

    fn worker(&self, pick: Pick) -> (WorkerId, Epoch) {
        let made_up = (WorkerId(small(pick.0, 8)), Epoch(u32::from(pick.0 / 8)));
        self.workers.pick(pick).copied().unwrap_or(made_up)
    }

    /// A job that was taken may be reported on more than once: it stays in the list.
    fn job(&self, which: Which) -> Job {
        match which {
            Which::Taken(at) if !self.jobs.is_empty() => {
                // The last few: those before are over, most likely.
                let back = usize::from(at) % self.jobs.len().min(8);
                self.jobs[self.jobs.len() - 1 - back]
            }
            Which::Taken(at) => self.made_up(Pick(at), at, at, at, at),
            Which::MadeUp {
                worker,
                epoch,
                index,
                generation,
                attempt,
            } => self.made_up(worker, epoch, index, generation, attempt),
        }
    }

    fn made_up(&self, pick: Pick, epoch: u8, index: u8, generation: u8, attempt: u8) -> Job {
        Job {
            worker: self.worker(pick).0,
            epoch: Epoch(small(epoch, 8)),
            handle: handle_of(index, generation),
            attempt: Attempt(if is_absurd(attempt) {
                u8::MAX
            } else {
                attempt % 4
            }),
        }
    }
}

/// Choosing among what is known.
trait Known<T> {
    /// Nothing if nothing is known, or if something shall be made up.
    fn pick(&self, pick: Pick) -> Option<&T>;
}

impl<T> Known<T> for Vec<T> {
    fn pick(&self, pick: Pick) -> Option<&T> {
        if pick.0 >= 230 || self.is_empty() {
            return None;
        }
        // The latest are the most likely to be there still.
        let back = usize::from(pick.0) % self.len().min(6);
        self.get(self.len() - 1 - back)
    }
}

/// Some of the made-up numbers are as large as they can be.
fn is_absurd(number: u8) -> bool {
    number >= 250
}

/// A number below `count`, or an absurd one.
fn small(number: u8, count: u8) -> u32 {
    if is_absurd(number) {
        u32::MAX - u32::from(u8::MAX - number)
    } else {
        u32::from(number % count)
    }
}

/// The same, shorter.
fn small_u16(number: u8, count: u8) -> u16 {
    if is_absurd(number) {
        u16::MAX - u16::from(u8::MAX - number)
    } else {
        u16::from(number % count)
    }
}

fn port_of(port: u8) -> PortId {
    PortId(small_u16(port, PORTS as u8 + 1))
}

fn task_of(task: u8) -> TaskId {
    TaskId(u64::from(task % 16))
}

fn label_of(label: u8) -> LabelKey {
    LabelKey(u64::from(label % 5))
}

fn handle_of(index: u8, generation: u8) -> TaskHandle {
    if is_absurd(index) {
        return TaskHandle::from_bits(u64::MAX);
    }
    TaskHandle::new(u32::from(index % 12), u64::from(generation % 16))
}

/// Mostly no deadline at all.
fn within(ms: u8) -> u32 {
    if is_absurd(ms) {
        return u32::MAX;
    }
    u32::from(ms.saturating_sub(200))
}

/// Seldom so long that all there is becomes due, or that time ends.
fn ms_of(ms: u8) -> u64 {
    match ms {
        u8::MAX => u64::MAX,
        254 => 1 << 40,
        _ => u64::from(ms) / 4,
    }
}

fn revoked_of(won: bool) -> Revoked {
    if won { Revoked::Won } else { Revoked::Lost }
}

fn verdict_of(end: End) -> Verdict {
    match end {
        End::Completed => Verdict::Completed,
        End::Failed => Verdict::Failed,
        End::Aborted => Verdict::Aborted,
    }
}

/// Clients' keys differ in their low halves here.
fn origin_of(key: u8, task: u8) -> Origin {
    Origin {
        client: key_of(key) as u64,
        task: task_of(task),
    }
}

fn key_of(key: u8) -> u128 {
    u128::from(key % 4) << 60
}

fn report_of(job: Job, end: End) -> Report {
    Report {
        worker: job.worker,
        epoch: job.epoch,
        handle: job.handle,
        attempt: job.attempt,
        verdict: verdict_of(end),
    }
}
