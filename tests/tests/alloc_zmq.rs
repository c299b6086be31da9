//! No allocation of ours per task on a shard's thread either. (libzmq's own `malloc`, one for each
//! frame over 33 bytes that is sent, is not seen here.)

use std::sync::mpsc;
use std::thread;

use taskyard_core::{Config, Outcome, Submit, Target, Verdict};
use taskyard_dispatcher::{Clock, Dispatcher, Payload};
use taskyard_tests::cluster::{PATIENCE, await_workers, next_outcome};
use taskyard_tests::counting::{self, CountingAllocator, Watch};
use taskyard_zmq::{
    ClientOptions, Context, ContextOptions, Endpoint, HostOptions, RemoteClient, Shard,
    ShardOptions, StopFlag, WorkerHost, ZmqPayload,
};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const TASKS: u32 = 20_000;
const OUTSTANDING: u32 = 64;
const WORKERS: u32 = 8;
/// Calls for a loop as a whole: it enters and leaves its stop flag's list.
const PER_LOOP: u64 = 4;

#[test]
fn a_shard_allocates_nothing_per_task() {
    let (warm, stop) = (StopFlag::new(), StopFlag::new());
    let (say, hear) = mpsc::channel();
    let shard = thread::spawn({
        let (warm, stop) = (warm.clone(), stop.clone());
        move || {
            let anywhere: Endpoint = "tcp://127.0.0.1:*".parse().expect("an endpoint");
            let options = ShardOptions::new(Some(anywhere.clone()), anywhere);
            let mut shard = Shard::bind(&context(), &options).expect("it listens");
            let config = Config::default();
            let mut dispatcher = Dispatcher::new(config, shard.unparker()).expect("a config");
            let mut port = dispatcher.attach(shard.unparker()).expect("a port");
            let clients = shard.clients_endpoint().expect("ours").clone();
            say.send((clients, shard.workers_endpoint().clone()))
                .expect("the test listens");
            let clock = Clock::start();
            shard
                .run_hosted(&mut port, &mut dispatcher, clock, &warm)
                .expect("it runs");
            let before = counting::calls();
            counting::freeze(Watch::Count);
            let ended = shard.run_hosted(&mut port, &mut dispatcher, clock, &stop);
            counting::thaw();
            ended.expect("it runs");
            counting::calls() - before
        }
    });
    let (clients, workers) = hear.recv().expect("it listens");
    let done = StopFlag::new();
    let hosted = thread::spawn({
        let done = done.clone();
        move || work(workers, &done)
    });
    let mut options = ClientOptions::new(clients);
    options.connect_timeout = PATIENCE;
    let mut client = RemoteClient::connect(&context(), &options).expect("a client connects");
    await_workers(&mut client, WORKERS);
    run_tasks(&mut client);
    warm.stop();
    run_tasks(&mut client);
    stop.stop();
    let calls = shard.join().expect("the shard ends");
    done.stop();
    hosted.join().expect("the workers end");
    assert!(calls <= PER_LOOP, "{calls} calls for {TASKS} tasks");
}

fn context() -> Context {
    Context::new(ContextOptions::default()).expect("a context")
}

fn work(endpoint: Endpoint, stop: &StopFlag) {
    let names = (0..WORKERS).map(|n| format!("w{n}"));
    let mut host =
        WorkerHost::connect(&context(), &HostOptions::new(endpoint), names).expect("workers");
    host.run(|_, payload| (Verdict::Completed, payload.share()), stop)
        .expect("they work");
}

/// Payloads of 64 bytes, to any worker, so many at a time.
fn run_tasks(client: &mut RemoteClient) {
    let payload = ZmqPayload::from_bytes(&[0x5a; 64]);
    let (mut submitted, mut settled) = (0, 0);
    while settled < TASKS {
        while submitted < TASKS && submitted - settled < OUTSTANDING {
            let task = client.next_task_id();
            client
                .submit(Submit::new(task, Target::Any), None, payload.share())
                .expect("it is taken");
            submitted += 1;
        }
        assert_eq!(next_outcome(client).outcome, Outcome::Completed);
        settled += 1;
    }
}
