//! Workers that are lost, come back, and hand in what they have.

use taskyard_core::{
    Config, Effect, Outcome, Registered, Registration, RegistrationRefusal, Reply, Reported,
    Revoked, Submit, Target, TaskId, Token, Verdict,
};

use crate::env::{Env, Worker, registration, retire_of};

fn any(task: u64) -> Submit {
    Submit::new(TaskId(task), Target::Any)
}

#[test]
fn a_lost_any_task_runs_again_before_all_others() {
    let mut env = Env::with(Config {
        tasks: 16,
        pool: 2,
        ..Config::default()
    });
    let client = env.client();
    let (first, second) = (env.worker(1), env.worker(2));
    for task in 0..5 {
        env.submit(client, any(task));
    }
    let job = env.steal(first).expect("it");
    env.down(first);
    let order: Vec<_> = (0..5)
        .map(|_| {
            let job = env.next(second).expect("the next");
            env.complete(job);
            (env.outcome_reply().task.0, job.attempt.0)
        })
        .collect();
    // It was offered to the one that has not lost it.
    assert_eq!(order, [(0, 2), (1, 1), (2, 1), (3, 1), (4, 1)]);
    assert_eq!(env.report(job, Verdict::Completed), Reported::Dropped);
    env.finish();
}

#[test]
fn attempts_run_out() {
    let mut env = Env::new();
    let client = env.client();
    env.submit(client, any(1).attempts(2));
    for name in 0..2 {
        let worker = env.worker(name);
        env.steal(worker).expect("another attempt");
        env.down(worker);
    }
    let reply = env.outcome_reply();
    assert_eq!((reply.outcome, reply.attempts), (Outcome::WorkerLost, 2));
    env.finish();
}

#[test]
fn an_unstarted_any_task_is_not_touched_by_a_loss() {
    let mut env = Env::new();
    let client = env.client();
    let (first, second) = (env.worker(1), env.worker(2));
    env.submit(client, any(1).attempts(1));
    env.down(first);
    let job = env.steal(second).expect("it is still there");
    env.complete(job);
    assert_eq!(env.outcome(1), Outcome::Completed);
    env.finish();
}

#[test]
fn directed_tasks_end_with_their_worker() {
    let mut env = Env::with(Config {
        tasks: 8,
        queue_ahead: 1,
        ..Config::default()
    });
    let client = env.client();
    let worker = env.worker(1);
    for task in 0..4 {
        env.submit(
            client,
            Submit::new(TaskId(task), Target::Worker(worker.id)).attempts(3),
        );
    }
    env.take(worker).expect("the first runs");
    env.down(worker);
    let mut lost: Vec<_> = (0..4).map(|_| env.outcome_reply()).collect();
    lost.sort_by_key(|reply| reply.task);
    assert!(
        lost.iter()
            .all(|reply| reply.outcome == Outcome::WorkerLost)
    );
    let attempts: Vec<_> = lost.iter().map(|reply| reply.attempts).collect();
    assert_eq!(attempts, [1, 0, 0, 0], "started: only the first");
    env.finish();
}

#[test]
fn a_task_cancelled_while_it_runs_is_not_run_again() {
    let mut env = Env::new();
    let client = env.client();
    let (first, second) = (env.worker(1), env.worker(2));
    env.submit(client, any(1));
    let job = env.steal(first).expect("it");
    env.cancel(client, 1);
    assert_eq!(env.abort(), job);
    env.down(first);
    assert_eq!(env.outcome(1), Outcome::WorkerLost);
    assert_eq!(env.steal(second), None);
    env.finish();
}

#[test]
fn started_is_sticky_over_attempts() {
    let mut env = Env::new();
    let client = env.client();
    let first = env.worker(1);
    env.submit(client, any(1));
    env.steal(first).expect("it");
    env.down(first);
    env.cancel(client, 1);
    assert_eq!(env.outcome(1), Outcome::Cancelled { started: true });
    env.finish();
}

#[test]
fn a_claim_that_arrives_after_the_loss_is_lost_too() {
    let mut env = Env::new();
    let client = env.client();
    let (first, second) = (env.worker(1), env.worker(2));
    env.submit(client, any(1));
    let job = env.steal_untold(first).expect("it");
    env.down(first);
    env.claimed(job);
    let again = env.next(second).expect("a second attempt");
    assert_eq!(again.attempt.0, 2);
    env.complete(again);
    assert_eq!(env.outcome(1), Outcome::Completed);
    env.finish();
}

#[test]
fn a_place_is_not_free_before_its_mailbox_is_drained() {
    let mut env = Env::with(Config {
        tasks: 8,
        workers: 1,
        ..Config::default()
    });
    let worker = env.worker(1);
    env.down_only(worker);
    env.run();
    let Worker { id, epoch } = worker;
    assert_eq!(env.reply(), retire_of(Worker { id, epoch }));
    let full = Registered::Refused(RegistrationRefusal::WorkersFull);
    assert_eq!(env.register(registration(2)), full);
    env.world.scheduler.handle_drained(env.world.now, id, epoch);
    env.run();
    let next = env.worker(2);
    assert_eq!(next.id, id);
    assert!(next.epoch > epoch);
    env.finish();
}

