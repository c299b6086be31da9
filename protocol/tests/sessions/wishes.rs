//! What a submit may ask for beyond its topic: priority, retries, a hold, a label.

use super::support::*;
use taskyard_core::Priority;
use taskyard_protocol::wire::SubmitOptions;

fn with_options(seq: u32, task: u64, options: SubmitOptions) -> Packet {
    let mut head = Head::new(&submit_header(seq, task)).options(&options);
    Packet::new(&mut head, Some(Bytes::new()))
}

fn urgent(level: u8) -> SubmitOptions {
    SubmitOptions {
        priority: Priority::new(level),
        ..SubmitOptions::default()
    }
}

/// Ends the task that a worker has, and says which of the client's it was.
fn finish(controller: &mut Controller, worker: PeerKey, seq: u32) -> u64 {
    let packets = controller.answers(WORKER, worker);
    let message = packets.last().expect("a task").message();
    let task = message.origin.expect("it comes from a client").task;
    let result = packet(result_of(&message.header, seq), None);
    controller.network.push(WORKER, worker, result);
    controller.run();
    task
}

#[test]
fn the_more_urgent_goes_first() {
    let mut controller = Controller::new();
    let client = controller.client(1);
    // Without a section: as urgent as 3 says.
    for (seq, level) in [(1, Some(0)), (2, None), (3, Some(7)), (4, Some(3))] {
        let packet = level.map_or_else(
            || submit(seq, seq.into()),
            |level| with_options(seq, seq.into(), urgent(level)),
        );
        controller.network.push(CLIENT, client, packet);
        controller.read(CLIENT, client);
    }
    let worker = controller.network.connect(WORKER);
    controller.network.push(WORKER, worker, register("w", 9, 1));
    controller.run();
    let order: Vec<_> = (1..=4)
        .map(|seq| finish(&mut controller, worker, seq))
        .collect();
    assert_eq!(order, [3, 2, 4, 1]);
}

#[test]
fn what_fails_runs_again_elsewhere_as_often_as_it_may() {
    let mut controller = Controller::new();
    let client = controller.client(1);
    let workers = ["one", "two"].map(|name| controller.worker(name, name.len() as u64 + 9).0);
    let retries = SubmitOptions {
        retries: 2,
        ..SubmitOptions::default()
    };
    controller.exchange(CLIENT, client, with_options(1, 5, retries));
    let mut ran = Vec::new();
    for seq in 1..=3 {
        let busy = workers.iter().position(|&worker| {
            let packets = controller.answers(WORKER, worker);
            let task = packets.last().map(Packet::header);
            let is_task = task.is_some_and(|header| header.kind == Kind::Task);
            if let Some(header) = task.filter(|_| is_task) {
                let mut result = result_of(&header, seq);
                result.code = 1;
                let _ = controller.exchange(WORKER, worker, packet(result, Some(b"no")));
            }
            is_task
        });
        ran.push(busy.expect("it runs"));
    }
    assert_ne!(ran[0], ran[1], "one that has not tried it is asked first");
    let answers = controller.answers(CLIENT, client);
    assert_eq!(outcomes(&answers), [(5, Outcome::Failed)]);
    assert_eq!(answers[0].header().attempt, 3);
}

/// Labels of an odd length travel in a frame of their own, and say the same.
fn register_with(name: &str, instance: u64, labels: &[u8]) -> Packet {
    let mut head = Head::new(&register_header(instance, 1)).name(name);
    match Bytes::try_from(labels) {
        Ok(labels) => Packet::new(&mut head, Some(labels)),
        Err(_) => Packet {
            first: [head.as_slice(), labels].concat(),
            frames: None,
        },
    }
}

fn to_label(seq: u32, task: u64, label: &str) -> Packet {
    let mut header = submit_header(seq, task);
    header.code = 4;
    Packet::new(&mut Head::new(&header).name(label), Some(Bytes::new()))
}

#[test]
fn a_label_leads_to_those_that_have_it() {
    let mut controller = Controller::new();
    let client = controller.client(1);
    controller.worker("plain", 1);
    let labelled = [&b"\x03gpu"[..], b"\x03big\x03gpu\x06gpu \xc3\xa9"];
    let workers = labelled.map(|labels| {
        let peer = controller.network.connect(WORKER);
        let instance = labels.len() as u64;
        let answers = controller.exchange(
            WORKER,
            peer,
            register_with(&format!("w{instance}"), instance, labels),
        );
        assert_eq!(kinds(&answers), [Kind::Registered]);
        peer
    });
    for (seq, label, at) in [(1, "big", 1), (2, "gpu", 0), (3, "gpu é", 1)] {
        let answers = controller.exchange(CLIENT, client, to_label(seq, seq.into(), label));
        assert!(answers.is_empty(), "{answers:?}");
        if seq != 3 {
            let task = controller.task(workers[at]);
            assert_eq!(task.attempt, 1);
        }
    }
    // The third waits for the one that has the first.
    assert!(controller.answers(WORKER, workers[1]).is_empty());
}

