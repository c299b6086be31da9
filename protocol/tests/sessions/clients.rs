//! What clients say, and what they are told.

use super::support::*;

#[test]
fn a_welcome_names_the_session_the_record_and_the_boot() {
    let mut controller = Controller::with(
        Config {
            quota: 7,
            ..small_config()
        },
        SessionOptions::new(BOOT),
    );
    let peer = controller.network.connect(CLIENT);
    let answers = controller.exchange(CLIENT, peer, hello(1, 5));
    let message = answers[0].message();
    assert_eq!(
        (message.header.ack, message.header.epoch, message.boot),
        (5, 7, Some(BOOT))
    );
    assert!(!message.header.flags.has(Flags::RESUMED));
}

#[test]
fn a_task_goes_there_and_back() {
    let mut controller = Controller::new();
    let (worker, registered) = controller.worker("w", 9);
    let client = controller.client(1);
    assert!(
        controller
            .exchange(CLIENT, client, submit(1, 42))
            .is_empty()
    );

    let tasks = controller.answers(WORKER, worker);
    let task = tasks[0].message();
    assert_eq!((task.header.kind, task.body), (Kind::Task, &b"in"[..]));
    assert_eq!(
        (task.header.worker, task.header.epoch, task.header.attempt),
        (registered.worker, registered.epoch, 1)
    );
    let result = packet(result_of(&task.header, 1), Some(b"out!"));
    assert!(controller.exchange(WORKER, worker, result).is_empty());

    let answers = controller.answers(CLIENT, client);
    let outcome = answers[0].message();
    assert_eq!(outcome.body, b"out!");
    assert_eq!(
        (outcome.header.seq, outcome.header.ack, outcome.header.id),
        (1, 1, 42)
    );
    assert_eq!(outcomes(&answers), [(42, Outcome::Completed)]);
    assert_eq!(
        controller.dispatcher.tasks(),
        1,
        "kept until it is acknowledged"
    );
    controller.exchange(CLIENT, client, ack(1));
    assert_eq!(controller.dispatcher.tasks(), 0);
}

#[test]
fn topics_by_number_by_name_and_for_all() {
    let mut controller = Controller::new();
    let (one, _) = controller.worker("one", 1);
    let (two, registered) = controller.worker("two", 2);
    let client = controller.client(1);

    let mut header = submit_header(1, 1);
    (header.code, header.worker) = (1, registered.worker);
    controller.exchange(CLIENT, client, packet(header, Some(b"by number!")));
    let task = controller.task(two);
    controller.exchange(WORKER, two, packet(result_of(&task, 1), None));

    let mut header = submit_header(2, 2);
    header.code = 2;
    let mut head = Head::new(&header).name("one");
    let mut answers =
        controller.exchange(CLIENT, client, Packet::new(&mut head, Some(Bytes::new())));
    let task = controller.task(one);
    controller.exchange(WORKER, one, packet(result_of(&task, 1), None));

    let mut header = submit_header(3, 3);
    header.code = 3;
    answers.extend(controller.exchange(CLIENT, client, packet(header, Some(b"to all"))));
    for worker in [one, two] {
        let task = controller.task(worker);
        controller.exchange(WORKER, worker, packet(result_of(&task, 2), Some(b"part")));
    }
    answers.extend(controller.answers(CLIENT, client));
    assert_eq!(
        outcomes(&answers),
        [
            (1, Outcome::Completed),
            (2, Outcome::Completed),
            (3, Outcome::Completed),
            (3, Outcome::Completed),
            (
                3,
                Outcome::Summary {
                    parts: 2,
                    completed: 2
                }
            ),
        ]
    );
    let parts = answers
        .iter()
        .map(|answer| answer.header().flags.has(Flags::PART));
    assert_eq!(parts.collect::<Vec<_>>(), [false, false, true, true, false]);
}

