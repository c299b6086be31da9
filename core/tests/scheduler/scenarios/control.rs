//! Queue control: counting, listing, explaining, removing; holding and draining workers.

use taskyard_core::{
    ClientId, Config, Cursor, Explanation, Instant, LabelKey, Labels, Outcome, PortId, Refusal,
    Registration, Reply, Select, Submit, Submitted, Sweep, Target, TaskId, Token,
};

use crate::env::{Env, PORT, Worker, registration};

const REMOVED: Outcome = Outcome::Cancelled { started: false };
const GPU: LabelKey = LabelKey(7);

fn any(task: u64) -> Submit {
    Submit::new(TaskId(task), Target::Any)
}

fn to(task: u64, worker: Worker) -> Submit {
    Submit::new(TaskId(task), Target::Worker(worker.id))
}

/// Three steps per poll.
fn roomy() -> Env {
    Env::with(Config {
        tasks: 64,
        quota: 64,
        work_per_poll: 3,
        ..Config::default()
    })
}

fn label(task: u64) -> Submit {
    Submit::new(TaskId(task), Target::Label(GPU))
}

/// Removes, and returns how many that were by the answer; all outcomes say so, too.
fn sweep(env: &mut Env, select: Select) -> u32 {
    let token = Token(99);
    let now = env.world.now;
    let sweep = Sweep { select, token };
    assert!(env.world.scheduler.handle_sweep(now, PORT, sweep));
    env.run();
    let mut removed = 0;
    loop {
        match env.reply() {
            Reply::Outcome(reply) => {
                assert_eq!(reply.outcome, REMOVED);
                removed += 1;
            }
            Reply::Swept { token, touched } => {
                assert_eq!(token, Token(99));
                while removed < touched {
                    assert_eq!(env.outcome_reply().outcome, REMOVED);
                    removed += 1;
                }
                assert_eq!(removed, touched);
                return touched;
            }
            other => panic!("not expected: {other:?}"),
        }
    }
}

fn explain(env: &Env, client: ClientId, task: u64) -> Option<Explanation> {
    let scheduler = &env.world.scheduler;
    scheduler.explain(env.world.now, client, TaskId(task))
}

#[test]
fn a_list_has_every_task_once() {
    let mut env = roomy();
    let (first, second) = (env.hello(1, 1, false), env.hello(2, 1, false));
    let worker = env.worker(1);
    for task in 0..10 {
        env.submit(first, any(task));
        env.submit(second, to(task, worker));
    }
    env.world.now = env.world.now.after_ms(500);
    let list = |select| {
        let mut lines = Vec::new();
        let mut from = Some(Cursor::default());
        while let Some(cursor) = from {
            let visit = |line| lines.push(line);
            let now = env.world.now;
            from = env.world.scheduler.list(now, select, cursor, 3, visit);
        }
        lines
    };
    assert_eq!(list(Select::All).len(), 20);
    let lines = list(Select::Client(second));
    assert_eq!(lines.len(), 10);
    assert!(
        lines
            .iter()
            .all(|line| line.target == Target::Worker(worker.id))
    );
    assert!(lines.iter().all(|line| line.client == Some(second)));
    assert!(lines.iter().all(|line| (499..=501).contains(&line.age_ms)));
    assert_eq!(list(Select::Topic(Target::Any)).len(), 10);
    assert_eq!(list(Select::OlderThanMs(400)).len(), 20);
    assert_eq!(list(Select::OlderThanMs(600)).len(), 0);
    assert_eq!(sweep(&mut env, Select::All), 20);
    while env.next(worker).is_some() {}
    env.finish();
}

#[test]
fn a_sweep_takes_what_is_meant_and_has_not_started() {
    let mut env = roomy();
    let (first, second) = (env.hello(1, 1, false), env.hello(2, 1, false));
    let worker = env.worker(1);
    for task in 0..6 {
        env.submit(first, any(task));
        env.submit(second, any(task));
        env.submit(second, to(100 + task, worker));
    }
    let running = env.take(worker).expect("its own");
    assert_eq!(sweep(&mut env, Select::Client(first)), 6);
    let one = Select::Task {
        client: second,
        task: TaskId(3),
    };
    assert_eq!(sweep(&mut env, one), 1);
    assert_eq!(sweep(&mut env, one), 0);
    let topic = Select::Topic(Target::Worker(worker.id));
    assert_eq!(sweep(&mut env, topic), 5, "one has started");
    env.complete(running);
    assert_eq!(env.outcome_reply().outcome, Outcome::Completed);
    assert_eq!(sweep(&mut env, Select::Topic(Target::Label(GPU))), 0);
    assert_eq!(sweep(&mut env, Select::Topic(Target::Any)), 5);
    assert_eq!(env.world.scheduler.stats().removed, 17);
    while env.next(worker).is_some() {}
    env.finish();
}

