//! The code under test uses the checker's atomics. If it used the real ones, every model would
//! pass.

use std::any::TypeId;

use taskyard_dispatcher::sync;

#[cfg(loom)]
mod expected {
    pub(crate) use loom::sync::Arc;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64};
}

#[cfg(not(loom))]
mod expected {
    pub(crate) use std::sync::Arc;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64};
}

#[test]
fn the_atomics_are_those_of_this_build() {
    assert_eq!(
        TypeId::of::<sync::AtomicU64>(),
        TypeId::of::<expected::AtomicU64>()
    );
    assert_eq!(
        TypeId::of::<sync::AtomicBool>(),
        TypeId::of::<expected::AtomicBool>()
    );
    assert_eq!(
        TypeId::of::<sync::Arc<u8>>(),
        TypeId::of::<expected::Arc<u8>>()
    );
}

/// A cell of the checker carries its history; a real one is as large as its content.
#[test]
fn the_cells_are_those_of_this_build() {
    let is_checked = size_of::<sync::UnsafeCell<u8>>() > 1;
    assert_eq!(is_checked, cfg!(loom));
}
