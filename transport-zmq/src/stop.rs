//! Ending a loop from another thread, also while it sleeps.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use taskyard_dispatcher::Unpark;

/// Says to one or more running loops that they shall end; a cheap handle.
///
/// ```
/// use taskyard_zmq::StopFlag;
/// let stop = StopFlag::new();
/// let elsewhere = stop.clone();
/// elsewhere.stop();
/// assert!(stop.is_stopped());
/// ```
#[derive(Clone, Default)]
pub struct StopFlag {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    stopped: AtomicBool,
    sleepers: Mutex<Vec<Arc<dyn Unpark>>>,
}

impl StopFlag {
    /// A flag that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets it, and wakes whoever sleeps on it.
    pub fn stop(&self) {
        // Ordering: Release hands over what the caller did before; pairs with the Acquire load in
        // `is_stopped`. No wake-up is lost: a loop enters the list before it looks at the flag, and
        // the lock orders the two.
        self.shared.stopped.store(true, Ordering::Release);
        for sleeper in self.sleepers().iter() {
            sleeper.unpark();
        }
    }

    /// Whether it is set; it is never taken back.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        // Ordering: Acquire pairs with the Release store in `stop`.
        self.shared.stopped.load(Ordering::Acquire)
    }

    /// Enters a loop that sleeps until `unpark` is called; it leaves when the guard is dropped.
    pub(crate) fn enter(&self, unpark: Arc<dyn Unpark>) -> Entered<'_> {
        self.sleepers().push(Arc::clone(&unpark));
        Entered { flag: self, unpark }
    }

    fn sleepers(&self) -> std::sync::MutexGuard<'_, Vec<Arc<dyn Unpark>>> {
        // A list of handles is whole even if a thread died while it held the lock.
        self.shared
            .sleepers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for StopFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StopFlag")
            .field("stopped", &self.is_stopped())
            .finish_non_exhaustive()
    }
}

/// A loop that a [`StopFlag`] will wake.
pub(crate) struct Entered<'a> {
    flag: &'a StopFlag,
    unpark: Arc<dyn Unpark>,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let mut sleepers = self.flag.sleepers();
        if let Some(at) = sleepers
            .iter()
            .position(|sleeper| Arc::ptr_eq(sleeper, &self.unpark))
        {
            sleepers.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    struct Count(AtomicUsize);

    impl Unpark for Count {
        fn unpark(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn only_loops_that_are_running_are_woken() {
        let stop = StopFlag::new();
        let (gone, here) = (Arc::new(Count(0.into())), Arc::new(Count(0.into())));
        drop(stop.enter(gone.clone()));
        let entered = stop.enter(here.clone());
        stop.stop();
        assert_eq!(gone.0.load(Ordering::Relaxed), 0);
        assert_eq!(here.0.load(Ordering::Relaxed), 1);
        drop(entered);
    }
}
