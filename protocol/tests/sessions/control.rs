//! Queue control: what a client may ask about itself, and what only an operator may.

use taskyard_core::{ClientId, Cursor, Explanation, Phase, TaskId, WorkerId};
use taskyard_protocol::{
    Answer, ControlOrder, OrderRefusal, Owner, TopicRef, Which, WorkerRef, read_answer,
};

use super::support::*;

const START: Cursor = Cursor::from_bits(0);

const fn list(which: Which<'_>) -> ControlOrder<'_> {
    ControlOrder::List { which, from: START }
}

fn order(order: ControlOrder<'_>, question: u64) -> Packet {
    Packet::new(&mut order.write(question).unwrap(), None)
}

/// The answers among these packets, each with the number of its question.
fn answers(packets: &[Packet]) -> Vec<(u64, Answer)> {
    let controlled = packets
        .iter()
        .filter(|packet| packet.header().kind == Kind::Controlled);
    controlled
        .map(|packet| {
            let header = packet.header();
            let bytes = match &packet.frames {
                Some(frames) => &frames[..],
                None => packet.message().body,
            };
            (header.id, read_answer(&header, bytes).unwrap())
        })
        .collect()
}

/// A controller with one waiting task of each of two clients, and an operator.
struct Yard {
    controller: Controller,
    one: PeerKey,
    other: PeerKey,
    operator: PeerKey,
    /// Their records.
    ids: [ClientId; 2],
}

impl Yard {
    fn new() -> Self {
        let mut controller = Controller::new();
        let [one, other, operator] = [1, 2, 3].map(|key| {
            let peer = controller.network.connect(CLIENT);
            let answers = controller.exchange(CLIENT, peer, hello(key, 1));
            (peer, ClientId::from_bits(answers[0].header().id))
        });
        for (task, (peer, _)) in [(10, one), (20, other)] {
            assert!(
                controller
                    .exchange(CLIENT, peer, submit(1, task))
                    .is_empty()
            );
        }
        controller.network.operators = vec![operator.0];
        Self {
            controller,
            one: one.0,
            other: other.0,
            operator: operator.0,
            ids: [one.1, other.1],
        }
    }

    fn ask(&mut self, peer: PeerKey, asked: ControlOrder<'_>) -> Answer {
        let packets = self.controller.exchange(CLIENT, peer, order(asked, 77));
        let answers = answers(&packets);
        let [(77, answer)] = &answers[..] else {
            panic!("one answer to {asked:?}, not {packets:?}");
        };
        answer.clone()
    }

    /// The tasks of a list, and whose they are.
    fn list(&mut self, peer: PeerKey, which: Which<'_>) -> Vec<(ClientId, TaskId)> {
        match self.ask(peer, list(which)) {
            Answer::Tasks(page) => {
                let rows = page.rows.iter();
                rows.map(|row| (row.client.unwrap(), row.task)).collect()
            }
            other => panic!("no list, but {other:?}"),
        }
    }

    fn forbidden(&self) -> u64 {
        self.controller.sessions.stats().forbidden
    }
}

/// Everything that reaches beyond one's own tasks, if `other` is somebody else.
fn beyond(other: ClientId, task: TaskId) -> Vec<ControlOrder<'static>> {
    let theirs = Owner::Client(other);
    let topics = [
        TopicRef::Any,
        TopicRef::All,
        TopicRef::Worker(WorkerRef::Id(WorkerId(0))),
        TopicRef::Worker(WorkerRef::Named("w")),
    ];
    let mut whiches = vec![
        Which::All,
        Which::Of(theirs),
        Which::Task(theirs, task),
        Which::OlderThanMs(0),
    ];
    whiches.extend(topics.map(Which::Topic));
    let mut all = vec![
        ControlOrder::Explain(theirs, task),
        ControlOrder::Cancel(theirs, task),
        ControlOrder::Workers { from: START },
    ];
    all.extend(whiches.iter().copied().map(list));
    all.extend(whiches.iter().copied().map(ControlOrder::Sweep));
    all.extend(topics.map(ControlOrder::Depth));
    for worker in [WorkerRef::Id(WorkerId(0)), WorkerRef::Named("w")] {
        all.extend([
            ControlOrder::Hold(worker),
            ControlOrder::Release(worker),
            ControlOrder::Drain(worker),
        ]);
    }
    all
}

