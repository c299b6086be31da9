//! A bounded queue from the dispatcher to any number of thieves: the pool of `cluster.worker_any`.
//!
//! The slots with stamps are those of Dmitry Vyukov's bounded multi-producer, multi-consumer queue
//! (1024cores.net), cut down to one producer: its position is a plain field, and a push is
//! wait-free without a read-modify-write. A thief sees in the stamp whether a slot is filled, so
//! it never reads the producer's position.
//!
//! # Protocol
//!
//! Positions only grow; position *p* lives in slot *p mod capacity*. A slot's stamp says what it
//! waits for: *p* = for the producer to fill position *p*; *p + 1* = for a thief to empty it.
//!
//! | injector, at its tail *p* | thief |
//! | --- | --- |
//! | I1 load the slot's stamp (Acquire); not *p*: there is no room | T1 load `head` = *p*, and the slot's stamp (Acquire) |
//! | I2 write the item | T2 stamp older than *p + 1*: the pool is empty. Newer: `head` was stale, again |
//! | I3 stamp = *p + 1* (Release) | T3 compare-and-swap `head` from *p* to *p + 1*; lost: again |
//! | | T4 move the item out |
//! | | T5 stamp = *p + capacity* (Release): position *p + capacity* may be filled |
//!
//! **The races to avoid:** two thieves with one item; the injector in a slot that a thief is still
//! emptying. **Why they cannot be:** T3 succeeds once per position, because positions never
//! repeat, so exactly one thief comes to T4. It does so after I2, since T1 pairs with I3. The
//! injector comes back to the slot only through I1, which pairs with T5, so after T4.
//!
//! **Never waiting:** a thief descheduled between T3 and T5 keeps one slot. One lap later I1 says
//! "no room", at once, and the task stays in the backlog. Other thieves pass it by.
//!
//! **Empty means empty:** a thief that has synchronised with the injector after the push of
//! position *p* (as the sleepers' word makes it, see `sleepers.rs`) and finds the pool empty at a
//! head *h*, be it stale, has seen a stamp older than *h + 1*. If *h <= p* it would have seen I3
//! of position *h*. So *h > p*, and somebody has taken *p*.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use crossbeam::utils::CachePadded;

use crate::ring::Full;
use crate::sync::{Arc, AtomicBool, AtomicU64, Backoff, Ordering, UnsafeCell, ordering};

/// A pool for at least `capacity` items: rounded up to a power of two, and to 2.
///
/// ```
/// let (mut injector, stealer) = taskyard_dispatcher::pool(2);
/// injector.push("first").unwrap();
/// injector.push("second").unwrap();
/// assert!(!injector.has_room());
///
/// let other = stealer.clone();
/// assert_eq!(other.steal(), Some("first"));
/// assert_eq!(stealer.steal(), Some("second"));
/// assert!(other.is_empty());
/// ```
#[must_use]
pub fn pool<T: Send>(capacity: usize) -> (Injector<T>, Stealer<T>) {
    pool_at(capacity, 0)
}

/// A pool whose positions start at `start`: for models that run over the wrap.
#[doc(hidden)]
#[must_use]
pub fn pool_at<T: Send>(capacity: usize, start: u64) -> (Injector<T>, Stealer<T>) {
    let shared = Arc::new(Shared::new(capacity, start));
    let injector = Injector {
        shared: shared.clone(),
        tail: start,
        closed: false,
        not_sync: PhantomData,
    };
    (injector, Stealer { shared })
}

/// The one writing end of a [`pool`].
///
/// ```compile_fail,E0599
/// let (injector, _stealer) = taskyard_dispatcher::pool::<u8>(2);
/// let second = injector.clone();
/// ```
///
/// ```compile_fail,E0277
/// fn share<T: Sync>(_: T) {}
/// let (injector, _stealer) = taskyard_dispatcher::pool::<u8>(2);
/// share(injector);
/// ```
pub struct Injector<T> {
    shared: Arc<Shared<T>>,
    /// The next position to fill. Nobody else knows it.
    tail: u64,
    /// No push is accepted any more.
    closed: bool,
    not_sync: PhantomData<Cell<()>>,
}

impl<T: Send> Injector<T> {
    /// Whether the next push is certain to succeed.
    ///
    /// "No" may cease to be true at any moment, when a thief leaves the slot, except on a closed
    /// pool. "Yes" stays true until this end pushes or closes.
    #[must_use]
    #[inline]
    pub fn has_room(&self) -> bool {
        // Ordering: Acquire, pairs with the Release in `Stealer::steal`: the thief that had the
        // slot has moved its item out. Canary: pool.reclaim
        let stamp = self
            .shared
            .slot(self.tail)
            .stamp
            .load(ordering!("pool.reclaim", Acquire));
        stamp == self.tail && !self.closed
    }

