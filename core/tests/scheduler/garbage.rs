//! Inputs that make no sense at all: any id in any call. Nothing panics, and the tables stay whole.

use proptest::prelude::*;
use taskyard_core::*;

use crate::world::World;

/// Small ids, so that they sometimes mean something.
fn handle() -> impl Strategy<Value = TaskHandle> {
    prop_oneof![
        4 => (0u32..6, 0u64..3).prop_map(|(i, g)| TaskHandle::new(i, g)),
        1 => any::<u64>().prop_map(TaskHandle::from_bits),
    ]
}

fn client() -> impl Strategy<Value = ClientId> {
    prop_oneof![
        4 => (0u32..3, 0u64..4).prop_map(|(i, r)| ClientId::new(i, r)),
        1 => any::<u64>().prop_map(ClientId::from_bits),
    ]
}

fn worker() -> impl Strategy<Value = WorkerId> {
    prop_oneof![4 => (0u32..4).prop_map(WorkerId), 1 => any::<u32>().prop_map(WorkerId)]
}

fn epoch() -> impl Strategy<Value = Epoch> {
    prop_oneof![4 => (0u32..5).prop_map(Epoch), 1 => any::<u32>().prop_map(Epoch)]
}

fn attempt() -> impl Strategy<Value = Attempt> {
    prop_oneof![4 => (0u8..3).prop_map(Attempt), 1 => any::<u8>().prop_map(Attempt)]
}

fn port() -> impl Strategy<Value = PortId> {
    prop_oneof![4 => (0u16..2).prop_map(PortId), 1 => any::<u16>().prop_map(PortId)]
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(Verdict::Completed),
        Just(Verdict::Failed),
        Just(Verdict::Aborted)
    ]
}

fn answer() -> impl Strategy<Value = Revoked> {
    prop_oneof![Just(Revoked::Won), Just(Revoked::Lost)]
}

fn report() -> impl Strategy<Value = Report> {
    (worker(), epoch(), handle(), attempt(), verdict()).prop_map(
        |(worker, epoch, handle, attempt, verdict)| Report {
            worker,
            epoch,
            handle,
            attempt,
            verdict,
        },
    )
}

fn submit() -> impl Strategy<Value = Submit> {
    let target = prop_oneof![
        Just(Target::Any),
        worker().prop_map(Target::Worker),
        (0u128..3).prop_map(|name| Target::Named(NameKey(name))),
        (0u64..4).prop_map(|label| Target::Label(LabelKey(label))),
        Just(Target::All),
    ];
    let deadlines = (0u32..4, 0u32..4, 0u32..9);
    let often = (0u8..4, 0u8..3);
    (0u64..8, target, often, deadlines, 0u8..9, any::<bool>()).prop_map(
        |(task, target, (attempts, retries), (start, finish, hold), priority, resent)| Submit {
            resent,
            ..Submit::new(TaskId(task), target)
                .attempts(attempts)
                .retries(retries)
                .priority(Priority::new(priority))
                .start_within_ms(start)
                .finish_within_ms(finish)
                .hold_ms(hold)
                .payload_bytes(start)
        },
    )
}

fn select() -> impl Strategy<Value = Select> {
    prop_oneof![
        Just(Select::All),
        client().prop_map(Select::Client),
        prop_oneof![0u64..20, any::<u64>()].prop_map(Select::OlderThanMs),
        (client(), 0u64..8).prop_map(|(client, task)| Select::Task {
            client,
            task: TaskId(task)
        }),
        submit().prop_map(|submit| Select::Topic(submit.target)),
    ]
}

