//! Real threads that sleep whenever they may: a lost wake-up hangs, and a watchdog says who.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use taskyard_core::{Config, Outcome, Submit, Target, TaskId, Verdict};
use taskyard_dispatcher::{
    Clock, Dispatcher, LocalClient, LocalWorkers, Runner, RunnerOptions, ThreadParker,
};

use crate::support::Random;

type Bytes = [u8; 8];

/// Nothing takes so long; only a lost wake-up waits for it.
const FOR_EVER: Duration = Duration::from_secs(300);
const WATCHDOG: Duration = Duration::from_secs(60);
const ROUNDS: u64 = 10_000;
/// More than the rings hold.
const BURST_MAX: usize = 12;
/// The payload that ends a thread of workers.
const STOP: Bytes = [0xff; 8];

/// Ends the other threads of a test, also one that has failed.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// How far each thread is, for the watchdog.
#[derive(Clone)]
struct Progress {
    rounds: Arc<[AtomicU64; 8]>,
    done: Sender<usize>,
}

impl Progress {
    fn note(&self, thread: usize) {
        self.rounds[thread].fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs the tasks of a thread's workers until told to stop.
fn work(mut workers: LocalWorkers<Bytes>, thread: usize, progress: &Progress) {
    loop {
        let Some(task) = workers.poll_task() else {
            workers.wait(FOR_EVER);
            continue;
        };
        progress.note(thread);
        workers.report(&task, Verdict::Completed, Some(task.payload));
        if task.payload == STOP {
            return;
        }
    }
}

/// Submits bursts and waits for their outcomes.
fn ask(mut client: LocalClient<Bytes>, thread: usize, progress: &Progress) -> LocalClient<Bytes> {
    let mut random = Random(thread as u64);
    let mut open = BTreeSet::new();
    for _ in 0..ROUNDS {
        progress.note(thread);
        for _ in 0..=random.below(BURST_MAX) {
            let task = client.next_task_id();
            open.insert(task);
            let submit = Submit::new(task, Target::Any);
            while client.submit(submit, task.0.to_le_bytes()).is_err() {
                settle_one(&mut client, &mut open);
            }
        }
        while !open.is_empty() {
            settle_one(&mut client, &mut open);
        }
    }
    client
}

fn settle_one(client: &mut LocalClient<Bytes>, open: &mut BTreeSet<TaskId>) {
    let outcome = client.wait_outcome(FOR_EVER).expect("a lost wake-up");
    assert!(
        open.remove(&outcome.task),
        "{outcome:?} was not asked for, or comes twice"
    );
    assert_eq!(outcome.outcome, Outcome::Completed);
    assert_eq!(outcome.payload, Some(outcome.task.0.to_le_bytes()));
}

fn drive(mut dispatcher: Dispatcher<Bytes>, parker: &ThreadParker, stop: &AtomicBool) {
    let clock = Clock::start();
    while !stop.load(Ordering::Acquire) {
        if dispatcher.run_once(clock.now()) == 0 && dispatcher.prepare_sleep() {
            // The flag once more: whoever raised it before the announcement woke nobody.
            match dispatcher.next_timeout() {
                _ if stop.load(Ordering::Acquire) => {}
                Some(due) => parker.park_timeout(Clock::wait(clock.now(), due)),
                None => parker.park(),
            }
            dispatcher.woke();
        }
    }
}

#[test]
fn threads_that_park_miss_nothing() {
    let parker = ThreadParker::new();
    let config = Config {
        tasks: 256,
        workers: 16,
        pool: 2,
        mailbox: 2,
        ..Config::default()
    };
    let dispatcher = Dispatcher::new(config, parker.unparker()).expect("a configuration");
    let mut dispatcher = dispatcher.with_ring_capacity(8);
    let now = taskyard_core::Instant(0);
    let clients = [(); 2].map(|()| dispatcher.attach_client(now).expect("a client"));
    let mut asker = dispatcher.attach_client(now).expect("a client");
    let names: [&[&str]; 3] = [&["a"], &["b", "c"], &["d"]];
    let workers = names.map(|names| dispatcher.attach_workers(now, names, 2).expect("workers"));

    let (done, finished) = mpsc::channel();
    let progress = Progress {
        rounds: Arc::default(),
        done,
    };
    let stop = Arc::new(AtomicBool::new(false));
    let (waker, dispatcher_stop) = (dispatcher.waker(), Arc::clone(&stop));
    let driver = thread::spawn(move || drive(dispatcher, &parker, &dispatcher_stop));
    for (thread, workers) in workers.into_iter().enumerate() {
        let progress = progress.clone();
        thread::spawn(move || {
            work(workers, thread, &progress);
            progress.done.send(thread)
        });
    }
    for (thread, client) in (3..).zip(clients) {
        let progress = progress.clone();
        thread::spawn(move || {
            drop(ask(client, thread, &progress));
            progress.done.send(thread)
        });
    }
    let wait_for = |threads: usize| {
        for _ in 0..threads {
            let ended = finished.recv_timeout(WATCHDOG);
            assert!(
                ended.is_ok(),
                "a thread hangs or has failed; rounds: {:?}",
                progress.rounds
            );
        }
    };
    wait_for(2);
    asker
        .submit(Submit::new(TaskId(1), Target::All), STOP)
        .expect("the ring has room");
    wait_for(3);
    while asker
        .wait_outcome(WATCHDOG)
        .expect("a summary at last")
        .part
    {}
    stop.store(true, Ordering::Release);
    waker.wake();
    driver.join().expect("the dispatcher ends");
}

/// Threads of workers end in the middle of things, and others take their place.
#[test]
fn every_task_has_one_outcome_while_threads_come_and_go() {
    const TASKS: u64 = 4_000;
    let config = Config {
        tasks: 256,
        workers: 16,
        pool: 4,
        ..Config::default()
    };
    let runner = Runner::start(config, RunnerOptions::default()).expect("a dispatcher");
    let attach = |runner: &Runner<Bytes>, name: String| {
        let attached = runner.with(move |d, now| d.attach_workers(now, &[name], 2));
        attached.expect("it runs").expect("a place")
    };
    let mut client = runner
        .with(|d, now| d.attach_client(now))
        .expect("it runs")
        .expect("a client");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for host in 0..2 {
            let (runner, stop) = (&runner, &stop);
            scope.spawn(move || {
                let mut random = Random(host);
                let mut round = 0;
                while !stop.load(Ordering::Acquire) {
                    round += 1;
                    let workers = attach(runner, format!("{host}-{round}"));
                    work_for(workers, random.below(200));
                }
            });
        }
        let _stop = StopOnDrop(&stop);
        let mut open = BTreeSet::new();
        for n in 0..TASKS {
            let task = TaskId(n);
            let submit = Submit::new(task, Target::Any).attempts(u8::MAX);
            client
                .submit(submit, n.to_le_bytes())
                .expect("the ring has room");
            open.insert(task);
            while open.len() > 32 || (n + 1 == TASKS && !open.is_empty()) {
                let outcome = client.wait_outcome(WATCHDOG);
                let outcome = outcome.unwrap_or_else(|| panic!("{open:?} hang: {runner:?}"));
                assert!(open.remove(&outcome.task), "twice: {outcome:?}");
                assert_eq!(outcome.outcome, Outcome::Completed);
            }
        }
    });
    let left = runner.with(|d, _| d.tasks()).expect("it runs");
    assert_eq!(left, 0);
}

/// Runs some tasks; the last ones that it takes it never reports.
fn work_for(mut workers: LocalWorkers<Bytes>, tasks: usize) {
    for n in 0..tasks {
        let Some(task) = workers.poll_task() else {
            workers.wait(Duration::from_millis(1));
            continue;
        };
        if n + 2 < tasks {
            workers.report(&task, Verdict::Completed, None);
        }
    }
}
