//! The `taskyard` program with real workers in processes of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use taskyard_core::{Deadline, Outcome, Refusal, Submit, Target, TaskId, WorkerId};
use taskyard_tests::cluster::{
    ControllerProcess, Process, Scratch, await_workers, next_outcome, submit, taskyard,
};
use taskyard_zmq::{Context, ContextOptions, RemoteClient, ZmqPayload};

fn context() -> Context {
    Context::new(ContextOptions::default()).expect("a context")
}

/// Every way to run it: who drives, over what, with how many shards.
fn each_way(test: impl Fn(&ControllerProcess)) {
    let ways: [&[&str]; 4] = [
        &["--mode", "hosted"],
        &["--mode", "pinned"],
        &["--mode", "hosted", "--shards", "3"],
        &["--mode", "pinned", "--shards", "2", "--idle", "park"],
    ];
    for way in ways {
        test(&ControllerProcess::start(way));
    }
}

#[test]
fn tasks_go_to_any_to_one_and_to_all_in_every_mode() {
    each_way(|controller| {
        let mut client = controller.client(&context());
        let _workers = controller.start_workers("w", 6);
        await_workers(&mut client, 6);
        let mut expected = BTreeMap::new();
        for n in 10_000..12_000 {
            let target = if n % 3 == 0 {
                Target::Worker(WorkerId(n % 6))
            } else {
                Target::Any
            };
            submit(
                &mut client,
                Submit::new(TaskId(n.into()), target),
                &format!("echo {n}"),
            );
            expected.insert(TaskId(n.into()), n);
        }
        while !expected.is_empty() {
            let seen = next_outcome(&mut client);
            let n = expected.remove(&seen.task).expect("one outcome per task");
            assert_eq!(seen.outcome, Outcome::Completed);
            assert_eq!(seen.frames, [n.to_string().into_bytes()]);
            assert!(
                n % 3 != 0 || seen.worker == Some(n % 6),
                "{n} ran on {:?}",
                seen.worker
            );
        }
    });
}

#[test]
fn a_named_worker_is_found_and_a_failure_is_told() {
    let controller = ControllerProcess::start(&[]);
    let mut client = controller.client(&context());
    let _workers = controller.start_workers("gpu", 3);
    await_workers(&mut client, 3);
    let mut places = BTreeSet::new();
    for _ in 0..20 {
        let named = Submit::new(client.next_task_id(), Target::Any);
        let payload = ZmqPayload::from_bytes(b"echo x");
        client
            .submit(named, Some("gpu.1"), payload)
            .expect("it is taken");
        let seen = next_outcome(&mut client);
        assert_eq!(seen.outcome, Outcome::Completed);
        places.insert(seen.worker.expect("it ran somewhere"));
    }
    assert_eq!(places.len(), 1, "always the same worker");
    let nobody = Submit::new(client.next_task_id(), Target::Any);
    client
        .submit(nobody, Some("gpu.9"), ZmqPayload::from_bytes(b""))
        .expect("it is taken");
    assert_eq!(
        next_outcome(&mut client).outcome,
        Outcome::Refused(Refusal::NoSuchName)
    );
    let task = client.next_task_id();
    submit(&mut client, Submit::new(task, Target::Any), "fail");
    let seen = next_outcome(&mut client);
    assert_eq!(
        (seen.outcome, seen.frames),
        (Outcome::Failed, vec![b"as asked".to_vec()])
    );
}

#[test]
fn payloads_of_many_frames_and_sizes_pass_unchanged() {
    let controller = ControllerProcess::start(&[]);
    let mut client = controller.client(&context());
    let _workers = controller.start_workers("w", 1);
    let frame = |size: usize| (0..size).map(|n| (n * 7 % 251) as u8).collect::<Vec<u8>>();
    let payloads: Vec<Vec<Vec<u8>>> = vec![
        vec![frame(0), frame(0)],
        vec![frame(1), frame(70), frame(71)],
        (0..64).map(frame).collect(),
        vec![frame(1_000_000), frame(3)],
        vec![frame(8_000), frame(8_192), frame(9_000)],
    ];
    for frames in &payloads {
        let task = client.next_task_id();
        let payload = ZmqPayload::from_frames(frames).expect("up to 64 frames");
        client
            .submit(Submit::new(task, Target::Any), None, payload)
            .expect("it is taken");
        let seen = next_outcome(&mut client);
        assert_eq!(seen.outcome, Outcome::Completed);
        assert_eq!(&seen.frames, frames);
    }
    assert!(
        ZmqPayload::from_frames(&vec![b"x"; 65]).is_err(),
        "65 frames are too many"
    );
    for size in [0, 1, 69, 70, 71, 4_096, 16_384, 5_000_000] {
        let task = client.next_task_id();
        let text = format!("echo {}", "x".repeat(size));
        submit(&mut client, Submit::new(task, Target::Any), &text);
        assert_eq!(next_outcome(&mut client).frames, [vec![b'x'; size]]);
    }
}

