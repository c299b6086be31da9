//! The one switch between the real atomics and those of the model checker, loom.
//!
//! Every lock-free file of this crate takes its atomics, cells, shared pointers and parking from
//! here and from nowhere else, so that `RUSTFLAGS="--cfg loom"` puts the *production* code under
//! the checker. The switch is `cfg(loom)` alone, never `all(test, loom)`: the models live in
//! another package, for which this crate is compiled without `test`, and a switch on both would
//! leave the real atomics in place and every model vacuous. `loom-tests/tests/shim.rs` asserts
//! that the types exported here are the checker's.
//!
//! # Named orderings
//!
//! Each ordering stronger than `Relaxed` is written `ordering!("ring.publish", Release)`. In a
//! normal build that is the literal `Ordering::Release`. Under the checker the environment variable
//! `TASKYARD_WEAKEN=ring.publish` turns exactly that one into `Relaxed`, and a model is expected to
//! fail: `loom-tests/canaries.txt` says which. An ordering whose weakening no model notices is
//! either unnecessary or unproven.
//!
//! `--cfg weakenable` does the same for the real atomics: so ThreadSanitizer, too, can be shown to
//! see a race that is there.

#[cfg(not(loom))]
pub use real::*;

#[cfg(loom)]
pub use checked::*;

/// The ordering of this name: the literal, unless a model run weakens it.
macro_rules! ordering {
    ($name:literal, $ordering:ident) => {
        $crate::sync::named_ordering($name, $crate::sync::Ordering::$ordering)
    };
}
pub(crate) use ordering;

/// The ordering as it is written at the place of use.
#[cfg(not(any(loom, weakenable)))]
#[inline(always)]
pub(crate) const fn named_ordering(_name: &'static str, ordering: Ordering) -> Ordering {
    ordering
}

/// `Relaxed` if this is the ordering that the run weakens, else the one written at its place.
#[cfg(any(loom, weakenable))]
pub(crate) fn named_ordering(name: &'static str, ordering: Ordering) -> Ordering {
    static WEAKENED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let weakened = WEAKENED.get_or_init(|| std::env::var("TASKYARD_WEAKEN").ok());
    if weakened.as_deref() == Some(name) {
        Ordering::Relaxed
    } else {
        ordering
    }
}

#[cfg(not(loom))]
mod real {
    use std::cell;

    pub(crate) use crossbeam::utils::Backoff;
    pub use std::sync::Arc;
    pub use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    pub use std::thread::{Thread, current, park, park_timeout};

    /// A cell whose content is reached only inside a closure, so that the checker can watch.
    #[derive(Debug)]
    #[repr(transparent)]
    pub struct UnsafeCell<T>(cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        /// Whether a cell has state of its own, beside its content.
        pub(crate) const HAS_STATE: bool = false;

        /// A cell with this content.
        #[inline(always)]
        pub const fn new(value: T) -> Self {
            Self(cell::UnsafeCell::new(value))
        }

        /// Lends the content for reading.
        #[inline(always)]
        pub fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
            read(self.0.get())
        }

        /// Lends the content for writing.
        #[inline(always)]
        pub fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
            write(self.0.get())
        }
    }

    /// A table of zeroes, in pages that stay untouched until somebody writes to them.
    pub(crate) fn zeroed_table(len: usize) -> Box<[AtomicU64]> {
        bytemuck::zeroed_slice_box(len)
    }
}

#[cfg(loom)]
mod checked {
    use std::time::Duration;

    use loom::cell;
    pub use loom::sync::Arc;
    pub use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    pub use loom::thread::{Thread, current, park};

    /// A cell whose content is reached only inside a closure, so that the checker can watch.
    #[derive(Debug)]
    pub struct UnsafeCell<T>(cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        /// Whether a cell has state of its own, beside its content.
        pub(crate) const HAS_STATE: bool = true;

        /// A cell with this content.
        pub fn new(value: T) -> Self {
            Self(cell::UnsafeCell::new(value))
        }

        /// Lends the content for reading.
        pub fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
            self.0.with(read)
        }

        /// Lends the content for writing.
        pub fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
            self.0.with_mut(write)
        }
    }

    /// Gives the others a turn: the checker does not see through a spin loop.
    pub(crate) struct Backoff;

    impl Backoff {
        pub(crate) fn new() -> Self {
            Self
        }

        pub(crate) fn spin(&self) {
            loom::thread::yield_now();
        }
    }

    /// Parks without a limit: a timeout would hide the lost wake-up that a model looks for.
    pub fn park_timeout(_timeout: Duration) {
        park();
    }

    /// A table of zeroes.
    pub(crate) fn zeroed_table(len: usize) -> Box<[AtomicU64]> {
        (0..len).map(|_| AtomicU64::new(0)).collect()
    }
}
