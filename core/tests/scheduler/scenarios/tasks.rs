//! Submit, run, cancel, deadlines, refusals.

use taskyard_core::{
    Config, Deadline, NameKey, Outcome, Refusal, Reply, Reported, Submit, Submitted, Target,
    TaskId, Verdict, WorkerId,
};

use crate::env::{Env, attempt, registration, retire_of};

const CANCELLED_BEFORE: Outcome = Outcome::Cancelled { started: false };
const CANCELLED_AFTER: Outcome = Outcome::Cancelled { started: true };

fn any(task: u64) -> Submit {
    Submit::new(TaskId(task), Target::Any)
}

fn to(task: u64, worker: WorkerId) -> Submit {
    Submit::new(TaskId(task), Target::Worker(worker))
}

#[test]
fn any_worker_runs_an_any_task() {
    let mut env = Env::new();
    let client = env.client();
    let worker = env.worker(1);
    env.submit(client, any(7));
    let job = env.steal(worker).expect("a task in the pool");
    env.complete(job);
    let reply = env.outcome_reply();
    assert_eq!((reply.task, reply.outcome), (TaskId(7), Outcome::Completed));
    assert_eq!(reply.worker, Some((worker.id, worker.epoch)));
    assert_eq!((reply.attempts, reply.seq), (1, 1));
    assert!(reply.has_payload && !reply.keep && !reply.part);
    env.finish();
}

#[test]
fn a_directed_task_runs_on_its_worker_by_id_or_name() {
    let mut env = Env::new();
    let client = env.client();
    let (other, worker) = (env.worker(1), env.worker(2));
    env.submit(client, to(1, worker.id));
    env.submit(client, Submit::new(TaskId(2), Target::Named(NameKey(2))));
    assert_eq!(env.take(other), None);
    for task in [1, 2] {
        let job = env.take(worker).expect("a task in its mailbox");
        assert_eq!(env.report(job, Verdict::Failed), Reported::Counted);
        assert_eq!(env.outcome(task), Outcome::Failed);
    }
    env.finish();
}

#[test]
fn credit_bounds_what_is_out() {
    let mut env = Env::with(Config {
        tasks: 16,
        quota: 16,
        queue_ahead: 1,
        ..Config::default()
    });
    let client = env.client();
    let worker = env.worker(1);
    for task in 0..5 {
        env.submit(client, to(task, worker.id));
    }
    assert_eq!(
        env.world.mailboxes[&worker.id].len(),
        2,
        "a slot, and one ahead"
    );
    assert_eq!(env.world.scheduler.stats().depth_directed, 3);
    for task in 0..5 {
        let job = env.take(worker).expect("the next one");
        env.complete(job);
        assert_eq!(env.outcome(task), Outcome::Completed);
    }
    env.finish();
}

#[test]
fn the_pool_window_follows_the_free_slots() {
    let mut env = Env::new();
    let client = env.client();
    for task in 0..8 {
        env.submit(client, any(task));
    }
    assert_eq!(env.world.pool.len(), 2, "without workers");
    let worker = env.worker_with(taskyard_core::Registration {
        slots: 5,
        ..registration(1)
    });
    env.run();
    assert_eq!(env.world.pool.len(), 5, "a place per free slot");
    let jobs = (0..5)
        .map(|_| env.steal(worker).expect("one"))
        .collect::<Vec<_>>();
    assert_eq!(env.world.pool.len(), 2, "no slot is free");
    for job in jobs {
        env.complete(job);
    }
    while let Some(job) = env.steal(worker) {
        env.complete(job);
    }
    for _ in 0..8 {
        assert_eq!(env.outcome_reply().outcome, Outcome::Completed);
    }
    env.finish();
}

#[test]
fn refusals_say_why() {
    let mut env = Env::with(Config {
        tasks: 2,
        quota: 1,
        clients: 2,
        ..Config::default()
    });
    let client = env.client();
    let refused = |submitted, refusal| assert_eq!(submitted, Submitted::Refused(refusal));
    refused(
        env.try_submit(client, to(1, WorkerId(0))),
        Refusal::NoSuchWorker,
    );
    let named = Submit::new(TaskId(1), Target::Named(NameKey(9)));
    refused(env.try_submit(client, named), Refusal::NoSuchName);
    let nobody = taskyard_core::ClientId::new(1, 1);
    refused(env.try_submit(nobody, any(1)), Refusal::NoSession);
    env.submit(client, any(1));
    refused(env.try_submit(client, any(2)), Refusal::QuotaFull);
    assert_eq!(env.try_submit(client, any(1)), Submitted::Known);
    env.cancel(client, 1);
    assert_eq!(env.outcome(1), CANCELLED_BEFORE);
    assert_eq!(env.world.scheduler.stats().refused, 4);
    env.finish();
}

