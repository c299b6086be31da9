//! Remote clients and workers, spoken to in bytes.

mod common;

use std::collections::VecDeque;

use common::{Bytes, Packet};
use taskyard_core::{
    Attempt, Epoch, Outcome, Priority, Refusal, Submit, TaskId, Verdict, WorkerId,
};
use taskyard_core::{Stream, Target, TaskHandle};
use taskyard_protocol::remote::{
    Assignment, ClientEvent, ClientState, SubmitError, WorkerEvent, WorkerProfile, WorkerState,
};
use taskyard_protocol::wire::{Flags, Head, Header, Kind, SubmitOptions, WireError};
use taskyard_protocol::{Incoming, Rejection, STILL_RUNS, SendError, Wire, write_outcome};

const BOOT: u64 = 5;

/// A wire that takes so many messages before it is full.
#[derive(Debug)]
struct Narrow {
    room: usize,
    sent: VecDeque<Packet>,
}

impl Narrow {
    fn new() -> Self {
        Self {
            room: usize::MAX,
            sent: VecDeque::new(),
        }
    }

    fn headers(&mut self) -> Vec<Header> {
        self.sent.drain(..).map(|packet| packet.header()).collect()
    }

    fn kinds(&mut self) -> Vec<Kind> {
        self.headers().iter().map(|header| header.kind).collect()
    }
}

impl Wire<Bytes> for Narrow {
    fn send(&mut self, head: &mut Head, payload: Option<Bytes>) -> Result<(), SendError> {
        self.room = self.room.checked_sub(1).ok_or(SendError::Full)?;
        self.sent.push_back(Packet::new(head, payload));
        Ok(())
    }
}

fn bytes(text: &str) -> Bytes {
    Bytes::try_from(text.as_bytes()).unwrap()
}

struct Client {
    state: ClientState<Bytes>,
    wire: Narrow,
    /// The session that its outcomes are of.
    session: u32,
}

impl Client {
    fn new() -> Self {
        Self {
            state: ClientState::new(7),
            wire: Narrow::new(),
            session: 0,
        }
    }

    fn read(&mut self, head: Head) -> Option<ClientEvent<Bytes>> {
        let read = self
            .state
            .handle_message(head.as_slice(), Incoming::Alone, &mut self.wire);
        read.unwrap()
    }

    fn asked(&mut self) {
        assert_eq!(self.read(Head::new(&Header::new(Kind::WhoAreYou))), None);
    }

    fn welcomed(&mut self, session: u32, record: u64, resumed: bool) {
        let mut header = Header::new(Kind::Welcome);
        (header.ack, header.id, header.epoch) = (session, record, 100);
        self.session = session;
        if resumed {
            header.flags = Flags::RESUMED;
        }
        let event = self.read(Head::new(&header).boot(BOOT));
        assert!(
            matches!(event, Some(ClientEvent::Welcome { quota: 100, .. })),
            "{event:?}"
        );
    }

    fn submit(&mut self, task: u64) {
        let submit = Submit::new(TaskId(task), Target::Any);
        self.state
            .submit(submit, None, bytes("in"), &mut self.wire)
            .unwrap();
    }

    fn outcome(&mut self, seq: u32, task: u64) -> Option<ClientEvent<Bytes>> {
        let mut header = Header::new(Kind::Outcome);
        (header.seq, header.id, header.flags) = (seq, task, Flags::NO_PAYLOAD);
        write_outcome(&mut header, Outcome::WorkerLost, None, self.session);
        self.read(Head::new(&header))
    }
}

#[test]
fn tasks_wait_for_the_session_and_keep_their_order() {
    let mut client = Client::new();
    (1..=3).rev().for_each(|task| client.submit(task));
    client.asked();
    assert_eq!(client.wire.kinds(), [Kind::ClientHello]);
    client.welcomed(1, 0, false);
    let submits = client.wire.headers();
    let sent = submits
        .iter()
        .map(|header| (header.id, header.seq))
        .collect::<Vec<_>>();
    assert_eq!(sent, [(3, 1), (2, 2), (1, 3)]);
    assert!(
        submits
            .iter()
            .all(|header| !header.flags.has(Flags::RESENT))
    );
    assert_eq!(
        (client.state.outstanding(), client.state.quota()),
        (3, Some(100))
    );
}

