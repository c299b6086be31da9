//! A bounded queue from one thread to one other: what joins the dispatcher to each worker and port.
//!
//! The classic single-producer, single-consumer ring of Lamport, with two positions that only grow
//! and an array indexed by their low bits. Each side keeps a private copy of the other's position
//! and looks at the shared one only when the copy says that it cannot go on: the idea is that of
//! FastForward and MCRingBuffer, and the `rtrb` crate is the model for its shape in Rust. In steady
//! flow a push or a pop touches no cache line that the other side writes, beside the item's own.
//!
//! # Protocol
//!
//! `tail` counts the items ever pushed, `head` those ever popped; `0 <= tail - head <= capacity`.
//!
//! | producer | consumer |
//! | --- | --- |
//! | P1 if the cached head leaves no room: load `head` (Acquire) | C1 if the cached tail shows no item: load `tail` (Acquire) |
//! | P2 still no room: give the item back | C2 still none: there is none |
//! | P3 write the item into slot `tail` | C3 move the item out of slot `head` |
//! | P4 store `tail + 1` (Release) | C4 store `head + 1` (Release) |
//!
//! **The race to avoid:** both sides in one slot. **Why it cannot be:** the producer is in slot *i*
//! only while `head + capacity > i`, by a head that it has seen; heads only grow, so an old copy
//! errs on the side of "full". It saw that head by P1, which pairs with C4, so the move out of the
//! slot's last tenant (C3) happened before P3. The mirror image holds for the consumer: an old tail
//! errs on the side of "empty", and C1 pairs with P4, so P3 happened before C3.
//!
//! **Closing:** a dropped end raises its flag. The producer's is raised (Release) after its last
//! P4; a consumer that sees it (Acquire) and *then* finds the ring empty has had everything. What
//! is left when both ends are gone is dropped with the ring.
//!
//! Positions have 64 bits: at a thousand million items a second they wrap after 584 years. The
//! arithmetic is wrapping all the same, and the models start just before the wrap.

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use crossbeam::utils::CachePadded;

use crate::sync::{Arc, AtomicBool, AtomicU64, Ordering, UnsafeCell, ordering};

/// A ring for at least `capacity` items: rounded up to a power of two, and to 2.
///
/// The storage is not touched before it is used, so a large ring costs address space, not memory.
///
/// ```
/// let (mut producer, mut consumer) = taskyard_dispatcher::ring(2);
/// assert!(producer.has_room(2));
/// producer.push('a').unwrap();
/// producer.push('b').unwrap();
/// assert_eq!(producer.push('c').unwrap_err().0, 'c');
/// assert_eq!(consumer.pop(), Some('a'));
/// assert!(producer.has_room(1));
///
/// drop(producer);
/// assert!(!consumer.is_closed(), "there is still an item");
/// assert_eq!(consumer.pop(), Some('b'));
/// assert!(consumer.is_closed());
/// ```
#[must_use]
pub fn ring<T: Send>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    ring_at(capacity, 0)
}

/// A ring whose positions start at `start`: for models that run over the wrap.
#[doc(hidden)]
#[must_use]
pub fn ring_at<T: Send>(capacity: usize, start: u64) -> (Producer<T>, Consumer<T>) {
    let shared = Arc::new(Shared::new(capacity, start));
    let producer = Producer {
        shared: shared.clone(),
        tail: start,
        cached_head: start,
        not_sync: PhantomData,
    };
    let consumer = Consumer {
        shared,
        head: start,
        cached_tail: start,
        not_sync: PhantomData,
    };
    (producer, consumer)
}

/// The writing end of a [`ring`]: one thread's at a time, so it is `Send` but not `Sync`.
///
/// ```compile_fail,E0277
/// fn share<T: Sync>(_: T) {}
/// let (producer, _consumer) = taskyard_dispatcher::ring::<u8>(2);
/// share(producer);
/// ```
///
/// ```compile_fail,E0599
/// let (producer, _consumer) = taskyard_dispatcher::ring::<u8>(2);
/// let second = producer.clone();
/// ```
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    /// Always equal to the shared one, which only this end writes.
    tail: u64,
    /// At most the shared one: it may be stale, and then shows less room than there is.
    cached_head: u64,
    not_sync: PhantomData<Cell<()>>,
}

