//! Workers that are cut off and come back: what they still run is not lost, nor run twice.

use taskyard_core::{
    AttemptAt, Config, Loss, Outcome, Registered, Registration, Reply, Reported, Revoked, Settled,
    StillRuns, Submit, Target, TaskId, Verdict,
};

use crate::env::{Env, INSTANCE, Worker, registration, report};
use crate::world::Job;

fn with_grace(rejoin_grace_ms: u64) -> Env {
    Env::with(Config {
        tasks: 16,
        quota: 16,
        rejoin_grace_ms,
        stall_grace_ms: 50,
        ..Config::default()
    })
}

fn any(task: u64) -> Submit {
    Submit::new(TaskId(task), Target::Any)
}

fn again(number: u32, busy: u16) -> Registration {
    Registration {
        number,
        busy,
        ..registration(1)
    }
}

/// What the worker says of an attempt before it registers, with the question asked if there is one.
fn still_runs(env: &mut Env, instance: u64, job: Job) -> StillRuns {
    let attempt = AttemptAt {
        worker: job.worker,
        epoch: job.epoch,
        handle: job.handle,
        attempt: job.attempt,
    };
    let now = env.world.now;
    let scheduler = &mut env.world.scheduler;
    match scheduler.handle_still_runs(now, instance, attempt, None) {
        StillRuns::AskFirst(stamp) => {
            let answer = env.world.revoke(job.handle, stamp);
            let scheduler = &mut env.world.scheduler;
            scheduler.handle_still_runs(now, instance, attempt, Some(answer))
        }
        said => said,
    }
}

fn lose(env: &mut Env, worker: Worker, loss: Loss) {
    let now = env.world.now;
    let scheduler = &mut env.world.scheduler;
    scheduler.handle_worker_down(now, worker.id, worker.epoch, loss);
    env.run();
}

/// The place is retired, and then comes this outcome.
fn retired_and(env: &mut Env, task: u64, outcome: Outcome) -> Settled {
    let settled = match env.reply() {
        Reply::Retire { settled, .. } => settled,
        other => panic!("not retired: {other:?}"),
    };
    assert_eq!(env.outcome(task), outcome);
    settled
}

/// Its mailbox is empty, so that its place can be given out again.
fn drain(env: &mut Env, worker: Worker) {
    assert_eq!(env.take(worker), None);
    let now = env.world.now;
    env.world
        .scheduler
        .handle_drained(now, worker.id, worker.epoch);
    env.run();
}

#[test]
fn what_runs_over_a_stall_of_ours_goes_on() {
    let mut env = with_grace(0);
    let client = env.client();
    let old = env.worker(1);
    env.submit(client, any(1).attempts(1));
    env.submit(client, any(2));
    let runs = env.next(old).expect("a task");
    env.run();
    lose(&mut env, old, Loss::Stalled);
    assert_eq!(still_runs(&mut env, INSTANCE, runs), StillRuns::Noted);
    let back = env.worker_with(again(2, 1));
    env.run();
    let (reported, _) = env.hand_in(runs);
    assert_eq!(reported, Reported::Counted);
    let now = env.world.now;
    let scheduler = &mut env.world.scheduler;
    scheduler.handle_slot_freed(now, back.id, back.epoch);
    env.run();
    let settled = retired_and(&mut env, 1, Outcome::Completed);
    assert_eq!(settled.carried, 1);
    drain(&mut env, old);
    let second = env.next(back).expect("the next one");
    env.complete(second);
    env.run();
    assert_eq!(env.outcome(2), Outcome::Completed);
    assert_eq!(env.world.scheduler.stats().rerun, 0);
    env.finish();
}

#[test]
fn a_directed_task_whose_claim_nobody_told_goes_on_too() {
    let mut env = with_grace(30);
    let client = env.client();
    let old = env.worker(1);
    env.submit(client, Submit::new(TaskId(1), Target::Worker(old.id)));
    let runs = env.take(old).expect("it is there");
    // A liar that never took it is found out by the claim word, and the task waits on.
    env.submit(client, Submit::new(TaskId(2), Target::Worker(old.id)));
    lose(&mut env, old, Loss::Closed);
    assert_eq!(still_runs(&mut env, INSTANCE, runs), StillRuns::Noted);
    let back = env.worker_with(again(2, 1));
    env.run();
    assert_eq!(env.hand_in(runs), (Reported::Counted, None::<Revoked>));
    env.run();
    retired_and(&mut env, 1, Outcome::Completed);
    drain(&mut env, old);
    let second = env.take(back).expect("it went to the heir");
    env.complete(second);
    env.run();
    assert_eq!(env.outcome(2), Outcome::Completed);
    env.finish();
}

