//! Queue control of a real controller: two clients that work, an operator, and the command line.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Output;
use std::time::{Duration, Instant};

use taskyard_core::{ClientId, Cursor, Outcome, Phase, Submit, Target, TaskId, TaskInfo, WorkerId};
use taskyard_tests::cluster::{
    ControllerProcess, PATIENCE, await_workers, next_outcome, submit, taskyard,
};
use taskyard_zmq::{
    Answer, ClientOptions, Context, ContextOptions, ControlOrder, OrderRefusal, Owner,
    RemoteClient, Role, TopicRef, Which, WorkerRef,
};

const START: Cursor = Cursor::from_bits(0);
const CANCELLED: Outcome = Outcome::Cancelled { started: false };

fn context() -> Context {
    Context::new(ContextOptions::default()).expect("a context")
}

fn operator(controller: &ControllerProcess, context: &Context) -> RemoteClient {
    let file = controller.file_of(Role::Operator);
    let mut options = ClientOptions::from_connection_file(file).expect("a connection file");
    options.connect_timeout = PATIENCE;
    RemoteClient::connect(context, &options).expect("an operator connects")
}

fn ask(client: &mut RemoteClient, order: ControlOrder<'_>) -> Answer {
    client.ask(order, PATIENCE).expect("it is answered")
}

/// All pages of a list, and how many there were.
fn list(client: &mut RemoteClient, which: Which<'_>) -> (Vec<TaskInfo>, usize) {
    let (mut rows, mut from, mut pages) = (Vec::new(), START, 0);
    loop {
        let Answer::Tasks(page) = ask(client, ControlOrder::List { which, from }) else {
            panic!("no list of {which:?}");
        };
        assert!(page.rows.len() <= 64, "a page has {} rows", page.rows.len());
        rows.extend(page.rows);
        pages += 1;
        match page.next {
            Some(next) => from = next,
            None => return (rows, pages),
        }
    }
}

fn count(client: &mut RemoteClient, which: Which<'_>) -> usize {
    list(client, which).0.len()
}

/// Until what is asked for is so.
#[track_caller]
fn until(mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "it is never so");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn start_tasks(client: &mut RemoteClient, count: u64, payload: &str) -> Vec<TaskId> {
    let one = |_| {
        let task = client.next_task_id();
        submit(client, Submit::new(task, Target::Any), payload);
        task
    };
    (0..count).map(one).collect()
}

/// The record of the client that has these tasks: nobody else can say which is whose.
fn record_of(client: &mut RemoteClient) -> ClientId {
    let (rows, _) = list(client, Which::Of(Owner::Me));
    rows[0].client.expect("its own tasks have a client")
}

#[test]
fn a_client_sees_its_own_and_an_operator_all() {
    let controller = ControllerProcess::start(&[]);
    let context = context();
    let [mut one, mut other] = [(); 2].map(|()| controller.client(&context));
    let mut operator = operator(&controller, &context);
    let ours = start_tasks(&mut one, 300, "echo 1");
    let theirs = start_tasks(&mut other, 200, "echo 2");
    let all = [("one", &mut one, ours), ("other", &mut other, theirs)];
    let mut records = Vec::new();
    for (name, client, tasks) in all {
        // The last submit may be on its way.
        until(|| count(client, Which::Of(Owner::Me)) == tasks.len());
        let (rows, pages) = list(client, Which::Of(Owner::Me));
        assert!(pages >= tasks.len() / 64, "{pages} pages");
        let listed: BTreeSet<_> = rows.iter().map(|row| row.task).collect();
        assert_eq!(listed, tasks.into_iter().collect(), "{name} lists its own");
        let clients: BTreeSet<_> = rows.iter().map(|row| row.client).collect();
        assert_eq!(clients.len(), 1, "{name} lists nobody else's");
        records.push(rows[0].client.expect("it has one"));
    }
    assert_ne!(records[0], records[1]);
    assert_eq!(count(&mut operator, Which::All), 500);
    let of = |client: &ClientId| Which::Of(Owner::Client(*client));
    assert_eq!(count(&mut operator, of(&records[0])), 300);
    assert_eq!(count(&mut operator, of(&records[1])), 200);
    assert_eq!(count(&mut operator, Which::Topic(TopicRef::Any)), 500);
    assert_eq!(count(&mut operator, Which::OlderThanMs(u32::MAX)), 0);
    let Answer::Depth { waiting, pooled } = ask(&mut operator, ControlOrder::Depth(TopicRef::Any))
    else {
        panic!("no depth");
    };
    assert_eq!(waiting.iter().sum::<u32>() + pooled, 500);
    // What one asks of the other is refused, and changes nothing.
    let them = Owner::Client(records[1]);
    let which = Which::Of(them);
    for order in [
        ControlOrder::List { which, from: START },
        ControlOrder::Sweep(which),
        ControlOrder::Sweep(Which::All),
        ControlOrder::Cancel(them, TaskId(1)),
        ControlOrder::Explain(them, TaskId(1)),
        ControlOrder::Depth(TopicRef::Any),
        ControlOrder::Workers { from: START },
        ControlOrder::Drain(WorkerRef::Id(WorkerId(0))),
    ] {
        let refused = Answer::Refused(OrderRefusal::Forbidden);
        assert_eq!(ask(&mut one, order), refused, "{order:?}");
    }
    assert_eq!(count(&mut operator, Which::All), 500);
    // And the operator's word takes exactly those away.
    let swept = ask(&mut operator, ControlOrder::Sweep(which));
    assert_eq!(swept, Answer::Swept(200));
    for _ in 0..200 {
        assert_eq!(next_outcome(&mut other).outcome, CANCELLED);
    }
    let own = ControlOrder::Sweep(Which::Of(Owner::Me));
    assert_eq!(ask(&mut one, own), Answer::Swept(300));
    for _ in 0..300 {
        assert_eq!(next_outcome(&mut one).outcome, CANCELLED);
    }
}

