//! A controller on threads of this process, with real sockets.

// Each test binary uses a part of it.
#![allow(dead_code)]

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use taskyard_core::{Config, Outcome, Submit, Target, TaskId, Verdict};
use taskyard_dispatcher::{Clock, Dispatcher, Runner, RunnerOptions};
use taskyard_zmq::{
    ClientEvent, ClientOptions, Context, ContextOptions, Endpoint, HostOptions, RemoteClient,
    Shard, ShardOptions, ShardStats, StopFlag, WorkerHost, ZmqPayload,
};

/// Nothing in these tests takes so long unless it never ends.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Payloads of a stress are small and many.
pub(crate) fn config() -> Config {
    Config {
        tasks: 20_000,
        ..Config::default()
    }
}

pub(crate) fn tcp() -> Endpoint {
    "tcp://127.0.0.1:*".parse().unwrap()
}

pub(crate) fn ipc() -> Endpoint {
    "ipc://*".parse().unwrap()
}

pub(crate) fn context() -> Context {
    Context::new(ContextOptions::default()).unwrap()
}

/// A controller; stops when dropped.
pub(crate) struct Controller {
    pub(crate) clients: Endpoint,
    pub(crate) workers: Vec<Endpoint>,
    stop: StopFlag,
    shards: Vec<JoinHandle<ShardStats>>,
    // After the shards: their ports belong to it.
    runner: Option<Arc<Runner<ZmqPayload>>>,
}

impl Controller {
    /// One shard that hosts its dispatcher.
    pub(crate) fn hosted(options: ShardOptions) -> Self {
        let stop = StopFlag::new();
        let mut shard = Shard::bind(&context(), &options).unwrap();
        let clients = shard.clients_endpoint().unwrap().clone();
        let workers = vec![shard.workers_endpoint().clone()];
        let theirs = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut dispatcher = Dispatcher::new(config(), shard.unparker()).unwrap();
            let mut port = dispatcher.attach(shard.unparker()).unwrap();
            shard
                .run_hosted(&mut port, &mut dispatcher, Clock::start(), &theirs)
                .unwrap();
            shard.stats()
        });
        Self {
            clients,
            workers,
            stop,
            shards: vec![thread],
            runner: None,
        }
    }

    /// Several shards, and the dispatcher on a thread of its own.
    pub(crate) fn pinned(count: usize) -> Self {
        let stop = StopFlag::new();
        let runner = Arc::new(Runner::start(config(), RunnerOptions::default()).unwrap());
        let context = context();
        let common = ShardOptions::new(None, tcp());
        let mut shards: Vec<_> = (0..count)
            .map(|k| {
                let mut options = ShardOptions::new((k == 0).then(tcp), tcp());
                options.boot = common.boot;
                options.names = common.names.clone();
                Shard::bind(&context, &options).unwrap()
            })
            .collect();
        let workers: Vec<_> = shards
            .iter()
            .map(|shard| shard.workers_endpoint().clone())
            .collect();
        let clients = shards[0].clients_endpoint().unwrap().clone();
        shards[0].spread_over(&workers);
        let threads = shards.into_iter().map(|mut shard| {
            let unpark = shard.unparker();
            let mut port = runner
                .with(move |dispatcher, _| dispatcher.attach(unpark))
                .unwrap()
                .unwrap();
            let stop = stop.clone();
            std::thread::spawn(move || {
                shard.run(&mut port, &stop).unwrap();
                shard.stats()
            })
        });
        let shards = threads.collect();
        Self {
            clients,
            workers,
            stop,
            shards,
            runner: Some(runner),
        }
    }

    pub(crate) fn client(&self, context: &Context) -> RemoteClient {
        RemoteClient::connect(context, &ClientOptions::new(self.clients.clone())).unwrap()
    }

    /// Ends it, and says what its shards have seen.
    pub(crate) fn stop(mut self) -> Vec<ShardStats> {
        self.stop.stop();
        self.shards
            .drain(..)
            .map(|shard| shard.join().unwrap())
            .collect()
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.stop.stop();
        for shard in self.shards.drain(..) {
            let joined = shard.join();
            assert!(
                joined.is_ok() || std::thread::panicking(),
                "a shard has panicked"
            );
        }
    }
}

/// Workers named `w0`, `w1`, … on a thread of their own; stop when dropped.
pub(crate) struct Workers {
    stop: StopFlag,
    thread: Option<JoinHandle<()>>,
}

impl Workers {
    /// Waits until all are registered.
    pub(crate) fn start(
        endpoint: &Endpoint,
        count: usize,
        handler: impl FnMut(&taskyard_zmq::Assignment, &ZmqPayload) -> (Verdict, ZmqPayload)
        + Send
        + 'static,
    ) -> Self {
        let names = (0..count).map(|i| format!("w{i}"));
        let options = HostOptions::new(endpoint.clone());
        let mut host = WorkerHost::connect(&context(), &options, names).unwrap();
        let registered = host.registered();
        let stop = StopFlag::new();
        let theirs = stop.clone();
        let thread = std::thread::spawn(move || host.run(handler, &theirs).unwrap());
        wait_for("all workers to register", || registered.get() == count);
        Self {
            stop,
            thread: Some(thread),
        }
    }

    /// They answer with what they were given.
    pub(crate) fn echo(endpoint: &Endpoint, count: usize) -> Self {
        Self::start(endpoint, count, |_, payload| {
            (Verdict::Completed, copy(payload))
        })
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            let joined = thread.join();
            assert!(
                joined.is_ok() || std::thread::panicking(),
                "a worker host has panicked"
            );
        }
    }
}

pub(crate) fn copy(payload: &ZmqPayload) -> ZmqPayload {
    ZmqPayload::from_frames(&payload.frames().collect::<Vec<_>>()).unwrap()
}

pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let due = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < due, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// One outcome, as a tuple that reads well in an assertion.
#[derive(Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) task: TaskId,
    pub(crate) outcome: Outcome,
    pub(crate) part: bool,
    pub(crate) attempts: u8,
    pub(crate) payload: Option<ZmqPayload>,
}

/// The next outcome; any other event but a new welcome fails the test.
pub(crate) fn next_outcome(client: &mut RemoteClient) -> Seen {
    loop {
        match client.wait(PATIENCE).unwrap() {
            Some(ClientEvent::Outcome {
                task,
                outcome,
                part,
                attempts,
                payload,
                ..
            }) => {
                return Seen {
                    task,
                    outcome,
                    part,
                    attempts,
                    payload,
                };
            }
            Some(ClientEvent::Welcome { .. } | ClientEvent::Notice { .. }) => {}
            other => panic!("no outcome but {other:?}"),
        }
    }
}

/// Submits one task.
pub(crate) fn submit(client: &mut RemoteClient, target: Target, bytes: &[u8]) -> TaskId {
    let task = client.next_task_id();
    client
        .submit(
            Submit::new(task, target),
            None,
            ZmqPayload::from_bytes(bytes),
        )
        .unwrap();
    task
}
