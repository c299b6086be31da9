//! What a submit may ask for, and what is said of workers, between real processes over real
//! sockets: priorities, retries, labels, a hold; the names of those that a task was lost with.

use std::time::{Duration, Instant};

use taskyard_core::{Cursor, Outcome, Phase, Priority, Submit, Target, TaskId, WorkerId};
use taskyard_protocol::wire::{Head, Header, Kind, Message};
use taskyard_tests::cluster::{
    ControllerProcess, PATIENCE, Process, await_workers, let_in, next_outcome, submit, taskyard,
    worker_process,
};
use taskyard_zmq::{
    Answer, ClientEvent, Context, ContextOptions, ControlOrder, Owner, RemoteClient, Role, Which,
    ZmqPayload,
};

fn context() -> Context {
    Context::new(ContextOptions::default()).expect("a context")
}

/// A process with one worker that has these labels, named `PREFIX.0`.
fn labelled(controller: &ControllerProcess, prefix: &str, labels: &[&str]) -> Process {
    let labels: Vec<_> = labels
        .iter()
        .map(|label| format!("label={label}"))
        .collect();
    let mut args = vec!["1"];
    args.extend(labels.iter().map(String::as_str));
    worker_process(&controller.file_of(Role::Worker), prefix, &args)
}

fn any(client: &mut RemoteClient) -> Submit {
    Submit::new(client.next_task_id(), Target::Any)
}

fn submit_to_label(client: &mut RemoteClient, submit: Submit, label: &str, payload: &str) {
    let payload = ZmqPayload::from_bytes(payload.as_bytes());
    client
        .submit_to_label(submit, label, payload)
        .expect("it is taken");
}

/// Until the controller has so many tasks of this client.
fn await_tasks(client: &mut RemoteClient, count: usize) {
    let end = Instant::now() + PATIENCE;
    let which = Which::Of(Owner::Me);
    let from = Cursor::default();
    loop {
        let answer = client.ask(ControlOrder::List { which, from }, PATIENCE);
        let Ok(Answer::Tasks(page)) = answer else {
            panic!("no list, but {answer:?}");
        };
        let open = page.rows.iter().filter(|row| row.phase != Phase::Done);
        let open = open.count();
        if open == count {
            return;
        }
        assert!(Instant::now() < end, "{open} of {count} tasks");
    }
}

#[test]
fn the_more_urgent_is_done_first() {
    let controller = ControllerProcess::start(&[]);
    let mut client = controller.client(&context());
    // More than the pool takes ahead, which are beyond any order.
    const PATIENT: usize = 50;
    let levels = [Some(0); PATIENT]
        .into_iter()
        .chain([None, Some(7), Some(5)]);
    let mut tasks = Vec::new();
    for level in levels {
        let mut task = any(&mut client);
        if let Some(level) = level {
            task = task.priority(Priority::new(level));
        }
        tasks.push(task.task);
        submit(&mut client, task, "echo");
    }
    await_tasks(&mut client, tasks.len());
    let _worker = controller.start_workers("w", 1);
    let order: Vec<TaskId> = (0..tasks.len())
        .map(|_| next_outcome(&mut client).task)
        .collect();
    let (patient, urgent) = tasks.split_at(PATIENT);
    let in_order = order.iter().filter(|task| urgent.contains(task));
    assert!(
        in_order.eq([&urgent[1], &urgent[2], &urgent[0]]),
        "{order:?}"
    );
    assert_eq!(order.last(), patient.last());
}

#[test]
fn what_fails_runs_again_as_often_as_it_was_asked_for() {
    let controller = ControllerProcess::start(&[]);
    let mut client = controller.client(&context());
    let _workers = controller.start_workers("w", 2);
    await_workers(&mut client, 2);
    for retries in [0, 2] {
        let task = any(&mut client).retries(retries);
        submit(&mut client, task, "fail");
        let seen = next_outcome(&mut client);
        assert_eq!(
            (seen.outcome, seen.attempts),
            (Outcome::Failed, retries + 1)
        );
    }
}

/// Workers on several shards, clients on the first: names and labels are known everywhere.
#[test]
fn a_label_leads_to_its_workers_and_a_loss_says_their_names() {
    let controller = ControllerProcess::start(&["--shards", "3"]);
    let mut client = controller.client(&context());
    let _plain = controller.start_workers("plain", 4);
    let _doomed = ["a", "b"].map(|name| labelled(&controller, name, &["doomed", "fast"]));
    let _steady = labelled(&controller, "steady", &["steady", "fast"]);
    await_workers(&mut client, 7);
    for label in ["steady", "fast", "doomed"] {
        for _ in 0..10 {
            let task = any(&mut client);
            submit_to_label(&mut client, task, label, "echo here");
        }
    }
    let places: Vec<_> = (0..30)
        .map(|_| {
            let seen = next_outcome(&mut client);
            assert_eq!(
                (seen.outcome, &seen.frames[0][..]),
                (Outcome::Completed, &b"here"[..])
            );
            seen.worker.expect("somebody ran it")
        })
        .collect();
    assert!(
        places
            .iter()
            .all(|place| names_of(&mut client, *place) != "plain")
    );

    // It ends whoever runs it.
    let task = any(&mut client).attempts(2);
    submit_to_label(&mut client, task, "doomed", "exit");
    let mut noticed = None;
    let tried = loop {
        match client.wait(PATIENCE).expect("the client works") {
            Some(ClientEvent::Notice { name, .. }) => noticed = name.map(String::from),
            Some(ClientEvent::Outcome { outcome, tried, .. }) => {
                assert_eq!(outcome, Outcome::WorkerLost);
                break tried;
            }
            Some(_) => {}
            None => panic!("no outcome in time"),
        }
    };
    let tried: Vec<_> = tried
        .into_iter()
        .map(|tried| String::from(tried.name.expect("its name is known")))
        .collect();
    assert_eq!(noticed.as_ref(), Some(&tried[0]), "the first to be lost");
    let mut sorted = tried;
    sorted.sort();
    assert_eq!(sorted, ["a.0", "b.0"]);
}