#[test]
fn a_submit_says_what_is_asked_for_and_nothing_else() {
    let mut client = Client::new();
    client.asked();
    client.welcomed(1, 0, false);
    client.wire.headers();
    let mut sent = |submit: Submit| {
        let (state, wire) = (&mut client.state, &mut client.wire);
        state.submit(submit, None, bytes("in"), wire).unwrap();
        let packet = wire.sent.pop_front().expect("it is sent");
        (packet.message().options, packet.first.len())
    };
    let any = |task| Submit::new(TaskId(task), Target::Any);
    // What says nothing has no section.
    assert_eq!(sent(any(1)), (None, 34));
    let options = SubmitOptions {
        priority: Priority::MIN,
        retries: 255,
        hold_ms: 7,
    };
    let submit = any(2).priority(Priority::MIN).retries(255).hold_ms(7);
    assert_eq!(sent(submit), (Some(options), 42));
}

#[test]
fn the_same_record_is_told_again_another_is_told_that_it_is_again() {
    let mut client = Client::new();
    client.asked();
    client.welcomed(1, 0xa, false);
    client.submit(1);
    assert!(client.outcome(1, 77).is_none(), "nobody asked for that");
    client.wire.headers();

    client.asked();
    client.welcomed(2, 0xa, true);
    client.submit(2);
    let resent = |client: &mut Client| {
        let headers = client.wire.headers();
        let submits = headers.iter().filter(|header| header.kind == Kind::Submit);
        submits
            .map(|header| header.flags.has(Flags::RESENT))
            .collect::<Vec<_>>()
    };
    assert_eq!(resent(&mut client), [false, false]);

    client.asked();
    client.welcomed(3, 0xb, false);
    client.submit(3);
    assert_eq!(resent(&mut client), [true, true, false]);

    client.asked();
    client.welcomed(4, 0xb, true);
    assert_eq!(
        resent(&mut client),
        [true, true, false],
        "once elsewhere, always elsewhere"
    );
}

#[test]
fn a_welcome_to_an_earlier_hello_is_not_ours() {
    let mut client = Client::new();
    client.asked();
    client.asked();
    let mut early = Header::new(Kind::Welcome);
    early.ack = 1;
    assert_eq!(client.read(Head::new(&early)), None);
    assert_eq!(client.state.client(), None);
    client.welcomed(2, 0, true);
    assert!(client.state.client().is_some());
}

#[test]
fn a_full_wire_delays_and_loses_nothing() {
    let mut client = Client::new();
    client.wire.room = 0;
    client.asked();
    assert!(!client.state.pump(&mut client.wire));
    client.wire.room = 1;
    assert!(
        client.state.pump(&mut client.wire),
        "tasks do not count before the session"
    );
    client.wire.room = 1;
    client.submit(1);
    client.welcomed(1, 0, false);
    client.submit(2);
    assert!(client.state.cancel(TaskId(1), &mut client.wire));
    assert!(!client.state.pump(&mut client.wire));
    client.wire.room = usize::MAX;
    assert!(client.state.pump(&mut client.wire));
    let sent = client
        .wire
        .headers()
        .into_iter()
        .map(|header| (header.kind, header.seq));
    let expected = [
        (Kind::ClientHello, 1),
        (Kind::Submit, 1),
        (Kind::Submit, 2),
        (Kind::Cancel, 3),
    ];
    assert_eq!(sent.collect::<Vec<_>>(), expected);
}

