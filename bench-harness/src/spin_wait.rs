//! How long a worker that is ready waits for its task, when everybody spins, and when nobody does.
//!
//! ```text
//!  core 0: dispatcher        core 1: worker        either: client
//! ```
//! Three threads on two cores, one task at a time, so the worker is always ready: the time from
//! the submit to the worker's hands is what it has waited. Each strategy is that of all three
//! threads. With `spin` one of them always has to wait until the system takes a core away from
//! another, which does nothing but look; that is what this is here to show.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use hdrhistogram::Histogram;
use taskyard_controller::one_line;
use taskyard_core::{Config, Outcome, Submit, Target, Verdict};
use taskyard_dispatcher::{
    Idle, IdleStep, IdleStrategy, LocalClient, LocalWorkers, Runner, RunnerOptions,
    cores_available, pin_current_thread,
};

use crate::error::Error;

/// Nanoseconds since the start of the measurement, at the submit.
type Payload = [u8; 8];

const STRATEGIES: [(&str, IdleStrategy); 3] = [
    ("spin", IdleStrategy::Spin),
    ("backoff", IdleStrategy::Backoff),
    ("park", IdleStrategy::Park),
];
/// Longer than any task takes; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(10);
const SECONDS_MAX: f64 = 3_600.0;

/// Measures the longest time that a ready worker waits, by idle strategy.
#[derive(Debug, Parser)]
#[command(name = "bench-harness starvation")]
struct Options {
    /// Seconds measured for each strategy
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    seconds: f64,
}

/// Measures and prints a table.
///
/// # Errors
/// Options that make no sense, or a task without its one good outcome.
pub(crate) fn run(arguments: impl Iterator<Item = String>) -> Result<(), Error> {
    let arguments = std::iter::once(crate::host::name_of("starvation")).chain(arguments);
    let options = Options::try_parse_from(arguments).map_err(|error| {
        if !error.use_stderr() {
            error.exit();
        }
        Error::Options(one_line(&error.to_string()))
    })?;
    if !(options.seconds > 0.0 && options.seconds <= SECONDS_MAX) {
        let allowed = format!("--seconds is above 0 and at most {SECONDS_MAX}");
        return Err(Error::Options(allowed));
    }
    println!(
        "a ready worker's wait; dispatcher on core 0, worker on core 1, client on either; {} cores",
        cores_available()
    );
    println!(
        "{:<8} {:>9} {:>9} {:>9} {:>10} {:>11}",
        "idle", "tasks", "p50 us", "p99 us", "p99.9 us", "longest us"
    );
    for (name, strategy) in STRATEGIES {
        let waits = measure(strategy, Duration::from_secs_f64(options.seconds))?;
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|q| micros(waits.value_at_quantile(q)));
        let (tasks, longest) = (waits.len(), micros(waits.max()));
        println!("{name:<8} {tasks:>9} {p50:>9.1} {p99:>9.1} {p999:>10.1} {longest:>11.1}");
    }
    Ok(())
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1_000.0
}

fn measure(idle: IdleStrategy, duration: Duration) -> Result<Histogram<u64>, Error> {
    let system = |error: &dyn std::fmt::Display| Error::System(error.to_string());
    let options = RunnerOptions {
        core: Some(0),
        idle,
    };
    let runner =
        Runner::<Payload>::start(Config::default(), options).map_err(|error| system(&error))?;
    let client = runner
        .with(|dispatcher, now| dispatcher.attach_client(now))
        .and_then(|attached| attached)
        .map_err(|error| system(&error))?;
    let workers = runner
        .with(|dispatcher, now| dispatcher.attach_workers(now, &["ready"], 1))
        .and_then(|attached| attached)
        .map_err(|error| system(&error))?;
    let is_over = AtomicBool::new(false);
    let start = Instant::now();
    thread::scope(|scope| {
        let working = scope.spawn(|| work(workers, idle, start, &is_over));
        let submitted = submit(client, idle, start, duration);
        is_over.store(true, Ordering::Release);
        let waits = working.join().expect("a worker does not panic");
        match submitted? {
            tasks if tasks == waits.len() => Ok(waits),
            tasks => Err(Error::Faults(format!(
                "{tasks} were submitted, {} were run",
                waits.len()
            ))),
        }
    })
}

fn nanos_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Runs one task after the other, and notes how long each was on its way.
fn work(
    mut workers: LocalWorkers<Payload>,
    strategy: IdleStrategy,
    start: Instant,
    is_over: &AtomicBool,
) -> Histogram<u64> {
    if let Err(error) = pin_current_thread(1) {
        eprintln!("the worker is not pinned: {error}");
    }
    let mut waits = Histogram::new(3).expect("three digits are allowed");
    let mut idle = Idle::new(strategy);
    while !is_over.load(Ordering::Acquire) {
        let task = workers.poll_task();
        if let Some(task) = &task {
            let submitted = u64::from_le_bytes(task.payload);
            waits
                .record(nanos_since(start).saturating_sub(submitted))
                .expect("the histogram grows by itself");
            workers.report(task, Verdict::Completed, None);
        }
        if idle.step(usize::from(task.is_some())) == IdleStep::Sleep {
            // Awake now and then, to hear of the end.
            workers.wait(Duration::from_millis(10));
            idle.reset();
        }
    }
    waits
}

/// One task at a time, until the time is over; answers how many.
fn submit(
    mut client: LocalClient<Payload>,
    strategy: IdleStrategy,
    start: Instant,
    duration: Duration,
) -> Result<u64, Error> {
    let mut tasks = 0;
    while start.elapsed() < duration {
        let submit = Submit::new(client.next_task_id(), Target::Any);
        let stamp = nanos_since(start).to_le_bytes();
        if client.submit(submit, stamp).is_err() {
            return Err(Error::Faults("one task does not fit in a ring".into()));
        }
        tasks += 1;
        match wait(&mut client, strategy) {
            Some(Outcome::Completed) => {}
            outcome => return Err(Error::Faults(format!("task {tasks}: {outcome:?}"))),
        }
    }
    Ok(tasks)
}

fn wait(client: &mut LocalClient<Payload>, strategy: IdleStrategy) -> Option<Outcome> {
    let mut idle = Idle::new(strategy);
    loop {
        if let Some(outcome) = client.poll_outcome() {
            return Some(outcome.outcome);
        }
        if idle.step(0) == IdleStep::Sleep {
            return client.wait_outcome(PATIENCE).map(|outcome| outcome.outcome);
        }
    }
}
