//! The fixed slab of task records: every task that the controller holds, and no allocation.
//!
//! A place is given out again as late as keeps the working set small: freed places queue up, and
//! the first of them is reused once [`WARM`] wait, or when no untouched place is left. So a busy
//! controller stays within the few records that are in its caches, a place rests for [`WARM`]
//! tenancies of others before its generation grows, and a record that was never needed is never
//! touched.

use alloc::vec::Vec;

use crate::id::TaskHandle;
use crate::list::List;
use crate::task::{Place, TaskRecord, TaskState};

/// Freed places that wait before the first of them is reused.
const WARM: u32 = 256;

/// All task records. `records` grows within its first capacity, never beyond.
#[derive(Debug)]
pub(crate) struct Slab {
    pub(crate) records: Vec<TaskRecord>,
    free: List<Place>,
    free_len: u32,
    /// Places promised to parts of multicasts that are not made yet.
    reserved: u32,
    capacity: u32,
}

impl Slab {
    /// An untouched slab of `capacity` places.
    pub(crate) fn new(capacity: u32) -> Self {
        Self {
            records: Vec::with_capacity(capacity as usize),
            free: List::new(),
            free_len: 0,
            reserved: 0,
            capacity,
        }
    }

    /// How many places are taken.
    pub(crate) fn live(&self) -> u32 {
        self.records.len() as u32 - self.free_len
    }

    /// How many places are neither taken nor promised.
    #[inline]
    pub(crate) fn available(&self) -> u32 {
        self.capacity - self.live() - self.reserved
    }

    /// How many places are promised.
    pub(crate) const fn reserved(&self) -> u32 {
        self.reserved
    }

    /// Promises `count` of the available places.
    pub(crate) fn reserve(&mut self, count: u32) {
        assert!(count <= self.available(), "a promise that cannot be kept");
        self.reserved += count;
    }

    /// Takes back promises.
    pub(crate) fn unreserve(&mut self, count: u32) {
        assert!(
            count <= self.reserved,
            "a promise taken back that was not made"
        );
        self.reserved -= count;
    }

    /// Gives out a place; the caller fills in the record. `None` when none is available.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<u32> {
        if self.available() == 0 {
            return None;
        }
        let untouched = (self.records.len() as u32) < self.capacity;
        if self.free_len >= WARM || !untouched {
            let index = self.free.pop_front(&mut self.records)?;
            self.free_len -= 1;
            self.records[index as usize].generation += 1;
            return Some(index);
        }
        let index = self.records.len() as u32;
        self.records.push(TaskRecord {
            generation: 1,
            ..TaskRecord::untouched()
        });
        Some(index)
    }

    /// Gives out a place that was promised.
    pub(crate) fn take_reserved(&mut self) -> Option<u32> {
        self.reserved = self.reserved.checked_sub(1)?;
        self.take()
    }

    /// Takes a place back. From now on every handle of its tenant is stale.
    #[inline]
    pub(crate) fn free(&mut self, index: u32) {
        let record = &mut self.records[index as usize];
        debug_assert!(record.state != TaskState::Free, "freed twice");
        debug_assert!(!record.owned.is_linked(), "freed while somebody's");
        debug_assert!(!record.timed.is_linked(), "freed with a timer");
        record.state = TaskState::Free;
        self.free.push_back(&mut self.records, index);
        self.free_len += 1;
    }

    /// The place of a live tenant; `None` for a handle that is stale or never was.
    #[inline]
    pub(crate) fn find(&self, handle: TaskHandle) -> Option<u32> {
        let index = handle.index();
        let record = self.records.get(index as usize)?;
        (record.handle(index) == handle && record.state != TaskState::Free).then_some(index)
    }

    /// How many places are on the free list, counted.
    pub(crate) fn count_free(&self) -> u32 {
        self.free.iter(&self.records).count() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn occupy(slab: &mut Slab) -> Option<TaskHandle> {
        let index = slab.take()?;
        slab.records[index as usize].state = TaskState::Backlogged;
        Some(slab.records[index as usize].handle(index))
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(ops in vec((any::<bool>(), 0usize..8), 0..200)) {
            const CAPACITY: u32 = 6;
            let mut slab = Slab::new(CAPACITY);
            let mut live = BTreeMap::new();
            let mut dead = Vec::new();
            for (take, which) in ops {
                if take {
                    match occupy(&mut slab) {
                        Some(handle) => prop_assert_eq!(live.insert(handle.index(), handle), None),
                        None => prop_assert_eq!(live.len() as u32, CAPACITY),
                    }
                } else if let Some(index) = live.keys().nth(which).copied() {
                    dead.extend(live.remove(&index));
                    slab.free(index);
                }
                prop_assert_eq!(slab.live() as usize, live.len());
                prop_assert_eq!(slab.available(), CAPACITY - slab.live());
                prop_assert!(live.values().all(|h| slab.find(*h) == Some(h.index())));
                prop_assert!(dead.iter().all(|h| slab.find(*h).is_none()));
            }
        }
    }

    #[test]
    fn places_rest_before_they_are_reused() {
        let mut slab = Slab::new(10_000);
        for round in 0..1_000 {
            let handle = occupy(&mut slab).expect("room");
            assert_eq!(handle.generation(), 1 + u64::from(round / WARM));
            slab.free(handle.index());
        }
        assert_eq!(slab.records.len() as u32, WARM);
    }

    #[test]
    fn promises_are_kept() {
        let mut slab = Slab::new(2);
        slab.reserve(1);
        assert!(occupy(&mut slab).is_some());
        assert!(slab.take().is_none());
        assert!(slab.take_reserved().is_some());
        assert!(slab.take_reserved().is_none());
    }

    #[test]
    fn garbage_is_not_found() {
        let slab = Slab::new(2);
        assert_eq!(slab.find(TaskHandle::from_bits(0)), None);
        assert_eq!(slab.find(TaskHandle::from_bits(u64::MAX)), None);
    }
}