#[test]
fn numbers_are_exact_while_tasks_run() {
    let controller = ControllerProcess::start(&["--shards", "2"]);
    let context = context();
    let [mut busy, mut swept] = [(); 2].map(|()| controller.client(&context));
    let mut operator = operator(&controller, &context);
    let _workers = controller.start_workers("w", 4);
    await_workers(&mut busy, 4);
    let mut cancelled = 0;
    let mut completed = 0;
    for _ in 0..5 {
        let fast = start_tasks(&mut busy, 1000, "echo fast");
        let slow = start_tasks(&mut swept, 400, "sleep 1");
        until(|| count(&mut swept, Which::Of(Owner::Me)) > 0);
        let record = record_of(&mut swept);
        let sweep = ControlOrder::Sweep(Which::Of(Owner::Client(record)));
        let Answer::Swept(touched) = ask(&mut operator, sweep) else {
            panic!("no sweep");
        };
        cancelled += touched;
        let mut ends = BTreeMap::<bool, u32>::new();
        for _ in slow {
            let outcome = next_outcome(&mut swept).outcome;
            assert!(
                [CANCELLED, Outcome::Completed].contains(&outcome),
                "{outcome:?}"
            );
            *ends.entry(outcome == CANCELLED).or_default() += 1;
        }
        assert_eq!(ends.get(&true).copied().unwrap_or(0), touched);
        completed += ends.get(&false).copied().unwrap_or(0);
        for _ in fast {
            assert_eq!(next_outcome(&mut busy).outcome, Outcome::Completed);
        }
    }
    assert_eq!(cancelled + completed, 5 * 400);
    println!("{cancelled} of 2000 were swept, {completed} had run");
}

#[test]
fn a_list_says_what_each_task_is_doing() {
    let controller = ControllerProcess::start(&[]);
    let context = context();
    let mut client = controller.client(&context);
    let mut operator = operator(&controller, &context);
    let _worker = controller.start_workers("w", 1);
    await_workers(&mut client, 1);
    let [running, waiting] = start_tasks(&mut client, 2, "sleep 60000")[..] else {
        unreachable!("two were started");
    };
    until(|| {
        let (rows, _) = list(&mut operator, Which::All);
        rows.iter()
            .any(|row| row.task == running && row.phase == Phase::Running)
    });
    std::thread::sleep(Duration::from_millis(20));
    let (mut rows, _) = list(&mut operator, Which::OlderThanMs(10));
    // Not those whose outcomes are still to be acknowledged.
    rows.retain(|row| row.phase != Phase::Done);
    let [first, second] = &rows[..] else {
        panic!("two tasks, not {rows:?}");
    };
    let (first, second) = match first.task == running {
        true => (first, second),
        false => (second, first),
    };
    assert_eq!((first.task, second.task), (running, waiting));
    assert_eq!(
        (first.phase, first.worker),
        (Phase::Running, Some(WorkerId(0)))
    );
    assert_ne!(second.phase, Phase::Running);
    for row in [first, second] {
        assert_eq!((row.target, row.attempt.0), (Target::Any, 1));
        assert!(row.age_ms >= 10, "{row:?}");
        assert_eq!(row.client, first.client);
    }
    let record = first.client.expect("it has one");
    let why = ask(&mut client, ControlOrder::Explain(Owner::Me, running));
    assert!(format!("{why:?}").contains("Running"), "{why:?}");
    let cancel = ControlOrder::Cancel(Owner::Client(record), waiting);
    assert_eq!(ask(&mut operator, cancel), Answer::Done);
    let seen = next_outcome(&mut client);
    assert_eq!((seen.task, seen.outcome), (waiting, CANCELLED));
}