/// The next polls have no effect for the driver, and this many were needed until nothing is left.
fn silent_polls(env: &mut Env) -> u32 {
    let mut polls = 0;
    loop {
        let effect = env.world.scheduler.poll_effect(env.world.now);
        assert_eq!(effect, None, "what waits in the core has no envelope");
        polls += 1;
        assert!(polls < 100, "polls without end");
        if env.world.scheduler.next_timeout() != Some(Instant(0)) {
            return polls;
        }
    }
}

#[test]
fn a_sweep_of_a_client_looks_at_no_other_client() {
    let mut env = roomy();
    let (other, client) = (env.hello(1, 1, false), env.hello(2, 1, false));
    for task in 0..40 {
        env.submit(other, label(task));
    }
    for task in 0..6 {
        env.submit(client, label(task));
    }
    let (now, token) = (env.world.now, Token(1));
    let mut polls = |select| {
        let sweep = Sweep { select, token };
        assert!(env.world.scheduler.handle_sweep(now, PORT, sweep));
        silent_polls(&mut env)
    };
    // A step to begin, one per task, one to end: three per poll, and a look at what is left.
    let few = polls(Select::Client(client));
    assert!(few <= 4, "{few} polls");
    let all = polls(Select::All);
    assert!(all > 10, "{all} polls: the measure is blind");
}

#[test]
fn a_sweep_of_a_client_goes_on_behind_what_leaves() {
    // Whichever leaves between two polls, also the one that would have been next.
    for gone in 0..8 {
        let mut env = roomy();
        let client = env.hello(1, 1, false);
        for task in 0..8 {
            env.submit(client, label(task));
        }
        let (now, token) = (env.world.now, Token(1));
        let select = Select::Client(client);
        let scheduler = &mut env.world.scheduler;
        assert!(scheduler.handle_sweep(now, PORT, Sweep { select, token }));
        assert_eq!(scheduler.poll_effect(now), None);
        let removed = scheduler.stats().removed;
        assert_eq!(removed, 2, "the first step is to begin");
        scheduler.handle_cancel(now, client, TaskId(gone));
        let cancelled = u32::from(gone >= removed);
        silent_polls(&mut env);
        env.run();
        let touched = 8 - cancelled;
        assert_eq!(env.reply(), Reply::Swept { token, touched });
        for _ in 0..8 {
            assert_eq!(env.outcome_reply().outcome, REMOVED);
        }
        env.finish();
    }
}

#[test]
fn a_sweep_of_a_client_ends_with_the_client() {
    let mut env = roomy();
    let client = env.hello(1, 1, false);
    for task in 0..8 {
        env.submit(client, label(task));
    }
    let (now, token) = (env.world.now, Token(1));
    let select = Select::Client(client);
    let scheduler = &mut env.world.scheduler;
    assert!(scheduler.handle_sweep(now, PORT, Sweep { select, token }));
    assert_eq!(scheduler.poll_effect(now), None);
    scheduler.handle_goodbye(now, client);
    env.run();
    assert_eq!(env.reply(), Reply::Swept { token, touched: 2 });
    env.finish();
}

#[test]
fn a_sweep_by_age_spares_the_young() {
    let mut env = roomy();
    let client = env.client();
    env.submit(client, any(1));
    env.world.now = env.world.now.after_ms(100);
    env.submit(client, any(2));
    assert_eq!(sweep(&mut env, Select::OlderThanMs(50)), 1);
    assert_eq!(sweep(&mut env, Select::OlderThanMs(u64::MAX)), 0);
    assert_eq!(sweep(&mut env, Select::All), 1);
    env.finish();
}

#[test]
fn a_sweep_takes_the_parts_of_a_multicast() {
    let mut env = roomy();
    let client = env.client();
    let (first, second) = (env.worker(1), env.worker(2));
    env.submit(client, Submit::new(TaskId(1), Target::All));
    let job = env.take(first).expect("its part");
    let token = Token(1);
    let select = Select::Topic(Target::All);
    let now = env.world.now;
    let taken = env
        .world
        .scheduler
        .handle_sweep(now, PORT, Sweep { select, token });
    assert!(taken);
    env.run();
    assert_eq!(env.reply(), Reply::Swept { token, touched: 1 });
    assert_eq!(env.outcome(1), REMOVED);
    env.complete(job);
    assert_eq!(env.outcome(1), Outcome::Completed);
    let summary = Outcome::Summary {
        parts: 2,
        completed: 1,
    };
    assert_eq!(env.outcome(1), summary);
    assert_eq!(env.take(second), None);
    env.finish();
}