#[test]
fn tasks_full_is_refused() {
    let mut env = Env::with(Config {
        tasks: 1,
        quota: 1,
        ..Config::default()
    });
    let (first, second) = (env.hello(1, 1, false), env.hello(2, 1, false));
    env.submit(first, any(1));
    let refused = env.try_submit(second, any(1));
    assert_eq!(refused, Submitted::Refused(Refusal::TasksFull));
    env.cancel(first, 1);
    assert_eq!(env.outcome(1), CANCELLED_BEFORE);
    env.finish();
}

#[test]
fn cancel_in_the_backlog() {
    let mut env = Env::with(Config {
        tasks: 8,
        pool: 2,
        ..Config::default()
    });
    let client = env.client();
    for task in 0..3 {
        env.submit(client, any(task));
    }
    assert_eq!(env.world.scheduler.stats().depth_any, 1);
    env.cancel(client, 2);
    assert_eq!(env.outcome(2), CANCELLED_BEFORE);
    env.cancel(client, 0);
    env.cancel(client, 1);
    assert_eq!(
        (env.outcome(0), env.outcome(1)),
        (CANCELLED_BEFORE, CANCELLED_BEFORE)
    );
    env.finish();
}

#[test]
fn a_tombstone_keeps_its_credit_until_it_is_popped() {
    let mut env = Env::with(Config {
        tasks: 8,
        queue_ahead: 0,
        ..Config::default()
    });
    let client = env.client();
    let worker = env.worker(1);
    env.submit(client, to(1, worker.id));
    env.cancel(client, 1);
    assert_eq!(env.outcome(1), CANCELLED_BEFORE);
    env.submit(client, to(2, worker.id));
    assert_eq!(
        env.world.mailboxes[&worker.id].len(),
        1,
        "the tombstone fills the window"
    );
    let job = env
        .take(worker)
        .expect("the second, once the first was discarded");
    env.complete(job);
    assert_eq!(env.outcome(2), Outcome::Completed);
    env.finish();
}

#[test]
fn cancel_of_a_running_task_aborts_it() {
    let mut env = Env::new();
    let client = env.client();
    let worker = env.worker(1);
    env.submit(client, to(1, worker.id));
    let job = env.take(worker).expect("it");
    env.cancel(client, 1);
    assert_eq!(env.abort(), job);
    assert_eq!(env.report(job, Verdict::Aborted), Reported::Counted);
    let reply = env.outcome_reply();
    assert_eq!((reply.outcome, reply.has_payload), (CANCELLED_AFTER, false));
    env.finish();
}

#[test]
fn a_result_that_comes_before_the_abort_counts() {
    let mut env = Env::new();
    let client = env.client();
    let worker = env.worker(1);
    env.submit(client, any(1));
    let job = env.steal(worker).expect("it");
    env.cancel(client, 1);
    assert_eq!(env.abort(), job);
    env.complete(job);
    assert_eq!(env.outcome(1), Outcome::Completed);
    assert_eq!(env.report(job, Verdict::Aborted), Reported::Dropped);
    env.finish();
}

#[test]
fn cancel_of_a_task_taken_from_the_pool_but_not_told() {
    let mut env = Env::new();
    let client = env.client();
    let worker = env.worker(1);
    env.submit(client, any(1));
    let job = env.steal_untold(worker).expect("it");
    env.cancel(client, 1);
    env.no_replies();
    env.claimed(job);
    assert_eq!(env.abort(), job);
    assert_eq!(env.report(job, Verdict::Aborted), Reported::Counted);
    assert_eq!(env.outcome(1), CANCELLED_AFTER);
    env.finish();
}

#[test]
fn an_aborted_task_that_was_never_sent_never_started() {
    let mut env = Env::new();
    let client = env.client();
    let worker = env.worker(1);
    env.submit(client, any(1));
    let job = env.steal(worker).expect("it");
    env.cancel(client, 1);
    assert_eq!(env.abort(), job);
    env.give_back(job);
    assert_eq!(env.outcome(1), CANCELLED_BEFORE);
    env.finish();
}

#[test]
fn a_returned_task_is_offered_again_as_the_same_attempt() {
    let mut env = Env::new();
    let client = env.client();
    let worker = env.worker(1);
    env.submit(client, to(1, worker.id));
    env.submit(client, any(2));
    let (first, second) = (
        env.take(worker).expect("one"),
        env.steal(worker).expect("one"),
    );
    env.give_back(first);
    env.give_back(second);
    assert_eq!(env.take(worker), Some(first));
    assert_eq!(env.steal(worker), Some(second));
    env.complete(first);
    env.complete(second);
    assert_eq!(
        (env.outcome(1), env.outcome(2)),
        (Outcome::Completed, Outcome::Completed)
    );
    env.finish();
}