impl<T: Send> Producer<T> {
    /// Whether `count` pushes are certain to succeed.
    ///
    /// "No" may cease to be true at any moment, when the consumer pops. "Yes" stays true until this
    /// end pushes, since nobody else can fill the ring.
    #[must_use]
    #[inline]
    pub fn has_room(&mut self, count: usize) -> bool {
        if self.cached_room() >= count {
            return true;
        }
        // Ordering: Acquire, pairs with the Release in `Consumer::pop`: the slots counted as free
        // were emptied before this end writes to them. Canary: ring.reclaim
        self.cached_head = self.shared.head.load(ordering!("ring.reclaim", Acquire));
        self.cached_room() >= count
    }

    /// Appends an item.
    ///
    /// It stays in the ring, and is dropped with it, if the consumer is gone.
    ///
    /// # Errors
    /// There is no room; the item comes back.
    #[inline]
    pub fn push(&mut self, item: T) -> Result<(), Full<T>> {
        if !self.has_room(1) {
            return Err(Full(item));
        }
        self.shared.slot(self.tail).with_mut(|slot| {
            // SAFETY: tail - head < capacity by a head that this end has acquired, so the consumer
            // has left this slot for good and does not return before the store below. This end has
            // no second owner: `push` takes it by `&mut`.
            unsafe { (*slot).write(item) };
        });
        self.tail = self.tail.wrapping_add(1);
        // Ordering: Release, pairs with the Acquire in `Consumer::has_item`: who sees the new tail
        // sees the item. Canary: ring.publish
        self.shared
            .tail
            .store(self.tail, ordering!("ring.publish", Release));
        Ok(())
    }

    /// Appends as many of `items` as there is room for, and publishes them at once; how many.
    ///
    /// The consumer's copy of `tail` becomes stale once per batch, not once per item, and that
    /// cache line is what a busy ring pays for.
    ///
    /// ```
    /// let (mut producer, mut consumer) = taskyard_dispatcher::ring(2);
    /// let mut items = [1, 2, 3].into_iter();
    /// assert_eq!(producer.push_batch(&mut items), 2);
    /// assert_eq!(items.next(), Some(3), "what does not fit is not taken from the iterator");
    /// assert_eq!(consumer.pop(), Some(1));
    /// ```
    #[inline]
    pub fn push_batch(&mut self, items: &mut impl ExactSizeIterator<Item = T>) -> usize {
        let wanted = items.len();
        let count = if self.has_room(wanted) {
            wanted
        } else {
            self.cached_room()
        };
        // Counts what is written, and publishes it even if the iterator panics in the middle.
        let mut batch = Written {
            producer: self,
            count: 0,
        };
        for item in items.take(count) {
            batch.write(item);
        }
        batch.count
    }

    /// Whether the consumer is gone. Once true it stays true.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        // Relaxed: a hint that there is no use in going on; no data hangs on it.
        self.shared.consumer_gone.load(Ordering::Relaxed)
    }

    /// How many items fit.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.slots.len()
    }
}

impl<T> Producer<T> {
    #[inline]
    fn cached_room(&self) -> usize {
        let used = self.tail.wrapping_sub(self.cached_head) as usize;
        self.shared.slots.len() - used
    }
}

/// Items of a batch that are in their slots, but not published: that is the drop's.
struct Written<'a, T> {
    producer: &'a mut Producer<T>,
    /// At most the room that the producer knows of.
    count: usize,
}

impl<T> Written<'_, T> {
    /// # Panics
    /// There is no room; the caller has asked for it.
    #[inline]
    fn write(&mut self, item: T) {
        assert!(
            self.count < self.producer.cached_room(),
            "a batch is written only where there is room"
        );
        let position = self.producer.tail.wrapping_add(self.count as u64);
        self.producer.shared.slot(position).with_mut(|slot| {
            // SAFETY: as in `push`: position - head < capacity by a head that this end has
            // acquired, so the slot is this end's until the store in `drop`.
            unsafe { (*slot).write(item) };
        });
        self.count += 1;
    }
}