#[test]
fn drained_before_retire_is_stale() {
    let mut env = Env::new();
    let Worker { id, epoch } = env.worker(1);
    env.world.scheduler.handle_drained(env.world.now, id, epoch);
    env.world
        .scheduler
        .handle_worker_down(env.world.now, id, epoch, taskyard_core::Loss::Closed);
    env.world.scheduler.handle_drained(env.world.now, id, epoch);
    assert_eq!(env.world.scheduler.stats().stale_worker, 2);
    env.run();
    assert_eq!(env.reply(), retire_of(Worker { id, epoch }));
    env.finish();
}

fn again(number: u32) -> Registration {
    Registration {
        number,
        token: Token(u64::from(number)),
        ..registration(1)
    }
}

#[test]
fn a_name_that_is_up_is_evicted_first() {
    let mut env = Env::new();
    let Worker { id, epoch } = env.worker(1);
    assert_eq!(env.register(again(2)), Registered::Pending);
    env.run();
    assert_eq!(env.reply(), Reply::Evict { worker: id, epoch });
    env.no_replies();
    env.down(Worker { id, epoch });
    let Reply::Admitted {
        token,
        worker,
        epoch: next,
    } = env.reply()
    else {
        panic!("admit")
    };
    assert_eq!(token, Token(2));
    assert!(worker != id && next > epoch);
    env.finish();
}

#[test]
fn a_newer_registration_displaces_the_one_that_waits() {
    let mut env = Env::new();
    let worker = env.worker(1);
    assert_eq!(env.register(again(2)), Registered::Pending);
    assert_eq!(env.register(again(4)), Registered::Pending);
    let stale = RegistrationRefusal::Stale;
    assert_eq!(env.register(again(3)), Registered::Refused(stale));
    env.run();
    assert!(matches!(env.reply(), Reply::Evict { .. }));
    assert_eq!(
        env.reply(),
        Reply::NotAdmitted {
            token: Token(2),
            refusal: stale
        }
    );
    env.down(worker);
    assert!(matches!(
        env.reply(),
        Reply::Admitted {
            token: Token(4),
            ..
        }
    ));
    env.finish();
}

#[test]
fn another_process_does_not_take_a_name_over() {
    let mut env = Env::new();
    env.worker(1);
    let other = Registration {
        instance: 2,
        number: 9,
        ..registration(1)
    };
    let taken = RegistrationRefusal::NameTaken;
    assert_eq!(env.register(other), Registered::Refused(taken));
    assert_eq!(
        env.register(again(1)),
        Registered::Refused(RegistrationRefusal::Stale)
    );
    env.finish();
}

#[test]
fn a_result_handed_in_before_the_eviction_counts() {
    let mut env = Env::new();
    let client = env.client();
    let worker = env.worker(1);
    env.submit(client, any(1).attempts(1));
    let job = env.steal(worker).expect("it");
    assert_eq!(env.hand_in(job), (Reported::Counted, None));
    assert_eq!(env.register(again(2)), Registered::Pending);
    env.run();
    assert!(matches!(env.reply(), Reply::Evict { .. }));
    assert_eq!(env.outcome(1), Outcome::Completed);
    assert_eq!(env.hand_in(job), (Reported::Dropped, None), "once");
    env.finish();
}

/// Believed queued, but claimed: nobody reports the claim of a directed task.
#[test]
fn a_hand_in_for_a_task_believed_queued_asks_the_word() {
    let mut env = Env::new();
    let client = env.client();
    let worker = env.worker(1);
    env.submit(client, Submit::new(TaskId(1), Target::Worker(worker.id)));
    let job = env.take(worker).expect("it");
    assert_eq!(env.hand_in(job), (Reported::Counted, Some(Revoked::Lost)));
    env.run();
    assert_eq!(env.outcome(1), Outcome::Completed);
    env.finish();
}

#[test]
fn a_hand_in_of_what_was_never_claimed_is_dropped() {
    let mut env = Env::new();
    let client = env.client();
    let worker = env.worker(1);
    let handle = env.submit(client, Submit::new(TaskId(1), Target::Worker(worker.id)));
    let claim = crate::world::Job {
        handle,
        attempt: taskyard_core::Attempt(1),
        worker: worker.id,
        epoch: worker.epoch,
    };
    assert_eq!(env.hand_in(claim), (Reported::Dropped, Some(Revoked::Won)));
    env.run();
    let job = env.take(worker).expect("it was offered again");
    env.complete(job);
    assert_eq!(env.outcome(1), Outcome::Completed);
    env.finish();
}

/// Loses the first attempt, and brings the second to where the test wants it.
fn lost_once(env: &mut Env) -> (crate::world::Job, Worker) {
    let client = env.client();
    let (first, second) = (env.worker(1), env.worker(2));
    env.submit(client, any(1));
    let job = env.steal(first).expect("it");
    env.down_only(first);
    (job, second)
}

