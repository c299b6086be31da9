//! Chaos: a real controller, real worker processes and real clients over real sockets, and a
//! director who kills, freezes, cuts and stalls them. A seed decides what is done to whom; nobody
//! decides what the processes make of it.
//!
//! Every process writes down what it does, in a journal that survives its death. When all has
//! settled, the journals are put together, and it is checked that nothing was lost, doubled or made
//! up.
//!
//! | file | holds |
//! | --- | --- |
//! | `options` | the command line |
//! | `plan` | what a seed decides |
//! | `director` | one run |
//! | `cast`, `proxy`, `ear` | processes, cables, and how the director is heard |
//! | `worker`, `client`, `task` | what the processes do |
//! | `journal`, `ledger` | what they write down, and all of it together |
//! | `checks`, `report` | what must hold, and what is printed |
//! | `breakage` | journals that are falsified on purpose, to see that it is seen |

mod breakage;
mod cast;
mod checks;
mod client;
mod director;
mod ear;
mod journal;
mod ledger;
mod options;
mod plan;
mod proxy;
mod report;
mod task;
mod worker;

pub use options::main;

/// Falsifications that `--break` knows, each with the rule that must notice it.
pub fn breakages() -> impl Iterator<Item = (&'static str, String)> {
    let all = breakage::Break::ALL.into_iter();
    all.map(|(_, name, rule)| (name, format!("{rule:?}")))
}
