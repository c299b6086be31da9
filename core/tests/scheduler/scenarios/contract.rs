//! Priorities, fairness, retries, labels, offers, returns: who gets what, and when.

use taskyard_core::{
    ClientId, Config, Effect, Explanation, LabelKey, Labels, NameKey, Outcome, PortId, Priority,
    Refusal, Registered, Registration, RegistrationRefusal, Reply, Reported, Submit, Submitted,
    Target, TaskId, Verdict, WorkerId,
};

use crate::env::{Env, Worker, registration};

const GPU: LabelKey = LabelKey(7);
const FAST: LabelKey = LabelKey(8);

fn any(task: u64) -> Submit {
    Submit::new(TaskId(task), Target::Any)
}

fn gpu(task: u64) -> Submit {
    Submit::new(TaskId(task), Target::Label(GPU))
}

fn to(task: u64, worker: Worker) -> Submit {
    Submit::new(TaskId(task), Target::Worker(worker.id))
}

fn level(level: u8) -> Priority {
    Priority::new(level)
}

fn with_labels(name: u128, slots: u16, labels: &[LabelKey]) -> Registration {
    Registration {
        slots,
        labels: Labels::new(labels.iter().copied()),
        ..registration(name)
    }
}

fn roomy() -> Env {
    Env::with(Config {
        tasks: 64,
        quota: 64,
        queue_ahead: 0,
        ..Config::default()
    })
}

/// Completes what the worker takes, one after the other; the clients' numbers.
fn drain(env: &mut Env, worker: Worker) -> Vec<(ClientId, u64)> {
    let mut order = Vec::new();
    while let Some(job) = env.next(worker) {
        env.complete(job);
        let reply = env.outcome_reply();
        order.push((reply.client, reply.task.0));
    }
    order
}

fn explain(env: &Env, client: ClientId, task: u64) -> Option<Explanation> {
    let scheduler = &env.world.scheduler;
    scheduler.explain(env.world.now, client, TaskId(task))
}

fn is_retire(reply: Reply) -> bool {
    matches!(reply, Reply::Retire { .. })
}

#[test]
fn the_more_urgent_goes_first_and_equals_in_order() {
    let mut env = roomy();
    let client = env.client();
    let worker = env.worker(1);
    env.submit(client, to(0, worker));
    for (task, urgency) in [(1, 0), (2, 7), (3, 3), (4, 7), (5, 0)] {
        env.submit(client, to(task, worker).priority(level(urgency)));
    }
    let depth = |urgency| {
        let topic = Target::Worker(worker.id);
        env.world.scheduler.depth(topic, level(urgency))
    };
    assert_eq!([depth(0), depth(3), depth(7)], [2, 1, 2]);
    let order: Vec<_> = drain(&mut env, worker).iter().map(|(_, t)| *t).collect();
    assert_eq!(order, [0, 2, 4, 3, 1, 5]);
    env.finish();
}

#[test]
fn clients_take_turns_whoever_has_more() {
    let mut env = roomy();
    let (many, few) = (env.hello(1, 1, false), env.hello(2, 1, false));
    for task in 0..20 {
        env.submit(many, any(task));
    }
    for task in 0..3 {
        env.submit(few, any(task));
    }
    let worker = env.worker(1);
    let order = drain(&mut env, worker);
    let place = order.iter().rposition(|(client, _)| *client == few);
    // Two were in the pool already, then they take turns.
    assert!(place.expect("they ran") <= 2 + 2 * 3, "{order:?}");
    let of = |client| {
        order
            .iter()
            .filter(move |(c, _)| *c == client)
            .map(|(_, t)| *t)
    };
    assert!(of(many).eq(0..20) && of(few).eq(0..3), "in order each");
    env.finish();
}

#[test]
fn a_label_goes_to_the_least_busy_that_has_it() {
    let mut env = roomy();
    let client = env.client();
    let plain = env.worker(1);
    let large = env.worker_with(with_labels(2, 4, &[GPU]));
    let small = env.worker_with(with_labels(3, 2, &[FAST, GPU]));
    let mut jobs = Vec::new();
    for task in 0..6 {
        env.submit(client, gpu(task));
        let takers = [large, small];
        jobs.extend(takers.into_iter().filter_map(|w| env.take(w)));
    }
    let order: Vec<_> = jobs.iter().map(|job| job.worker).collect();
    let (l, s) = (large.id, small.id);
    // Idle ones first, the longest idle of them; then the one with less work per slot.
    assert_eq!(order, [l, s, l, s, l, l]);
    assert_eq!(env.next(plain), None);
    for job in jobs {
        env.complete(job);
        assert_eq!(env.outcome_reply().outcome, Outcome::Completed);
    }
    env.finish();
}

