//! What workers say, and what they are told.

use taskyard_protocol::STILL_RUNS;

use super::support::*;

#[test]
fn a_worker_cannot_report_for_another() {
    let mut controller = Controller::new();
    let (honest, _) = controller.worker("honest", 1);
    let client = controller.client(1);
    controller.exchange(CLIENT, client, submit(1, 1));
    let task = controller.task(honest);
    let (thief, registered) = controller.worker("thief", 2);

    let as_is = packet(result_of(&task, 1), Some(b"lies"));
    controller.exchange(WORKER, thief, as_is);
    let mut with_boot = result_of(&task, 2);
    with_boot.flags = Flags::HAS_WORKER;
    let mut head = Head::new(&with_boot).boot(BOOT);
    controller.exchange(WORKER, thief, Packet::new(&mut head, None));
    let handed_in = Header {
        kind: Kind::HandIn,
        seq: 2,
        ..with_boot
    };
    let mut head = Head::new(&handed_in).boot(BOOT);
    controller.exchange(WORKER, thief, Packet::new(&mut head, None));
    assert_eq!(controller.sessions.stats().foreign, 3);

    // Its own place and epoch, but an attempt that it never had.
    let mine = Header {
        worker: registered.worker,
        epoch: registered.epoch,
        ..result_of(&task, 3)
    };
    controller.exchange(WORKER, thief, packet(mine, Some(b"lies")));
    assert_eq!(controller.sessions.stats().report_stale, 1);
    assert!(controller.answers(CLIENT, client).is_empty());

    controller.exchange(WORKER, honest, packet(result_of(&task, 1), Some(b"true")));
    let answers = controller.answers(CLIENT, client);
    assert_eq!(answers[0].message().body, b"true");
}

#[test]
fn a_result_counts_once() {
    let mut controller = Controller::new();
    let (worker, _) = controller.worker("w", 1);
    let client = controller.client(1);
    controller.exchange(CLIENT, client, submit(1, 1));
    let task = controller.task(worker);
    for _ in 0..2 {
        controller.exchange(WORKER, worker, packet(result_of(&task, 1), Some(b"once")));
    }
    controller.exchange(WORKER, worker, packet(result_of(&task, 2), Some(b"more")));
    assert_eq!(controller.sessions.stats().duplicate, 1);
    assert_eq!(controller.sessions.stats().report_stale, 1);
    assert_eq!(
        outcomes(&controller.answers(CLIENT, client)),
        [(1, Outcome::Completed)]
    );
}

#[test]
fn a_result_that_is_too_large_is_a_failure() {
    let options = SessionOptions {
        payload_max: 4,
        ..SessionOptions::new(BOOT)
    };
    let mut controller = Controller::with(small_config(), options);
    let (worker, _) = controller.worker("w", 1);
    let client = controller.client(1);
    controller.exchange(CLIENT, client, submit(1, 1));
    let task = controller.task(worker);
    controller.exchange(WORKER, worker, packet(result_of(&task, 1), Some(b"six by")));
    let answers = controller.answers(CLIENT, client);
    assert_eq!(outcomes(&answers), [(1, Outcome::Failed)]);
    assert!(answers[0].header().flags.has(Flags::NO_PAYLOAD));
}

