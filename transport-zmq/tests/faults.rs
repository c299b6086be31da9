//! Connections that break, workers that die, and peers that send what they should not.

mod common;
// The tests of the whole use the same one. A package that this one must not depend on has it.
#[allow(dead_code)]
#[path = "../../tests/src/chaos/proxy.rs"]
mod proxy;

use std::time::Duration;

use common::*;
use proxy::Proxy;
use taskyard_core::{Outcome, Refusal, Submit, Target, TaskId, Verdict, WorkerId};
use taskyard_protocol::Rejection;
use taskyard_protocol::wire::{Head, Header, Kind, Message};
use taskyard_zmq::{
    ClientEvent, ClientKey, ClientOptions, Endpoint, Error, Heartbeat, RemoteClient, RemoteWorker,
    ShardOptions, WorkerEvent, WorkerOptions, ZmqPayload,
};

fn hosted() -> Controller {
    Controller::hosted(ShardOptions::new(Some(tcp()), tcp()))
}

/// A worker under the test's hand, registered.
fn worker(controller: &Controller, name: &str) -> RemoteWorker {
    let options = WorkerOptions::new(controller.workers[0].clone(), name);
    let mut worker = RemoteWorker::connect(&context(), &options).unwrap();
    match worker.wait(PATIENCE).unwrap() {
        Some(WorkerEvent::Registered { .. }) => worker,
        other => panic!("not registered but {other:?}"),
    }
}

fn next_task(worker: &mut RemoteWorker) -> (taskyard_zmq::Assignment, ZmqPayload) {
    match worker.wait(PATIENCE).unwrap() {
        Some(WorkerEvent::Task(assignment, payload)) => (assignment, payload),
        other => panic!("no task but {other:?}"),
    }
}

#[test]
fn an_any_task_of_a_lost_worker_runs_again_elsewhere() {
    let controller = hosted();
    let mut first = worker(&controller, "first");
    let context = context();
    let mut client = controller.client(&context);
    let task = submit(&mut client, Target::Any, b"again");
    let (_, payload) = next_task(&mut first);
    assert_eq!(payload.bytes(), Some(&b"again"[..]));
    drop(first);
    let mut second = worker(&controller, "second");
    let (assignment, payload) = next_task(&mut second);
    assert_eq!(
        (assignment.attempt.0, payload.bytes()),
        (2, Some(&b"again"[..]))
    );
    assert!(second.report(&assignment, Verdict::Completed, None));
    let seen = next_outcome(&mut client);
    assert_eq!(
        (seen.task, seen.outcome, seen.attempts),
        (task, Outcome::Completed, 2)
    );
}

#[test]
fn a_task_that_may_run_once_is_lost_with_its_worker() {
    let controller = hosted();
    let mut doomed = worker(&controller, "doomed");
    let context = context();
    let mut client = controller.client(&context);
    let task = client.next_task_id();
    let submit = Submit::new(task, Target::Any).attempts(1);
    client
        .submit(submit, None, ZmqPayload::from_bytes(b""))
        .unwrap();
    next_task(&mut doomed);
    drop(doomed);
    assert_eq!(next_outcome(&mut client).outcome, Outcome::WorkerLost);
}

#[test]
fn a_directed_task_is_lost_with_its_worker_whether_started_or_not() {
    let controller = hosted();
    let mut doomed = worker(&controller, "doomed");
    let context = context();
    let mut client = controller.client(&context);
    for _ in 0..20 {
        let task = client.next_task_id();
        let submit = Submit::new(task, Target::Any);
        client
            .submit(submit, Some("doomed"), ZmqPayload::from_bytes(b""))
            .unwrap();
    }
    next_task(&mut doomed);
    // Submits are taken in order: once this one is answered, the others have been accepted.
    submit(&mut client, Target::Worker(WorkerId(u32::MAX)), b"");
    assert_eq!(
        next_outcome(&mut client).outcome,
        Outcome::Refused(Refusal::NoSuchWorker)
    );
    drop(doomed);
    for _ in 0..20 {
        assert_eq!(next_outcome(&mut client).outcome, Outcome::WorkerLost);
    }
}