#[test]
fn a_label_that_nobody_has_waits_and_says_so() {
    let mut env = roomy();
    let client = env.client();
    env.worker(1);
    env.submit(client, gpu(1).start_within_ms(10));
    env.submit(client, gpu(2));
    let lonely = Some(Explanation::NoWorkerWithLabel(GPU));
    assert_eq!(explain(&env, client, 1), lonely);
    env.pass(20);
    assert!(matches!(env.outcome(1), Outcome::TimedOut(_)));
    let worker = env.worker_with(with_labels(2, 1, &[GPU]));
    env.run();
    let job = env.take(worker).expect("it waited for this");
    env.complete(job);
    assert_eq!(env.outcome(2), Outcome::Completed);
    env.finish();
}

#[test]
fn labels_are_limited() {
    let mut env = Env::with(Config {
        tasks: 8,
        labels: 1,
        ..Config::default()
    });
    let client = env.client();
    env.submit(client, gpu(1));
    let fast = Submit::new(TaskId(2), Target::Label(FAST));
    let refused = Submitted::Refused(Refusal::LabelsFull);
    assert_eq!(env.try_submit(client, fast), refused);
    let refused = Registered::Refused(RegistrationRefusal::LabelsFull);
    assert_eq!(env.register(with_labels(1, 1, &[GPU, FAST])), refused);
    env.cancel(client, 1);
    assert_eq!(env.outcome(1), Outcome::Cancelled { started: false });
    assert!(matches!(
        env.try_submit(client, fast),
        Submitted::Accepted(_)
    ));
    env.cancel(client, 2);
    assert_eq!(env.outcome(2), Outcome::Cancelled { started: false });
    env.finish();
}

#[test]
fn payload_bytes_are_limited() {
    let mut env = Env::with(Config {
        tasks: 8,
        quota: 8,
        payload_bytes: 100,
        quota_bytes: 1_000,
        ..Config::default()
    });
    let client = env.client();
    env.submit(client, any(1).payload_bytes(60));
    let refused = Submitted::Refused(Refusal::BytesFull);
    let large = any(2).payload_bytes(41);
    assert_eq!(env.try_submit(client, large), refused);
    env.submit(client, any(3).payload_bytes(40));
    env.cancel(client, 1);
    assert_eq!(env.outcome(1), Outcome::Cancelled { started: false });
    env.submit(client, large);
    for task in [3, 2] {
        env.cancel(client, task);
        assert_eq!(env.outcome(task), Outcome::Cancelled { started: false });
    }
    env.finish();
}

#[test]
fn an_offer_that_is_held_up_goes_to_the_hungry() {
    let mut env = roomy();
    let client = env.client();
    let first = env.worker_with(with_labels(1, 1, &[GPU]));
    env.submit(client, any(1));
    env.submit(client, gpu(2));
    // It takes from the pool before it hears of the offer.
    let long = env.steal(first).expect("the pool has it");
    let second = env.worker_with(with_labels(2, 1, &[GPU]));
    env.run();
    assert_eq!(env.world.scheduler.stats().reoffered, 1);
    let job = env.take(second).expect("it was hungry");
    env.complete(job);
    assert_eq!(env.outcome(2), Outcome::Completed);
    assert_eq!(env.take(first), None, "a tombstone");
    env.complete(long);
    assert_eq!(env.outcome(1), Outcome::Completed);
    env.finish();
}

#[test]
fn an_offer_that_has_started_stays_where_it_is() {
    let mut env = roomy();
    let client = env.client();
    let first = env.worker_with(with_labels(1, 2, &[GPU]));
    for task in 1..=2 {
        env.submit(client, any(task));
    }
    env.submit(client, gpu(3));
    let job = env.take(first).expect("the offer");
    let pooled = [env.steal(first), env.steal(first)];
    let second = env.worker_with(with_labels(2, 1, &[GPU]));
    env.run();
    assert_eq!(env.world.scheduler.stats().reoffered, 0);
    assert_eq!(env.take(second), None);
    for job in pooled.into_iter().flatten().chain([job]) {
        env.complete(job);
        assert_eq!(env.outcome_reply().outcome, Outcome::Completed);
    }
    env.finish();
}

