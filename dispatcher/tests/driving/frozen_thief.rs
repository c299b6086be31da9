//! A thread stands still in the middle of taking a task, as after SIGSTOP. Nobody waits for it.
//!
//! All threads are real, and move when told to: that the dispatcher does not wait is shown by
//! counting its duty cycles, not by a clock.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use taskyard_core::{Config, Instant, Outcome, Submit, Target, TaskId, Verdict};
use taskyard_dispatcher::{Dispatcher, LocalClient, LocalWorkers, Payload, ThreadParker, pool};

/// Only a dispatcher that waits for the frozen thread, and so for ever, takes so long.
const WATCHDOG: Duration = Duration::from_secs(60);

/// Runs a test that would hang if somebody waited, and fails then.
fn unless_it_waits(test: impl FnOnce() + Send + 'static) {
    let (done, ended) = mpsc::channel();
    let testing = thread::spawn(move || {
        test();
        done.send(())
    });
    let ended = ended.recv_timeout(WATCHDOG);
    assert_ne!(
        ended,
        Err(RecvTimeoutError::Timeout),
        "it waits for the frozen thread"
    );
    let told = testing
        .join()
        .expect("the test has failed, as it says above");
    assert!(told.is_ok());
}

/// Where a thread stands still, until it is let go.
#[derive(Debug)]
struct Gate {
    reached: Barrier,
    open: Barrier,
}

impl Gate {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            reached: Barrier::new(2),
            open: Barrier::new(2),
        })
    }

    fn freeze(&self) {
        self.reached.wait();
        self.open.wait();
    }
}

/// Between winning a position of the pool and leaving its slot: the injector hears at once that
/// there is no room, and other thieves have the rest.
#[test]
fn frozen_thief_of_the_pool_keeps_one_slot_and_nobody() {
    unless_it_waits(freeze_in_the_pool);
}

fn freeze_in_the_pool() {
    const LOOKS: usize = 10_000;
    let (mut injector, stealer) = pool(4);
    for item in 0..4 {
        injector.push(item).unwrap();
    }
    let gate = Gate::new();
    let frozen = {
        let (gate, stealer) = (Arc::clone(&gate), stealer.clone());
        thread::spawn(move || stealer.steal_after(|| gate.freeze()))
    };
    gate.reached.wait();
    let others = [(); 3].map(|()| {
        let stealer = stealer.clone();
        thread::spawn(move || stealer.steal().expect("each has one"))
    });
    let mut taken = others.map(|other| other.join().expect("it has one"));
    taken.sort_unstable();
    assert_eq!(taken, [1, 2, 3]);
    for _ in 0..LOOKS {
        assert!(!injector.has_room(), "the slot that is next is in use");
        assert_eq!(injector.push(4).unwrap_err().0, 4);
    }

    gate.open.wait();
    assert_eq!(frozen.join().expect("it goes on"), Some(0));
    injector.push(4).expect("the slot is free");
    assert_eq!(stealer.steal(), Some(4));
}

/// A payload that freezes whoever claims its task, between the claim and its end.
#[derive(Debug)]
struct Gated(Option<Arc<Gate>>);

impl Payload for Gated {
    fn frame_count(&self) -> usize {
        1
    }

    fn frame(&self, _: usize) -> Option<&[u8]> {
        None
    }

    fn share(&self) -> Self {
        if let Some(gate) = &self.0 {
            gate.freeze();
        }
        Self(None)
    }
}

/// A thread of workers that works through what there is whenever it is told to.
struct Host {
    go: SyncSender<()>,
    done: Receiver<()>,
    thread: JoinHandle<()>,
}

impl Host {
    fn start(mut workers: LocalWorkers<Gated>) -> Self {
        let (go, told) = mpsc::sync_channel(1);
        let (tell, done) = mpsc::sync_channel(1);
        let thread = thread::spawn(move || {
            while told.recv().is_ok() {
                while let Some(task) = workers.poll_task() {
                    workers.report(&task, Verdict::Completed, None);
                }
                tell.send(()).expect("the test listens");
            }
        });
        Self { go, done, thread }
    }
}