#[test]
fn the_work_of_a_killed_worker_goes_elsewhere_or_is_told() {
    for args in [["--mode", "hosted"], ["--mode", "pinned"]] {
        let controller = ControllerProcess::start(&args);
        let mut client = controller.client(&context());
        let mut doomed = controller.start_workers("doomed", 1);
        await_workers(&mut client, 1);
        submit(
            &mut client,
            Submit::new(TaskId(1_001), Target::Any),
            "sleep 600000",
        );
        await_busy(&mut client, WorkerId(0));
        let directed = Submit::new(TaskId(1_002), Target::Worker(WorkerId(0)));
        submit(&mut client, directed, "echo never");
        let mut heir = controller.start_workers("heir", 1);
        submit(
            &mut client,
            Submit::new(TaskId(1_003), Target::Any).attempts(1),
            "echo other",
        );
        let seen = next_outcome(&mut client);
        assert_eq!((seen.task, seen.worker), (TaskId(1_003), Some(1)));
        doomed.kill();
        let told = next_outcome(&mut client);
        assert_eq!(
            (told.task, told.outcome),
            (TaskId(1_002), Outcome::WorkerLost)
        );
        // The long one runs again, on the heir, and is cancelled there; it does not listen.
        await_busy(&mut client, WorkerId(1));
        assert!(client.cancel(TaskId(1_001)));
        heir.kill();
        let told = next_outcome(&mut client);
        assert_eq!((told.task, told.attempts), (TaskId(1_001), 2));
        assert!(matches!(
            told.outcome,
            Outcome::WorkerLost | Outcome::Cancelled { started: true }
        ));
    }
}

/// Until a worker has no slot free: what is sent there does not start in time.
fn await_busy(client: &mut RemoteClient, worker: WorkerId) {
    loop {
        let task = client.next_task_id();
        let probe = Submit::new(task, Target::Worker(worker)).start_within_ms(200);
        submit(client, probe, "echo idle");
        if next_outcome(client).outcome == Outcome::TimedOut(Deadline::Start) {
            return;
        }
    }
}

#[test]
fn a_task_that_kills_its_workers_ends() {
    let controller = ControllerProcess::start(&[]);
    let mut client = controller.client(&context());
    let mut workers: Vec<Process> = (0..4)
        .map(|n| controller.start_workers(&format!("w{n}"), 1))
        .collect();
    await_workers(&mut client, 4);
    submit(&mut client, Submit::new(TaskId(1_001), Target::Any), "exit");
    let seen = next_outcome(&mut client);
    assert_eq!((seen.outcome, seen.attempts), (Outcome::WorkerLost, 3));
    // Three are dead, and the fourth was spared: one worker is left for everybody.
    await_workers(&mut client, 1);
    let alive = |worker: &mut Process| worker.0.try_wait().expect("it can be asked").is_none();
    assert!(workers.iter_mut().any(alive));
}

#[test]
fn one_client_sees_nothing_of_another() {
    let controller = ControllerProcess::start(&["--shards", "2"]);
    let context = context();
    let mut one = controller.client(&context);
    let mut other = controller.client(&context);
    let _workers = controller.start_workers("w", 4);
    for n in 1..=500 {
        submit(
            &mut one,
            Submit::new(TaskId(n), Target::Any),
            &format!("echo one {n}"),
        );
        submit(
            &mut other,
            Submit::new(TaskId(n), Target::Any),
            &format!("echo other {n}"),
        );
    }
    for (client, name) in [(&mut one, "one"), (&mut other, "other")] {
        for _ in 0..500 {
            let seen = next_outcome(client);
            assert_eq!(
                seen.frames,
                [format!("{name} {}", seen.task.0).into_bytes()]
            );
        }
    }
}

#[test]
fn bad_options_are_one_line_that_says_what_to_do() {
    let taken = ControllerProcess::start(&[]);
    let cases: [(&[&str], &str); 10] = [
        (
            &["--clients", "http://x"],
            "only tcp:// and ipc:// are served",
        ),
        (&["--clients", &taken.clients], "somebody listens there"),
        (&["--shards", "0"], "say 1 to 16"),
        (&["--mode", "fast"], "say auto, pinned or hosted"),
        (&["--tasks-max", "0"], "task"),
        (&["--payload-max-bytes", "0"], "not in 1.."),
        (&["--heartbeat-interval-ms", "99"], "interval of 99ms"),
        (&["--heartbeat-timeout-ms", "0"], "timeout of 0ns"),
        (&["--colour", "red"], "unexpected argument"),
        (&["--workers", "ipc:///no/such/folder/socket"], "folder"),
    ];
    for (args, advice) in cases {
        let scratch = Scratch::new();
        let folder = scratch.path().to_str().expect("text");
        let mut all = vec!["controller", "--connection-dir", folder];
        if !args.contains(&"--clients") {
            all.extend(["--clients", "tcp://127.0.0.1:*"]);
        }
        if !args.contains(&"--workers") {
            all.extend(["--workers", "tcp://127.0.0.1:*"]);
        }
        all.extend(args);
        let output = taskyard()
            .args(&all)
            .env("RUST_LOG", "error")
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{args:?} was accepted");
        assert!(text.contains(advice), "{args:?}: {text}");
        assert_eq!(text.lines().count(), 1, "{args:?}: {text}");
    }
}

#[test]
fn it_ends_by_signal_and_leaves_no_socket_behind() {
    let folder = std::env::temp_dir().join(format!("taskyard-test-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = |name: &str| format!("ipc://{}", folder.join(name).display());
    let (clients, workers) = (path("clients"), path("workers"));
    let args = ["--clients", &clients, "--workers", &workers];
    let mut controller = ControllerProcess::start_at(&args);
    let mut client = controller.client(&context());
    let _workers = controller.start_workers("w", 2);
    await_workers(&mut client, 2);
    let pid = controller.process.0.id().to_string();
    let killed = Command::new("kill")
        .args(["-TERM", &pid])
        .status()
        .expect("kill runs");
    assert!(killed.success());
    assert!(controller.process.wait().success(), "a stop is no failure");
    std::fs::remove_dir_all(&folder).expect("the folder can be removed");
}
