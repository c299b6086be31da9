//! A scheduler with its workers, and a driver that is as thin as it can be: what is counted is the
//! scheduler.

use std::collections::VecDeque;
use std::hint::black_box;

use taskyard_core::{
    ClientHello, ClientId, Config, Effect, Envelope, Epoch, Instant, LabelKey, Labels, NameKey,
    PortId, Registered, Registration, Reply, Report, Reported, Revoked, Scheduler, Submit,
    Submitted, Target, TaskId, Token, Verdict, WorkerId,
};

pub(super) const PORT: PortId = PortId(0);
/// All workers have it.
pub(super) const LABEL: LabelKey = LabelKey(0x1abe1);

/// A scheduler with workers, and a driver without threads.
pub(super) struct Rig {
    pub(super) scheduler: Scheduler,
    pub(super) now: Instant,
    pub(super) client: ClientId,
    pub(super) workers: Vec<(WorkerId, Epoch)>,
    /// Tasks so far: the number of the next.
    submitted: u64,
    /// Envelopes of all mailboxes, in the order in which they were offered.
    pub(super) offered: VecDeque<(WorkerId, Envelope)>,
    pub(super) outcomes: u64,
    /// Tasks that queue control has taken away, by its own count.
    pub(super) swept: u32,
}

impl Rig {
    /// One client, and workers of one slot each that all have the label.
    pub(super) fn new(workers: u32, tasks: u32) -> Self {
        let config = Config {
            tasks,
            clients: 4,
            workers: workers + 1,
            ports: 1,
            quota: tasks,
            ..Config::default()
        };
        let limits = config.validate().expect("its numbers make sense");
        let mut scheduler = Scheduler::new(&limits);
        let now = Instant(1_000_000_000);
        let hello = ClientHello {
            key: 1,
            session: 1,
            keep_outcomes: false,
            token: Token(0),
        };
        let welcome = scheduler.handle_client_up(now, PORT, hello);
        let client = welcome.expect("there is room for one").client;
        let workers = (0..workers).map(|number| admit(&mut scheduler, now, number));
        let workers = workers.collect();
        Self {
            scheduler,
            now,
            client,
            workers,
            submitted: 0,
            offered: VecDeque::with_capacity(256),
            outcomes: 0,
            swept: 0,
        }
    }

    /// Submits one task that is accepted; its number is how many were before it.
    pub(super) fn submit(&mut self, submit: impl FnOnce(TaskId) -> Submit) {
        let submit = submit(TaskId(self.submitted));
        self.submitted += 1;
        let answer = self.scheduler.handle_submit(self.now, self.client, submit);
        assert!(matches!(answer, Submitted::Accepted(_)), "{answer:?}");
    }

    /// Polls effects until there is none; every revoke is won.
    pub(super) fn effects(&mut self) {
        loop {
            while let Some(effect) = self.scheduler.poll_effect(self.now) {
                match effect {
                    Effect::Offer { worker, envelope } => {
                        self.offered.push_back((worker, envelope));
                    }
                    Effect::Revoke { handle, stamp } => {
                        let won = Revoked::Won;
                        self.scheduler.handle_revoked(self.now, handle, stamp, won);
                    }
                    other => {
                        black_box(other);
                    }
                }
            }
            // It stops now and then to let others have their turn.
            if self.scheduler.next_timeout() != Some(Instant(0)) {
                break;
            }
        }
    }

    /// Takes all replies.
    pub(super) fn replies(&mut self) {
        while let Some(port) = self.scheduler.poll_due_port() {
            while let Some(reply) = self.scheduler.poll_reply(self.now, port) {
                match reply {
                    Reply::Outcome(outcome) => {
                        black_box(outcome);
                        self.outcomes += 1;
                    }
                    Reply::Swept { touched, .. } => self.swept += touched,
                    other => {
                        black_box(other);
                    }
                }
            }
        }
    }

    /// A result that counts.
    pub(super) fn complete(&mut self, (worker, epoch): (WorkerId, Epoch), envelope: Envelope) {
        let report = Report {
            worker,
            epoch,
            handle: envelope.handle,
            attempt: envelope.attempt,
            verdict: Verdict::Completed,
        };
        let reported = self.scheduler.handle_reported(self.now, report);
        assert_eq!(reported, Reported::Counted);
    }

    /// The worker whose backlog is long.
    pub(super) fn busy(&self) -> (WorkerId, Epoch) {
        self.workers[self.workers.len() / 2]
    }

    /// `queued` tasks for the busy worker, and those that its mailbox holds.
    pub(super) fn fill_backlog(&mut self, queued: u32, start_within_ms: u32) {
        let target = Target::Worker(self.busy().0);
        for number in 0..queued {
            // Spread over a minute, as tasks that come one after the other are.
            let spread = if start_within_ms == 0 {
                0
            } else {
                number % 60_000
            };
            self.submit(|task| Submit::new(task, target).start_within_ms(start_within_ms + spread));
        }
        self.effects();
        self.offered.clear();
    }
}

fn admit(scheduler: &mut Scheduler, now: Instant, number: u32) -> (WorkerId, Epoch) {
    let registration = Registration {
        name: NameKey(u128::from(number) << 64 | 0x5eed),
        instance: u64::from(number),
        number: 1,
        slots: 1,
        prefetch: 0,
        busy: 0,
        labels: Labels::new([LABEL]),
        token: Token(0),
    };
    match scheduler.handle_worker_up(now, PORT, registration) {
        Registered::Admitted { worker, epoch } => (worker, epoch),
        other => panic!("there is room: {other:?}"),
    }
}
