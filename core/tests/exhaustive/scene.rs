//! Two tasks, two worker processes and what may happen to them.

use taskyard_core::{
    ClientHello, ClientId, Config, Epoch, Labels, NameKey, Outcome, PortId, Registered,
    Registration, Reply, Report, Reported, Source, Submit, Submitted, Target, TaskHandle, TaskId,
    Token, Verdict, WorkerId,
};

use crate::world::{Job, Popped, World};

const PORT: PortId = PortId(0);
const WORKERS: [usize; 2] = [0, 1];

/// Where a task shall run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    Any { attempts: u8 },
    First,
}

/// What can happen; the numbers are those of a task or a worker process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The next task is submitted.
    Submit,
    Cancel(usize),
    /// A worker claims the first envelope of its mailbox.
    TakeMail(usize),
    /// A worker claims the first envelope of the pool, and nobody is told yet.
    TakePool(usize),
    /// What was taken from the pool is told.
    Tell(usize),
    /// A worker is done.
    Complete(usize),
    /// A worker obeys an abort.
    Obey(usize),
    Lose(usize),
    /// A lost worker comes back as another process: what it ran is gone.
    Restart(usize),
    /// A lost worker comes back and hands in what it has finished meanwhile.
    Return(usize),
}

/// A worker process.
#[derive(Default)]
struct Process {
    attached: Option<(WorkerId, Epoch)>,
    instance: u64,
    number: u32,
    running: Option<Running>,
    /// Attempts of lost attachments.
    orphans: Vec<Job>,
}

struct Running {
    job: Job,
    is_told: bool,
    is_aborting: bool,
}

/// What has become of a task.
#[derive(Default)]
struct Fate {
    handle: Option<TaskHandle>,
    is_refused: bool,
    is_cancelled: bool,
    starts: u8,
    outcomes: Vec<Outcome>,
}

pub(crate) struct Scene {
    world: World,
    plans: [Plan; 2],
    client: ClientId,
    first: WorkerId,
    processes: [Process; 2],
    tasks: [Fate; 2],
    submitted: usize,
}

impl Scene {
    /// One client and two workers, attached.
    pub(crate) fn new(plans: [Plan; 2]) -> Self {
        let mut world = World::new(Config {
            tasks: 3,
            clients: 1,
            workers: 10,
            labels: 0,
            ports: 1,
            mailbox: 2,
            pool: 2,
            quota: 3,
            queue_ahead: 1,
            work_per_poll: 4,
            ..Config::default()
        });
        let hello = ClientHello {
            key: 1,
            session: 1,
            keep_outcomes: false,
            token: Token(0),
        };
        let welcome = world.scheduler.handle_client_up(world.now, PORT, hello);
        let mut scene = Self {
            client: welcome.expect("room for one").client,
            world,
            plans,
            first: WorkerId(0),
            processes: Default::default(),
            tasks: Default::default(),
            submitted: 0,
        };
        for worker in WORKERS {
            scene.attach(worker);
        }
        (scene.first, _) = scene.processes[0].attached.expect("just attached");
        scene
    }

    /// Whether what happens now was checked before, step by step.
    pub(crate) fn set_replay(&mut self, is_replay: bool) {
        self.world.is_replay = is_replay;
    }

    /// A driver with a bug.
    pub(crate) fn run_tombstones(&mut self) {
        self.world.claims_tombstones = true;
    }

    /// All that can happen next.
    pub(crate) fn possible(&self) -> Vec<Event> {
        let mut events = Vec::new();
        if self.submitted < self.tasks.len() {
            events.push(Event::Submit);
        }
        for (task, fate) in self.tasks.iter().enumerate() {
            if fate.handle.is_some() && !fate.is_cancelled && fate.outcomes.is_empty() {
                events.push(Event::Cancel(task));
            }
        }
        for worker in WORKERS {
            self.possible_of(worker, &mut events);
        }
        events
    }

    fn possible_of(&self, worker: usize, events: &mut Vec<Event>) {
        let process = &self.processes[worker];
        let Some((id, _)) = process.attached else {
            events.push(Event::Restart(worker));
            if !process.orphans.is_empty() {
                events.push(Event::Return(worker));
            }
            return;
        };
        events.push(Event::Lose(worker));
        match &process.running {
            Some(running) => {
                if !running.is_told {
                    events.push(Event::Tell(worker));
                }
                events.push(Event::Complete(worker));
                if running.is_aborting {
                    events.push(Event::Obey(worker));
                }
            }
            None => {
                let mail = self.world.mailboxes.get(&id);
                if mail.is_some_and(|mail| !mail.is_empty()) {
                    events.push(Event::TakeMail(worker));
                }
                if !self.world.pool.is_empty() {
                    events.push(Event::TakePool(worker));
                }
            }
        }
    }

