//! The deterministic simulation with fixed seeds: nothing is broken, every rare path is taken, the
//! same seed gives the same history, and rules that are broken on purpose are found out.
//!
//! The binary `simulator` of this package goes on with fresh seeds: `--seconds 60`.

use std::sync::Mutex;

use taskyard_tests::counting::CountingAllocator;
use taskyard_tests::sim::{Break, Fault, Marks, Options, Size, run};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Calls to the allocator are counted for the whole process: one history at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const SEEDS: u64 = 200;
/// Seeds among which each broken rule must be found.
const CANARY_SEEDS: u64 = 100;

const fn events() -> u64 {
    if cfg!(debug_assertions) { 2_000 } else { 6_000 }
}

/// What a seed draws. Of every four one has faults of workers beside, and one of lines and ports:
/// that is where rare paths meet.
fn options(seed: u64) -> Options {
    let drawn = Options::draw(seed, events());
    match seed % 4 {
        0 => [
            Fault::WorkerCut,
            Fault::TaskFails,
            Fault::AckLost,
            Fault::DeafAbort,
            Fault::Sweep,
        ]
        .into_iter()
        .fold(drawn, |options, fault| options.with_rate(fault, 600))
        .with_size(Size::Retries, 700)
        .with_size(Size::Deadlines, 300)
        .with_size(Size::Labelled, 400),
        1 => [
            Fault::WorkerCut,
            Fault::HalfOpen,
            Fault::PortStall,
            Fault::ClientCut,
        ]
        .into_iter()
        .fold(drawn, |options, fault| options.with_rate(fault, 600))
        .with_size(Size::Spare, 4)
        .with_size(Size::Ports, 3),
        _ => drawn,
    }
}

#[test]
fn fixed_seeds_break_nothing_and_take_every_rare_path() {
    let _guard = ONE_AT_A_TIME.lock();
    let mut marks = Marks::default();
    for seed in 0..SEEDS {
        let options = options(seed);
        let history = run(&options, None, false);
        let history = history.unwrap_or_else(|failure| {
            panic!(
                "{}\nagain: simulator {}\n{}",
                failure.message,
                options.arguments(),
                failure.last_facts
            )
        });
        let again = run(&options, None, false).expect("it has run before");
        assert_eq!(history, again, "I9: seed {seed} gives two histories");
        marks.add(&history.marks);
    }
    for (mark, times) in marks.iter() {
        println!("{mark:>24} {times}");
    }
    assert_eq!(marks.missing(), [""; 0], "paths that no seed has taken");
}

#[test]
fn every_broken_rule_is_found() {
    let _guard = ONE_AT_A_TIME.lock();
    for &broken in Break::ALL {
        let failures = (0..CANARY_SEEDS)
            .filter_map(|seed| Some((seed, run(&options(seed), Some(broken), false).err()?)));
        // By a checker that is there for it, not by accident.
        let mut found = failures.filter(|(_, failure)| {
            broken
                .signs()
                .iter()
                .any(|sign| failure.kind().starts_with(sign))
        });
        let (seed, failure) = found
            .next()
            .unwrap_or_else(|| panic!("{} is not found", broken.name()));
        println!(
            "{:>20} found by seed {seed}: {}",
            broken.name(),
            failure.message
        );
    }
}