#[test]
fn a_worker_that_does_not_answer_an_abort_is_evicted() {
    let mut env = Env::with(Config {
        tasks: 8,
        abort_grace_ms: 100,
        ..Config::default()
    });
    let client = env.client();
    let worker = env.worker(1);
    env.submit(client, any(1));
    let job = env.steal(worker).expect("it");
    env.cancel(client, 1);
    assert_eq!(env.abort(), job);
    env.pass(90);
    env.no_replies();
    env.pass(20);
    assert_eq!(
        env.reply(),
        Reply::Evict {
            worker: worker.id,
            epoch: worker.epoch
        }
    );
    env.down_only(worker);
    env.run();
    assert_eq!(env.reply(), retire_of(worker));
    assert_eq!(env.outcome(1), CANCELLED_AFTER);
    env.finish();
}

#[test]
fn a_start_deadline_ends_what_waits_and_spares_what_runs() {
    let mut env = Env::new();
    let client = env.client();
    let worker = env.worker(1);
    env.submit(client, to(1, worker.id).start_within_ms(10));
    env.submit(client, to(2, worker.id).start_within_ms(10));
    let job = env.take(worker).expect("the first");
    env.pass(9);
    env.no_replies();
    env.pass(3);
    assert_eq!(env.outcome(2), Outcome::TimedOut(Deadline::Start));
    env.no_replies();
    env.complete(job);
    assert_eq!(env.outcome(1), Outcome::Completed);
    assert_eq!(env.take(worker), None);
    env.finish();
}

#[test]
fn a_finish_deadline_aborts_what_runs() {
    let mut env = Env::new();
    let client = env.client();
    let worker = env.worker(1);
    env.submit(client, any(1).start_within_ms(5).finish_within_ms(50));
    let job = env.steal(worker).expect("it");
    env.pass(40);
    env.no_replies();
    env.pass(12);
    assert_eq!(env.abort(), job);
    assert_eq!(env.report(job, Verdict::Aborted), Reported::Counted);
    assert_eq!(env.outcome(1), Outcome::TimedOut(Deadline::Finish));
    env.finish();
}

#[test]
fn a_finish_deadline_ends_what_waits() {
    let mut env = Env::with(Config {
        tasks: 8,
        pool: 2,
        ..Config::default()
    });
    let client = env.client();
    for task in 0..3 {
        env.submit(client, any(task).finish_within_ms(10));
    }
    env.pass(12);
    let mut ended = (0..3).map(|_| env.outcome_reply()).collect::<Vec<_>>();
    ended.sort_by_key(|reply| reply.task);
    assert!(
        ended
            .iter()
            .all(|reply| reply.outcome == Outcome::TimedOut(Deadline::Finish))
    );
    env.finish();
}

#[test]
fn stale_reports_change_nothing() {
    let mut env = Env::new();
    let client = env.client();
    let (worker, other) = (env.worker(1), env.worker(2));
    env.submit(client, any(1));
    let job = env.steal(worker).expect("it");
    assert_eq!(
        env.report(attempt(job, 2), Verdict::Completed),
        Reported::Dropped
    );
    let elsewhere = crate::world::Job {
        worker: other.id,
        epoch: other.epoch,
        ..job
    };
    assert_eq!(env.report(elsewhere, Verdict::Completed), Reported::Dropped);
    env.no_replies();
    env.complete(job);
    assert_eq!(env.report(job, Verdict::Failed), Reported::Dropped);
    assert_eq!(env.outcome(1), Outcome::Completed);
    assert_eq!(env.world.scheduler.stats().stale_report, 3);
    env.finish();
}

#[test]
fn an_abort_that_nobody_asked_for_is_a_failure() {
    let mut env = Env::new();
    let client = env.client();
    let worker = env.worker(1);
    env.submit(client, any(1));
    let job = env.steal(worker).expect("it");
    assert_eq!(env.report(job, Verdict::Aborted), Reported::Counted);
    let reply = env.outcome_reply();
    assert_eq!((reply.outcome, reply.has_payload), (Outcome::Failed, false));
    env.finish();
}

#[test]
fn a_resent_task_that_may_run_once_is_not_run() {
    let mut env = Env::new();
    let client = env.client();
    let worker = env.worker(1);
    let resent = Submit {
        resent: true,
        ..to(1, worker.id)
    };
    assert_eq!(env.try_submit(client, resent), Submitted::NotRerun);
    env.no_replies();
    env.pass(Config::default().restart_grace_ms);
    assert_eq!(env.outcome(1), Outcome::WorkerLost);
    assert_eq!(env.take(worker), None);
    env.submit(
        client,
        Submit {
            resent: true,
            ..any(2)
        },
    );
    let job = env.steal(worker).expect("it may run three times");
    env.complete(job);
    assert_eq!(env.outcome(2), Outcome::Completed);
    env.finish();
}
