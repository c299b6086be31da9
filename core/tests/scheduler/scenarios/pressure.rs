//! Clients that ask for much, and read little.

use taskyard_core::{
    ClientId, Config, Outcome, Refusal, Reported, Submit, Submitted, Target, TaskId, Verdict,
};

use crate::env::{Env, Worker, report};

fn any(task: u64) -> Submit {
    Submit::new(TaskId(task), Target::Any)
}

fn complete(env: &mut Env, client: ClientId, worker: Worker, task: u64, bytes: u32) {
    env.submit(client, any(task));
    let job = env.steal(worker).expect("it");
    let report = report(job, Verdict::Completed);
    let scheduler = &mut env.world.scheduler;
    assert_eq!(
        scheduler.handle_reported(env.world.now, report),
        Reported::Counted
    );
    scheduler.handle_result_stored(job.handle, bytes);
    env.run();
}

fn ack(env: &mut Env, client: ClientId, seq: u32) {
    env.world.scheduler.handle_ack(env.world.now, client, seq);
    env.run();
}

#[test]
fn unread_results_count_until_they_are_acknowledged() {
    let mut env = Env::with(Config {
        tasks: 8,
        quota: 8,
        payload_bytes: 100,
        result_bytes: 20,
        quota_bytes: 60,
        ..Config::default()
    });
    let (client, other) = (env.hello(1, 1, true), env.hello(2, 1, true));
    let worker = env.worker(1);
    complete(&mut env, client, worker, 1, 50);
    assert_eq!(env.outcome(1), Outcome::Completed);
    let refused = |refusal| Submitted::Refused(refusal);
    // Its own share is full, which is nothing to the other.
    let large = any(2).payload_bytes(11);
    assert_eq!(env.try_submit(client, large), refused(Refusal::QuotaFull));
    env.submit(other, any(1).payload_bytes(50));
    let small = any(3).payload_bytes(1);
    assert_eq!(env.try_submit(other, small), refused(Refusal::BytesFull));
    let scheduler = &env.world.scheduler;
    assert!(scheduler.has_room_for_result(20), "a result may go beyond");
    assert!(!scheduler.has_room_for_result(21), "and no further");
    // It can go on once it has read.
    ack(&mut env, client, 1);
    env.submit(client, large);
    for (client, task) in [(client, 2), (other, 1)] {
        env.cancel(client, task);
        assert_eq!(env.outcome(task), Outcome::Cancelled { started: false });
        ack(&mut env, client, if task == 2 { 2 } else { 1 });
    }
    env.finish();
}

/// All that is sent now.
fn read(env: &mut Env, count: usize) -> Vec<(ClientId, u64)> {
    let sent = (0..count).map(|_| env.outcome_reply());
    let sent = sent.map(|reply| (reply.client, reply.task.0)).collect();
    env.no_replies();
    sent
}

#[test]
fn what_is_over_the_window_waits_for_an_acknowledgement() {
    let mut env = Env::with(Config {
        tasks: 16,
        quota: 16,
        outcome_bytes_unread: 30,
        ..Config::default()
    });
    let (client, other) = (env.hello(1, 1, true), env.hello(2, 1, true));
    let worker = env.worker(1);
    // Six results of ten bytes, none of them acknowledged.
    for task in 1..=6 {
        complete(&mut env, client, worker, task, 10);
    }
    assert_eq!(read(&mut env, 3), [1, 2, 3].map(|task| (client, task)));
    complete(&mut env, other, worker, 1, 10);
    assert_eq!(read(&mut env, 1), [(other, 1)], "it holds nobody up");
    ack(&mut env, client, 1);
    assert_eq!(read(&mut env, 1), [(client, 4)]);
    // The next session begins with what was not read.
    let client = env.hello(1, 2, true);
    env.run();
    assert_eq!(read(&mut env, 3), [2, 3, 4].map(|task| (client, task)));
    ack(&mut env, client, 3);
    assert_eq!(read(&mut env, 2), [5, 6].map(|task| (client, task)));
    ack(&mut env, client, 5);
    ack(&mut env, other, 1);
    env.finish();
}
