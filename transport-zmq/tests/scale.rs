//! Several shards, and many workers.

mod common;

use common::*;
use taskyard_core::{Outcome, Target};
use taskyard_zmq::{
    ShardOptions, controller_descriptors, raise_descriptor_limit, remote_descriptors,
};

#[test]
fn workers_spread_over_the_shards_and_all_are_served() {
    let controller = Controller::pinned(2);
    let workers = Workers::echo(&controller.workers[0], 20);
    let context = context();
    let mut client = controller.client(&context);
    for i in 0..1_000u32 {
        submit(&mut client, Target::Any, &i.to_le_bytes());
    }
    for _ in 0..1_000 {
        assert_eq!(next_outcome(&mut client).outcome, Outcome::Completed);
    }
    submit(&mut client, Target::All, b"");
    for _ in 0..20 {
        assert_eq!(next_outcome(&mut client).outcome, Outcome::Completed);
    }
    assert_eq!(
        next_outcome(&mut client).outcome,
        Outcome::Summary {
            parts: 20,
            completed: 20
        }
    );
    drop((client, workers));
    let stats = controller.stop();
    assert!(
        stats.iter().all(|shard| shard.workers.received >= 100),
        "{stats:#?}"
    );
    assert_eq!(stats[0].sessions.redirected, 10);
}

#[test]
fn a_thousand_workers_register_and_each_answers() {
    let count = 1_000;
    raise_descriptor_limit(controller_descriptors(count) + remote_descriptors(count)).unwrap();
    let controller = Controller::hosted(ShardOptions::new(Some(ipc()), ipc()));
    let workers = Workers::echo(&controller.workers[0], count as usize);
    let context = context();
    let mut client = controller.client(&context);
    submit(&mut client, Target::All, b"");
    for _ in 0..count {
        assert_eq!(next_outcome(&mut client).outcome, Outcome::Completed);
    }
    let summary = Outcome::Summary {
        parts: count,
        completed: count,
    };
    assert_eq!(next_outcome(&mut client).outcome, summary);
    drop(workers);
    // All at once; each leaves the table.
    wait_for("the workers to be gone", || {
        submit(&mut client, Target::All, b"");
        loop {
            if let Outcome::Summary { parts, .. } = next_outcome(&mut client).outcome {
                return parts == 0;
            }
        }
    });
}
