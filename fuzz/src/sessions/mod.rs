//! The sessions of a shard with a real dispatcher behind them, among two honest clients, two honest
//! workers, and any number of peers that mean harm. Connections break, sends are refused, rings are
//! full; whatever happens, honest peers get what the protocol promises them.

mod honest;
mod network;
mod operation;
mod stage;

use arbitrary::{Arbitrary, Unstructured};
use taskyard_core::Stats;
use taskyard_protocol::SessionStats;

use operation::{Forgery, Goal, Operation, Pick};
use stage::Stage;

/// More operations find nothing that fewer do not, only later.
const OPERATIONS_MAX: usize = 160;

/// A rule that is broken on purpose: whoever checks must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Outcomes are lost on connections that do not break.
    Swallow,
    /// Outcomes also go to tasks that they do not belong to.
    Mistake,
    /// Everybody knows the process instance of the honest workers, and speaks for them.
    Impostor,
}

/// Reads the bytes as operations and performs them; the counters at the end.
///
/// # Panics
/// The sessions are broken.
pub fn run(bytes: &[u8]) -> (SessionStats, Stats) {
    run_with(bytes, None)
}

/// The same, with a rule broken.
///
/// # Panics
/// The sessions are broken, or the broken rule was noticed.
pub fn run_with(bytes: &[u8], fault: Option<Fault>) -> (SessionStats, Stats) {
    let mut stage = Stage::new(secret_of(bytes), fault);
    if bytes.first().is_some_and(|byte| byte % 4 > 0) {
        // What comes before a session is seen often enough.
        stage.begin();
    }
    let mut bytes = Unstructured::new(bytes);
    for _ in 0..OPERATIONS_MAX {
        if bytes.is_empty() {
            break;
        }
        let Ok(operation) = Operation::arbitrary(&mut bytes) else {
            break;
        };
        stage.perform(operation);
        stage.check();
    }
    stage.finish()
}

/// What honest peers draw at their start. It depends on every byte, so no fuzzer can write it into
/// the same bytes.
fn secret_of(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0x7a5c_0ffe, |secret: u64, byte| {
        let mixed = (secret ^ u64::from(*byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ (mixed >> 29)
    })
}

/// One task with an honest worker, and somebody else who says for it that it is done. What a fuzzer
/// may find late or never, written down.
///
/// # Panics
/// The lie counted.
pub fn run_forgery(fault: Option<Fault>) {
    let mut stage = Stage::new(77, fault);
    stage.begin();
    stage.perform(Operation::Submit {
        client: false,
        task: 1,
        goal: Goal::Any,
        attempts: 1,
        within: 0,
    });
    stage.perform(Operation::Serve);
    stage.perform(Operation::Serve);
    for shift in [0, 1] {
        stage.perform(Operation::Forge(Pick(0), Forgery::HandIn, Pick(0), shift));
        stage.perform(Operation::Serve);
    }
    let (sessions, _) = stage.finish();
    assert!(sessions.foreign > 0, "nothing was forged");
}