    /// Appends an item.
    ///
    /// # Errors
    /// There is no room, or the pool is closed; the item comes back.
    #[inline]
    pub fn push(&mut self, item: T) -> Result<(), Full<T>> {
        if !self.has_room() {
            return Err(Full(item));
        }
        let slot = self.shared.slot(self.tail);
        slot.item.with_mut(|cell| {
            // SAFETY: the stamp equals the tail, so the thief of the last lap has left the slot
            // (seen by Acquire), and no other enters it before the store below. This is the one
            // injector.
            unsafe { (*cell).write(item) };
        });
        self.tail = self.tail.wrapping_add(1);
        // Ordering: Release, pairs with the Acquire in `Stealer::look`: who sees the stamp sees the
        // item. Canary: pool.publish
        slot.stamp
            .store(self.tail, ordering!("pool.publish", Release));
        Ok(())
    }

    /// Refuses pushes from now on. What is in the pool can still be taken.
    pub fn close(&mut self) {
        self.closed = true;
        // Ordering: Release, pairs with the Acquire in `Stealer::is_closed`: who sees the flag sees
        // every item. Canary: pool.close
        self.shared
            .closed
            .store(true, ordering!("pool.close", Release));
    }

    /// How many items fit.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.slots.len()
    }
}

impl<T> Drop for Injector<T> {
    fn drop(&mut self) {
        // Ordering: Release, as in `close`. Canary: pool.close
        self.shared
            .closed
            .store(true, ordering!("pool.close", Release));
    }
}

impl<T> fmt::Debug for Injector<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Injector")
            .field("tail", &self.tail)
            .finish_non_exhaustive()
    }
}

/// A taking end of a [`pool`]; as many as there are thieves.
pub struct Stealer<T> {
    shared: Arc<Shared<T>>,
}

impl<T: Send> Stealer<T> {
    /// Takes the oldest item, if there is one.
    ///
    /// `None` is exact for whatever the caller has synchronised with: an item whose push it could
    /// have known of has been taken by somebody.
    #[must_use]
    #[inline]
    pub fn steal(&self) -> Option<T> {
        self.steal_after(|| ())
    }

    /// [`steal`](Self::steal), with a call between taking the position and emptying the slot: a
    /// model freezes a thief there.
    #[doc(hidden)]
    #[must_use]
    #[inline]
    pub fn steal_after(&self, pause: impl FnOnce()) -> Option<T> {
        let position = self.win_position()?;
        pause();
        let slot = self.shared.slot(position);
        let item = slot.item.with(|cell| {
            // SAFETY: the stamp seen by Acquire says that this position is filled. Winning it by
            // the compare-and-swap gives this thief alone the item, and the injector does not
            // return to the slot before the store below.
            unsafe { (*cell).assume_init_read() }
        });
        let next_lap = position.wrapping_add(self.shared.slots.len() as u64);
        // Ordering: Release, pairs with the Acquire in `Injector::has_room`: who sees the stamp
        // finds the slot empty. Canary: pool.release
        slot.stamp
            .store(next_lap, ordering!("pool.release", Release));
        Some(item)
    }

    /// Whether there is nothing to take. Any thread may change the answer at any moment.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.look().is_none()
    }

    /// Whether the injector accepts no more. Once true it stays true, and what a later
    /// [`steal`](Self::steal) does not find will never come.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        // Ordering: Acquire, pairs with the Release in `Injector::close`. Canary: pool.close_seen
        self.shared
            .closed
            .load(ordering!("pool.close_seen", Acquire))
    }

    /// Takes the oldest position that is filled, for this thief alone.
    #[inline]
    fn win_position(&self) -> Option<u64> {
        let backoff = Backoff::new();
        loop {
            let position = self.look()?;
            // Relaxed: it only decides between thieves. The item is ordered by the stamp.
            let won = self.shared.head.compare_exchange_weak(
                position,
                position.wrapping_add(1),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            if won.is_ok() {
                return Some(position);
            }
            // Whoever won has made progress: this is a lost race, not a wait.
            backoff.spin();
        }
    }

    /// The head, if its slot is filled.
    #[inline]
    fn look(&self) -> Option<u64> {
        loop {
            let head = self.shared.head.load(Ordering::Relaxed);
            // Ordering: Acquire, pairs with the Release in `Injector::push`: the item is written.
            // And through it with that in `steal_after`: if the stamp is a lap ahead, the next
            // load of head finds it moved on. Canary: pool.take
            let stamp = self
                .shared
                .slot(head)
                .stamp
                .load(ordering!("pool.take", Acquire));
            // The distance is at most some laps, so its sign tells old from new over the wrap.
            match stamp.wrapping_sub(head.wrapping_add(1)) as i64 {
                0 => return Some(head),
                ..0 => return None,
                1.. => {}
            }
        }
    }
}

impl<T> Clone for Stealer<T> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<T> fmt::Debug for Stealer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stealer").finish_non_exhaustive()
    }
}