#[test]
fn orders_are_limited() {
    let mut env = roomy();
    let sweep = Sweep {
        select: Select::All,
        token: Token(0),
    };
    let now = env.world.now;
    let scheduler = &mut env.world.scheduler;
    assert!(!scheduler.handle_sweep(now, PortId(999), sweep));
    for _ in 0..taskyard_core::Scheduler::SWEEPS_MAX {
        assert!(scheduler.handle_sweep(now, PORT, sweep));
    }
    assert!(!scheduler.handle_sweep(now, PORT, sweep));
    env.run();
    for _ in 0..taskyard_core::Scheduler::SWEEPS_MAX {
        assert!(matches!(env.reply(), Reply::Swept { touched: 0, .. }));
    }
    env.finish();
}

#[test]
fn a_held_worker_is_given_nothing() {
    let mut env = roomy();
    let client = env.client();
    let labels = Labels::new([GPU]);
    let worker = env.worker_with(Registration {
        labels,
        ..registration(1)
    });
    env.submit(client, label(1));
    let now = env.world.now;
    assert!(env.world.scheduler.handle_hold(now, worker.id, true));
    env.run();
    let Worker { id, epoch } = worker;
    let pause = |paused| Reply::Pause {
        worker: id,
        epoch,
        paused,
    };
    assert_eq!(env.reply(), pause(true));
    assert_eq!(env.take(worker), None, "the offer was withdrawn");
    env.submit(client, to(2, worker));
    assert_eq!(explain(&env, client, 2), Some(Explanation::WorkerHeld(id)));
    let nobody = Some(Explanation::NoWorkerWithLabel(GPU));
    assert_eq!(explain(&env, client, 1), nobody);
    assert!(env.world.scheduler.handle_hold(now, worker.id, false));
    env.run();
    assert_eq!(env.reply(), pause(false));
    for _ in 0..2 {
        let job = env.take(worker).expect("released");
        env.complete(job);
        assert_eq!(env.outcome_reply().outcome, Outcome::Completed);
    }
    env.finish();
}

#[test]
fn a_draining_worker_finishes_what_it_runs_and_leaves() {
    let mut env = roomy();
    let client = env.client();
    let worker = env.worker(1);
    env.submit(client, to(1, worker));
    env.submit(client, to(2, worker));
    env.submit(client, to(3, worker).hold_ms(1_000));
    let running = env.take(worker).expect("its own");
    let now = env.world.now;
    assert!(env.world.scheduler.handle_drain(now, worker.id));
    env.run();
    assert!(matches!(env.reply(), Reply::Pause { paused: true, .. }));
    let refused = Submitted::Refused(Refusal::NoSuchWorker);
    assert_eq!(env.try_submit(client, to(4, worker)), refused);
    let Worker { id, epoch } = worker;
    env.world.scheduler.handle_paused(now, id, epoch);
    env.no_replies();
    env.complete(running);
    let (eviction, outcome) = (env.reply(), env.outcome(1));
    assert_eq!(eviction, Reply::Evict { worker: id, epoch });
    assert_eq!(outcome, Outcome::Completed);
    env.down(worker);
    assert_eq!(env.outcome(2), Outcome::WorkerLost);
    let back = env.worker(1);
    env.run();
    let job = env.take(back).expect("it was held");
    env.complete(job);
    assert_eq!(env.outcome(3), Outcome::Completed);
    env.finish();
}

#[test]
fn it_is_said_why_a_task_is_not_running() {
    let mut env = Env::with(Config {
        tasks: 16,
        quota: 16,
        queue_ahead: 0,
        ..Config::default()
    });
    let client = env.hello(1, 1, true);
    for task in 1..=3 {
        env.submit(client, any(task));
    }
    assert_eq!(explain(&env, client, 1), Some(Explanation::InPool));
    assert_eq!(explain(&env, client, 3), Some(Explanation::NoWorker));
    assert_eq!(explain(&env, client, 9), None);
    let worker = env.worker(1);
    let job = env.steal(worker).expect("the first");
    env.world.now = env.world.now.after_ms(30);
    let running = explain(&env, client, 1);
    assert!(
        matches!(running, Some(Explanation::Running { worker: w, for_ms: 29..=31 })
            if w == worker.id)
    );
    env.submit(client, to(4, worker));
    env.submit(client, to(5, worker));
    let waits = Explanation::WaitsForCredit(worker.id);
    assert_eq!(explain(&env, client, 5), Some(waits));
    let mailbox = explain(&env, client, 4);
    assert!(matches!(
        mailbox,
        Some(Explanation::InMailbox { ahead: 1, .. })
    ));
    env.complete(job);
    assert_eq!(env.outcome(1), Outcome::Completed);
    let waits = Explanation::OutcomeWaits { sent: true };
    assert_eq!(explain(&env, client, 1), Some(waits));
}
