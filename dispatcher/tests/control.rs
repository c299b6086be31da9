//! Queue control and labels, through the whole dispatcher.

use taskyard_core::{
    Config, Cursor, Explanation, Instant, Outcome, Select, Submit, Sweep, Target, TaskId, Token,
    Verdict, WorkerId, WorkerPhase,
};
use taskyard_dispatcher::{
    Answer, Dispatcher, Event, LocalClient, LocalWorkers, Order, OrderRefusal, PAGE_ROWS, Page,
    Port, Reply, ThreadParker,
};

type Bytes = [u8; 8];

const NOW: Instant = Instant(1);

struct Yard {
    dispatcher: Dispatcher<Bytes>,
    client: LocalClient<Bytes>,
    /// Of whoever controls the queues.
    operator: Port<Bytes>,
}

impl Yard {
    fn new() -> Self {
        Self::with_tasks(64)
    }

    fn with_tasks(tasks: u32) -> Self {
        let config = Config {
            tasks,
            ..Config::default()
        };
        let parker = ThreadParker::new();
        let mut dispatcher = Dispatcher::new(config, parker.unparker()).expect("it makes sense");
        let client = dispatcher.attach_client(NOW).expect("there is room");
        let operator = dispatcher.attach(parker.unparker()).expect("there is room");
        Self {
            dispatcher,
            client,
            operator,
        }
    }

    fn run(&mut self) {
        while self.dispatcher.run_once(NOW) > 0 {}
    }

    fn submit(&mut self, task: u64, target: Target) {
        let submit = Submit::new(TaskId(task), target);
        self.client.submit(submit, [0; 8]).expect("there is room");
        self.run();
    }

    fn order(&mut self, event: Event<Bytes>) {
        assert!(self.operator.has_room(1));
        self.operator.send(event);
        self.operator.flush();
        self.run();
    }

    fn outcome(&mut self) -> (u64, Outcome) {
        self.run();
        let outcome = self.client.poll_outcome().expect("it is over");
        (outcome.task.0, outcome.outcome)
    }

    /// The worker's thread looks around without taking anything.
    fn glance(&mut self, workers: &mut LocalWorkers<Bytes>) {
        assert!(workers.poll_task().is_none());
        workers.wait(std::time::Duration::ZERO);
        self.run();
    }
}

#[test]
fn a_draining_worker_finishes_and_leaves() {
    let mut yard = Yard::new();
    let mut workers = yard
        .dispatcher
        .attach_workers(NOW, &["one"], 1)
        .expect("there is room");
    let worker = workers.ids()[0].0;
    yard.submit(1, Target::Any);
    let task = workers.poll_task().expect("the pool has it");
    yard.submit(2, Target::Any);
    yard.submit(3, Target::Worker(worker));
    yard.order(Event::Drain(worker));
    yard.glance(&mut workers);
    assert_eq!(
        yard.dispatcher.workers_up(),
        1,
        "it has something to finish"
    );
    workers.report(&task, Verdict::Completed, None);
    assert_eq!(yard.outcome(), (1, Outcome::Completed));
    yard.glance(&mut workers);
    assert_eq!(yard.dispatcher.workers_up(), 0);
    assert_eq!(yard.outcome(), (3, Outcome::WorkerLost));
    // What others may run has not gone with it.
    let mut others = yard
        .dispatcher
        .attach_workers(NOW, &["two"], 1)
        .expect("there is room");
    yard.run();
    let task = others.poll_task().expect("it waits in the pool");
    others.report(&task, Verdict::Completed, None);
    assert_eq!(yard.outcome(), (2, Outcome::Completed));
}

#[test]
fn a_held_worker_takes_nothing_until_it_is_released() {
    let mut yard = Yard::new();
    let mut workers = yard
        .dispatcher
        .attach_workers(NOW, &["one"], 1)
        .expect("there is room");
    let worker = workers.ids()[0].0;
    yard.order(Event::Hold { worker, held: true });
    yard.glance(&mut workers);
    yard.submit(1, Target::Any);
    yard.submit(2, Target::Worker(worker));
    yard.glance(&mut workers);
    let client = yard.client.id();
    let why = yard.dispatcher.scheduler().explain(NOW, client, TaskId(2));
    assert_eq!(why, Some(Explanation::WorkerHeld(worker)));
    yard.order(Event::Hold {
        worker,
        held: false,
    });
    for task in [2, 1] {
        let delivery = workers.poll_task().expect("its own first");
        workers.report(&delivery, Verdict::Completed, None);
        assert_eq!(yard.outcome(), (task, Outcome::Completed));
    }
}

#[test]
fn a_sweep_answers_with_the_number() {
    let mut yard = Yard::new();
    for task in 0..10 {
        yard.submit(task, Target::Any);
    }
    let sweep = Sweep {
        select: Select::Topic(Target::Any),
        token: Token(5),
    };
    yard.order(Event::Sweep(sweep));
    let answer = yard.operator.poll_reply();
    assert!(
        matches!(
            answer,
            Some(Reply::Swept {
                token: Token(5),
                touched: 10
            })
        ),
        "{answer:?}"
    );
    for _ in 0..10 {
        let (_, outcome) = yard.outcome();
        assert_eq!(outcome, Outcome::Cancelled { started: false });
    }
    assert_eq!(yard.dispatcher.tasks(), 0);
}

