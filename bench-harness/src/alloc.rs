//! Counts this process's allocations, so that "none per task" can be measured rather than said.
//!
//! It sees what Rust code allocates. libzmq allocates through C's `malloc` and is not seen: its
//! share is known (one per frame over 33 bytes that is sent) and is not ours.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Written by every thread that allocates, read by whoever reports; may be stale by a few.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// Written once, before there are other threads; read at each allocation.
static COUNTS: AtomicBool = AtomicBool::new(false);

/// The system's allocator, counted: the global allocator of a program that the harness is part of.
///
/// Until the harness is run it counts nothing, so that what else the program does costs a load of a
/// line that nobody writes.
#[derive(Debug)]
pub struct Counting;

/// From now on.
pub(crate) fn start_counting() {
    COUNTS.store(true, Ordering::Relaxed);
}

fn tally() {
    if COUNTS.load(Ordering::Relaxed) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call is handed on unchanged to the system's allocator, which upholds the contract;
// counting touches no memory but a static.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        tally();
        // SAFETY: the caller upholds the contract of `alloc`, which is the same here and there.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        tally();
        // SAFETY: the caller upholds the contract of `alloc_zeroed`; handing it on (rather than
        // zeroing here) leaves big tables as untouched pages.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        tally();
        // SAFETY: `block` came from this allocator, that is from the system's, with this layout.
        unsafe { System.realloc(block, layout, new_size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: `block` came from this allocator, that is from the system's, with this layout.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Allocations of this process so far.
pub(crate) fn count() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}