impl<T> Drop for Written<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let producer = &mut *self.producer;
        producer.tail = producer.tail.wrapping_add(self.count as u64);
        // Ordering: Release, as in `push`, for all items of the batch. Canary:
        // ring.publish_batch
        producer
            .shared
            .tail
            .store(producer.tail, ordering!("ring.publish_batch", Release));
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        // Ordering: Release, pairs with the Acquire in `Consumer::is_closed`: who sees the flag
        // sees the last tail. Canary: ring.close
        self.shared
            .producer_gone
            .store(true, ordering!("ring.close", Release));
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("tail", &self.tail)
            .finish_non_exhaustive()
    }
}

/// The reading end of a [`ring`]: one thread's at a time, so it is `Send` but not `Sync`.
///
/// ```compile_fail,E0277
/// fn share<T: Sync>(_: T) {}
/// let (_producer, consumer) = taskyard_dispatcher::ring::<u8>(2);
/// share(consumer);
/// ```
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// Always equal to the shared one, which only this end writes.
    head: u64,
    /// At most the shared one: it may be stale, and then shows fewer items than there are.
    cached_tail: u64,
    not_sync: PhantomData<Cell<()>>,
}

impl<T: Send> Consumer<T> {
    /// Takes the oldest item, if there is one.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if !self.has_item() {
            return None;
        }
        let item = self.shared.slot(self.head).with(|slot| {
            // SAFETY: head < tail by a tail that this end has acquired, so the slot holds an item,
            // and the producer does not return to it before the store below. Advancing head is what
            // makes this the only read of it.
            unsafe { (*slot).assume_init_read() }
        });
        self.head = self.head.wrapping_add(1);
        // Ordering: Release, pairs with the Acquire in `Producer::has_room`: who sees the new head
        // finds the slot empty. Canary: ring.release
        self.shared
            .head
            .store(self.head, ordering!("ring.release", Release));
        Some(item)
    }

    /// Hands at most `max` items to `take`, oldest first, and frees their slots at once; how many.
    ///
    /// ```
    /// let (mut producer, mut consumer) = taskyard_dispatcher::ring(4);
    /// producer.push_batch(&mut [1, 2, 3].into_iter());
    /// let mut sum = 0;
    /// assert_eq!(consumer.pop_batch(2, |item| sum += item), 2);
    /// assert_eq!(sum, 3);
    /// ```
    #[inline]
    pub fn pop_batch(&mut self, max: usize, mut take: impl FnMut(T)) -> usize {
        if self.cached_items() < max {
            self.look();
        }
        let count = self.cached_items().min(max);
        // Counts what is moved out, and frees it even if `take` panics in the middle.
        let mut batch = Emptied {
            consumer: self,
            count: 0,
        };
        for _ in 0..count {
            take(batch.read());
        }
        batch.count
    }

    /// Whether there is nothing to pop.
    ///
    /// "Yes" may cease to be true at any moment, when the producer pushes. "No" stays true until
    /// this end pops.
    #[must_use]
    #[inline]
    pub fn is_empty(&mut self) -> bool {
        !self.has_item()
    }

    /// Whether the producer is gone *and* everything that it pushed has been popped.
    ///
    /// Once true it stays true: there will never be an item again.
    #[must_use]
    pub fn is_closed(&mut self) -> bool {
        // Ordering: Acquire, pairs with the Release in the producer's drop. The flag is read
        // before the tail: the other way round a push in between would be overlooked. Canary:
        // ring.close_seen
        self.shared
            .producer_gone
            .load(ordering!("ring.close_seen", Acquire))
            && self.is_empty()
    }

    /// How many items fit.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.slots.len()
    }

    #[inline]
    fn has_item(&mut self) -> bool {
        if self.head != self.cached_tail {
            return true;
        }
        self.look();
        self.head != self.cached_tail
    }

    #[inline]
    fn look(&mut self) {
        // Ordering: Acquire, pairs with the Release in `Producer::push`: the items counted are
        // written. Canary: ring.take
        self.cached_tail = self.shared.tail.load(ordering!("ring.take", Acquire));
    }
}

impl<T> Consumer<T> {
    #[inline]
    fn cached_items(&self) -> usize {
        self.cached_tail.wrapping_sub(self.head) as usize
    }
}

/// Slots of a batch that are empty, but not freed: that is the drop's.
struct Emptied<'a, T> {
    consumer: &'a mut Consumer<T>,
    /// At most the items that the consumer knows of.
    count: usize,
}

