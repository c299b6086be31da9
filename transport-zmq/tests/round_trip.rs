//! Tasks out, outcomes back, over real sockets.

mod common;

use common::*;
use taskyard_core::{Outcome, Refusal, Submit, Target, TaskId, Verdict, WorkerId};
use taskyard_dispatcher::Payload;
use taskyard_zmq::{
    ClientEvent, Error, RemoteWorker, ShardOptions, WorkerEvent, WorkerOptions, ZmqPayload,
};

fn both(test: impl Fn(Controller)) {
    test(Controller::hosted(ShardOptions::new(Some(tcp()), tcp())));
    test(Controller::hosted(ShardOptions::new(Some(ipc()), ipc())));
    test(Controller::pinned(1));
}

#[test]
fn a_task_for_any_worker_comes_back_completed() {
    both(|controller| {
        let _workers = Workers::echo(&controller.workers[0], 2);
        let context = context();
        let mut client = controller.client(&context);
        for round in 0..100u8 {
            let task = submit(&mut client, Target::Any, &[round]);
            let seen = next_outcome(&mut client);
            assert_eq!((seen.task, seen.outcome), (task, Outcome::Completed));
            assert_eq!(seen.payload, Some(ZmqPayload::from_bytes(&[round])));
            assert_eq!((seen.part, seen.attempts), (false, 1));
        }
        assert_eq!(client.outstanding(), 0);
    });
}

#[test]
fn many_tasks_at_once_all_come_back_once() {
    both(|controller| {
        let _workers = Workers::echo(&controller.workers[0], 8);
        let context = context();
        let mut client = controller.client(&context);
        let count = 5_000;
        for i in 0..count {
            submit(&mut client, Target::Any, &u32::to_le_bytes(i));
        }
        let mut seen = vec![false; count as usize];
        for _ in 0..count {
            let outcome = next_outcome(&mut client);
            assert_eq!(outcome.outcome, Outcome::Completed);
            let first = usize::try_from(outcome.task.0 - 1).unwrap();
            assert!(
                !std::mem::replace(&mut seen[first], true),
                "{outcome:?} came twice"
            );
            let sent = u32::try_from(first).unwrap().to_le_bytes();
            assert_eq!(outcome.payload, Some(ZmqPayload::from_bytes(&sent)));
        }
        assert_eq!(client.outstanding(), 0);
    });
}

#[test]
fn a_failure_carries_its_words() {
    let controller = Controller::hosted(ShardOptions::new(Some(tcp()), tcp()));
    let _workers = Workers::start(&controller.workers[0], 1, |_, _| {
        (Verdict::Failed, ZmqPayload::from_bytes(b"no such file"))
    });
    let context = context();
    let mut client = controller.client(&context);
    submit(&mut client, Target::Any, b"x");
    let seen = next_outcome(&mut client);
    assert_eq!(seen.outcome, Outcome::Failed);
    assert_eq!(seen.payload, Some(ZmqPayload::from_bytes(b"no such file")));
}

#[test]
fn one_worker_is_addressed_by_number_or_name() {
    let controller = Controller::hosted(ShardOptions::new(Some(tcp()), tcp()));
    let _workers = Workers::start(&controller.workers[0], 4, |assignment, _| {
        (
            Verdict::Completed,
            ZmqPayload::from_bytes(&assignment.worker.0.to_le_bytes()),
        )
    });
    let context = context();
    let mut client = controller.client(&context);
    let ran_on = |seen: Seen| {
        assert_eq!(seen.outcome, Outcome::Completed);
        u32::from_le_bytes(seen.payload.unwrap().bytes().unwrap().try_into().unwrap())
    };
    let mut by_name = |name: &str| {
        let task = client.next_task_id();
        let target = Target::Any; // the name wins
        client
            .submit(
                Submit::new(task, target),
                Some(name),
                ZmqPayload::from_bytes(b""),
            )
            .unwrap();
        ran_on(next_outcome(&mut client))
    };
    let numbers = [by_name("w0"), by_name("w1"), by_name("w2"), by_name("w3")];
    assert_eq!(by_name("w2"), numbers[2], "a name stays with its worker");
    for number in numbers {
        submit(&mut client, Target::Worker(WorkerId(number)), b"");
        assert_eq!(ran_on(next_outcome(&mut client)), number);
    }
}