#[test]
fn a_result_that_makes_no_sense_is_a_failure() {
    let mut controller = Controller::new();
    let (worker, registered) = controller.worker("w", 1);
    let client = controller.client(1);
    let bad_verdict = |header: Header| packet(Header { code: 7, ..header }, Some(b"?"));
    let frames_beyond = |header: Header| {
        let mut packet = packet(header, None);
        packet.first[3] = 65;
        packet
    };
    let cut_short = |header: Header| {
        let mut packet = packet(header, None);
        packet.first[2] |= Flags::NAMED.to_byte();
        packet
    };
    for (seq, spoil) in [
        &bad_verdict as &dyn Fn(Header) -> Packet,
        &frames_beyond,
        &cut_short,
    ]
    .into_iter()
    .enumerate()
    {
        let seq = seq as u32 + 1;
        controller.exchange(CLIENT, client, submit(seq, seq.into()));
        let task = controller.task(worker);
        let answers = controller.exchange(WORKER, worker, spoil(result_of(&task, seq)));
        assert_eq!(rejection(&answers), Some(Rejection::Malformed));
        assert_eq!(
            outcomes(&controller.answers(CLIENT, client)),
            [(seq.into(), Outcome::Failed)]
        );
    }
    // Nobody else's attempt is touched by it.
    controller.exchange(CLIENT, client, submit(4, 4));
    let task = controller.task(worker);
    let (thief, _) = controller.worker("thief", 2);
    controller.exchange(WORKER, thief, frames_beyond(result_of(&task, 1)));
    assert!(controller.answers(CLIENT, client).is_empty());
    assert_eq!(
        registered.seq,
        16 << 20,
        "a registration tells the largest payload"
    );
}

#[test]
fn results_are_acknowledged_on_the_next_task_or_after_32() {
    let mut controller = Controller::new();
    let (worker, _) = controller.worker("w", 1);
    let client = controller.client(1);
    controller.exchange(CLIENT, client, submit(1, 1));
    let first = controller.task(worker);
    controller.exchange(WORKER, worker, packet(result_of(&first, 1), None));
    controller.exchange(CLIENT, client, submit(2, 2));
    assert_eq!(controller.task(worker).ack, 1);

    let stale = |seq| {
        packet(
            Header {
                id: 0xdead,
                ..result_of(&first, seq)
            },
            None,
        )
    };
    for seq in 2..33 {
        assert!(controller.exchange(WORKER, worker, stale(seq)).is_empty());
    }
    let answers = controller.exchange(WORKER, worker, stale(33));
    assert_eq!(
        (answers[0].header().kind, answers[0].header().ack),
        (Kind::Ack, 33)
    );
    assert_eq!(answers[0].header().epoch, first.epoch);
}

#[test]
fn a_task_that_cannot_be_sent_never_started() {
    let mut controller = Controller::new();
    let (broken, _) = controller.worker("broken", 1);
    let client = controller.client(1);
    let mut once = submit_header(1, 1);
    once.attempt = 1;
    controller.network.refuse = Some(SendError::Unreachable);
    controller.exchange(CLIENT, client, packet(once, Some(b"in")));
    assert!(controller.answers(WORKER, broken).is_empty());
    assert_eq!(controller.dispatcher.workers_up(), 0);
    let worker = controller.network.connect(WORKER);
    let answers = controller.exchange(WORKER, worker, register("w", 2, 1));
    assert_eq!(kinds(&answers), [Kind::Registered, Kind::Task]);
    let task = answers[1].header();
    assert_eq!(task.attempt, 1);
    controller.exchange(WORKER, worker, packet(result_of(&task, 1), None));
    assert_eq!(
        outcomes(&controller.answers(CLIENT, client)),
        [(1, Outcome::Completed)]
    );
}

#[test]
fn a_lost_workers_result_counts_when_it_is_handed_in() {
    let mut controller = Controller::new();
    let (old, first) = controller.worker("w", 0x1_0000_0007);
    let client = controller.client(1);
    controller.exchange(CLIENT, client, submit(1, 1));
    let task = controller.task(old);
    // It finishes, the connection breaks with the result, and it is back before anybody else could
    // run the task.
    controller.disconnect(WORKER, old);
    let new = controller.network.connect(WORKER);
    let hand_in = Header {
        kind: Kind::HandIn,
        seq: 7,
        ack: 1,
        ..result_of(&task, 0)
    };
    let head = &mut Head::new(&hand_in).boot(BOOT);
    controller
        .network
        .push(WORKER, new, Packet::new(head, Some(Bytes::new())));
    let answers = controller.exchange(WORKER, new, register("w", 0x1_0000_0007, 2));
    assert_eq!(kinds(&answers), [Kind::Registered]);
    let registered = answers[0].header();
    assert_eq!((registered.ack, registered.id), (1, 2));
    assert!(registered.epoch > first.epoch);
    assert_eq!(
        outcomes(&controller.answers(CLIENT, client)),
        [(1, Outcome::Completed)]
    );
}

