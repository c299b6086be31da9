//! Clients that come, go, come back, acknowledge, and are forgotten.

use taskyard_core::{
    ClientHello, ClientId, Config, HelloRefusal, Outcome, PortId, Refusal, Reported, Submit,
    Submitted, Target, TaskId, Token, Verdict,
};

use crate::env::{Env, PORT, Worker};

fn any(task: u64) -> Submit {
    Submit::new(TaskId(task), Target::Any)
}

fn hello(key: u128, session: u32) -> ClientHello {
    ClientHello {
        key,
        session,
        keep_outcomes: true,
        token: Token(0),
    }
}

/// Has these tasks completed.
fn complete(env: &mut Env, client: ClientId, worker: Worker, tasks: core::ops::Range<u64>) {
    for task in tasks {
        env.submit(client, any(task));
        let job = env.steal(worker).expect("it");
        env.complete(job);
    }
}

fn ack(env: &mut Env, client: ClientId, seq: u32) {
    env.world.scheduler.handle_ack(env.world.now, client, seq);
    env.run();
}

#[test]
fn an_outcome_is_kept_until_it_is_acknowledged() {
    let mut env = Env::new();
    let client = env.hello(1, 1, true);
    let worker = env.worker(1);
    complete(&mut env, client, worker, 0..3);
    for seq in 1..=3 {
        let reply = env.outcome_reply();
        assert_eq!((reply.seq, reply.keep), (seq, true));
    }
    assert_eq!(env.try_submit(client, any(0)), Submitted::Known);
    ack(&mut env, client, 2);
    assert_eq!(env.world.scheduler.tasks(), 1);
    ack(&mut env, client, 1);
    ack(&mut env, client, 9);
    assert_eq!(
        env.world.scheduler.tasks(),
        1,
        "neither an old nor a future number"
    );
    ack(&mut env, client, 3);
    env.finish();
}

#[test]
fn a_new_session_gets_what_was_not_acknowledged_in_order() {
    let mut env = Env::new();
    let client = env.hello(1, 1, true);
    let worker = env.worker(1);
    complete(&mut env, client, worker, 0..4);
    for task in 0..4 {
        assert_eq!(env.outcome(task), Outcome::Completed);
    }
    // Acknowledged, but not released before the session ends.
    env.world.scheduler.handle_ack(env.world.now, client, 2);
    env.world
        .scheduler
        .handle_client_down(env.world.now, client);
    let gone = Submitted::Refused(Refusal::NoSession);
    assert_eq!(env.try_submit(client, any(9)), gone);
    assert_eq!(env.hello(1, 2, true), client);
    env.run();
    complete(&mut env, client, worker, 4..5);
    for (seq, task) in [(1, 2), (2, 3), (3, 4)] {
        let reply = env.outcome_reply();
        assert_eq!((reply.seq, reply.task), (seq, TaskId(task)));
    }
    ack(&mut env, client, 3);
    env.finish();
}

#[test]
fn an_old_session_is_refused() {
    let mut env = Env::new();
    let client = env.hello(1, 5, true);
    for session in [4, 5] {
        let refused = env
            .world
            .scheduler
            .handle_client_up(env.world.now, PORT, hello(1, session));
        assert_eq!(refused, Err(HelloRefusal::SessionStale));
    }
    let moved = env
        .world
        .scheduler
        .handle_client_up(env.world.now, PortId(3), hello(1, 6));
    assert_eq!(moved.map(|welcome| welcome.client), Ok(client));
    assert_eq!(env.world.scheduler.client_port(client), Some(PortId(3)));
    env.finish();
}

#[test]
fn clients_full_is_refused_until_one_is_forgotten() {
    let mut env = Env::with(Config {
        tasks: 4,
        clients: 1,
        ..Config::default()
    });
    let client = env.hello(1, 1, true);
    let second = env
        .world
        .scheduler
        .handle_client_up(env.world.now, PORT, hello(2, 1));
    assert_eq!(second, Err(HelloRefusal::ClientsFull));
    env.world.scheduler.handle_goodbye(env.world.now, client);
    env.run();
    let next = env.hello(2, 1, true);
    assert_eq!(next.index(), client.index());
    assert!(
        next.record() > client.record(),
        "a number is never repeated"
    );
    env.finish();
}

