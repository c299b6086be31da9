//! Sleeping until somebody calls.
//!
//! How a thread sleeps is its own affair: one parks, a shard waits in its poller. The files that
//! know *when* to wake it, `doorbell.rs` and `sleepers.rs`, call [`Unpark`] and nothing else.
//! [`ThreadParker`] is the implementation for a thread that has nothing but these to wait for.
//!
//! # Protocol
//!
//! A parker is made before it is known on which thread it will park, so it learns its thread at the
//! first park.
//!
//! | parker | unparker |
//! | --- | --- |
//! | K1 note the thread | U1 swap `notified` to true (AcqRel) |
//! | K2 swap `notified` to false (AcqRel); it was true: return | U2 if a thread is noted, unpark it |
//! | K3 park the thread | |
//! | K4 swap `notified` to false (AcqRel), return | |
//!
//! **The race to avoid:** U2 sees no thread, and K2 no notification. **Why it cannot be:** K2 and
//! U1 are swaps of one word, so one comes first. If U1, then K2 sees true. If K2, then U1 reads
//! what K2 wrote, so K1 happened before U2, which unparks; the standard library keeps that token
//! for K3.
//!
//! Parking may end without a call (a token left over from U2 after K2 is one cause): callers look
//! at what they wait for, and park again.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::sync::{self, AtomicBool, Thread, ordering};

/// Wakes one thread out of whatever it sleeps in.
pub trait Unpark: Send + Sync {
    /// Ends the thread's sleep, or the next one if it is awake. All that the caller did before is
    /// visible to the thread then.
    ///
    /// It neither blocks nor waits; the dispatcher calls it.
    fn unpark(&self);
}

/// Puts its thread to sleep until somebody calls [`Unpark::unpark`].
///
/// ```
/// let parker = taskyard_dispatcher::ThreadParker::new();
/// let unparker = parker.unparker();
/// let caller = std::thread::spawn(move || unparker.unpark());
/// parker.park();
/// caller.join().unwrap();
/// ```
pub struct ThreadParker {
    shared: Arc<Shared>,
    /// One thread parks at a time.
    not_sync: PhantomData<Cell<()>>,
}

impl ThreadParker {
    /// A parker for the thread that will first park on it.
    #[must_use]
    pub fn new() -> Self {
        let shared = Shared {
            notified: AtomicBool::new(false),
            thread: OnceLock::new(),
        };
        Self {
            shared: Arc::new(shared),
            not_sync: PhantomData,
        }
    }

    /// What others call to wake the thread.
    #[must_use]
    pub fn unparker(&self) -> Arc<dyn Unpark> {
        self.shared.clone()
    }

    /// Sleeps until called, unless it was called since the last park. May also return for no
    /// reason.
    ///
    /// # Panics
    /// Another thread has parked on it before.
    pub fn park(&self) {
        self.park_by(sync::park);
    }

    /// [`park`](Self::park), but for no longer than this.
    ///
    /// # Panics
    /// Another thread has parked on it before.
    pub fn park_timeout(&self, timeout: Duration) {
        self.park_by(|| sync::park_timeout(timeout));
    }

    fn park_by(&self, park: impl FnOnce()) {
        self.shared.bind_to_current_thread();
        if !self.shared.take_notification() {
            park();
            self.shared.take_notification();
        }
    }
}

impl Default for ThreadParker {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ThreadParker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadParker").finish_non_exhaustive()
    }
}

/// What the parker and its unparkers have in common.
struct Shared {
    /// Raised by unparkers, lowered by the parker.
    notified: AtomicBool,
    /// Noted by the parker, once; read by unparkers.
    thread: OnceLock<Thread>,
}

impl Shared {
    fn bind_to_current_thread(&self) {
        let current = sync::current();
        let bound = self.thread.get_or_init(|| current.clone());
        assert!(
            bound.id() == current.id(),
            "a parker belongs to the thread that first parked on it"
        );
    }

    fn take_notification(&self) -> bool {
        // Ordering: AcqRel, pairs with the AcqRel in `unpark`: Acquire makes visible what the
        // caller did, Release the noted thread. Canary: parker.take
        self.notified.swap(false, ordering!("parker.take", AcqRel))
    }
}

impl Unpark for Shared {
    fn unpark(&self) {
        // Ordering: AcqRel, pairs with the AcqRel in `take_notification`: Release makes visible
        // what the caller did, Acquire the noted thread. Canary: parker.notify
        self.notified.swap(true, ordering!("parker.notify", AcqRel));
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use super::*;

    const ROUNDS: u32 = if cfg!(miri) { 20 } else { 5_000 };

    #[test]
    fn a_call_before_the_first_park_is_kept() {
        let parker = ThreadParker::new();
        parker.unparker().unpark();
        thread::spawn(move || parker.park()).join().unwrap();
    }

    #[test]
    fn a_park_with_a_limit_ends_by_itself() {
        let parker = ThreadParker::new();
        parker.park_timeout(Duration::from_millis(1));
        parker.unparker().unpark();
        parker.park();
    }

    #[test]
    fn two_threads_wake_each_other() {
        let parkers = [ThreadParker::new(), ThreadParker::new()];
        let unparkers = [parkers[1].unparker(), parkers[0].unparker()];
        let turn = &AtomicU32::new(0);
        thread::scope(|scope| {
            for (mine, (parker, other)) in (0..).zip(parkers.into_iter().zip(unparkers)) {
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        while turn.load(Ordering::Relaxed) != 2 * round + mine {
                            parker.park();
                        }
                        turn.fetch_add(1, Ordering::Relaxed);
                        other.unpark();
                    }
                });
            }
        });
        assert_eq!(turn.load(Ordering::Relaxed), 2 * ROUNDS);
    }

    #[test]
    fn a_parker_stays_with_its_thread() {
        let parker = ThreadParker::new();
        parker.unparker().unpark();
        parker.park();
        let elsewhere = move || catch_unwind(AssertUnwindSafe(|| parker.park())).is_err();
        assert!(
            thread::spawn(elsewhere).join().unwrap(),
            "it parked on a second thread"
        );
    }
}
