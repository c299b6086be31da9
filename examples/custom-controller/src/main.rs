//! A controller of one's own: in-process workers and a ZeroMQ endpoint behind one dispatcher.
//!
//! ```text
//!   local client ──┐                      ┌── 2 local workers, one thread
//!                  ├──▶  dispatcher  ◀────┤
//!   remote clients ┘   (own thread)       └── remote workers, over ZeroMQ
//! ```
//! It submits a hundred tasks to whoever is least busy and one to everybody, and prints who ran
//! what. A real controller would go on serving; this one connects to its own endpoint to show it.

use std::collections::BTreeMap;
use std::error::Error;
use std::thread;
use std::time::Duration;

use taskyard_core::{Config, Outcome, Submit, Target, Verdict, WorkerId};
use taskyard_dispatcher::{LocalClient, LocalWorkers, Runner, RunnerOptions};
use taskyard_zmq::{
    Context, ContextOptions, Endpoint, HostOptions, Shard, ShardOptions, StopFlag, WorkerHost,
    ZmqPayload,
};

const TASKS: u64 = 100;
const TIMEOUT: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let stop = StopFlag::new();

    // 1. The ZeroMQ endpoint. Sockets before pinned threads: libzmq's threads inherit the affinity.
    let context = Context::new(ContextOptions::default())?;
    let anywhere: Endpoint = "tcp://127.0.0.1:*".parse()?;
    let options = ShardOptions::new(Some(anywhere.clone()), anywhere);
    let mut shard = Shard::bind(&context, &options)?;
    let workers_endpoint = shard.workers_endpoint().clone();

    // 2. The dispatcher, on a thread of its own, and what attaches to it.
    let runner = Runner::<ZmqPayload>::start(Config::default(), RunnerOptions::default())?;
    let unparker = shard.unparker();
    let mut port = runner.with(move |dispatcher, _| dispatcher.attach(unparker))??;
    let names = ["local-1", "local-2"];
    let locals =
        runner.with(move |dispatcher, now| dispatcher.attach_workers(now, &names, 1))??;
    let local_ids: Vec<WorkerId> = locals.ids().iter().map(|(worker, _)| *worker).collect();
    let mut client = runner.with(|dispatcher, now| dispatcher.attach_client(now))??;

    // 3. A thread for each of the three kinds of peer.
    let threads = [
        thread::spawn({
            let stop = stop.clone();
            move || {
                shard
                    .run(&mut port, &stop)
                    .expect("the shard runs until stopped");
            }
        }),
        thread::spawn({
            let stop = stop.clone();
            move || run_locals(locals, &stop)
        }),
        thread::spawn({
            let stop = stop.clone();
            move || run_remote(&context, workers_endpoint, &stop)
        }),
    ];

    // 4. Work.
    while runner.with(|dispatcher, _| dispatcher.workers_up())? < 3 {
        thread::sleep(Duration::from_millis(1));
    }
    let ran = run_tasks(&mut client)?;
    let by_remote: u64 = ran
        .iter()
        .filter(|(id, _)| !local_ids.contains(id))
        .map(|(_, n)| n)
        .sum();
    let (parts, completed) = run_everywhere(&mut client)?;
    println!(
        "{TASKS} tasks: {} by local workers, {by_remote} by remote ones",
        TASKS - by_remote
    );
    println!("one task for all: {completed} of {parts} workers ran it");

    stop.stop();
    for thread in threads {
        thread.join().map_err(|_| "a thread panicked")?;
    }
    Ok(())
}

/// The work itself: shouting, which takes a breath, so that there is something to share out.
fn shout(payload: &ZmqPayload) -> ZmqPayload {
    thread::sleep(Duration::from_millis(1));
    ZmqPayload::from_bytes(&payload.bytes().unwrap_or_default().to_ascii_uppercase())
}

fn run_locals(mut workers: LocalWorkers<ZmqPayload>, stop: &StopFlag) {
    while !stop.is_stopped() {
        let Some(task) = workers.poll_task() else {
            workers.wait(Duration::from_millis(50));
            continue;
        };
        let result = shout(&task.payload);
        workers.report(&task, Verdict::Completed, Some(result));
    }
}

fn run_remote(context: &Context, endpoint: Endpoint, stop: &StopFlag) {
    let names = ["remote-1".to_owned()];
    let options = HostOptions::new(endpoint);
    let mut host = WorkerHost::connect(context, &options, names).expect("the endpoint is there");
    host.run(|_, payload| (Verdict::Completed, shout(payload)), stop)
        .expect("it runs until stopped");
}

/// Submits all tasks, and counts who ran how many.
fn run_tasks(client: &mut LocalClient<ZmqPayload>) -> Result<BTreeMap<WorkerId, u64>, String> {
    for _ in 0..TASKS {
        let submit = Submit::new(client.next_task_id(), Target::Any);
        client
            .submit(submit, ZmqPayload::from_bytes(b"hello"))
            .map_err(|_| "the ring is full")?;
    }
    let mut ran = BTreeMap::new();
    for _ in 0..TASKS {
        let outcome = client.wait_outcome(TIMEOUT).ok_or("no outcome in time")?;
        let result = outcome.payload.as_ref().and_then(ZmqPayload::bytes);
        if outcome.outcome != Outcome::Completed || result != Some(b"HELLO") {
            return Err(format!("{:?} ended as {:?}", outcome.task, outcome.outcome));
        }
        let (worker, _) = outcome.worker.ok_or("completed by nobody")?;
        *ran.entry(worker).or_default() += 1;
    }
    Ok(ran)
}

/// Submits one task for all workers; answers how many were addressed, and how many completed it.
fn run_everywhere(client: &mut LocalClient<ZmqPayload>) -> Result<(u32, u32), String> {
    let submit = Submit::new(client.next_task_id(), Target::All);
    client
        .submit(submit, ZmqPayload::from_bytes(b"all"))
        .map_err(|_| "the ring is full")?;
    loop {
        let outcome = client.wait_outcome(TIMEOUT).ok_or("no outcome in time")?;
        if let Outcome::Summary { parts, completed } = outcome.outcome {
            return Ok((parts, completed));
        }
    }
}
