//! The `taskyard` program under pressure: peers that ask for more than there is, that do not read,
//! and payloads up to the limit. Its memory stays under the product that it states at its start.

use std::thread;
use std::time::{Duration, Instant};

use taskyard_core::{Config, Outcome, Refusal, Submit, Target, TaskId, Verdict};
use taskyard_protocol::remote::WorkerEvent;
use taskyard_protocol::wire::{Flags, Head, Header, Kind, Message};
use taskyard_tests::cluster::{
    ControllerProcess, PATIENCE, await_workers, let_in, next_outcome, submit,
};
use taskyard_zmq::{
    Context, ContextOptions, MemoryBound, QueueLimits, RemoteClient, RemoteWorker, Role, StopFlag,
    WorkerOptions, ZmqPayload,
};

fn context() -> Context {
    Context::new(ContextOptions::default()).expect("a context")
}

/// A controller of small capacities.
struct Small {
    controller: ControllerProcess,
    stated_mib: u64,
}

impl Small {
    fn start(more: &[&str]) -> Self {
        let mut args = SMALL.to_vec();
        args.extend(more);
        let config = Config {
            tasks: 4_000,
            clients: 4,
            workers: 8,
            payload_bytes: 32 << 20,
            result_bytes: 8 << 20,
            ..Config::default()
        };
        let limits = config.validate().expect("sense");
        let queues = QueueLimits::new(&limits, 1 << 16, 1 << 20);
        let bound = MemoryBound::new(&limits, &queues, 1 << 16, 1);
        Self {
            controller: ControllerProcess::start(&args),
            stated_mib: bound.total() >> 20,
        }
    }

    /// The most that it ever took is below what it says at its start.
    fn check(&self) -> u64 {
        let pid = self.controller.process.0.id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let peak = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kib = peak.and_then(|line| line.split_whitespace().nth(1));
        let mib = kib.expect("a number").parse::<u64>().expect("a number") >> 10;
        println!("{mib} MiB of {} MiB", self.stated_mib);
        assert!(mib < self.stated_mib, "{mib} of {} MiB", self.stated_mib);
        mib
    }
}

/// Small capacities, so that a bound that does not hold is seen.
const SMALL: [&str; 14] = [
    "--tasks-max",
    "4000",
    "--clients-max",
    "4",
    "--workers-max",
    "8",
    "--payload-max-bytes",
    "65536",
    "--payload-bytes-max",
    "33554432",
    "--result-bytes-max",
    "8388608",
    "--receive-bytes-max",
    "1048576",
];

/// A worker that gives every payload back as it came, until it is stopped.
fn echo(controller: &ControllerProcess, name: &str, stop: &StopFlag) -> thread::JoinHandle<()> {
    let file = controller.file_of(Role::Worker);
    let options = WorkerOptions::from_connection_file(file, name).expect("a connection file");
    let stop = stop.clone();
    thread::spawn(move || {
        let mut worker = RemoteWorker::connect(&context(), &options).expect("it connects");
        while !stop.is_stopped() {
            let event = worker.wait(Duration::from_millis(20)).expect("it works");
            if let Some(WorkerEvent::Task(assignment, payload)) = event {
                let wanted = payload
                    .bytes()
                    .is_some_and(|bytes| bytes == b"one byte more");
                let result = if wanted {
                    ZmqPayload::from_bytes(&vec![1; (16 << 20) + 1])
                } else {
                    payload
                };
                worker.report(&assignment, Verdict::Completed, Some(result));
            }
        }
    })
}

fn submit_bytes(client: &mut RemoteClient, bytes: &[u8]) -> TaskId {
    let task = client.next_task_id();
    client
        .submit(
            Submit::new(task, Target::Any),
            None,
            ZmqPayload::from_bytes(bytes),
        )
        .expect("it is taken");
    task
}