#[test]
fn a_worker_process_is_held_released_and_drained() {
    let controller = ControllerProcess::start(&["--shards", "2"]);
    let context = context();
    let mut client = controller.client(&context);
    let mut operator = operator(&controller, &context);
    let mut workers = ["one", "two"].map(|name| controller.start_workers(name, 1));
    await_workers(&mut client, 2);
    let named = WorkerRef::Named("one.0");
    assert_eq!(ask(&mut operator, ControlOrder::Hold(named)), Answer::Done);
    let ran_on = |client: &mut RemoteClient| -> BTreeSet<u32> {
        let tasks = start_tasks(client, 200, "echo x");
        let seen = tasks.iter().map(|_| next_outcome(client));
        seen.map(|seen| seen.worker.expect("it ran")).collect()
    };
    // What was taken before the hold arrived may still run there.
    until(|| ran_on(&mut client).len() == 1);
    let rows = |operator: &mut RemoteClient| {
        let Answer::Workers(page) = ask(operator, ControlOrder::Workers { from: START }) else {
            panic!("no list");
        };
        assert_eq!(page.next, None);
        let rows = page.rows.into_iter();
        rows.map(|row| (row.worker, format!("{:?}", row.phase)))
            .collect::<Vec<_>>()
    };
    let states: BTreeSet<_> = rows(&mut operator).into_iter().map(|row| row.1).collect();
    assert_eq!(states, ["Held", "Up"].map(str::to_owned).into());
    assert_eq!(
        ask(&mut operator, ControlOrder::Release(named)),
        Answer::Done
    );
    until(|| ran_on(&mut client).len() == 2);
    assert_eq!(ask(&mut operator, ControlOrder::Drain(named)), Answer::Done);
    until(|| rows(&mut operator).len() == 1);
    until(|| workers[0].0.try_wait().expect("it can be asked").is_some());
    assert_eq!(ran_on(&mut client).len(), 1);
    let gone = ask(&mut operator, ControlOrder::Drain(named));
    assert_eq!(gone, Answer::Refused(OrderRefusal::Unknown));
    assert!(workers[1].0.try_wait().expect("it can be asked").is_none());
}

/// Runs the program with a connection file.
fn run(controller: &ControllerProcess, role: Role, args: &[&str]) -> Output {
    let mut command = taskyard();
    command.args(args);
    command.arg("--connect").arg(controller.file_of(role));
    command.output().expect("it runs")
}