#[test]
fn a_failure_is_tried_elsewhere_while_there_is_somebody() {
    let mut env = roomy();
    let client = env.client();
    let (first, second) = (env.worker(1), env.worker(2));
    env.submit(client, any(1).retries(2));
    let job = env.steal(first).expect("the pool has it");
    assert_eq!(env.report(job, Verdict::Failed), Reported::Retried);
    assert_eq!(env.next(first), None, "it has failed it");
    let job = env.take(second).expect("an offer");
    assert_eq!(env.report(job, Verdict::Failed), Reported::Retried);
    // Both have failed it: now it does not matter.
    let job = env.next(first).expect("the last try");
    assert_eq!(env.report(job, Verdict::Failed), Reported::Counted);
    let reply = env.outcome_reply();
    assert_eq!((reply.outcome, reply.attempts), (Outcome::Failed, 3));
    let tried = reply.tried.iter().map(|(worker, _)| worker);
    assert!(tried.eq([first.id, second.id, first.id]));
    env.finish();
}

#[test]
fn a_re_run_waits_for_a_busy_worker_that_has_not_tried_it() {
    let mut env = roomy();
    let client = env.client();
    let (first, second) = (env.worker(1), env.worker(2));
    env.submit(client, to(1, second));
    env.submit(client, to(2, second));
    let busy = env.take(second).expect("its own");
    env.submit(client, any(3).retries(1));
    let job = env.steal(first).expect("the pool has it");
    assert_eq!(env.report(job, Verdict::Failed), Reported::Retried);
    let waits = Some(Explanation::WaitsForAnother);
    assert_eq!(explain(&env, client, 3), waits);
    assert_eq!(env.next(first), None);
    // Then the other leaves, and there is no reason to wait.
    env.down(second);
    assert_eq!(env.outcome(1), Outcome::WorkerLost);
    assert_eq!(env.outcome(2), Outcome::WorkerLost);
    let job = env.next(first).expect("better than never");
    env.complete(job);
    assert_eq!(env.outcome(3), Outcome::Completed);
    assert_eq!(env.report(busy, Verdict::Completed), Reported::Dropped);
    env.finish();
}

#[test]
fn a_poison_task_ends_and_names_its_victims() {
    let mut env = roomy();
    let client = env.client();
    env.submit(client, any(1));
    let mut victims = Vec::new();
    for name in 0..3 {
        let worker = env.worker(name);
        env.run();
        env.next(worker).expect("another attempt");
        victims.push(worker.id);
        env.down(worker);
    }
    let reply = env.outcome_reply();
    assert_eq!((reply.outcome, reply.attempts), (Outcome::WorkerLost, 3));
    assert!(reply.tried.iter().map(|(worker, _)| worker).eq(victims));
    env.finish();
}

#[test]
fn a_directed_task_may_wait_for_the_return_of_its_worker() {
    let mut env = roomy();
    let client = env.client();
    let worker = env.worker(1);
    env.submit(client, to(1, worker).attempts(2).hold_ms(100));
    env.submit(client, to(2, worker).hold_ms(10));
    env.submit(client, to(3, worker));
    let lost = env.take(worker).expect("the first");
    env.down(worker);
    assert_eq!(env.outcome(3), Outcome::WorkerLost);
    let waits = explain(&env, client, 1);
    assert!(
        matches!(waits, Some(Explanation::WaitsForReturn { .. })),
        "{waits:?}"
    );
    env.pass(50);
    assert_eq!(env.outcome(2), Outcome::WorkerLost);
    let other = env.worker(2);
    let back = env.worker(1);
    env.run();
    assert_eq!(env.next(other), None);
    let job = env.take(back).expect("it has waited");
    assert_eq!((job.handle, job.attempt.0), (lost.handle, 2));
    env.pass(100);
    env.complete(job);
    assert_eq!(env.outcome(1), Outcome::Completed);
    env.finish();
}

#[test]
fn a_poll_that_finds_nothing_left_no_task_for_the_next_one() {
    // Chores and offers take turns in going first, so what a chore made ready must be seen whoever
    // went first; nothing else might happen for a long time.
    for chores_before in 0..2 {
        let mut env = roomy();
        let client = env.client();
        let worker = env.worker(1);
        env.submit(client, to(1, worker).hold_ms(100));
        env.down(worker);
        for task in 2..2 + chores_before {
            env.submit(client, any(task));
            env.cancel(client, task);
            env.outcome(task);
        }
        let registered =
            env.world
                .scheduler
                .handle_worker_up(env.world.now, PortId(0), registration(1));
        assert!(matches!(registered, Registered::Admitted { .. }));
        let mut handed_out = false;
        while let Some(effect) = env.world.scheduler.poll_effect(env.world.now) {
            handed_out |= matches!(effect, Effect::Offer { .. });
        }
        assert!(handed_out, "with {chores_before} chores before");
    }
}