#[test]
fn a_client_gets_nothing_of_others() {
    let mut yard = Yard::new();
    let (one, other) = (yard.one, yard.ids[1]);
    let orders = beyond(other, TaskId(20));
    for (index, asked) in orders.iter().enumerate() {
        let answer = yard.ask(one, *asked);
        assert_eq!(
            answer,
            Answer::Refused(OrderRefusal::Forbidden),
            "{asked:?}"
        );
        assert_eq!(yard.forbidden(), index as u64 + 1);
    }
    // Nothing has happened to anybody, and nothing was asked of the dispatcher at all.
    let (operator, ids) = (yard.operator, yard.ids);
    for (id, task) in [(ids[0], TaskId(10)), (ids[1], TaskId(20))] {
        let theirs = Which::Of(Owner::Client(id));
        assert_eq!(yard.list(operator, theirs), [(id, task)]);
    }
    // Both together are more than a payload of this test holds.
    let both = yard.ask(operator, list(Which::All));
    assert_eq!(both, Answer::Refused(OrderRefusal::TooLarge));
    let stats = yard.controller.dispatcher.stats();
    assert_eq!((stats.removed, stats.stale_worker), (0, 0));
    for peer in [yard.one, yard.other] {
        assert!(yard.controller.answers(CLIENT, peer).is_empty());
    }
}

/// The same orders from an operator are carried out: so what is forbidden above would have worked.
#[test]
fn an_operator_gets_all_of_it() {
    let other = Yard::new().ids[1];
    for asked in beyond(other, TaskId(20)) {
        let mut yard = Yard::new();
        let answer = yard.ask(yard.operator, asked);
        assert_ne!(
            answer,
            Answer::Refused(OrderRefusal::Forbidden),
            "{asked:?}"
        );
        assert_eq!(yard.forbidden(), 0);
    }
}

#[test]
fn a_client_sees_and_ends_its_own() {
    let mut yard = Yard::new();
    let (one, ids) = (yard.one, yard.ids);
    let mine = [(ids[0], TaskId(10))];
    for owner in [Owner::Me, Owner::Client(ids[0])] {
        assert_eq!(yard.list(one, Which::Of(owner)), mine);
        assert_eq!(yard.list(one, Which::Task(owner, TaskId(10))), mine);
        // The number of another's task is just a number that it does not have.
        assert_eq!(yard.list(one, Which::Task(owner, TaskId(20))), []);
        let Answer::Explained { explanation, .. } =
            yard.ask(one, ControlOrder::Explain(owner, TaskId(10)))
        else {
            panic!("its own task is explained");
        };
        assert_eq!(explanation, Explanation::InPool);
        for asked in [ControlOrder::Explain, ControlOrder::Cancel] {
            let answer = yard.ask(one, asked(owner, TaskId(20)));
            assert_eq!(answer, Answer::Refused(OrderRefusal::Unknown));
        }
    }
    let swept = order(ControlOrder::Sweep(Which::Of(Owner::Me)), 5);
    let packets = yard.controller.exchange(CLIENT, one, swept);
    let cancelled = Outcome::Cancelled { started: false };
    assert_eq!(outcomes(&packets), [(10, cancelled)]);
    assert_eq!(answers(&packets), [(5, Answer::Swept(1))]);
    assert!(yard.controller.answers(CLIENT, yard.other).is_empty());
    let (operator, theirs) = (yard.operator, Which::Of(Owner::Client(ids[1])));
    assert_eq!(yard.list(operator, theirs), [(ids[1], TaskId(20))]);
}

#[test]
fn an_operator_ends_tasks_of_others_and_they_hear_of_it() {
    let mut yard = Yard::new();
    let (operator, ids) = (yard.operator, yard.ids);
    let cancelled = Outcome::Cancelled { started: false };
    let cancel = ControlOrder::Cancel(Owner::Client(ids[1]), TaskId(20));
    assert_eq!(yard.ask(operator, cancel), Answer::Done);
    let packets = yard.controller.answers(CLIENT, yard.other);
    assert_eq!(outcomes(&packets), [(20, cancelled)]);
    // It is over: to cancel it again is an error that says so.
    let again = yard.ask(operator, cancel);
    assert_eq!(again, Answer::Refused(OrderRefusal::Unknown));
    let sweep = ControlOrder::Sweep(Which::All);
    assert_eq!(yard.ask(operator, sweep), Answer::Swept(1));
    let packets = yard.controller.answers(CLIENT, yard.one);
    assert_eq!(outcomes(&packets), [(10, cancelled)]);
}