    /// Lets it happen.
    pub(crate) fn happen(&mut self, event: Event) {
        match event {
            Event::Submit => self.submit(),
            Event::Cancel(task) => {
                self.tasks[task].is_cancelled = true;
                let (now, id) = (self.world.now, TaskId(task as u64));
                self.world.scheduler.handle_cancel(now, self.client, id);
            }
            Event::TakeMail(worker) => self.take_mail(worker),
            Event::TakePool(worker) => self.take_pool(worker),
            Event::Tell(worker) => self.tell(worker),
            Event::Complete(worker) => self.report(worker, Verdict::Completed),
            Event::Obey(worker) => self.report(worker, Verdict::Aborted),
            Event::Lose(worker) => self.lose(worker),
            Event::Restart(worker) => {
                let process = &mut self.processes[worker];
                process.orphans.clear();
                process.instance += 2;
                process.number = 0;
                self.attach(worker);
            }
            Event::Return(worker) => {
                for job in std::mem::take(&mut self.processes[worker].orphans) {
                    let instance = self.processes[worker].instance;
                    self.hand_in(instance, job);
                }
                self.attach(worker);
            }
        }
        self.world.check();
    }

    /// Polls until nothing is left to do; whether there was anything.
    pub(crate) fn poll(&mut self) -> bool {
        let before = *self.world.scheduler.stats();
        let envelopes = self.envelopes();
        let mut replies = 0;
        for round in 0.. {
            assert!(round < 100, "polls without end");
            let again = self.world.run_effects(100);
            self.world.inject(usize::MAX);
            let due = self.world.replies(usize::MAX);
            if due.is_empty() && !again {
                break;
            }
            replies += due.len();
            for (_, reply) in due {
                self.obey(reply);
            }
        }
        replies > 0 || envelopes != self.envelopes() || before != *self.world.scheduler.stats()
    }

    fn envelopes(&self) -> usize {
        let mail = self.world.mailboxes.values().map(|mail| mail.len());
        self.world.pool.len() + mail.sum::<usize>()
    }

    /// Lets everybody finish, then judges.
    pub(crate) fn finish(mut self) {
        self.poll();
        for round in 0.. {
            for worker in WORKERS {
                self.go_on(worker);
            }
            let stats = self.world.scheduler.stats();
            if stats.open == 0 && self.envelopes() == 0 {
                break;
            }
            assert!(round < 20, "stuck: {stats:?}");
        }
        self.poll();
        self.world.scheduler.sanity_check();
        for task in 0..self.submitted {
            self.judge(task);
        }
        let scheduler = &self.world.scheduler;
        assert_eq!(scheduler.tasks(), 0, "records left over");
        assert!(self.world.payloads.is_empty(), "payloads left over");
        let stats = scheduler.stats();
        assert_eq!(stats.outstanding_pool, 0, "pool credit left over");
        assert_eq!(stats.outstanding_directed, 0, "mailbox credit left over");
        assert_eq!(stats.stale_credit, 0, "credit invented");
    }

    /// One turn of a worker that works as it should.
    fn go_on(&mut self, worker: usize) {
        if self.processes[worker].attached.is_none() {
            self.happen(Event::Restart(worker));
        }
        if self.processes[worker].running.is_some() {
            self.report(worker, Verdict::Completed);
        }
        self.poll();
        self.take_mail(worker);
        if self.processes[worker].running.is_none() {
            self.take_pool(worker);
        }
        self.poll();
    }

    fn judge(&self, task: usize) {
        let fate = &self.tasks[task];
        let Fate {
            starts, outcomes, ..
        } = fate;
        if fate.is_refused {
            assert!(*starts == 0 && outcomes.is_empty(), "refused, and yet");
            return;
        }
        let [outcome] = outcomes[..] else {
            panic!("task {task} has the outcomes {outcomes:?}");
        };
        match outcome {
            Outcome::Completed => assert!(*starts > 0, "completed, and never started"),
            Outcome::Cancelled { started } => {
                assert_eq!(started, *starts > 0, "the truth about having started");
                assert!(fate.is_cancelled, "nobody asked for it");
            }
            Outcome::WorkerLost => {}
            other => panic!("task {task} ended as {other:?}"),
        }
        let starts_max = match self.plans[task] {
            Plan::Any { attempts } => attempts,
            Plan::First => 1,
        };
        assert!(*starts <= starts_max, "started {starts} times");
    }

    fn submit(&mut self) {
        let task = self.submitted;
        self.submitted += 1;
        let id = TaskId(task as u64);
        let submit = match self.plans[task] {
            Plan::Any { attempts } => Submit::new(id, Target::Any).attempts(attempts),
            Plan::First => Submit::new(id, Target::Worker(self.first)),
        };
        let now = self.world.now;
        match self.world.scheduler.handle_submit(now, self.client, submit) {
            Submitted::Accepted(handle) => {
                self.world.payloads.insert(handle);
                self.tasks[task].handle = Some(handle);
            }
            Submitted::Refused(_) => self.tasks[task].is_refused = true,
            other => panic!("{other:?}"),
        }
    }