#[test]
fn payloads_up_to_the_limit_pass_unchanged_and_one_byte_more_is_refused() {
    const MAX: usize = 16 << 20;
    let folder = std::env::temp_dir();
    let ipc = |side: &str| format!("ipc://{}/p-{side}-{}", folder.display(), std::process::id());
    let (clients, workers) = (ipc("c"), ipc("w"));
    let ways: [[&str; 4]; 2] = [
        [
            "--clients",
            "tcp://127.0.0.1:*",
            "--workers",
            "tcp://127.0.0.1:*",
        ],
        ["--clients", &clients, "--workers", &workers],
    ];
    for way in ways {
        let controller = ControllerProcess::start_at(&way);
        let stop = StopFlag::new();
        let worker = echo(&controller, "echo", &stop);
        let mut client = controller.client(&context());
        for len in [0, 1, 33, 34, 2048, 2049, 8191, 8192, 1 << 20, MAX - 1, MAX] {
            let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            let task = submit_bytes(&mut client, &bytes);
            let seen = next_outcome(&mut client);
            assert_eq!((seen.task, seen.outcome), (task, Outcome::Completed));
            assert!(seen.frames == [bytes], "{len} bytes have changed");
        }
        submit_bytes(&mut client, &vec![7; MAX + 1]);
        let seen = next_outcome(&mut client);
        assert_eq!(seen.outcome, Outcome::Refused(Refusal::PayloadTooLarge));
        // And in the other direction: the attempt has failed, and has no result.
        submit_bytes(&mut client, b"one byte more");
        let seen = next_outcome(&mut client);
        assert_eq!((seen.outcome, seen.frames.len()), (Outcome::Failed, 0));
        submit_bytes(&mut client, b"goes on");
        assert_eq!(next_outcome(&mut client).frames, [b"goes on"]);
        stop.stop();
        worker.join().expect("it ends");
    }
}

#[test]
fn who_submits_without_end_is_refused_and_goes_on_later() {
    let small = Small::start(&["--quota", "300", "--quota-bytes", "4194304"]);
    let mut client = small.controller.client(&context());
    // Nobody works, so all that is taken stays: first the bytes are full, then the places.
    for (bytes, taken_max) in [(60_000, 69), (10, 300)] {
        let before = client.outstanding();
        for _ in 0..1_000 {
            submit_bytes(&mut client, &vec![3; bytes]);
        }
        while client.outstanding() > before.max(taken_max) {
            let outcome = next_outcome(&mut client).outcome;
            assert_eq!(outcome, Outcome::Refused(Refusal::QuotaFull));
        }
        assert_eq!(client.outstanding(), taken_max);
    }
    let _workers = small.controller.start_workers("late", 2);
    while client.outstanding() > 0 {
        // Its payload is no command that they know.
        assert_eq!(next_outcome(&mut client).outcome, Outcome::Failed);
    }
    submit(
        &mut client,
        Submit::new(TaskId(1 << 40), Target::Any),
        "echo on",
    );
    assert_eq!(next_outcome(&mut client).frames, [b"on"]);
    small.check();
}

#[test]
fn a_client_that_does_not_read_costs_little_and_slows_nobody() {
    let small = Small::start(&[]);
    let stop = StopFlag::new();
    let workers = ["a", "b"].map(|name| echo(&small.controller, name, &stop));
    let zmq = zmq::Context::new();
    let deaf = Deaf::connect(&zmq, &small.controller, Role::Client);
    let mut hello = Header::new(Kind::ClientHello);
    hello.seq = 1;
    deaf.say(&Head::new(&hello).body(&[9; 16]), &[]);
    let mut client = small.controller.client(&context());
    // Far more than its share, and pings that it will not read the answers of.
    for task in 1..=3_000 {
        let mut header = Header::new(Kind::Submit);
        (header.seq, header.id) = (task, task.into());
        deaf.say(&Head::new(&header), &[task as u8; 20_000]);
        for _ in 0..10 {
            deaf.say(&Head::new(&Header::new(Kind::Ping)), &[]);
        }
        if task % 10 == 0 {
            submit_bytes(&mut client, b"honest");
            assert_eq!(next_outcome(&mut client).frames, [b"honest"]);
        }
    }
    let resident = small.check();
    // Its results may take their share, and its answers little beside that.
    assert!(resident < 200, "{resident} MiB for one that does not read");
    drop(deaf);
    submit_bytes(&mut client, b"still here");
    assert_eq!(next_outcome(&mut client).frames, [b"still here"]);
    stop.stop();
    for worker in workers {
        worker.join().expect("it ends");
    }
}

