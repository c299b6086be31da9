//! What a task costs in the scheduler: runs one path many times, to be counted from outside.
//!
//! ```text
//! cargo build --profile bench -p taskyard-core --example steps
//! valgrind --tool=callgrind target/release/examples/steps directed 16 1000
//! ```
//! The first argument is the path (`directed`, `pool`, `label`, `cancel`), the second the number of
//! workers, the third how many other tasks wait meanwhile. The difference between two runs with
//! different fourth arguments (how many tasks take the path) is free of all preparation.

use std::hint::black_box;

use taskyard_core::{
    ClientHello, ClientId, Config, Effect, Envelope, Epoch, Instant, LabelKey, Labels, NameKey,
    PortId, Registered, Registration, Report, Reported, Revoked, Scheduler, Submit, Submitted,
    Target, TaskId, Token, Verdict, WorkerId,
};

const NOW: Instant = Instant(1);
const PORT: PortId = PortId(0);
const LABEL: LabelKey = LabelKey(7);

struct Bench {
    scheduler: Scheduler,
    client: ClientId,
    workers: Vec<(WorkerId, Epoch)>,
    next: u64,
}

impl Bench {
    fn new(workers: u32, tasks: u32) -> Self {
        let config = Config {
            tasks: tasks + 1_000,
            quota: tasks + 1_000,
            workers: workers + 1,
            ..Config::default()
        };
        let limits = config.validate().expect("it makes sense");
        let mut scheduler = Scheduler::new(&limits);
        let hello = ClientHello {
            key: 1,
            session: 1,
            keep_outcomes: false,
            token: Token(0),
        };
        let client = scheduler.handle_client_up(NOW, PORT, hello);
        let client = client.expect("it is the first").client;
        let join = |name| {
            let labels = if name == 0 {
                // Has what nobody asks for, and is asked for what nobody does.
                Labels::NONE
            } else {
                Labels::new([LABEL])
            };
            let registration = Registration {
                name: NameKey(name),
                instance: 1,
                number: 1,
                slots: 1,
                prefetch: 0,
                busy: 0,
                labels,
                token: Token(0),
            };
            match scheduler.handle_worker_up(NOW, PORT, registration) {
                Registered::Admitted { worker, epoch } => (worker, epoch),
                other => panic!("{other:?}"),
            }
        };
        let workers = (0..=u128::from(workers)).map(join).collect();
        Self {
            scheduler,
            client,
            workers,
            next: 0,
        }
    }

    fn submit(&mut self, target: Target) {
        self.next += 1;
        let submit = Submit::new(TaskId(self.next), target);
        let submitted = self.scheduler.handle_submit(NOW, self.client, submit);
        assert!(matches!(submitted, Submitted::Accepted(_)));
    }

    /// Lets so many tasks wait for worker 0, which never reports.
    fn wait(&mut self, tasks: u32) {
        for _ in 0..tasks {
            self.submit(Target::Worker(self.workers[0].0));
        }
        while self.scheduler.poll_effect(NOW).is_some() {}
    }

    fn report(&mut self, (worker, epoch): (WorkerId, Epoch), envelope: Envelope) {
        let report = Report {
            worker,
            epoch,
            handle: envelope.handle,
            attempt: envelope.attempt,
            verdict: Verdict::Completed,
        };
        assert_eq!(
            self.scheduler.handle_reported(NOW, report),
            Reported::Counted
        );
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(port) = self.scheduler.poll_due_port() {
            while let Some(reply) = self.scheduler.poll_reply(NOW, port) {
                black_box(reply);
            }
        }
    }

    fn one_by_mail(&mut self, target: Target) {
        self.submit(target);
        let Some(Effect::Offer { worker, envelope }) = self.scheduler.poll_effect(NOW) else {
            panic!("nothing to offer");
        };
        assert_eq!(self.scheduler.poll_effect(NOW), None);
        self.report(self.workers[worker.0 as usize], envelope);
    }

    fn one_by_pool(&mut self, worker: (WorkerId, Epoch)) {
        self.submit(Target::Any);
        let envelope = self.scheduler.poll_inject(NOW).expect("the pool has room");
        let Envelope {
            handle, attempt, ..
        } = envelope;
        let (id, epoch) = worker;
        self.scheduler
            .handle_claimed(NOW, handle, attempt, id, epoch);
        self.report(worker, envelope);
    }

    fn one_cancelled(&mut self, worker: WorkerId) {
        self.submit(Target::Worker(worker));
        let Some(Effect::Offer { .. }) = self.scheduler.poll_effect(NOW) else {
            panic!("nothing to offer");
        };
        self.scheduler
            .handle_cancel(NOW, self.client, TaskId(self.next));
        let Some(Effect::Revoke { handle, stamp }) = self.scheduler.poll_effect(NOW) else {
            panic!("nothing to revoke");
        };
        self.scheduler
            .handle_revoked(NOW, handle, stamp, Revoked::Won);
        let epoch = self.workers[worker.0 as usize].1;
        let source = taskyard_core::Source::Mailbox { worker, epoch };
        self.scheduler.handle_discarded(NOW, source);
        self.collect();
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u32| {
        let argument = arguments.get(at);
        argument.map_or(default, |text| text.parse().expect("a number"))
    };
    let path = arguments.first().map_or("directed", String::as_str);
    let (workers, waiting, rounds) = (number(1, 16), number(2, 1_000), number(3, 1_000));
    let mut bench = Bench::new(workers, waiting);
    bench.wait(waiting);
    for round in 0..rounds {
        let worker = bench.workers[1 + (round % workers) as usize];
        match path {
            "directed" => bench.one_by_mail(Target::Worker(worker.0)),
            "label" => bench.one_by_mail(Target::Label(LABEL)),
            "pool" => bench.one_by_pool(worker),
            "cancel" => bench.one_cancelled(worker.0),
            other => panic!("no such path: {other}"),
        }
    }
    println!("{:?}", bench.scheduler.stats());
}