/// The name of the worker at a place, up to the point.
fn names_of(client: &mut RemoteClient, place: u32) -> String {
    assert!(client.is_alive(place.into(), WorkerId(place), None));
    loop {
        match client.wait(PATIENCE).expect("the client works") {
            Some(ClientEvent::Alive { question, name, .. }) if question == u64::from(place) => {
                let name = name.expect("its name is known");
                return name.split('.').next().unwrap_or_default().to_owned();
            }
            Some(_) => {}
            None => panic!("no answer in time"),
        }
    }
}

#[test]
fn a_task_for_one_that_is_gone_is_held_for_its_return() {
    let controller = ControllerProcess::start(&[]);
    let mut client = controller.client(&context());
    let mut worker = controller.start_workers("w", 1);
    await_workers(&mut client, 1);
    let payload = |text: &str| ZmqPayload::from_bytes(text.as_bytes());
    let mut named = |text: &str, hold_ms: u32| {
        let task = any(&mut client).attempts(2).hold_ms(hold_ms);
        client
            .submit(task, Some("w.0"), payload(text))
            .expect("it is taken");
        task.task
    };
    named("sleep 600000", 0);
    let held = named("echo back", 60_000);
    let dropped = named("echo never", 0);
    await_tasks(&mut client, 3);
    worker.kill();
    let lost: Vec<_> = (0..2).map(|_| next_outcome(&mut client)).collect();
    assert!(lost.iter().all(|seen| seen.outcome == Outcome::WorkerLost));
    assert!(lost.iter().any(|seen| seen.task == dropped));
    assert!(lost.iter().all(|seen| seen.task != held));
    let _again = controller.start_workers("w", 1);
    let seen = next_outcome(&mut client);
    assert_eq!((seen.task, seen.outcome), (held, Outcome::Completed));
}

#[test]
fn the_list_of_workers_says_names_and_labels_and_what_a_terminal_can_show() {
    let controller = ControllerProcess::start(&[]);
    let mut client = controller.client(&context());
    let _workers = ["gpu", "odd \"\u{1b}[2J"].map(|name| labelled(&controller, name, &["x", "y"]));
    await_workers(&mut client, 2);
    let run = |json: bool| {
        let mut command = taskyard();
        command.arg("workers").arg("--connect");
        command.arg(controller.file_of(Role::Operator));
        if json {
            command.arg("--json");
        }
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    for json in [false, true] {
        let text = run(json);
        assert!(!text.contains('\u{1b}'), "{text:?}");
        let line = text.lines().find(|line| line.contains("gpu.0"));
        let line = line.expect("it is listed");
        let expected = match json {
            true => r#""name":"gpu.0","labels":["x","y"]}"#,
            false => "x,y",
        };
        assert!(line.ends_with(expected), "{line}");
    }
    let odd = run(true);
    assert!(odd.contains(r#""name":"odd \"\u001b[2J.0""#), "{odd}");
}

/// Asks at the workers' endpoint: what is said of this name, with its own in the answer.
fn watch(socket: &zmq::Socket, name: &str, question: u64) -> (u8, Option<String>) {
    let mut header = Header::new(Kind::IsAlive);
    (header.id, header.code) = (question, 2);
    let head = Head::new(&header).name(name);
    socket.send(head.as_slice(), 0).expect("it is sent");
    loop {
        let mut first = zmq::Message::new();
        socket.recv(&mut first, 0).expect("it is answered");
        let message = Message::decode(&first).expect("the controller's messages can be decoded");
        if (message.header.kind, message.header.id) == (Kind::Alive, question) {
            return (message.header.code, message.name.map(str::to_owned));
        }
    }
}

/// A parent that watches over a worker process, with the worker's key and no other.
#[test]
fn a_watcher_at_the_workers_endpoint_is_answered_and_is_no_worker() {
    let controller = ControllerProcess::start(&[]);
    let mut client = controller.client(&context());
    let mut worker = controller.start_workers("w", 1);
    await_workers(&mut client, 1);
    let zmq = zmq::Context::new();
    let socket = zmq.socket(zmq::DEALER).expect("a socket");
    socket.set_linger(0).expect("an option");
    socket.set_probe_router(true).expect("an option");
    socket.set_rcvtimeo(60_000).expect("an option");
    let_in(&socket, &controller.connection, Role::Worker);
    socket.connect(&controller.workers).expect("it connects");
    assert_eq!(watch(&socket, "w.0", 1), (1, Some("w.0".into())));
    assert_eq!(watch(&socket, "nobody", 2), (2, None));
    await_workers(&mut client, 1);
    worker.kill();
    let end = Instant::now() + PATIENCE;
    for question in 3.. {
        if watch(&socket, "w.0", question).0 != 1 {
            break;
        }
        assert!(Instant::now() < end, "it is never known to be gone");
        std::thread::sleep(Duration::from_millis(20));
    }
}
