//! Real processes under faults drawn from a seed: `chaos --workers 200 --minutes 5 --seed 7`.

use std::process::ExitCode;

fn main() -> ExitCode {
    taskyard_tests::chaos::main()
}