#[test]
fn a_submit_that_makes_no_sense_is_refused_and_nothing_else() {
    let options = SessionOptions {
        payload_max: 10,
        ..SessionOptions::new(BOOT)
    };
    let mut controller = Controller::with(small_config(), options);
    let client = controller.client(1);
    let refused = |extra| Outcome::Refused(taskyard_protocol::refusal_from_extra(extra).unwrap());
    let malformed = refused(refusal_to_extra(Refusal::Malformed));
    let too_large = refused(refusal_to_extra(Refusal::PayloadTooLarge));

    let topic_unknown = packet(
        Header {
            code: 9,
            ..submit_header(1, 1)
        },
        Some(b""),
    );
    let name_missing = packet(
        Header {
            code: 2,
            ..submit_header(2, 2)
        },
        Some(b""),
    );
    let large_inline = packet(submit_header(3, 3), Some(b"twelve bytes"));
    let large_frame = packet(submit_header(4, 4), Some(b"thirteen byte"));
    let mut frames_missing = packet(submit_header(5, 5), None);
    frames_missing.first[3] = 2;
    let mut cut_short = packet(submit_header(6, 6), None);
    cut_short.first[2] = Flags::DEADLINES.to_byte();
    let mut frames_beyond = packet(submit_header(7, 7), None);
    frames_beyond.first[3] = 65;
    let cases = [
        (topic_unknown, malformed),
        (name_missing, malformed),
        (large_inline, too_large),
        (large_frame, too_large),
        (frames_missing, too_large),
        (cut_short, malformed),
        (frames_beyond, malformed),
    ];
    for (number, (bad, expected)) in (1..).zip(cases) {
        let answers = controller.exchange(CLIENT, client, bad);
        assert_eq!(outcomes(&answers), [(number, expected)]);
        let header = answers[0].header();
        assert_eq!((header.seq, u64::from(header.ack)), (0, number));
    }
    let stats = controller.sessions.stats();
    assert_eq!((stats.malformed, stats.payload_refused), (4, 3));
    let mut named = Head::new(&Header {
        code: 2,
        ..submit_header(8, 8)
    })
    .name("nobody");
    let answers = controller.exchange(CLIENT, client, Packet::new(&mut named, None));
    assert_eq!(
        outcomes(&answers),
        [(8, Outcome::Refused(Refusal::NoSuchName))]
    );
    assert_eq!(controller.dispatcher.tasks(), 0);
}

#[test]
fn a_welcome_promises_what_holds_until_the_next_batch_of_acknowledgements() {
    for (quota, told) in [(7, 7), (16, 15), (1000, 985)] {
        let config = Config {
            quota,
            tasks: 2000,
            ..small_config()
        };
        let options = SessionOptions {
            payload_max: 1 << 33,
            ..SessionOptions::new(BOOT)
        };
        let mut controller = Controller::with(config, options);
        let client = controller.network.connect(CLIENT);
        let welcome = controller.exchange(CLIENT, client, hello(1, 1))[0].header();
        assert_eq!((welcome.epoch, welcome.seq), (told, u32::MAX));
    }
}

#[test]
fn submits_are_acknowledged_after_64() {
    let mut controller = Controller::new();
    let client = controller.client(1);
    for seq in 1..64 {
        assert!(
            controller
                .exchange(CLIENT, client, submit(seq, seq.into()))
                .is_empty()
        );
    }
    let answers = controller.exchange(CLIENT, client, submit(64, 64));
    assert_eq!(
        (answers[0].header().kind, answers[0].header().ack),
        (Kind::Ack, 64)
    );
}

/// Completes one task for the client of key 1, and leaves its outcome unacknowledged.
fn one_outcome(controller: &mut Controller) -> PeerKey {
    let (worker, _) = controller.worker("w", 1);
    let client = controller.client(1);
    controller.exchange(CLIENT, client, submit(1, 1));
    let task = controller.task(worker);
    controller.exchange(WORKER, worker, packet(result_of(&task, 1), Some(b"it")));
    assert_eq!(
        outcomes(&controller.answers(CLIENT, client)),
        [(1, Outcome::Completed)]
    );
    client
}

#[test]
fn an_unacknowledged_outcome_comes_again_in_the_next_session() {
    let mut controller = Controller::new();
    let client = one_outcome(&mut controller);
    controller.disconnect(CLIENT, client);
    let client = controller.network.connect(CLIENT);
    let answers = controller.exchange(CLIENT, client, hello(1, 2));
    assert!(answers[0].header().flags.has(Flags::RESUMED));
    assert_eq!(outcomes(&answers), [(1, Outcome::Completed)]);
    assert_eq!(answers[1].header().seq, 1);
    let again = controller.exchange(CLIENT, client, submit(1, 1));
    assert!(again.is_empty(), "it is known, and its outcome was sent");
}

#[test]
fn an_old_sessions_messages_count_for_nothing_once_the_new_one_has_said_hello() {
    let mut controller = Controller::new();
    let old = one_outcome(&mut controller);
    let new = controller.network.connect(CLIENT);
    // Read before the controller has answered the hello, let alone heard that the old one is gone.
    controller.network.push(CLIENT, new, hello(1, 2));
    controller.network.push(CLIENT, old, ack(1));
    controller.network.push(CLIENT, old, submit(2, 2));
    controller.read(CLIENT, new);
    controller.read(CLIENT, old);
    controller.read(CLIENT, old);
    controller.run();
    let answers = controller.answers(CLIENT, new);
    assert_eq!(outcomes(&answers), [(1, Outcome::Completed)]);
    assert_eq!(
        controller.dispatcher.tasks(),
        1,
        "the old session's submit is not accepted"
    );
    // The old connection's end is not the client's.
    controller.disconnect(CLIENT, old);
    assert!(controller.exchange(CLIENT, new, ack(1)).is_empty());
    assert_eq!(controller.dispatcher.tasks(), 0);
}