#[derive(Clone, Copy, Debug)]
enum Op {
    ClientUp(PortId, u128, u32, bool),
    ClientDown(ClientId),
    Goodbye(ClientId),
    Submit(ClientId, Submit),
    Cancel(ClientId, TaskId),
    Ack(ClientId, u32),
    WorkerUp(PortId, u128, u64, u32, u16, u16, u64),
    Hold(WorkerId, bool),
    Drain(WorkerId),
    Paused(WorkerId, Epoch),
    Sweep(PortId, Select),
    Look(Select, ClientId, TaskId),
    WorkerDown(WorkerId, Epoch),
    Drained(WorkerId, Epoch),
    SlotFreed(WorkerId, Epoch),
    Claimed(TaskHandle, Attempt, WorkerId, Epoch),
    Returned(TaskHandle, Attempt, WorkerId, Epoch),
    Started(TaskHandle, Attempt, WorkerId, Epoch),
    GivenBack(TaskHandle, Attempt, WorkerId, Epoch),
    Discarded(Source),
    Reported(Report),
    HandedIn(Report, Option<Revoked>),
    Revoked(TaskHandle, u64, Revoked),
    Poll,
    Inject,
    Replies(PortId),
    Pass(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let source = prop_oneof![
        Just(Source::Pool),
        (worker(), epoch()).prop_map(|(worker, epoch)| Source::Mailbox { worker, epoch }),
    ];
    let clients = prop_oneof![
        3 => (port(), 0u128..3, 0u32..6, any::<bool>())
            .prop_map(|(p, key, session, keeps)| Op::ClientUp(p, key, session, keeps)),
        1 => client().prop_map(Op::ClientDown),
        1 => client().prop_map(Op::Goodbye),
        8 => (client(), submit()).prop_map(|(c, s)| Op::Submit(c, s)),
        2 => (client(), 0u64..8).prop_map(|(c, t)| Op::Cancel(c, TaskId(t))),
        2 => (client(), any::<u32>()).prop_map(|(c, seq)| Op::Ack(c, seq % 7)),
    ];
    let workers = prop_oneof![
        4 => (port(), 0u128..3, 0u64..2, 0u32..6, 0u16..3, any::<u16>(), 0u64..4)
            .prop_map(|(p, n, i, k, s, b, l)| Op::WorkerUp(p, n, i, k, s, b, l)),
        1 => (worker(), any::<bool>()).prop_map(|(w, held)| Op::Hold(w, held)),
        1 => worker().prop_map(Op::Drain),
        1 => (worker(), epoch()).prop_map(|(w, e)| Op::Paused(w, e)),
        1 => (port(), select()).prop_map(|(p, s)| Op::Sweep(p, s)),
        1 => (select(), client(), 0u64..8).prop_map(|(s, c, t)| Op::Look(s, c, TaskId(t))),
        1 => (worker(), epoch()).prop_map(|(w, e)| Op::WorkerDown(w, e)),
        2 => (worker(), epoch()).prop_map(|(w, e)| Op::Drained(w, e)),
        1 => (worker(), epoch()).prop_map(|(w, e)| Op::SlotFreed(w, e)),
    ];
    let tasks = prop_oneof![
        (handle(), attempt(), worker(), epoch()).prop_map(|(h, a, w, e)| Op::Claimed(h, a, w, e)),
        (handle(), attempt(), worker(), epoch()).prop_map(|(h, a, w, e)| Op::Returned(h, a, w, e)),
        (handle(), attempt(), worker(), epoch()).prop_map(|(h, a, w, e)| Op::Started(h, a, w, e)),
        (handle(), attempt(), worker(), epoch()).prop_map(|(h, a, w, e)| Op::GivenBack(h, a, w, e)),
        source.prop_map(Op::Discarded),
        report().prop_map(Op::Reported),
        (report(), proptest::option::of(answer())).prop_map(|(r, a)| Op::HandedIn(r, a)),
        (handle(), 0u64..8, answer()).prop_map(|(h, s, a)| Op::Revoked(h, s, a)),
    ];
    let outputs = prop_oneof![
        4 => Just(Op::Poll),
        2 => Just(Op::Inject),
        2 => port().prop_map(Op::Replies),
        1 => (0u64..20).prop_map(Op::Pass),
    ];
    prop_oneof![2 => clients, 2 => workers, 3 => tasks, 4 => outputs]
}

/// Effects are not executed here, so answers are as senseless as all the rest.
fn apply(world: &mut World, op: Op) {
    let now = world.now;
    let scheduler = &mut world.scheduler;
    match op {
        Op::ClientUp(port, key, session, keep_outcomes) => {
            let hello = ClientHello {
                key,
                session,
                keep_outcomes,
                token: Token(0),
            };
            let _ = scheduler.handle_client_up(now, port, hello);
        }
        Op::ClientDown(client) => scheduler.handle_client_down(now, client),
        Op::Goodbye(client) => scheduler.handle_goodbye(now, client),
        Op::Submit(client, submit) => {
            let _ = scheduler.handle_submit(now, client, submit);
        }
        Op::Cancel(client, task) => scheduler.handle_cancel(now, client, task),
        Op::Ack(client, seq) => scheduler.handle_ack(now, client, seq),
        Op::WorkerUp(port, name, instance, number, slots, busy, label) => {
            let token = Token(u64::from(number));
            let name = NameKey(name);
            let registration = Registration {
                name,
                instance,
                number,
                slots,
                busy,
                prefetch: busy,
                labels: Labels::new([LabelKey(label), LabelKey(1)]),
                token,
            };
            let _ = scheduler.handle_worker_up(now, port, registration);
        }
        Op::WorkerDown(worker, epoch) => {
            scheduler.handle_worker_down(now, worker, epoch, Loss::Closed);
        }
        Op::Drained(worker, epoch) => scheduler.handle_drained(now, worker, epoch),
        Op::SlotFreed(worker, epoch) => scheduler.handle_slot_freed(now, worker, epoch),
        Op::Claimed(handle, attempt, worker, epoch) => {
            scheduler.handle_claimed(now, handle, attempt, worker, epoch);
        }
        Op::Started(h, a, w, e) => scheduler.handle_started(now, h, a, w, e),
        Op::GivenBack(h, a, w, e) => scheduler.handle_given_back(now, h, a, w, e),
        Op::Returned(handle, attempt, worker, epoch) => {
            scheduler.handle_returned(now, handle, attempt, worker, epoch);
        }
        Op::Discarded(source) => scheduler.handle_discarded(now, source),
        Op::Reported(report) => {
            let _ = scheduler.handle_reported(now, report);
        }
        Op::HandedIn(report, answer) => {
            let _ = scheduler.handle_handed_in(now, 1, report, answer);
        }
        Op::Revoked(handle, stamp, answer) => {
            scheduler.handle_revoked(now, handle, Stamp(stamp), answer);
        }
        Op::Hold(..) | Op::Drain(_) | Op::Paused(..) | Op::Sweep(..) | Op::Look(..) => {
            control(world, op);
        }
        Op::Poll | Op::Inject | Op::Replies(_) | Op::Pass(_) => poll(world, op),
    }
}

fn control(world: &mut World, op: Op) {
    let now = world.now;
    let scheduler = &mut world.scheduler;
    match op {
        Op::Hold(worker, held) => drop(scheduler.handle_hold(now, worker, held)),
        Op::Drain(worker) => drop(scheduler.handle_drain(now, worker)),
        Op::Paused(worker, epoch) => scheduler.handle_paused(now, worker, epoch),
        Op::Sweep(port, select) => {
            let token = Token(0);
            let _ = scheduler.handle_sweep(now, port, Sweep { select, token });
        }
        Op::Look(select, client, task) => {
            let mut from = Some(Cursor::default());
            while let Some(cursor) = from {
                from = scheduler.list(now, select, cursor, 2, drop);
            }
            let _ = scheduler.explain(now, client, task);
            if let Select::Topic(target) = select {
                let _ = scheduler.depth(target, Priority::DEFAULT);
            }
        }
        _ => {}
    }
}

fn poll(world: &mut World, op: Op) {
    let now = world.now;
    let scheduler = &mut world.scheduler;
    match op {
        Op::Inject => {
            let _ = scheduler.poll_inject(now);
        }
        Op::Replies(port) => {
            if let Some(due) = scheduler.poll_due_port() {
                let _ = scheduler.poll_reply(now, due);
                scheduler.defer_port(due);
            }
            let _ = scheduler.poll_reply(now, port);
            scheduler.defer_port(port);
        }
        Op::Pass(ms) => {
            world.now = now.after_ms(ms);
            scheduler.handle_timeout(world.now);
        }
        _ => {
            let _ = scheduler.poll_effect(now);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn garbage_changes_nothing_but_counters(
        ops in proptest::collection::vec(op(), 0..200),
        grace in 0u64..3,
    ) {
        let mut world = World::new(Config {
            tasks: 6,
            clients: 2,
            workers: 4,
            labels: 2,
            ports: 2,
            slots_max: 3,
            prefetch_max: 2,
            mailbox: 2,
            pool: 2,
            quota: 5,
            payload_bytes: 9,
            keep_outcomes_ms: 30,
            abort_grace_ms: 5,
            rejoin_grace_ms: grace,
            stall_grace_ms: 2 * grace,
            restart_grace_ms: grace,
            queue_ahead: 1,
            work_per_poll: 2,
            ..Config::default()
        });
        for op in ops {
            apply(&mut world, op);
            world.scheduler.sanity_check();
        }
    }
}
