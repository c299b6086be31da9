//! Values whose every move, drop and leak is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the [`Item`]s that are alive. One per iteration of a model.
///
/// The count is not part of the model: it orders nothing between the model's threads.
///
/// ```
/// use loom_tests::{Census, model};
/// model("an item is counted", 1, || {
///     let census = Census::default();
///     let item = census.item(7);
///     assert_eq!((item.number(), census.alive()), (7, 1));
///     drop(item);
///     assert_eq!(census.alive(), 0);
/// });
/// ```
#[derive(Clone, Debug, Default)]
pub struct Census {
    alive: Arc<AtomicUsize>,
}

impl Census {
    /// A new item with this number.
    #[must_use]
    pub fn item(&self, number: u32) -> Item {
        self.alive.fetch_add(1, Ordering::SeqCst);
        Item {
            number,
            census: self.clone(),
            _leak_check: LeakCheck::new(),
        }
    }

    /// How many items exist now.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.alive.load(Ordering::SeqCst)
    }
}

/// A value that must be dropped exactly once.
#[derive(Debug)]
pub struct Item {
    number: u32,
    census: Census,
    _leak_check: LeakCheck,
}

impl Item {
    /// What it was made with.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// A second item with the same number, counted by itself.
    #[must_use]
    pub fn twin(&self) -> Self {
        self.census.item(self.number)
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        let before = self.census.alive.fetch_sub(1, Ordering::SeqCst);
        assert!(before > 0, "item {} was dropped twice", self.number);
    }
}

/// Loom fails an iteration that ends with one of these alive.
#[cfg(loom)]
#[derive(Debug)]
struct LeakCheck(#[expect(dead_code, reason = "it is there to be dropped")] loom::alloc::Track<()>);

#[cfg(loom)]
impl LeakCheck {
    fn new() -> Self {
        Self(loom::alloc::Track::new(()))
    }
}

/// The census alone must do.
#[cfg(not(loom))]
#[derive(Debug)]
struct LeakCheck;

#[cfg(not(loom))]
impl LeakCheck {
    fn new() -> Self {
        Self
    }
}