fn said(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The same as an operator; what it prints.
fn operate(controller: &ControllerProcess, args: &[&str]) -> String {
    said(&run(controller, Role::Operator, args))
}

fn columns(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// Each word below its heading.
fn check_columns(listed: &str) {
    let mut lines = listed.lines();
    let heading = lines.next().expect("a heading");
    let places: Vec<_> = ["CLIENT", "TASK", "TOPIC", "STATE"]
        .iter()
        .map(|word| heading.find(word).expect("a column"))
        .collect();
    for line in lines {
        let row = columns(line);
        assert_eq!(row.len(), 8, "{line}");
        for (place, word) in places.iter().zip(&row) {
            assert!(line[*place..].starts_with(word), "not aligned: {line}");
        }
    }
}

#[test]
fn the_command_line_shows_and_ends_tasks() {
    let controller = ControllerProcess::start(&[]);
    let context = context();
    let mut client = controller.client(&context);
    let tasks = start_tasks(&mut client, 100, "echo x");
    until(|| count(&mut client, Which::Of(Owner::Me)) == 100);
    let record = record_of(&mut client).to_bits().to_string();
    let run = |args: &[&str]| operate(&controller, args);
    let listed = run(&["queue", "list"]);
    assert_eq!(
        listed.lines().count(),
        101,
        "a heading, and a line for each"
    );
    check_columns(&listed);
    for line in listed.lines().skip(1) {
        let row = columns(line);
        assert_eq!([row[0], row[2], row[5]], [record.as_str(), "any", "1"]);
    }
    let json = run(&[
        "queue", "list", "--client", &record, "--task", "7", "--json",
    ]);
    assert!(
        json.starts_with(&format!("{{\"client\":{record},\"task\":7,")),
        "{json}"
    );
    assert_eq!(json.lines().count(), 1);
    let depth = run(&["queue", "depth", "any"]);
    assert!(
        depth.lines().any(|line| columns(line) == ["total", "100"]),
        "{depth}"
    );
    let why = run(&["explain", &record, "7"]);
    assert!(
        why.starts_with("no_worker: ") || why.starts_with("in_pool: "),
        "{why}"
    );
    assert_eq!(run(&["queue", "remove", &record, "7"]), "removed\n");
    let cancelled = next_outcome(&mut client);
    assert_eq!((cancelled.task, cancelled.outcome), (tasks[6], CANCELLED));
    assert_eq!(
        run(&["queue", "purge", "--older-than", "10m"]),
        "purged 0\n"
    );
    assert_eq!(run(&["queue", "purge", "--topic", "any"]), "purged 99\n");
    for _ in 0..99 {
        assert_eq!(next_outcome(&mut client).outcome, CANCELLED);
    }
}

#[test]
fn the_command_line_holds_and_drains_workers() {
    let controller = ControllerProcess::start(&[]);
    let context = context();
    let mut client = controller.client(&context);
    let _worker = controller.start_workers("w", 1);
    await_workers(&mut client, 1);
    let run = |args: &[&str]| operate(&controller, args);
    assert_eq!(run(&["queue", "hold", "w.0"]), "held\n");
    let listed = run(&["workers"]);
    let row = columns(listed.lines().nth(1).expect("a worker"));
    assert_eq!((row[0], row[2], row[9]), ("0", "held", "w.0"), "{listed}");
    assert_eq!(run(&["queue", "release", "0"]), "released\n");
    assert_eq!(
        run(&["queue", "drain", "w.0", "--json"]),
        "{\"done\":\"draining\"}\n"
    );
    until(|| run(&["workers", "--json"]).is_empty());
}

#[test]
fn mistakes_are_one_line() {
    let controller = ControllerProcess::start(&[]);
    let cases: [(Role, &[&str], i32, &str); 11] = [
        (Role::Client, &["queue", "list"], 1, "needs the operator's"),
        (Role::Client, &["workers"], 1, "needs the operator's"),
        (
            Role::Client,
            &["queue", "purge", "--all"],
            1,
            "needs the operator's",
        ),
        (Role::Worker, &["queue", "list"], 1, "of a worker"),
        (
            Role::Operator,
            &["queue", "hold", "nobody"],
            1,
            "no such task or worker",
        ),
        (
            Role::Operator,
            &["explain", "1", "2"],
            1,
            "no such task or worker",
        ),
        (Role::Operator, &["queue", "purge"], 2, "--all"),
        (
            Role::Operator,
            &["queue", "list", "--task", "1"],
            2,
            "--client",
        ),
        (
            Role::Operator,
            &["queue", "list", "--client", "1", "--topic", "any"],
            2,
            "cannot be used with",
        ),
        (
            Role::Operator,
            &["queue", "hold", "99999999999"],
            2,
            "too large",
        ),
        (Role::Operator, &["queue", "remove", "1"], 2, "TASK"),
    ];
    for (role, args, code, part) in cases {
        let output = run(&controller, role, args);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        assert_eq!(text.lines().count(), 1, "{args:?}: {text}");
        assert!(
            text.starts_with("taskyard: ") && text.contains(part),
            "{args:?}: {text}"
        );
        assert!(output.stdout.is_empty());
    }
    let mut command = taskyard();
    let output = command
        .args(["queue", "list", "--connect", "/nowhere/at/all.json"])
        .output();
    let output = output.expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        (output.status.code(), text.lines().count()),
        (Some(1), 1),
        "{text}"
    );
}

#[test]
fn an_operator_sees_what_was_counted_and_how_long_tasks_take() {
    let controller = ControllerProcess::start(&[]);
    let _workers = controller.start_workers("w", 2);
    let context = context();
    let mut client = controller.client(&context);
    let mut operator = operator(&controller, &context);
    assert_eq!(
        ask(&mut client, ControlOrder::Statistics),
        Answer::Refused(OrderRefusal::Forbidden)
    );
    for _ in start_tasks(&mut client, 50, "echo x") {
        assert_eq!(next_outcome(&mut client).outcome, Outcome::Completed);
    }
    let Answer::Statistics(told) = ask(&mut operator, ControlOrder::Statistics) else {
        panic!("no statistics");
    };
    assert_eq!((told.clients, told.stats.accepted), (2, 50));
    assert_eq!((told.stats.completed, told.latencies.count()), (50, 50));
    assert_eq!(told.waits.count(), 50);
    let [wait, took] = [&told.waits, &told.latencies].map(|all| all.at_thousandth(1000));
    assert!(wait <= took, "a task waits {wait:?} and takes {took:?}");
    let named: BTreeMap<_, _> = told.counters().collect();
    assert_eq!(named["completed"], 50);
    assert!(named["workers"] > 0 && named["uptime_ms"] > 0);
}