#[test]
fn what_was_held_keeps_its_order_and_goes_first() {
    let mut env = roomy();
    let client = env.client();
    let worker = env.worker(1);
    for task in 0..5 {
        env.submit(client, to(task, worker).attempts(2).hold_ms(100));
    }
    env.take(worker).expect("the first");
    env.down_only(worker);
    let back = env.worker(1);
    for task in 5..8 {
        env.submit(client, to(task, back));
    }
    assert!(is_retire(env.reply()));
    let order: Vec<_> = drain(&mut env, back).iter().map(|(_, t)| *t).collect();
    // One had been handed out before the old place was settled.
    assert_eq!(order, [5, 0, 1, 2, 3, 4, 6, 7]);
    let now = env.world.now;
    env.world
        .scheduler
        .handle_drained(now, worker.id, worker.epoch);
    env.finish();
}

#[test]
fn a_suspect_is_given_time_to_come_back() {
    let mut env = Env::with(Config {
        tasks: 16,
        rejoin_grace_ms: 50,
        ..Config::default()
    });
    let client = env.client();
    let worker = env.worker_with(with_labels(1, 1, &[GPU]));
    env.submit(client, any(1));
    let running = env.steal(worker).expect("the pool has it");
    env.submit(client, to(2, worker));
    env.submit(client, gpu(3));
    env.down_only(worker);
    env.pass(20);
    // What it has stays with it; what others may run does not.
    env.no_replies();
    assert_eq!(env.world.scheduler.stats().depth_label, 1);
    assert_eq!(env.hand_in(running).0, Reported::Counted);
    let back = env.worker_with(Registration {
        number: 2,
        ..with_labels(1, 1, &[GPU])
    });
    env.run();
    assert!(is_retire(env.reply()));
    assert_eq!(env.outcome(1), Outcome::Completed);
    let mut jobs = [env.take(back), None];
    for job in jobs.iter_mut().flatten() {
        env.complete(*job);
    }
    while let Some(job) = env.take(back) {
        env.complete(job);
    }
    let mut outcomes = [env.outcome_reply(), env.outcome_reply()];
    outcomes.sort_by_key(|reply| reply.task);
    assert!(
        outcomes
            .iter()
            .all(|reply| reply.outcome == Outcome::Completed)
    );
    assert_eq!(outcomes.map(|reply| reply.task.0), [2, 3]);
    while env.take(worker).is_some() {}
    env.finish();
}

#[test]
fn a_suspect_that_stays_away_is_lost() {
    let mut env = Env::with(Config {
        tasks: 16,
        rejoin_grace_ms: 50,
        ..Config::default()
    });
    let client = env.client();
    let worker = env.worker(1);
    env.submit(client, any(1).attempts(1));
    env.steal(worker).expect("the pool has it");
    env.down_only(worker);
    env.pass(49);
    env.no_replies();
    env.pass(5);
    let mut replies = [env.reply(), env.reply()];
    replies.sort_by_key(|reply| is_retire(*reply));
    assert!(matches!(replies[0], Reply::Outcome(reply) if reply.outcome == Outcome::WorkerLost));
    assert!(is_retire(replies[1]));
    env.finish();
}

#[test]
fn a_name_that_never_comes_back_keeps_no_place() {
    let mut env = Env::with(Config {
        tasks: 8,
        workers: 1,
        ..Config::default()
    });
    let client = env.client();
    let worker = env.worker(1);
    env.submit(client, to(1, worker).hold_ms(10));
    env.down(worker);
    let full = Registered::Refused(RegistrationRefusal::WorkersFull);
    assert_eq!(env.register(registration(2)), full, "a task waits there");
    env.pass(20);
    assert_eq!(env.outcome(1), Outcome::WorkerLost);
    env.run();
    let next = env.worker(2);
    assert_eq!(next.id, WorkerId(0));
    let gone = Submit::new(TaskId(2), Target::Named(NameKey(1)));
    let refused = Submitted::Refused(Refusal::NoSuchName);
    assert_eq!(env.try_submit(client, gone), refused);
    env.finish();
}