#[test]
fn a_worker_that_leaves_is_gone_and_its_name_is_free() {
    let controller = hosted();
    let mut leaver = worker(&controller, "same");
    leaver.leave();
    // Registers as soon as the other has left; until then the name is taken.
    let options = WorkerOptions::new(controller.workers[0].clone(), "same");
    let mut heir = RemoteWorker::connect(&context(), &options).unwrap();
    wait_for("the name to be free", || {
        match heir.wait(Duration::from_millis(20)).unwrap() {
            Some(WorkerEvent::Rejected(rejection)) => {
                assert_eq!(rejection, Rejection::NameTaken);
                heir.register();
                false
            }
            _ => heir.registered().is_some(),
        }
    });
}

#[test]
fn two_processes_with_one_name_do_not_evict_each_other() {
    let controller = hosted();
    let holder = worker(&controller, "same");
    let options = WorkerOptions::new(controller.workers[0].clone(), "same");
    let mut rival = RemoteWorker::connect(&context(), &options).unwrap();
    match rival.wait(PATIENCE).unwrap() {
        Some(WorkerEvent::Rejected(Rejection::NameTaken)) => {}
        other => panic!("not refused but {other:?}"),
    }
    assert!(holder.registered().is_some());
}

#[test]
fn an_abort_reaches_the_worker_and_a_result_wins_over_it() {
    let controller = hosted();
    let mut busy = worker(&controller, "busy");
    let context = context();
    let mut client = controller.client(&context);
    for obeys in [true, false] {
        let task = submit(&mut client, Target::Any, b"");
        let (assignment, _) = next_task(&mut busy);
        assert!(client.cancel(task));
        match busy.wait(PATIENCE).unwrap() {
            Some(WorkerEvent::Abort(aborted)) => assert_eq!(aborted, assignment),
            other => panic!("no abort but {other:?}"),
        }
        let verdict = if obeys {
            Verdict::Aborted
        } else {
            Verdict::Completed
        };
        assert!(busy.report(&assignment, verdict, None));
        let expected = if obeys {
            Outcome::Cancelled { started: true }
        } else {
            Outcome::Completed
        };
        assert_eq!(next_outcome(&mut client).outcome, expected);
    }
}

#[test]
fn a_client_whose_connection_breaks_loses_nothing() {
    let controller = hosted();
    let _workers = Workers::echo(&controller.workers[0], 4);
    let proxy = Proxy::to(controller.clients.as_str());
    let context = context();
    let options = ClientOptions::new(proxy.endpoint().parse().unwrap());
    let mut client = RemoteClient::connect(&context, &options).unwrap();
    let count = 3_000u32;
    let mut seen = vec![0u8; count as usize];
    let mut left = count;
    for i in 0..count {
        submit(&mut client, Target::Any, &i.to_le_bytes());
        if i % 500 == 499 {
            proxy.cut();
        }
        if i % 3 == 0 {
            mark(next_outcome(&mut client), &mut seen);
            left -= 1;
        }
    }
    for _ in 0..left {
        mark(next_outcome(&mut client), &mut seen);
    }
    assert!(seen.iter().all(|&times| times == 1));
    assert_eq!(client.outstanding(), 0);
    assert!(
        client.wait(Duration::from_millis(50)).unwrap().is_none(),
        "an outcome came twice"
    );
}

fn mark(outcome: Seen, seen: &mut [u8]) {
    assert_eq!(outcome.outcome, Outcome::Completed);
    seen[usize::try_from(outcome.task.0 - 1).unwrap()] += 1;
}

#[test]
fn a_worker_whose_connection_breaks_hands_in_what_it_has_finished() {
    let controller = hosted();
    let proxy = Proxy::to(controller.workers[0].as_str());
    let options = WorkerOptions::new(proxy.endpoint().parse().unwrap(), "cut-off");
    let mut cut_off = RemoteWorker::connect(&context(), &options).unwrap();
    assert!(matches!(
        cut_off.wait(PATIENCE).unwrap(),
        Some(WorkerEvent::Registered { .. })
    ));
    let context = context();
    let mut client = controller.client(&context);
    let task = submit(&mut client, Target::Any, b"");
    let (assignment, _) = next_task(&mut cut_off);
    proxy.cut();
    // Finished while nobody can hear it; nobody else is there to run it again.
    cut_off.report(
        &assignment,
        Verdict::Completed,
        Some(ZmqPayload::from_bytes(b"late")),
    );
    let mut again = 0;
    wait_for("the outcome", || {
        if let Some(WorkerEvent::Task(assignment, _)) =
            cut_off.wait(Duration::from_millis(5)).unwrap()
        {
            // The controller may have noticed the loss first, and runs it again.
            again += 1;
            cut_off.report(
                &assignment,
                Verdict::Completed,
                Some(ZmqPayload::from_bytes(b"again")),
            );
        }
        match client.poll().unwrap() {
            None | Some(ClientEvent::Notice { .. }) => false,
            Some(ClientEvent::Outcome {
                task: done,
                outcome,
                ..
            }) => {
                assert_eq!((done, outcome), (task, Outcome::Completed));
                true
            }
            other => panic!("no outcome but {other:?}"),
        }
    });
    assert!(again <= 1);
}

