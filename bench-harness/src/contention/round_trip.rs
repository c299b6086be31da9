//! A task's whole way inside the process, against channels, `rayon` and `tokio`.
//!
//! ```text
//!  core 0                                            core 1
//! ┌───────────────────────────┐  mailbox or pool    ┌─────────┐
//! │ client  ▶  dispatcher     ├────────────────────▶│ worker  │    ours
//! │         ◀                 │◀────────────────────┤ (no-op) │
//! └───────────────────────────┘  reports            └─────────┘
//! ┌───────────────────────────┐  channel, spawn     ┌─────────┐
//! │ caller                    ├────────────────────▶│ worker  │    the rivals
//! │                           │◀────────────────────┤ (no-op) │
//! └───────────────────────────┘  channel, join      └─────────┘
//! ```
//! Each task carries its number there and back. *One at a time*: the next is sent when the last is
//! answered. *Window*: so many are out at a time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::channel;
use taskyard_core::{Config, Outcome, Submit, Target, Verdict};
use taskyard_dispatcher::{Clock, Dispatcher, LocalClient, LocalWorkers, ThreadParker};

use super::course::{Gate, Patience, pin};
use super::executors;
use super::race::{Race, Rival, Runner};
use super::tally::{Bytes, Item, Tally, item, item_of, payload};
use crate::error::Error;

/// Goal: half of what a pair of channels takes.
const GOAL: f64 = 0.5;
const WINDOW: u64 = 256;
/// Longer than any answer takes; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a thread waits for the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    Spin,
    Sleep,
}

/// One at a time and with a window, spinning and sleeping.
pub(super) fn races(items: u64) -> Vec<Race> {
    let course = |name: &str, items, wait, window| {
        let mut rivals = vec![
            Rival::new("channels", move |items| channels(items, wait, window))
                .with_goal(Some(GOAL)),
        ];
        // These choose themselves how they wait.
        if wait == Wait::Sleep {
            rivals.push(Rival::new("rayon scope", move |items| {
                executors::rayon(items, window)
            }));
            rivals.push(Rival::new("tokio spawn", move |items| {
                executors::tokio(items, window)
            }));
        }
        Race {
            name: name.into(),
            items,
            ours: Runner::new("ours", move |items| ours(items, wait, window)),
            rivals,
        }
    };
    // A task that is waited for costs some microseconds, one in a window a fraction of one.
    let many = items * 4;
    vec![
        course("round trip, spinning", items, Wait::Spin, 1),
        course("round trip, sleeping", items, Wait::Sleep, 1),
        course("window of 256, spinning", many, Wait::Spin, WINDOW),
        course("window of 256, sleeping", many, Wait::Sleep, WINDOW),
    ]
}

/// A client that drives the dispatcher itself, and workers on the other core.
struct Ours {
    dispatcher: Dispatcher<Bytes>,
    clock: Clock,
    parker: ThreadParker,
    client: LocalClient<Bytes>,
    wait: Wait,
}

fn ours(items: u64, wait: Wait, window: u64) -> Result<Duration, Error> {
    let parker = ThreadParker::new();
    let mut dispatcher =
        Dispatcher::new(Config::default(), parker.unparker()).map_err(Error::system)?;
    let clock = Clock::start();
    let attached = dispatcher.attach_client(clock.now());
    let client = attached.map_err(Error::system)?;
    let attached = dispatcher.attach_workers(clock.now(), &["worker"], WINDOW as u16);
    let workers = attached.map_err(Error::system)?;
    let (is_over, gate) = (AtomicBool::new(false), Gate::new(2));
    thread::scope(|scope| {
        scope.spawn(|| {
            pin(1);
            gate.pass();
            work(workers, wait, &is_over);
        });
        let driving = scope.spawn(|| {
            pin(0);
            gate.pass();
            let mut ours = Ours {
                dispatcher,
                clock,
                parker,
                client,
                wait,
            };
            // The first items touch the tables for the first time.
            let took = ours
                .run(items.min(2 * WINDOW), window)
                .and_then(|_| ours.run(items, window));
            is_over.store(true, Ordering::Release);
            took
        });
        driving.join().expect("submitting does not panic")
    })
}

