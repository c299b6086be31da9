//! Questions at the workers' endpoint, from whoever watches over a worker without being one.

use super::support::*;

fn question(name: &str, number: u64) -> Packet {
    let mut header = Header::new(Kind::IsAlive);
    (header.id, header.code) = (number, 2);
    Packet::new(&mut Head::new(&header).name(name), None)
}

/// The last answer: the number of its question, what it says, of which incarnation, and its name.
fn said(answers: &[Packet]) -> (u64, u8, u32, Option<String>) {
    let message = answers.last().expect("an answer").message();
    let header = message.header;
    assert_eq!(header.kind, Kind::Alive);
    let name = message.name.map(str::to_owned);
    (header.id, header.code, header.epoch, name)
}

#[test]
fn whoever_was_let_in_may_ask_without_being_a_worker() {
    let mut controller = Controller::new();
    let (worker, registered) = controller.worker("w", 9);
    let watcher = controller.network.connect(WORKER);
    let asked = controller.exchange(WORKER, watcher, Packet::probe());
    assert_eq!(kinds(&asked), [Kind::WhoAreYou]);
    assert_eq!(controller.sessions.counts().worker_peers, 2);
    let answers = controller.exchange(WORKER, watcher, question("w", 7));
    let known = (7, 1, registered.epoch, Some("w".to_owned()));
    assert_eq!(said(&answers), known);
    let counts = controller.sessions.counts();
    assert_eq!(counts.worker_peers, 1, "it takes no place");
    assert_eq!((counts.seats, counts.registrations_awaited), (1, 0));
    // A worker may ask for others, and stays one.
    let answers = controller.exchange(WORKER, worker, question("nobody", 8));
    assert_eq!(said(&answers), (8, 2, 0, None));
    assert_eq!(controller.sessions.counts().worker_peers, 1);
    // At the clients' endpoint one has to say who one is.
    let stranger = controller.network.connect(CLIENT);
    let answers = controller.exchange(CLIENT, stranger, question("w", 9));
    assert_eq!(kinds(&answers), [Kind::WhoAreYou]);
    // It is no worker: nothing is sent to it.
    let client = controller.client(1);
    let mut all = submit_header(1, 1);
    all.code = 3;
    controller.exchange(CLIENT, client, packet(all, None));
    assert!(controller.answers(WORKER, watcher).is_empty());
    assert_eq!(kinds(&controller.answers(WORKER, worker)), [Kind::Task]);
}

#[test]
fn a_watcher_sees_the_loss_and_may_become_a_worker() {
    let mut controller = Controller::new();
    let (worker, _) = controller.worker("w", 9);
    let watcher = controller.network.connect(WORKER);
    controller.exchange(WORKER, watcher, Packet::probe());
    controller.disconnect(WORKER, worker);
    let answers = controller.exchange(WORKER, watcher, question("w", 1));
    assert_eq!(said(&answers).1, 2, "nobody waits for its return");
    let answers = controller.exchange(WORKER, watcher, register("w", 10, 1));
    assert_eq!(kinds(&answers), [Kind::Registered]);
    let answers = controller.exchange(WORKER, watcher, question("w", 2));
    assert_eq!(said(&answers).1, 1);
    assert_eq!(controller.sessions.counts().worker_peers, 1);
}

#[test]
fn hand_ins_are_not_forgotten_over_a_question() {
    let mut controller = Controller::new();
    let peer = controller.network.connect(WORKER);
    let mut header = Header::new(Kind::HandIn);
    (header.seq, header.flags) = (9, Flags::HAS_WORKER);
    let hand_in = Packet::new(&mut Head::new(&header).boot(BOOT), None);
    controller.exchange(WORKER, peer, hand_in);
    controller.exchange(WORKER, peer, question("w", 1));
    let answers = controller.exchange(WORKER, peer, register("w", 9, 1));
    assert_eq!(answers.last().unwrap().header().ack, 1);
}

#[test]
fn a_flood_of_questions_keeps_nobody_out() {
    let options = SessionOptions {
        peers_max: 2,
        ..SessionOptions::new(BOOT)
    };
    let mut controller = Controller::with(small_config(), options);
    for number in 0..200 {
        let watcher = controller.network.connect(WORKER);
        let probe = Packet::probe();
        controller.network.push(WORKER, watcher, probe);
        // Many at once, and some leave before their answer.
        for _ in 0..=number % 40 {
            let question = question("w", number);
            controller.network.push(WORKER, watcher, question);
        }
        if number % 3 == 0 {
            controller.read(WORKER, watcher);
            controller.read(WORKER, watcher);
            controller.disconnect(WORKER, watcher);
        }
        controller.run();
        let counts = controller.sessions.counts();
        assert_eq!((counts.worker_peers, counts.questions), (0, 0));
    }
    let (worker, _) = controller.worker("w", 9);
    let client = controller.client(1);
    controller.exchange(CLIENT, client, submit(1, 1));
    controller.task(worker);
}

#[test]
fn a_question_about_nobody_is_rejected() {
    let mut controller = Controller::new();
    let watcher = controller.network.connect(WORKER);
    let mut nameless = Header::new(Kind::IsAlive);
    nameless.code = 2;
    let label = Header {
        code: 4,
        ..nameless
    };
    for header in [nameless, label, Header::new(Kind::IsAlive)] {
        let answers = controller.exchange(WORKER, watcher, packet(header, None));
        assert_eq!(rejection(&answers), Some(Rejection::Malformed));
    }
    assert_eq!(controller.sessions.counts().questions, 0);
}