#[test]
fn a_cancel_is_said_again_too() {
    let mut client = Client::new();
    client.asked();
    client.welcomed(1, 0, false);
    client.submit(1);
    assert!(client.state.cancel(TaskId(1), &mut client.wire));
    assert!(client.state.cancel(TaskId(1), &mut client.wire));
    assert!(!client.state.cancel(TaskId(2), &mut client.wire));
    assert_eq!(
        client.wire.kinds(),
        [Kind::ClientHello, Kind::Submit, Kind::Cancel]
    );
    client.asked();
    client.welcomed(2, 0, true);
    assert_eq!(
        client.wire.kinds(),
        [Kind::ClientHello, Kind::Submit, Kind::Cancel]
    );
    assert!(client.outcome(1, 1).is_some());
    assert!(!client.state.cancel(TaskId(1), &mut client.wire));
}

#[test]
fn outcomes_are_acknowledged_on_the_next_submit_or_after_64() {
    let mut client = Client::new();
    client.asked();
    client.welcomed(1, 0, false);
    (1..=70).for_each(|task| client.submit(task));
    client.wire.headers();
    assert!(client.outcome(1, 1).is_some());
    assert!(client.outcome(2, 1).is_none(), "it had one");
    let repeats = client.state.repeats();
    assert_eq!((repeats.count, repeats.last), (1, Some(TaskId(1))));
    client.submit(100);
    assert_eq!(client.wire.headers()[0].ack, 2);
    for seq in 3..66 {
        client.outcome(seq, u64::from(seq));
        assert!(client.wire.sent.is_empty());
    }
    client.outcome(66, 66);
    let acks = client.wire.headers();
    assert_eq!((acks[0].kind, acks[0].ack), (Kind::Ack, 66));
    client.state.acknowledge(&mut client.wire);
    assert!(client.wire.sent.is_empty(), "it knows");
    client.outcome(67, 67);
    client.state.acknowledge(&mut client.wire);
    assert_eq!(client.wire.headers()[0].ack, 67);
}

#[test]
fn what_is_left_of_an_earlier_session_does_not_count_in_this_one() {
    let mut client = Client::new();
    client.asked();
    client.welcomed(1, 0, false);
    (1..=3).for_each(|task| client.submit(task));
    client.asked();
    client.welcomed(2, 0, true);
    client.wire.headers();

    client.session = 1;
    assert!(
        client.outcome(9, 1).is_some(),
        "it is an outcome all the same"
    );
    let mut refusal = Header::new(Kind::Outcome);
    (refusal.id, refusal.flags) = (2, Flags::NO_PAYLOAD);
    write_outcome(&mut refusal, Outcome::Refused(Refusal::QuotaFull), None, 1);
    assert_eq!(
        client.read(Head::new(&refusal)),
        None,
        "the second submit is still open"
    );
    client.state.acknowledge(&mut client.wire);
    assert!(client.wire.sent.is_empty());

    client.session = 2;
    assert!(client.outcome(1, 3).is_some());
    client.submit(4);
    assert_eq!(client.wire.headers()[0].ack, 1);
    assert_eq!(client.state.outstanding(), 2);
}

#[test]
fn parts_are_told_apart_by_their_epochs() {
    let mut client = Client::new();
    client.asked();
    client.welcomed(1, 0, false);
    let submit = Submit::new(TaskId(1), Target::All);
    client
        .state
        .submit(submit, None, bytes("in"), &mut client.wire)
        .unwrap();
    let mut part = |seq, epoch| {
        let mut header = Header::new(Kind::Outcome);
        (header.seq, header.id, header.flags) = (seq, 1, Flags::PART.with(Flags::NO_PAYLOAD));
        write_outcome(
            &mut header,
            Outcome::Completed,
            Some((WorkerId(0), Epoch(epoch))),
            1,
        );
        client.read(Head::new(&header)).is_some()
    };
    assert_eq!([part(1, 1), part(2, 2), part(3, 1)], [true, true, false]);
    assert_eq!(client.state.outstanding(), 1);
}

