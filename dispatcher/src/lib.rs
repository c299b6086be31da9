//! The dispatcher of Taskyard: the one thread that drives the scheduler, and the lock-free
//! structures that join it to others. It cannot open a socket or parse a byte of a payload;
//! transports do that, on threads of their own, with the ring ends that they are handed.
//!
//! | to | see |
//! | --- | --- |
//! | embed everything without a socket | [`Dispatcher::attach_client`], [`Dispatcher::attach_workers`] |
//! | give it a thread | [`Runner`] |
//! | drive it yourself | [`Dispatcher::run_once`] |
//! | write a transport | [`Port`] |

#[cfg(not(loom))]
mod affinity;
mod claim;
#[cfg(not(loom))]
mod clock;
#[cfg(not(loom))]
mod control;
#[cfg(not(loom))]
mod dispatcher;
mod doorbell;
#[cfg(not(loom))]
mod envelope;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod idle;
#[cfg(not(loom))]
mod local;
#[cfg(not(loom))]
mod names;
mod parker;
mod payload;
mod pool;
#[cfg(not(loom))]
mod port;
mod ring;
mod room;
#[cfg(not(loom))]
mod roster;
#[cfg(not(loom))]
mod runner;
mod sleepers;
#[cfg(not(loom))]
mod spare_room;
#[cfg(not(loom))]
mod statistics;
#[doc(hidden)]
pub mod sync;

#[cfg(not(loom))]
pub use affinity::{PinError, cores_available, pin_current_thread};
#[cfg(not(loom))]
pub use clock::Clock;
#[cfg(not(loom))]
pub use control::{Answer, Order, OrderRefusal, PAGE_ROWS, Page};
#[cfg(not(loom))]
pub use dispatcher::{Dispatcher, Waker};
pub use doorbell::{Bell, Listener, doorbell};
#[cfg(not(loom))]
pub use envelope::{Event, Reply};
#[cfg(not(loom))]
pub use error::Error;
#[cfg(not(loom))]
pub use idle::{Idle, IdleStep, IdleStrategy};
#[cfg(not(loom))]
pub use local::{LocalClient, LocalOutcome, LocalWorkers};
#[cfg(not(loom))]
pub use names::{NameHasher, random_u64};
pub use parker::{ThreadParker, Unpark};
pub use payload::{Payload, TaskClaimant, TaskOwner, task_table};
pub use pool::{Injector, Stealer, pool};
#[cfg(not(loom))]
pub use port::{Delivery, OutputFate, Port};
pub use ring::{Consumer, Full, Producer, ring};
pub use room::RoomFlag;
#[cfg(not(loom))]
pub use runner::{Runner, RunnerOptions};
pub use sleepers::{Sleeper, Sleepers};
#[cfg(not(loom))]
pub use statistics::Statistics;

// For models that start near the wrap of a position.
#[doc(hidden)]
pub use pool::pool_at;
#[doc(hidden)]
pub use ring::ring_at;
