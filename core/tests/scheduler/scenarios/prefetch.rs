//! Tasks on the wire beyond a worker's slots: started when the worker says so, or given back.

use taskyard_core::{
    ClientId, Deadline, LabelKey, Labels, Outcome, Registration, Reply, Reported, Select, Submit,
    Sweep, Target, TaskId, Token, Verdict,
};

use crate::env::{Env, PORT, Worker, registration};
use crate::world::Job;

/// One slot, and two tasks in advance.
fn eager(env: &mut Env, name: u128) -> Worker {
    env.worker_with(Registration {
        prefetch: 2,
        ..registration(name)
    })
}

fn any(task: u64) -> Submit {
    Submit::new(TaskId(task), Target::Any)
}

fn only(task: u64, worker: Worker) -> Submit {
    Submit::new(TaskId(task), Target::Worker(worker.id))
}

/// A worker that runs one task and was sent another, and both of them.
fn with_one_ahead(env: &mut Env) -> (Worker, Job, Job, ClientId) {
    let client = env.client();
    let worker = eager(env, 1);
    env.submit(client, only(1, worker));
    env.submit(client, only(2, worker));
    let (first, second) = (env.take(worker), env.take(worker));
    (
        worker,
        first.expect("a task"),
        second.expect("another"),
        client,
    )
}

#[test]
fn what_any_worker_may_run_is_sent_ahead_too() {
    let mut env = Env::new();
    let client = env.client();
    let worker = eager(&mut env, 1);
    for task in 1..=4 {
        env.submit(client, any(task));
    }
    let first = env.steal(worker).expect("the first");
    let (second, third) = (env.steal_ahead(worker), env.steal_ahead(worker));
    assert_eq!(env.world.scheduler.stats().prefetched, 2);
    env.complete(first);
    assert_eq!(env.outcome(1), Outcome::Completed);
    env.started(second);
    env.complete(second);
    assert_eq!(env.outcome(2), Outcome::Completed);
    // A result says that it has started, too.
    env.complete(third);
    assert_eq!(env.outcome(3), Outcome::Completed);
    let last = env.steal(worker).expect("the last");
    env.complete(last);
    assert_eq!(env.outcome(4), Outcome::Completed);
    assert_eq!(env.world.scheduler.stats().started, 4);
    env.finish();
}

#[test]
fn a_hungry_worker_gets_what_another_was_sent_ahead() {
    let mut env = Env::new();
    let client = env.client();
    let busy = eager(&mut env, 1);
    env.submit(client, any(1));
    env.submit(client, any(2));
    let first = env.steal(busy).expect("the first");
    let second = env.steal_ahead(busy);
    env.no_replies();
    let hungry = env.worker(2);
    env.run();
    assert_eq!(env.recall(), second);
    env.given_back(second);
    let again = env.steal(hungry).expect("it is in the pool again");
    assert_eq!(
        (again.handle, again.attempt),
        (second.handle, second.attempt)
    );
    env.complete(first);
    env.complete(again);
    assert_eq!(env.outcome(1), Outcome::Completed);
    assert_eq!(env.outcome(2), Outcome::Completed);
    env.finish();
}

#[test]
fn a_sweep_waits_for_what_is_asked_back() {
    let mut env = Env::new();
    let (worker, first, second, _) = with_one_ahead(&mut env);
    let sweep = Sweep {
        token: Token(5),
        select: Select::Topic(Target::Worker(worker.id)),
    };
    let now = env.world.now;
    assert!(env.world.scheduler.handle_sweep(now, PORT, sweep));
    env.run();
    let mut asked = [env.recall(), env.recall()];
    asked.sort_by_key(|job| job.handle);
    assert_eq!(asked, [first, second]);
    env.started(first);
    env.no_replies();
    env.given_back(second);
    let mut replies = [env.reply(), env.reply()];
    replies.sort_by_key(|reply| matches!(reply, Reply::Outcome(_)));
    let [swept, outcome] = replies;
    let touched = 1;
    assert_eq!(
        swept,
        Reply::Swept {
            token: Token(5),
            touched
        }
    );
    assert!(matches!(outcome, Reply::Outcome(reply) if reply.task == TaskId(2)));
    env.complete(first);
    assert_eq!(env.outcome(1), Outcome::Completed);
    env.finish();
}

#[test]
fn what_was_given_back_is_made_anew_as_the_same_attempt() {
    let mut env = Env::new();
    let (worker, first, second, _) = with_one_ahead(&mut env);
    env.given_back(second);
    let again = env.take(worker).expect("the same");
    assert_eq!(again, second);
    env.started(again);
    env.given_back(again);
    assert_eq!(env.world.scheduler.stats().stale_return, 1, "too late");
    env.complete(first);
    env.complete(again);
    assert_eq!(env.outcome(1), Outcome::Completed);
    assert_eq!(env.outcome(2), Outcome::Completed);
    env.finish();
}

#[test]
fn a_cancel_asks_it_back_and_it_has_never_started() {
    let mut env = Env::new();
    let (_, first, second, client) = with_one_ahead(&mut env);
    env.cancel(client, 2);
    assert_eq!(env.recall(), second);
    env.no_replies();
    env.given_back(second);
    assert_eq!(env.outcome(2), Outcome::Cancelled { started: false });
    env.given_back(second);
    assert_eq!(env.world.scheduler.stats().stale_return, 1);
    env.complete(first);
    assert_eq!(env.outcome(1), Outcome::Completed);
    env.finish();
}