#[test]
fn another_process_of_that_name_carries_nothing() {
    let mut env = with_grace(30);
    let client = env.client();
    let old = env.worker(1);
    env.submit(client, any(1).attempts(1));
    let runs = env.next(old).expect("a task");
    lose(&mut env, old, Loss::Closed);
    let other = INSTANCE + 1;
    assert_eq!(still_runs(&mut env, other, runs), StillRuns::Dropped);
    let handed_in = env.world.scheduler.handle_handed_in(
        env.world.now,
        other,
        report(runs, Verdict::Completed),
        None,
    );
    assert_eq!(handed_in, Reported::Dropped);
    env.worker_with(Registration {
        instance: other,
        ..registration(1)
    });
    env.run();
    retired_and(&mut env, 1, Outcome::WorkerLost);
    drain(&mut env, old);
    env.finish();
}

#[test]
fn what_is_not_said_to_run_is_lost_at_the_return() {
    let mut env = with_grace(30);
    let client = env.client();
    let old = env.worker_with(Registration {
        slots: 2,
        ..registration(1)
    });
    env.submit(client, any(1).attempts(1));
    env.submit(client, any(2).attempts(1));
    let lost = env.next(old).expect("a task");
    let runs = env.next(old).expect("a task");
    lose(&mut env, old, Loss::Closed);
    assert_eq!(still_runs(&mut env, INSTANCE, runs), StillRuns::Noted);
    env.worker_with(Registration {
        slots: 2,
        ..again(2, 1)
    });
    env.run();
    assert_eq!(env.outcome(1), Outcome::WorkerLost);
    assert_ne!(lost.handle, runs.handle);
    assert_eq!(env.hand_in(runs).0, Reported::Counted);
    env.run();
    retired_and(&mut env, 2, Outcome::Completed);
    drain(&mut env, old);
    env.finish();
}

#[test]
fn a_second_loss_takes_what_was_carried_with_it() {
    for comes_back in [false, true] {
        let mut env = with_grace(30);
        let client = env.client();
        let old = env.worker(1);
        env.submit(client, any(1).attempts(1));
        let runs = env.next(old).expect("a task");
        lose(&mut env, old, Loss::Closed);
        assert_eq!(still_runs(&mut env, INSTANCE, runs), StillRuns::Noted);
        let second = env.worker_with(again(2, 1));
        env.run();
        lose(&mut env, second, Loss::Closed);
        if comes_back {
            assert_eq!(still_runs(&mut env, INSTANCE, runs), StillRuns::Noted);
            env.worker_with(again(3, 1));
            env.run();
            assert_eq!(env.hand_in(runs).0, Reported::Counted);
            env.run();
        } else {
            env.pass(40);
        }
        let mut outcomes = Vec::new();
        for _ in 0..3 {
            match env.reply() {
                Reply::Outcome(reply) => outcomes.push(reply.outcome),
                Reply::Retire { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        let expected = if comes_back {
            Outcome::Completed
        } else {
            Outcome::WorkerLost
        };
        assert_eq!(outcomes, [expected]);
        drain(&mut env, old);
        drain(&mut env, second);
        env.finish();
    }
}

#[test]
fn a_carried_task_can_be_stopped_by_its_process() {
    let mut env = with_grace(30);
    let client = env.client();
    let old = env.worker(1);
    env.submit(client, any(1));
    let runs = env.next(old).expect("a task");
    lose(&mut env, old, Loss::Closed);
    assert_eq!(still_runs(&mut env, INSTANCE, runs), StillRuns::Noted);
    let back = env.worker_with(again(2, 1));
    env.run();
    env.cancel(client, 1);
    let asked = env.abort();
    assert_eq!((asked.worker, asked.epoch), (back.id, back.epoch));
    assert_eq!((asked.handle, asked.attempt), (runs.handle, runs.attempt));
    let stopped = report(runs, Verdict::Aborted);
    let now = env.world.now;
    let scheduler = &mut env.world.scheduler;
    let reported = scheduler.handle_handed_in(now, INSTANCE, stopped, None);
    assert_eq!(reported, Reported::Counted);
    env.run();
    retired_and(&mut env, 1, Outcome::Cancelled { started: true });
    drain(&mut env, old);
    env.finish();
}

#[test]
fn a_name_that_is_up_carries_what_it_runs_to_its_next_registration() {
    // Its last connection is not known to be gone when it is back.
    let mut env = with_grace(0);
    let client = env.client();
    let old = env.worker(1);
    env.submit(client, any(1).attempts(1));
    let runs = env.next(old).expect("a task");
    assert_eq!(still_runs(&mut env, INSTANCE, runs), StillRuns::Noted);
    assert_eq!(env.register(again(2, 1)), Registered::Pending);
    env.run();
    let _evict = env.reply();
    lose(&mut env, old, Loss::Closed);
    let admitted = env.reply();
    assert!(matches!(admitted, Reply::Admitted { .. }), "{admitted:?}");
    assert_eq!(env.hand_in(runs).0, Reported::Counted);
    env.run();
    retired_and(&mut env, 1, Outcome::Completed);
    drain(&mut env, old);
    env.finish();
}

#[test]
fn a_client_is_told_once_of_each_rerun_and_before_the_outcome() {
    let mut env = with_grace(0);
    let client = env.client();
    let [first, second] = [env.worker(1), env.worker(2)];
    env.submit(client, any(7));
    let lost = env
        .next(first)
        .or_else(|| env.next(second))
        .expect("a task");
    let (gone, other) = if lost.worker == first.id {
        (first, second)
    } else {
        (second, first)
    };
    env.down(gone);
    let told: Vec<_> = env.notices.drain(..).collect();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].task, told[0].attempt), (TaskId(7), lost.attempt));
    assert_eq!((told[0].worker, told[0].epoch), (gone.id, gone.epoch));
    let job = env.next(other).expect("it runs again");
    env.complete(job);
    env.run();
    assert_eq!(env.outcome(7), Outcome::Completed);
    env.finish();
}

