//! Workers that are killed, stopped or cut off, as real processes over real sockets: each task has
//! its one outcome, and whoever comes back has its name.
//!
//! How soon, is measured elsewhere: `bench-harness failures`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use taskyard_core::{Outcome, Refusal, Submit, Target, TaskId};
use taskyard_tests::cluster::{
    ControllerProcess, PATIENCE, Process, Seen, await_workers, next_outcome, submit,
};
use taskyard_zmq::{ClientEvent, Context, ContextOptions, RemoteClient, ZmqPayload};

/// Quick to notice, and slow enough for a loaded machine.
const HEARTBEAT: [&str; 4] = [
    "--heartbeat-interval-ms",
    "100",
    "--heartbeat-timeout-ms",
    "300",
];

fn context() -> Context {
    Context::new(ContextOptions::default()).expect("a context")
}

fn signal(process: &Process, signal: &str) {
    let pid = process.0.id().to_string();
    let sent = Command::new("kill").args([signal, &pid]).status();
    assert!(sent.expect("kill runs").success());
}

/// Submits a task for the worker of this name.
fn submit_named(client: &mut RemoteClient, name: &str, payload: &str) -> TaskId {
    let task = client.next_task_id();
    client
        .submit(
            Submit::new(task, Target::Any),
            Some(name),
            ZmqPayload::from_bytes(payload.as_bytes()),
        )
        .expect("it is taken");
    task
}

