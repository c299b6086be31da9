//! Random operations by seed: nothing is lost, doubled or stuck, whatever happens in whatever
//! order; and a driver that breaks its part is found out.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::sim::marks::Marks;
use crate::sim::{Canary, Sim};

/// Runs one seed; the seed is printed when it fails.
fn run(seed: u64, steps: usize) -> Marks {
    let outcome = catch_unwind(AssertUnwindSafe(|| Sim::new(seed, Canary::None).run(steps)));
    outcome.unwrap_or_else(|panic| {
        eprintln!("seed {seed}, {steps} steps");
        std::panic::resume_unwind(panic)
    })
}

#[test]
fn nothing_is_lost_doubled_or_stuck() {
    // More by hand: SEEDS=100000 cargo test --release …
    let seeds = std::env::var("SEEDS")
        .ok()
        .and_then(|seeds| seeds.parse().ok())
        .unwrap_or(200);
    let mut marks = Marks::default();
    for seed in 1..=seeds {
        marks.add(&run(seed, 1_000));
    }
    assert_eq!(
        marks.missing(),
        [""; 0],
        "rare paths that no seed has taken"
    );
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 1..=10 {
        assert_eq!(run(seed, 1_000), run(seed, 1_000));
    }
}

/// Some seed of a few must find the bug.
fn is_found(canary: Canary) -> bool {
    (1..=20)
        .any(|seed| catch_unwind(AssertUnwindSafe(|| Sim::new(seed, canary).run(1_000))).is_err())
}

#[test]
fn a_lost_report_is_found() {
    assert!(is_found(Canary::LosesReport));
}

#[test]
fn a_claimed_tombstone_is_found() {
    assert!(is_found(Canary::ClaimsTombstones));
}

#[test]
fn a_repeated_outcome_is_found() {
    assert!(is_found(Canary::RepeatsOutcome));
}