/// Tasks that are submitted, and how their outcomes come in.
struct Flow {
    client: LocalClient<Gated>,
    submitted: u64,
    completed: u64,
}

impl Flow {
    const OPEN_MAX: u64 = 16;

    fn submit_up_to(&mut self, tasks: u64) {
        while self.submitted < tasks && self.submitted - self.completed < Self::OPEN_MAX {
            self.submitted += 1;
            let submit = Submit::new(TaskId(self.submitted), Target::Any);
            self.client
                .submit(submit, Gated(None))
                .expect("there is room");
        }
    }

    fn take_outcomes(&mut self) {
        while let Some(outcome) = self.client.poll_outcome() {
            assert_ne!(outcome.task, FROZEN, "it is still at it");
            assert_eq!(outcome.outcome, Outcome::Completed);
            self.completed += 1;
        }
    }
}

const FROZEN: TaskId = TaskId(0);
const NOW: Instant = Instant(0);

fn settle(dispatcher: &mut Dispatcher<Gated>) {
    while dispatcher.run_once(NOW) > 0 {}
}

/// Between the claim of a task and its start. The task is withdrawn meanwhile, which must not wait
/// either, and everybody else's tasks are done in as many duty cycles as without it.
#[test]
fn frozen_thief_of_a_task_holds_up_no_other_task() {
    unless_it_waits(freeze_in_a_claim);
}

fn freeze_in_a_claim() {
    const TASKS: u64 = 1_000;
    // Each cycle has room for a window of the pool: its four places, less the frozen thief's.
    const CYCLES_MAX: u64 = TASKS / 3 + 3;
    let config = Config {
        tasks: 64,
        workers: 8,
        pool: 4,
        ..Config::default()
    };
    let mut dispatcher = Dispatcher::new(config, ThreadParker::new().unparker()).unwrap();
    let client = dispatcher.attach_client(NOW).unwrap();
    let mut victim = dispatcher.attach_workers(NOW, &["victim"], 1).unwrap();
    let others = ["a", "b", "c"].map(|name| dispatcher.attach_workers(NOW, &[name], 1).unwrap());

    let (submitted, completed) = (0, 0);
    let mut flow = Flow {
        client,
        submitted,
        completed,
    };
    let gate = Gate::new();
    let payload = Gated(Some(Arc::clone(&gate)));
    flow.client
        .submit(Submit::new(FROZEN, Target::Any), payload)
        .unwrap();
    settle(&mut dispatcher);
    let frozen = thread::spawn(move || {
        let task = victim.poll_task().expect("it is in the pool");
        victim.report(&task, Verdict::Aborted, None);
        victim
    });
    gate.reached.wait();

    assert!(flow.client.cancel(FROZEN));
    let hosts = others.map(Host::start);
    let mut cycles = 0;
    while flow.completed < TASKS {
        flow.submit_up_to(TASKS);
        dispatcher.run_once(NOW);
        for host in &hosts {
            host.go.send(()).expect("it is there");
        }
        for host in &hosts {
            host.done.recv().expect("it goes on");
        }
        flow.take_outcomes();
        cycles += 1;
        assert!(cycles <= CYCLES_MAX, "{} done: it waits", flow.completed);
    }

    gate.open.wait();
    let victim = frozen.join().expect("it goes on");
    settle(&mut dispatcher);
    let outcome = flow.client.poll_outcome().expect("it has reported");
    assert_eq!(
        (outcome.task, outcome.outcome),
        (FROZEN, Outcome::Cancelled { started: true })
    );
    assert_eq!(dispatcher.tasks(), 0);
    drop(victim);
    for Host { go, thread, .. } in hosts {
        drop(go);
        thread.join().expect("it ends");
    }
}