/// What all ends have in common.
struct Shared<T> {
    /// Positions ever taken. Written by thieves, by compare-and-swap; a copy may be stale, and is
    /// then found out by the stamp or by the swap. Padded, since all thieves fight over it.
    head: CachePadded<AtomicU64>,
    /// Raised once, by the injector; read by thieves. Never in the way: on no hot line.
    closed: AtomicBool,
    slots: Box<[Slot<T>]>,
}

struct Slot<T> {
    /// Written by the injector when it fills the slot and by the winning thief when it has emptied
    /// it; read by all. A stale copy shows an earlier step of the same order.
    stamp: AtomicU64,
    item: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: a slot's cell is reached only by the protocol in the module doc, which gives it one
// owner at a time; what moves through is `Send`. Everything else in here is atomic or constant.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: the items in the slots are `Send`, and so is all the rest.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T> Shared<T> {
    fn new(capacity: usize, start: u64) -> Self {
        let capacity = capacity.max(2).next_power_of_two();
        let mask = capacity as u64 - 1;
        let first_lap = |index| start.wrapping_add((index as u64).wrapping_sub(start) & mask);
        let slots = (0..capacity).map(|index| Slot {
            stamp: AtomicU64::new(first_lap(index)),
            item: UnsafeCell::new(MaybeUninit::uninit()),
        });
        Self {
            head: CachePadded::new(AtomicU64::new(start)),
            closed: AtomicBool::new(false),
            slots: slots.collect(),
        }
    }

    /// The slot of this position. The mask keeps the index in bounds.
    #[inline]
    fn slot(&self, position: u64) -> &Slot<T> {
        let mask = self.slots.len() - 1;
        &self.slots[position as usize & mask]
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // Relaxed: all ends are gone, and their shared pointer has ordered all that they did.
        let mut head = self.head.load(Ordering::Relaxed);
        while self.slot(head).stamp.load(Ordering::Relaxed) == head.wrapping_add(1) {
            self.slot(head).item.with_mut(|cell| {
                // SAFETY: the stamp says that the slot is filled, and nobody else is left.
                unsafe { (*cell).assume_init_drop() };
            });
            head = head.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    use super::*;

    const ITEMS: usize = if cfg!(miri) { 100 } else { 100_000 };
    const THIEVES: usize = 3;

    fn take_until_closed(stealer: &Stealer<Box<usize>>, takes: &[AtomicUsize]) {
        let mut last = None;
        loop {
            let is_last = stealer.is_closed();
            match stealer.steal() {
                Some(item) => {
                    assert!(last < Some(*item), "one thief takes in push order");
                    last = Some(*item);
                    takes[*item].fetch_add(1, Ordering::Relaxed);
                }
                None if is_last => return,
                None => thread::yield_now(),
            }
        }
    }

    #[test]
    fn every_item_is_taken_by_one_of_many_thieves() {
        let (mut injector, stealer) = pool_at(4, u64::MAX - 7);
        let takes: Vec<_> = (0..ITEMS).map(|_| AtomicUsize::new(0)).collect();
        thread::scope(|scope| {
            for _ in 0..THIEVES {
                scope.spawn(|| take_until_closed(&stealer, &takes));
            }
            for item in 0..ITEMS {
                while !injector.has_room() {
                    thread::yield_now();
                }
                injector.push(Box::new(item)).unwrap();
            }
            drop(injector);
        });
        assert!(takes.iter().all(|takes| takes.load(Ordering::Relaxed) == 1));
    }

    #[test]
    fn room_returns_with_the_slot_that_is_next() {
        let (mut injector, stealer) = pool(1);
        assert_eq!(injector.capacity(), 2);
        injector.push(1).unwrap();
        injector.push(2).unwrap();
        assert_eq!(injector.push(3).unwrap_err().0, 3);
        assert_eq!(stealer.steal(), Some(1));
        assert!(injector.has_room());
        injector.push(3).unwrap();
        assert_eq!(
            [stealer.steal(), stealer.steal(), stealer.steal()],
            [Some(2), Some(3), None]
        );
    }

    #[test]
    fn a_closed_pool_refuses_and_can_be_emptied() {
        let (mut injector, stealer) = pool(2);
        injector.push(1).unwrap();
        assert!(!stealer.is_closed());
        injector.close();
        assert!(stealer.is_closed());
        assert!(!injector.has_room());
        assert_eq!(injector.push(2).unwrap_err().0, 2);
        assert_eq!([stealer.steal(), stealer.steal()], [Some(1), None]);
    }

    #[test]
    fn what_is_left_is_dropped_with_the_pool() {
        let witness = Arc::new(());
        let (mut injector, stealer) = pool_at(4, u64::MAX - 2);
        for _ in 0..4 {
            injector.push(witness.clone()).unwrap();
        }
        drop(stealer.steal());
        injector.push(witness.clone()).unwrap();
        drop(injector);
        assert_eq!(Arc::strong_count(&witness), 5, "four in the pool");
        drop(stealer);
        assert_eq!(Arc::strong_count(&witness), 1);
    }
}