#[test]
fn results_of_another_boot_are_acknowledged_and_dropped() {
    let mut controller = Controller::new();
    let worker = controller.network.connect(WORKER);
    let hand_in = Header {
        flags: Flags::HAS_WORKER,
        ..Header::new(Kind::HandIn)
    };
    let head = &mut Head::new(&hand_in).boot(BOOT + 1);
    controller
        .network
        .push(WORKER, worker, Packet::new(head, None));
    let busy = Header {
        epoch: 1,
        ..register_header(1, 1)
    };
    let answers = controller.exchange(
        WORKER,
        worker,
        Packet::new(&mut Head::new(&busy).name("w"), None),
    );
    assert_eq!(answers[0].header().ack, 1);

    // Its only slot is taken by an attempt of the other boot until that is reported.
    let client = controller.client(1);
    controller.exchange(CLIENT, client, submit(1, 1));
    assert!(controller.answers(WORKER, worker).is_empty());
    let late = Header {
        kind: Kind::Result,
        seq: 1,
        ..hand_in
    };
    let answers = controller.exchange(
        WORKER,
        worker,
        Packet::new(&mut Head::new(&late).boot(BOOT + 1), None),
    );
    assert_eq!(kinds(&answers), [Kind::Task]);
    assert_eq!(answers[0].header().ack, 1);
    assert_eq!(controller.sessions.stats().other_boot, 2);
}

#[test]
fn two_processes_cannot_have_one_name() {
    let mut controller = Controller::new();
    controller.worker("w", 1);
    let second = controller.network.connect(WORKER);
    let answers = controller.exchange(WORKER, second, register("w", 2, 1));
    assert_eq!(rejection(&answers), Some(Rejection::NameTaken));
    assert_eq!(answers[0].header().id, 1);
}

#[test]
fn a_worker_that_comes_back_takes_its_own_place_over() {
    let mut controller = Controller::new();
    let (old, first) = controller.worker("w", 1);
    let new = controller.network.connect(WORKER);
    let answers = controller.exchange(WORKER, new, register("w", 1, 2));
    assert_eq!(kinds(&answers), [Kind::Registered]);
    assert!(answers[0].header().epoch > first.epoch);
    assert_eq!(kinds(&controller.answers(WORKER, old)), [Kind::Evict]);
    assert_eq!(controller.dispatcher.workers_up(), 1);
    let stale = controller.exchange(WORKER, new, register("w", 1, 2));
    assert_eq!(rejection(&stale), Some(Rejection::RegistrationStale));
    assert_eq!(controller.dispatcher.workers_up(), 1);
    assert_eq!(controller.exchange(WORKER, new, bare(Kind::Leave)).len(), 0);
    assert_eq!(controller.dispatcher.workers_up(), 0);
}

/// Losses that waited for room go before everything else once there is some; what a message causes
/// must have its room all the same.
#[test]
fn a_registration_finds_room_behind_many_losses() {
    let mut controller = Controller::new();
    let workers = [(); 900].map(|()| controller.network.connect(WORKER));
    for (index, worker) in workers.into_iter().enumerate() {
        let name = format!("w{index}");
        controller.exchange(WORKER, worker, register(&name, index as u64, 1));
    }
    let client = controller.client(1);
    while controller.port.has_room(2) {
        let cancel = packet(
            Header {
                id: 1,
                ..Header::new(Kind::Cancel)
            },
            None,
        );
        controller.network.push(CLIENT, client, cancel);
        controller.read(CLIENT, client);
    }
    for worker in &workers[1..] {
        controller.network.cut(WORKER, *worker, (0, 0, 0));
        let Controller { sessions, port, .. } = &mut controller;
        sessions.handle_peer_gone(WORKER, *worker, port);
    }
    controller.dispatcher.run_once(controller.now);
    controller
        .network
        .push(WORKER, workers[0], register("w0", 0, 2));
    controller.read(WORKER, workers[0]);
    controller.run();
    assert_eq!(
        kinds(&controller.answers(WORKER, workers[0])),
        [Kind::Registered]
    );
    assert_eq!(controller.dispatcher.workers_up(), 1);
}

