//! Multicast: all or nothing, one outcome per part, then the summary.

use taskyard_core::{
    Config, Outcome, Refusal, Reply, Reported, Submit, Submitted, Target, TaskId, Verdict,
};

use crate::env::{Env, retire_of};

fn all(task: u64) -> Submit {
    Submit::new(TaskId(task), Target::All)
}

#[test]
fn every_worker_runs_it_once() {
    let mut env = Env::new();
    let client = env.client();
    let workers = [env.worker(1), env.worker(2), env.worker(3)];
    env.submit(client, all(5));
    for (nth, worker) in workers.into_iter().enumerate() {
        let job = env.take(worker).expect("a part");
        assert_eq!(env.take(worker), None);
        let verdict = if nth == 1 {
            Verdict::Failed
        } else {
            Verdict::Completed
        };
        assert_eq!(env.report(job, verdict), Reported::Counted);
        let reply = env.outcome_reply();
        assert!(reply.part);
        assert_eq!(reply.worker, Some((worker.id, worker.epoch)));
        assert_eq!(reply.task, TaskId(5));
    }
    assert_eq!(
        env.outcome(5),
        Outcome::Summary {
            parts: 3,
            completed: 2
        }
    );
    env.finish();
}

#[test]
fn without_workers_the_summary_comes_at_once() {
    let mut env = Env::new();
    let client = env.client();
    env.submit(client, all(5));
    assert_eq!(
        env.outcome(5),
        Outcome::Summary {
            parts: 0,
            completed: 0
        }
    );
    env.finish();
}

#[test]
fn too_wide_is_refused_whole() {
    let mut env = Env::with(Config {
        tasks: 3,
        quota: 3,
        ..Config::default()
    });
    let client = env.client();
    for name in 0..3 {
        env.worker(name);
    }
    let refused = env.try_submit(client, all(1));
    assert_eq!(refused, Submitted::Refused(Refusal::MulticastTooWide));
    assert_eq!(env.world.scheduler.tasks(), 0);
    env.finish();
}

#[test]
fn reserved_places_are_not_given_to_others() {
    let mut env = Env::with(Config {
        tasks: 3,
        quota: 3,
        ..Config::default()
    });
    let (client, other) = (env.hello(1, 1, false), env.hello(2, 1, false));
    let workers = [env.worker(1), env.worker(2)];
    let Submitted::Accepted(handle) = env.try_submit(client, all(1)) else {
        panic!("refused")
    };
    assert!(env.world.payloads.contains(&handle));
    let refused = env.try_submit(other, Submit::new(TaskId(1), Target::Any));
    assert_eq!(refused, Submitted::Refused(Refusal::TasksFull));
    env.run();
    for worker in workers {
        let job = env.take(worker).expect("a part");
        env.complete(job);
        assert_eq!(env.outcome(1), Outcome::Completed);
    }
    assert_eq!(
        env.outcome(1),
        Outcome::Summary {
            parts: 2,
            completed: 2
        }
    );
    env.finish();
}

/// One worker came too late, one left before the submit, one between submit and the making of
/// parts.
#[test]
fn those_attached_at_the_submit_are_meant() {
    let mut env = Env::new();
    let client = env.client();
    let before = env.worker(1);
    let (stays, leaves) = (env.worker(2), env.worker(3));
    env.down_only(before);
    assert!(matches!(
        env.try_submit(client, all(1)),
        Submitted::Accepted(_)
    ));
    env.down_only(leaves);
    let late = env.worker(4);
    env.run();
    assert_eq!(env.take(late), None);
    let lost = loop {
        if let Reply::Outcome(reply) = env.reply() {
            break reply;
        }
    };
    assert_eq!(lost.outcome, Outcome::WorkerLost);
    assert_eq!(lost.worker, Some((leaves.id, leaves.epoch)));
    let job = env.take(stays).expect("a part");
    env.complete(job);
    while let Reply::Retire { .. } = env.reply() {}
    assert_eq!(
        env.outcome(1),
        Outcome::Summary {
            parts: 2,
            completed: 1
        }
    );
    env.finish();
}

#[test]
fn cancel_reaches_every_part() {
    let mut env = Env::new();
    let client = env.client();
    let workers = [env.worker(1), env.worker(2)];
    env.submit(client, all(1));
    let job = env.take(workers[0]).expect("a part");
    env.cancel(client, 1);
    assert_eq!(env.abort(), job);
    assert_eq!(env.outcome(1), Outcome::Cancelled { started: false });
    assert_eq!(env.report(job, Verdict::Aborted), Reported::Counted);
    assert_eq!(env.outcome(1), Outcome::Cancelled { started: true });
    assert_eq!(
        env.outcome(1),
        Outcome::Summary {
            parts: 2,
            completed: 0
        }
    );
    assert_eq!(env.take(workers[1]), None);
    env.finish();
}

#[test]
fn cancel_before_the_parts_are_made() {
    let mut env = Env::new();
    let client = env.client();
    let workers = [env.worker(1), env.worker(2)];
    assert!(matches!(
        env.try_submit(client, all(1)),
        Submitted::Accepted(_)
    ));
    env.cancel(client, 1);
    for worker in workers {
        assert_eq!(env.take(worker), None);
        assert_eq!(env.outcome(1), Outcome::Cancelled { started: false });
    }
    assert_eq!(
        env.outcome(1),
        Outcome::Summary {
            parts: 2,
            completed: 0
        }
    );
    env.finish();
}

#[test]
fn a_goodbye_drops_parts_made_and_not_made() {
    let mut env = Env::new();
    let client = env.hello(1, 1, true);
    let workers = [env.worker(1), env.worker(2), env.worker(3)];
    assert!(matches!(
        env.try_submit(client, all(1)),
        Submitted::Accepted(_)
    ));
    env.world.run_effects(1);
    env.world.scheduler.handle_goodbye(env.world.now, client);
    env.run();
    for worker in workers {
        assert_eq!(env.take(worker), None);
    }
    env.finish();
}

/// The last of three leaves while the first part is being made, and its mailbox is drained at once.
#[test]
fn a_place_is_kept_while_a_multicast_may_mean_it() {
    let mut env = Env::new();
    let client = env.client();
    let [first, second, last] = [env.worker(1), env.worker(2), env.worker(3)];
    assert!(matches!(
        env.try_submit(client, all(1)),
        Submitted::Accepted(_)
    ));
    env.down_only(last);
    env.world.run_effects(1);
    let replies = env.world.replies(usize::MAX);
    let retire = retire_of(last);
    assert!(replies.iter().any(|(_, reply)| *reply == retire));
    env.world
        .scheduler
        .handle_drained(env.world.now, last.id, last.epoch);
    env.run();
    assert_eq!(env.outcome(1), Outcome::WorkerLost);
    for worker in [first, second] {
        let job = env.take(worker).expect("a part");
        env.complete(job);
        assert_eq!(env.outcome(1), Outcome::Completed);
    }
    assert_eq!(
        env.outcome(1),
        Outcome::Summary {
            parts: 3,
            completed: 2
        }
    );
    env.finish();
}
