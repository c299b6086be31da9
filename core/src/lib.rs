//! The scheduler of Taskyard. It cannot do I/O, start a thread, read a clock, see a payload byte,
//! or allocate once it is built: events and the time go in, effects come out, and the same inputs
//! give the same outputs, always.
//!
//! * [`Config`] says how large it shall be, [`Limits`] what follows from that.
//! * [`Scheduler`] is the state machine. Its documentation lists its four kinds of method and the
//!   order in which a driver calls them.
//! * Inputs and their answers are plain `Copy` values: [`Submit`], [`Registration`], [`Report`], …
//!   So are outputs: [`Effect`] for the driver itself, [`Envelope`] for the pool, [`Reply`] for a
//!   port, and [`Outcome`], exactly one for every submit that was accepted (one per worker and a
//!   summary, for a multicast).
//! * [`Stats`] counts what happened.
//!
//! # What a driver owes
//! * It stores a payload under the handle of an accepted submit before it polls anything.
//! * It answers [`Effect::Revoke`] with [`Scheduler::handle_revoked`] before it polls again.
//! * What one port says about a claim arrives in order: that a task was claimed before anything
//!   else about it, and before its worker's loss.
//! * A port that was told to pause a worker says so with [`Scheduler::handle_paused`], after all
//!   claims that it made for it.
//! * Every envelope is reported consumed once: claimed or discarded from the pool; completed,
//!   returned or discarded from a mailbox. Only credit rests on this; what is stale or made up
//!   otherwise is dropped and counted.
//!
//! # What a task costs
//! Each step of its life is O(1), however many workers, clients and waiting tasks there are. What
//! touches many tasks (the loss of a worker, a goodbye, an acknowledgement, a multicast, a sweep)
//! is spread over polls, a bounded number of steps at a time. To list and to sweep costs a step for
//! each place of the task table that was ever used.
//!
//! # Who gets what, and when
//! * A task waits in the backlog of its topic: [`Target`] and [`Priority`] decide, then clients
//!   take turns, then it is first in, first out. What was withdrawn, lost or has failed goes first.
//! * A task for [`Target::Any`] goes through the pool. A task for a label, and one for any worker
//!   that was lost or has failed, is *offered* to one worker, the least busy that may have it; it
//!   is withdrawn and offered anew when it is held up there and another is hungry.
//! * A directed task goes into its worker's mailbox, as far as that worker's credit reaches.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod backlog;
mod client;
mod config;
mod control;
mod crew;
mod effect;
mod error;
mod event;
mod histogram;
mod history;
mod id;
mod index;
mod list;
mod outcome;
mod port;
mod scheduler;
mod slab;
mod stats;
mod submit;
mod task;
mod time;
mod timer;
mod window;
mod worker;

pub use config::{Config, Limits};
pub use control::{Cursor, Explanation, Phase, Select, Sweep, TaskInfo, WorkerInfo, WorkerPhase};
pub use effect::{Effect, Envelope, NoticeReply, OutcomeReply, OutputReply, Reply, Tried};
pub use error::ConfigError;
pub use event::{
    AttemptAt, ClientHello, Early, HelloRefusal, Liveness, Loss, Origin, Printed, Registered,
    Registration, RegistrationRefusal, Report, Reported, Revoked, Settled, Source, StillRuns,
    Stream, Submitted, Verdict, Welcome, WorkerSlots,
};
pub use histogram::Histogram;
pub use id::{
    Attempt, ClientId, Epoch, LabelKey, Labels, NameKey, PortId, Priority, Stamp, TaskHandle,
    TaskId, Token, WorkerId,
};
pub use outcome::{Deadline, Outcome, Refusal};
pub use scheduler::Scheduler;
pub use stats::Stats;
pub use submit::{Submit, Target};
pub use time::Instant;
pub use window::Window;