#[test]
fn a_task_for_nobody_is_refused() {
    let controller = Controller::hosted(ShardOptions::new(Some(tcp()), tcp()));
    let context = context();
    let mut client = controller.client(&context);
    submit(&mut client, Target::Worker(WorkerId(77)), b"");
    assert_eq!(
        next_outcome(&mut client).outcome,
        Outcome::Refused(Refusal::NoSuchWorker)
    );
    let task = client.next_task_id();
    client
        .submit(
            Submit::new(task, Target::Any),
            Some("nobody"),
            ZmqPayload::from_bytes(b""),
        )
        .unwrap();
    assert_eq!(
        next_outcome(&mut client).outcome,
        Outcome::Refused(Refusal::NoSuchName)
    );
}

#[test]
fn a_multicast_runs_once_on_each_and_closes_with_a_summary() {
    both(|controller| {
        let _workers = Workers::echo(&controller.workers[0], 100);
        let context = context();
        let mut client = controller.client(&context);
        for _ in 0..3 {
            let task = submit(&mut client, Target::All, &[9; 300]);
            for _ in 0..100 {
                let seen = next_outcome(&mut client);
                assert_eq!(
                    (seen.task, seen.outcome, seen.part),
                    (task, Outcome::Completed, true)
                );
                assert_eq!(seen.payload, Some(ZmqPayload::from_bytes(&[9; 300])));
            }
            let summary = next_outcome(&mut client).outcome;
            assert_eq!(
                summary,
                Outcome::Summary {
                    parts: 100,
                    completed: 100
                }
            );
        }
    });
}

#[test]
fn frames_pass_unchanged() {
    both(|controller| {
        let _workers = Workers::echo(&controller.workers[0], 1);
        let context = context();
        let mut client = controller.client(&context);
        for count in [1usize, 2, 64] {
            let frames: Vec<Vec<u8>> = (0..count).map(|i| vec![i as u8; i * 517]).collect();
            let task = client.next_task_id();
            let payload = ZmqPayload::from_frames(&frames).unwrap();
            client
                .submit(Submit::new(task, Target::Any), None, payload)
                .unwrap();
            let seen = next_outcome(&mut client);
            let result = seen.payload.expect("an echo");
            assert_eq!(result.frame_count(), count);
            assert!(result.frames().eq(frames.iter().map(Vec::as_slice)));
        }
    });
    assert_eq!(
        ZmqPayload::from_frames(&vec![b""; 65]),
        Err(Error::Frames(65))
    );
}

#[test]
fn sizes_around_every_threshold_pass_unchanged() {
    both(|controller| {
        let _workers = Workers::echo(&controller.workers[0], 1);
        let context = context();
        let mut client = controller.client(&context);
        for len in [
            0,
            1,
            69,
            70,
            71,
            2047,
            2048,
            2049,
            8191,
            8192,
            8193,
            1 << 20,
        ] {
            let bytes: Vec<u8> = (0..len).map(|i| (i % 249) as u8).collect();
            submit(&mut client, Target::Any, &bytes);
            let seen = next_outcome(&mut client);
            assert_eq!(seen.payload.unwrap().bytes().unwrap(), bytes, "{len} bytes");
        }
    });
}

#[test]
fn a_payload_beyond_the_limit_is_refused() {
    let mut options = ShardOptions::new(Some(tcp()), tcp());
    options.payload_max = 5_000;
    let controller = Controller::hosted(options);
    let _workers = Workers::echo(&controller.workers[0], 1);
    let context = context();
    let mut client = controller.client(&context);
    let frames = [vec![0; 3_000], vec![0; 3_000]];
    let task = client.next_task_id();
    let payload = ZmqPayload::from_frames(&frames).unwrap();
    client
        .submit(Submit::new(task, Target::Any), None, payload)
        .unwrap();
    assert_eq!(
        next_outcome(&mut client).outcome,
        Outcome::Refused(Refusal::PayloadTooLarge)
    );
    submit(&mut client, Target::Any, &[1; 5_000]);
    assert_eq!(next_outcome(&mut client).outcome, Outcome::Completed);
}