#[test]
fn a_worker_is_alive_as_long_as_it_is_attached() {
    let mut env = with_grace(0);
    let worker = env.worker(1);
    env.pass(20);
    let target = Target::Worker(worker.id);
    let known = |env: &Env| env.world.scheduler.liveness(env.world.now, target);
    let liveness = known(&env).expect("known");
    assert_eq!((liveness.alive, liveness.age_ms), (true, 20));
    let client = env.client();
    env.submit(client, any(1));
    let job = env.next(worker).expect("a task");
    env.complete(job);
    env.run();
    assert_eq!(known(&env).expect("known").age_ms, 0);
    assert_eq!(env.outcome(1), Outcome::Completed);
    env.down_only(worker);
    assert!(!known(&env).expect("for as long as it has a place").alive);
    env.run();
    let _retired = env.reply();
    drain(&mut env, worker);
    assert_eq!(known(&env), None);
    env.finish();
}

#[test]
fn what_is_for_a_worker_alone_does_not_wait_for_what_it_carries() {
    let mut env = with_grace(30);
    let client = env.client();
    let old = env.worker_with(Registration {
        slots: 2,
        ..registration(1)
    });
    env.submit(client, any(1));
    let runs = env.next(old).expect("a task");
    env.submit(client, Submit::new(TaskId(2), Target::Worker(old.id)));
    lose(&mut env, old, Loss::Closed);
    assert_eq!(still_runs(&mut env, INSTANCE, runs), StillRuns::Noted);
    let back = env.worker_with(Registration {
        slots: 2,
        ..again(2, 1)
    });
    env.run();
    env.pass(10_000);
    assert!(
        env.take(back).is_some(),
        "the directed task waits for the carried one"
    );
}

#[test]
fn a_place_that_was_draining_ends_with_what_it_carries() {
    let mut env = with_grace(0);
    let client = env.client();
    let old = env.worker(1);
    env.submit(client, any(1).attempts(1));
    let runs = env.next(old).expect("a task");
    let now = env.world.now;
    assert!(env.world.scheduler.handle_drain(now, old.id));
    env.run();
    assert!(matches!(env.reply(), Reply::Pause { .. }));
    env.world.scheduler.handle_paused(now, old.id, old.epoch);
    assert_eq!(still_runs(&mut env, INSTANCE, runs), StillRuns::Noted);
    assert_eq!(env.register(again(2, 1)), Registered::Pending);
    env.run();
    let _evict = env.reply();
    lose(&mut env, old, Loss::Closed);
    let admitted = env.reply();
    assert!(matches!(admitted, Reply::Admitted { .. }), "{admitted:?}");
    assert_eq!(env.hand_in(runs).0, Reported::Counted);
    env.run();
    env.pass(10_000);
    retired_and(&mut env, 1, Outcome::Completed);
}

#[test]
fn a_drain_waits_for_what_the_worker_carries() {
    let mut env = with_grace(0);
    let client = env.client();
    let old = env.worker(1);
    env.submit(client, any(1).attempts(1));
    let runs = env.next(old).expect("a task");
    env.run();
    lose(&mut env, old, Loss::Stalled);
    assert_eq!(still_runs(&mut env, INSTANCE, runs), StillRuns::Noted);
    let back = env.worker_with(again(2, 1));
    env.run();
    let now = env.world.now;
    assert!(env.world.scheduler.handle_drain(now, back.id));
    env.run();
    assert!(matches!(env.reply(), Reply::Pause { .. }));
    env.world.scheduler.handle_paused(now, back.id, back.epoch);
    env.no_replies();
}

