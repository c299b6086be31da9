//! The harness as a program of its own; `taskyard bench` is the same.

use std::process::ExitCode;

use bench_harness::{Counting, Host};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> ExitCode {
    bench_harness::run(Host::OWN, std::env::args().skip(1))
}