fn work(mut workers: LocalWorkers<Bytes>, wait: Wait, is_over: &AtomicBool) {
    let mut patience = Patience::default();
    while !is_over.load(Ordering::Acquire) {
        if let Some(task) = workers.poll_task() {
            let result = task.payload;
            workers.report(&task, Verdict::Completed, Some(result));
        } else if wait == Wait::Spin {
            patience.wait();
        } else {
            // Awake now and then, to hear of the end.
            workers.wait(Duration::from_millis(1));
        }
    }
}

impl Ours {
    fn run(&mut self, items: u64, window: u64) -> Result<Duration, Error> {
        let (mut sent, mut tally) = (0, Tally::default());
        let mut patience = Patience::default();
        let start = Instant::now();
        while tally.count < items {
            while sent < items && sent - tally.count < window && self.submit(sent) {
                sent += 1;
            }
            let mut work = self.dispatcher.run_once(self.clock.now());
            while let Some(outcome) = self.client.poll_outcome() {
                match (outcome.outcome, outcome.payload) {
                    (Outcome::Completed, Some(result)) => tally.take(item_of(&result)),
                    (other, _) => return Err(Error::Faults(format!("a task ended as {other:?}"))),
                }
                work += 1;
            }
            if work > 0 {
                continue;
            }
            if self.wait == Wait::Spin {
                patience.wait();
            } else {
                self.sleep();
            }
        }
        let took = start.elapsed();
        tally.check("round trip", items)?;
        Ok(took)
    }

    fn submit(&mut self, number: u64) -> bool {
        let submit = Submit::new(self.client.next_task_id(), Target::Any);
        self.client.submit(submit, payload(number)).is_ok()
    }

    fn sleep(&mut self) {
        if self.dispatcher.prepare_sleep() {
            self.parker.park_timeout(PATIENCE);
            self.dispatcher.woke();
        }
    }
}

/// A pair of bounded channels between two threads.
fn channels(items: u64, wait: Wait, window: u64) -> Result<Duration, Error> {
    let (to_worker, tasks) = channel::bounded::<Item>(WINDOW as usize);
    let (to_caller, results) = channel::bounded::<Item>(WINDOW as usize);
    let gate = Gate::new(2);
    let gate = &gate;
    thread::scope(|scope| {
        scope.spawn(move || {
            pin(1);
            gate.pass();
            while let Ok(task) = receive(&tasks, wait) {
                if to_caller.send(task).is_err() {
                    break;
                }
            }
        });
        let calling = scope.spawn(move || {
            pin(0);
            gate.pass();
            let mut sent = 0;
            let mut tally = Tally::default();
            let start = Instant::now();
            while tally.count < items {
                while sent < items && sent - tally.count < window {
                    to_worker.send(item(sent)).map_err(Error::system)?;
                    sent += 1;
                }
                tally.take(receive(&results, wait).map_err(Error::system)?);
                while let Ok(result) = results.try_recv() {
                    tally.take(result);
                }
            }
            let took = start.elapsed();
            tally.check("channels", items)?;
            Ok(took)
        });
        calling.join().expect("sending does not panic")
    })
}

fn receive(from: &channel::Receiver<Item>, wait: Wait) -> Result<Item, channel::RecvError> {
    if wait == Wait::Sleep {
        return from.recv();
    }
    let mut patience = Patience::default();
    loop {
        match from.try_recv() {
            Ok(item) => return Ok(item),
            Err(channel::TryRecvError::Empty) => patience.wait(),
            Err(channel::TryRecvError::Disconnected) => return Err(channel::RecvError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_runner_answers_each_task_once() {
        for race in races(512) {
            assert!(race.run(1).is_ok());
        }
    }
}