#[test]
fn an_abort_goes_where_the_process_is_now() {
    use taskyard_core::PortId;
    let mut env = Env::with(Config {
        tasks: 16,
        quota: 16,
        ports: 2,
        rejoin_grace_ms: 30,
        ..Config::default()
    });
    let client = env.client();
    let old = env.worker(1);
    env.submit(client, any(1));
    let runs = env.next(old).expect("a task");
    lose(&mut env, old, Loss::Closed);
    assert_eq!(still_runs(&mut env, INSTANCE, runs), StillRuns::Noted);
    let now = env.world.now;
    let up = env
        .world
        .scheduler
        .handle_worker_up(now, PortId(1), again(2, 1));
    assert!(matches!(up, Registered::Admitted { .. }));
    env.run();
    env.world.scheduler.handle_cancel(now, client, TaskId(1));
    let at = env.world.scheduler.poll_due_port();
    assert_eq!(at, Some(PortId(1)));
}

#[test]
fn what_waits_follows_a_process_that_is_back_before_its_loss() {
    let mut env = with_grace(0);
    let client = env.client();
    let old = env.worker(1);
    env.submit(client, Submit::new(TaskId(1), Target::Worker(old.id)));
    let runs = env.take(old).expect("a task");
    env.submit(client, Submit::new(TaskId(2), Target::Worker(old.id)));
    assert_eq!(still_runs(&mut env, INSTANCE, runs), StillRuns::Noted);
    assert_eq!(env.register(again(2, 1)), Registered::Pending);
    env.run();
    let _evict = env.reply();
    lose(&mut env, old, Loss::Closed);
    let admitted = env.reply();
    assert!(matches!(admitted, Reply::Admitted { .. }), "{admitted:?}");
    env.no_replies();
}

#[test]
fn what_waits_for_a_process_that_was_back_ends_with_it() {
    let mut env = with_grace(0);
    let client = env.client();
    let old = env.worker(1);
    let runs = Submit::new(TaskId(1), Target::Worker(old.id));
    env.submit(client, runs);
    let _lost_on_the_way = env.take(old).expect("it is there");
    env.submit(client, Submit::new(TaskId(2), Target::Worker(old.id)));
    assert_eq!(env.register(again(2, 0)), Registered::Pending);
    let now = env.world.now;
    let scheduler = &mut env.world.scheduler;
    scheduler.handle_worker_down(now, old.id, old.epoch, Loss::Closed);
    // Before anything that the old place had is settled, the new one is gone as well.
    let new = scheduler
        .liveness(now, Target::Named(taskyard_core::NameKey(1)))
        .expect("admitted");
    scheduler.handle_worker_down(now, new.worker, new.epoch, Loss::Left);
    env.run();
    env.pass(2);
    let mut ended = Vec::new();
    while ended.len() < 2 {
        match env.reply() {
            Reply::Outcome(reply) => ended.push((reply.task.0, reply.outcome)),
            Reply::Retire { .. } | Reply::Admitted { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    ended.sort_by_key(|(task, _)| *task);
    assert_eq!(ended, [(1, Outcome::WorkerLost), (2, Outcome::WorkerLost)]);
}

#[test]
fn a_wait_that_had_become_hopeless_makes_no_directed_task_run_twice() {
    let mut env = with_grace(0);
    let client = env.client();
    let old = env.worker(1);
    env.submit(client, Submit::new(TaskId(1), Target::Worker(old.id)));
    let _lost_on_the_way = env.take(old).expect("it is there");
    let waits = Submit::new(TaskId(2), Target::Worker(old.id)).attempts(4);
    env.submit(client, waits);
    assert_eq!(env.register(again(2, 0)), Registered::Pending);
    let now = env.world.now;
    let scheduler = &mut env.world.scheduler;
    scheduler.handle_worker_down(now, old.id, old.epoch, Loss::Closed);
    let name = Target::Named(taskyard_core::NameKey(1));
    let new = scheduler.liveness(now, name).expect("admitted");
    scheduler.handle_worker_down(now, new.worker, new.epoch, Loss::Left);
    env.run();
    // The end of its wait is due, but before that another process of the name is there.
    let third = env.worker_with(Registration {
        instance: INSTANCE + 1,
        ..registration(1)
    });
    env.run();
    let task = env.take(third).expect("it was handed over");
    assert_eq!(task.attempt.0, 1);
    lose(&mut env, third, Loss::Closed);
    loop {
        match env.reply() {
            Reply::Outcome(reply) if reply.task == TaskId(2) => {
                break assert_eq!(reply.outcome, Outcome::WorkerLost);
            }
            Reply::Outcome(reply) => assert_eq!(reply.task, TaskId(1)),
            _ => {}
        }
    }
}