#[test]
fn a_label_finds_its_workers() {
    let mut yard = Yard::new();
    let mut plain = yard
        .dispatcher
        .attach_workers(NOW, &["plain"], 1)
        .expect("there is room");
    let mut gpus = yard
        .dispatcher
        .attach_workers_with(NOW, &["first", "second"], 1, &["gpu", "fast"])
        .expect("there is room");
    let gpu = Target::Label(yard.client.label_key("gpu"));
    yard.submit(1, gpu);
    yard.submit(2, gpu);
    assert!(plain.poll_task().is_none());
    let tasks = [gpus.poll_task(), gpus.poll_task()];
    let [Some(first), Some(second)] = tasks else {
        panic!("two idle workers have it");
    };
    assert_ne!(first.worker, second.worker, "the least busy");
    for task in [first, second] {
        gpus.report(&task, Verdict::Completed, None);
    }
    let mut outcomes = [yard.outcome(), yard.outcome()];
    outcomes.sort_by_key(|(task, _)| *task);
    assert_eq!(outcomes, [(1, Outcome::Completed), (2, Outcome::Completed)]);
}

/// The answer to an order, if there is one.
fn ask(yard: &mut Yard, order: Order) -> Answer {
    let token = Token(7);
    yard.order(Event::Control { token, order });
    match yard.operator.poll_reply() {
        Some(Reply::Controlled {
            token: Token(7),
            answer,
        }) => answer,
        other => panic!("no answer, but {other:?}"),
    }
}

/// All pages of a list: how many rows each has.
fn pages(yard: &mut Yard, select: Select) -> Vec<usize> {
    let (mut from, mut lengths) = (Cursor::default(), Vec::new());
    loop {
        let Answer::Tasks(page) = ask(yard, Order::List { select, from }) else {
            panic!("no list");
        };
        lengths.push(page.rows.len());
        match page.next {
            Some(next) => from = next,
            None => return lengths,
        }
    }
}

#[test]
fn pages_are_full_until_the_last_and_short_where_little_is_meant() {
    let mut yard = Yard::with_tasks(8192);
    for task in 0..3000 {
        yard.submit(task, Target::Any);
    }
    let all = pages(&mut yard, Select::All);
    assert_eq!(all.iter().sum::<usize>(), 3000);
    assert!(all.iter().all(|rows| *rows <= PAGE_ROWS), "{all:?}");
    assert_eq!(
        all.iter().filter(|rows| **rows == PAGE_ROWS).count(),
        3000 / PAGE_ROWS
    );
    // Few rows do not mean that one page walks through the whole table.
    let client = yard.client.id();
    let one = Select::Task {
        client,
        task: TaskId(2998),
    };
    let one = pages(&mut yard, one);
    assert_eq!(one.iter().sum::<usize>(), 1);
    assert_eq!(one.len(), 3, "{one:?}");
    // From nowhere on there is nothing.
    let from = Cursor::from_bits(u32::MAX);
    let answer = ask(
        &mut yard,
        Order::List {
            select: Select::All,
            from,
        },
    );
    let nothing = Page {
        rows: Vec::new(),
        next: None,
    };
    assert_eq!(answer, Answer::Tasks(nothing));
}

#[test]
fn workers_are_listed_with_what_they_have_to_do() {
    let mut yard = Yard::new();
    let mut workers = yard
        .dispatcher
        .attach_workers(NOW, &["one", "two", "three"], 1)
        .expect("there is room");
    let ids: Vec<_> = workers.ids().iter().map(|id| id.0).collect();
    for (task, target) in [(1, ids[0]), (2, ids[0]), (3, ids[1])] {
        yard.submit(task, Target::Worker(target));
    }
    let hold = |worker, held| Order::Hold {
        worker: Target::Worker(worker),
        held,
    };
    assert_eq!(ask(&mut yard, hold(ids[2], true)), Answer::Done);
    workers.wait(std::time::Duration::ZERO);
    yard.run();
    let Answer::Workers(page) = ask(
        &mut yard,
        Order::Workers {
            from: Cursor::default(),
        },
    ) else {
        panic!("no list");
    };
    let rows: Vec<_> = page
        .rows
        .iter()
        .map(|row| (row.worker, row.phase, row.slots, row.taken + row.waiting))
        .collect();
    let expected = [
        (ids[0], WorkerPhase::Up, 1, 2),
        (ids[1], WorkerPhase::Up, 1, 1),
        (ids[2], WorkerPhase::Held, 1, 0),
    ];
    assert_eq!((rows, page.next), (expected.to_vec(), None));
    assert_eq!(ask(&mut yard, hold(ids[2], false)), Answer::Done);
    let nobody = ask(&mut yard, hold(WorkerId(4000), true));
    assert_eq!(nobody, Answer::Refused(OrderRefusal::Unknown));
    let nobody = ask(&mut yard, Order::Drain(Target::Any));
    assert_eq!(nobody, Answer::Refused(OrderRefusal::Unknown));
}
