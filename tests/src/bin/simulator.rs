//! Runs histories of the deterministic simulation: `--seeds 1000` for many, `--seed 7` for one
//! again, `--seconds 60` for fresh ones.
//!
//! Prints the seeds first, and for one that fails all that it draws and the smallest scenario that
//! fails alike, with the command that replays it. Exits with 1 if any does.

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use taskyard_tests::counting::CountingAllocator;
use taskyard_tests::sim::{Break, Failure, History, Marks, Options, run, shrink};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Histories that the search for a smaller scenario may run.
const SHRINK_TRIES: u64 = 3_000;

/// Failing seeds after which it is enough.
const FAILURES_MAX: u64 = 3;

/// Tries to break the scheduler: a seed decides everything.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Only this one, with all that it draws.
    #[arg(long, conflicts_with_all = ["from", "seeds", "seconds"])]
    seed: Option<u64>,
    /// Fresh seeds for so many seconds, instead.
    #[arg(long, conflicts_with_all = ["from", "seeds"])]
    seconds: Option<u64>,
    /// Events of the part with faults, for each seed.
    #[arg(long, default_value_t = 4_000)]
    events: u64,
    /// Breaks a rule on purpose; the seeds should find it.
    #[arg(long = "break", value_parser = rule)]
    broken: Option<Break>,
    /// Only names the seeds that fail, all of them.
    #[arg(long)]
    no_shrink: bool,
    /// Prints everything that happens.
    #[arg(long)]
    trace: bool,
    /// Sets one of the drawn numbers, as a shrunk scenario does.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
}

fn rule(name: &str) -> Result<Break, String> {
    let all = Break::ALL
        .iter()
        .map(|broken| broken.name())
        .collect::<Vec<_>>();
    Break::named(name).ok_or_else(|| format!("the rules are: {}", all.join(", ")))
}

impl Arguments {
    fn options(&self, seed: u64) -> Result<Options, String> {
        let mut options = Options::draw(seed, self.events);
        for pair in &self.set {
            let (name, value) = pair.split_once('=').ok_or("--set wants NAME=VALUE")?;
            let value = value
                .parse()
                .map_err(|_| format!("--set {name}: not a number"))?;
            options.set(name, value)?;
        }
        options.check()?;
        Ok(options)
    }

    fn one(&self, seed: u64) -> Result<Result<History, Box<Failure>>, String> {
        let options = self.options(seed)?;
        if self.seed.is_some() {
            println!("{options}");
        }
        let first = run(&options, self.broken, self.trace);
        let Ok(history) = &first else {
            return Ok(first);
        };
        // I9, for every seed that was asked for by itself.
        if self.seed.is_some() {
            let again = run(&options, self.broken, false)
                .map(|history| history.hash)
                .ok();
            assert_eq!(
                again,
                Some(history.hash),
                "I9: the same seed gave another history"
            );
        }
        Ok(first)
    }

    fn report(&self, seed: u64, failure: Box<Failure>) -> Result<(), String> {
        let options = self.options(seed)?;
        println!("FAILED {options}\n  {}", failure.message);
        if self.no_shrink {
            return Ok(());
        }
        let found = shrink(&options, failure, self.broken, SHRINK_TRIES);
        println!("shrunk after {} tries: {}", found.tries, found.options);
        println!(
            "the last facts:\n{}  {}",
            found.failure.last_facts, found.failure.message
        );
        let broken = self
            .broken
            .map(|broken| format!(" --break {}", broken.name()));
        println!(
            "again: simulator {}{}",
            found.options.arguments(),
            broken.unwrap_or_default()
        );
        Ok(())
    }
}

#[derive(Default)]
struct Sum {
    seeds: u64,
    failures: u64,
    events: u64,
    hash: u64,
    marks: Marks,
}

impl Sum {
    fn add(&mut self, arguments: &Arguments, seed: u64) -> Result<(), String> {
        self.seeds += 1;
        match arguments.one(seed)? {
            Ok(history) => {
                self.events += history.events;
                self.hash = self.hash.rotate_left(1) ^ history.hash;
                self.marks.add(&history.marks);
            }
            Err(failure) => {
                self.failures += 1;
                self.events += failure.events;
                arguments.report(seed, failure)?;
            }
        }
        Ok(())
    }
}

fn fresh() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    now.as_micros() as u64
}

fn simulate(arguments: &Arguments) -> Result<Sum, String> {
    let mut sum = Sum::default();
    if let Some(seed) = arguments.seed {
        sum.add(arguments, seed)?;
    } else if let Some(seconds) = arguments.seconds {
        let (started, first) = (Instant::now(), fresh());
        println!("fresh seeds from {first}");
        let mut seed = first;
        while started.elapsed() < Duration::from_secs(seconds) && sum.failures == 0 {
            sum.add(arguments, seed)?;
            seed += 1;
        }
    } else {
        println!(
            "seeds {} to {}",
            arguments.from,
            arguments.from + arguments.seeds
        );
        for seed in arguments.from..arguments.from + arguments.seeds {
            sum.add(arguments, seed)?;
            if sum.failures >= FAILURES_MAX && !arguments.no_shrink {
                break;
            }
        }
    }
    Ok(sum)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let started = Instant::now();
    let sum = match simulate(&arguments) {
        Ok(sum) => sum,
        Err(error) => {
            eprintln!("simulator: {error}");
            return ExitCode::from(2);
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    for (mark, times) in sum.marks.iter() {
        println!("{mark:>24} {times}");
    }
    println!(
        "{} seeds, {} events in {seconds:.1} s: {:.0} events/s; trace {:016x}; {} failed",
        sum.seeds,
        sum.events,
        sum.events as f64 / seconds,
        sum.hash,
        sum.failures,
    );
    if sum.failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