#[test]
fn registrations_are_spread_over_the_shards() {
    let endpoints = ["ours", "theirs", "third"].map(String::from).to_vec();
    let options = SessionOptions {
        endpoints,
        ..SessionOptions::new(BOOT)
    };
    let mut controller = Controller::with(small_config(), options);
    let mut went = Vec::new();
    for index in 0..6 {
        let peer = controller.network.connect(WORKER);
        let answers = controller.exchange(WORKER, peer, register(&format!("w{index}"), index, 1));
        went.push(String::from_utf8(answers[0].message().body.to_vec()).unwrap());
    }
    assert_eq!(went, ["", "theirs", "third", "", "theirs", "third"]);
    let peer = controller.network.connect(WORKER);
    controller.exchange(WORKER, peer, register("w7", 7, 1));
    let mut header = register_header(8, 1);
    header.flags = Flags::NO_REDIRECT;
    let stays = Packet::new(&mut Head::new(&header).name("w8"), None);
    assert_eq!(
        kinds(&controller.exchange(WORKER, peer, stays)),
        [Kind::Registered]
    );
}

#[test]
fn an_abort_reaches_the_worker() {
    let mut controller = Controller::new();
    let (worker, _) = controller.worker("w", 1);
    let client = controller.client(1);
    controller.exchange(CLIENT, client, submit(1, 1));
    let task = controller.task(worker);
    let cancel = packet(
        Header {
            seq: 2,
            id: 1,
            ..Header::new(Kind::Cancel)
        },
        None,
    );
    controller.exchange(CLIENT, client, cancel);
    let answers = controller.answers(WORKER, worker);
    let abort = answers[0].header();
    assert_eq!(
        abort,
        Header {
            kind: Kind::Abort,
            flags: Flags::HAS_WORKER,
            frames: 0,
            ack: 0,
            ..task
        }
    );
    let aborted = Header {
        code: 2,
        ..result_of(&task, 1)
    };
    controller.exchange(WORKER, worker, packet(aborted, None));
    let outcome = outcomes(&controller.answers(CLIENT, client));
    assert_eq!(outcome, [(1, Outcome::Cancelled { started: true })]);
}

/// A worker of one slot with one task in advance; the headers of both its tasks.
fn with_one_ahead(controller: &mut Controller, client: PeerKey) -> (PeerKey, Header, Header) {
    let worker = controller.network.connect(WORKER);
    let header = Header {
        worker: 1,
        ..register_header(1, 1)
    };
    let register = Packet::new(&mut Head::new(&header).name("w"), None);
    let answers = controller.exchange(WORKER, worker, register);
    assert_eq!(answers[0].header().code, 1, "one in advance is granted");
    controller.exchange(CLIENT, client, submit(1, 1));
    let running = controller.task(worker);
    controller.exchange(CLIENT, client, submit(2, 2));
    let ahead = controller.task(worker);
    assert!(!running.flags.has(Flags::AHEAD) && ahead.flags.has(Flags::AHEAD));
    (worker, running, ahead)
}

fn cancel(seq: u32, task: u64) -> Packet {
    let header = Header {
        seq,
        id: task,
        ..Header::new(Kind::Cancel)
    };
    packet(header, None)
}

/// What a worker says about a task: `task` is the header of the message that brought it.
fn about(kind: Kind, task: &Header) -> Packet {
    let header = Header {
        kind,
        flags: Flags::HAS_WORKER,
        frames: 0,
        ..*task
    };
    packet(header, None)
}

