//! The end, of a worker's thread or of everything: what was accepted is answered or dropped once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use taskyard_core::{Config, Outcome, Submit, Target, TaskId, Verdict};
use taskyard_dispatcher::{LocalClient, LocalWorkers, Payload, Runner, RunnerOptions};

use crate::support::{Counted, Mint};

/// Only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

fn start() -> Runner<Counted> {
    Runner::start(Config::default(), RunnerOptions::default()).expect("a dispatcher")
}

fn client(runner: &Runner<Counted>) -> LocalClient<Counted> {
    let attached = runner.with(|d, now| d.attach_client(now));
    attached.expect("it runs").expect("a client")
}

fn workers(runner: &Runner<Counted>, name: &'static str, slots: u16) -> LocalWorkers<Counted> {
    let attached = runner.with(move |d, now| d.attach_workers(now, &[name], slots));
    attached.expect("it runs").expect("workers")
}

/// One task that it runs, one that it has run without telling, and one that waits in its mailbox.
#[test]
fn shutdown_by_a_panic_hands_the_tasks_back() {
    let runner = start();
    let mint = Mint::default();
    let mut client = client(&runner);
    let mut doomed = workers(&runner, "doomed", 2);
    let (id, _) = doomed.ids()[0];
    for n in 1..=3 {
        let submit = Submit::new(TaskId(n), Target::Worker(id)).attempts(1);
        client.submit(submit, mint.make(n)).expect("there is room");
    }
    let panicking = thread::spawn(move || {
        let mut running = Vec::new();
        while running.len() < 2 {
            match doomed.poll_task() {
                Some(task) => running.push(task),
                None => doomed.wait(PATIENCE),
            }
        }
        panic!("a worker that panics, as this test wants it");
    });
    assert!(panicking.join().is_err());
    for _ in 1..=3 {
        let outcome = client.wait_outcome(PATIENCE).expect("handed back");
        assert_eq!(outcome.outcome, Outcome::WorkerLost, "{outcome:?}");
    }
    assert_eq!(runner.with(|d, _| (d.tasks(), d.workers_up())), Ok((0, 0)));
    drop((runner, client));
    assert_eq!(mint.living(), 0);
}

/// What a panic leaves of a task that may run again is run by another worker.
#[test]
fn shutdown_by_a_panic_lets_another_worker_go_on() {
    let runner = start();
    let mint = Mint::default();
    let mut client = client(&runner);
    let mut doomed = workers(&runner, "doomed", 1);
    let submit = Submit::new(TaskId(1), Target::Any).attempts(2);
    client.submit(submit, mint.make(1)).expect("there is room");
    let panicking = thread::spawn(move || {
        while doomed.poll_task().is_none() {
            doomed.wait(PATIENCE);
        }
        panic!("a worker that panics, as this test wants it");
    });
    assert!(panicking.join().is_err());
    let mut heir = workers(&runner, "heir", 1);
    let task = loop {
        match heir.poll_task() {
            Some(task) => break task,
            None => heir.wait(PATIENCE),
        }
    };
    heir.report(&task, Verdict::Completed, None);
    let outcome = client.wait_outcome(PATIENCE).expect("an outcome");
    assert_eq!((outcome.outcome, outcome.attempts), (Outcome::Completed, 2));
    drop((task, runner, client, heir));
    assert_eq!(mint.living(), 0);
}

/// The dispatcher ends while clients submit and workers work, so payloads are in every place where
/// they can be: in rings, in the table, in a worker's hands. Each is dropped once, by whoever is
/// last; a submit that is refused gives its payload back.
#[test]
fn shutdown_in_the_middle_drops_each_payload_once() {
    const ROUNDS: usize = if cfg!(miri) { 2 } else { 50 };
    for _ in 0..ROUNDS {
        let runner = start();
        let mint = Mint::default();
        let is_over = AtomicBool::new(false);
        let [first, second] = [(); 2].map(|()| client(&runner));
        let hosts = ["a", "b"].map(|name| workers(&runner, name, 2));
        thread::scope(|scope| {
            for client in [first, second] {
                scope.spawn(|| submit_until(client, &mint, &is_over));
            }
            for workers in hosts {
                scope.spawn(|| work_until(workers, &is_over));
            }
            // Some have gone all the way by then, and others have not.
            while runner.with(|d, _| d.stats().completed).expect("it runs") < 20 {}
            drop(runner);
            is_over.store(true, Ordering::Release);
        });
        assert_eq!(mint.living(), 0, "left over, or dropped twice");
    }
}

fn submit_until(mut client: LocalClient<Counted>, mint: &Mint, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Acquire) {
        let task = client.next_task_id();
        let submit = Submit::new(task, Target::Any);
        if let Err(refused) = client.submit(submit, mint.make(task.0)) {
            assert_eq!(refused.number, task.0, "it is handed back");
        }
        drop(client.poll_outcome());
    }
}

fn work_until(mut workers: LocalWorkers<Counted>, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Acquire) {
        if let Some(task) = workers.poll_task() {
            let result = task.payload.share();
            workers.report(&task, Verdict::Completed, Some(result));
        }
    }
}