    fn attach(&mut self, worker: usize) {
        let process = &mut self.processes[worker];
        process.number += 1;
        let registration = Registration {
            name: NameKey(worker as u128 + 1),
            instance: process.instance,
            number: process.number,
            slots: 1,
            prefetch: 0,
            busy: 0,
            labels: Labels::NONE,
            token: Token(0),
        };
        let now = self.world.now;
        match self
            .world
            .scheduler
            .handle_worker_up(now, PORT, registration)
        {
            Registered::Admitted { worker, epoch } => process.attached = Some((worker, epoch)),
            other => panic!("not admitted: {other:?}"),
        }
    }

    fn lose(&mut self, worker: usize) {
        // What was taken is told before the loss: both come over the same ring.
        self.tell(worker);
        let process = &mut self.processes[worker];
        let (id, epoch) = process.attached.take().expect("it is attached");
        process
            .orphans
            .extend(process.running.take().map(|running| running.job));
        let now = self.world.now;
        self.world
            .scheduler
            .handle_worker_down(now, id, epoch, taskyard_core::Loss::Closed);
    }

    fn take_mail(&mut self, worker: usize) {
        let (id, epoch) = self.processes[worker].attached.expect("it is attached");
        match self.world.pop_mailbox(id, epoch) {
            Some(Popped::Claimed(job)) => self.start(worker, job, true),
            Some(Popped::Tombstone) => self.discard(Source::Mailbox { worker: id, epoch }),
            None => {}
        }
    }

    fn take_pool(&mut self, worker: usize) {
        let (id, epoch) = self.processes[worker].attached.expect("it is attached");
        match self.world.steal(id, epoch) {
            Some(Popped::Claimed(job)) => self.start(worker, job, false),
            Some(Popped::Tombstone) => self.discard(Source::Pool),
            None => {}
        }
    }

    fn discard(&mut self, source: Source) {
        let now = self.world.now;
        self.world.scheduler.handle_discarded(now, source);
    }

    fn start(&mut self, worker: usize, job: Job, is_told: bool) {
        let is_this = |fate: &Fate| fate.handle == Some(job.handle) && fate.outcomes.is_empty();
        let Some(task) = self.tasks.iter().position(is_this) else {
            panic!("started, and over already: {job:?}");
        };
        let runs = |process: &Process| {
            let running = process.running.as_ref();
            running.is_some_and(|running| running.job.handle == job.handle)
        };
        assert!(!self.processes.iter().any(runs), "started twice at a time");
        if self.plans[task] == Plan::First {
            // Also where that process is now, if it has come back.
            assert_eq!(worker, 0, "started elsewhere");
        }
        self.tasks[task].starts += 1;
        self.processes[worker].running = Some(Running {
            job,
            is_told,
            is_aborting: false,
        });
    }

    fn tell(&mut self, worker: usize) {
        let Some(running) = &mut self.processes[worker].running else {
            return;
        };
        if std::mem::replace(&mut running.is_told, true) {
            return;
        }
        let Job {
            handle,
            attempt,
            worker,
            epoch,
        } = running.job;
        let now = self.world.now;
        self.world
            .scheduler
            .handle_claimed(now, handle, attempt, worker, epoch);
    }

    fn report(&mut self, worker: usize, verdict: Verdict) {
        self.tell(worker);
        let running = self.processes[worker].running.take();
        let report = report_of(running.expect("it runs something").job, verdict);
        let now = self.world.now;
        let reported = self.world.scheduler.handle_reported(now, report);
        assert_eq!(reported, Reported::Counted, "{report:?}");
    }

    fn hand_in(&mut self, instance: u64, job: Job) {
        let now = self.world.now;
        let report = report_of(job, Verdict::Completed);
        let first = self
            .world
            .scheduler
            .handle_handed_in(now, instance, report, None);
        if let Reported::AskFirst(stamp) = first {
            let answer = self.world.revoke(job.handle, stamp);
            let then = self
                .world
                .scheduler
                .handle_handed_in(now, instance, report, Some(answer));
            assert!(!matches!(then, Reported::AskFirst(_)), "asked twice");
        }
    }

    fn obey(&mut self, reply: Reply) {
        match reply {
            Reply::Outcome(outcome) => {
                let task = &mut self.tasks[outcome.task.0 as usize];
                task.outcomes.push(outcome.outcome);
            }
            Reply::Abort {
                handle, attempt, ..
            } => {
                for process in &mut self.processes {
                    if let Some(running) = &mut process.running
                        && (running.job.handle, running.job.attempt) == (handle, attempt)
                    {
                        running.is_aborting = true;
                    }
                }
            }
            Reply::Retire { worker, epoch, .. } => {
                // Nothing there may start any more.
                while let Some(popped) = self.world.pop_mailbox(worker, epoch) {
                    assert_eq!(popped, Popped::Tombstone, "started by a lost worker");
                }
                let now = self.world.now;
                self.world.scheduler.handle_drained(now, worker, epoch);
            }
            Reply::Notice(_) | Reply::OutputMissed { .. } => {}
            other => panic!("nobody asked for {other:?}"),
        }
    }
}

fn report_of(job: Job, verdict: Verdict) -> Report {
    Report {
        worker: job.worker,
        epoch: job.epoch,
        handle: job.handle,
        attempt: job.attempt,
        verdict,
    }
}
