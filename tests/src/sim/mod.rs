//! A deterministic simulation that tries to break the scheduler.
//!
//! One thread drives the *real* scheduler, rings, pool and claim words, between processes and lines
//! that are models: they delay, cut, clog, crash, hang, report twice, come back. A seed draws what
//! a history is like and who moves next, so it can be had again. Checkers see nothing but what goes
//! in and what comes out.
//!
//! ```text
//!  customers ─┐ lines   ports          driver: one small step at a time
//!             ├───────▶ ┌──────┐ ring ┌─────────────────────────────────┐
//!  processes ─┘ ◀────── │ model│─────▶│ Scheduler (real)                │──▶ facts ──▶ checkers,
//!                       │      │◀─────│ rings, pool, claim words (real) │         trace, marks
//!                       └──────┘      └─────────────────────────────────┘
//! ```
//!
//! | file | tells |
//! | --- | --- |
//! | `options` | what a seed draws: sizes, and which faults exist |
//! | `world` | who moves next; the part with faults and the part that heals |
//! | `world/{customer,process,line,port}` | the models |
//! | `driver` | what a dispatcher does, in steps that may stop anywhere |
//! | `fact`, `watch`, `checkers` | what is seen, and what must hold of it |
//! | `marks` | rare paths that the fixed seeds must take |
//! | `breakage` | rules that are broken on purpose, to see that it is seen |
//! | `run`, `shrink` | one history, and the smallest one that fails alike |

mod alloc;
mod breakage;
mod checkers;
mod driver;
mod fact;
mod marks;
mod options;
mod rng;
mod run;
mod shrink;
mod watch;
mod world;

pub use breakage::Break;
pub use marks::{MARKS, Marks};
pub use options::{Fault, Options, Size};
pub use run::{Failure, History, run};
pub use shrink::{Shrunk, shrink};

pub(crate) use rng::{Rng, mix};