#[test]
fn mistakes_of_the_program_are_told_to_it() {
    let mut client = Client::new();
    let submit = Submit::new(TaskId(1), Target::Any);
    let (longest, too_long) = ("x".repeat(255), "x".repeat(256));
    let mut try_submit = |submit, name| {
        client
            .state
            .submit(submit, name, bytes(""), &mut client.wire)
    };
    assert_eq!(try_submit(submit, Some("")), Err(SubmitError::Name));
    assert_eq!(
        try_submit(submit, Some(too_long.as_str())),
        Err(SubmitError::Name)
    );
    assert_eq!(try_submit(submit, Some(longest.as_str())), Ok(()));
    assert_eq!(try_submit(submit, None), Err(SubmitError::Duplicate));
    client.state.goodbye(&mut client.wire);
    assert_eq!(client.state.outstanding(), 0);
    let after = client
        .state
        .submit(submit, None, bytes(""), &mut client.wire);
    assert_eq!(after, Err(SubmitError::Left));
}

#[test]
fn a_payload_that_would_break_the_connection_stays_here() {
    let mut client = Client::new();
    client.asked();
    let mut welcome = Header::new(Kind::Welcome);
    (welcome.ack, welcome.seq) = (1, 2);
    client.read(Head::new(&welcome).boot(BOOT));
    client.submit(1);
    let submit = Submit::new(TaskId(2), Target::Any);
    let state = &mut client.state;
    state
        .submit(submit, None, bytes("in!"), &mut client.wire)
        .unwrap();
    let sent = client.wire.sent.split_off(1);
    let frames = sent
        .iter()
        .map(|packet| (packet.header().frames, packet.message().body));
    let expected = [(0, &b"in"[..]), (1, b"")];
    assert_eq!(frames.collect::<Vec<_>>(), expected);

    let mut worker = Worker::new();
    worker.asked();
    let mut registered = Header::new(Kind::Registered);
    (registered.id, registered.seq) = (1, 2);
    worker.read(Head::new(&registered).boot(BOOT));
    worker.wire.sent.clear();
    for (id, result) in [(1, "ok"), (2, "ok!")] {
        let task = Header {
            id,
            ..Header::new(Kind::Task)
        };
        let Some(WorkerEvent::Task(assignment, _)) = worker.read(Head::new(&task)) else {
            panic!("no task");
        };
        let wire = &mut worker.wire;
        let result = Some(bytes(result));
        assert!(
            worker
                .state
                .report(&assignment, Verdict::Completed, result, wire)
        );
    }
    let sent = worker.wire.headers();
    let none = Flags::HAS_WORKER.with(Flags::NO_PAYLOAD);
    assert_eq!((sent[0].code, sent[0].flags), (0, Flags::HAS_WORKER));
    assert_eq!((sent[1].code, sent[1].flags), (1, none));
}

#[test]
fn what_a_controller_cannot_mean_changes_nothing() {
    let mut client = Client::new();
    client.asked();
    client.welcomed(1, 0, false);
    client.submit(1);
    let mut unknown = Header::new(Kind::Outcome);
    (unknown.seq, unknown.id, unknown.code) = (1, 1, 99);
    let frame = unknown.encode();
    let read = client
        .state
        .handle_message(&frame, Incoming::Alone, &mut client.wire);
    assert_eq!(read, Err(WireError::Code(99)));
    let read = client
        .state
        .handle_message(&frame[..9], Incoming::Alone, &mut client.wire);
    assert_eq!(read, Err(WireError::Truncated));
    assert_eq!(client.state.outstanding(), 1);
}

#[test]
fn a_kind_of_a_later_version_is_no_mistake() {
    let mut later = Header::new(Kind::Ping).encode();
    later[1] = 0x7e;
    let mut client = Client::new();
    let read = client
        .state
        .handle_message(&later, Incoming::Alone, &mut client.wire);
    assert_eq!(read, Ok(None));
    let mut worker = Worker::new();
    let read = worker
        .state
        .handle_message(&later, Incoming::Alone, &mut worker.wire);
    assert_eq!(read, Ok(None));
}