#[test]
fn a_hello_that_is_overtaken_is_not_answered() {
    let mut controller = Controller::new();
    let peer = controller.network.connect(CLIENT);
    controller.network.push(CLIENT, peer, hello(1, 1));
    controller.network.push(CLIENT, peer, hello(1, 2));
    controller.network.push(CLIENT, peer, hello(1, 2));
    (0..3).for_each(|_| controller.read(CLIENT, peer));
    controller.run();
    let answers = controller.answers(CLIENT, peer);
    assert_eq!(kinds(&answers), [Kind::Rejected, Kind::Welcome]);
    assert_eq!(answers[1].header().ack, 2);
    let stale = controller.exchange(CLIENT, peer, hello(1, 1));
    assert_eq!(rejection(&stale), Some(Rejection::SessionStale));
    assert!(
        controller.exchange(CLIENT, peer, submit(1, 1)).is_empty(),
        "the session still holds"
    );
    assert_eq!(controller.dispatcher.tasks(), 1);
}

#[test]
fn a_client_that_is_gone_before_its_welcome_is_down() {
    let mut controller = Controller::new();
    let peer = controller.network.connect(CLIENT);
    controller.network.push(CLIENT, peer, hello(1, 1));
    controller.network.cut(CLIENT, peer, (1, 0, 0));
    controller.read(CLIENT, peer);
    controller.read(CLIENT, peer);
    controller.run();
    assert!(controller.sessions.is_settled());
    let peer = controller.network.connect(CLIENT);
    let answers = controller.exchange(CLIENT, peer, hello(1, 2));
    assert!(answers[0].header().flags.has(Flags::RESUMED));
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_absurd() {
    let mut controller = Controller::new();
    let client = one_outcome(&mut controller);
    controller.exchange(CLIENT, client, ack(u32::MAX));
    assert_eq!(
        (
            controller.dispatcher.tasks(),
            controller.sessions.stats().ack_absurd
        ),
        (1, 1)
    );
    controller.exchange(CLIENT, client, ack(1));
    assert_eq!(controller.dispatcher.tasks(), 0);
}

#[test]
fn goodbye_leaves_nothing_behind() {
    let mut controller = Controller::new();
    let client = one_outcome(&mut controller);
    assert!(
        controller
            .exchange(CLIENT, client, bare(Kind::Goodbye))
            .is_empty()
    );
    assert_eq!(controller.dispatcher.tasks(), 0);
    let answers = controller.exchange(CLIENT, client, submit(2, 2));
    assert_eq!(kinds(&answers), [Kind::WhoAreYou]);
}

#[test]
fn an_outcome_that_cannot_be_sent_waits_for_the_next_session() {
    let mut controller = Controller::new();
    let (worker, _) = controller.worker("w", 1);
    let client = controller.client(1);
    controller.exchange(CLIENT, client, submit(1, 1));
    let task = controller.task(worker);
    controller.network.refuse = Some(SendError::Full);
    controller.exchange(WORKER, worker, packet(result_of(&task, 1), Some(b"it")));
    assert!(controller.answers(CLIENT, client).is_empty());
    assert_eq!(
        kinds(&controller.exchange(CLIENT, client, ack(0))),
        [Kind::WhoAreYou]
    );
    let answers = controller.exchange(CLIENT, client, hello(1, 2));
    assert_eq!(outcomes(&answers), [(1, Outcome::Completed)]);
}

/// A refusal is kept by nobody, and neither is the question who somebody is.
#[test]
fn what_a_full_client_was_not_told_it_hears_later() {
    let mut controller = Controller::new();
    let client = controller.client(1);
    let nonsense = packet(
        Header {
            code: 9,
            ..submit_header(1, 1)
        },
        Some(b""),
    );
    controller.network.refuse = Some(SendError::Full);
    assert!(
        controller
            .exchange(CLIENT, client, nonsense.clone())
            .is_empty()
    );
    // Its session has ended with that; the next question does not arrive either.
    controller.network.refuse = Some(SendError::Full);
    assert!(controller.exchange(CLIENT, client, submit(2, 2)).is_empty());
    assert_eq!(
        kinds(&controller.exchange(CLIENT, client, submit(3, 3))),
        [Kind::WhoAreYou]
    );
    controller.exchange(CLIENT, client, hello(1, 2));
    let answers = controller.exchange(CLIENT, client, nonsense);
    assert_eq!(
        outcomes(&answers),
        [(1, Outcome::Refused(Refusal::Malformed))]
    );
}
