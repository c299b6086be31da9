//! The dispatcher with in-process peers on real threads: who gets what, and what a loss does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use taskyard_core::{Config, Outcome, Refusal, Submit, Target, TaskId, Verdict, WorkerId};
use taskyard_dispatcher::{LocalClient, LocalOutcome, LocalWorkers, Runner, RunnerOptions};

type Bytes = [u8; 8];

/// Long enough for a loaded machine; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

fn start(config: Config) -> Runner<Bytes> {
    Runner::start(config, RunnerOptions::default()).expect("a dispatcher starts")
}

fn client(runner: &Runner<Bytes>) -> LocalClient<Bytes> {
    runner
        .with(|dispatcher, now| dispatcher.attach_client(now))
        .expect("it runs")
        .expect("a client")
}

fn workers(runner: &Runner<Bytes>, names: &[&'static str], slots: u16) -> LocalWorkers<Bytes> {
    let names = names.to_vec();
    runner
        .with(move |dispatcher, now| dispatcher.attach_workers(now, &names, slots))
        .expect("it runs")
        .expect("workers")
}

/// Runs the tasks of some workers until told to stop, doubling the number in each; answers how
/// many.
fn host(mut workers: LocalWorkers<Bytes>, stop: &Arc<AtomicBool>) -> JoinHandle<u64> {
    let stop = Arc::clone(stop);
    thread::spawn(move || {
        let mut ran = 0;
        while !stop.load(Ordering::Acquire) {
            let Some(task) = workers.poll_task() else {
                workers.wait(Duration::from_millis(20));
                continue;
            };
            let doubled = u64::from_le_bytes(task.payload) * 2;
            workers.report(&task, Verdict::Completed, Some(doubled.to_le_bytes()));
            ran += 1;
        }
        ran
    })
}

fn submit(client: &mut LocalClient<Bytes>, n: u64, target: Target) {
    let submit = Submit::new(TaskId(n), target);
    client
        .submit(submit, n.to_le_bytes())
        .expect("the ring has room");
}

fn next(client: &mut LocalClient<Bytes>) -> LocalOutcome<Bytes> {
    client.wait_outcome(PATIENCE).expect("an outcome in time")
}

#[test]
fn every_task_has_one_outcome_whoever_runs_it() {
    const TASKS: u64 = 50_000;
    let runner = start(Config::default());
    let mut client = client(&runner);
    let stop = Arc::new(AtomicBool::new(false));
    let hosts = [
        host(workers(&runner, &["a", "b"], 1), &stop),
        host(workers(&runner, &["c"], 4), &stop),
        host(workers(&runner, &["d"], 1), &stop),
    ];
    let mut outcomes = BTreeMap::new();
    for n in 0..TASKS {
        submit(&mut client, n, Target::Any);
        while outcomes.len() as u64 + 1_000 < n {
            let outcome = next(&mut client);
            assert!(
                outcomes.insert(outcome.task.0, outcome).is_none(),
                "two outcomes for one task"
            );
        }
    }
    while (outcomes.len() as u64) < TASKS {
        let outcome = next(&mut client);
        assert!(
            outcomes.insert(outcome.task.0, outcome).is_none(),
            "two outcomes for one task"
        );
    }
    for (n, outcome) in &outcomes {
        assert_eq!(outcome.outcome, Outcome::Completed);
        assert_eq!(outcome.payload, Some((n * 2).to_le_bytes()));
    }
    assert!(
        client.wait_outcome(Duration::from_millis(20)).is_none(),
        "one outcome too many"
    );
    stop.store(true, Ordering::Release);
    let ran: u64 = hosts
        .into_iter()
        .map(|host| host.join().expect("a host ends"))
        .sum();
    assert_eq!(ran, TASKS, "each ran once");
}

#[test]
fn a_directed_task_runs_there_and_nowhere_else() {
    let runner = start(Config::default());
    let mut client = client(&runner);
    let locals = workers(&runner, &["here", "there"], 1);
    let ids: Vec<WorkerId> = locals.ids().iter().map(|(worker, _)| *worker).collect();
    let there = client.name_key("there");
    let stop = Arc::new(AtomicBool::new(false));
    let host = host(locals, &stop);
    for n in 0..200 {
        let target = if n % 2 == 0 {
            Target::Worker(ids[0])
        } else {
            Target::Named(there)
        };
        submit(&mut client, n, target);
    }
    for _ in 0..200 {
        let outcome = next(&mut client);
        let expected = ids[(outcome.task.0 % 2) as usize];
        assert_eq!(outcome.worker.map(|(worker, _)| worker), Some(expected));
        assert_eq!(outcome.outcome, Outcome::Completed);
    }
    submit(&mut client, 1_000, Target::Worker(WorkerId(77)));
    assert_eq!(
        next(&mut client).outcome,
        Outcome::Refused(Refusal::NoSuchWorker)
    );
    let nobody = client.name_key("nobody");
    submit(&mut client, 1_001, Target::Named(nobody));
    assert_eq!(
        next(&mut client).outcome,
        Outcome::Refused(Refusal::NoSuchName)
    );
    stop.store(true, Ordering::Release);
    host.join().expect("the host ends");
}

#[test]
fn a_multicast_has_one_outcome_per_worker_and_a_summary_last() {
    let runner = start(Config::default());
    let mut client = client(&runner);
    let stop = Arc::new(AtomicBool::new(false));
    let hosts = [
        host(workers(&runner, &["a", "b", "c"], 1), &stop),
        host(workers(&runner, &["d"], 1), &stop),
    ];
    submit(&mut client, 5, Target::All);
    let mut by = Vec::new();
    for _ in 0..4 {
        let part = next(&mut client);
        assert!(part.part && part.outcome == Outcome::Completed, "{part:?}");
        assert_eq!(part.payload, Some(10_u64.to_le_bytes()));
        by.push(part.worker.expect("it ran somewhere").0);
    }
    by.sort();
    by.dedup();
    assert_eq!(by.len(), 4, "four different workers");
    assert_eq!(
        next(&mut client).outcome,
        Outcome::Summary {
            parts: 4,
            completed: 4
        }
    );
    stop.store(true, Ordering::Release);
    for host in hosts {
        host.join().expect("a host ends");
    }
}

#[test]
fn what_a_vanished_worker_ran_runs_elsewhere_or_is_told() {
    let runner = start(Config::default());
    let mut client = client(&runner);
    let mut doomed = workers(&runner, &["doomed"], 4);
    let (id, _) = doomed.ids()[0];
    submit(&mut client, 1, Target::Any);
    let once = Submit::new(TaskId(2), Target::Any).attempts(1);
    client.submit(once, [0; 8]).expect("the ring has room");
    submit(&mut client, 3, Target::Worker(id));
    let mut taken = Vec::new();
    while taken.len() < 3 {
        match doomed.poll_task() {
            Some(task) => taken.push(task),
            None => doomed.wait(Duration::from_millis(20)),
        }
    }
    // Its thread ends, as after a panic: nothing is reported.
    drop(doomed);
    let stop = Arc::new(AtomicBool::new(false));
    let host = host(workers(&runner, &["heir"], 1), &stop);
    let outcomes: BTreeMap<u64, LocalOutcome<Bytes>> = (0..3)
        .map(|_| next(&mut client))
        .map(|outcome| (outcome.task.0, outcome))
        .collect();
    assert_eq!(outcomes[&1].outcome, Outcome::Completed);
    assert_eq!(outcomes[&1].attempts, 2);
    assert_eq!(outcomes[&2].outcome, Outcome::WorkerLost);
    assert_eq!(outcomes[&3].outcome, Outcome::WorkerLost);
    stop.store(true, Ordering::Release);
    assert_eq!(host.join().expect("the host ends"), 1);
}

#[test]
fn a_cancelled_task_that_never_started_says_so_and_one_that_runs_is_asked_to_stop() {
    let runner = start(Config::default());
    let mut client = client(&runner);
    submit(&mut client, 1, Target::Any);
    assert!(client.cancel(TaskId(1)));
    assert_eq!(
        next(&mut client).outcome,
        Outcome::Cancelled { started: false }
    );

    let mut locals = workers(&runner, &["slow"], 1);
    submit(&mut client, 2, Target::Any);
    let task = loop {
        match locals.poll_task() {
            Some(task) => break task,
            None => locals.wait(Duration::from_millis(20)),
        }
    };
    assert!(!locals.is_aborted(&task));
    assert!(client.cancel(TaskId(2)));
    while !locals.is_aborted(&task) {
        locals.wait(Duration::from_millis(20));
    }
    locals.report(&task, Verdict::Aborted, None);
    assert_eq!(
        next(&mut client).outcome,
        Outcome::Cancelled { started: true }
    );
}

#[test]
fn deadlines_end_what_waits_and_what_runs() {
    let runner = start(Config::default());
    let mut client = client(&runner);
    let late = Submit::new(TaskId(1), Target::Any).start_within_ms(20);
    client.submit(late, [0; 8]).expect("the ring has room");
    let outcome = next(&mut client).outcome;
    assert_eq!(outcome, Outcome::TimedOut(taskyard_core::Deadline::Start));
}

#[test]
fn past_the_quota_a_submit_is_refused_and_later_ones_are_not() {
    let config = Config {
        tasks: 64,
        quota: 8,
        ..Config::default()
    };
    let runner = start(config);
    let mut client = client(&runner);
    for n in 0..9 {
        submit(&mut client, n, Target::Any);
    }
    let refused = next(&mut client);
    assert_eq!(refused.outcome, Outcome::Refused(Refusal::QuotaFull));
    assert_eq!(refused.task, TaskId(8));
    let stop = Arc::new(AtomicBool::new(false));
    let host = host(workers(&runner, &["a"], 1), &stop);
    for _ in 0..8 {
        assert_eq!(next(&mut client).outcome, Outcome::Completed);
    }
    submit(&mut client, 9, Target::Any);
    assert_eq!(next(&mut client).outcome, Outcome::Completed);
    stop.store(true, Ordering::Release);
    host.join().expect("the host ends");
}

/// A client that does not read its outcomes stops itself, and nobody else.
#[test]
fn a_client_that_does_not_read_slows_nobody() {
    let config = Config {
        tasks: 200_000,
        quota: 150_000,
        ..Config::default()
    };
    let runner = start(config);
    let mut silent = client(&runner);
    let mut brisk = client(&runner);
    let stop = Arc::new(AtomicBool::new(false));
    let host = host(workers(&runner, &["a", "b"], 1), &stop);
    let mut sent = 0;
    // More than both rings hold: at the end neither takes anything any more.
    for n in 0..12_000 {
        if silent
            .submit(Submit::new(TaskId(n), Target::Any), [0; 8])
            .is_ok()
        {
            sent += 1;
        } else {
            thread::sleep(Duration::from_micros(50));
        }
    }
    for n in 0..2_000 {
        submit(&mut brisk, n, Target::Any);
        assert_eq!(next(&mut brisk).outcome, Outcome::Completed);
    }
    for _ in 0..sent {
        assert_eq!(next(&mut silent).outcome, Outcome::Completed);
    }
    stop.store(true, Ordering::Release);
    host.join().expect("the host ends");
}
