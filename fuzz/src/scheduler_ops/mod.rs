//! Any operations on a small scheduler, in any order: its own ids most of the time, made-up ones
//! else. After every few the tables are checked the slow way.

mod operation;
mod yard;

use arbitrary::{Arbitrary, Unstructured};
use taskyard_core::Stats;

use operation::Operation;
use yard::Yard;

/// More operations find nothing that fewer do not, only later.
const OPERATIONS_MAX: usize = 400;

/// Operations from one check to the next.
const CHECK_EVERY: usize = 4;

/// Reads the bytes as operations and performs them; the counters at the end.
///
/// # Panics
/// The scheduler is broken.
pub fn run(bytes: &[u8]) -> Stats {
    let mut bytes = Unstructured::new(bytes);
    let mut yard = Yard::new();
    for number in 1..=OPERATIONS_MAX {
        if bytes.is_empty() {
            break;
        }
        let Ok(operation) = Operation::arbitrary(&mut bytes) else {
            break;
        };
        yard.perform(operation);
        // The check is slower than all operations before it; every state is the one that is
        // checked in some input.
        if number % CHECK_EVERY == 0 {
            yard.check();
        }
    }
    yard.check();
    yard.stats()
}