#[test]
fn a_cancel_comes_too_late_for_what_has_started() {
    let mut env = Env::new();
    let (_, first, second, client) = with_one_ahead(&mut env);
    env.complete(first);
    assert_eq!(env.outcome(1), Outcome::Completed);
    env.cancel(client, 2);
    assert_eq!(env.recall(), second);
    env.started(second);
    assert_eq!(env.abort(), second);
    assert_eq!(env.report(second, Verdict::Aborted), Reported::Counted);
    assert_eq!(env.outcome(2), Outcome::Cancelled { started: true });
    env.finish();
}

#[test]
fn a_result_comes_before_the_answer() {
    let mut env = Env::new();
    let (_, first, second, client) = with_one_ahead(&mut env);
    env.cancel(client, 2);
    assert_eq!(env.recall(), second);
    env.complete(second);
    assert_eq!(env.outcome(2), Outcome::Completed);
    env.complete(first);
    assert_eq!(env.outcome(1), Outcome::Completed);
    env.finish();
}

#[test]
fn at_a_loss_it_counts_as_started() {
    let mut env = Env::new();
    let (worker, .., client) = with_one_ahead(&mut env);
    env.cancel(client, 2);
    env.recall();
    env.down(worker);
    assert_eq!(env.outcome(1), Outcome::WorkerLost);
    let reply = env.outcome_reply();
    assert_eq!(
        (reply.task, reply.outcome, reply.attempts),
        (TaskId(2), Outcome::WorkerLost, 1)
    );
    env.finish();
}

#[test]
fn another_worker_that_is_hungry_gets_it() {
    let mut env = Env::new();
    let client = env.client();
    let label = LabelKey(5);
    let labels = Labels::new([label]);
    let eager = env.worker_with(Registration {
        prefetch: 2,
        labels,
        ..registration(1)
    });
    for task in 1..=2 {
        env.submit(client, Submit::new(TaskId(task), Target::Label(label)));
    }
    // Of offers, no more than one waits for a slot.
    let jobs = [1, 2].map(|_| env.take(eager).expect("one of two"));
    let other = env.worker_with(Registration {
        labels,
        ..registration(2)
    });
    env.run();
    assert_eq!(env.recall(), jobs[1]);
    env.given_back(jobs[1]);
    let moved = env.take(other).expect("the one that was given back");
    assert_eq!(moved.handle, jobs[1].handle);
    assert_eq!(env.world.scheduler.stats().reoffered, 1);
    for (job, task) in [(jobs[0], 1), (moved, 2)] {
        env.complete(job);
        assert_eq!(env.outcome(task), Outcome::Completed);
    }
    env.finish();
}

#[test]
fn it_has_its_deadline_until_it_starts() {
    let mut env = Env::new();
    let client = env.client();
    let worker = eager(&mut env, 1);
    env.submit(client, only(1, worker));
    let first = env.take(worker).expect("a task");
    for task in 2..=3 {
        let within = Submit {
            start_within_ms: 10,
            ..only(task, worker)
        };
        env.submit(client, within);
    }
    let [second, third] = [1, 2].map(|_| env.take(worker).expect("in advance"));
    env.started(second);
    env.pass(12);
    assert_eq!(env.recall(), third, "the other one has started in time");
    env.given_back(third);
    assert_eq!(env.outcome(3), Outcome::TimedOut(Deadline::Start));
    env.complete(first);
    env.complete(second);
    assert_eq!(env.outcome(1), Outcome::Completed);
    assert_eq!(env.outcome(2), Outcome::Completed);
    env.finish();
}

#[test]
fn hold_asks_it_back() {
    let mut env = Env::new();
    let (worker, first, second, _) = with_one_ahead(&mut env);
    let now = env.world.now;
    let Worker { id, epoch } = worker;
    assert!(env.world.scheduler.handle_hold(now, id, true));
    env.run();
    assert!(matches!(env.reply(), Reply::Pause { paused: true, .. }));
    env.world.scheduler.handle_paused(now, id, epoch);
    env.run();
    // The last one first, so that they keep their order when they are back.
    assert_eq!(env.recall(), second);
    assert_eq!(env.recall(), first);
    env.started(first);
    env.given_back(second);
    env.complete(first);
    assert_eq!(env.outcome(1), Outcome::Completed);
    env.no_replies();
    assert!(env.world.scheduler.handle_hold(now, id, false));
    env.run();
    assert!(matches!(env.reply(), Reply::Pause { paused: false, .. }));
    let again = env.take(worker).expect("it is released");
    env.complete(again);
    assert_eq!(env.outcome(2), Outcome::Completed);
    env.finish();
}

#[test]
fn drain_asks_it_back_and_then_the_worker_leaves() {
    let mut env = Env::new();
    let (worker, first, second, _) = with_one_ahead(&mut env);
    let now = env.world.now;
    let Worker { id, epoch } = worker;
    assert!(env.world.scheduler.handle_drain(now, id));
    env.run();
    assert!(matches!(env.reply(), Reply::Pause { paused: true, .. }));
    env.world.scheduler.handle_paused(now, id, epoch);
    env.run();
    let asked = [env.recall(), env.recall()];
    assert_eq!(asked, [second, first]);
    env.started(first);
    env.given_back(second);
    env.complete(first);
    assert_eq!(env.reply(), Reply::Evict { worker: id, epoch });
    assert_eq!(env.outcome(1), Outcome::Completed);
    env.down(worker);
    let reply = env.outcome_reply();
    assert_eq!((reply.outcome, reply.attempts), (Outcome::WorkerLost, 0));
    env.finish();
}
