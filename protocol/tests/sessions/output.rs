//! What tasks print: who may say so, who is told, and what is dropped.

use taskyard_protocol::{OUTPUT_PIECES_MAX, STILL_RUNS};

use super::support::*;

/// Output of a task: `task` is the header of the message that brought it.
fn output_of(task: &Header, code: u8, text: &[u8]) -> Packet {
    let header = Header {
        kind: Kind::Output,
        ack: 0,
        frames: 0,
        flags: Flags::HAS_WORKER,
        code,
        ..*task
    };
    packet(header, Some(text))
}

/// A client, a worker, and the task that the worker runs for it.
fn running(controller: &mut Controller) -> (PeerKey, PeerKey, Header) {
    let (worker, _) = controller.worker("w", 1);
    let client = controller.client(1);
    controller.exchange(CLIENT, client, submit(1, 7));
    let task = controller.task(worker);
    (client, worker, task)
}

fn pong(question: &Packet) -> Packet {
    let mut header = Header::new(Kind::Pong);
    header.id = question.header().id;
    packet(header, None)
}

#[test]
fn a_client_reads_what_its_task_prints_before_the_outcome() {
    let mut controller = Controller::new();
    let (client, worker, task) = running(&mut controller);
    // All at once: the result is read in the same turn.
    let mut last = output_of(&task, 2, b"oops");
    last.first[8..12].copy_from_slice(&77_u32.to_le_bytes());
    controller
        .network
        .push(WORKER, worker, output_of(&task, 1, b"hello"));
    controller.network.push(WORKER, worker, last);
    controller
        .network
        .push(WORKER, worker, packet(result_of(&task, 1), Some(b"done")));
    controller.run();
    let told = controller.answers(CLIENT, client);
    assert_eq!(kinds(&told), [Kind::Notice, Kind::Notice, Kind::Outcome]);
    let said = told.iter().take(2).map(|packet| {
        let header = packet.header();
        assert!(header.flags.has(Flags::HAS_WORKER));
        assert_eq!((header.worker, header.epoch), (task.worker, task.epoch));
        assert_eq!((header.seq, header.id, header.attempt), (0, 7, 1));
        (header.code, header.ack, header.extra)
    });
    assert_eq!(said.collect::<Vec<_>>(), [(1, 0, 0), (2, 77, 0)]);
    let texts = told.iter().map(|packet| match &packet.frames {
        Some(frames) => frames.as_slice(),
        None => packet.message().body,
    });
    assert_eq!(
        texts.take(2).collect::<Vec<_>>(),
        [&b"hello"[..], &b"oops"[..]]
    );
    assert_eq!(controller.dispatcher.stats().output, 2);
}

#[test]
fn output_of_anothers_attempt_or_of_one_that_is_over_is_dropped() {
    let mut controller = Controller::new();
    let (client, worker, task) = running(&mut controller);
    let (thief, registered) = controller.worker("thief", 2);
    let stranger = controller.network.connect(WORKER);
    let mine = Header {
        worker: registered.worker,
        epoch: registered.epoch,
        ..task
    };
    let unborn = Header { epoch: 99, ..task };
    for (from, header) in [
        (thief, task),
        (thief, mine),
        (thief, unborn),
        (stranger, task),
        (worker, Header { attempt: 2, ..task }),
        (worker, Header { id: 8, ..task }),
    ] {
        controller.exchange(WORKER, from, output_of(&header, 1, b"lies"));
    }
    controller.exchange(WORKER, worker, packet(result_of(&task, 1), Some(b"done")));
    controller.exchange(WORKER, worker, output_of(&task, 1, b"late"));
    let told = controller.answers(CLIENT, client);
    assert_eq!(kinds(&told), [Kind::Outcome]);
    let stats = controller.sessions.stats();
    assert_eq!((stats.foreign, stats.unregistered), (1, 1));
    // An epoch that nobody has here is for the scheduler to judge.
    let judged = stats.report_stale + controller.dispatcher.stats().stale_output;
    assert_eq!(judged, 5);
    assert_eq!(controller.dispatcher.stats().output, 0);
}

#[test]
fn what_is_no_output_ends_nothing() {
    let mut controller = Controller::new();
    let (client, worker, task) = running(&mut controller);
    let answers = controller.exchange(WORKER, worker, output_of(&task, 3, b"?"));
    assert_eq!(rejection(&answers), Some(Rejection::Malformed));
    let mut announced = output_of(&task, 1, b"");
    announced.first[3] = 2;
    controller.exchange(WORKER, worker, announced);
    assert_eq!(controller.sessions.stats().payload_refused, 1);
    let mut none = output_of(&task, 1, b"");
    none.first[2] |= Flags::NO_PAYLOAD.to_byte();
    controller.exchange(WORKER, worker, none);
    controller.exchange(WORKER, worker, packet(result_of(&task, 1), Some(b"done")));
    let told = controller.answers(CLIENT, client);
    assert_eq!(kinds(&told), [Kind::Notice, Kind::Outcome]);
}

