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