impl<T> Emptied<'_, T> {
    /// # Panics
    /// There is no item; the caller has counted them.
    #[inline]
    fn read(&mut self) -> T {
        assert!(
            self.count < self.consumer.cached_items(),
            "a batch is read only where there are items"
        );
        let position = self.consumer.head.wrapping_add(self.count as u64);
        // Before the read: an item must not be had twice, whatever happens.
        self.count += 1;
        self.consumer.shared.slot(position).with(|slot| {
            // SAFETY: as in `pop`: position < tail by a tail that this end has acquired, and the
            // slot is this end's until the store in `drop`, which counts the item as gone.
            unsafe { (*slot).assume_init_read() }
        })
    }
}

impl<T> Drop for Emptied<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let consumer = &mut *self.consumer;
        consumer.head = consumer.head.wrapping_add(self.count as u64);
        // Ordering: Release, as in `pop`, for all slots of the batch. Canary:
        // ring.release_batch
        consumer
            .shared
            .head
            .store(consumer.head, ordering!("ring.release_batch", Release));
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        self.shared.consumer_gone.store(true, Ordering::Relaxed);
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

/// A push that found no room; the item comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Full<T>(pub T);

impl<T> fmt::Debug for Full<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Full(..)")
    }
}

impl<T> fmt::Display for Full<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("pushed into a full queue")
    }
}

impl<T> Error for Full<T> {}

/// What the two ends have in common.
struct Shared<T> {
    /// Items ever popped. Written by the consumer, read by the producer, which may keep a stale
    /// copy. Padded, so that a pop does not take away the line on which the producer counts.
    head: CachePadded<AtomicU64>,
    /// Items ever pushed. Written by the producer, read by the consumer, which may keep a stale
    /// copy.
    tail: CachePadded<AtomicU64>,
    /// Raised once, by the producer's drop; read by the consumer.
    producer_gone: AtomicBool,
    /// Raised once, by the consumer's drop; read by the producer.
    consumer_gone: AtomicBool,
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

// SAFETY: the ends reach a slot only by the protocol in the module doc, which gives each slot one
// owner at a time; what moves through is `Send`. Everything else in here is atomic or constant.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: the items in the slots are `Send`, and so is all the rest.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T> Shared<T> {
    fn new(capacity: usize, start: u64) -> Self {
        Self {
            head: CachePadded::new(AtomicU64::new(start)),
            tail: CachePadded::new(AtomicU64::new(start)),
            producer_gone: AtomicBool::new(false),
            consumer_gone: AtomicBool::new(false),
            slots: untouched_cells(capacity.max(2).next_power_of_two()),
        }
    }

    /// The slot of this position. The mask keeps the index in bounds without a check.
    #[inline]
    fn slot(&self, position: u64) -> &UnsafeCell<MaybeUninit<T>> {
        let mask = self.slots.len() - 1;
        &self.slots[position as usize & mask]
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // Relaxed: both ends are gone, and their shared pointer has ordered all that they did.
        let tail = self.tail.load(Ordering::Relaxed);
        let mut head = self.head.load(Ordering::Relaxed);
        while head != tail {
            self.slot(head).with_mut(|slot| {
                // SAFETY: every slot from head up to tail holds an item, and nobody else is left.
                unsafe { (*slot).assume_init_drop() };
            });
            head = head.wrapping_add(1);
        }
    }
}