/// The loss is settled, but nobody is there who could be offered the next attempt.
fn settle_only(env: &mut Env, second: Worker) {
    let now = env.world.now;
    assert!(env.world.scheduler.handle_hold(now, second.id, true));
    env.world.run_effects(100);
    assert!(matches!(
        env.world.replies(1)[..],
        [(_, Reply::Pause { .. })]
    ));
}

#[test]
fn a_lost_result_counts_while_the_next_attempt_waits() {
    let mut env = Env::new();
    let (job, second) = lost_once(&mut env);
    settle_only(&mut env, second);
    assert_eq!(env.hand_in(job), (Reported::Counted, None));
    env.run();
    assert!(matches!(env.reply(), Reply::Retire { .. }));
    let reply = env.outcome_reply();
    assert_eq!((reply.outcome, reply.attempts), (Outcome::Completed, 1));
    assert_eq!(env.steal(second), None);
    env.finish();
}

#[test]
fn a_lost_result_counts_while_the_next_attempt_is_not_claimed() {
    let mut env = Env::new();
    let (job, second) = lost_once(&mut env);
    env.run();
    assert!(matches!(env.reply(), Reply::Retire { .. }));
    assert_eq!(env.hand_in(job), (Reported::Counted, Some(Revoked::Won)));
    env.run();
    let reply = env.outcome_reply();
    assert_eq!(reply.outcome, Outcome::Completed);
    // Who ran it, not who was about to.
    assert_eq!(reply.worker, Some((job.worker, job.epoch)));
    assert_eq!(env.steal(second), None);
    env.finish();
}

#[test]
fn a_lost_result_is_dropped_once_the_next_attempt_is_claimed() {
    let mut env = Env::new();
    let (job, second) = lost_once(&mut env);
    env.run();
    assert!(matches!(env.reply(), Reply::Retire { .. }));
    let next = env.take(second).expect("the second attempt");
    assert_eq!(env.hand_in(job), (Reported::Dropped, Some(Revoked::Lost)));
    // Nobody tells of a claim out of a mailbox, so it is asked again.
    assert_eq!(env.hand_in(job), (Reported::Dropped, Some(Revoked::Lost)));
    env.complete(next);
    assert_eq!(env.outcome(1), Outcome::Completed);
    env.finish();
}

#[test]
fn slots_of_earlier_incarnations_are_not_given_out() {
    let mut env = Env::new();
    let worker = env.worker_with(Registration {
        slots: 3,
        busy: 2,
        ..registration(1)
    });
    assert_eq!(env.world.scheduler.worker_slots(worker.id).busy, 2);
    env.world
        .scheduler
        .handle_slot_freed(env.world.now, worker.id, worker.epoch);
    assert_eq!(env.world.scheduler.worker_slots(worker.id).busy, 1);
    env.finish();
}

#[test]
fn a_great_loss_is_spread_over_polls() {
    let mut env = Env::with(Config {
        tasks: 500,
        quota: 500,
        work_per_poll: 4,
        ..Config::default()
    });
    let client = env.client();
    let worker = env.worker(1);
    for task in 0..400 {
        let _ = env.try_submit(client, Submit::new(TaskId(task), Target::Worker(worker.id)));
    }
    env.world.run_effects(1_000);
    env.down_only(worker);
    let open = env.world.scheduler.stats().open;
    assert!(env.world.run_effects(1), "there is more to do");
    assert!(
        open - env.world.scheduler.stats().open <= 4,
        "more than one poll may do"
    );
    env.run();
    assert!(env.world.scheduler.is_idle());
    for _ in 0..401 {
        match env.reply() {
            Reply::Outcome(reply) => assert_eq!(reply.outcome, Outcome::WorkerLost),
            other => assert!(matches!(other, Reply::Retire { .. })),
        }
    }
    env.finish();
}

#[test]
fn a_lost_result_counts_only_from_the_incarnation_that_lost_it() {
    let mut env = Env::new();
    let (job, second) = lost_once(&mut env);
    settle_only(&mut env, second);
    let forged = crate::world::Job {
        epoch: second.epoch,
        ..job
    };
    assert_eq!(env.hand_in(forged), (Reported::Dropped, None));
    assert_eq!(env.hand_in(job), (Reported::Counted, None));
    env.run();
    assert!(matches!(env.reply(), Reply::Retire { .. }));
    assert_eq!(env.outcome(1), Outcome::Completed);
    env.finish();
}

#[test]
fn a_mailbox_is_not_retired_while_a_revoke_is_unanswered() {
    let mut env = Env::new();
    let client = env.client();
    let worker = env.worker(1);
    env.submit(client, Submit::new(TaskId(1), Target::Worker(worker.id)));
    let now = env.world.now;
    env.world.scheduler.handle_cancel(now, client, TaskId(1));
    let Some(Effect::Revoke { handle, stamp }) = env.world.scheduler.poll_effect(now) else {
        panic!("no revoke");
    };
    env.down_only(worker);
    env.no_replies();
    let answer = env.world.revoke(handle, stamp);
    env.world
        .scheduler
        .handle_revoked(now, handle, stamp, answer);
    env.run();
    assert!(matches!(env.reply(), Reply::Retire { .. }));
    assert_eq!(env.outcome(1), Outcome::Cancelled { started: false });
    env.finish();
}