#[test]
fn a_client_that_does_not_read_is_told_so_much_and_then_how_much_is_missing() {
    let mut controller = Controller::new();
    let (client, worker, task) = running(&mut controller);
    for _ in 0..OUTPUT_PIECES_MAX + 40 {
        controller.exchange(WORKER, worker, output_of(&task, 1, b"line"));
    }
    let told = controller.answers(CLIENT, client);
    let (asked, lines): (Vec<_>, Vec<_>) = told
        .into_iter()
        .partition(|packet| packet.header().kind == Kind::Ping);
    assert_eq!((lines.len(), asked.len()), (OUTPUT_PIECES_MAX, 1));
    assert_eq!(controller.sessions.stats().output_dropped, 40);
    // A made-up answer opens nothing.
    controller.exchange(CLIENT, client, pong(&bare(Kind::Ping)));
    controller.exchange(WORKER, worker, output_of(&task, 1, b"line"));
    assert!(controller.answers(CLIENT, client).is_empty());
    // A true one does, and asks again at once for the rest.
    let again = controller.exchange(CLIENT, client, pong(&asked[0]));
    assert_eq!(kinds(&again), [Kind::Ping]);
    controller.exchange(WORKER, worker, output_of(&task, 1, b"line"));
    controller.exchange(WORKER, worker, output_of(&task, 1, b"line"));
    let told = controller.answers(CLIENT, client);
    let missed = told.iter().map(|packet| packet.header().extra);
    assert_eq!(missed.collect::<Vec<_>>(), [41, 0]);
    // What is dropped last is told with the outcome at the latest.
    controller.network.refuse = Some(SendError::Full);
    controller.exchange(WORKER, worker, output_of(&task, 1, b"line"));
    // No outcome waits for it, and no session has ended.
    controller.exchange(WORKER, worker, packet(result_of(&task, 1), Some(b"done")));
    let told = controller.answers(CLIENT, client);
    assert_eq!(kinds(&told), [Kind::Notice, Kind::Outcome]);
    let notice = told[0].header();
    assert_eq!((notice.id, notice.code, notice.extra), (7, 1, 1));
    assert_eq!(outcomes(&told), [(7, Outcome::Completed)]);
}

#[test]
fn output_that_cannot_be_sent_ends_no_session() {
    let mut controller = Controller::new();
    let (client, worker, task) = running(&mut controller);
    for error in [SendError::Full, SendError::Unreachable] {
        controller.network.refuse = Some(error);
        controller.exchange(WORKER, worker, output_of(&task, 1, b"line"));
        assert!(controller.network.refuse.is_none());
    }
    controller.exchange(WORKER, worker, output_of(&task, 1, b"line"));
    controller.exchange(WORKER, worker, packet(result_of(&task, 1), Some(b"done")));
    let told = controller.answers(CLIENT, client);
    assert_eq!(kinds(&told), [Kind::Notice, Kind::Outcome]);
    assert_eq!(told[0].header().extra, 2);
}

#[test]
fn a_client_that_is_away_is_not_told_and_misses_no_outcome() {
    let mut controller = Controller::new();
    let (client, worker, task) = running(&mut controller);
    controller.disconnect(CLIENT, client);
    controller.exchange(WORKER, worker, output_of(&task, 1, b"line"));
    controller.exchange(WORKER, worker, packet(result_of(&task, 1), Some(b"done")));
    let client = controller.network.connect(CLIENT);
    let told = controller.exchange(CLIENT, client, hello(1, 2));
    assert_eq!(kinds(&told), [Kind::Welcome, Kind::Outcome]);
}

#[test]
fn an_attempt_goes_on_printing_after_its_worker_has_come_back() {
    let mut controller = Controller::new();
    let (client, worker, task) = running(&mut controller);
    let back = controller.network.connect(WORKER);
    let mut still = result_of(&task, 1);
    (still.kind, still.code) = (Kind::HandIn, STILL_RUNS);
    still.flags = Flags::HAS_WORKER.with(Flags::NO_PAYLOAD);
    let still = Packet::new(&mut Head::new(&still).boot(BOOT), None);
    controller.network.push(WORKER, back, still);
    let answers = controller.exchange(WORKER, back, register("w", 1, 2));
    assert_eq!(kinds(&answers), [Kind::Registered]);
    controller.exchange(WORKER, worker, output_of(&task, 1, b"nobody's now"));
    controller.exchange(WORKER, back, output_of(&task, 1, b"still here"));
    let told = controller.answers(CLIENT, client);
    assert_eq!(kinds(&told), [Kind::Notice]);
    assert_eq!(told[0].header().code, 1);
}

#[test]
fn parts_of_a_multicast_are_told_apart() {
    let mut controller = Controller::new();
    let workers = [("a", 1), ("b", 2)].map(|(name, instance)| controller.worker(name, instance).0);
    let client = controller.client(1);
    let mut all = submit_header(1, 9);
    all.code = 3;
    controller.exchange(CLIENT, client, packet(all, Some(b"in")));
    let parts = workers.map(|worker| (worker, controller.task(worker)));
    for (worker, task) in parts {
        controller.exchange(WORKER, worker, output_of(&task, 1, b"part"));
    }
    let told = controller.answers(CLIENT, client);
    let from = told
        .iter()
        .map(|packet| (packet.header().id, packet.header().worker));
    let expected = parts.map(|(_, task)| (9, task.worker));
    assert_eq!(from.collect::<Vec<_>>(), expected);
}