#[test]
fn a_newcomer_gets_the_place_of_who_left_nothing() {
    let mut env = Env::with(Config {
        tasks: 4,
        clients: 3,
        ..Config::default()
    });
    let [owner, first, second] = [1, 2, 3].map(|key| env.hello(key, 1, true));
    env.submit(owner, any(1));
    for client in [owner, first, second] {
        env.world
            .scheduler
            .handle_client_down(env.world.now, client);
    }
    assert_eq!(env.hello(4, 1, true).index(), first.index(), "longest gone");
    assert_eq!(env.hello(5, 1, true).index(), second.index());
    let now = env.world.now;
    let sixth = env.world.scheduler.handle_client_up(now, PORT, hello(6, 1));
    assert_eq!(sixth, Err(HelloRefusal::ClientsFull), "a task is open");
    assert_eq!(env.hello(1, 2, true), owner, "what it left is kept");
    env.world.scheduler.handle_goodbye(now, owner);
    env.world.scheduler.handle_client_down(now, first);
    assert_eq!(env.world.scheduler.stats().stale_client, 1, "its id is");
    env.run();
    let worker = env.worker(1);
    while env.next(worker).is_some() {}
    env.finish();
}

#[test]
fn a_goodbye_forgets_everything() {
    let mut env = Env::with(Config {
        tasks: 16,
        pool: 2,
        ..Config::default()
    });
    let client = env.hello(1, 1, true);
    let worker = env.worker(1);
    complete(&mut env, client, worker, 0..1);
    assert_eq!(env.outcome(0), Outcome::Completed);
    for task in 1..5 {
        env.submit(client, any(task));
    }
    let job = env.steal(worker).expect("one that runs");
    env.world.scheduler.handle_goodbye(env.world.now, client);
    env.run();
    assert_eq!(env.world.scheduler.tasks(), 1, "the one that runs");
    assert_eq!(env.steal(worker), None);
    assert_eq!(env.report(job, Verdict::Completed), Reported::Dropped);
    env.finish();
}

#[test]
fn an_orphan_is_not_run_again() {
    let mut env = Env::new();
    let client = env.hello(1, 1, true);
    let (first, second) = (env.worker(1), env.worker(2));
    env.submit(client, any(1));
    env.steal(first).expect("it");
    env.world.scheduler.handle_goodbye(env.world.now, client);
    env.run();
    env.down(first);
    assert_eq!(env.steal(second), None);
    assert_eq!(env.world.scheduler.stats().forgotten, 1);
    env.finish();
}

#[test]
fn a_client_that_does_not_return_is_forgotten_in_time() {
    let mut env = Env::with(Config {
        tasks: 8,
        keep_outcomes_ms: 1_000,
        ..Config::default()
    });
    let client = env.hello(1, 1, true);
    let worker = env.worker(1);
    env.submit(client, any(1));
    env.world
        .scheduler
        .handle_client_down(env.world.now, client);
    let job = env.steal(worker).expect("its task goes on");
    env.complete(job);
    env.no_replies();
    env.pass(999);
    assert_eq!(env.world.scheduler.tasks(), 1);
    env.pass(1);
    assert_eq!(env.world.scheduler.tasks(), 0);
    let again = env.hello(1, 2, true);
    assert_ne!(again, client);
    env.finish();
}

#[test]
fn the_quota_counts_what_is_not_acknowledged() {
    let mut env = Env::with(Config {
        tasks: 8,
        quota: 2,
        ..Config::default()
    });
    let client = env.hello(1, 1, true);
    let worker = env.worker(1);
    complete(&mut env, client, worker, 0..2);
    let full = Submitted::Refused(Refusal::QuotaFull);
    assert_eq!(env.try_submit(client, any(2)), full);
    assert_eq!(
        (env.outcome(0), env.outcome(1)),
        (Outcome::Completed, Outcome::Completed)
    );
    assert_eq!(env.try_submit(client, any(2)), full);
    ack(&mut env, client, 1);
    env.submit(client, any(2));
    env.cancel(client, 2);
    assert_eq!(env.outcome(2), Outcome::Cancelled { started: false });
    ack(&mut env, client, 3);
    env.finish();
}

#[test]
fn clients_of_a_port_take_turns() {
    let mut env = Env::new();
    let clients = [env.hello(1, 1, false), env.hello(2, 1, false)];
    for client in clients {
        for task in 0..3 {
            let _ = env.try_submit(client, any(task));
            env.world
                .scheduler
                .handle_cancel(env.world.now, client, TaskId(task));
        }
    }
    env.run();
    let order: Vec<_> = (0..6).map(|_| env.outcome_reply().client).collect();
    let [a, b] = clients;
    assert_eq!(order, [a, b, a, b, a, b]);
    env.finish();
}
