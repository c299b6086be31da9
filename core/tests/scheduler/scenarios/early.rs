//! A controller that was started anew: results and running tasks that workers bring from before.

use taskyard_core::{
    Config, Early, Explanation, Origin, Outcome, Revoked, Submit, Submitted, Target, TaskId,
    Verdict,
};

use crate::env::Env;

/// The clients of these tests have their number as key.
const CLIENT: u128 = 77;

fn env() -> Env {
    Env::with(Config {
        tasks: 16,
        quota: 16,
        restart_grace_ms: 100,
        ..Config::default()
    })
}

fn resent(submit: Submit) -> Submit {
    Submit {
        resent: true,
        ..submit
    }
}

fn once(task: u64) -> Submit {
    resent(Submit::new(TaskId(task), Target::Any).attempts(1))
}

fn often(task: u64) -> Submit {
    resent(Submit::new(TaskId(task), Target::Any))
}

fn origin(task: u64) -> Origin {
    Origin {
        client: CLIENT as u64,
        task: TaskId(task),
    }
}

fn bring(env: &mut Env, task: u64) -> Early {
    let now = env.world.now;
    let scheduler = &mut env.world.scheduler;
    let mut early = scheduler.handle_early_result(now, origin(task), Verdict::Completed, None);
    if let Early::AskFirst(handle, stamp) = early {
        let answer = env.world.revoke(handle, stamp);
        let scheduler = &mut env.world.scheduler;
        let answer = Some(answer);
        early = scheduler.handle_early_result(now, origin(task), Verdict::Completed, answer);
    }
    if let Early::Counted(handle) | Early::Kept(handle) = early {
        env.world.payloads.insert(handle);
    }
    env.world.scheduler.sanity_check();
    early
}

#[test]
fn a_task_that_may_run_once_waits_for_its_result() {
    let mut env = env();
    let client = env.hello(CLIENT, 1, false);
    env.worker(1);
    assert_eq!(env.try_submit(client, once(1)), Submitted::NotRerun);
    assert_eq!(env.try_submit(client, once(2)), Submitted::NotRerun);
    let waits = env
        .world
        .scheduler
        .explain(env.world.now, client, TaskId(1));
    assert!(
        matches!(waits, Some(Explanation::AwaitsResult { .. })),
        "{waits:?}"
    );
    env.no_replies();
    assert!(matches!(bring(&mut env, 1), Early::Counted(_)));
    env.run();
    assert_eq!(env.outcome(1), Outcome::Completed);
    env.pass(99);
    env.no_replies();
    env.pass(2);
    let reply = env.outcome_reply();
    assert_eq!((reply.outcome, reply.attempts), (Outcome::WorkerLost, 1));
    // Too late, but nobody can know that.
    assert!(matches!(bring(&mut env, 2), Early::Kept(_)));
    env.pass(200);
    env.finish();
}

#[test]
fn a_cancel_of_it_says_that_it_had_started() {
    let mut env = env();
    let client = env.hello(CLIENT, 1, false);
    assert_eq!(env.try_submit(client, once(1)), Submitted::NotRerun);
    env.cancel(client, 1);
    assert_eq!(env.outcome(1), Outcome::Cancelled { started: true });
    env.finish();
}

#[test]
fn a_result_that_comes_first_waits_for_its_task() {
    let mut env = env();
    assert!(matches!(bring(&mut env, 1), Early::Kept(_)));
    assert_eq!(bring(&mut env, 1), Early::Dropped, "the same once more");
    assert!(matches!(bring(&mut env, 2), Early::Kept(_)));
    let client = env.hello(CLIENT, 1, false);
    env.worker(1);
    assert_eq!(env.try_submit(client, often(1)), Submitted::NotRerun);
    env.run();
    assert_eq!(env.outcome(1), Outcome::Completed);
    // Nobody asks for the other one.
    assert_eq!(env.world.scheduler.tasks(), 1);
    env.pass(101);
    env.finish();
}

#[test]
fn a_result_counts_until_the_task_starts_again() {
    let mut env = env();
    let client = env.hello(CLIENT, 1, false);
    let worker = env.worker(1);
    env.submit(client, often(1));
    env.submit(client, often(2));
    env.submit(client, often(3));
    let job = env.next(worker).expect("the first");
    // Out in the pool, and waiting in the backlog.
    assert!(matches!(bring(&mut env, 2), Early::Counted(_)));
    assert!(matches!(bring(&mut env, 3), Early::Counted(_)));
    assert_eq!(bring(&mut env, 1), Early::Dropped);
    env.run();
    assert_eq!(env.outcome(2), Outcome::Completed);
    assert_eq!(env.outcome(3), Outcome::Completed);
    env.complete(job);
    env.run();
    assert_eq!(env.outcome(1), Outcome::Completed);
    env.finish();
}

