//! What is told of tasks beside their outcomes: what they print, how long they wait and take.

use taskyard_core::{
    AttemptAt, OutputReply, Printed, Reported, Stream, Submit, Target, TaskId, Verdict, WorkerId,
};

use crate::env::{Env, INSTANCE, PORT};
use crate::world::Job;

const PRINTED: Printed = Printed {
    stream: Stream::Stdout,
    dropped_bytes: 0,
    missed: 0,
};

fn print(env: &mut Env, instance: u64, job: &Job) -> Option<OutputReply> {
    let at = AttemptAt {
        worker: job.worker,
        epoch: job.epoch,
        handle: job.handle,
        attempt: job.attempt,
    };
    let now = env.world.now;
    let told = env
        .world
        .scheduler
        .handle_output(now, instance, at, PRINTED);
    told.map(|(port, reply)| {
        assert_eq!(port, PORT);
        reply
    })
}

fn submit(task: u64, target: Target) -> Submit {
    Submit::new(TaskId(task), target)
}

#[test]
fn output_goes_to_the_client_of_the_present_attempt_only() {
    let mut env = Env::new();
    let client = env.hello(1, 1, true);
    let worker = env.worker(1);
    env.submit(client, submit(7, Target::Any));
    let job = env.steal(worker).expect("a task");
    let told = print(&mut env, INSTANCE, &job).expect("it runs");
    assert_eq!((told.client, told.task), (client, TaskId(7)));
    assert_eq!((told.worker, told.attempt), (worker.id, job.attempt));
    assert_eq!(print(&mut env, INSTANCE + 1, &job), None, "another process");
    let elsewhere = Job {
        worker: WorkerId(9),
        ..job
    };
    assert_eq!(print(&mut env, INSTANCE, &elsewhere), None);
    env.world
        .scheduler
        .handle_client_down(env.world.now, client);
    assert_eq!(print(&mut env, INSTANCE, &job), None, "nobody is there");
    env.hello(1, 2, true);
    env.run();
    assert!(print(&mut env, INSTANCE, &job).is_some());
    env.complete(job);
    assert_eq!(print(&mut env, INSTANCE, &job), None, "it is over");
    let stats = env.world.scheduler.stats();
    assert_eq!((stats.output, stats.stale_output), (2, 3));
}

#[test]
fn a_client_hears_how_much_was_dropped_with_the_next_that_goes_through() {
    let mut env = Env::new();
    let client = env.hello(1, 1, true);
    let worker = env.worker(1);
    env.submit(client, submit(7, Target::Any));
    let job = env.steal(worker).expect("a task");
    for missed in 0..3 {
        let told = print(&mut env, INSTANCE, &job).expect("it runs");
        assert_eq!(told.printed.missed, missed);
        env.world
            .scheduler
            .handle_output_dropped(env.world.now, &told);
    }
    let missed = |env: &mut Env| print(env, INSTANCE, &job).map(|told| told.printed.missed);
    assert_eq!([missed(&mut env), missed(&mut env)], [Some(3), Some(0)]);
    assert_eq!(env.world.scheduler.stats().output_dropped, 3);
}

#[test]
fn a_client_of_the_same_process_is_told_nothing() {
    let mut env = Env::new();
    let client = env.client();
    let worker = env.worker(1);
    env.submit(client, submit(7, Target::Any));
    let job = env.steal(worker).expect("a task");
    assert_eq!(print(&mut env, INSTANCE, &job), None);
}

#[test]
fn waits_and_latencies_are_those_of_the_tasks() {
    let mut env = Env::new();
    let client = env.client();
    let worker = env.worker(1);
    env.submit(client, submit(1, Target::Any));
    env.pass(10);
    let job = env.steal(worker).expect("a task");
    env.pass(20);
    env.complete(job);
    let largest = |env: &Env| {
        let scheduler = &env.world.scheduler;
        [scheduler.waits(), scheduler.latencies()].map(|h| (h.count(), h.at_thousandth(1000)))
    };
    let near = |(count, at): (u64, Option<u64>), expected, us: u64| {
        let at = at.expect("something was counted");
        assert!(
            count == expected && at >= us && at - us <= us / 16,
            "{count}: {at}"
        );
    };
    let [waited, took] = largest(&env);
    near(waited, 1, 10_000);
    near(took, 1, 30_000);
    // Of a task for one worker nobody says when it starts. More than an hour is an hour, also
    // where the stamp has come round.
    for (task, ms) in [(2, 3_600_001), (3, 4_294_968 + 5), (4, 1 << 31)] {
        env.submit(client, submit(task, Target::Worker(worker.id)));
        let job = env.take(worker).expect("a task");
        env.pass(ms);
        env.complete(job);
    }
    let [waited, took] = largest(&env);
    near(waited, 1, 10_000);
    near(took, 4, 3_600_000_000);
    let counts = env.world.scheduler.latencies();
    assert_eq!(
        counts.counts().iter().filter(|count| **count > 0).count(),
        2
    );
}

#[test]
fn parts_are_counted_from_the_accept_of_their_multicast_and_a_rerun_does_not_wait_again() {
    let mut env = Env::new();
    let client = env.client();
    let workers = [1, 2].map(|name| env.worker(name));
    env.submit(client, submit(1, Target::All));
    env.pass(5);
    for worker in workers {
        let job = env.take(worker).expect("a part");
        env.complete(job);
    }
    let latencies = env.world.scheduler.latencies();
    assert_eq!(latencies.count(), 2, "the whole is not counted");
    assert!((5_000..5_500).contains(&latencies.at_thousandth(500).unwrap()));
    env.submit(client, submit(2, Target::Any));
    let job = env.steal(workers[0]).expect("a task");
    env.down(workers[0]);
    let again = env.next(workers[1]).expect("it runs again");
    assert_ne!(job.attempt, again.attempt);
    assert_eq!(env.report(again, Verdict::Failed), Reported::Counted);
    assert_eq!(env.world.scheduler.waits().count(), 1);
}