/// libzmq closes a connection that brings a frame beyond its own limit. Whoever sends again after
/// that would never get past it.
#[test]
fn a_frame_far_beyond_the_limit_breaks_no_connection() {
    let mut options = ShardOptions::new(Some(tcp()), tcp());
    options.payload_max = 5_000;
    let controller = Controller::hosted(options);
    let _workers = Workers::start(&controller.workers[0], 1, |_, payload| {
        let size = payload.bytes().map_or(0, |bytes| bytes.len() * 100);
        (Verdict::Completed, ZmqPayload::from_bytes(&vec![2; size]))
    });
    let context = context();
    let mut client = controller.client(&context);
    let too_large = Outcome::Refused(Refusal::PayloadTooLarge);
    for (size, outcome) in [
        (5_000_000, too_large),
        (5_001, too_large),
        (50, Outcome::Completed),
        (51, Outcome::Failed),
    ] {
        submit(&mut client, Target::Any, &vec![1; size]);
        assert_eq!(next_outcome(&mut client).outcome, outcome, "{size} bytes");
    }
    let stats = controller.stop().remove(0);
    assert_eq!((stats.clients.lost, stats.workers.lost), (0, 0));
}

#[test]
fn a_cancelled_task_that_waits_never_starts() {
    let controller = Controller::hosted(ShardOptions::new(Some(tcp()), tcp()));
    let context = context();
    let mut client = controller.client(&context);
    let task = submit(&mut client, Target::Any, b"");
    assert!(client.cancel(task));
    let seen = next_outcome(&mut client);
    assert_eq!(
        (seen.task, seen.outcome),
        (task, Outcome::Cancelled { started: false })
    );
    assert!(!client.cancel(task), "it has its outcome");
}

#[test]
fn the_next_task_is_there_before_the_last_one_ends() {
    let controller = Controller::hosted(ShardOptions::new(Some(tcp()), tcp()));
    let context = context();
    let options = WorkerOptions::new(controller.workers[0].clone(), "eager").prefetch(2);
    let mut worker = RemoteWorker::connect(&context, &options).unwrap();
    // What is in the pool when it comes would have to leave that first.
    wait_for("the worker", || {
        let _ = worker.poll().unwrap();
        worker.registered().is_some()
    });
    let mut client = controller.client(&context);
    for text in [b"1", b"2", b"3"] {
        submit(&mut client, Target::Any, text);
    }
    let mut running = None;
    wait_for("one task to run, and two in advance", || {
        // It submits once it is welcome.
        let _ = client.poll().unwrap();
        if let Some(WorkerEvent::Task(assignment, payload)) = worker.poll().unwrap() {
            assert!(running.is_none(), "one slot, one task");
            running = Some((assignment, payload));
        }
        running.is_some() && worker.waiting() == 2
    });
    // The second is wanted back; it was sent already, and has not started.
    client.cancel(TaskId(2));
    let cancelled = loop {
        assert!(worker.poll().unwrap().is_none(), "the slot is taken");
        if let Some(ClientEvent::Outcome { outcome, .. }) = client.poll().unwrap() {
            break outcome;
        }
    };
    assert_eq!(cancelled, Outcome::Cancelled { started: false });
    // No message comes between a report and the next task.
    let (assignment, payload) = running.expect("seen above");
    assert!(worker.report(&assignment, Verdict::Completed, Some(payload)));
    let Ok(Some(WorkerEvent::Task(next, payload))) = worker.poll() else {
        panic!("the next task is here already");
    };
    assert_eq!(payload, ZmqPayload::from_bytes(b"3"));
    assert!(worker.report(&next, Verdict::Completed, Some(payload)));
    for _ in 0..2 {
        let _ = worker.poll().unwrap();
        assert_eq!(next_outcome(&mut client).outcome, Outcome::Completed);
    }
}
