//! What the models of Taskyard's lock-free files have in common. A model cannot prove liveness
//! over real time, nor see behind a syscall or a lock of the standard library; it runs a few
//! threads of the *production* code through every interleaving with at most two preemptions, and
//! through every value that a weakly ordered machine may let them read.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --profile loom -p loom-tests
//! ```
//!
//! Without `--cfg loom` each model runs once, on real threads, as an ordinary test.
//!
//! | file | joint |
//! | --- | --- |
//! | `tests/ring.rs` | one thread to one other |
//! | `tests/pool.rs` | the dispatcher to many thieves |
//! | `tests/claim.rs` | claim against revoke, and who may touch a payload |
//! | `tests/bell.rs` | which ring has something, and the sleep of its one reader |
//! | `tests/sleep.rs` | the sleep of many thieves |
//! | `tests/composed.rs` | a task's whole way, over all of them |
//! | `tests/shutdown.rs` | ports that go, pools that close, and who sleeps or stands still then |
//! | `tests/shim.rs` | that the code under test uses loom's atomics at all |
//!
//! # Canaries
//!
//! A proof that cannot fail proves nothing. `canaries.txt` names, for each ordering of the
//! production code, a model that must fail once `TASKYARD_WEAKEN=<ordering>` has made it
//! `Relaxed`.
//!
//! # What loom does not see
//!
//! Reads of values that no thread has written yet (load buffering); `park_timeout`, which never
//! times out here, so that it hides no lost wake-up; the standard library's `OnceLock` and
//! `RwLock`, which stand for themselves. Its `unpark` orders more than the standard library
//! promises: it hands over all that the caller has seen, even to a thread that never parks. Models
//! that look for a missing ordering therefore leave the unparking out, or look before it.

pub mod exec;
mod item;
mod model;

pub use item::{Census, Item};
pub use model::model;