#[test]
fn a_silent_worker_is_lost_by_its_heartbeat() {
    let mut options = ShardOptions::new(Some(tcp()), tcp());
    let heartbeat = Heartbeat::new(Duration::from_millis(100), Duration::from_millis(200));
    options.heartbeat = Some(heartbeat.unwrap());
    let controller = Controller::hosted(options);
    let proxy = Proxy::to(controller.workers[0].as_str());
    let options = WorkerOptions::new(proxy.endpoint().parse().unwrap(), "silent");
    let mut silent = RemoteWorker::connect(&context(), &options).unwrap();
    assert!(matches!(
        silent.wait(PATIENCE).unwrap(),
        Some(WorkerEvent::Registered { .. })
    ));
    let context = context();
    let mut client = controller.client(&context);
    let task = client.next_task_id();
    let submit = Submit::new(task, Target::Any).attempts(1);
    client
        .submit(submit, None, ZmqPayload::from_bytes(b""))
        .unwrap();
    next_task(&mut silent);
    proxy.hold();
    assert_eq!(next_outcome(&mut client).outcome, Outcome::WorkerLost);
}

#[test]
fn clients_and_workers_find_a_controller_that_was_started_anew() {
    let first = hosted();
    let options = ShardOptions::new(Some(first.clients.clone()), first.workers[0].clone());
    let context = context();
    let mut client = first.client(&context);
    let (once, again) = (client.next_task_id(), client.next_task_id());
    let at_most_once = Submit::new(once, Target::Any).attempts(1);
    client
        .submit(at_most_once, None, ZmqPayload::from_bytes(b""))
        .unwrap();
    let retriable = Submit::new(again, Target::Any);
    client
        .submit(retriable, None, ZmqPayload::from_bytes(b"kept"))
        .unwrap();
    first.stop();
    let second = Controller::hosted(options);
    let _workers = Workers::echo(&second.workers[0], 1);
    // Nobody knows whether the first controller had it run.
    let seen = next_outcome(&mut client);
    assert_eq!((seen.task, seen.outcome), (again, Outcome::Completed));
    assert_eq!(seen.payload, Some(ZmqPayload::from_bytes(b"kept")));
    // A worker might have brought its result for ten seconds.
    let seen = next_outcome(&mut client);
    assert_eq!((seen.task, seen.outcome), (once, Outcome::WorkerLost));
}

#[test]
fn a_client_that_comes_back_with_its_key_finds_its_outcomes() {
    let controller = hosted();
    let (runs, seen) = std::sync::mpsc::channel();
    let key = |sessions_before| ClientKey {
        secret: 0x5eed,
        sessions_before,
    };
    let cable = Proxy::to(controller.clients.as_str());
    let mut options = ClientOptions::new(cable.endpoint().parse().unwrap());
    options.key = Some(key(0));
    let context = context();
    let mut first = RemoteClient::connect(&context, &options).unwrap();
    let tasks = [1, 2, 3].map(|number| Submit::new(TaskId(number), Target::Any).attempts(1));
    for task in tasks {
        let payload = ZmqPayload::from_bytes(b"kept");
        first.submit(task, None, payload).unwrap();
    }
    let _workers = Workers::start(&controller.workers[0], 1, move |_, payload| {
        runs.send(()).unwrap();
        (Verdict::Completed, copy(payload))
    });
    for _ in tasks {
        seen.recv_timeout(PATIENCE).unwrap();
    }
    // Neither a goodbye nor an acknowledgement passes any more.
    cable.hold();
    cable.cut();
    options.endpoint = controller.clients.clone();
    options.key = Some(key(1_000));
    let mut second = RemoteClient::connect(&context, &options).unwrap();
    for mut task in tasks {
        task.resent = true;
        // Whatever it says now: the controller has it already.
        let payload = ZmqPayload::from_bytes(b"again");
        second.submit(task, None, payload).unwrap();
    }
    for _ in tasks {
        let outcome = next_outcome(&mut second);
        assert_eq!(outcome.outcome, Outcome::Completed);
        assert_eq!(outcome.payload, Some(ZmqPayload::from_bytes(b"kept")));
    }
    assert!(seen.try_recv().is_err(), "a task has run twice");
    // A process that forgets to count is told so.
    options.key = Some(key(0));
    let error = RemoteClient::connect(&context, &options).unwrap_err();
    assert!(
        matches!(error, Error::Rejected(Rejection::SessionStale)),
        "{error}"
    );
}

