//! What tasks print, over real sockets: its order, its bounds, and whom it does not concern.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::*;
use taskyard_core::{Outcome, Stream, Target, Verdict};
use taskyard_zmq::{
    ClientEvent, Endpoint, OUTPUT_MAX, RemoteClient, RemoteWorker, ShardOptions, WorkerEvent,
    WorkerOptions, ZmqPayload,
};

/// A worker on a thread of its own; stops when dropped.
struct Printer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Printer {
    /// Runs each task with `run`, which may print while it runs.
    fn start(
        endpoint: &Endpoint,
        name: &str,
        mut run: impl FnMut(&mut RemoteWorker, &taskyard_zmq::Assignment) + Send + 'static,
    ) -> Self {
        let mut worker =
            RemoteWorker::connect(&context(), &WorkerOptions::new(endpoint.clone(), name)).unwrap();
        wait_for("a worker to register", || {
            worker.poll().unwrap();
            worker.registered().is_some()
        });
        let stop = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !theirs.load(Ordering::Relaxed) {
                if let Some(WorkerEvent::Task(assignment, _)) =
                    worker.wait(Duration::from_millis(20)).unwrap()
                {
                    run(&mut worker, &assignment);
                    worker.report(&assignment, Verdict::Completed, None);
                }
            }
            worker.leave();
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Printer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let joined = thread.join();
            assert!(
                joined.is_ok() || std::thread::panicking(),
                "a worker has panicked"
            );
        }
    }
}

/// Everything that a client hears of its one task, up to the outcome: what was printed, how many
/// bytes the worker has dropped, and how many pieces the controller.
fn hear(client: &mut RemoteClient) -> (Vec<u8>, u32, u64) {
    let (mut printed, mut dropped, mut missed) = (Vec::new(), 0, 0);
    loop {
        match client.wait(PATIENCE).unwrap() {
            Some(ClientEvent::Output {
                dropped_bytes,
                dropped_notices,
                payload,
                attempt,
                ..
            }) => {
                assert_eq!(attempt, 1);
                printed.extend_from_slice(payload.bytes().unwrap());
                dropped = dropped.max(dropped_bytes);
                missed += u64::from(dropped_notices);
            }
            Some(ClientEvent::Outcome { outcome, .. }) => {
                assert_eq!(outcome, Outcome::Completed);
                return (printed, dropped, missed);
            }
            Some(ClientEvent::Welcome { .. }) => {}
            other => panic!("no output and no outcome but {other:?}"),
        }
    }
}

#[test]
fn a_client_reads_what_its_task_prints_in_order_and_before_the_outcome() {
    for controller in [
        Controller::hosted(ShardOptions::new(Some(tcp()), tcp())),
        Controller::hosted(ShardOptions::new(Some(ipc()), ipc())),
        Controller::pinned(2),
    ] {
        let _worker = Printer::start(&controller.workers[0], "w", |worker, assignment| {
            for line in 0..20 {
                let text = ZmqPayload::from_bytes(format!("line {line}\n").as_bytes());
                assert!(worker.output(assignment, Stream::Stdout, text));
            }
            // Larger than what travels in a first frame.
            let text = ZmqPayload::from_bytes(&vec![b'x'; OUTPUT_MAX]);
            assert!(worker.output(assignment, Stream::Stderr, text));
        });
        let context = context();
        let mut client = controller.client(&context);
        for _ in 0..20 {
            submit(&mut client, Target::Any, b"x");
            let (printed, dropped, missed) = hear(&mut client);
            let lines: String = (0..20).map(|line| format!("line {line}\n")).collect();
            assert_eq!((dropped, missed), (0, 0));
            assert_eq!(printed.len(), lines.len() + OUTPUT_MAX);
            assert!(printed.starts_with(lines.as_bytes()));
        }
    }
}