#[test]
fn a_refused_hello_is_told() {
    let mut client = Client::new();
    client.asked();
    let mut header = Header::new(Kind::Rejected);
    (header.code, header.id) = (Rejection::ClientsFull.to_code(), 1);
    let event = client.read(Head::new(&header));
    assert_eq!(event, Some(ClientEvent::Rejected(Rejection::ClientsFull)));
    assert!(client.state.pump(&mut client.wire));
    client.wire.headers();
    client.state.hello(&mut client.wire);
    assert_eq!(client.wire.headers()[0].seq, 2);
}

struct Worker {
    state: WorkerState<Bytes>,
    wire: Narrow,
}

impl Worker {
    fn new() -> Self {
        let profile = WorkerProfile {
            name: "w".into(),
            instance: 0xabcd_0000_0009,
            slots: 4,
            labels: Vec::new(),
            prefetch: 0,
        };
        Self {
            state: WorkerState::new(profile),
            wire: Narrow::new(),
        }
    }

    fn read(&mut self, head: Head) -> Option<WorkerEvent<Bytes>> {
        let read = self
            .state
            .handle_message(head.as_slice(), Incoming::Alone, &mut self.wire);
        read.unwrap()
    }

    fn asked(&mut self) {
        assert_eq!(self.read(Head::new(&Header::new(Kind::WhoAreYou))), None);
    }

    fn registered(&mut self, number: u32, hand_ins: u32) {
        let mut header = Header::new(Kind::Registered);
        (header.id, header.ack) = (number.into(), hand_ins);
        (header.worker, header.epoch) = (number, number * 10);
        let event = self.read(Head::new(&header).boot(BOOT));
        let (worker, epoch) = (WorkerId(number), Epoch(number * 10));
        assert_eq!(event, Some(WorkerEvent::Registered { worker, epoch }));
        assert_eq!(self.state.registered(), Some((worker, epoch)));
    }

    /// A message about an attempt of the n-th registration.
    fn about(
        &mut self,
        kind: Kind,
        number: u32,
        task: u64,
        ack: u32,
    ) -> Option<WorkerEvent<Bytes>> {
        let mut header = Header::new(kind);
        (header.worker, header.epoch) = (number, number * 10);
        (header.id, header.attempt, header.ack) = (task, 1, ack);
        self.read(Head::new(&header))
    }

    fn task(&mut self, number: u32, task: u64, ack: u32) -> Assignment {
        match self.about(Kind::Task, number, task, ack) {
            Some(WorkerEvent::Task(assignment, _)) => assignment,
            other => panic!("{other:?} is no task"),
        }
    }

    fn report(&mut self, assignment: Assignment) {
        let wire = &mut self.wire;
        assert!(
            self.state
                .report(&assignment, Verdict::Completed, Some(bytes("ok")), wire)
        );
    }
}

#[test]
fn a_result_is_kept_until_it_is_acknowledged() {
    let mut worker = Worker::new();
    worker.asked();
    worker.registered(1, 0);
    let first = worker.task(1, 1, 0);
    assert_eq!(
        first,
        Assignment {
            handle: TaskHandle::from_bits(1),
            attempt: Attempt(1),
            worker: WorkerId(1),
            epoch: Epoch(10),
            boot: BOOT,
            origin: None,
        }
    );
    let second = worker.task(1, 2, 0);
    worker.report(second);
    worker.report(first);
    assert!(
        !worker
            .state
            .report(&first, Verdict::Failed, None, &mut worker.wire),
        "reported"
    );
    let results = worker.wire.headers().split_off(1);
    let sent = results
        .iter()
        .map(|header| (header.kind, header.seq, header.id));
    assert_eq!(
        sent.collect::<Vec<_>>(),
        [(Kind::Result, 1, 2), (Kind::Result, 2, 1)]
    );
    worker.task(1, 3, 1);
    assert_eq!(worker.state.unacknowledged(), 1);
    worker.about(Kind::Ack, 1, 0, 2);
    assert_eq!(
        (worker.state.unacknowledged(), worker.state.running().len()),
        (0, 1)
    );
}