#[test]
fn what_a_worker_still_runs_is_not_run_again() {
    for comes_first in [false, true] {
        let mut env = env();
        let client = env.hello(CLIENT, 1, false);
        let worker = env.worker_with(taskyard_core::Registration {
            busy: 1,
            slots: 2,
            ..crate::env::registration(1)
        });
        let mut said = false;
        for _ in 0..2 {
            if comes_first != said {
                let now = env.world.now;
                let scheduler = &mut env.world.scheduler;
                scheduler.handle_early_run(now, origin(1), worker.id, worker.epoch);
                scheduler.handle_early_run(now, origin(2), worker.id, worker.epoch);
            } else {
                let _ = env.try_submit(client, once(1));
                let _ = env.try_submit(client, once(2));
            }
            said = !said;
            env.run();
        }
        assert_eq!(env.next(worker), None, "it is not given out again");
        env.pass(500);
        env.no_replies();
        assert!(matches!(bring(&mut env, 1), Early::Counted(_)));
        env.run();
        assert_eq!(env.outcome(1), Outcome::Completed);
        env.down(worker);
        assert_eq!(env.outcome(2), Outcome::WorkerLost);
        env.finish();
    }
}

#[test]
fn a_claimed_task_is_not_ended_by_an_earlier_result() {
    let mut env = env();
    let client = env.hello(CLIENT, 1, false);
    let worker = env.worker(1);
    env.submit(
        client,
        resent(Submit::new(TaskId(1), Target::Worker(worker.id)).attempts(2)),
    );
    let job = env.take(worker).expect("claimed, and nobody has told");
    let now = env.world.now;
    let scheduler = &mut env.world.scheduler;
    let first = scheduler.handle_early_result(now, origin(1), Verdict::Completed, None);
    assert!(matches!(first, Early::AskFirst(..)));
    let lost = Some(Revoked::Lost);
    let then = scheduler.handle_early_result(now, origin(1), Verdict::Completed, lost);
    assert_eq!(then, Early::Dropped);
    env.complete(job);
    env.run();
    assert_eq!(env.outcome(1), Outcome::Completed);
    env.finish();
}

#[test]
fn what_runs_is_said_anew_with_each_registration() {
    let mut env = env();
    let client = env.hello(CLIENT, 1, false);
    let reg = |number| taskyard_core::Registration {
        busy: 1,
        slots: 2,
        number,
        ..crate::env::registration(1)
    };
    let first = env.worker_with(reg(1));
    let now = env.world.now;
    env.world
        .scheduler
        .handle_early_run(now, origin(1), first.id, first.epoch);
    env.down(first);
    let second = env.worker_with(reg(2));
    let now = env.world.now;
    env.world
        .scheduler
        .handle_early_run(now, origin(1), second.id, second.epoch);
    let _ = env.try_submit(client, once(1));
    env.pass(500);
    env.no_replies();
}

#[test]
fn a_new_task_with_an_old_number_gets_no_old_result() {
    let mut env = env();
    let client = env.hello(CLIENT, 1, false);
    // Number 1 was used, answered and acknowledged in the boot before; now it is a new task.
    env.submit(client, Submit::new(TaskId(1), Target::Any));
    assert_eq!(bring(&mut env, 1), Early::Dropped);
}

#[test]
fn an_adopted_task_keeps_its_deadline() {
    let mut env = env();
    let client = env.hello(CLIENT, 1, false);
    let worker = env.worker_with(taskyard_core::Registration {
        busy: 1,
        slots: 2,
        ..crate::env::registration(1)
    });
    let submit = Submit {
        finish_within_ms: 200,
        ..once(1)
    };
    let _ = env.try_submit(client, submit);
    let now = env.world.now;
    env.world
        .scheduler
        .handle_early_run(now, origin(1), worker.id, worker.epoch);
    env.run();
    env.pass(1000);
    assert!(matches!(env.outcome(1), Outcome::TimedOut(_)));
}

#[test]
fn a_full_table_does_not_refuse_what_is_answered_already() {
    let mut env = Env::with(Config {
        tasks: 2,
        quota: 2,
        restart_grace_ms: 100,
        ..Config::default()
    });
    let client = env.hello(CLIENT, 1, false);
    assert!(matches!(bring(&mut env, 1), Early::Kept(_)));
    assert!(matches!(bring(&mut env, 9), Early::Kept(_)));
    assert_eq!(env.try_submit(client, once(1)), Submitted::NotRerun);
}