#[test]
fn an_operator_holds_releases_and_drains() {
    let mut yard = Yard::new();
    let operator = yard.operator;
    let depth = |yard: &mut Yard| match yard.ask(operator, ControlOrder::Depth(TopicRef::Any)) {
        Answer::Depth { waiting, pooled } => waiting.iter().sum::<u32>() + pooled,
        other => panic!("no depth, but {other:?}"),
    };
    assert_eq!(depth(&mut yard), 2);
    for (peer, task) in [(yard.one, 10), (yard.other, 20)] {
        let mut header = Header::new(Kind::Cancel);
        (header.seq, header.id) = (2, task);
        yard.controller.exchange(CLIENT, peer, packet(header, None));
    }
    let (worker, registered) = yard.controller.worker("w", 1);
    let named = WorkerRef::Named("w");
    assert_eq!(yard.ask(operator, ControlOrder::Hold(named)), Answer::Done);
    yard.controller.exchange(CLIENT, yard.one, submit(3, 11));
    assert!(
        yard.controller.answers(WORKER, worker).is_empty(),
        "it is held"
    );
    let Answer::Workers(page) = yard.ask(operator, ControlOrder::Workers { from: START }) else {
        panic!("no list");
    };
    assert_eq!((page.rows.len(), page.next), (1, None));
    assert_eq!(page.rows[0].worker.0, registered.worker);
    assert_eq!(format!("{:?}", page.rows[0].phase), "Held");
    let by_id = WorkerRef::Id(page.rows[0].worker);
    assert_eq!(
        yard.ask(operator, ControlOrder::Release(by_id)),
        Answer::Done
    );
    let task = yard.controller.task(worker);
    assert_eq!(yard.ask(operator, ControlOrder::Drain(named)), Answer::Done);
    assert!(
        yard.controller.answers(WORKER, worker).is_empty(),
        "it finishes first"
    );
    let done = packet(result_of(&task, 1), Some(b"done"));
    let packets = yard.controller.exchange(WORKER, worker, done);
    assert!(kinds(&packets).contains(&Kind::Drain), "{packets:?}");
    let gone = yard.ask(operator, ControlOrder::Hold(WorkerRef::Named("nobody")));
    assert_eq!(gone, Answer::Refused(OrderRefusal::Unknown));
}

#[test]
fn an_order_that_is_none_is_rejected() {
    let mut yard = Yard::new();
    let (one, operator) = (yard.one, yard.operator);
    for peer in [one, operator] {
        let mut headless = Header::new(Kind::Control);
        headless.code = 1;
        let packets = yard
            .controller
            .exchange(CLIENT, peer, packet(headless, None));
        assert_eq!(rejection(&packets), Some(Rejection::Malformed));
        let mut unknown = order(list(Which::Of(Owner::Me)), 1);
        unknown.first[29] = 200;
        let packets = yard.controller.exchange(CLIENT, peer, unknown);
        assert_eq!(rejection(&packets), Some(Rejection::Malformed));
    }
    // Nobody without a session is told anything, not even an operator.
    let stranger = yard.controller.network.connect(CLIENT);
    yard.controller.network.operators.push(stranger);
    let asked = order(list(Which::All), 1);
    let packets = yard.controller.exchange(CLIENT, stranger, asked.clone());
    assert_eq!(kinds(&packets), [Kind::WhoAreYou]);
    let worker = yard.controller.network.connect(WORKER);
    let packets = yard.controller.exchange(WORKER, worker, asked);
    assert_eq!(rejection(&packets), Some(Rejection::Kind));
}

#[test]
fn a_client_cannot_pile_up_orders() {
    let mut yard = Yard::new();
    let one = yard.one;
    for question in 0..50 {
        let asked = order(list(Which::Of(Owner::Me)), question);
        yard.controller.network.push(CLIENT, one, asked);
    }
    // All are read before the dispatcher has a turn.
    for _ in 0..50 {
        yard.controller.read(CLIENT, one);
    }
    yard.controller.run();
    let packets = yard.controller.answers(CLIENT, one);
    let answers = answers(&packets);
    assert_eq!(answers.len(), 50);
    let busy = Answer::Refused(OrderRefusal::Busy);
    let busy = answers.iter().filter(|(_, answer)| *answer == busy).count();
    assert_eq!(busy, 46);
    assert_eq!(yard.controller.sessions.stats().orders_refused, 46);
    // Answered ones make room.
    assert_eq!(yard.list(one, Which::Of(Owner::Me)).len(), 1);
}

#[test]
fn whoever_has_gone_is_not_answered() {
    let mut yard = Yard::new();
    let operator = yard.operator;
    let asked = order(ControlOrder::Sweep(Which::All), 1);
    yard.controller.network.push(CLIENT, operator, asked);
    yard.controller.read(CLIENT, operator);
    yard.controller.disconnect(CLIENT, operator);
    let packets = yard.controller.answers(CLIENT, yard.other);
    let cancelled = Outcome::Cancelled { started: false };
    assert_eq!(outcomes(&packets), [(20, cancelled)]);
    assert_eq!(yard.controller.sessions.stats().unsent, 0);
}

#[test]
fn a_row_says_what_a_task_is_doing() {
    let mut yard = Yard::new();
    let one = yard.one;
    let worker = yard.controller.network.connect(WORKER);
    let packets = yard
        .controller
        .exchange(WORKER, worker, register("w", 1, 1));
    assert_eq!(kinds(&packets), [Kind::Registered, Kind::Task]);
    let registered = packets[0].header();
    let Answer::Tasks(page) = yard.ask(one, list(Which::Of(Owner::Me))) else {
        panic!("no list");
    };
    let row = page.rows[0];
    assert_eq!(row.phase, Phase::Running);
    assert_eq!(row.worker, Some(WorkerId(registered.worker)));
    assert_eq!((row.attempt.0, row.task), (1, TaskId(10)));
}