#[test]
fn a_registration_hands_in_what_is_finished_and_counts_what_runs() {
    let mut worker = Worker::new();
    worker.asked();
    worker.registered(1, 0);
    let tasks = [1, 2, 3].map(|task| worker.task(1, task, 0));
    worker.report(tasks[0]);
    worker.wire.headers();

    worker.asked();
    let packets = std::mem::take(&mut worker.wire.sent);
    // Then what it still runs, each by itself.
    for (packet, task) in packets.iter().skip(1).zip([3, 2]) {
        let message = packet.message();
        let header = &message.header;
        assert_eq!((header.kind, header.code), (Kind::HandIn, STILL_RUNS));
        assert_eq!((header.id, header.seq, message.boot), (task, 9, Some(BOOT)));
    }
    let (hand_in, register) = (packets[0].message(), packets[3].message());
    assert_eq!(
        (hand_in.header.kind, hand_in.boot),
        (Kind::HandIn, Some(BOOT))
    );
    assert_eq!((hand_in.header.seq, hand_in.header.epoch), (9, 10));
    assert_eq!(
        (register.header.kind, register.header.seq),
        (Kind::Register, 2)
    );
    assert_eq!((register.header.epoch, register.name), (2, Some("w")));
    assert!(
        register.header.flags.has(Flags::NO_REDIRECT),
        "it was admitted here"
    );

    // Counted as running in the registration, so it waits for the answer.
    worker.report(tasks[1]);
    assert!(worker.wire.sent.is_empty());
    worker.registered(2, 1);
    let late = std::mem::take(&mut worker.wire.sent);
    let late = late[0].message();
    assert_eq!(
        (late.header.kind, late.header.seq, late.boot),
        (Kind::Result, 1, Some(BOOT))
    );
    assert_eq!((late.header.worker, late.header.epoch), (1, 10));
    assert_eq!(worker.state.unacknowledged(), 1);
}

#[test]
fn a_task_of_another_registration_is_not_run() {
    let mut worker = Worker::new();
    worker.asked();
    worker.registered(1, 0);
    assert_eq!(worker.about(Kind::Task, 2, 1, 0), None);
    let task = worker.task(1, 1, 0);
    assert_eq!(worker.about(Kind::Task, 1, 1, 0), None, "it has that one");
    worker.asked();
    assert_eq!(worker.about(Kind::Task, 1, 2, 0), None, "it was not listed");
    assert_eq!(worker.state.running(), [task]);
}

#[test]
fn a_full_wire_delays_hand_ins_and_results() {
    let mut worker = Worker::new();
    worker.asked();
    worker.registered(1, 0);
    let tasks = [1, 2].map(|task| worker.task(1, task, 0));
    worker.wire.room = 1;
    tasks.into_iter().for_each(|task| worker.report(task));
    assert_eq!(worker.wire.kinds(), [Kind::Register, Kind::Result]);
    worker.wire.room = 2;
    worker.asked();
    assert!(!worker.state.pump(&mut worker.wire));
    worker.wire.room = usize::MAX;
    assert!(worker.state.pump(&mut worker.wire));
    let hand_in = Kind::HandIn;
    assert_eq!(
        worker.wire.kinds(),
        [hand_in, hand_in, hand_in, hand_in, Kind::Register]
    );
    worker.registered(2, 4);
    assert_eq!(worker.state.unacknowledged(), 0);
}

#[test]
fn hand_ins_that_were_not_taken_are_sent_as_results() {
    let mut worker = Worker::new();
    worker.asked();
    worker.registered(1, 0);
    let tasks = [1, 2].map(|task| worker.task(1, task, 0));
    tasks.into_iter().for_each(|task| worker.report(task));
    worker.asked();
    worker.wire.headers();
    worker.registered(2, 1);
    let again = worker.wire.headers();
    assert_eq!(
        (again.len(), again[0].kind, again[0].id),
        (1, Kind::Result, 2)
    );
}

