//! No allocation per task: a million tasks through every in-process path, on watched threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use taskyard_core::{Config, Outcome, Submit, Target, TaskId, Verdict, WorkerId};
use taskyard_dispatcher::{Clock, Dispatcher, LocalClient, LocalWorkers, ThreadParker};
use taskyard_tests::counting::{self, CountingAllocator, Watch};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

type Bytes = [u8; 16];

const TASKS: u64 = 1_000_000;
const WARM_UP: u64 = 20_000;
const OUTSTANDING: u64 = 512;

/// What one run of the client saw.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    completed: u64,
    failed: u64,
    cancelled: u64,
}

/// Every fourth task is directed, every sixteenth fails, every thirty-second is cancelled at once.
fn submit_one(client: &mut LocalClient<Bytes>, n: u64) {
    let target = if n.is_multiple_of(4) {
        Target::Worker(WorkerId((n / 4 % 4) as u32))
    } else {
        Target::Any
    };
    let mut payload = [0; 16];
    payload[..8].copy_from_slice(&n.to_le_bytes());
    client
        .submit(Submit::new(TaskId(n), target), payload)
        .expect("the ring has room");
    if n % 32 == 31 {
        assert!(client.cancel(TaskId(n)), "the ring has room");
    }
}

fn drive(
    dispatcher: &mut Dispatcher<Bytes>,
    client: &mut LocalClient<Bytes>,
    clock: Clock,
    range: std::ops::Range<u64>,
) -> Seen {
    let mut seen = Seen::default();
    let mut submitted = range.start;
    let mut settled = range.start;
    while settled < range.end {
        while submitted < range.end && submitted - settled < OUTSTANDING {
            submit_one(client, submitted);
            submitted += 1;
        }
        dispatcher.run_once(clock.now());
        while let Some(outcome) = client.poll_outcome() {
            settled += 1;
            match outcome.outcome {
                Outcome::Completed => seen.completed += 1,
                Outcome::Failed => seen.failed += 1,
                Outcome::Cancelled { .. } => seen.cancelled += 1,
                other => panic!("{other:?} of {:?}", outcome.task),
            }
        }
    }
    seen
}

fn work(workers: &mut LocalWorkers<Bytes>) -> bool {
    let Some(task) = workers.poll_task() else {
        return false;
    };
    let number = u64::from_le_bytes(task.payload[..8].try_into().expect("eight bytes"));
    let verdict = if number.is_multiple_of(16) {
        Verdict::Failed
    } else {
        Verdict::Completed
    };
    let verdict = if workers.is_aborted(&task) {
        Verdict::Aborted
    } else {
        verdict
    };
    workers.report(&task, verdict, Some(task.payload));
    true
}

#[test]
fn a_million_tasks_allocate_nothing() {
    let clock = Clock::start();
    let config = Config {
        tasks: 4096,
        quota: 4096,
        ..Config::default()
    };
    let mut dispatcher = Dispatcher::new(config, ThreadParker::new().unparker()).expect("a config");
    let mut client = dispatcher.attach_client(clock.now()).expect("a client");
    let names = ["a", "b", "c", "d"];
    let mut workers = dispatcher
        .attach_workers(clock.now(), &names, 2)
        .expect("workers");
    let stop = Arc::new(AtomicBool::new(false));
    let frozen = Arc::new(AtomicBool::new(false));
    let host = thread::spawn({
        let (stop, frozen) = (Arc::clone(&stop), Arc::clone(&frozen));
        move || {
            while !stop.load(Ordering::Acquire) {
                let watch = if frozen.load(Ordering::Acquire) {
                    Watch::Abort
                } else {
                    Watch::Off
                };
                counting::freeze(watch);
                if !work(&mut workers) {
                    workers.wait(Duration::from_millis(10));
                }
            }
            counting::thaw();
        }
    });

    drive(&mut dispatcher, &mut client, clock, 0..WARM_UP);
    frozen.store(true, Ordering::Release);
    counting::freeze(Watch::Abort);
    let started = Instant::now();
    let seen = drive(
        &mut dispatcher,
        &mut client,
        clock,
        WARM_UP..WARM_UP + TASKS,
    );
    let elapsed = started.elapsed();
    counting::thaw();
    stop.store(true, Ordering::Release);
    host.join().expect("the worker host ends");

    println!("{TASKS} tasks in {elapsed:?}: {seen:?}, no call to the allocator");
    assert_eq!(seen.completed + seen.failed + seen.cancelled, TASKS);
    assert!(
        seen.completed > TASKS / 2 && seen.failed > TASKS / 20,
        "{seen:?}"
    );
}

/// The canary: the watch must see an allocation, or the test above shows nothing.
#[test]
fn an_allocation_on_a_watched_thread_is_counted() {
    let before = counting::calls();
    counting::freeze(Watch::Count);
    let boxed = std::hint::black_box(Box::new(7_u64));
    drop(boxed);
    counting::thaw();
    assert!(
        counting::calls() >= before + 2,
        "an allocation and a deallocation"
    );
}
