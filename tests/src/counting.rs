//! An allocator that watches threads which must not allocate.
//!
//! Three states: before the freeze anything goes; between [`freeze`] and [`thaw`] an allocation or
//! a deallocation on a *hot* thread is counted, and with [`Watch::Abort`] ends the process with a
//! backtrace. It sees what goes through Rust's allocator; libzmq's own `malloc` it does not see.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    static WATCH: Cell<Watch> = const { Cell::new(Watch::Off) };
}

static CALLS: AtomicU64 = AtomicU64::new(0);

/// What an allocation on this thread means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Nothing.
    Off,
    /// It is counted.
    Count,
    /// It ends the process.
    Abort,
}

/// The system's allocator, watched.
#[derive(Debug)]
pub struct CountingAllocator;

/// From here on this thread must not allocate.
pub fn freeze(watch: Watch) {
    WATCH.set(watch);
}

/// From here on it may again.
pub fn thaw() {
    WATCH.set(Watch::Off);
}

/// Calls counted so far, over all threads.
#[must_use]
pub fn calls() -> u64 {
    CALLS.load(Ordering::Relaxed)
}

fn note() {
    // A thread that is being torn down has no watch any more, and nothing hot to do.
    let watch = WATCH.try_with(Cell::get).unwrap_or(Watch::Off);
    if watch == Watch::Off {
        return;
    }
    CALLS.fetch_add(1, Ordering::Relaxed);
    if watch == Watch::Abort {
        thaw();
        eprintln!(
            "a hot thread called the allocator:\n{}",
            Backtrace::force_capture()
        );
        std::process::abort();
    }
}

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        note();
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note();
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}