#[test]
fn a_task_sent_in_advance_is_asked_back_and_given_back() {
    let mut controller = Controller::new();
    let client = controller.client(1);
    let (worker, running, ahead) = with_one_ahead(&mut controller, client);
    controller.exchange(CLIENT, client, cancel(3, 2));
    let asked = controller.answers(WORKER, worker);
    assert_eq!(kinds(&asked), [Kind::Revoke]);
    assert_eq!(asked[0].header().id, ahead.id);
    // What runs is not to be given back, whatever a worker says.
    controller.exchange(WORKER, worker, about(Kind::Revoked, &running));
    assert_eq!(controller.sessions.stats().report_stale, 1);
    controller.exchange(WORKER, worker, about(Kind::Revoked, &ahead));
    let outcome = outcomes(&controller.answers(CLIENT, client));
    assert_eq!(outcome, [(2, Outcome::Cancelled { started: false })]);
}

#[test]
fn a_task_sent_in_advance_that_has_started_is_stopped() {
    let mut controller = Controller::new();
    let client = controller.client(1);
    let (worker, _, ahead) = with_one_ahead(&mut controller, client);
    controller.exchange(WORKER, worker, about(Kind::Started, &ahead));
    controller.exchange(WORKER, worker, about(Kind::Revoked, &ahead));
    assert_eq!(controller.sessions.stats().report_stale, 1, "too late");
    controller.exchange(CLIENT, client, cancel(3, 2));
    assert_eq!(kinds(&controller.answers(WORKER, worker)), [Kind::Abort]);
}

/// A worker's message about an attempt, with the ticket that came with its task.
fn shown(kind: Kind, task: &Packet, instance: u64, boot: u64) -> Packet {
    let origin = task.message().origin.expect("it came from a client");
    let header = Header {
        kind,
        seq: instance as u32,
        ack: (instance >> 32) as u32,
        flags: Flags::HAS_WORKER.with(Flags::NO_PAYLOAD),
        ..result_of(&task.header(), 0)
    };
    Packet::new(&mut Head::new(&header).boot(boot).origin(&origin), None)
}

/// A controller that has given one task to a worker, and the one that is started after it.
fn restarted(instance: u64) -> (Packet, Controller) {
    let options = |boot| SessionOptions {
        ticket_key: 0x5ec_4e7,
        ..SessionOptions::new(boot)
    };
    let mut before = Controller::with(small_config(), options(BOOT));
    let (worker, _) = before.worker("w", instance);
    let client = before.client(1);
    before.exchange(CLIENT, client, submit(1, 1));
    let mut given = before.answers(WORKER, worker);
    assert_eq!(kinds(&given), [Kind::Task]);
    let after = Controller::with(small_config(), options(BOOT + 1));
    (given.remove(0), after)
}

fn resubmit_once(seq: u32, task: u64) -> Packet {
    let mut header = submit_header(seq, task);
    header.attempt = 1;
    header.flags = Flags::RESENT;
    packet(header, Some(b"in"))
}

#[test]
fn a_result_is_known_by_its_ticket_after_a_restart() {
    for instance in [3, 4] {
        let (task, mut controller) = restarted(3);
        let worker = controller.network.connect(WORKER);
        let hand_in = shown(Kind::HandIn, &task, instance, BOOT);
        controller.network.push(WORKER, worker, hand_in);
        controller.exchange(WORKER, worker, register("w", instance, 2));
        let client = controller.client(1);
        let answers = controller.exchange(CLIENT, client, resubmit_once(1, 1));
        let foreign = controller.sessions.stats().foreign;
        if instance == 3 {
            assert_eq!(
                (outcomes(&answers), foreign),
                (vec![(1, Outcome::Completed)], 0)
            );
        } else {
            // Another process shows a ticket that it was not given.
            assert_eq!(foreign, 1);
            assert!(answers.is_empty());
        }
    }
}

#[test]
fn what_runs_over_a_restart_is_waited_for() {
    let (task, mut controller) = restarted(3);
    let client = controller.client(1);
    controller.exchange(CLIENT, client, resubmit_once(1, 1));
    let (worker, _) = controller.worker("w", 3);
    controller.exchange(WORKER, worker, shown(Kind::Started, &task, 0, BOOT));
    controller.now = controller.now.after_ms(60_000);
    controller.run();
    assert!(
        controller.answers(CLIENT, client).is_empty(),
        "it still runs"
    );
    controller.exchange(WORKER, worker, shown(Kind::Result, &task, 1, BOOT));
    assert_eq!(
        outcomes(&controller.answers(CLIENT, client)),
        [(1, Outcome::Completed)]
    );
}