/// Cells without content, in memory that stays untouched until somebody writes to it.
pub(crate) fn untouched_cells<T>(count: usize) -> Box<[UnsafeCell<MaybeUninit<T>>]> {
    let mut cells = Box::<[UnsafeCell<MaybeUninit<T>>]>::new_uninit_slice(count);
    if UnsafeCell::<MaybeUninit<T>>::HAS_STATE {
        for cell in &mut cells {
            cell.write(UnsafeCell::new(MaybeUninit::uninit()));
        }
    }
    // SAFETY: a cell with state of its own was written above. One without is a transparent wrapper
    // of `MaybeUninit<T>`, of which any bytes, also uninitialised ones, are a valid value.
    unsafe { cells.assume_init() }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::thread;

    use super::*;

    const ITEMS: u64 = if cfg!(miri) { 200 } else { 200_000 };

    #[test]
    fn capacity_is_a_power_of_two_and_at_least_two() {
        for (asked, given) in [(0, 2), (1, 2), (2, 2), (3, 4), (4, 4), (1000, 1024)] {
            let (producer, consumer) = ring::<u8>(asked);
            assert_eq!((producer.capacity(), consumer.capacity()), (given, given));
        }
    }

    #[test]
    fn room_is_what_is_left() {
        let (mut producer, mut consumer) = ring(4);
        assert!(producer.has_room(4));
        assert!(!producer.has_room(5), "more than it can ever have");
        for item in 0..4 {
            producer.push(item).unwrap();
        }
        assert!(producer.has_room(0));
        assert!(!producer.has_room(1));
        assert_eq!(consumer.pop(), Some(0));
        assert_eq!(consumer.pop(), Some(1));
        assert!(producer.has_room(2));
        assert!(!producer.has_room(3));
    }

    #[test]
    fn items_arrive_once_and_in_order() {
        // Boxed, so that a leak or a second drop shows under Miri; from just before the wrap.
        let (mut producer, mut consumer) = ring_at(4, u64::MAX - 7);
        thread::scope(|scope| {
            scope.spawn(move || {
                for item in 0..ITEMS {
                    while !producer.has_room(1) {
                        thread::yield_now();
                    }
                    producer.push(Box::new(item)).unwrap();
                }
            });
            let mut expected = 0;
            while !consumer.is_closed() {
                match consumer.pop() {
                    Some(item) => {
                        assert_eq!(*item, expected);
                        expected += 1;
                    }
                    None => thread::yield_now(),
                }
            }
            assert_eq!(expected, ITEMS);
        });
    }

    #[test]
    fn batches_arrive_once_and_in_order() {
        let (mut producer, mut consumer) = ring_at(8, u64::MAX - 7);
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut items = (0..ITEMS as u32).map(Box::new);
                while items.len() > 0 {
                    if producer.push_batch(&mut items) == 0 {
                        thread::yield_now();
                    }
                }
            });
            let mut expected = 0;
            while !consumer.is_closed() {
                let count = consumer.pop_batch(5, |item| {
                    assert_eq!(*item, expected);
                    expected += 1;
                });
                assert!(count <= 5);
                if count == 0 {
                    thread::yield_now();
                }
            }
            assert_eq!(u64::from(expected), ITEMS);
        });
    }

    #[test]
    fn a_panic_in_a_batch_loses_no_other_item() {
        let (mut producer, mut consumer) = ring(4);
        assert_eq!(producer.push_batch(&mut [1, 2, 3].into_iter()), 3);
        let popping = std::panic::AssertUnwindSafe(|| {
            consumer.pop_batch(3, |item| assert_ne!(item, 2, "on purpose"))
        });
        assert!(std::panic::catch_unwind(popping).is_err());
        assert_eq!(consumer.pop(), Some(3));
        assert_eq!(consumer.pop(), None);
        assert!(producer.has_room(4));
    }

    #[test]
    fn what_is_left_is_dropped_with_the_ring() {
        let witness = Arc::new(());
        let (mut producer, mut consumer) = ring_at(4, u64::MAX - 1);
        for _ in 0..4 {
            producer.push(witness.clone()).unwrap();
        }
        drop(consumer.pop());
        drop(consumer);
        assert!(producer.is_closed());
        producer.push(witness.clone()).unwrap();
        assert_eq!(Arc::strong_count(&witness), 5, "four in the ring");
        drop(producer);
        assert_eq!(Arc::strong_count(&witness), 1);
    }

    #[test]
    fn items_without_size_are_counted_too() {
        let (mut producer, mut consumer) = ring(2);
        producer.push(()).unwrap();
        producer.push(()).unwrap();
        assert_eq!(producer.push(()), Err(Full(())));
        assert_eq!(
            (consumer.pop(), consumer.pop(), consumer.pop()),
            (Some(()), Some(()), None)
        );
    }

    #[test]
    fn an_error_shows_itself_whatever_it_carries() {
        let full = Full(Rc::new(|| ()));
        assert_eq!(
            format!("{full:?}: {full}"),
            "Full(..): pushed into a full queue"
        );
    }
}
