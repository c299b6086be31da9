//! Client, dispatcher and workers without a socket: the client's thread drives the dispatcher, the
//! workers share one thread on the other core.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use taskyard_core::{Config, Outcome, Submit, Target, Verdict, WorkerId};
use taskyard_dispatcher::{
    Clock, Dispatcher, LocalClient, LocalOutcome, LocalWorkers, Payload, ThreadParker,
    pin_current_thread,
};

use super::serve;
use crate::error::Error;
use crate::link::{Answer, Link};
use crate::messages::{Ready, Report, Waiting};
use crate::options::Topic;

/// Payloads up to this size lie in the rings themselves.
const INLINE: usize = 64;
/// Looks at the dispatcher between two looks at the clock.
const LOOKS: usize = 64;
/// How long a worker thread sleeps at most before it looks whether it should end.
const NAP: Duration = Duration::from_millis(20);

/// Measures until the parent has no more commands.
pub(super) fn run(workers: u32, waiting: Waiting, payload: u32) -> Result<(), Error> {
    if payload as usize <= INLINE {
        run_with([0x5a; INLINE], workers, waiting)
    } else {
        run_with::<Arc<[u8]>>(vec![0x5a; payload as usize].into(), workers, waiting)
    }
}

fn run_with<P: Payload + PartialEq>(
    payload: P,
    workers: u32,
    waiting: Waiting,
) -> Result<(), Error> {
    let parker = ThreadParker::new();
    let config = Config::default();
    let mut dispatcher = Dispatcher::new(config, parker.unparker()).map_err(Error::system)?;
    let clock = Clock::start();
    let client = dispatcher
        .attach_client(clock.now())
        .map_err(Error::system)?;
    let names: Vec<String> = (0..workers).map(|number| format!("w{number}")).collect();
    let local = dispatcher
        .attach_workers(clock.now(), &names, 1)
        .map_err(Error::system)?;
    let one_worker = local.ids()[0].0;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        // A thread inherits the core of the one that starts it: so this one is pinned after.
        scope.spawn(|| work(local, waiting, &stop));
        pin(0);
        let link = LocalLink {
            dispatcher,
            clock,
            parker,
            client,
            one_worker,
            payload,
            waiting,
            early: VecDeque::new(),
        };
        let served =
            serve::say(&Report::Ready(Ready::default())).and_then(|()| serve::serve_client(link));
        // Relaxed: nothing is handed over with it.
        stop.store(true, Ordering::Relaxed);
        served
    })
}

/// Puts a thread on a core of its own.
pub(super) fn pin(core: usize) {
    // Where that is not allowed figures are just less steady; the parent has warned once.
    let _ = pin_current_thread(core);
}

/// The workers' thread: every task's payload is its result.
fn work<P: Payload>(mut workers: LocalWorkers<P>, waiting: Waiting, stop: &AtomicBool) {
    pin(1);
    while !stop.load(Ordering::Relaxed) {
        while let Some(task) = workers.poll_task() {
            let result = task.payload.share();
            workers.report(&task, Verdict::Completed, Some(result));
        }
        match waiting {
            Waiting::Spin => std::hint::spin_loop(),
            Waiting::Park => workers.wait(NAP),
        }
    }
}

struct LocalLink<P: Payload> {
    dispatcher: Dispatcher<P>,
    clock: Clock,
    parker: ThreadParker,
    client: LocalClient<P>,
    one_worker: WorkerId,
    payload: P,
    waiting: Waiting,
    /// What came while there was no room for a submit.
    early: VecDeque<Answer>,
}

impl<P: Payload + PartialEq> Link for LocalLink<P> {
    fn submit(&mut self, topic: Topic) -> Result<u64, Error> {
        let target = match topic {
            Topic::Any => Target::Any,
            Topic::Worker => Target::Worker(self.one_worker),
            Topic::All => Target::All,
        };
        let task = self.client.next_task_id();
        let submit = Submit::new(task, target);
        let mut payload = self.payload.share();
        // A full ring has room again once the dispatcher, on this very thread, has drained it; and
        // it drains only while there is room for its replies.
        while let Err(refused) = self.client.submit(submit, payload) {
            payload = refused;
            if let Some(answer) = self.poll_now() {
                self.early.push_back(answer);
            }
        }
        Ok(task.0)
    }

    fn poll(&mut self) -> Result<Option<Answer>, Error> {
        Ok(self.early.pop_front().or_else(|| self.poll_now()))
    }

    fn wait(&mut self, timeout: Duration) -> Result<(), Error> {
        match self.waiting {
            Waiting::Spin => self.spin(timeout),
            Waiting::Park => {
                if self.dispatcher.prepare_sleep() {
                    self.parker.park_timeout(timeout);
                    self.dispatcher.woke();
                }
            }
        }
        Ok(())
    }
}

impl<P: Payload + PartialEq> LocalLink<P> {
    fn poll_now(&mut self) -> Option<Answer> {
        if let Some(outcome) = self.client.poll_outcome() {
            return Some(self.answer(&outcome));
        }
        self.dispatcher.run_once(self.clock.now());
        let outcome = self.client.poll_outcome()?;
        Some(self.answer(&outcome))
    }

    fn spin(&mut self, timeout: Duration) {
        let began = Instant::now();
        while began.elapsed() < timeout {
            for _ in 0..LOOKS {
                if self.dispatcher.run_once(self.clock.now()) > 0 {
                    return;
                }
                std::hint::spin_loop();
            }
        }
    }

    fn answer(&self, outcome: &LocalOutcome<P>) -> Answer {
        let task = outcome.task.0;
        match (outcome.outcome, outcome.worker, &outcome.payload) {
            (Outcome::Summary { parts, completed }, ..) => Answer::Summary {
                task,
                parts,
                completed,
            },
            (Outcome::Completed, Some((worker, _)), Some(result)) if *result == self.payload => {
                if outcome.part {
                    Answer::Part {
                        task,
                        worker: worker.0,
                    }
                } else {
                    Answer::Completed { task }
                }
            }
            (Outcome::Completed, ..) => Answer::Bad {
                task,
                what: "Completed by nobody or altered",
            },
            (other, ..) => Answer::Bad {
                task,
                what: outcome_name(other),
            },
        }
    }
}

/// An outcome's word, for a fault.
pub(super) const fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "Completed",
        Outcome::Failed => "Failed",
        Outcome::WorkerLost => "WorkerLost",
        Outcome::Cancelled { .. } => "Cancelled",
        Outcome::TimedOut(_) => "TimedOut",
        Outcome::Refused(_) => "Refused",
        Outcome::Summary { .. } => "Summary",
        _ => "an unknown outcome",
    }
}