#[test]
fn a_client_without_a_controller_says_what_to_do() {
    let context = context();
    let mut options = ClientOptions::new("tcp://127.0.0.1:1".parse().unwrap());
    options.connect_timeout = Duration::from_millis(50);
    let error = RemoteClient::connect(&context, &options).unwrap_err();
    assert!(matches!(error, Error::NoAnswer { .. }));
    assert!(error.to_string().contains("tcp://127.0.0.1:1"), "{error}");
    options.endpoint = tcp();
    let error = RemoteClient::connect(&context, &options).unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
}

/// A DEALER that says what the test wants.
struct Raw {
    socket: zmq::Socket,
}

impl Raw {
    fn connect(context: &zmq::Context, endpoint: &Endpoint) -> Self {
        let socket = context.socket(zmq::DEALER).unwrap();
        socket.set_linger(0).unwrap();
        socket
            .set_rcvtimeo(PATIENCE.as_millis().try_into().unwrap())
            .unwrap();
        socket.connect(endpoint.as_str()).unwrap();
        Self { socket }
    }

    fn say(&self, bytes: &[u8]) -> Header {
        self.socket.send(bytes, 0).unwrap();
        self.hear()
    }

    fn hear(&self) -> Header {
        let mut answer = zmq::Message::new();
        self.socket.recv(&mut answer, 0).expect("an answer");
        Message::decode(&answer).unwrap().header
    }
}

#[test]
fn what_makes_no_sense_is_answered_and_counted() {
    let controller = hosted();
    let context = zmq::Context::new();
    for endpoint in [&controller.clients, &controller.workers[0]] {
        let raw = Raw::connect(&context, endpoint);
        for (garbage, rejection) in [
            (&b"GET / HTTP/1.1"[..], Rejection::Version),
            (&[1, 0xee, 0, 0][..], Rejection::Malformed),
            (&[9; 40][..], Rejection::Version),
        ] {
            let answer = raw.say(garbage);
            assert_eq!(answer.kind, Kind::Rejected);
            assert_eq!(Rejection::from_code(answer.code), rejection, "{garbage:?}");
        }
        let mut unknown_kind = Header::new(Kind::Ping).encode();
        unknown_kind[1] = 0xee;
        assert_eq!(
            Rejection::from_code(raw.say(&unknown_kind).code),
            Rejection::Kind
        );
        // A probe, and a stranger with a task or a result.
        assert_eq!(raw.say(b"").kind, Kind::WhoAreYou);
        assert_eq!(raw.say(&Header::new(Kind::Ping).encode()).kind, Kind::Pong);
    }
    let raw = Raw::connect(&context, &controller.clients);
    assert_eq!(
        raw.say(&Header::new(Kind::Submit).encode()).kind,
        Kind::WhoAreYou
    );
    let raw = Raw::connect(&context, &controller.workers[0]);
    assert_eq!(
        raw.say(&Header::new(Kind::Result).encode()).kind,
        Kind::WhoAreYou
    );
    let stats = controller.stop().remove(0);
    let sessions = stats.sessions;
    assert_eq!((sessions.version_unknown, sessions.kind_unknown), (4, 2));
    assert_eq!((sessions.malformed, sessions.unregistered), (2, 2));
}