#[test]
fn what_is_printed_faster_than_it_is_read_is_dropped_and_counted() {
    let controller = Controller::hosted(ShardOptions::new(Some(tcp()), tcp()));
    let sent = Arc::new(AtomicU64::new(0));
    let theirs = Arc::clone(&sent);
    let all = 400 * OUTPUT_MAX;
    let _worker = Printer::start(&controller.workers[0], "w", move |worker, assignment| {
        // Never polled in between: the controller's answers are not read.
        for _ in 0..400 {
            let text = ZmqPayload::from_bytes(&vec![b'x'; OUTPUT_MAX]);
            let went = worker.output(assignment, Stream::Stdout, text);
            theirs.fetch_add(u64::from(went), Ordering::Relaxed);
        }
    });
    let context = context();
    let mut client = controller.client(&context);
    submit(&mut client, Target::Any, b"x");
    let (printed, dropped, missed) = hear(&mut client);
    let sent = sent.load(Ordering::Relaxed) as usize;
    assert!(sent < 400, "all of it was sent");
    assert_eq!(
        dropped as usize,
        all - sent * OUTPUT_MAX,
        "what the worker has dropped"
    );
    let heard = printed.len() / OUTPUT_MAX;
    assert_eq!(
        heard + missed as usize,
        sent,
        "what the controller has dropped"
    );
}

/// Bytes of memory that this process has now.
fn memory() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages = statm.split_whitespace().nth(1).unwrap();
    pages.parse::<u64>().unwrap() * 4096
}

/// A worker whose tasks print so many bytes, as fast as it may; and how many it has sent so far.
fn flooding(endpoint: &Endpoint, flood: usize) -> (Printer, Arc<AtomicU64>) {
    let printed = Arc::new(AtomicU64::new(0));
    let theirs = Arc::clone(&printed);
    let text = vec![b'x'; OUTPUT_MAX];
    let printer = Printer::start(endpoint, "loud", move |worker, assignment| {
        let due = Instant::now() + PATIENCE;
        let mut sent = 0;
        while sent < flood && Instant::now() < due {
            let text = ZmqPayload::from_bytes(&text);
            if worker.output(assignment, Stream::Stdout, text) {
                sent += OUTPUT_MAX;
            }
            // The controller's answers move its window on.
            assert!(worker.poll().unwrap().is_none());
            theirs.store(sent as u64, Ordering::Relaxed);
        }
    });
    (printer, printed)
}

#[test]
fn a_flood_of_output_for_a_client_that_reads_nothing_holds_nobody_up() {
    const FLOOD: usize = 400 << 20;
    let controller = Controller::hosted(ShardOptions::new(Some(tcp()), tcp()));
    let (_printer, printed) = flooding(&controller.workers[0], FLOOD);
    let context = context();
    let mut deaf = controller.client(&context);
    submit(&mut deaf, Target::Any, b"x");
    wait_for("the flood", || printed.load(Ordering::Relaxed) > 0);
    let _others = Workers::echo(&controller.workers[0], 1);
    let mut other = controller.client(&context);
    let before = memory();
    let mut tasks = 0;
    while (printed.load(Ordering::Relaxed) as usize) < FLOOD {
        submit(&mut other, Target::Any, b"x");
        assert_eq!(next_outcome(&mut other).outcome, Outcome::Completed);
        tasks += 1;
    }
    let grown = memory().saturating_sub(before);
    println!("{tasks} tasks meanwhile, and {grown} bytes more memory");
    assert!(tasks > 0);
    assert!(grown < FLOOD as u64 / 2, "{grown} bytes more");
    // Its session is as it was: it reads what there was room for, and its outcome.
    let (read, _, missed) = hear(&mut deaf);
    assert!(
        !read.is_empty() && read.len() <= 2 << 20,
        "{} bytes",
        read.len()
    );
    assert!(missed > 0);
    let stats = controller.stop();
    assert!(stats[0].sessions.output_dropped > 0);
    assert_eq!(stats[0].sessions.outcome_unsent, 0);
}