#[test]
fn redirects_evictions_and_aborts() {
    let mut worker = Worker::new();
    worker.asked();
    let mut redirect = Header::new(Kind::Redirect);
    redirect.id = 1;
    let event = worker.read(Head::new(&redirect).body(b"tcp://elsewhere:1"));
    assert_eq!(
        event,
        Some(WorkerEvent::Redirect("tcp://elsewhere:1".into()))
    );
    assert!(!worker.wire.headers()[0].flags.has(Flags::NO_REDIRECT));
    worker.asked();
    assert!(worker.wire.headers()[0].flags.has(Flags::NO_REDIRECT));
    worker.registered(2, 0);

    let task = worker.task(2, 1, 0);
    assert_eq!(
        worker.about(Kind::Abort, 2, 1, 0),
        Some(WorkerEvent::Abort(task))
    );
    assert_eq!(
        worker.about(Kind::Evict, 1, 0, 0),
        None,
        "another incarnation"
    );
    assert_eq!(
        worker.about(Kind::Evict, 2, 0, 0),
        Some(WorkerEvent::Evicted)
    );
    assert_eq!(worker.state.registered(), None);
    worker.state.register(&mut worker.wire);
    let headers = worker.wire.headers();
    assert_eq!(
        (headers[0].kind, headers[0].code),
        (Kind::HandIn, STILL_RUNS)
    );
    assert_eq!((headers[1].seq, headers[1].epoch), (3, 1));
    assert_eq!(worker.about(Kind::Drain, 0, 0, 0), Some(WorkerEvent::Drain));
    worker.state.leave(&mut worker.wire);
    worker.asked();
    assert_eq!(worker.wire.kinds(), [Kind::Leave]);
}

#[test]
fn tasks_in_advance_wait_for_a_slot_and_are_given_back() {
    let mut worker = Worker::new();
    worker.asked();
    worker.registered(1, 0);
    let mut ahead = Header::new(Kind::Task);
    (ahead.worker, ahead.epoch, ahead.attempt) = (1, 10, 1);
    ahead.flags = Flags::AHEAD;
    let running = [1, 2, 3, 4].map(|task| worker.task(1, task, 0));
    for id in [5, 6, 7] {
        ahead.id = id;
        assert_eq!(worker.read(Head::new(&ahead)), None, "all slots are taken");
    }
    assert_eq!(worker.state.waiting(), 3);
    worker.wire.headers();
    for task in [6, 1, 9] {
        assert_eq!(worker.about(Kind::Revoke, 1, task, 0), None);
    }
    let said = worker.wire.headers();
    let said: Vec<_> = said.iter().map(|header| (header.kind, header.id)).collect();
    assert_eq!(
        said,
        [(Kind::Revoked, 6)],
        "the others have started, or are not here"
    );
    assert!(worker.state.poll_waiting(&mut worker.wire).is_none());
    worker
        .state
        .report(&running[0], Verdict::Completed, None, &mut worker.wire);
    let Some((next, _)) = worker.state.poll_waiting(&mut worker.wire) else {
        panic!("a slot is free");
    };
    assert_eq!(next.handle.to_bits(), 5);
    let said = worker.wire.headers();
    let said: Vec<_> = said.iter().map(|header| (header.kind, header.id)).collect();
    assert_eq!(said, [(Kind::Result, 1), (Kind::Started, 5)]);
    // What has not started is forgotten with the registration.
    worker.asked();
    assert_eq!(worker.state.waiting(), 0);
}

