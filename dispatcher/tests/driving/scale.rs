//! More threads than cores, and more workers than anybody needs.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use taskyard_core::{Config, Outcome, Submit, Target, TaskId, Verdict};
use taskyard_dispatcher::{
    LocalWorkers, Runner, RunnerOptions, Sleepers, Stealer, ThreadParker, pool,
};

type Bytes = [u8; 8];

/// Only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(120);

/// Takes its share and no more, and sleeps whenever there is nothing.
fn take(share: u64, stealer: &Stealer<u64>, sleepers: &Sleepers) -> Vec<u64> {
    let parker = ThreadParker::new();
    let sleeper = sleepers.join(parker.unparker()).expect("there is a place");
    let mut was_woken = false;
    let mut taken = Vec::new();
    while (taken.len() as u64) < share {
        if let Some(item) = stealer.steal() {
            taken.push(item);
            if std::mem::take(&mut was_woken) && !stealer.is_empty() {
                sleeper.wake_one_more();
            }
            continue;
        }
        sleeper.announce();
        if stealer.is_empty() {
            parker.park();
        }
        was_woken |= sleeper.retract();
    }
    if was_woken {
        sleeper.wake_one_more();
    }
    taken
}

/// From one thief to as many as there may be. Each takes its share, or this never ends: so none
/// starves, and nothing is lost or doubled.
#[test]
fn scale_of_thieves_starves_none() {
    const ITEMS: u64 = if cfg!(miri) { 64 } else { 20_000 };
    for thieves in [1, 2, 3, 8, 24, Sleepers::THREADS_MAX as u64] {
        let (mut injector, stealer) = pool(8);
        let sleepers = Sleepers::new();
        let share = ITEMS / thieves;
        let mut taken = thread::scope(|scope| {
            let all: Vec<_> = (0..thieves)
                .map(|_| scope.spawn(|| take(share, &stealer, &sleepers)))
                .collect();
            let mut item = 0;
            while item < share * thieves {
                let mut injected = 0;
                while item < share * thieves && injector.push(item).is_ok() {
                    (item, injected) = (item + 1, injected + 1);
                }
                sleepers.wake(injected);
                thread::yield_now();
            }
            let hers = all.into_iter().map(|thief| thief.join().expect("it ends"));
            hers.inspect(|hers| assert!(hers.is_sorted(), "one thief takes in push order"))
                .flatten()
                .collect::<Vec<_>>()
        });
        taken.sort_unstable();
        assert!(
            taken.into_iter().eq(0..share * thieves),
            "with {thieves} thieves"
        );
    }
}

const WORKERS: u32 = 4_096;

/// Works until told to stop; answers how many tasks it has run.
fn work(mut workers: LocalWorkers<Bytes>, stop: &AtomicBool) -> u32 {
    let mut ran = 0;
    while !stop.load(Ordering::Acquire) {
        match workers.poll_task() {
            Some(task) => {
                workers.report(&task, Verdict::Completed, None);
                ran += 1;
            }
            None => workers.wait(Duration::from_millis(5)),
        }
    }
    ran
}

/// A multicast reaches each of them once, and tasks for any of them are all run.
#[test]
fn scale_of_workers_is_4096() {
    const TASKS: u32 = 10_000;
    const HOSTS: u32 = 4;
    let config = Config {
        workers: WORKERS,
        tasks: 2 * WORKERS,
        quota: 2 * WORKERS,
        ..Config::default()
    };
    let runner = Runner::<Bytes>::start(config, RunnerOptions::default()).expect("a dispatcher");
    let mut client = runner.with(|d, now| d.attach_client(now)).unwrap().unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let hosts: Vec<_> = (0..HOSTS)
            .map(|host| {
                let names = move |n| format!("{host}-{n}");
                let names: Vec<_> = (0..WORKERS / HOSTS).map(names).collect();
                let attached = runner.with(move |d, now| d.attach_workers(now, &names, 1));
                let workers = attached.unwrap().expect("places");
                scope.spawn(|| work(workers, &stop))
            })
            .collect();
        // An assertion that fails must not leave them working.
        let _stop = StopOnDrop(&stop);
        client
            .submit(Submit::new(TaskId(0), Target::All), [0; 8])
            .unwrap();
        let mut reached = BTreeSet::new();
        let summary = loop {
            let outcome = client.wait_outcome(PATIENCE).expect("an outcome");
            if !outcome.part {
                break outcome.outcome;
            }
            reached.insert(outcome.worker.expect("somebody ran it").0);
        };
        let (parts, completed) = (WORKERS, WORKERS);
        assert_eq!(summary, Outcome::Summary { parts, completed });
        assert_eq!(reached.len(), WORKERS as usize, "each of them once");

        let mut open = 0;
        for task in 1..=TASKS {
            let submit = Submit::new(TaskId(task.into()), Target::Any);
            client.submit(submit, [0; 8]).expect("there is room");
            open += 1;
            while open > 1_000 || (task == TASKS && open > 0) {
                let outcome = client.wait_outcome(PATIENCE).expect("an outcome");
                assert_eq!(outcome.outcome, Outcome::Completed);
                open -= 1;
            }
        }
        stop.store(true, Ordering::Release);
        let ran: u32 = hosts
            .into_iter()
            .map(|host| host.join().expect("it ends"))
            .sum();
        assert_eq!(ran, WORKERS + TASKS);
    });
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
