//! Threads and atomics for the models themselves: loom's under the checker, else the real ones.

#[cfg(loom)]
pub use loom::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{JoinHandle, park, spawn, yield_now},
};

#[cfg(not(loom))]
pub use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{JoinHandle, park, spawn, yield_now},
};

/// Waits for a thread, and passes its panic on.
///
/// # Panics
/// The thread has.
pub fn join<T>(thread: JoinHandle<T>) -> T {
    match thread.join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