/// Asks the worker of this name until it answers; its place and epoch. Nothing else is outstanding.
fn ask(client: &mut RemoteClient, name: &str) -> (u32, u32) {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let asked = submit_named(client, name, "echo here");
        loop {
            let Some(event) = client.wait(PATIENCE).expect("the client works") else {
                panic!("{name} was asked, and nothing came");
            };
            let ClientEvent::Outcome {
                task,
                outcome,
                worker,
                ..
            } = event
            else {
                continue;
            };
            assert_eq!(task, asked);
            match (outcome, worker) {
                (Outcome::Completed, Some((worker, epoch))) => return (worker.0, epoch.0),
                (Outcome::Refused(Refusal::NoSuchName) | Outcome::WorkerLost, _) => break,
                other => panic!("{name} was asked, and there came {other:?}"),
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{name} does not answer");
}

/// Outcomes until each of these tasks has its one; with the parts that came before a summary.
fn outcomes(client: &mut RemoteClient, tasks: &[TaskId]) -> BTreeMap<TaskId, Vec<Seen>> {
    let mut open: BTreeSet<TaskId> = tasks.iter().copied().collect();
    let mut all: BTreeMap<TaskId, Vec<Seen>> = BTreeMap::new();
    while !open.is_empty() {
        let seen = next_outcome(client);
        assert!(open.contains(&seen.task), "one too many: {seen:?}");
        if !seen.part {
            open.remove(&seen.task);
        }
        all.entry(seen.task).or_default().push(seen);
    }
    all
}

/// Nothing may come any more.
fn assert_silent(client: &mut RemoteClient) {
    let end = Instant::now() + Duration::from_millis(200);
    while let Some(event) = client
        .wait(end.saturating_duration_since(Instant::now()))
        .expect("the client works")
    {
        assert!(
            !matches!(event, ClientEvent::Outcome { .. }),
            "one too many: {event:?}"
        );
    }
    assert_eq!(client.outstanding(), 0);
}

/// Both ways between processes: a controller for each.
fn over_tcp_and_ipc(test: impl Fn(&ControllerProcess)) {
    test(&ControllerProcess::start(&[]));
    let folder = std::env::temp_dir().join(format!("taskyard-failures-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let path = |name: &str| format!("ipc://{}", folder.join(name).display());
    let args = ["--clients", &path("clients"), "--workers", &path("workers")];
    test(&ControllerProcess::start_at(&args));
    fs::remove_dir_all(&folder).expect("the folder can be removed");
}

#[test]
fn a_killed_worker_leaves_each_kind_of_task_with_its_outcome() {
    over_tcp_and_ipc(|controller| {
        let mut client = controller.client(&context());
        let mut doomed = controller.start_workers("doomed", 4);
        let _heirs = controller.start_workers("heir", 2);
        await_workers(&mut client, 6);
        // One thread serves the four: once it has the first task, it does nothing else.
        let blocked = submit_named(&mut client, "doomed.0", "sleep 600000");
        std::thread::sleep(Duration::from_millis(300));
        let mut balanced = Vec::new();
        for n in 0..30 {
            let task = client.next_task_id();
            let attempts = if n % 3 == 0 { 1 } else { 3 };
            let any = Submit::new(task, Target::Any).attempts(attempts);
            submit(&mut client, any, "echo done");
            balanced.push((task, attempts));
        }
        let directed: Vec<TaskId> = (0..8)
            .map(|n| submit_named(&mut client, &format!("doomed.{}", n % 4), "echo never"))
            .collect();
        let all = client.next_task_id();
        submit(&mut client, Submit::new(all, Target::All), "echo part");
        // The heirs' parts say that the controller has dealt all of it out.
        let mut early: Vec<Seen> = Vec::new();
        while early.iter().filter(|seen| seen.task == all).count() < 2 {
            early.push(next_outcome(&mut client));
        }
        doomed.kill();
        let done: BTreeSet<TaskId> = early
            .iter()
            .filter(|seen| !seen.part)
            .map(|seen| seen.task)
            .collect();
        let mut left: Vec<TaskId> = balanced.iter().map(|&(task, _)| task).collect();
        left.extend(directed.iter().copied().chain([blocked, all]));
        left.retain(|task| !done.contains(task));
        let mut seen = outcomes(&mut client, &left);
        for outcome in early {
            seen.entry(outcome.task).or_default().insert(0, outcome);
        }
        for task in directed.iter().chain([&blocked]) {
            assert_eq!(
                seen[task][0].outcome,
                Outcome::WorkerLost,
                "{:?}",
                seen[task]
            );
        }
        for (task, attempts) in balanced {
            let outcome = &seen[&task][0];
            match outcome.outcome {
                Outcome::Completed => {}
                Outcome::WorkerLost => assert_eq!(attempts, 1, "{outcome:?}"),
                _ => panic!("{outcome:?}"),
            }
        }
        let parts: Vec<Outcome> = seen[&all].iter().map(|seen| seen.outcome).collect();
        let count = |outcome| parts.iter().filter(|it| **it == outcome).count();
        assert_eq!(
            (count(Outcome::Completed), count(Outcome::WorkerLost)),
            (2, 4)
        );
        let summary = Outcome::Summary {
            parts: 6,
            completed: 2,
        };
        assert_eq!(parts.last(), Some(&summary));
        assert_silent(&mut client);
    });
}

#[test]
fn a_stopped_worker_is_missed_and_comes_back_as_its_next_incarnation() {
    let controller = ControllerProcess::start(&HEARTBEAT);
    let mut client = controller.client(&context());
    let frozen = controller.start_workers("frozen", 1);
    let (place, before) = ask(&mut client, "frozen.0");
    let held = client.next_task_id();
    // Far from done when the process is stopped.
    submit(&mut client, Submit::new(held, Target::Any), "sleep 2000");
    signal(&frozen, "-STOP");
    // Not before: a place that is just becoming free may be given this one first.
    let once = submit_named(&mut client, "frozen.0", "echo never");
    let _heir = controller.start_workers("heir", 1);
    let seen = outcomes(&mut client, &[held, once]);
    let told = &seen[&once][0];
    assert_eq!(told.outcome, Outcome::WorkerLost, "{told:?}");
    let held = &seen[&held][0];
    assert_eq!(held.outcome, Outcome::Completed, "{held:?}");
    assert_ne!(held.worker, Some(place), "{held:?}");
    signal(&frozen, "-CONT");
    let (_, after) = ask(&mut client, "frozen.0");
    assert!(after > before, "epoch {after} is not after {before}");
    assert_silent(&mut client);
}

#[test]
fn descriptors_that_are_used_again_hit_nobody_else() {
    let controller = ControllerProcess::start(&[]);
    let mut client = controller.client(&context());
    let _steady = controller.start_workers("steady", 4);
    let steady: Vec<_> = (0..4)
        .map(|n| ask(&mut client, &format!("steady.{n}")))
        .collect();
    for round in 0..40 {
        let name = format!("mayfly{}.0", round % 2);
        let mut mayfly = controller.start_workers(&format!("mayfly{}", round % 2), 1);
        ask(&mut client, &name);
        let lost = submit_named(&mut client, &name, "sleep 600000");
        let kept: Vec<TaskId> = (0..4)
            .map(|n| submit_named(&mut client, &format!("steady.{n}"), "sleep 2"))
            .collect();
        mayfly.kill();
        // The next one takes its descriptor while the last word about it is on its way.
        let mut all = kept.clone();
        all.push(lost);
        let seen = outcomes(&mut client, &all);
        // The kill may even be noticed before the task arrives.
        let gone = [Outcome::WorkerLost, Outcome::Refused(Refusal::NoSuchName)];
        assert!(gone.contains(&seen[&lost][0].outcome), "{:?}", seen[&lost]);
        for task in kept {
            assert_eq!(seen[&task][0].outcome, Outcome::Completed, "round {round}");
        }
    }
    // Whoever had been taken for lost would have another epoch now.
    for (n, before) in (0..).zip(steady) {
        assert_eq!(ask(&mut client, &format!("steady.{n}")), before);
    }
    assert_silent(&mut client);
}

#[test]
fn a_storm_leaves_no_descriptor_behind() {
    const WORKERS: usize = 64;
    let controller = ControllerProcess::start(&[]);
    let mut client = controller.client(&context());
    let open = || {
        let folder = format!("/proc/{}/fd", controller.process.0.id());
        let open = fs::read_dir(folder).expect("it runs").flatten();
        let open = open.map(|fd| fs::read_link(fd.path()).unwrap_or_default());
        open.collect::<Vec<_>>()
    };
    let fds = || open().len();
    // The controller says where it listens before it listens to signals as well.
    std::thread::sleep(Duration::from_millis(500));
    let before = fds();
    for round in 0..3 {
        let mut workers: Vec<Process> = (0..WORKERS)
            .map(|n| controller.start_workers(&format!("w{n}"), 1))
            .collect();
        await_workers(&mut client, WORKERS as u32);
        assert!(fds() >= before + WORKERS);
        let tasks: Vec<TaskId> = (0..WORKERS)
            .map(|n| submit_named(&mut client, &format!("w{n}.0"), "sleep 600000"))
            .collect();
        for worker in &mut workers {
            worker.kill();
        }
        for (task, seen) in outcomes(&mut client, &tasks) {
            let lost = [Outcome::WorkerLost, Outcome::Refused(Refusal::NoSuchName)];
            assert!(lost.contains(&seen[0].outcome), "{task:?}: {seen:?}");
        }
        let end = Instant::now() + PATIENCE;
        while fds() > before {
            let open = open();
            assert!(
                Instant::now() < end,
                "round {round}: {before} grew to {open:?}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    assert_silent(&mut client);
}

/// A network namespace at the other end of a cable; gone when dropped.
struct Namespace {
    name: String,
    near: String,
    address: String,
}

impl Namespace {
    /// `Err` says why there is none.
    fn new() -> Result<Self, String> {
        let pid = std::process::id();
        let (name, near, far) = (
            format!("taskyard-test-{pid}"),
            format!("tys{pid}"),
            format!("tyt{pid}"),
        );
        let net = format!("10.{}.{}", 192 + (pid >> 8) % 60, pid % 256);
        let (address, theirs) = (format!("{net}.1"), format!("{net}.2/24"));
        let namespace = Self {
            name: name.clone(),
            near: near.clone(),
            address,
        };
        let ours = format!("{}/24", namespace.address);
        ip(&["netns", "add", &name])?;
        ip(&["link", "add", &near, "type", "veth", "peer", "name", &far])?;
        ip(&["link", "set", &far, "netns", &name])?;
        ip(&["addr", "add", &ours, "dev", &near])?;
        ip(&["link", "set", &near, "up"])?;
        ip(&["-n", &name, "addr", "add", &theirs, "dev", &far])?;
        ip(&["-n", &name, "link", "set", &far, "up"])?;
        Ok(namespace)
    }

    /// Does something on a thread that lives there; a process that it starts lives there as well.
    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.name);
        std::thread::scope(|scope| {
            let inside = scope.spawn(move || {
                let space = fs::File::open(path).expect("the namespace has a file");
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(space.as_fd(), kind).expect("we may enter it");
                work()
            });
            inside.join().expect("it works in there too")
        })
    }

    fn set_link(&self, state: &str) {
        ip(&["link", "set", &self.near, state]).expect("our end of the cable is there");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Whatever was not made need not go.
        let _ = ip(&["link", "del", &self.near]);
        let _ = ip(&["netns", "del", &self.name]);
    }
}

fn ip(args: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("`ip`: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("`ip {}`: {}", args.join(" "), said.trim()))
}

#[test]
fn a_worker_behind_a_cut_cable_is_missed_and_comes_back() {
    let namespace = match Namespace::new() {
        Ok(namespace) => namespace,
        Err(why) => {
            println!("skipped: no network namespace can be made here: {why}");
            return;
        }
    };
    let workers = format!("tcp://{}:*", namespace.address);
    let mut args = vec!["--clients", "tcp://127.0.0.1:*", "--workers", &workers];
    // A cable between two namespaces of this machine is no network.
    args.push("--insecure-network");
    args.extend(HEARTBEAT);
    let controller = ControllerProcess::start_at(&args);
    let mut client = controller.client(&context());
    let _far = namespace.inside(|| controller.start_workers("far", 1));
    let (_, before) = ask(&mut client, "far.0");
    let lost = submit_named(&mut client, "far.0", "sleep 500");
    namespace.set_link("down");
    let seen = outcomes(&mut client, &[lost]);
    assert_eq!(seen[&lost][0].outcome, Outcome::WorkerLost);
    namespace.set_link("up");
    let (_, after) = ask(&mut client, "far.0");
    assert!(after > before, "epoch {after} is not after {before}");
    assert_silent(&mut client);
}