#[test]
fn a_worker_passes_on_what_is_read_and_says_what_is_missing() {
    let mut worker = Worker::new();
    worker.asked();
    worker.registered(1, 0);
    let (loud, quiet) = (worker.task(1, 1, 0), worker.task(1, 2, 0));
    worker.wire.headers();
    let print = |worker: &mut Worker, task: &Assignment, text: &str| {
        let wire = &mut worker.wire;
        worker.state.output(task, Stream::Stderr, bytes(text), wire)
    };
    let mut sent = 0;
    while print(&mut worker, &loud, "line") {
        sent += 1;
    }
    assert!(!print(&mut worker, &loud, "more"));
    let headers = worker.wire.headers();
    let (asked, lines): (Vec<_>, Vec<_>) = headers
        .into_iter()
        .partition(|header| header.kind == Kind::Ping);
    assert_eq!((lines.len(), asked.len()), (sent, 1));
    assert!(
        lines
            .iter()
            .all(|line| (line.kind, line.code, line.ack) == (Kind::Output, 2, 0))
    );
    let mut answer = Header::new(Kind::Pong);
    answer.id = asked[0].id;
    worker.read(Head::new(&answer));
    assert!(print(&mut worker, &loud, "again") && print(&mut worker, &quiet, "first"));
    let headers = worker.wire.headers();
    let told = headers.iter().filter(|header| header.kind == Kind::Output);
    let told = told.map(|header| (header.id, header.ack));
    assert_eq!(told.collect::<Vec<_>>(), [(1, 8), (2, 0)]);
    // At the latest before the result.
    worker.wire.room = 0;
    assert!(!print(&mut worker, &loud, "lost"));
    worker.wire.room = usize::MAX;
    worker.report(quiet);
    worker.report(loud);
    assert!(!print(&mut worker, &loud, "late"));
    let told = worker.wire.headers().into_iter();
    let told = told.map(|header| (header.kind, header.id, header.ack));
    let expected = [
        (Kind::Result, 2, 0),
        (Kind::Output, 1, 12),
        (Kind::Result, 1, 0),
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

#[test]
fn a_worker_prints_nothing_to_another_boot_and_begins_anew_with_each_registration() {
    let mut worker = Worker::new();
    worker.asked();
    worker.registered(1, 0);
    let task = worker.task(1, 1, 0);
    let wire = &mut worker.wire;
    while worker.state.output(&task, Stream::Stdout, bytes("x"), wire) {}
    worker.asked();
    worker.registered(2, 0);
    let wire = &mut worker.wire;
    assert!(worker.state.output(&task, Stream::Stdout, bytes("y"), wire));
    let last = worker.wire.headers().pop().expect("it was sent");
    assert_eq!(
        (last.kind, last.worker, last.epoch, last.ack),
        (Kind::Output, 1, 10, 1)
    );
    worker.asked();
    let mut registered = Header::new(Kind::Registered);
    registered.id = 3;
    worker.read(Head::new(&registered).boot(BOOT + 1));
    let wire = &mut worker.wire;
    assert!(!worker.state.output(&task, Stream::Stdout, bytes("z"), wire));
    worker.wire.headers();
    worker.report(task);
    assert!(!worker.wire.kinds().contains(&Kind::Output));
}

#[test]
fn a_client_hears_what_its_open_tasks_print() {
    let mut client = Client::new();
    client.asked();
    client.welcomed(1, 0, false);
    client.submit(1);
    let mut notice = Header::new(Kind::Notice);
    (notice.id, notice.attempt, notice.code) = (1, 2, 2);
    (notice.worker, notice.epoch, notice.flags) = (3, 4, Flags::HAS_WORKER);
    (notice.ack, notice.extra) = (500, 6);
    let expected = ClientEvent::Output {
        task: TaskId(1),
        attempt: 2,
        worker: (WorkerId(3), Epoch(4)),
        stream: Stream::Stderr,
        dropped_bytes: 500,
        dropped_notices: 6,
        payload: bytes("text"),
    };
    assert_eq!(
        client.read(Head::new(&notice).body(b"text")),
        Some(expected)
    );
    notice.code = 3;
    assert_eq!(client.read(Head::new(&notice)), None, "of a later version");
    notice.code = 1;
    assert!(client.outcome(1, 1).is_some());
    assert_eq!(client.read(Head::new(&notice)), None, "behind the outcome");
}