#[test]
fn nobody_has_a_label_yet() {
    let mut controller = Controller::new();
    let client = controller.client(1);
    controller.worker("plain", 1);
    controller.exchange(CLIENT, client, to_label(1, 1, "gpu"));
    let peer = controller.network.connect(WORKER);
    let answers = controller.exchange(WORKER, peer, register_with("w", 2, b"\x03gpu"));
    assert_eq!(kinds(&answers), [Kind::Registered, Kind::Task]);
}

#[test]
fn a_label_that_is_none_is_malformed() {
    let mut controller = Controller::new();
    let client = controller.client(1);
    let malformed = Outcome::Refused(Refusal::Malformed);
    let long = "x".repeat(64);
    let answers = controller.exchange(CLIENT, client, to_label(1, 1, &long));
    assert_eq!(outcomes(&answers), [(1, malformed)]);
    let mut nameless = submit_header(2, 2);
    nameless.code = 4;
    let answers = controller.exchange(CLIENT, client, packet(nameless, None));
    assert_eq!(outcomes(&answers), [(2, malformed)]);
    let most = to_label(3, 3, &long[..63]);
    assert!(controller.exchange(CLIENT, client, most).is_empty());
    assert_eq!(controller.dispatcher.tasks(), 1);
}

#[test]
fn labels_that_are_none_keep_a_worker_out() {
    let mut controller = Controller::new();
    let nine = b"\x01x".repeat(9);
    let long = [&[64][..], &[b'x'; 64]].concat();
    for (wrong, instance) in [&nine[..], &long, b"\0", b"\x02\xff\xfe", b"\x09gpu"]
        .into_iter()
        .zip(1..)
    {
        let peer = controller.network.connect(WORKER);
        let answers = controller.exchange(WORKER, peer, register_with("w", instance, wrong));
        assert_eq!(rejection(&answers), Some(Rejection::Malformed), "{wrong:?}");
        assert_eq!(answers.last().unwrap().header().id, 1);
    }
    assert_eq!(controller.sessions.counts().registrations_awaited, 0);
    // Two frames are no labels, and neither is one that did not come.
    let mut header = register_header(8, 1);
    header.frames = 2;
    let peer = controller.network.connect(WORKER);
    let answers = controller.exchange(WORKER, peer, packet(header, None));
    assert_eq!(rejection(&answers), Some(Rejection::Malformed));
    // Nobody has taken the name.
    controller.worker("w", 9);
}

#[test]
fn labels_run_out_and_whoever_brings_one_more_is_told() {
    let config = Config {
        labels: 2,
        ..small_config()
    };
    let mut controller = Controller::with(config, SessionOptions::new(BOOT));
    let client = controller.client(1);
    let peer = controller.network.connect(WORKER);
    let two = register_with("w", 1, b"\x01a\x01b");
    assert_eq!(
        kinds(&controller.exchange(WORKER, peer, two)),
        [Kind::Registered]
    );
    let answers = controller.exchange(CLIENT, client, to_label(1, 1, "c"));
    let full = Outcome::Refused(Refusal::LabelsFull);
    assert_eq!(outcomes(&answers), [(1, full)]);
    assert_eq!(answers[0].header().extra & 0xff, 10);
    let peer = controller.network.connect(WORKER);
    let answers = controller.exchange(WORKER, peer, register_with("v", 2, b"\x01c"));
    assert_eq!(rejection(&answers), Some(Rejection::LabelsFull));
}

#[test]
fn a_priority_that_does_not_exist_is_malformed() {
    let mut controller = Controller::new();
    let client = controller.client(1);
    let mut wrong = with_options(1, 5, urgent(7));
    wrong.first[32] = 8;
    let answers = controller.exchange(CLIENT, client, wrong);
    let malformed = Outcome::Refused(Refusal::Malformed);
    assert_eq!(outcomes(&answers), [(5, malformed)]);
    assert_eq!(controller.sessions.stats().malformed, 1);
    // The session goes on.
    let answers = controller.exchange(CLIENT, client, with_options(2, 6, urgent(7)));
    assert!(answers.is_empty(), "{answers:?}");
    assert_eq!(controller.dispatcher.tasks(), 1);
}