#[test]
fn more_frames_than_allowed_are_refused_and_hurt_nobody() {
    let controller = hosted();
    let _workers = Workers::echo(&controller.workers[0], 1);
    let context = context();
    let mut client = controller.client(&context);
    let raw_context = zmq::Context::new();
    let raw = Raw::connect(&raw_context, &controller.clients);
    assert_eq!(raw.say(b"").kind, Kind::WhoAreYou);
    let mut hello = Header::new(Kind::ClientHello);
    hello.seq = 1;
    assert_eq!(
        raw.say(Head::new(&hello).body(&[7; 16]).as_slice()).kind,
        Kind::Welcome
    );
    for (seq, extra) in [(1, 65), (2, 5_000)] {
        let mut submit = Header::new(Kind::Submit);
        submit.seq = seq;
        submit.id = 99;
        submit.frames = 64;
        raw.socket.send(&submit.encode()[..], zmq::SNDMORE).unwrap();
        for left in (0..extra).rev() {
            raw.socket
                .send(&b""[..], if left == 0 { 0 } else { zmq::SNDMORE })
                .unwrap();
        }
        let answer = raw.hear();
        assert_eq!(
            (answer.kind, answer.code, answer.id),
            (Kind::Outcome, 5, 99)
        );
    }
    submit(&mut client, Target::Any, b"still here");
    assert_eq!(next_outcome(&mut client).outcome, Outcome::Completed);
}

#[test]
fn a_routing_id_of_ones_own_is_turned_away() {
    let controller = hosted();
    let context = zmq::Context::new();
    let socket = context.socket(zmq::DEALER).unwrap();
    socket.set_identity(b"me").unwrap();
    socket.set_linger(0).unwrap();
    socket
        .set_rcvtimeo(PATIENCE.as_millis().try_into().unwrap())
        .unwrap();
    socket.connect(controller.clients.as_str()).unwrap();
    let raw = Raw { socket };
    assert_eq!(raw.say(b"").kind, Kind::Rejected);
    assert_eq!(controller.stop()[0].clients.chosen_ids, 1);
}

#[test]
fn an_endpoint_that_is_taken_is_refused_with_advice() {
    let controller = hosted();
    let taken = ShardOptions::new(Some(controller.clients.clone()), tcp());
    let error = taskyard_zmq::Shard::bind(&context(), &taken).unwrap_err();
    assert!(
        error.to_string().contains("somebody listens there"),
        "{error}"
    );
    let first = Controller::hosted(ShardOptions::new(Some(ipc()), ipc()));
    let path = first.clients.clone();
    let error = taskyard_zmq::Shard::bind(&context(), &ShardOptions::new(None, path)).unwrap_err();
    assert!(
        error.to_string().contains("somebody listens there"),
        "{error}"
    );
    let path = first
        .clients
        .as_str()
        .strip_prefix("ipc://")
        .unwrap()
        .to_owned();
    assert!(std::fs::exists(&path).unwrap());
    drop(first);
    assert!(
        !std::fs::exists(&path).unwrap(),
        "the file goes with its listener"
    );
    let nowhere = "ipc:///no/such/folder/x".parse().unwrap();
    let error =
        taskyard_zmq::Shard::bind(&context(), &ShardOptions::new(None, nowhere)).unwrap_err();
    assert!(
        error.to_string().contains("no folder /no/such/folder"),
        "{error}"
    );
}

#[test]
fn who_is_there_is_known_without_asking_them() {
    let controller = hosted();
    let context = context();
    let mut client = controller.client(&context);
    let mut worker = worker(&controller, "w");
    let (id, epoch) = worker.registered().unwrap();
    let ask = |client: &mut RemoteClient, question| {
        assert!(client.is_alive(question, WorkerId(0), Some("w")));
        loop {
            if let Some(ClientEvent::Alive {
                question: answered,
                alive,
                worker,
                name,
                age_ms,
            }) = client.wait(Duration::from_secs(30)).unwrap()
            {
                assert_eq!(answered, question);
                assert!(worker.is_none() || name.as_deref() == Some("w"));
                return (alive, worker, age_ms);
            }
        }
    };
    // It does nothing at all meanwhile: its program is not asked.
    let (alive, known, age_ms) = ask(&mut client, 1);
    assert_eq!((alive, known), (Some(true), Some((id, epoch))));
    assert!(age_ms < 30_000);
    let theirs = worker.controller_alive().unwrap();
    assert!(theirs.alive && theirs.age.is_some());
    drop(worker);
    let mut question = 2;
    wait_for("the loss", || {
        question += 1;
        ask(&mut client, question).0 != Some(true)
    });
    assert!(client.controller_alive().unwrap().alive);
    controller.stop();
    wait_for("the end of the controller", || {
        let _ = client.poll();
        !client.controller_alive().unwrap().alive
    });
}