#[test]
fn what_still_runs_outlives_the_connection() {
    let mut controller = Controller::new();
    let (old, _) = controller.worker("w", 3);
    let client = controller.client(1);
    let mut once = submit_header(1, 1);
    once.attempt = 1;
    controller.exchange(CLIENT, client, packet(once, Some(b"in")));
    let task = controller.task(old);
    let new = controller.network.connect(WORKER);
    let mut still = result_of(&task, 3);
    (still.kind, still.code) = (Kind::HandIn, STILL_RUNS);
    still.flags = Flags::HAS_WORKER.with(Flags::NO_PAYLOAD);
    let still = Packet::new(&mut Head::new(&still).boot(BOOT), None);
    controller.network.push(WORKER, new, still);
    let answers = controller.exchange(WORKER, new, register("w", 3, 2));
    assert_eq!(kinds(&answers), [Kind::Registered]);
    assert!(controller.answers(CLIENT, client).is_empty());
    let result = Packet::new(&mut Head::new(&result_of(&task, 1)).boot(BOOT), None);
    controller.exchange(WORKER, new, result);
    assert_eq!(
        outcomes(&controller.answers(CLIENT, client)),
        [(1, Outcome::Completed)]
    );
}

#[test]
fn a_client_hears_of_a_rerun_and_can_ask_who_is_there() {
    let mut controller = Controller::new();
    let (first, registered) = controller.worker("a", 1);
    let client = controller.client(1);
    controller.exchange(CLIENT, client, submit(1, 1));
    controller.task(first);
    let ask = |name: &str, question| {
        let mut header = Header::new(Kind::IsAlive);
        (header.id, header.code) = (question, 2);
        Packet::new(&mut Head::new(&header).name(name), None)
    };
    let said = |answers: Vec<Packet>| {
        let header = answers.last().expect("an answer").header();
        assert_eq!(header.kind, Kind::Alive);
        (header.id, header.code, header.worker, header.epoch)
    };
    let (worker, epoch) = (registered.worker, registered.epoch);
    let answers = controller.exchange(CLIENT, client, ask("a", 7));
    assert_eq!(said(answers), (7, 1, worker, epoch));
    controller.disconnect(WORKER, first);
    let told = controller.answers(CLIENT, client);
    assert_eq!(kinds(&told), [Kind::Notice]);
    let notice = told[0].header();
    assert_eq!((notice.id, notice.attempt, notice.worker), (1, 1, worker));
    let answers = controller.exchange(CLIENT, client, ask("a", 8));
    assert_eq!(said(answers), (8, 2, 0, 0), "nobody waits for its return");
    let header = Header::new(Kind::IsAlive);
    let nobody = packet(Header { code: 0, ..header }, None);
    let answers = controller.exchange(CLIENT, client, nobody);
    assert_eq!(kinds(&answers), [Kind::Rejected], "not a single worker");
}

#[test]
fn a_worker_that_wants_to_leave_finishes_what_it_has_and_is_given_nothing_more() {
    let mut controller = Controller::new();
    let (worker, _) = controller.worker("w", 1);
    let client = controller.client(1);
    controller.exchange(CLIENT, client, submit(1, 1));
    let task = controller.task(worker);
    let leaving = packet(Header::new(Kind::Drain), None);
    assert!(controller.exchange(WORKER, worker, leaving).is_empty());
    controller.exchange(CLIENT, client, submit(2, 2));
    assert!(controller.answers(WORKER, worker).is_empty());
    let told = controller.exchange(WORKER, worker, packet(result_of(&task, 1), Some(b"done")));
    assert!(kinds(&told).contains(&Kind::Drain), "{told:?}");
    assert_eq!(
        controller.answers(CLIENT, client)[0].message().body,
        b"done"
    );
    assert_eq!(controller.sessions.stats().misplaced, 0);
}