#[test]
fn the_tasks_of_a_worker_that_does_not_read_go_elsewhere() {
    let small = Small::start(&[]);
    let zmq = zmq::Context::new();
    let deaf = Deaf::connect(&zmq, &small.controller, Role::Worker);
    let mut register = Header::new(Kind::Register);
    register.flags = Flags::NO_REDIRECT;
    (register.seq, register.id, register.extra) = (1, 77, 16);
    deaf.say(&Head::new(&register).name("deaf"), &[]);
    let mut client = small.controller.client(&context());
    let _workers = small.controller.start_workers("honest", 1);
    // Both are there: the one answers, the other has read its registration, its last word.
    while Message::decode(&deaf.0.recv_msg(0).expect("an answer"))
        .is_ok_and(|message| message.header.kind != Kind::Registered)
    {}
    await_named(&mut client, "honest.0");
    let mut text = String::from("echo ");
    text.extend(std::iter::repeat_n('x', 60_000));
    for _ in 0..200 {
        submit_bytes(&mut client, text.as_bytes());
    }
    // It keeps what it has slots for, and no more.
    while client.outstanding() > 16 {
        assert_eq!(next_outcome(&mut client).outcome, Outcome::Completed);
    }
    small.check();
    drop(deaf);
    while client.outstanding() > 0 {
        assert_eq!(next_outcome(&mut client).outcome, Outcome::Completed);
    }
    await_workers(&mut client, 1);
}

/// Waits until the worker of this name is attached.
fn await_named(client: &mut RemoteClient, name: &str) {
    let end = Instant::now() + PATIENCE;
    loop {
        let submit = Submit::new(client.next_task_id(), Target::Any);
        let payload = ZmqPayload::from_bytes(b"echo here");
        client
            .submit(submit, Some(name), payload)
            .expect("it is taken");
        if next_outcome(client).outcome == Outcome::Completed {
            return;
        }
        assert!(Instant::now() < end, "{name} has not come");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A peer that speaks and does not read: its own libzmq takes one message, and then the connection
/// is full.
struct Deaf(zmq::Socket);

impl Deaf {
    fn connect(zmq: &zmq::Context, controller: &ControllerProcess, role: Role) -> Self {
        let socket = zmq.socket(zmq::DEALER).expect("a socket");
        socket.set_rcvhwm(1).expect("an option");
        socket.set_rcvbuf(4096).expect("an option");
        socket.set_linger(0).expect("an option");
        let patience = i32::try_from(PATIENCE.as_millis()).expect("a minute");
        socket.set_rcvtimeo(patience).expect("an option");
        socket.set_sndtimeo(patience).expect("an option");
        socket.set_probe_router(true).expect("an option");
        let_in(&socket, &controller.connection, role);
        let endpoint = match role {
            Role::Worker => &controller.workers,
            _ => &controller.clients,
        };
        socket.connect(endpoint).expect("an endpoint");
        let question = socket.recv_msg(0).expect("it is asked who it is");
        let question = Message::decode(&question).expect("a message of the protocol");
        assert_eq!(question.header.kind, Kind::WhoAreYou);
        Self(socket)
    }

    fn say(&self, head: &Head, payload: &[u8]) {
        let message = [head.as_slice(), payload].concat();
        self.0.send(message, 0).expect("it leaves");
    }
}
